"""The required contents of a file, checked once when it is opened, so that later code can rely on them.

header  ::= the kinds below, nested as the JSON is
tensors ::= for each name (or prefix ending in a dot), the types, axes and numbers allowed
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass

_LARGEST = 1 << 53  # float64 represents all integers up to here


class Kind(Protocol):
    """A kind of header value. `faults` describes what is wrong with one, naming its place in the file."""

    def faults(self, found: Any, place: str) -> Iterator[str]: ...


@dataclass(frozen=True)
class Text:
    """A string; one of `among` if there are any."""

    among: tuple[str, ...] = ()

    def faults(self, found: Any, place: str) -> Iterator[str]:
        if not isinstance(found, str) or (self.among and found not in self.among):
            yield f"{place} must be {' or '.join(map(repr, self.among)) or 'a string'}, it is {shown(found)}"


@dataclass(frozen=True)
class Flag:
    """true or false."""

    def faults(self, found: Any, place: str) -> Iterator[str]:
        if not isinstance(found, bool):
            yield f"{place} must be true or false, it is {shown(found)}"


@dataclass(frozen=True)
class Whole:
    """An integer of at least `least`."""

    least: int = 0

    def faults(self, found: Any, place: str) -> Iterator[str]:
        if isinstance(found, bool) or not isinstance(found, int) or not self.least <= found <= _LARGEST:
            yield f"{place} must be an integer of at least {self.least}, it is {shown(found)}"


@dataclass(frozen=True)
class Number:
    """A number: finite unless `any_number`, above `above` if that is given."""

    above: float | None = None
    any_number: bool = False

    def faults(self, found: Any, place: str) -> Iterator[str]:
        good = type(found) is float or (type(found) is int and abs(found) <= _LARGEST)
        if good and not self.any_number:
            good = bool(np.isfinite(found)) and (self.above is None or found > self.above)
        if not good:
            bound = "" if self.above is None else f" above {self.above:g}"
            yield f"{place} must be a {'' if self.any_number else 'finite '}number{bound}, it is {shown(found)}"


@dataclass(frozen=True)
class Items:
    """A list of at least `least` items of one kind."""

    of: Kind
    least: int = 0

    def faults(self, found: Any, place: str) -> Iterator[str]:
        if not isinstance(found, list) or len(found) < self.least:
            yield f"{place} must be a list{f' of at least {self.least}' if self.least else ''}, it is {shown(found)}"
            return
        for k, item in enumerate(found):
            yield from self.of.faults(item, f"{place}[{k}]")


@dataclass(frozen=True)
class Named:
    """An object with any names whose values are all of one kind."""

    of: Kind

    def faults(self, found: Any, place: str) -> Iterator[str]:
        if not isinstance(found, dict):
            yield f"{place} must be an object, it is {shown(found)}"
            return
        for name, value in found.items():
            yield from self.of.faults(value, f"{place}.{name}")


@dataclass(frozen=True)
class Fields:
    """An object with these fields; `optional` ones may be missing, and others are ignored."""

    required: Mapping[str, Kind]
    optional: Mapping[str, Kind] = field(default_factory=dict)

    def faults(self, found: Any, place: str) -> Iterator[str]:
        if not isinstance(found, dict):
            yield f"{place} must be an object, it is {shown(found)}"
            return
        for name, kind in {**self.required, **self.optional}.items():
            if name in found:
                yield from kind.faults(found[name], f"{place}.{name}")
            elif name in self.required:
                yield f"{place} lacks {name!r}"


@dataclass(frozen=True)
class Maybe:
    """null, or of this kind."""

    of: Kind

    def faults(self, found: Any, place: str) -> Iterator[str]:
        if found is not None:
            yield from self.of.faults(found, place)


@dataclass(frozen=True)
class Either:
    """Of one of two kinds; faults are reported for the second if the value is a list, otherwise for the first."""

    one: Kind
    items: Kind

    def faults(self, found: Any, place: str) -> Iterator[str]:
        return (self.items if isinstance(found, list) else self.one).faults(found, place)


@dataclass(frozen=True)
class Anything:
    """Any JSON value."""

    def faults(self, found: Any, place: str) -> Iterator[str]:
        return iter(())


@dataclass(frozen=True)
class Array:
    """A tensor of one of the types, with this number of axes (None for any), finite if it must be."""

    types: tuple[str, ...] = ("float64", "float32")
    axes: int | None = None
    finite: bool = True

    def faults(self, found: NDArray[Any], place: str) -> Iterator[str]:
        if found.dtype.name not in self.types:
            yield f"{place} must hold {' or '.join(self.types)} numbers, it holds {found.dtype}"
        elif self.axes is not None and found.ndim != self.axes:
            yield f"{place} must have {self.axes} ax{'es' if self.axes > 1 else 'is'}, its shape is {found.shape}"
        elif self.finite and found.dtype.kind == "f" and not np.isfinite(found).all():
            at = tuple(np.argwhere(~np.isfinite(found))[0].tolist())
            where = f" at {list(at)}" if at else ""
            yield f"{place} must hold finite numbers, it holds {float(found[at])}{where}"


@dataclass(frozen=True)
class Schema:
    """The contents of a kind of file. `others` describes tensors of any other name; None if there are none."""

    header: Fields
    required: Mapping[str, Array]
    optional: Mapping[str, Array]
    others: Array | None = None

    def faults(self, tensors: Mapping[str, NDArray[Any]], header: Any) -> Iterator[str]:
        """Everything that is wrong with a file, in order."""
        yield from self.header.faults(header, "its header")
        for name in self.required:
            if name not in tensors:
                yield f"the tensor {name!r} is missing"
        for name, tensor in tensors.items():
            kind = self._of(name)
            if kind is None:
                yield f"it holds an unknown tensor {name!r}"
            else:
                yield from kind.faults(tensor, f"the tensor {name!r}")

    def _of(self, name: str) -> Array | None:
        found = self.required.get(name) or self.optional.get(name)
        if found is None:
            found = next((a for k, a in self.optional.items() if k.endswith(".") and name.startswith(k)), self.others)
        return found


def shown(found: Any) -> str:
    """A value of a file as quoted in messages: one short line."""
    if isinstance(found, (dict, list)) and found:
        return f"{'an object' if isinstance(found, dict) else 'a list'} of {len(found)}"
    text = f"{found:.6g}" if isinstance(found, int) and abs(found) > _LARGEST and abs(found) < 10**300 else None
    if isinstance(found, int) and abs(found) >= 10**300:
        text = "a huge integer"
    text = repr(found) if text is None else text
    return text if len(text) <= 60 else f"{text[:57]}…"


# --- the kinds of files -----------------------------------------------------------------------------------------------

FLOATS = ("float64", "float32")
_COUNT = Whole(0)
_OPTIONAL_CHECKSUM = Maybe(_COUNT)
_SCALE = Fields({"middle": Items(Number(), 1), "unit": Items(Number(above=0.0), 1)})

SIGNATURE = Fields(
    {
        "shape": Items(_COUNT),
        "columns": Maybe(Items(Text(), 1)),
        "target": Maybe(Text()),
        "kind": Text(("two classes", "classes", "labels", "probabilities", "numbers", "own")),
        "loss": Text(),
        "classes": Maybe(Items(Anything(), 1)),
        "class_type": Maybe(Text(("text", "integer", "number", "truth"))),
        "outputs": _COUNT,
        "target_shape": Items(_COUNT),
        "training": Named(Text()),
    },
    {"plan": Anything()},
)

_COMMAND_SCALE = Fields(
    {"middle": Either(Number(), Items(Number(), 1)), "unit": Either(Number(above=0.0), Items(Number(above=0.0), 1))}
)

# Written by the command beside a net before models had signatures.
COMMAND = Fields(
    {
        "features": Items(Text(), 1),
        "target": Text(),
        "classes": Maybe(Items(Text(), 2)),
        "feature_scale": _COMMAND_SCALE,
        "target_scale": _COMMAND_SCALE,
        "training": Named(Text()),
    },
    {"loss": Text(), "plan": Anything()},
)

_ARCHITECTURE = Fields(
    {
        "kind": Text(("Neuron", "Layer", "MLP", "Tabular")),
        "sizes": Items(Whole(1), 2),
        "activations": Items(Text(), 1),
    },
    {"members": Whole(1)},
)
_SCALES = Maybe(Fields({"inputs": _SCALE, "outputs": _SCALE}))

MODEL = Schema(
    Fields(
        {"model": Text(), "architecture": Maybe(_ARCHITECTURE)},
        {
            "extra": Anything(),
            "scale": _SCALES,
            "signature": Maybe(SIGNATURE),
        },
    ),
    {},
    {"frozen": Array(("uint8",), 1), "shared": Array(("int64",), 1)},
    Array(FLOATS),
)

# The parameters of all members of one architecture are one tensor, named by its place in the list.
ENSEMBLE = Schema(
    Fields(
        {
            "nets": Items(
                Fields({"model": Text(), "architecture": Maybe(_ARCHITECTURE), "members": Items(_COUNT, 1)}), 1
            ),
            "scales": Items(_SCALES, 1),
            "signature": Maybe(SIGNATURE),
            "extra": Anything(),
        }
    ),
    {},
    {},
    Array(FLOATS, 2),
)

_PROGRAM = Fields({"digest": Text(), "operations": Named(_COUNT), "constants": Items(Number(any_number=True))})

CHECKPOINT = Schema(
    Fields(
        {
            "step": _COUNT,
            "first": _COUNT,
            "judged": _COUNT,
            "stopped": Text(),
            "run": Fields(
                {
                    "number_of_parameters": Whole(1),
                    "parameter_names": Text(),
                    "loss": Text(),
                    "penalty": Maybe(Text()),
                    "optimizer": Text(),
                    "l2": Number(),
                    "engine": Text(),
                    "dtype": Text(FLOATS),
                    "clip_norm": Maybe(Number()),
                    "samples": Whole(1),
                    "shape_of_a_sample": Items(_COUNT),
                    "data": _COUNT,
                    "targets": _COUNT,
                    "weights": _OPTIONAL_CHECKSUM,
                    "batch_size": Whole(1),
                    "shuffle": Flag(),
                    "seed": Whole(0),
                    "metrics": Items(Text()),
                    "validation": _OPTIONAL_CHECKSUM,
                    "early_stopping": Maybe(Named(Anything())),
                }
            ),
            "programs": Fields(
                {
                    "model": Named(Text()),
                    "value": Maybe(_PROGRAM),
                    "gradient": Maybe(_PROGRAM),
                    "update": Maybe(_PROGRAM),
                    "rates": Items(Items(Number(any_number=True), 2)),
                }
            ),
            "metrics": Items(Text()),
        },
        {"best": Number(any_number=True), "since": _COUNT},
    ),
    {
        "parameters": Array(FLOATS, 1),
        "order": Array(("int64",), 1),
        "state": Array(FLOATS, 2),
        "history.metric_steps": Array(("int64",), 1),
        **{f"history.{name}.pieces": Array(FLOATS, 2, finite=False) for name in ("losses", "rates", "seconds")},
        **{f"history.{name}.numbers": Array(FLOATS, 1, finite=False) for name in ("losses", "rates", "seconds")},
    },
    {"best": Array(FLOATS, 1), "others": Array(FLOATS, 1), "history.metrics.": Array(FLOATS, 1, finite=False)},
)

SCHEMAS = {"model": MODEL, "ensemble": ENSEMBLE, "checkpoint": CHECKPOINT}
