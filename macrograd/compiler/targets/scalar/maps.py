"""Maps, and groups of instructions (`fuse`) that run tile by tile with their values in registers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.program.program import Instruction
from macrograd.compiler.targets.scalar.access import SCALAR, AffineCounter, Member, Operands, SimdVector
from macrograd.compiler.targets.scalar.code import Counter
from macrograd.compiler.targets.scalar.fuse import Fusion
from macrograd.compiler.targets.scalar.library import library_products
from macrograd.compiler.targets.scalar.rolled import Rolled
from macrograd.compiler.targets.scalar.sums import Sums, better_turned, turned
from macrograd.compiler.targets.scalar.tiles import Tiles


class Maps:
    """Writes maps, alone and in groups. `read` comes from `fuse.readers`."""

    def __init__(self, at: Operands, read: NDArray[np.int64]) -> None:
        self.at, self.code, self.machine, self.read = at, at.code, at.machine, read
        self.tiles, self.sums = (Rolled if at.machine.rolled else Tiles)(at), Sums(at)

    def map(self, instruction: Instruction, members: list[Member], vectors: list[SimdVector]) -> None:
        self.at.cache = {}
        tile = [(member, vector) for member in members for vector in vectors]
        values = [self.sums.value(instruction, *place) for place in tile]
        for value, place in zip(values, tile, strict=True):
            self.at.result(value, instruction, *place)

    def packed(self, instruction: Instruction, members: list[Member]) -> None:
        """A few scalars anywhere as one vector, of a map or of sums of single products."""
        code = self.code
        width = min(self.machine.width, 1 << (len(members) - 1).bit_length())
        for begin in range(0, len(members), width):
            some = members[begin : begin + width]
            self.at.cache = {}
            if instruction.kind == "map":
                operands = [[self.sums.load(x, member, 0, 1, SCALAR) for member in some] for x in instruction.args]
                found = self.sums.applied(instruction, [code.gathered(x, width) for x in operands], width)
            else:
                total: str | None = None
                for segment in instruction.segments:
                    left, right = zip(*(self.sums.pair(segment, member, 0, SCALAR) for member in some), strict=True)
                    factor = left[0] if isinstance(left[0], float) else code.gathered(left, width)
                    total = self.sums.accumulate(total, factor, code.gathered(right, width), width)
                assert total is not None
                found = total
            for k, member in enumerate(some):
                self.at.store(code.extract(found, k, width), instruction, member, SCALAR)

    def group(self, group: Fusion) -> None:
        """All instructions of a group, tile by tile."""
        if group.instructions[0].kind == "dot" and better_turned(group.instructions[0]):
            group = Fusion(tuple(map(turned, group.instructions)), group.stored)
        leader = group.instructions[0]
        self.at.axis, self.at.dims, self.at.grouped = "lane", leader.dims, True
        sums = [instruction for instruction in group.instructions if instruction.kind == "reduce"]
        in_turn = bool(sums) and self.machine.rolled and all(len(x.segments) == 1 for x in sums)
        in_turn = in_turn or (not sums and bool(library_products(self.at, leader)))
        masks = self._masks() if sums and not in_turn else []
        chain = [pair for pair in zip(group.instructions, group.stored, strict=True) if pair[0] not in sums]
        rest = chain[1:] if leader.kind == "dot" else chain

        def tile(_: Instruction, members: list[Member], vectors: list[SimdVector]) -> None:
            if not vectors:
                self._by_steps(group, members, rest, sums)
                return
            self.at.given, self.at.cache, self.at.stored = {}, {}, group.stored[0] or in_turn
            if leader.kind == "dot":
                self.sums.dot(leader, members, vectors)
            if in_turn and vectors[0].valid == vectors[0].width:
                self._in_turn(rest, sums, members[0], len(vectors))
                return
            for member in members:
                for vector in vectors:
                    self._chain(rest, member, vector)
            for number, instruction in enumerate(sums):
                self._total(instruction, members, vectors, masks, number)

        self.tiles.run(leader, self.machine.lanes, tile, sums=sums)
        self.at.given, self.at.grouped, self.at.stored = {}, False, True

    def _by_steps(
        self,
        group: Fusion,
        members: list[Member],
        rest: list[tuple[Instruction, bool]],
        sums: list[Instruction],
    ) -> None:
        """A tile of a group with sums, in a loop over vectors of unknown length."""
        code, width, leader = self.code, self.machine.width, group.instructions[0]
        valid = code.valid()

        def one(vector: SimdVector, totals: list[str]) -> list[str]:
            self.at.given, self.at.cache, self.at.stored = {}, {}, group.stored[0]
            if leader.kind == "dot":
                self.sums.dot(leader, members, [vector])
            for member in members:
                self._chain(rest, member, vector)
            mask = code.first_lanes(code.linear(0, [(1, valid), (-1, vector.start.counter)]), width)
            added = []
            for (instruction, member), total in zip(places, totals, strict=True):
                found = total
                for segment in instruction.segments:
                    found = self._added(found, self.sums.pair(segment, member, 0, vector), mask, width)
                added.append(found)
            return added

        places = [(instruction, member) for instruction in sums for member in members]
        zero = (code.kind.vector(width), code.splat(0.0, width))
        totals = self.at.along(self.machine.lanes // width, width, one, [zero] * len(places))
        for k, instruction in enumerate(sums):
            self.sums.finish(instruction, members, totals[k * len(members) : (k + 1) * len(members)], width)

    def _chain(self, rest: list[tuple[Instruction, bool]], member: Member, vector: SimdVector) -> None:
        for instruction, stored in rest:
            self.at.stored = stored
            self.at.result(self.sums.value(instruction, member, vector), instruction, member, vector)

    def _masks(self) -> list[str]:
        """For each vector of lanes of a block, the mask of those that stand for a sample."""
        code, width = self.code, self.machine.width
        valid = code.valid()
        return [code.first_lanes(valid, width, start) for start in range(0, self.machine.lanes, width)]

    def _in_turn(
        self, rest: list[tuple[Instruction, bool]], sums: list[Instruction], member: Member, count: int
    ) -> None:
        """A member of all but the leader, whose result is in memory, in a loop over so many vectors of lanes."""
        code, width = self.code, self.machine.width
        valid = code.valid() if sums else ""

        def one(i: Counter, totals: list[str]) -> list[str]:
            vector = SimdVector(AffineCounter(width, i, 0), width, width)
            self.at.given, self.at.cache = {}, {}
            self._chain(rest, member, vector)
            mask = code.first_lanes(code.linear(0, [(1, valid), (-width, i)]), width) if sums else ""
            added = []
            for instruction, total in zip(sums, totals, strict=True):
                pair = self.sums.pair(instruction.segments[0], member, 0, vector)
                added.append(code.select(mask, self.sums.accumulate(total, *pair, width), total, width))
            return added

        zero = code.splat(0.0, width)
        totals = code.loop(count, one, [(code.kind.vector(width), zero)] * len(sums))
        for number, (instruction, total) in enumerate(zip(sums, totals, strict=True)):
            self.sums.finish(instruction, [member], [total], width, number)

    def _total(
        self,
        instruction: Instruction,
        members: list[Member],
        vectors: list[SimdVector],
        masks: list[str],
        number: int,
    ) -> None:
        """Sums over the lanes of a tile that has all of them; lanes without a sample leave a sum unchanged."""
        code, width = self.code, self.machine.width
        sums = [code.splat(0.0, width)] * len(members)
        for segment in instruction.segments:
            for vector, mask in zip(vectors, masks, strict=True):
                for k, member in enumerate(members):
                    pair = self.sums.pair(segment, member, 0, vector)
                    sums[k] = self._added(sums[k], pair, mask, width)
        self.sums.finish(instruction, members, sums, width, number)

    def _added(self, total: str, pair: tuple[str | float, str], mask: str, width: int) -> str:
        """A sum with one more product where the mask has a sample."""
        (left, right), code = pair, self.code
        if isinstance(left, float) and not self.machine.masks:
            # One operation instead of three. A sum that began with +0 is never −0, and so adding 0 leaves it as it is.
            return self.sums.accumulate(total, left, code.select(mask, right, code.splat(0.0, width), width), width)
        return code.select(mask, self.sums.accumulate(total, left, right, width), total, width)
