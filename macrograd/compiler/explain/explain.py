"""`explain`: what the compiler found, in words and shapes.

Everything is read off the programs' instructions, their counters and index maps; nothing here knows what made them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import prod

import numpy as np

from macrograd import ops
from macrograd.compiler import pipeline
from macrograd.compiler.explain.words import (
    LeafNames,
    Now,
    SlotNames,
    depends,
    in_rounds,
    line_ranges,
    number,
    plural,
    product,
    shaped,
)
from macrograd.compiler.pipeline import Source
from macrograd.compiler.program.program import (
    Index,
    Instruction,
    Loop,
    Operand,
    Program,
    Segment,
    Step,
    body_of,
    counted,
)
from macrograd.compiler.program.stream import FUSED, MORE, NAMES, SPREAD, TOTAL, Stream
from macrograd.compiler.program.walk import Kinds, in_rows, loops_of, streams_of
from macrograd.compiler.roll.cost_model import rule
from macrograd.compiler.settings import Settings
from macrograd.compiler.tape.tape import Ints
from macrograd.value import Value

_MOST_LINES = 48  # of a section; the rest is counted
_PHASES = {
    "before": "once, before the batch:",
    "block": "for each block of samples, all samples of the block side by side:",
    "after": "once, after the batch:",
}
_SIGNS = {"add": "+", "sub": "−", "mul": "∘", "div": "÷", "less": "<", "less_equal": "≤", "pow": "^"}


def explain(
    source: Source, shapes: Sequence[tuple[int, ...]], settings: Settings, names: dict[str, Value] | None = None
) -> str:
    """The programs of a compiled function in words.

    `names` are the parameters' names, as from `Module.named_parameters()`; labels stand in for them.
    """
    called = {id(value): name for name, value in (names or {}).items()}
    leaves = LeafNames(
        [called.get(id(p)) or p.label or None for p in source.parameters],
        [(_argument(settings.argument(k)), shape) for k, shape in enumerate(shapes)],
        settings.uniform,
    )
    values = pipeline.value_program(source, batch=settings.batch, strict=settings.strict)
    gradient = None
    if isinstance(source.structure, int) and source.parameters:
        gradient = pipeline.gradient_program(source, batch=settings.batch, strict=settings.strict)
    teller = _Teller(leaves, settings.batch)
    arguments = ", ".join(
        name + shaped(shape) + (" (the same for all samples)" if k in leaves.uniform else "")
        for k, (name, shape) in enumerate(leaves.arguments)
    )
    sample = " of one sample" if settings.batch else ""
    parameters = plural(len(source.parameters), "parameter")
    lines = [f"{settings.name}({arguments}){sample}: {parameters}, {settings.dtype.name}", ""]
    lines += _counts(source.recorded, values, gradient)
    lines += ["", "(k) is the result of line k; brackets are shapes, rows × columns; a dot picks an element.", ""]
    lines += ["The values", *teller.tell(values, derived=False)]
    if gradient is not None:
        lines += ["", "The gradient, with the values above computed on the way", *teller.tell(gradient, derived=True)]
    elif not isinstance(source.structure, int):
        lines += ["", "The result is not one scalar, so it has no gradient."]
    return "\n".join([*lines, "", *teller.left_over()]).rstrip()


def scalar_operations(program: Program) -> int:
    """How many additions, multiplications and other operations on two numbers a program stands for, per sample."""
    total = 0
    for stream in program.streams():
        total += sum(len(out) * (1 + (code == FUSED)) for code, out, _ in stream.records() if code != SPREAD)
    for step in program.steps():
        for x, counts in counted(step):
            each = 1
            if x.segments:
                products = sum(s.count for s in x.segments if not isinstance(s.left, float) or abs(s.left) != 1.0)
                each = max(1, products + x.terms - 1 + (x.kind == "reduce"))
            members = x.members // x.dims[-1] * x.count if x.kind == "scatter" else x.members
            total += prod(counts) * members * each
    return total


def _counts(recorded: int, values: Program, gradient: Program | None) -> list[str]:
    per = " a sample" if values.batch else ""
    written = f"{scalar_operations(values):,}{per}"
    lines = [
        f"recorded {plural(recorded, 'operation')}; written out on pairs of numbers, {written}",
        f"values: {_steps_of(values)}",
    ]
    if gradient is not None:
        lines.append(
            f"values and gradient: {_steps_of(gradient)} "
            f"instead of {scalar_operations(gradient):,} scalar operations{per}"
        )
    return lines


def _steps_of(program: Program) -> str:
    streams = len(program.streams())
    also = f" and {plural(streams, 'stream')} of scalars" if streams else ""
    return plural(len(program.instructions()), "array instruction") + also


def _argument(text: str) -> str:
    """x for "argument 'x'", argument 2 where a function's signature is not known."""
    return text.split("'")[1] if "'" in text else text


class _Teller:
    """Numbers the lines over several programs of one function; what both compute is told once."""

    def __init__(self, leaves: LeafNames, batch: bool) -> None:
        self.leaves, self.batch = leaves, batch
        self.told: dict[tuple[object, ...], int] = {}
        self.last = 0
        self.tables: list[tuple[int, str]] = []
        self.single: list[int] = []
        self.streams: list[int] = []
        self.rule: list[str] = []  # by which they are streams

    def tell(self, program: Program, *, derived: bool) -> list[str]:
        places = SlotNames(program, self.leaves)
        if not program.steps():
            return ["  Nothing is computed: what is returned are arguments, parameters and constants as they are."]
        if program.streams():
            self.rule = rule(program.scalars)
        lines: list[str] = []
        for phase, steps in program.phases():
            told = list(self._steps(_Words(program, places, derived, phase == "block"), steps))
            if told and program.batch:
                lines.append(f"  {_PHASES[phase]}")
            lines += told[:_MOST_LINES]
            if len(told) > _MOST_LINES:
                names = Counter(_kind(x) for step in steps for x in body_of(step)).most_common(6)
                rest = ", ".join(f"{count} {name}" for name, count in names)
                lines.append(f"      … and {plural(len(told) - _MOST_LINES, 'more line')}; in all {rest}")
        return lines

    def _steps(self, words: _Words, steps: tuple[Step, ...]) -> Iterator[str]:
        for row, step in in_rows(steps):
            yield from self._lines(words, self._new(words, row))
            for loop in loops_of(step):
                yield from self._loop(words, loop)
            if step is not None:
                yield from (self._stream(words, stream) for stream in streams_of([step]))

    def _stream(self, words: _Words, stream: Stream) -> str:
        """What runs as data: how much of what, and no line for each."""
        self.last += 1
        counts: Counter[str] = Counter()
        for code, out, _ in stream.records():
            counts[NAMES.get(code) or ops.TABLE[code].name] += len(out)
        words.place_stream(stream, self.last)
        self.streams.append(self.last)
        rest = ", ".join(f"{count:,} {name}" for name, count in counts.most_common(8))
        return f"    ({self.last}) {plural(stream.scalars, 'scalar')} one by one: {rest}"

    def _new(self, words: _Words, instructions: Iterable[Instruction]) -> Iterator[tuple[int, Instruction]]:
        """Instructions with their lines' numbers, without those that were told before."""
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

    def _loop(self, words: _Words, loop: Loop) -> Iterator[str]:
        """A loop is told as a whole: its instructions read what later ones made in the round before."""
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

    def _rounds(self, words: _Words, loop: Loop, start: int, around: tuple[int, ...]) -> Iterator[str]:
        """The lines of a loop whose first line is number `start`; `around` are the rounds of the loops around it."""
        yield f"    {loop.count} rounds, one after the other, the first from what the lines above made:"
        counts, line = (*around, loop.count), start
        for row, step in in_rows(loop.body):
            words.now = Now(counts, (start, len(counts)))
            yield from (f"  {text}" for text in self._lines(words, enumerate(row, line)))
            line += len(row)
            for inner in loops_of(step):
                yield from (f"  {text}" for text in self._rounds(words, inner, line, counts))
                line += len(body_of(inner))

    def _lines(self, words: _Words, instructions: Iterable[tuple[int, Instruction]]) -> Iterator[str]:
        """Lines for instructions in a row; an operation on the line before it is told there, behind "then"."""
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

    def _note(self, words: _Words, x: Instruction, line: int) -> None:
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
        """What did not become an array with a pattern, and why."""
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


def _kind(x: Instruction) -> str:
    return ops.TABLE[x.code].name if x.kind == "map" else {"dot": "sums", "reduce": "batch sums"}.get(x.kind, x.kind)


class _Words(Kinds[str]):
    """The instructions of one phase of a program in words."""

    def __init__(self, program: Program, places: SlotNames, derived: bool, block: bool) -> None:
        self.places, self.derived = places, derived
        self.samples = "n samples × " if program.batch and block else ""
        self.now = Now()  # instructions in loops are told as they are in the last round, with the others behind them
        self.same: dict[int, int | None] = {}
        self.results = {"u": np.full(program.uniform, -1), "v": np.full(program.varying, -1)}
        for k, (space, slot) in reversed(list(enumerate(program.results))):
            self.results[space][slot] = k

    def place_stream(self, stream: Stream, line: int) -> None:
        sums = (TOTAL, MORE)
        for space in ("u", "v"):
            outs = [out for code, out, _ in stream.records() if (stream.block and code not in sums) == (space == "v")]
            if outs:
                self.places.write_all(line, space, np.concatenate(outs))

    def keys(self, x: Instruction, start: int = 10**9) -> Iterator[object]:
        for operand, count in x.operands():
            yield count
            yield self.places.key(operand, x.dims, count, self.now, start)

    def say(self, operand: Operand, x: Instruction, count: int, letter: str = "", *, second: bool = False) -> str:
        return self.places.say(operand, x.dims, count, now=self.now, letter=letter, second=second)

    def then(self, x: Instruction, previous: int) -> str | None:
        """An operation on all of the line before; None if it is none."""
        if x.kind != "map" or self._gradient(x):
            return None
        it = [self.places.is_line(operand, x.dims, previous, self.now) for operand in x.args]
        if not any(it):
            return None
        if len(x.args) == 1:
            return ops.TABLE[x.code].name
        return self._map(x, ["it" if mine else self.say(arg, x, 1) for arg, mine in zip(x.args, it, strict=True)])

    def instruction(self, x: Instruction, same: int | None = None) -> str:
        """What an instruction computes, which line `same` has computed before."""
        head = self._gradient(x)
        if same is not None:
            return f"{head}({same})"
        return head + self.kind(x)

    def map(self, x: Instruction) -> str:
        return self._map(x, [self.say(arg, x, 1) for arg in x.args])

    def take(self, x: Instruction) -> str:
        chosen, values = self.say(x.args[0], x, 1), self.say(x.args[1], x, x.count)
        return f"one of the {x.count} numbers {values}, chosen by {chosen}"

    def scatter(self, x: Instruction) -> str:
        chosen, terms = self.say(x.args[0], x, x.count), self.say(x.args[1], x, x.count)
        over = ", over the batch" if self.samples else ""
        return f"for each of {x.dims[-1]} numbers, the sum of {terms} where {chosen} is the number{over}"

    def dot(self, x: Instruction) -> str:
        return self._sums(x)

    reduce = dot

    def is_result(self, x: Instruction) -> bool:
        return self.derived and bool(len(self._numbers(x)))

    def outcome(self, x: Instruction) -> str:
        """What a line says behind itself if it computes results of the function."""
        found = self._numbers(x)
        if self.derived or not len(found):
            return ""
        return ": the value" if len(self.places.program.results) == 1 else f": {plural(len(found), 'result')}"

    def _numbers(self, x: Instruction) -> Ints:
        """The results that an instruction computes, in all rounds."""
        slots = x.out.slots(x.dims, 1, self.now.rounds) + self.now.moves(x.out)
        found = self.results[x.out.space][slots.ravel()]
        results: Ints = found[found >= 0]
        return results

    def _gradient(self, x: Instruction) -> str:
        """Of which parameters this is the gradient; result 0 is the value, result k + 1 belongs to parameter k."""
        found = self._numbers(x)
        if not self.derived or not len(found):
            return ""
        texts = []
        if (found == 0).any():
            texts.append("the mean value" if self.places.program.batch else "the value")
        if (found > 0).any():
            shape = shaped([d for d in x.dims if d > 1]) if not texts else ""
            of = self.places.leaves.group(found[found > 0] - 1, "W" if len(x.dims) > 1 else "w")
            texts.append(f"gradient of {of}{shape}")
        return " and ".join(texts) + (" (the next in each round): " if x.out.shift and self.now.loop else ": ")

    def _map(self, x: Instruction, args: list[str]) -> str:
        name = ops.TABLE[x.code].name
        if name in _SIGNS:
            sign = _SIGNS[name]
            if name == "mul":
                axes = [depends(arg, x.dims, 1)[0] for arg in x.args]
                sign = "⊗" if all(axes) and not axes[0] & axes[1] else "∘" if all(axes) else "·"
            return f"{args[0]} {sign} {args[1]}"
        if name == "where":
            return f"{args[1]} where {args[0]} is not 0, else {args[2]}"
        if name == "gate":
            return f"{args[1]} where {args[0]} says that it was taken"
        if name == "onehot":
            return f"{args[2]} where {args[0]} is {args[1]}, else 0"
        return f"{name} of {', '.join(args)}"

    def _sums(self, x: Instruction) -> str:
        """Sums of products: the products first, then what is added to them."""
        formula, added, kinds, products = "", "", [], 0
        for segment in x.segments:
            if isinstance(segment.left, float):
                added += self._added(x, segment, segment.left)
                continue
            kind, text = self._product(x, segment)
            formula += f" + {text}"
            products += segment.count
            kinds.append(kind)
        whole = (formula + added).removeprefix(" + ").removeprefix(" ")
        named = kinds[0] if kinds else ""
        if x.kind == "reduce":
            return f"{named + ' ' if named else ''}{whole}, summed over the batch"
        size = "×".join(str(d) for d in x.dims if d > 1)
        if not named:
            return f"{self.samples}{size} sums: {whole}" if size else whole
        if self._neurons(x):
            many = f"{size} neurons: sums" if size else "1 neuron: a sum"
        else:
            many = f"{size} sums" if size else "a sum"
        return f"{self.samples}{many} of {products} products = {named} {whole}"

    def _added(self, x: Instruction, segment: Segment, factor: float) -> str:
        """A term without a product, with its sign."""
        text = self.say(segment.right, x, segment.count, "b")
        size = abs(factor)
        if depends(segment.right, x.dims, segment.count)[1]:
            text = f"Σ {text}"
        else:
            size *= segment.count
        return f" {'−' if factor < 0 else '+'} {text if size == 1 else f'{number(size)} · {text}'}"

    def _product(self, x: Instruction, segment: Segment) -> tuple[str, str]:
        found = product(segment, x.dims)
        first = self.say(found.first, x, segment.count)
        second = self.say(found.second, x, segment.count, second=found.matrices)
        if found.kind == "matrix product" and "windows" in first:
            return "convolution", f"{second} over {first}"
        return found.kind, f"{first}{found.sign}{second}"

    def _neurons(self, x: Instruction) -> bool:
        """Whether the sums are weighted by parameters of their own and all see the same inputs: what a neuron is."""
        for segment in x.segments:
            left, right = segment.left, segment.right
            if isinstance(left, Index) and isinstance(right, Index):
                own = self.places.program.parameters
                weights = left.space == "u" and left.slots(x.dims, segment.count).max() < own
                seen = right.space == "v" or right.slots(x.dims, segment.count).min() >= own
                backwards = left.affine and any(0 < abs(s) < abs(left.term) for s in left.member)
                return weights and seen and not backwards and not depends(right, x.dims, segment.count)[0]
        return False
