"""A program with every operation perturbed: how far from the eager engine's answer a right answer may be.

`Noisy` is a Value whose number is an array (replicas, samples), so the eager engine's own rules and sweep run on it.
Replica 0 has no noise. The others come in pairs of opposite noise, of 8 to 16 units in the last place per operation:
a compiled program may be off by one or two in each, all in the same direction at worst, which pairs of large noise
cover with room. Where a comparison is so close that rounding could decide it, some replicas decide it the other way:
what depends on it has a wide range, and is counted as undecidable instead of being called right or wrong.

Exact numbers get no noise: sums and products of multiples of a sixteenth, say, are the same in any order of
evaluation, so ties among them stay ties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.graph import topological
from macrograd.ops import Op
from macrograd.rules import sweep
from macrograd.value import Value, constant

Array = NDArray[Any]
PAIRS = 4
REPLICAS = 1 + 2 * PAIRS

# What rounds nothing, and sums, which may be added in another order and fused with products.
_EXACT = {"neg", "abs", "sign", "relu", "maximum", "minimum", "less", "less_equal", "where", "detach", "onehot", "take"}
_EXACT |= {"floor", "ceil", "round", "gate"}
_SUMS = {"add", "sub", "sum", "dot"}
_ARITHMETIC = _SUMS | {"mul", "div", "sqrt"}
# Bits behind the point and before it of exact numbers: two have an exact product, 2**5 products an exact sum.
_GRID = {8: (12, 12), 4: (5, 4)}
# Beyond these a sum or product in another order may overflow or underflow.
_HUGE, _TINY = {8: 1e300, 4: 1e36}, {8: 1e-300, 4: 1e-36}


class _Run:
    """The noise of one run, and which samples it saw come near the ends of the numbers' range."""

    def __init__(self, seed: int, samples: int, dtype: Any) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype = np.dtype(dtype)
        self.extreme = np.zeros(samples, dtype=bool)
        information = np.finfo(self.dtype)
        self.epsilon, self.smallest = float(information.eps), float(information.smallest_subnormal)

    def factors(self) -> Array:
        """8 to 16 units in the last place up or down for each replica, in opposite pairs; none for replica 0."""
        half = self.rng.uniform(8.0, 16.0, PAIRS) * self.rng.choice([-1.0, 1.0], PAIRS)
        return np.concatenate([[0.0], half, -half])[:, None]


_run: _Run | None = None


class Noisy(Value):
    """A Value of (replicas, samples) numbers."""

    __slots__ = ("numbers",)
    _traced = True  # there is more than one number: `take` by one must be an operation

    numbers: Array

    @property
    def data(self) -> Any:  # type: ignore[override]  # an array in place of a number
        return self.numbers

    @classmethod
    def _apply(cls, op: Op, operands: tuple[Any, ...]) -> Noisy:
        assert _run is not None
        values = tuple([x if isinstance(x, Value) else _constant(x) for x in operands])
        numbers = [np.asarray(x.data, dtype=_run.dtype) for x in values]
        made = np.asarray(op.array(np, *numbers), dtype=_run.dtype)
        out: Noisy = object.__new__(cls)
        out.numbers = made if op.name in _EXACT else _perturbed(_run, op, numbers, made)
        out.op, out.label, out.grad = op, "", 0.0
        out.inputs = values
        return out

    @classmethod
    def _take(cls, values: Any, index: Any) -> Any:
        return ops.take(index, *values)

    def _known(self) -> None:
        """Replicas and samples take different sides of a choice: its rules record all of them, as in a trace."""

    def __abs__(self) -> Any:
        return ops.absolute(self)

    def __neg__(self) -> Any:
        return ops.neg(self)

    def __hash__(self) -> int:
        return id(self)


def _constant(x: Any) -> Value:
    found: Value | None = constant(x)
    assert found is not None, x
    return found


def _operator(op: Op, swapped: bool) -> Callable[[Any, Any], Any]:
    return (lambda self, other: op(other, self)) if swapped else (lambda self, other: op(self, other))


for _name, _op in (("add", ops.add), ("sub", ops.sub), ("mul", ops.mul), ("truediv", ops.div), ("pow", ops.power)):
    setattr(Noisy, f"__{_name}__", _operator(_op, False))
    setattr(Noisy, f"__r{_name}__", _operator(_op, True))
for _name, _op, _swapped in (("lt", ops.less, False), ("le", ops.less_equal, False), ("gt", ops.less, True),
                             ("ge", ops.less_equal, True)):  # fmt: skip
    setattr(Noisy, f"__{_name}__", _operator(_op, _swapped))


def _on_grid(x: Array) -> Array:
    behind, before = _GRID[x.dtype.itemsize]
    scaled = x * 2.0**behind
    found: Array = (scaled == np.rint(scaled)) & (np.abs(x) <= 2.0**before)
    return found


def _perturbed(run: _Run, op: Op, operands: list[Array], made: Array) -> Array:
    size = np.abs(made)
    if op.name == "pow":
        _note_extremes(run, op, operands, made, size)
    if op.name in _ARITHMETIC:
        exact = _on_grid(made)
        for x in operands:
            exact = exact & _on_grid(x)
        if exact.all():
            return made
        if op.name in _SUMS:  # in another order the partial sums are others, as large as the largest term
            terms = (
                [a * b for a, b in zip(operands[::2], operands[1::2], strict=True)] if op.name == "dot" else operands
            )
            for x in terms:
                size = np.maximum(size, np.abs(x))
            size = size * (1.0 if len(terms) < 4 else np.sqrt(len(terms)))
        _note_extremes(run, op, operands, made, size)
        size = np.where(exact, 0.0, size)
    if op.name in ("lgamma", "digamma"):  # below 0 their error is one of what is added up (macrograd/_formulas.py)
        size = np.where(operands[0] < 0.0, np.maximum(size, 1.0), size)
    scale = np.maximum(size * run.epsilon, run.smallest)
    noise = run.factors() * np.where((size > 0.0) & np.isfinite(size), scale, 0.0)
    return np.asarray(made + noise, dtype=run.dtype)


def _note_extremes(run: _Run, op: Op, operands: list[Array], made: Array, size: Array) -> None:
    """Note which samples overflow or underflow: in another order, or as 1/x in place of x**-1, they may not."""
    width = run.dtype.itemsize
    finite = nonzero = np.ones(made.shape, dtype=bool)
    for x in operands:
        finite, nonzero = finite & np.isfinite(x), nonzero & (x != 0.0)
    near = np.isfinite(size) & (size > _HUGE[width])
    near = near | (finite & ~np.isfinite(made) & (nonzero | (op.name in _SUMS)))
    if op.name in ("mul", "div", "dot", "pow"):
        near = near | (finite & nonzero & (np.abs(made) < _TINY[width]))
    if near.any():
        run.extreme |= np.broadcast_to(near, (REPLICAS, len(run.extreme))).any(axis=0)


@contextmanager
def running(seed: int, samples: int, dtype: Any) -> Iterator[_Run]:
    global _run
    before, _run = _run, _Run(seed, samples, dtype)
    try:
        with np.errstate(all="ignore"):  # NaN and infinities are numbers of these programs
            yield _run
    finally:
        _run = before


def leaf(numbers: Array) -> Noisy:
    """A leaf of (samples,) or () numbers, the same in all replicas."""
    assert _run is not None
    out: Noisy = object.__new__(Noisy)
    out.numbers = np.broadcast_to(np.asarray(numbers, dtype=_run.dtype), (REPLICAS, np.size(numbers)))
    out.op, out.label, out.grad, out.inputs = None, "", 0.0, ()
    return out


def array(x: Any) -> Array:
    """A result as (replicas, samples)."""
    assert _run is not None
    data = x.data if isinstance(x, Value) else x
    return np.broadcast_to(np.asarray(data, dtype=_run.dtype), (REPLICAS, len(_run.extreme)))


def derivatives(out: Any, of: list[Noisy], seed: Any = 1.0) -> list[Any]:
    """The derivatives of a result, times `seed`, as Values that can be differentiated again; 0.0 where there is none.

    A leaf that is the same for all samples gets the derivative of each sample, as if it had been many."""
    if not isinstance(out, Value):
        return [0.0] * len(of)
    found = sweep(topological(out), out, seed)
    return [found.get(x, 0.0) for x in of]


__all__ = ["PAIRS", "REPLICAS", "Noisy", "array", "derivatives", "leaf", "running"]
