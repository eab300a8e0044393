"""Visitors over a program: the only place that tells steps and kinds of instructions apart.

A `Walker` has a method for each class of step, `Kinds` one for each kind of instruction. Every pass and target that
reads programs subclasses one of these: a class that lacks a method cannot be instantiated, and a step or kind without a
method is a ProgramError. So a new kind fails in every target until each implements it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

from macrograd.compiler.program.instruction import KINDS, Index, Instruction, Loop, ProgramError, Step
from macrograd.compiler.program.stream import Stream

T = TypeVar("T")


class Walker(ABC, Generic[T]):
    """Visits steps. `around` describes the loops around a step, outermost first, in the form that the walker passes on:
    the count of each, or its current round."""

    def step(self, step: Step, around: tuple[int, ...] = ()) -> T:
        if isinstance(step, Instruction):
            return self.instruction(step, around)
        if isinstance(step, Loop):
            return self.loop(step, around)
        if isinstance(step, Stream):
            return self.stream(step, around)
        raise ProgramError(f"{type(self).__name__} does not know steps of class {type(step).__name__}")

    @abstractmethod
    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> T: ...

    @abstractmethod
    def loop(self, loop: Loop, around: tuple[int, ...]) -> T: ...

    @abstractmethod
    def stream(self, stream: Stream, around: tuple[int, ...]) -> T: ...


class Kinds(ABC, Generic[T]):
    """Visits instructions, by `KINDS`."""

    def kind(self, instruction: Instruction) -> T:
        if instruction.kind not in KINDS:
            raise ProgramError(f"{type(self).__name__} does not know instructions of kind {instruction.kind!r}")
        found: T = getattr(self, instruction.kind)(instruction)
        return found

    @abstractmethod
    def map(self, instruction: Instruction, /) -> T: ...

    @abstractmethod
    def dot(self, instruction: Instruction, /) -> T: ...

    @abstractmethod
    def reduce(self, instruction: Instruction, /) -> T: ...

    @abstractmethod
    def take(self, instruction: Instruction, /) -> T: ...

    @abstractmethod
    def scatter(self, instruction: Instruction, /) -> T: ...


Placed = Iterator[tuple[Instruction, tuple[int, ...]]]


class _Counted(Walker[Placed]):
    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> Placed:
        yield instruction, around

    def loop(self, loop: Loop, around: tuple[int, ...]) -> Placed:
        for inner in loop.body:
            yield from self.step(inner, (*around, loop.count))

    def stream(self, stream: Stream, around: tuple[int, ...]) -> Placed:
        yield from ()


class _Executed(_Counted):
    def loop(self, loop: Loop, around: tuple[int, ...]) -> Placed:
        for round_ in range(loop.count):
            for inner in loop.body:
                yield from self.step(inner, (*around, round_))


class _Streams(Walker[tuple[Stream, ...]]):
    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> tuple[Stream, ...]:
        return ()

    def loop(self, loop: Loop, around: tuple[int, ...]) -> tuple[Stream, ...]:
        return ()

    def stream(self, stream: Stream, around: tuple[int, ...]) -> tuple[Stream, ...]:
        return (stream,)


_COUNTED, _STREAMS = _Counted(), _Streams()


def counted(step: Step, around: tuple[int, ...] = ()) -> Placed:
    """The array instructions of a step, each with the counts of the loops around it, outermost first."""
    return iter(((step, around),)) if isinstance(step, Instruction) else _COUNTED.step(step, around)


def executed(step: Step, rounds: tuple[int, ...] = ()) -> Placed:
    """The array instructions of a step as they run, each with the rounds of the loops around it."""
    return _Executed().step(step, rounds)


def body_of(step: Step) -> tuple[Instruction, ...]:
    """The array instructions of a step; those of a loop are listed once, and a stream has none."""
    return (step,) if isinstance(step, Instruction) else tuple([instruction for instruction, _ in counted(step)])


def loops_of(step: Step | None) -> tuple[Loop, ...]:
    """The loop that a step is, if it is one."""
    return (step,) if isinstance(step, Loop) else ()


def streams_of(steps: Iterable[Step]) -> tuple[Stream, ...]:
    return tuple([stream for step in steps for stream in _STREAMS.step(step)])


def loop_of(count: int, steps: Iterable[Step], guard: Index | None = None) -> Loop:
    """A loop of these steps. Raises ProgramError for a stream, which a loop cannot contain."""
    body: list[Instruction | Loop] = []
    for step in steps:
        if isinstance(step, Stream):
            raise ProgramError(f"a stream is in a loop: {step}")
        body.append(step)
    return Loop(count, tuple(body), guard)


def in_rows(steps: Iterable[Step]) -> Iterator[tuple[tuple[Instruction, ...], Step | None]]:
    """Consecutive instructions, and the loop or stream that ends each such row; None at the end."""
    row: list[Instruction] = []
    for step in steps:
        if isinstance(step, Instruction):
            row.append(step)
            continue
        yield tuple(row), step
        row = []
    if row:
        yield tuple(row), None
