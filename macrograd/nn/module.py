"""`Module`: the base class of everything that has parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from macrograd._names import unknown
from macrograd.copying import checked_state
from macrograd.ops import CONSTANT
from macrograd.value import Value, parameter_writes
from macrograd.vector import Vector

_op = attrgetter("op")

_ELSEWHERE = {
    "forward": "call the model, as in model(x)",
    "fit": "mg.Trainer(model).fit(X, y) trains it",
    **dict.fromkeys(("predict", "predict_proba", "score", "evaluate"), "a Trainer does: mg.Trainer(model)"),
    "compile": "mg.compile(model, batch=True) makes native code; loss and optimiser go to mg.Trainer",
    **dict.fromkeys(("train", "eval"), "a model has no modes: Dropout acts in Trainer.fit only"),
    **dict.fromkeys(("state_dict", "load_state_dict", "save", "load"), "use mg.save(model, path) and mg.load(path)"),
    **dict.fromkeys(("to", "cuda", "cpu"), "there is nothing to move: all runs on the processor"),
    "requires_grad_": "model.freeze() and model.unfreeze() do this",
    "summary": "print(model) describes it, and mg.draw(model) draws it",
}


class Module:
    """The base class of models. Its parameters are the leaf `Value`s in its attributes, at any depth.

    Attributes are searched in the order in which they were set, through Modules, lists, tuples and dicts. Computed
    Values (such as a stored output) are not parameters. A subclass need not call `super().__init__()`.
    """

    # The meaning of inputs and outputs: a `train.signature.Signature`, set by `Trainer.fit` and `load`.
    _signature: Any = None

    def parameters(self) -> list[Value]:
        """The parameters in the order of `named_parameters`; a shared parameter is listed once."""
        return [parameter for parameter in self._leaves() if parameter.op is None]

    def named_parameters(self, *, frozen: bool = False) -> dict[str, Value]:
        """The parameters by path, as in `layers.0.neurons.3.w.1`; with `frozen`, frozen parameters are included.

        A parameter with several paths is listed under the first.
        """
        return {name: parameter for name, parameter in self._walk() if frozen or parameter.op is None}

    def freeze(self) -> None:
        """Make every parameter of this module a constant: until `unfreeze()` it gets no gradient and is not listed by
        `parameters()`. Programs compiled earlier are not affected."""
        for parameter in self.parameters():
            parameter.op = CONSTANT
            parameter.grad = 0.0

    def unfreeze(self) -> None:
        """Undo `freeze()`: make frozen parameters trainable again."""
        for parameter in self._leaves():
            parameter.op = None

    def load_parameters(self, numbers: Mapping[str, Any]) -> None:
        """Set every parameter, frozen or not, from numbers by name: all of them, or none if anything is wrong.

        A name is one of `named_parameters(frozen=True)`, with a number, or a prefix of several (a path up to a dot),
        with a nested list or array of the numbers of all parameters below it, in the order of `named_parameters`.

        Raises TypeError for numbers without names, ValueError for missing or unknown names, the wrong number of
        numbers, and numbers that are not finite.
        """
        if not isinstance(numbers, Mapping):
            raise TypeError(
                "load_parameters() takes numbers by name, as in {name: p.data for name, p in "
                f"model.named_parameters(frozen=True).items()}}, got a {type(numbers).__name__}"
            )
        groups = _groups(self.named_parameters(frozen=True))
        new: dict[str, float] = {}
        for name, given in numbers.items():
            known = groups.get(name)
            if known is None:
                raise ValueError(f"load_parameters() got {name!r}, which this {type(self).__name__} does not have")
            found = _flattened(given)
            if len(found) != len(known):
                raise ValueError(
                    f"load_parameters() got {len(found)} numbers for {name!r}, which has {len(known)} parameters"
                )
            for key, number in zip(known, found, strict=True):
                if not math.isfinite(number):
                    raise ValueError(f"load_parameters() got {number} for {key}: parameters must be finite numbers")
                new[key] = number
        parameters = self.named_parameters(frozen=True)
        missing = [name for name in parameters if name not in new]
        if missing:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise ValueError(f"load_parameters() got nothing for {missing[0]}{more}: give all parameters")
        for name, number in new.items():
            parameters[name].data = number
        parameter_writes[0] += 1

    def modules(self) -> list[Module]:
        """This Module and every Module in it, at any depth, each once."""
        found: list[Module] = []
        seen: set[int] = set()
        stack: list[Any] = [self]
        while stack:
            thing = stack.pop()
            if type(thing) is list and set(map(type, thing)) == {Value}:  # most lists of a model
                continue
            children = _children(thing)
            if children is None or id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, Module):
                found.append(thing)
            stack.extend(child for _, child in reversed(children))
        return found

    def named_modules(self) -> dict[str, Module]:
        """This Module, under "", and every Module in it by its path, as in `layers.0.neurons.3`; each is listed once,
        under the first."""
        found: dict[str, Module] = {}
        seen: set[int] = set()
        stack: list[tuple[str, Any]] = [("", self)]
        while stack:
            path, thing = stack.pop()
            children = _children(thing)
            if children is None or id(thing) in seen:
                continue
            seen.add(id(thing))
            if isinstance(thing, Module):
                found[path] = thing
            prefix = f"{path}." if path else ""
            stack.extend((f"{prefix}{name}", child) for name, child in reversed(children))
        return found

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to 0."""
        for parameter in self.parameters():
            parameter.grad = 0.0

    def __getattr__(self, name: str) -> Any:
        raise unknown(f"this {type(self).__name__}", name, self, _ELSEWHERE)

    def __getstate__(self) -> dict[str, Any]:
        return checked_state(self)

    def _leaves(self) -> list[Value]:
        """Parameters and frozen parameters in the order of `_walk`, but without building their names: with 100,000
        parameters that would be slow, and this is called often."""
        found: list[Value] = []
        seen: set[int] = set()
        stack: list[Iterator[Any]] = [iter((self,))]
        while stack:
            for thing in stack[-1]:
                if isinstance(thing, Value):
                    if (thing.op is None or thing.op is CONSTANT) and id(thing) not in seen:
                        seen.add(id(thing))
                        found.append(thing)
                    continue
                if isinstance(thing, Module):
                    children: Iterable[Any] = vars(thing).values()
                elif isinstance(thing, dict):
                    children = thing.values()
                elif isinstance(thing, (list, tuple, Vector)):
                    children = thing
                else:
                    continue
                if id(thing) not in seen:
                    seen.add(id(thing))
                    if type(thing) is list and _only_new(thing, seen):
                        seen.update(map(id, thing))
                        found += thing
                        continue
                    stack.append(iter(children))
                    break
            else:
                stack.pop()
        return found

    def _walk(self) -> Iterator[tuple[str, Value]]:
        """Parameters and frozen parameters, which are constants, with their paths."""
        # Iterative, and each object once: modules may be nested deeply and may refer to each other.
        seen: set[int] = set()
        stack: list[tuple[str, Any]] = [("", self)]
        while stack:
            path, thing = stack.pop()
            children = _children(thing)
            if (children is None and not isinstance(thing, Value)) or id(thing) in seen:
                continue
            seen.add(id(thing))
            if children is None:
                if thing.op is None or thing.op is CONSTANT:
                    yield path, thing
                continue
            prefix = f"{path}." if path else ""
            stack.extend((f"{prefix}{name}", child) for name, child in reversed(children))


def _only_new(things: list[Any], seen: set[int]) -> bool:
    """Whether this is a list of leaves, each once, that were not seen before: most lists of a model are."""
    if not things or set(map(type, things)) != {Value} or any(map(_op, things)):
        return False
    ids = {*map(id, things)}
    return len(ids) == len(things) and seen.isdisjoint(ids)


def _children(thing: Any) -> list[tuple[Any, Any]] | None:
    """The items of a container with their names; None for anything that is not a container."""
    if isinstance(thing, Module):
        return list(vars(thing).items())
    if isinstance(thing, dict):
        return list(thing.items())
    if isinstance(thing, (list, tuple, Vector)):
        return list(enumerate(thing))
    return None


def _groups(names: Iterable[str]) -> dict[str, list[str]]:
    """The parameter names below each path; a name counts as below itself."""
    groups: dict[str, list[str]] = {}
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            groups.setdefault(".".join(parts[:end]), []).append(name)
    return groups


def _flattened(given: Any) -> list[float]:
    """The numbers of a number, an array or a nested list, in order."""
    found: list[float] = []
    stack = [given.tolist() if hasattr(given, "tolist") else given]
    while stack:
        x = stack.pop()
        if isinstance(x, (list, tuple)) or hasattr(x, "tolist"):
            stack.extend(reversed(x.tolist() if hasattr(x, "tolist") else x))
        else:
            found.append(float(x))
    return found
