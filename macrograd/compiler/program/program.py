"""The program: the array intermediate representation, where scalars with the same operation are one instruction.

Numbers live in two spaces. `u` holds numbers that are the same for all samples: parameters, constants, uniform
arguments, anything computed from them, and sums over the batch. `v` holds those that vary: each slot is one number per
sample ("lane"). A program without a batch uses `u` only.

    program     ::= "before:" step* "block:" step* "after:" step*
    step        ::= instruction | "loop" rounds ":" (instruction | loop)*
    instruction ::= result "=" what "for" dims
    what        ::= opname operand*                       map: the operation on each member
                  | "dot" term+                           sums of products
                  | "reduce" term+                        sums of products, summed over the samples too
                  | "take" index "from" operand           one of n, by an index
                  | "scatter" n "×" "(" index operand ")" "from" k    n terms, each added to the member of its index
    term        ::= "+" n "×" "(" operand operand ")"     n terms of the sum
    operand     ::= space "[" index "]" | number
    index       ::= base (stride counter)* ("+table")?

`before` runs once, `block` once per block of lanes, `after` once when all blocks are done. An instruction has members
(up to three nested counters i, j, k), and its sums have terms (counter t). The slot of a member's operand is an affine
map of the counters, or a table if no such map fits. A loop runs its steps for rounds r = 0, 1, …, one after the other;
every operand moves by a fixed number of slots from round to round. In a nested loop it moves with the rounds of both,
where the inner loop counts s = 0, 1, … (and a third one q).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.program.instruction import (
    KINDS,
    SUMS_OF_BATCH,
    Index,
    Instruction,
    Loop,
    Operand,
    ProgramError,
    Segment,
    Step,
)
from macrograd.compiler.program.stream import MORE, SPREAD, TOTAL, Stream
from macrograd.compiler.program.walk import Walker, body_of, counted, executed, streams_of
from macrograd.compiler.tape.tape import distinct

__all__ = [
    "SUMS_OF_BATCH", "Index", "Instruction", "Loop", "Operand", "Program", "ProgramError", "Segment", "Step", "body_of",
    "counted", "executed", "verify",
]  # fmt: skip


@dataclass(frozen=True, eq=False)
class Program:
    """Instructions by phase, and the slots of leaves and results.

    Space u holds `parameters` parameters, then the constants, then computed numbers; space v holds `inputs` inputs,
    then computed numbers. Result k is at `results[k]`, a (space, slot); computed results are contiguous.
    """

    before: tuple[Step, ...]
    block: tuple[Step, ...]
    after: tuple[Step, ...]
    parameters: int
    inputs: int
    constants: NDArray[np.float64]
    uniform: int
    varying: int
    results: tuple[tuple[str, int], ...]
    batch: bool
    weight: int | None = None  # the slot of the samples' weights, the last input of a differentiated program
    first_output: int = 0  # the slot of the first varying result
    scalars: int = 0
    uniform_inputs: int = 0  # scalars of the uniform arguments; they follow the constants
    reused: tuple[tuple[str, int, int], ...] = ()  # ranges of slots that a loop writes again in each round

    @property
    def input_space(self) -> str:
        return "v" if self.batch else "u"

    @property
    def first_uniform_input(self) -> int:
        return self.parameters + len(self.constants)

    @property
    def held(self) -> int:
        """The number of slots of u that a run does not write: parameters, constants and uniform inputs."""
        return self.first_uniform_input + self.uniform_inputs

    @property
    def first_input(self) -> int:
        """The slot of the first input: 0 in v, and `held` in u."""
        return 0 if self.batch else self.held

    @property
    def outputs(self) -> int:
        """The number of results that vary, without inputs that are returned unchanged."""
        return sum(space == "v" and slot >= self.first_output for space, slot in set(self.results))

    def steps(self) -> tuple[Step, ...]:
        return self.before + self.block + self.after

    def instructions(self) -> tuple[Instruction, ...]:
        """All instructions; those of a loop are listed once."""
        return tuple(instruction for step in self.steps() for instruction in body_of(step))

    def phases(self) -> tuple[tuple[str, tuple[Step, ...]], ...]:
        """The steps of each phase by its name, in execution order."""
        return ("before", self.before), ("block", self.block), ("after", self.after)

    def streams(self) -> tuple[Stream, ...]:
        return streams_of(self.steps())

    def operations(self) -> frozenset[int]:
        """The codes of all operations that are called; sums are not calls."""
        found = {x.code for x in self.instructions() if x.kind == "map"}
        found.update(ops.take.code for x in self.instructions() if x.kind == "take")
        for stream in self.streams():
            found.update(code for code in stream.codes if code < len(ops.TABLE))
        return frozenset(found)

    def takes(self) -> bool:
        """Whether any step uses an index."""
        return ops.take.code in self.operations()

    def fingerprint(self) -> bytes:
        """A digest of the whole program."""
        digest = hashlib.sha256()
        sizes = (self.parameters, self.inputs, self.uniform, self.varying, self.batch, self.weight, self.first_output)
        digest.update(repr((sizes, self.uniform_inputs, len(self.results), self.reused)).encode())
        digest.update("".join(map(itemgetter(0), self.results)).encode())
        digest.update(np.fromiter(map(itemgetter(1), self.results), np.int64, len(self.results)).tobytes())
        digest.update(self.constants.tobytes())
        for _, steps in self.phases():
            digest.update(b"phase")
            for step in steps:
                _Fingerprint(digest.update).step(step)
        return digest.digest()

    def __str__(self) -> str:
        same = f"{self.uniform_inputs} uniform inputs, " if self.uniform_inputs else ""
        lines = [
            f"{self.parameters} parameters, {self.inputs} inputs, {same}{len(self.constants)} constants; "
            f"{self.uniform} slots in u, {self.varying} in v"
        ]
        for name, instructions in self.phases():
            if instructions:
                lines.append(f"{name}:")
                lines += [f"  {line}" for instruction in instructions for line in str(instruction).split("\n")]
        lines.append("return " + " ".join(_ranges(self.results)))
        return "\n".join(lines)


class _Fingerprint(Walker[None]):
    """Updates a digest with a whole step."""

    def __init__(self, update: Callable[[bytes], None]) -> None:
        self.update = update

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> None:
        self.update(b"instruction")
        _fingerprint(instruction, self.update)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        guard = None if loop.guard is None else (loop.guard.space, loop.guard.base, loop.guard.shifts)
        self.update(repr(("loop", loop.count, len(loop.body), guard)).encode())
        for inner in loop.body:
            self.step(inner)

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        self.update(repr(("stream", len(stream.words))).encode())
        self.update(stream.words.tobytes())


def _fingerprint(instruction: Instruction, update: Callable[[bytes], None]) -> None:
    update(repr((instruction.kind, instruction.code, instruction.dims, instruction.count, instruction.choice)).encode())
    for operand in (instruction.out, *(x for x, _ in instruction.operands())):
        if isinstance(operand, float):
            update(operand.hex().encode())
            continue
        update(repr((operand.space, operand.base, operand.member, operand.term, operand.shifts)).encode())
        for table in (operand.members, operand.terms, operand.full):
            update(b"-" if table is None else repr((table.shape, table.dtype.str)).encode() + table.tobytes())
    update(repr([segment.count for segment in instruction.segments]).encode())


def _ranges(results: tuple[tuple[str, int], ...]) -> Iterator[str]:
    """Results in short: u[3..9] for a contiguous range."""
    i = 0
    while i < len(results):
        j = i
        while j + 1 < len(results) and results[j + 1] == (results[j][0], results[j][1] + 1):
            j += 1
        space, slot = results[i]
        yield f"{space}[{slot}]" if i == j else f"{space}[{slot}..{results[j][1]}]"
        i = j + 1


def verify(program: Program) -> Program:
    """Return the program if it is valid: every slot is inside its space, and is written once, before it is read."""
    sizes = {"u": program.uniform, "v": program.varying}
    written = {space: np.zeros(size, dtype=bool) for space, size in sizes.items()}
    again = {space: np.zeros(size, dtype=bool) for space, size in sizes.items()}
    for space, begin, end in program.reused:
        again[space][begin:end] = True
    written["u"][: program.held] = True
    written[program.input_space][program.first_input : program.first_input + program.inputs] = True
    for phase, steps in program.phases():
        for step in steps:
            for stream in streams_of([step]):
                _verify_stream(stream, phase, written)
            for instruction, rounds in executed(step):
                _verify_instruction(instruction, phase, rounds, written, sizes, again)
    for space, slot in program.results:
        if not 0 <= slot < sizes[space] or not written[space][slot]:
            raise ProgramError(f"the result {space}[{slot}] is never computed")
    return program


def _verify_stream(stream: Stream, phase: str, written: dict[str, NDArray[np.bool_]]) -> None:
    if stream.block != (phase == "block"):
        raise ProgramError(f"a {stream} is in phase {phase!r}")
    here = written["v" if stream.block else "u"]
    for code, out, operands in stream.records():
        reads, writes = (
            (written["u"], here) if code == SPREAD else (here, written["u"] if code in (TOTAL, MORE) else here)
        )
        for row in operands:
            if row.min() < 0 or row.max() >= len(reads) or not (reads[row] | np.isin(row, out)).all():
                raise ProgramError(f"an operand of a stream is outside its space, or not yet computed: {stream}")
        if out.min() < 0 or out.max() >= len(writes):
            raise ProgramError(f"a result of a stream is outside its space: {stream}")
        writes[out] = True


def _verify_instruction(
    instruction: Instruction,
    phase: str,
    rounds: tuple[int, ...],
    written: dict[str, NDArray[np.bool_]],
    sizes: dict[str, int],
    again: dict[str, NDArray[np.bool_]],
) -> None:
    if instruction.kind not in KINDS:
        raise ProgramError(f"{instruction.kind!r} is not a kind of instruction: {instruction}")
    for operand, _ in (*instruction.operands(), (instruction.out, 1)):
        if isinstance(operand, Index) and len(operand.shifts) != len(rounds):
            raise ProgramError(f"an operand moves with {len(operand.shifts)} loops, not {len(rounds)}: {instruction}")
    for operand, count in instruction.operands():
        if isinstance(operand, float):
            continue
        slots = operand.slots(instruction.dims, count, rounds)
        if slots.min() < 0 or slots.max() >= sizes[operand.space]:
            raise ProgramError(f"an operand is outside space {operand.space}: {instruction}")
        if not written[operand.space][slots].all():
            raise ProgramError(f"an operand is read before it is written: {instruction}")
        if operand.space == "v" and phase != "block":
            raise ProgramError(f"a varying operand is used outside of the block: {instruction}")
    out = instruction.out.slots(instruction.dims, 1, rounds).ravel()
    space = instruction.out.space
    if (space == "v") != (phase == "block" and instruction.kind not in SUMS_OF_BATCH):
        raise ProgramError(f"a result is in the wrong space: {instruction}")
    if out.min() < 0 or out.max() >= sizes[space]:
        raise ProgramError(f"a result is outside space {space}: {instruction}")
    if len(distinct(out)) != len(out) or (written[space][out] & ~again[space][out]).any():
        raise ProgramError(f"a slot is written twice: {instruction}")
    written[space][out] = True
