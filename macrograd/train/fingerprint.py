"""Fingerprints of runs: digests of the recorded programs, which must be equal for one run to resume another, and words
for any difference.

The digests decide. The model's attributes, the counts of operations and the constants beside them serve only the
message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from macrograd.nn import Module
from macrograd.nn.module import _children
from macrograd.optim import Optimizer
from macrograd.value import Value

if TYPE_CHECKING:
    from macrograd.compiler.compiled import Compiled
    from macrograd.compiler.tape.tape import Tape

Program = dict[str, Any]
T = TypeVar("T")

_MOST_CONSTANTS = 64  # that are recorded; the digest covers all
_MOST_ATTRIBUTES = 256


def programs(sample: Compiled, shapes: Sequence[tuple[int, ...]], optimizer: Optimizer) -> dict[str, Program | None]:
    """The loss of a sample, its gradient, and the optimiser's update rule.

    sample  the objective, to be compiled with batch=True; `shapes` are those of its arguments for one sample

    A program that cannot be recorded because it branches on numbers (which the eager engine allows) is None.
    """
    from macrograd.compiler.rewrite.differentiate import differentiate

    source = _recorded(lambda: sample._specialise(tuple(shapes)).source)
    value = gradient = None
    if source is not None:
        rounds = "" if source.loops is None else source.loops.digest()
        value = _noted(source.tape, rounds)
        gradient = _noted(differentiate(source.tape, batch=True, strict=sample.strict), rounds)
    return {"value": value, "gradient": gradient, "update": _noted(_recorded(lambda: _rule(optimizer)))}


def _rule(optimizer: Optimizer) -> Tape:
    from macrograd.compiler.pipeline import record

    rate, step, states = Value(0.0, "learning rate"), Value(0.0, "step"), len(optimizer.initial_state)

    def one(p: Any, g: Any, *state: Any) -> list[Any]:
        new, following = optimizer.rule(p, g, tuple(state), rate, step)
        return [new, *following]

    return record(one, [()] * (2 + states), name="the update rule").tape


def _recorded(tape: Callable[[], T]) -> T | None:
    from macrograd.compiler import TraceError

    try:
        return tape()
    except TraceError:
        return None


def _noted(tape: Tape | None, rounds: str = "") -> Program | None:
    """The digest, the operations and the constants of a tape; `rounds` says how many its loops have."""
    if tape is None:
        return None
    from macrograd.compiler.tape.tape import CONSTANT, distinct, name_of

    # By name: the codes of operations change as the table grows.
    codes = distinct(tape.code)
    names = [name_of(code) for code in codes.tolist()]
    place = np.searchsorted(codes, tape.code)
    digest = hashlib.sha256(" ".join(names).encode() + rounds.encode())
    for array in (place, tape.start, tape.operand, tape.leaf, tape.results):
        digest.update(len(array).to_bytes(8, "little") + np.ascontiguousarray(array).tobytes())
    constants = distinct(tape.leaf[tape.code == CONSTANT])
    return {
        "digest": digest.hexdigest(),
        "operations": dict(zip(names, np.bincount(place, minlength=len(names)).tolist(), strict=True)),
        "constants": constants[:_MOST_CONSTANTS].tolist(),
    }


def described(model: Module) -> dict[str, str]:
    """A model's classes and plain attributes, by path: the parts that a user would change. Equal neighbours in a list
    are described once."""
    found: dict[str, str] = {}
    stack: list[tuple[str, Any]] = [("", model)]
    seen: set[int] = set()
    while stack and len(found) < _MOST_ATTRIBUTES:
        path, thing = stack.pop()
        if isinstance(thing, Value) or id(thing) in seen:
            continue
        children = _children(thing)
        if children is None:
            text = _plain(thing)
            if text is not None:
                found[path] = text
            continue
        seen.add(id(thing))
        found[path] = type(thing).__name__ if isinstance(thing, Module) else f"{len(thing)} items"
        prefix = f"{path}." if path else ""
        if isinstance(thing, (list, tuple)) and len(thing) > 1 and len({_shape(item) for item in thing}) == 1:
            children = children[:1]
        stack.extend((f"{prefix}{name}", child) for name, child in reversed(children))
    return found


def _plain(thing: Any) -> str | None:
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return repr(thing)
    return getattr(thing, "__qualname__", None) if callable(thing) else None


def _shape(thing: Any) -> tuple[Any, ...]:
    """The key by which neighbours are equal: their class, plain attributes and the lengths of their lists."""
    if not isinstance(thing, Module):
        return (type(thing).__name__, _plain(thing), len(thing) if isinstance(thing, (list, tuple)) else None)
    attributes = [
        (name, _plain(x), len(x) if isinstance(x, (list, tuple)) else None) for name, x in vars(thing).items()
    ]
    return (type(thing).__name__, *attributes)


# --- what differs -----------------------------------------------------------------------------------------------------


def difference(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The difference between the computations of two runs, in words; "" if there is none."""
    rates = dict(now["rates"])
    for step, was in before["rates"]:
        is_now = rates[step]
        if was != is_now and not (was != was and is_now != is_now):
            return f"its schedule gave step {step:g} the learning rate {was!r}, now it gives {is_now!r}"
    for name, title in (("value", "the loss of a sample"), ("gradient", "the gradient"), ("update", "the update rule")):
        old, new = before[name], now[name]
        if (old and old["digest"]) == (new and new["digest"]):
            continue
        changed = _attribute(before["model"], now["model"]) if name == "value" else ""
        if not changed and old and new:
            changed = _operations(old, new)
        return f"{title} was computed by another program" + (f": {changed}" if changed else "")
    return ""


def _attribute(old: dict[str, str], new: dict[str, str]) -> str:
    """The first attribute of the model that differs."""
    for path in [*old, *(path for path in new if path not in old)]:
        if old.get(path) != new.get(path):
            what = f"the model's {path}" if path else "the model"
            return f"{what} was {old.get(path, 'not there')}, now it is {new.get(path, 'not there')}"
    return ""


def _operations(old: Program, new: Program) -> str:
    """The constants and operations that only one of two programs has."""
    gone = [x for x in old["constants"] if x not in new["constants"]]
    come = [x for x in new["constants"] if x not in old["constants"]]
    if gone or come:
        return f"it had {_listed('the constant', gone)}, now it has {_listed('the constant', come)}"
    names = sorted({*old["operations"], *new["operations"]})
    counts = [(name, old["operations"].get(name, 0), new["operations"].get(name, 0)) for name in names]
    changed = [f"{name} {was} times, now {is_now}" for name, was, is_now in counts if was != is_now]
    if not changed:
        return "the same operations have other operands, as after a change of the code, such as an update of macrograd"
    return f"it had {', '.join(changed[:4])}"


def _listed(what: str, numbers: list[float]) -> str:
    if not numbers:
        return "none of these"
    return f"{what}{'s' * (len(numbers) > 1)} {', '.join(f'{x:.17g}' for x in numbers[:4])}"
