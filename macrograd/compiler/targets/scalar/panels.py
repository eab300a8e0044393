"""Panels: the uniform operand of a tile, copied once to where the terms of a sum are neighbours.

The product with a transposed matrix reads down its columns: every term is on another page, and most of the lines that
these terms need fall into the same few sets of a cache. Several tiles of lanes read the same members, so one copy of
their terms pays. It changes no number.
"""

from __future__ import annotations

from dataclasses import replace

from macrograd.compiler.program.program import Index, Instruction
from macrograd.compiler.targets.scalar.access import Member, Operands, Panel
from macrograd.compiler.targets.scalar.code import Counter

FAR = 1 << 16  # bytes from the first to the last term where the copy begins to pay: beyond a first-level cache
MOST = 1 << 16  # bytes of a panel, which is on the stack


class Panels:
    """Writes the copies."""

    def __init__(self, at: Operands) -> None:
        self.at, self.code, self.size = at, at.code, at.machine.kind.bytes

    def gather(self, instruction: Instruction, members: list[Member]) -> None:
        """Copy the operand of a sum of products that these members read from far apart, if there is one."""
        if instruction.kind != "dot" or self.at.axis != "lane":
            return
        for segment in instruction.segments:
            for x in (segment.left, segment.right):
                if isinstance(x, Index) and self._scattered(x, segment.count, len(members)):
                    self.copy(x, segment.count, members)
                    return

    def _scattered(self, x: Index, count: int, members: int) -> bool:
        far = abs(x.term) * count * self.size >= FAR and x.term not in (-1, 1)
        return far and x.space == "u" and x.affine and members * count * self.size <= MOST

    def copy(self, x: Index, count: int, members: list[Member]) -> None:
        code, valid = self.code, len(members)
        row = 1 << (valid - 1).bit_length()
        in_a_row = x.member[-1] == 1 and _in_a_row(members)
        side_by_side = 1 < row <= self.at.machine.width and in_a_row
        panel = code.scratch(row * count)

        def term(t: Counter, _: list[str]) -> list[str]:
            self.at.cache = {}
            addresses = [self.at.address(x, member, t, count, None) for member in members]
            if in_a_row and self.at.scalable is not None:
                place = code.element(panel, code.linear(0, [(row, t)]))

                def one(k: Counter, _: list[str]) -> list[str]:
                    code.store(code.load(code.element(addresses[0], str(k)), 1), code.element(place, str(k)), 1)
                    return []

                return code.loop(valid, one)
            if side_by_side:
                values = code.masked_load(addresses[0], row, valid)
                code.store(values, code.element(panel, code.linear(0, [(row, t)])), row)
                return []
            for k, address in enumerate(addresses):
                code.store(code.load(address, 1), code.element(panel, code.linear(k, [(row, t)])), 1)
            return []

        code.loop(count, term)
        self.at.cache = {}
        self.at.panel = Panel(x, panel, row, {member: k for k, member in enumerate(members)})


def _in_a_row(members: list[Member]) -> bool:
    """Whether only the last counter moves from member to member, by 1."""
    first = members[0]
    row = [(*first[:-1], replace(first[-1], offset=first[-1].offset + k)) for k in range(len(members))]
    return members == row
