"""The program: the array intermediate representation, where scalars with the same operation are one instruction.

Numbers live in two spaces. `u` holds numbers that are the same for all samples: parameters, constants, uniform
arguments, anything computed from them, and sums over the batch. `v` holds those that vary: each slot is one number per
sample ("lane"). A program without a batch uses `u` only.

    program     ::= "before:" step* "block:" step* "after:" step*
    step        ::= instruction | loop | stream
    loop        ::= "loop" rounds ("while" operand)? ":" (instruction | loop)*
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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
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
from macrograd.compiler.program.results import Place, slots, spaces, varies
from macrograd.compiler.program.stream import MORE, SPREAD, TOTAL, Stream
from macrograd.compiler.program.walk import Walker, body_of, counted, executed, streams_of
from macrograd.compiler.tape.tape import Ints, distinct

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
    results: Sequence[Place]
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
        return len(distinct(self.slots[self.varies & (self.slots >= self.first_output)]))

    @property
    def slots(self) -> NDArray[np.int64]:
        """The slot of each result."""
        return slots(self.results)

    @property
    def varies(self) -> NDArray[np.bool_]:
        """Which results vary over the samples."""
        return varies(self.results)

    def results_in(self, space: str) -> NDArray[np.int64]:
        """The slots of the results in a space."""
        here: NDArray[np.bool_] = np.frombuffer(spaces(self.results).encode(), dtype=np.uint8) == ord(space)
        return self.slots[here]

    def steps(self) -> tuple[Step, ...]:
        return self.before + self.block + self.after

    def instructions(self) -> tuple[Instruction, ...]:
        """All instructions; those of a loop are listed once."""
        return tuple([instruction for step in self.steps() for instruction in body_of(step)])

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
        digest.update(spaces(self.results).encode())
        digest.update(self.slots.tobytes())
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
        lines.append("return " + " ".join(_ranges([*self.results])))
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


def _ranges(results: list[Place]) -> Iterator[str]:
    """Results in short: u[3..9] for a contiguous range."""
    i = 0
    while i < len(results):
        j = i
        while j + 1 < len(results) and results[j + 1] == (results[j][0], results[j][1] + 1):
            j += 1
        space, slot = results[i]
        yield f"{space}[{slot}]" if i == j else f"{space}[{slot}..{results[j][1]}]"
        i = j + 1


_NEVER = np.iinfo(np.int64).max
AT_ONCE = 1 << 20  # slots that are checked at once; a loop that touches more is checked in pieces


def verify(program: Program) -> Program:
    """Return the program if it is valid: every slot is inside its space, and is written once, before it is read."""
    checker = _Checker(program)
    for phase, steps in program.phases():
        checker.phase = phase
        for step in steps:
            checker.step(step)
    for space, slot in program.results:
        written = checker.written[space]
        if not 0 <= slot < len(written) or written[slot] == _NEVER:
            raise ProgramError(f"the result {space}[{slot}] is never computed")
    return program


class _Checker(Walker[None]):
    """Checks steps in the order of their execution.

    A loop is not run round by round: every run of an instruction has a time, every slot the time at which it is first
    written, and what an operand reads must have been written before its time.
    """

    def __init__(self, program: Program) -> None:
        sizes = {"u": program.uniform, "v": program.varying}
        self.written = {space: np.full(size, _NEVER) for space, size in sizes.items()}
        self.written["u"][: program.held] = 0
        self.written[program.input_space][program.first_input : program.first_input + program.inputs] = 0
        self.again = {space: np.zeros(size, dtype=bool) for space, size in sizes.items()}
        for space, begin, end in program.reused:
            self.again[space][begin:end] = True
        self.phase, self.now = "", 1

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> None:
        self._check([_Runs(instruction, self.now)])
        self.now += 1

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        timing = _Timing(self.now)
        timing.step(loop)
        rounds = max(1, AT_ONCE * loop.count // max(1, sum([runs.touched for runs in timing.found])))
        for begin in range(0, loop.count, rounds):
            self._check([runs.some(begin, min(begin + rounds, loop.count)) for runs in timing.found])
        self.now = timing.now

    def _check(self, runs: list[_Runs]) -> None:
        for check in (self._form, self._write, self._read):
            for some in runs:
                check(some)

    def _form(self, runs: _Runs) -> None:
        instruction, out = runs.instruction, runs.instruction.out
        if instruction.kind not in KINDS:
            raise ProgramError(f"{instruction.kind!r} is not a kind of instruction: {instruction}")
        for x, _ in (*instruction.operands(), (out, 1)):
            if isinstance(x, Index) and len(x.shifts) != len(runs.counts):
                raise ProgramError(
                    f"an operand moves with {len(x.shifts)} loops, not {len(runs.counts)}: {instruction}"
                )
            if isinstance(x, Index) and x is not out and x.space == "v" and self.phase != "block":
                raise ProgramError(f"a varying operand is used outside of the block: {instruction}")
        if (out.space == "v") != (self.phase == "block" and instruction.kind not in SUMS_OF_BATCH):
            raise ProgramError(f"a result is in the wrong space: {instruction}")

    def _write(self, runs: _Runs) -> None:
        instruction, out = runs.instruction, runs.instruction.out
        written, slots = self.written[out.space], runs.slots(out, 1)
        if slots.min() < 0 or slots.max() >= len(written):
            raise ProgramError(f"a result is outside space {out.space}: {instruction}")
        once = slots[~self.again[out.space][slots]]
        if any(len(distinct(x)) != len(x) for x in (slots[0], once)) or (written[once] != _NEVER).any():
            raise ProgramError(f"a slot is written twice: {instruction}")
        np.minimum.at(written, slots, runs.times())

    def _read(self, runs: _Runs) -> None:
        instruction = runs.instruction
        for x, count in instruction.operands():
            if not isinstance(x, Index):
                continue
            written, slots = self.written[x.space], runs.slots(x, count)
            if slots.min() < 0 or slots.max() >= len(written):
                raise ProgramError(f"an operand is outside space {x.space}: {instruction}")
            if (written[slots] >= runs.times()).any():
                raise ProgramError(f"an operand is read before it is written: {instruction}")

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        if stream.block != (self.phase == "block"):
            raise ProgramError(f"a {stream} is in phase {self.phase!r}")
        uniform, here = self.written["u"], self.written["v" if stream.block else "u"]
        for code, out, operands in stream.records():
            reads, writes = (uniform, here) if code == SPREAD else (here, uniform if code in (TOTAL, MORE) else here)
            for row in operands:
                if row.min() < 0 or row.max() >= len(reads) or (reads[row] == _NEVER).any():
                    raise ProgramError(f"an operand of a stream is outside its space, or not yet computed: {stream}")
            if out.min() < 0 or out.max() >= len(writes):
                raise ProgramError(f"a result of a stream is outside its space: {stream}")
            writes[out] = np.minimum(writes[out], self.now)
            self.now += 1


@dataclass(frozen=True)
class _Runs:
    """The runs of an instruction in the rounds of the loops around it, `counts` of each loop from round `begin` of the
    outermost one on. The first is at time `first`, and each round of a loop is `later` than the one before."""

    instruction: Instruction
    first: int
    counts: tuple[int, ...] = ()
    later: tuple[int, ...] = ()
    begin: int = 0

    def some(self, begin: int, end: int) -> _Runs:
        """Those in some rounds of the outermost loop."""
        counts = (end - begin, *self.counts[1:])
        return replace(self, first=self.first + begin * self.later[0], counts=counts, begin=begin)

    @property
    def touched(self) -> int:
        """The number of slots that the operands touch, one by one."""
        each = sum(count for _, count in self.instruction.operands()) + 1
        return prod(self.counts) * self.instruction.members * each

    def slots(self, x: Index, count: int) -> Ints:
        """The slots of an operand, (runs, slots)."""
        return self._over(x.shifts) + x.slots(self.instruction.dims, count, (self.begin,)).ravel()

    def times(self) -> Ints:
        """The times, (runs, 1)."""
        return self.first + self._over(self.later)

    def _over(self, steps: tuple[int, ...]) -> Ints:
        """Σ step · round over the loops in every run, (runs, 1)."""
        found = np.zeros(1, dtype=np.int64)
        for count, step in zip(self.counts, steps, strict=True):
            found = (found[:, None] + step * np.arange(count)).ravel()
        return found[:, None]


class _Timing(Walker[int]):
    """Lists the runs of a step's instructions; each visit returns the time that the step takes."""

    def __init__(self, now: int) -> None:
        self.now, self.found = now, list[_Runs]()

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> int:
        self.found.append(_Runs(instruction, self.now, around))
        self.now += 1
        return 1

    def loop(self, loop: Loop, around: tuple[int, ...]) -> int:
        begin, known = self.now, len(self.found)
        round_ = sum([self.step(step, (*around, loop.count)) for step in loop.body])
        self.found[known:] = [replace(runs, later=(round_, *runs.later)) for runs in self.found[known:]]
        self.now = begin + loop.count * round_
        return loop.count * round_

    def stream(self, stream: Stream, around: tuple[int, ...]) -> int:
        raise ProgramError(f"a stream is in a loop: {stream}")
