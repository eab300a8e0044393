"""Gradients of a step with one sample, where they are used (see `nets_parts.py`), and whether all are finite."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from macrograd.compiler.program.program import Instruction, Operand
from macrograd.compiler.targets.llvm.code import Code
from macrograd.compiler.targets.llvm.nets_parts import Products
from macrograd.compiler.targets.scalar.access import Member, Operands, SimdVector, Tables
from macrograd.compiler.targets.scalar.code import Counter
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.maps import Maps
from macrograd.compiler.targets.scalar.sums import better_turned, turned

_WAYS = 4  # sums beside each other, to hide latency
# A gradient and the slot that it would have: a number, and factors of counters.
Product = tuple[str, int, list[tuple[int, Counter]]]


class _Handed(Operands):
    """Operands of gradients, which go nowhere."""

    def __init__(self, code: Code, machine: Machine) -> None:
        super().__init__(code, machine, Tables())
        self.found: list[Product] = []

    def result(self, value: str, instruction: Instruction, member: Member, vector: SimdVector) -> None:
        self.found.append((value, *self.slot(instruction.out, member, 0, 1)))


def each(code: Code, machine: Machine, parts: Products, then: Callable[[list[Product]], None]) -> None:
    """Compute all gradients, tile by tile, and call `then` with those of a tile."""
    at = _Handed(code, machine)
    maps = Maps(at, np.zeros(0, dtype=np.int64))
    maps.tiles.square = True

    def body(instruction: Instruction, members: list[Member], vectors: list[SimdVector]) -> None:
        at.found = []
        maps.sums.dot(instruction, members, vectors)
        then(at.found)

    for gradient in parts.gradients:
        instruction = turned(gradient) if better_turned(gradient) else gradient
        at.axis, at.dims = "lane", instruction.dims
        maps.tiles.run(instruction, machine.lanes, body)


def check(code: Code, machine: Machine, parts: Products) -> None:
    """Write to the first gradient's slot what is 0 if all gradients are finite, and NaN if not: x·0 is 0 for those
    alone.

    No product of factors is greater than that of the sums of their magnitudes, rounded or not. Only if that one is
    infinite, or NaN, are the gradients computed one by one."""
    bound = _Bounds(code, machine).of(parts.gradients)
    if bound is None:
        _check_each(code, machine, parts)
        return
    width = machine.width
    total = code.binary("fmul", bound, code.splat(0.0, width), width)
    code.store(total, code.element("%v", str(parts.first * machine.lanes)), width)
    odd = code.compare("une", total, code.splat(0.0, width), width)
    if width > 1:
        odd = code.let(f"icmp ne i{width} {code.let(f'bitcast <{width} x i1> {odd} to i{width}')}, 0")
    code.when(odd, lambda: _check_each(code, machine, parts))


class _Bounds:
    """Writes bounds of products: sums of magnitudes, each over the slots of an operand, once for all that read them."""

    def __init__(self, code: Code, machine: Machine) -> None:
        self.code, self.machine = code, machine
        self.known: dict[bytes, str] = {}

    def of(self, gradients: Sequence[Instruction]) -> str | None:
        """A number that no sum of these products exceeds; None if the slots of an operand do not follow a pattern."""
        code, width, total = self.code, self.machine.width, None
        for gradient in gradients:
            for segment in gradient.segments:
                factors = [self._sum(x, gradient, segment.count) for x in (segment.left, segment.right)]
                if factors[0] is None or factors[1] is None:
                    return None
                product = code.binary("fmul", factors[0], factors[1], width)
                total = product if total is None else code.binary("fadd", total, product, width)
        return total

    def _sum(self, x: Operand, gradient: Instruction, count: int) -> str | None:
        code, lanes, width = self.code, self.machine.lanes, self.machine.width
        if isinstance(x, float):
            return code.splat(abs(x), width)
        slots = np.unique(x.slots(gradient.dims, count))
        if slots.tobytes() in self.known:
            return self.known[slots.tobytes()]
        step = int(slots[1] - slots[0]) if len(slots) > 1 else 1
        if (np.diff(slots) != step).any():
            return None
        rounds, rest = divmod(len(slots), _WAYS)

        def some(i: Counter, sums: list[str], ways: int = _WAYS) -> list[str]:
            found = list(sums)
            for k in range(ways):
                place = code.linear((int(slots[0]) + k * step) * lanes, [(_WAYS * step * lanes, i)])
                size = code.intrinsic("fabs", width, code.load(code.element("%v", place), width))
                found[k] = code.binary("fadd", sums[k], size, width)
            return found

        zero = (code.kind.vector(width), code.splat(0.0, width))
        sums = some(rounds, code.loop(rounds, some, [zero] * _WAYS, unroll=_WAYS), rest)
        while len(sums) > 1:
            sums = [code.binary("fadd", a, b, width) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        self.known[slots.tobytes()] = sums[0]
        return sums[0]


def _check_each(code: Code, machine: Machine, parts: Products) -> None:
    width = machine.width
    zero = code.splat(0.0, width)
    place = code.element("%v", str(parts.first * machine.lanes))
    code.store(zero, place, width)

    def tile(found: Sequence[Product]) -> None:
        totals = [code.binary("fmul", value, zero, width) for value, *_ in found[:2]]
        for k, (value, *_) in enumerate(found[2:]):
            totals[k % 2] = code.multiply_add(value, zero, totals[k % 2], width)
        total = code.load(place, width)
        for more in totals:
            total = code.binary("fadd", total, more, width)
        code.store(total, place, width)

    each(code, machine, parts, tile)
