"""The lines of an explanation: one per array instruction, loops and streams as a whole, and then the scalars that did
not roll."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from macrograd import ops
from macrograd.compiler.explain.sentences import Sentences
from macrograd.compiler.explain.words import (
    LeafNames,
    Now,
    SlotNames,
    in_rounds,
    line_ranges,
    plural,
)
from macrograd.compiler.program.program import (
    Index,
    Instruction,
    Loop,
    Program,
    Step,
    body_of,
)
from macrograd.compiler.program.stream import NAMES, Stream
from macrograd.compiler.program.walk import in_rows, loops_of, streams_of
from macrograd.compiler.roll.cost_model import rule

_MOST_LINES = 48  # of a section; the rest is counted
_PHASES = {
    "before": "once, before the batch:",
    "block": "for each block of samples, all samples of the block side by side:",
    "after": "once, after the batch:",
}


class Lines:
    """Numbers the lines over several programs of one function; shared computations are listed once."""

    def __init__(self, leaves: LeafNames, batch: bool) -> None:
        self.leaves, self.batch = leaves, batch
        self.told: dict[tuple[object, ...], int] = {}
        self.last = 0
        self.tables: list[tuple[int, str]] = []
        self.single: list[int] = []
        self.streams: list[int] = []
        self.rule: list[str] = []  # why they are streams

    def tell(self, program: Program, *, derived: bool) -> list[str]:
        places = SlotNames(program, self.leaves)
        if not program.steps():
            return ["  Nothing is computed: the results are arguments, parameters and constants."]
        if program.streams():
            self.rule = rule(program.scalars)
        lines: list[str] = []
        for phase, steps in program.phases():
            told = list(self._steps(Sentences(program, places, derived, phase == "block"), steps))
            if told and program.batch:
                lines.append(f"  {_PHASES[phase]}")
            lines += told[:_MOST_LINES]
            if len(told) > _MOST_LINES:
                names = Counter(_kind(x) for step in steps for x in body_of(step)).most_common(6)
                rest = ", ".join(f"{count} {name}" for name, count in names)
                lines.append(f"      … and {plural(len(told) - _MOST_LINES, 'more line')}; in all {rest}")
        return lines

    def _steps(self, words: Sentences, steps: tuple[Step, ...]) -> Iterator[str]:
        for row, step in in_rows(steps):
            yield from self._lines(words, self._new(words, row))
            for loop in loops_of(step):
                yield from self._loop(words, loop)
            if step is not None:
                yield from (self._stream(words, stream) for stream in streams_of([step]))

    def _stream(self, words: Sentences, stream: Stream) -> str:
        """Scalars that run as data: counted by operation, without a line for each."""
        self.last += 1
        counts: Counter[str] = Counter()
        for code, out, _ in stream.records():
            counts[NAMES.get(code) or ops.TABLE[code].name] += len(out)
        words.place_stream(stream, self.last)
        self.streams.append(self.last)
        rest = ", ".join(f"{count:,} {name}" for name, count in counts.most_common(8))
        return f"    ({self.last}) {plural(stream.scalars, 'scalar')} one by one: {rest}"

    def _new(self, words: Sentences, instructions: Iterable[Instruction]) -> Iterator[tuple[int, Instruction]]:
        """Instructions with their line numbers, without those listed before."""
        for x in instructions:
            key = (x.kind, x.code, x.dims, *words.keys(x))
            known = self.told.get(key)
            if known is None or words.is_result(x):
                words.same[self.last + 1] = known
                self.last += 1
                self.told.setdefault(key, self.last)
                words.places.write(self.last, x.out, x.dims, Now())
                yield self.last, x
            else:
                words.places.write(known, x.out, x.dims, Now())

    def _loop(self, words: Sentences, loop: Loop) -> Iterator[str]:
        """A loop is described as a whole: its instructions read results of later ones from the previous round."""
        start = self.last + 1
        told = list(in_rounds(loop, start, ()))
        for line, (x, now) in enumerate(told, start):
            words.places.write(line, x.out, x.dims, now)
        key: tuple[object, ...] = ("loop",)
        shown = False
        for x, words.now in told:
            key += (words.now.counts, x.kind, x.code, x.dims, *words.keys(x, start))
            shown = shown or words.is_result(x)
        known = self.told.get(key)
        if known is None or shown:
            self.told[key] = start
            self.last += len(told)
            yield from self._rounds(words, loop, start, ())
        else:
            for line, (x, now) in enumerate(told, known):
                words.places.write(line, x.out, x.dims, replace(now, loop=(now.loop[0] - start + known, now.loop[1])))
        words.now = Now()

    def _rounds(self, words: Sentences, loop: Loop, start: int, around: tuple[int, ...]) -> Iterator[str]:
        """The lines of a loop whose first line is number `start`; `around` are the rounds of the loops around it."""
        yield f"    {_turns(loop)}:"
        counts, line = (*around, loop.count), start
        for row, step in in_rows(loop.body):
            words.now = Now(counts, (start, len(counts)))
            yield from (f"  {text}" for text in self._lines(words, enumerate(row, line)))
            line += len(row)
            for inner in loops_of(step):
                yield from (f"  {text}" for text in self._rounds(words, inner, line, counts))
                line += len(body_of(inner))

    def _lines(self, words: Sentences, instructions: Iterable[tuple[int, Instruction]]) -> Iterator[str]:
        """Lines for consecutive instructions; an operation on the line before is appended to it with "then"."""
        line, previous = "", 0
        for number_, x in instructions:
            then = words.then(x, previous) if line else None
            if then is not None:
                line += f", then {then} = ({number_})"
            else:
                if line:
                    yield line
                line = f"    ({number_}) {words.instruction(x, words.same.get(number_))}"
            line += words.outcome(x)
            previous = number_
            self._note(words, x, number_)
        if line:
            yield line

    def _note(self, words: Sentences, x: Instruction, line: int) -> None:
        tabled = [
            words.say(operand, x, count)
            for operand, count in x.operands()
            if isinstance(operand, Index) and not operand.affine
        ]
        if tabled:
            self.tables.append((line, f"reads {' and '.join(dict.fromkeys(tabled))}"))
        if not x.out.affine:
            self.tables.append((line, "writes its results"))
        if x.members == 1 and x.terms <= 2 and x.kind in ("map", "dot") and not words.now.loop:
            self.single.append(line)

    def left_over(self) -> list[str]:
        """The scalars that did not become an array with a pattern, and why."""
        if not self.tables and not self.single and not self.streams:
            return ["Everything rolled: every line is an array whose places follow its counters."] if self.last else []
        lines = ["What did not roll"]
        for line, what in self.tables[:_MOST_LINES]:
            lines.append(f"  ({line}) {what} through a table of places: no affine map of three counters or fewer fits")
        if len(self.tables) > _MOST_LINES:
            lines.append(f"  … and {len(self.tables) - _MOST_LINES} more with tables")
        if self.streams:
            run = "run" if len(self.streams) > 1 else "runs"
            lines.append(f"  {line_ranges(self.streams)} {run} as data, for a kernel that knows every operation:")
            lines += [f"    {line}" for line in self.rule]
        if self.single:
            what = "is a single number: at its" if len(self.single) == 1 else "are single numbers: at their"
            why = "nothing else has the same operation on the same kinds of operands"
            lines.append(f"  {line_ranges(self.single)} {what} depth {why}")
        return lines


def _turns(loop: Loop) -> str:
    """How often the lines of a loop run."""
    if loop.count == 1:
        return "once" if loop.guard is None else "once, or not at all if that would change nothing"
    text = f"{loop.count} rounds, one after the other, the first from the results of the lines above"
    return text if loop.guard is None else f"at most {text}; those that would change nothing are left out"


def _kind(x: Instruction) -> str:
    return ops.TABLE[x.code].name if x.kind == "map" else {"dot": "sums", "reduce": "batch sums"}.get(x.kind, x.kind)
