"""The emitter: one loop nest per instruction, with explicit vectors.

A varying buffer is [slot][lane]; the SIMD axis of an instruction in a block is the lanes. Without lanes it is the
innermost counter of the members or, for a sum, the terms, whichever is contiguous in memory. Sums of products keep a
tile of accumulators (members × vectors) in registers across their terms; operands shared by several members of a tile
are loaded once, and that alone turns a group of dot products into a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby, zip_longest

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Loop, Step, counted
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import Kinds, Walker, in_rows
from macrograd.compiler.targets.scalar.access import SCALAR, AffineCounter, Member, Operands, SimdVector, Tables, key_of
from macrograd.compiler.targets.scalar.axes import FEW, axis_of
from macrograd.compiler.targets.scalar.choice import Takes
from macrograd.compiler.targets.scalar.code import Code, Counter, Library, Scalable, Team
from macrograd.compiler.targets.scalar.fuse import Fusion, grouped
from macrograd.compiler.targets.scalar.held import Readers, held
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.maps import Maps
from macrograd.compiler.targets.scalar.outer import OuterProduct, split
from macrograd.compiler.targets.scalar.routines import is_vector
from macrograd.compiler.targets.scalar.sums import better_turned, turned

WORTH = 32  # products or operations of a sample


def _written_again(loop: Loop, depth: int) -> set[tuple[int, tuple[int, ...]]]:
    """The slots that every round of a loop writes, with their movement in the `depth` loops around it."""
    found: set[tuple[int, tuple[int, ...]]] = set()
    for instruction, _ in counted(loop):
        out = instruction.out
        if out.space == "u" and not any(out.shifts[depth:]):
            found |= {(int(slot), out.shifts[:depth]) for slot in out.slots(instruction.dims).ravel()}
    return found


def _shareable(piece: Step | Fusion) -> bool:
    """Whether the members of a step are worth sharing out to threads, and independent of each other."""
    found = piece.instructions if isinstance(piece, Fusion) else (piece,)
    work = 0
    for x in found:
        if not isinstance(x, Instruction) or x.kind not in ("map", "dot", "reduce"):
            return False
        if x.kind == "reduce" and any(segment.count > 1 for segment in x.segments):
            return False  # several products add to one sum
        work += x.members * max(1, x.terms)
    return work >= WORTH


def _long(instruction: Instruction) -> bool:
    row = ops.TABLE[instruction.code]
    return instruction.kind == "map" and row.long and is_vector(row)


Body = Callable[[Counter, list[str]], list[str]]
Rounds = Callable[[Loop, Body, Sequence[tuple[str, str]]], list[str]]


class Emitter(Walker[None], Kinds[None]):
    """Writes the steps of one phase: before the blocks, in a block, or after them.

    `read` comes from `fuse.readers`, `reused` from `held`; `rounds` writes the rounds of a loop in
    another way than `code.loop`. The parts share `at`, which knows the
    operands and where they are held.
    """

    def __init__(
        self,
        code: Code,
        machine: Machine,
        tables: Tables,
        phase: str,
        read: NDArray[np.int64],
        reused: Readers | None = None,
        team: Team | None = None,
        rounds: Rounds | None = None,
        library: Library | None = None,
        scalable: Scalable | None = None,
    ) -> None:
        self.team, self.rounds = team, rounds
        self.reused = reused
        self.code, self.machine, self.tables, self.phase, self.read = code, machine, tables, phase, read
        self.at = Operands(code, machine, tables, library, scalable)
        self.maps, self.takes = Maps(self.at, read), Takes(self.at, phase)
        self.tiles, self.sums = self.maps.tiles, self.maps.sums
        self.following: Step | Fusion | None = None  # the step after the current one

    def steps(self, steps: Sequence[Step], counts: tuple[int, ...] = ()) -> None:
        """Write all steps of the phase or of a loop's body; with lanes, instructions between loops and streams are
        grouped. `counts` are those of the loops around."""
        pieces = list(grouped(steps, self.read, self.machine, counts) if self.phase == "block" else steps)
        if self.team is not None and self.phase == "block" and not counts:
            self._together(pieces, self.team)
            return
        for piece, following in zip_longest(pieces, pieces[1:]):
            self.following = following
            self.piece(piece, counts)

    def _together(self, pieces: Sequence[Step | Fusion], team: Team) -> None:
        """Write the steps of a block for a team of threads, which meet after those that they share, and after others in
        a row."""

        def alone(row: Sequence[Step | Fusion]) -> None:
            for piece in row:
                self.piece(piece)

        for shared, some in groupby(pieces, _shareable):
            if not shared:
                team.once(partial(alone, list(some)))
                team.meet()
                continue
            for piece in some:
                self.at.team = team
                self.piece(piece)
                self.at.team = None
                team.meet()

    def piece(self, piece: Step | Fusion, counts: tuple[int, ...] = ()) -> None:
        if isinstance(piece, Fusion):
            self.maps.group(piece)
        else:
            self.step(piece, counts)

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        """Pass the records to the kernel in the context. They are preceded by their number of words."""
        self.code.run_stream(self.tables.add(stream.table()), block=stream.block)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        """Write a loop over rounds. A scalar that one round leaves for the next stays in a register."""
        code, kind = self.code, self.code.kind.name
        rounds, counts = self.at.rounds, (*around, loop.count)
        again = _written_again(loop, len(around))
        known = self.at.registers
        outer = {key: name for key, name in known.items() if key not in again}
        instructions = [instruction for row, _ in in_rows(loop.body) for instruction in row]
        made = {key for instruction in instructions for key in self._made(instruction)}
        carried = sorted(
            {
                (slot, shifts)
                for instruction in instructions
                for slot, shifts in self._read(instruction)
                if shifts[-1] and (slot + shifts[-1], shifts) in made and (slot, shifts) not in made
            }
            | self._overwritten(instructions)
        )
        if loop.guard is not None:
            carried = []  # a round that is left out hands nothing on
        elif not around and self.reused:
            handed_on = set(carried)
            self.at.unwritten = {
                slot
                for slot in held(loop, self.reused, self._single, rolled=self.machine.rolled)
                if (slot, (0,)) in handed_on or not self.reused.beside(slot, loop)
            }
        starts = []
        for slot, shifts in carried:
            place = code.linear(slot, list(zip(shifts, rounds, strict=False)))
            starts.append(known.get((slot, shifts[:-1])) or code.load(code.element("%u", place), 1))

        def body(i: Counter, values: list[str]) -> list[str]:
            self.at.rounds = (*rounds, i)
            self.at.registers = {(slot, (*shifts, 0)): name for (slot, shifts), name in outer.items()}
            self.at.registers |= dict(zip(carried, values, strict=True))
            if loop.guard is not None:
                code.when(self._any(loop.guard), lambda: self.steps(loop.body, counts))
                return []
            self.steps(loop.body, counts)
            return [self.at.registers[slot + shifts[-1], shifts] for slot, shifts in carried]

        registers = [(kind, start) for start in starts]
        ends = code.loop(loop.count, body, registers) if self.rounds is None else self.rounds(loop, body, registers)
        self.at.rounds, self.at.registers = rounds, outer
        for (slot, _), value in zip(carried, ends, strict=True):
            if self.reused and slot in self.at.unwritten and self.reused.beside(slot, loop):
                code.store(value, code.element("%u", str(slot)), 1)
        if not around:
            self.at.unwritten = set()

    def _overwritten(self, instructions: Sequence[Instruction]) -> set[tuple[int, tuple[int, ...]]]:
        """The scalars that are read before they are written again: those of the round before."""
        written: set[tuple[int, tuple[int, ...]]] = set()
        before: set[tuple[int, tuple[int, ...]]] = set()
        for instruction in instructions:
            before.update(key for key in self._read(instruction) if key not in written)
            written.update(self._made(instruction))
        return before & {key for key in written if not key[1][-1]}

    def _any(self, guard: Index) -> str:
        """Whether a number is not 0, in any lane."""
        code, lanes = self.code, self.machine.lanes if guard.space == "v" else 1
        width = self.machine.width if lanes % self.machine.width == 0 and not self.machine.scalable else 1
        zero, one = code.splat(0.0, width), code.splat(1.0, width)
        moves = [(shift * lanes, round_) for shift, round_ in zip(guard.shifts, self.at.rounds, strict=True)]

        def some(i: Counter, values: list[str]) -> list[str]:
            place = code.element(f"%{guard.space}", code.linear(guard.base * lanes, [*moves, (width, i)]))
            there = code.compare("une", code.load(place, width), zero, width)
            return [code.select(there, one, values[0], width)]

        (found,) = code.loop(lanes // width, some, [(code.kind.vector(width), zero)], unroll=4)
        if width > 1:
            found = code.sums_of_elements([found], width)
        return code.compare("une", found, code.splat(0.0, 1), 1)

    def _single(self, instruction: Instruction) -> bool:
        """Whether the instruction is a few scalars outside a block, which are written out one by one."""
        return (
            self.phase != "block"
            and instruction.kind in ("map", "dot")
            and instruction.members <= FEW
            and not (instruction.terms >= 2 * FEW * self.machine.width and self._axis(instruction) == "term")
        )

    def _feeds_long(self, instruction: Instruction) -> bool:
        """Whether its results are the vector operand of the next instruction."""
        following = self.following
        if not isinstance(following, Instruction) or not _long(following) or not self._single(following):
            return False
        if instruction.kind != "dot" or any(segment.count > 1 for segment in instruction.segments):
            return False
        x, out, dims = following.args[0], instruction.out, instruction.dims
        if not isinstance(x, Index) or not (x.affine and out.affine) or following.dims != dims:
            return False
        return (x.space, key_of(x, dims)) == (out.space, key_of(out, dims))

    def _made(self, instruction: Instruction) -> list[tuple[int, tuple[int, ...]]]:
        if not self._single(instruction):
            return []
        return [(int(slot), instruction.out.shifts) for slot in instruction.out.slots(instruction.dims).ravel()]

    def _read(self, instruction: Instruction) -> list[tuple[int, tuple[int, ...]]]:
        if not self._single(instruction):
            return []
        return [
            (int(slot), x.shifts)
            for x, count in instruction.operands()
            if isinstance(x, Index) and count <= FEW
            for slot in x.slots(instruction.dims, count).ravel()
        ]

    # --- each kind of instruction -----------------------------------------------------------------------------------

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> None:
        self.kind(instruction)

    def take(self, instruction: Instruction) -> None:
        self.takes.take(instruction)

    def scatter(self, instruction: Instruction) -> None:
        if self.phase == "block" and instruction.out.space == "u":  # not of nets, whose lanes are all filled
            self._clean(instruction)
        self.takes.scatter(instruction)

    def map(self, instruction: Instruction) -> None:
        if self._single(instruction):
            self._one_by_one(instruction, self.maps.map)
        else:
            self.tiles.run(instruction, self._along_axis(instruction), self.maps.map)

    def dot(self, instruction: Instruction) -> None:
        if self._single(instruction):
            self._one_by_one(instruction, self.sums.dot)
            return
        if self.phase == "block" and better_turned(instruction):
            instruction = turned(instruction)
        length = self._along_axis(instruction)
        if self.at.axis == "term":
            self.tiles.run(instruction, 1, self.sums.across, scalar=True)
        else:
            self.tiles.run(instruction, length, self.sums.dot)

    def reduce(self, instruction: Instruction) -> None:
        self._clean(instruction)
        outer = split(instruction, self.machine) if self.phase == "block" else None
        if outer is not None:
            main, rest = outer
            OuterProduct(self.at, main).emit()
            if rest is None:
                return
            instruction = rest
        self._along_axis(instruction)
        self.tiles.run(instruction, 1, self.sums.across, scalar=True)

    def _one_by_one(
        self, instruction: Instruction, body: Callable[[Instruction, list[Member], list[SimdVector]], None]
    ) -> None:
        """A few scalars: written out, or gathered into a vector if the operation is worth it."""
        self.at.axis, self.at.dims = "none", instruction.dims
        members = [tuple(AffineCounter(0, 0, c) for c in counters) for counters in np.ndindex(*self.at.dims)]
        worth = len(members) > 1 and not self.machine.scalable
        if worth and (_long(instruction) or self._feeds_long(instruction)):
            self.maps.packed(instruction, members)
        else:
            body(instruction, members, [SCALAR])

    def _along_axis(self, instruction: Instruction) -> int:
        """Choose the SIMD axis; returns its length."""
        self.at.axis = self._axis(instruction)
        self.at.dims = instruction.dims[:-1] if self.at.axis == "member" else instruction.dims
        if self.at.axis == "lane":
            return self.machine.lanes
        return instruction.dims[-1] if self.at.axis == "member" else 1

    def _clean(self, instruction: Instruction) -> None:
        """Before a sum over the lanes of a partly filled block: set those without a sample to 0."""
        code = self.code
        slots = [
            (operand, operand.slots(instruction.dims, count))
            for operand, count in instruction.operands()
            if isinstance(operand, Index) and operand.space == "v"
        ]

        def clean() -> None:
            for operand, found in slots:
                moves = list(zip(operand.shifts, self.at.rounds, strict=True))
                code.clean(*(code.linear(int(at), moves) for at in (found.min(), found.max() + 1)))

        code.when(code.less(code.valid(), self.machine.lanes), clean)

    def _axis(self, instruction: Instruction) -> str:
        """The axis of a vector: lane, member, term, or none."""
        return "lane" if self.phase == "block" else axis_of(instruction, self.machine)
