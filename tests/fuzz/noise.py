"""A program with every operation perturbed, to bound the distance of a right answer from the eager engine's.

`Noisy` is a Value whose number is an array (replicas, samples), so the eager engine's own rules and sweep run on it.
Replica 0 has no noise: in float64 it does what the eager engine does, operation by operation, with the very functions
of the table where NumPy's round otherwise. The others come in pairs of opposite noise, of 8 to 16 units in the last
place per operation: a compiled program may be off by one or two in each, all in the same direction at worst, which
pairs of large noise cover with room. Where a comparison is so close that rounding could decide it, some replicas decide
it the other way: results that depend on it have a wide range, and count as undecidable instead of right or wrong.

**The batch.** What is the same for all samples is computed once, as a compiled program does it: the numbers of such a
Noisy are (replicas, 1). Where it meets what varies, it is spread, and the derivative is summed over the samples there,
before it is multiplied any further. That is another number than the mean of the samples' derivatives only where a
slope is infinite: (1 + 0)·∞ is infinite, and 1·∞ + 0·∞ is a NaN.

Exact numbers get no noise: sums and products of multiples of a sixteenth, say, are the same in any order of
evaluation, so ties among them stay ties.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops, rules
from macrograd.graph import topological
from macrograd.ops import Op
from macrograd.value import CONSTANT, Value, constant

Array = NDArray[Any]
PAIRS = 4
REPLICAS = 1 + 2 * PAIRS

# Operations that do not round, and sums, which may be added in another order and fused with products.
_EXACT = {"neg", "abs", "sign", "relu", "maximum", "minimum", "less", "less_equal", "where", "detach", "onehot", "take"}
_EXACT |= {"floor", "ceil", "round", "gate"}
_SUMS = {"add", "sub", "sum", "dot"}
_ARITHMETIC = _SUMS | {"mul", "div", "sqrt"}
# What NumPy does to arrays to the same bits as the table to floats.
_ALIKE = (_EXACT | _ARITHMETIC | {"random"}) - {"round"}
# Bits behind the point and before it of exact numbers: two have an exact product, 2**5 products an exact sum.
_GRID = {8: (12, 12), 4: (5, 4)}
# Beyond these a sum or product in another order may overflow or underflow.
_HUGE, _TINY = {8: 1e300, 4: 1e36}, {8: 1e-300, 4: 1e-36}


class _Spread:
    """The operation that gives every sample a number that is the same for all. It is in no table: programs have none.

    It passes on that something was taken as it is told it, like what chooses."""

    name, arity, chooses, flows = "spread", 1, True, None

    @property
    def derivative(self) -> tuple[Callable[..., Any]]:
        return (lambda g, out, x: _summed(g) if isinstance(g, Value) else g,)


SPREAD: Any = _Spread()


class _Run:
    """The noise of one run, and which samples it saw come near the ends of the numbers' range.

    times   how often each sample is in the batch
    """

    def __init__(self, seed: int, samples: int, dtype: Any, times: Sequence[int] | None = None) -> None:
        self.rng = np.random.default_rng(seed)
        self.times = np.ones(samples, dtype=int) if times is None else np.array(times)
        self.dtype = np.dtype(dtype)
        self.extreme = np.zeros(samples, dtype=bool)
        information = np.finfo(self.dtype)
        self.epsilon, self.smallest = float(information.eps), float(information.smallest_subnormal)

    def factors(self) -> Array:
        """8 to 16 units in the last place up or down for each replica, in opposite pairs; none for replica 0."""
        half = self.rng.uniform(8.0, 16.0, PAIRS) * self.rng.choice([-1.0, 1.0], PAIRS)
        return np.concatenate([[0.0], half, -half])[:, None]


_run: _Run | None = None
_signs = True  # whether sums keep the sign of zero


class Noisy(Value):
    """A Value of (replicas, samples) numbers, or of (replicas, 1) that are the same for all samples."""

    __slots__ = ("largest", "numbers", "spread")
    _traced = True  # there is more than one number: `take` by one must be an operation

    numbers: Array
    spread: Noisy | None  # what gives it to each sample, once it has met what varies
    largest: Array | None  # of a sum: the largest term, also of sums in it, which a program may add in any order

    @property
    def data(self) -> Any:
        return self.numbers

    @classmethod
    def _apply(cls, op: Op, operands: tuple[Any, ...]) -> Noisy:
        assert _run is not None
        values = tuple([x if isinstance(x, Value) else _constant(x) for x in operands])
        if len(_run.times) > 1 and any(_varies(x) for x in values):
            values = tuple([x if _varies(x) or x.op is CONSTANT else _spread(x) for x in values])
        numbers = [np.asarray(x.data, dtype=_run.dtype) for x in values]
        made = np.asarray(op.array(np, *numbers), dtype=_run.dtype)
        if _run.dtype == np.float64 and op.name not in _ALIKE:
            made = _as_floats(op, numbers, made)
        largest = _largest(op, values, numbers, made)
        out = _made(made if op.name in _EXACT else _perturbed(_run, op, numbers, made, largest), op, values)
        if op.name in _SUMS or op.name == "neg":
            out.largest = largest
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


def _made(numbers: Array, op: Any = None, operands: tuple[Any, ...] = ()) -> Noisy:
    out: Noisy = object.__new__(Noisy)
    out.numbers, out.spread, out.largest = numbers, None, None
    out.op, out.label, out.grad = op, "", 0.0
    out.inputs = operands
    return out


def _varies(x: Any) -> bool:
    return isinstance(x, Noisy) and x.numbers.ndim == 2 and x.numbers.shape[1] > 1


def _spread(x: Any) -> Noisy:
    assert _run is not None
    if x.spread is None:
        x.spread = _made(np.broadcast_to(x.numbers, (REPLICAS, len(_run.times))), SPREAD, (x,))
        x.spread.largest = x.largest
    found: Noisy = x.spread
    return found


def _as_floats(op: Op, operands: list[Array], made: Array) -> Array:
    """The results with those of replica 0 as the eager engine computes them."""
    found = made.copy()
    first = np.broadcast_arrays(*[x[0] if x.ndim else x for x in operands])
    found[0] = [op.forward(*numbers) for numbers in zip(*[x.ravel().tolist() for x in first], strict=True)]
    return found


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


def _largest(op: Op, operands: tuple[Any, ...], numbers: list[Array], made: Array) -> Array:
    """How large the result of an operation is, or its largest term if it is a sum."""
    found: Array = np.abs(made)
    if op.name not in _SUMS and op.name != "neg":
        return found
    inner = [getattr(x, "largest", None) for x in operands]
    sizes = [np.abs(x) if size is None else size for x, size in zip(numbers, inner, strict=True)]
    if op.name == "dot":
        pairs = list(zip(numbers[::2], numbers[1::2], sizes[::2], sizes[1::2], strict=True))
        sizes = [np.abs(a * b) for a, b, _, _ in pairs]  # and x · 1 is x, a sum in this one
        sizes += [np.where(np.abs(b) == 1.0, size, 0.0) for _, b, size, _ in pairs]
        sizes += [np.where(np.abs(a) == 1.0, size, 0.0) for a, _, _, size in pairs]
    for size in sizes:
        found = np.maximum(found, size)
    return found


def _perturbed(run: _Run, op: Op, operands: list[Array], made: Array, size: Array) -> Array:
    if op.name in _SUMS and not _signs:  # some replicas have the one zero, some the other
        made = np.broadcast_to(made, (REPLICAS, made.shape[-1] if made.ndim else 1)).copy()
        odd = made[1::2]
        odd[odd == 0.0] = 0.0
    if op.name == "pow":
        _note_extremes(run, op, operands, made, size)
    if op.name in _ARITHMETIC:
        exact = _on_grid(made)
        for x in operands:
            exact = exact & _on_grid(x)
        if exact.all():
            return made
        if op.name in _SUMS:  # in another order the partial sums are others, as large as the largest term
            terms = len(operands) // 2 if op.name == "dot" else len(operands)
            size = size * (1.0 if terms < 4 else np.sqrt(terms))
        _note_extremes(run, op, operands, made, size)
        size = np.where(exact, 0.0, size)
    if op.name in (
        "lgamma",
        "digamma",
    ):  # below 0 their error is one of what is added up (macrograd/formulas)
        size = np.where(operands[0] < 0.0, np.maximum(size, 1.0), size)
    return _moved(run, made, size)


def _moved(run: _Run, made: Array, size: Array) -> Array:
    """Numbers with noise, of units in the last place of `size`."""
    scale = np.maximum(size * run.epsilon, run.smallest)
    noise = run.factors() * np.where((size > 0.0) & np.isfinite(size), scale, 0.0)
    # Not made + 0.0, which is 0.0 for −0.0.
    return np.asarray(np.where(noise == 0.0, made, made + noise), dtype=run.dtype)


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
def summing(*, signs: bool) -> Iterator[None]:
    """Noise for programs whose sums keep the sign of zero, or make 0.0 of −0.0: matrix products of NumPy begin so."""
    global _signs
    before, _signs = _signs, signs
    try:
        yield
    finally:
        _signs = before


@contextmanager
def running(seed: int, samples: int, dtype: Any, times: Sequence[int] | None = None) -> Iterator[_Run]:
    """Noise for programs on so many samples; with `times`, in a batch that has each so often."""
    global _run
    before, _run = _run, _Run(seed, samples, dtype, times)
    try:
        with np.errstate(all="ignore"):  # NaN and infinities are numbers of these programs
            yield _run
    finally:
        _run = before


def leaf(numbers: Array) -> Noisy:
    """A leaf of (samples,) or () numbers, the same in all replicas."""
    assert _run is not None
    return _made(np.broadcast_to(np.asarray(numbers, dtype=_run.dtype), (REPLICAS, np.size(numbers))))


def replicas(numbers: Array) -> Noisy:
    """A leaf of (replicas, samples) numbers, or of (replicas, 1) that are the same for all samples."""
    assert _run is not None
    return _made(np.asarray(numbers, dtype=_run.dtype))


def array(x: Any) -> Array:
    """A result as (replicas, samples)."""
    assert _run is not None
    data = x.data if isinstance(x, Value) else x
    return np.broadcast_to(np.asarray(data, dtype=_run.dtype), (REPLICAS, len(_run.times)))


def one(x: Any) -> Array:
    """A result that is the same for all samples as (replicas,)."""
    assert _run is not None
    assert not _varies(x)
    data = x.data if isinstance(x, Value) else x
    return np.broadcast_to(np.asarray(data, dtype=_run.dtype), (REPLICAS, 1))[:, 0]


def mean(x: Any) -> tuple[Any, Any]:
    """The mean over the batch, and the derivative of it by the number of each sample."""
    assert _run is not None
    n = int(_run.times.sum())
    if not _varies(x):  # the sum of so many shares, each rounded
        inexact = 0.0 if n & (n - 1) == 0 else _run.epsilon
        return x, _made(np.asarray(1.0 + inexact * _run.factors(), dtype=_run.dtype))
    share = leaf(np.full(len(_run.times), 1.0 / n))
    extreme = _run.extreme.copy()
    found = _summed(x * share)
    _run.extreme = extreme  # a mean of small numbers is not in another order: an answer's slack has room for it
    return found, share


def _summed(x: Any) -> Noisy:
    """The sum over the batch. Two terms have one sum, and of more a program may change the order: by up to a unit in
    the last place of the sum of their sizes for each term. It may do so for each use of the sum, so what cancels among
    these cancels up to the rounding of `largest`."""
    assert _run is not None
    terms = np.repeat(array(x), _run.times, axis=1)
    made, sizes = terms.sum(axis=1, keepdims=True), np.abs(terms)
    if terms.shape[1] > 2 and not (_on_grid(terms).all() and _on_grid(made).all()):
        few = min(1.0, (terms.shape[1] - 2) / 16.0)  # the noise is of 16 units
        made = _moved(_run, made, few * sizes.sum(axis=1, keepdims=True))
    out = _made(made)
    out.largest = np.maximum(np.abs(made), sizes.max(axis=1, keepdims=True))
    return out


def chooses(out: Any) -> bool:
    """Whether a choice has a part in a result."""
    return isinstance(out, Value) and any(
        x.op is not None and x.op.chooses and x.op is not SPREAD for x in topological(out)
    )


def clamped(out: Any) -> bool:
    """Whether a clamp has a part in a result: relu, maximum, minimum, and `where` that compares what it chooses, or a
    random number (docs/compiler.md)."""
    for node in topological(out) if isinstance(out, Value) else ():
        if node.op in (ops.relu, ops.maximum, ops.minimum):
            return True
        if node.op is ops.where:
            condition, *sides = [_same(x) for x in node.inputs]
            compared = [_same(x) for x in condition.inputs] if condition.op in (ops.less, ops.less_equal) else []
            if condition.op is ops.relu or any(x is y for x in compared for y in sides):
                return True
            if compared and compared[0].op is ops.random:
                return True
    return False


def _same(x: Any) -> Any:
    return x.inputs[0] if x.op is SPREAD else x


def derivatives(out: Any, of: Sequence[Noisy], seed: Any = 1.0) -> list[Any]:
    """The derivatives of a result, times `seed`, as Values that can be differentiated again; 0.0 where there is none.

    This is `macrograd.rules.sweep`, and what was taken of a number that is the same for all in some sample."""
    if not isinstance(out, Value):
        return [0.0] * len(of)
    order: list[Any] = topological(out)
    active: set[Any] = set(of)
    for node in order:
        if any(x in active for x in node.inputs):
            active.add(node)
    found: dict[Any, Any] = {out: seed}
    taken: dict[Any, Any] = {}
    for node in reversed(order):
        if (g := found.get(node)) is None or not node.inputs:
            continue
        if node.op is SPREAD and node in taken:  # taken in some sample
            some = np.not_equal(array(taken[node]), 0.0).any(axis=1, keepdims=True)
            taken[node] = _made(np.where(some, 1.0, 0.0))
        rules.step(node, g, active, found, taken)
    return [found.get(x, 0.0) for x in of]


__all__ = [
    "PAIRS",
    "REPLICAS",
    "Noisy",
    "array",
    "chooses",
    "clamped",
    "derivatives",
    "leaf",
    "mean",
    "one",
    "replicas",
    "running",
    "summing",
]
