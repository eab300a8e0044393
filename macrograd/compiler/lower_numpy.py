"""Lower a program to NumPy: a list of calls on views that are made once.

This is the reference: what an instruction means is written here in a few array expressions. Where the operands of a sum
of products are strided views of a matrix and of vectors that its members share, the sum is `numpy.matmul`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.program import Index, Instruction, Loop, Operand, Segment, Step
from macrograd.compiler.streams import FUSED, MORE, SPREAD, TOTAL, Stream

Array = NDArray[Any]
Call = Callable[[], object]

_MOST_CALLS = 4096  # of a loop that are kept; a longer one makes its calls anew in every run
# Operations that NumPy has as functions with an `out`.
_UFUNCS: dict[str, Any] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "abs": np.absolute,
    "exp": np.exp,
    "log": np.log,
    "log1p": np.log1p,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sin": np.sin,
    "cos": np.cos,
}


class Memory:
    """The spaces of one run: u (slots,) and v (slots, lanes); and whether an index was out of range."""

    def __init__(self, u: Array, v: Array, *, strict: bool) -> None:
        self.u, self.v, self.strict = u, v, strict
        self.flagged = False

    def view(self, x: Index, dims: tuple[int, ...], count: int | None, round_: int) -> Array | None:
        """The operand as a view of shape dims (+ (count,)) + (lanes or 1,), if its map is affine."""
        if not x.affine:
            return None
        base = self.v if x.space == "v" else self.u[:, None]
        shape = (*dims, *(() if count is None else (count,)), base.shape[1])
        row = base.strides[0]
        strides = [stride * row for stride in x.member] + ([] if count is None else [x.term * row])
        return as_strided(base[x.base + round_ * x.shift :], shape, (*strides, base.strides[1]))

    def source(self, x: Operand, dims: tuple[int, ...], count: int | None, round_: int) -> Callable[[], Any]:
        """A function that gives the operand's numbers now."""
        if isinstance(x, float):
            numbers = np.full((*[1] * len(dims), *(() if count is None else (count,)), 1), x, self.u.dtype)
            return lambda: numbers
        found = self.view(x, dims, count, round_)
        if found is not None:
            return lambda: found
        slots = x.slots(dims, count or 1, round_).reshape(*dims, *(() if count is None else (count,)))
        if x.space == "v":
            return lambda: self.v[slots]
        return lambda: self.u[slots][..., None]


def calls_of(steps: tuple[Step, ...], memory: Memory) -> list[Call]:
    """The calls that run these steps."""
    found: list[Call] = []
    for step in steps:
        if isinstance(step, Stream):
            found.append(_stream(step, memory))
        elif isinstance(step, Loop):
            calls = _rounds(step, memory)
            if step.count * len(step.body) <= _MOST_CALLS:
                found += list(calls)
            else:
                found.append(_anew(step, memory))
        else:
            found.append(_call(step, memory, 0))
    return found


def _rounds(loop: Loop, memory: Memory) -> Iterator[Call]:
    for round_ in range(loop.count):
        for instruction in loop.body:
            yield _call(instruction, memory, round_)


def _anew(loop: Loop, memory: Memory) -> Call:
    def run() -> None:
        for call in _rounds(loop, memory):
            call()

    return run


def _call(instruction: Instruction, memory: Memory, round_: int) -> Call:
    return {"map": _map, "dot": _dot, "reduce": _reduce, "take": _take}[instruction.kind](instruction, memory, round_)


def _writer(instruction: Instruction, memory: Memory, round_: int, *, add: bool = False) -> Callable[[Any], None]:
    """What puts an array of shape dims + (lanes or 1,) into the results' slots."""
    out = memory.view(instruction.out, instruction.dims, None, round_)
    if out is None:
        slots = instruction.out.slots(instruction.dims, 1, round_).reshape(instruction.dims)
        space = memory.v if instruction.out.space == "v" else memory.u[:, None]

        def scatter(value: Any) -> None:
            space[slots] = space[slots] + value if add else value

        return scatter

    def write(value: Any, out: Array = out) -> None:
        if add:
            np.add(out, value, out=out)
        else:
            np.copyto(out, value)

    return write


def _map(instruction: Instruction, memory: Memory, round_: int) -> Call:
    row = ops.TABLE[instruction.code]
    sources = [memory.source(x, instruction.dims, None, round_) for x in instruction.args]
    out = memory.view(instruction.out, instruction.dims, None, round_)
    function = _UFUNCS.get(row.name)
    if function is not None and out is not None and all(isinstance(x, float) or x.affine for x in instruction.args):
        operands = [source() for source in sources]
        return lambda: function(*operands, out=out)
    write = _writer(instruction, memory, round_)
    return lambda: write(row.array(np, *[source() for source in sources]))


def _dot(instruction: Instruction, memory: Memory, round_: int) -> Call:
    parts = [_products(segment, instruction, memory, round_) for segment in instruction.segments]
    out = memory.view(instruction.out, instruction.dims, None, round_)
    if not memory.strict and out is not None:
        return _dot_into(out, parts, instruction.segments)
    write = _writer(instruction, memory, round_)

    def in_order() -> None:
        total: Any = None
        for part, segment in zip(parts, instruction.segments, strict=True):
            for value in _terms(part, segment, memory.strict):
                total = value if total is None else total + value
        write(total)

    return in_order


def _dot_into(out: Array, parts: list[Product], segments: tuple[Segment, ...]) -> Call:
    """A sum written in place. The last segment is usually the long one: it goes first, and the others are added."""
    *short, long = parts
    adds = [_added(out, part, segment) for part, segment in zip(short, segments, strict=False)]
    if long[2] is not None:
        rows, columns = long[2]
        begin: Call = partial(np.matmul, rows, columns, out=out)
    elif segments[-1].count == 1 and long[3]:
        a, b = long[0]()[..., 0, :], long[1]()[..., 0, :]
        begin = partial(np.copyto, out, b) if segments[-1].left == 1.0 else partial(np.multiply, a, b, out=out)
    else:
        total = _sum(long, segments[-1])
        begin = lambda: np.copyto(out, total())  # noqa: E731 - a call like the others
    if not adds:
        return begin

    def run() -> None:
        begin()
        for add in adds:
            add()

    return run


def _added(out: Array, part: Product, segment: Segment) -> Call:
    """Add a segment to what is there."""
    if segment.count == 1 and segment.left in (1.0, -1.0) and part[3]:
        return partial(np.add if segment.left == 1.0 else np.subtract, out, part[1]()[..., 0, :], out=out)
    total = _sum(part, segment)
    return lambda: np.add(out, total(), out=out)


# Left and right operands, the matrices of a matrix product if the sum is one, and whether the operands are views.
Product = tuple[Callable[[], Any], Callable[[], Any], tuple[Array, Array] | None, bool]


def _products(segment: Segment, instruction: Instruction, memory: Memory, round_: int) -> Product:
    """A segment's operands, and the whole sum as a matrix product where it is one."""
    dims, count = instruction.dims, segment.count
    left, right = segment.left, segment.right
    matrix: tuple[Array, Array] | None = None
    if isinstance(left, Index) and isinstance(right, Index) and count > 1 and not memory.strict:
        shared = not any(right.member) and right.members is None and right.full is None and right.terms is None
        if left.space == "u" and right.space == "v" and left.affine and shared:
            a = memory.view(left, dims, count, round_)
            b = memory.view(right, (1,) * len(dims), count, round_)
            assert a is not None
            assert b is not None
            matrix = a[..., 0], b.reshape(count, -1)
    views = all(isinstance(x, float) or x.affine for x in (left, right))
    return memory.source(left, dims, count, round_), memory.source(right, dims, count, round_), matrix, views


def _sum(product: Product, segment: Segment) -> Callable[[], Any]:
    left, right, matrix, _ = product
    if matrix is not None:
        return partial(np.matmul, *matrix)

    def total() -> Any:
        values = right() if segment.left == 1.0 else left() * right()
        return values[..., 0, :] if segment.count == 1 else values.sum(axis=-2, initial=-0.0)

    return total


def _terms(product: Product, segment: Segment, strict: bool) -> Iterator[Any]:
    """The terms to add up, in order; outside strict mode all of a segment as one."""
    if not strict:
        yield _sum(product, segment)()
        return
    left, right = product[0](), product[1]()
    values = right if segment.left == 1.0 else left * right
    for t in range(segment.count):
        yield values[..., t, :]


def _reduce(instruction: Instruction, memory: Memory, round_: int) -> Call:
    write = _writer(instruction, memory, round_, add=True)
    parts = []
    for segment in instruction.segments:
        outer = None if memory.strict else _outer(segment, instruction, memory, round_)
        if outer is not None:
            parts.append(outer)
            continue
        total = _sum(_products(segment, instruction, memory, round_), segment)
        parts.append(partial(_over_lanes, total))

    def run() -> None:
        for part in parts:
            write(part())

    return run


def _over_lanes(total: Callable[[], Any]) -> Any:
    return total().sum(axis=-1, keepdims=True, initial=-0.0)


def _outer(segment: Segment, instruction: Instruction, memory: Memory, round_: int) -> Callable[[], Any] | None:
    """Σ over lanes of a[i]·b[j] as a matrix product, if that is what the segment is."""
    left, right = segment.left, segment.right
    if len(instruction.dims) != 2 or segment.count != 1:
        return None
    if isinstance(left, Index) and left.affine and left.member[-1] != 0:
        left, right = right, left
    if not (isinstance(left, Index) and isinstance(right, Index) and left.affine and right.affine):
        return None
    if left.space != "v" or right.space != "v" or left.member[1] != 0 or right.member[0] != 0:
        return None
    rows, columns = instruction.dims
    a, b = memory.view(left, (rows, 1), None, round_), memory.view(right, (1, columns), None, round_)
    assert a is not None
    assert b is not None
    a, b = a[:, 0], b[0].T
    return lambda: (a @ b)[..., None]


def _take(instruction: Instruction, memory: Memory, round_: int) -> Call:
    index, values = instruction.args
    assert isinstance(values, Index)
    source = memory.source(index, instruction.dims, None, round_)
    slots = values.slots(instruction.dims, instruction.count, round_).reshape(*instruction.dims, instruction.count)
    write = _writer(instruction, memory, round_)
    lanes = memory.v.shape[1] if instruction.out.space == "v" else 1

    def run() -> None:
        wanted = np.broadcast_to(np.asarray(source()), (*instruction.dims, lanes))
        good = (wanted >= 0) & (wanted < instruction.count) & (wanted == np.trunc(wanted))
        if not good.all():
            memory.flagged = True
        chosen = np.take_along_axis(slots, np.where(good, wanted, 0).astype(np.int64), axis=-1)
        write(memory.v[chosen, np.arange(lanes)] if values.space == "v" else memory.u[chosen])

    return run


def _stream(stream: Stream, memory: Memory) -> Call:
    """The records one after the other."""
    records = list(stream.records())
    here = memory.v if stream.block else memory.u

    def run() -> None:
        for code, out, operands in records:
            if code == SPREAD:
                here[out] = memory.u[operands[0]][:, None]
                continue
            xs = [here[row] for row in operands]
            if code in (TOTAL, MORE):
                memory.u[out] += (xs[0] if len(xs) == 1 else xs[0] * xs[1]).sum(axis=-1)
            elif code == FUSED:
                here[out] = xs[0] * xs[1] + xs[2]
            else:
                here[out] = ops.TABLE[code].array(np, *xs)

    return run
