"""The values of members: of maps, and of the products of sums. Operands are in memory, or computed here (`inside`)."""

from __future__ import annotations

from collections.abc import Callable

from macrograd import ops
from macrograd.compiler.program.program import Instruction, Operand, Segment
from macrograd.compiler.targets.scalar.access import Member, Operands, SimdVector
from macrograd.compiler.targets.scalar.code import Counter
from macrograd.compiler.targets.scalar.inside import Computed


class Values:
    """Writes operations on the operands of a member."""

    def __init__(self, at: Operands) -> None:
        self.at, self.code, self.machine = at, at.code, at.machine

    def value(
        self, instruction: Instruction, member: Member, vector: SimdVector, t: Counter = 0, count: int = 1
    ) -> str:
        """A member's value of a map or of a sum of single products; for one computed in a sum, that of its term t."""
        return self.result_of(instruction, lambda x: self.load(x, member, t, count, vector), vector.width)

    def result_of(self, instruction: Instruction, load: Callable[[Operand], str], width: int) -> str:
        """The value of a map or of a sum of single products, of operands as `load` gives them."""
        if instruction.kind == "map":
            return self.applied(instruction, [load(x) for x in instruction.args], width)
        total: str | None = None
        for segment in instruction.segments:
            total = self.accumulate(total, *self.factors(segment, load), width)
        assert total is not None
        return total

    def load(self, x: Operand, member: Member, t: Counter, count: int, vector: SimdVector) -> str:
        if not isinstance(x, Computed):
            return self.at.load(x, member, t, count, vector)
        key = self.at.key(x, member, t, vector)
        if key not in self.at.cache:
            self.at.cache[key] = self.value(x.source, member, vector, t, count)
        return self.at.cache[key]

    def pair(self, segment: Segment, member: Member, t: Counter, vector: SimdVector) -> tuple[str | float, str]:
        """The factors of a product."""
        return self.factors(segment, lambda x: self.load(x, member, t, segment.count, vector))

    def accumulate(self, total: str | None, left: str | float, right: str, width: int) -> str:
        """A sum with one more product; None is the sum of none."""
        code = self.code
        if isinstance(left, float):
            if total is None:
                return right if left == 1.0 else code.negate(right, width)
            return code.binary("fadd" if left == 1.0 else "fsub", total, right, width)
        if total is None:
            return code.binary("fmul", left, right, width)
        return code.multiply_add(left, right, total, width)

    def applied(self, instruction: Instruction, operands: list[str], width: int) -> str:
        """A map's operation on these operands."""
        row = ops.TABLE[instruction.code]
        exponent = instruction.args[1] if row is ops.power else None
        if isinstance(exponent, float) and not self.machine.strict and exponent in range(3, 17):
            return self._whole_power(operands[0], int(exponent), width)
        return self.code.apply(row, operands, width)

    def _whole_power(self, base: str, exponent: int, width: int) -> str:
        """xⁿ by squaring."""
        result, square = "", base
        while exponent:
            if exponent & 1:
                result = square if not result else self.code.binary("fmul", result, square, width)
            exponent >>= 1
            if exponent:
                square = self.code.binary("fmul", square, square, width)
        return result

    @staticmethod
    def factors(segment: Segment, load: Callable[[Operand], str]) -> tuple[str | float, str]:
        """The factors of a product, of operands as `load` gives them; 1 and −1 as numbers."""
        left, value = segment.left, load(segment.right)
        if isinstance(left, float) and left in (1.0, -1.0):
            return left, value
        return load(left), value
