"""`explain`: what the compiler found, in words and shapes.

Everything is read off the programs' instructions, their counters and index maps; nothing here knows what made them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from macrograd import ops
from macrograd.compiler import passes
from macrograd.compiler.program import Index, Instruction, Loop, Operand, Program, Step, body_of
from macrograd.compiler.words import Leaves, Places, depends, number, product, shaped

if TYPE_CHECKING:
    from macrograd.compiler.compiled import Specialised
    from macrograd.value import Value

_MOST_LINES = 48  # of a section; the rest is counted
_PHASES = {
    "before": "once, before the batch:",
    "block": "for each block of samples, all samples of the block side by side:",
    "after": "once, after the batch:",
}
_SIGNS = {"add": "+", "sub": "−", "mul": "∘", "div": "÷", "less": "<", "less_equal": "≤", "pow": "^"}


def explain(special: Specialised, names: dict[str, Value] | None = None) -> str:
    """The programs of a compiled function in words.

    `names` are the parameters' names, as from `Module.named_parameters()`; labels stand in for them.
    """
    owner, source = special.owner, special.source
    called = {id(value): name for name, value in (names or {}).items()}
    leaves = Leaves(
        [called.get(id(p)) or p.label or None for p in source.parameters],
        [(_argument(owner.argument(k)), shape) for k, shape in enumerate(special.shapes)],
    )
    values = passes.value_program(source, batch=owner.batch, strict=owner.strict)
    gradient = None
    if isinstance(source.structure, int) and source.parameters:
        gradient = passes.gradient_program(source, batch=owner.batch, strict=owner.strict)
    teller = _Teller(leaves, owner.batch)
    arguments = ", ".join(name + shaped(shape) for name, shape in leaves.arguments)
    sample = " of one sample" if owner.batch else ""
    parameters = _plural(len(source.parameters), "parameter")
    lines = [f"{owner.__name__}({arguments}){sample}: {parameters}, {owner.dtype.name}", ""]
    lines += _counts(source.recorded, values, gradient)
    lines += ["", "(k) is the result of line k; brackets are shapes, rows × columns; a dot picks an element.", ""]
    lines += ["The values", *teller.tell(values, derived=False)]
    if gradient is not None:
        lines += ["", "The gradient, with the values above computed on the way", *teller.tell(gradient, derived=True)]
    elif not isinstance(source.structure, int):
        lines += ["", "The result is not one scalar, so it has no gradient."]
    return "\n".join([*lines, "", *teller.left_over()])


def scalar_operations(program: Program) -> int:
    """How many additions, multiplications and other operations on two numbers a program stands for, per sample."""
    total = 0
    for step in program.steps():
        rounds = step.count if isinstance(step, Loop) else 1
        for x in body_of(step):
            each = 1
            if x.segments:
                products = sum(s.count for s in x.segments if not isinstance(s.left, float) or abs(s.left) != 1.0)
                each = max(1, products + x.terms - 1 + (x.kind == "reduce"))
            total += rounds * x.members * each
    return total


def _counts(recorded: int, values: Program, gradient: Program | None) -> list[str]:
    per = " a sample" if values.batch else ""
    lines = [
        f"recorded {_plural(recorded, 'operation')}; written out on pairs of numbers, {scalar_operations(values):,}{per}",
        f"values: {_plural(len(values.instructions()), 'array instruction')}",
    ]
    if gradient is not None:
        lines.append(
            f"values and gradient: {_plural(len(gradient.instructions()), 'array instruction')} "
            f"instead of {scalar_operations(gradient):,} scalar operations{per}"
        )
    return lines


def _plural(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def _argument(text: str) -> str:
    """x for "argument 'x'", argument 2 where a function's signature is not known."""
    return text.split("'")[1] if "'" in text else text


class _Teller:
    """Numbers the lines over several programs of one function; what both compute is told once."""

    def __init__(self, leaves: Leaves, batch: bool) -> None:
        self.leaves, self.batch = leaves, batch
        self.told: dict[tuple[object, ...], int] = {}
        self.last = 0
        self.tables: list[tuple[int, str]] = []
        self.single: list[int] = []

    def tell(self, program: Program, *, derived: bool) -> list[str]:
        places = Places(program, self.leaves)
        lines: list[str] = []
        for phase in ("before", "block", "after"):
            steps: tuple[Step, ...] = getattr(program, phase)
            told = list(self._steps(_Words(program, places, derived, phase == "block"), steps))
            if told and program.batch:
                lines.append(f"  {_PHASES[phase]}")
            lines += told[:_MOST_LINES]
            if len(told) > _MOST_LINES:
                names = Counter(_kind(x) for step in steps for x in body_of(step)).most_common(6)
                rest = ", ".join(f"{count} {name}" for name, count in names)
                lines.append(f"      … and {_plural(len(told) - _MOST_LINES, 'more line')}; in all {rest}")
        return lines

    def _steps(self, words: _Words, steps: tuple[Step, ...]) -> Iterator[str]:
        at = 0
        while at < len(steps):
            step = steps[at]
            if isinstance(step, Loop):
                inside = list(self._lines(words, step.body, step.count))
                if inside:
                    yield f"      {step.count} rounds, one after the other:"
                    yield from (f"  {line}" for line in inside)
                at += 1
                continue
            end = at
            run: list[Instruction] = []
            while end < len(steps) and isinstance(following := steps[end], Instruction):
                run.append(following)
                end += 1
            yield from self._lines(words, tuple(run), 1)
            at = end

    def _lines(self, words: _Words, instructions: tuple[Instruction, ...], rounds: int) -> Iterator[str]:
        """Lines for instructions in a row; an operation on the line before it is told there, behind "then"."""
        line, previous = "", 0
        for x in instructions:
            key = (x.kind, x.code, x.dims, rounds, *words.keys(x, rounds))
            known = self.told.get(key)
            if known is None or words.is_result(x):
                self.last += 1
                known = self.told[key] = self.last
                then = words.then(x, previous, rounds) if line else None
                if then is not None:
                    line += f", then {then} = ({known})"
                else:
                    if line:
                        yield line
                    line = f"    ({known}) {words.instruction(x, rounds)}"
                line += words.outcome(x)
                previous = known
                self._note(words, x, known, rounds)
            words.places.write(known, x.out, x.dims, rounds)
        if line:
            yield line

    def _note(self, words: _Words, x: Instruction, line: int, rounds: int) -> None:
        tabled = [
            words.say(operand, x, count, rounds)
            for operand, count in x.operands()
            if isinstance(operand, Index) and not operand.affine
        ]
        if tabled:
            self.tables.append((line, f"reads {' and '.join(dict.fromkeys(tabled))}"))
        if not x.out.affine:
            self.tables.append((line, "writes its results"))
        if x.members == 1 and x.terms <= 2 and x.kind in ("map", "dot") and rounds == 1:
            self.single.append(line)

    def left_over(self) -> list[str]:
        """What did not become an array with a pattern, and why."""
        if not self.tables and not self.single:
            return ["Everything rolled: every line is an array whose places follow its counters."]
        lines = ["What did not roll"]
        for line, what in self.tables[:_MOST_LINES]:
            lines.append(f"  ({line}) {what} through a table of places: no affine map of three counters or fewer fits")
        if len(self.tables) > _MOST_LINES:
            lines.append(f"  … and {len(self.tables) - _MOST_LINES} more with tables")
        if self.single:
            one = len(self.single) == 1
            lines.append(
                f"  {_ranges(self.single)} {'is' if one else 'are'} single numbers: at {'its' if one else 'their'} depth "
                "nothing else has the same operation on the same kinds of operands"
            )
        return lines


def _ranges(numbers: list[int]) -> str:
    """(3), (5)–(8) for 3, 5, 6, 7, 8."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and runs[-1][1] == n - 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    texts = [f"({a})" if a == b else f"({a}), ({b})" if b == a + 1 else f"({a})–({b})" for a, b in runs]
    return ", ".join(texts[:12]) + (f" and {len(texts) - 12} more" if len(texts) > 12 else "")


def _kind(x: Instruction) -> str:
    return ops.TABLE[x.code].name if x.kind == "map" else {"dot": "sums", "reduce": "batch sums"}.get(x.kind, x.kind)


class _Words:
    """The instructions of one phase of a program in words."""

    def __init__(self, program: Program, places: Places, derived: bool, block: bool) -> None:
        self.places, self.derived = places, derived
        self.samples = "n samples × " if program.batch and block else ""
        self.results = {place: k for k, place in reversed(list(enumerate(program.results)))}

    def keys(self, x: Instruction, rounds: int) -> Iterator[object]:
        for operand, count in x.operands():
            yield count
            yield self.places.key(operand, x.dims, count, rounds - 1)

    def say(self, operand: Operand, x: Instruction, count: int, rounds: int, letter: str = "") -> str:
        return self.places.say(operand, x.dims, count, rounds - 1, letter)

    def then(self, x: Instruction, previous: int, rounds: int) -> str | None:
        """An operation on all of the line before; None if it is none."""
        if x.kind != "map" or self._gradient(x):
            return None
        it = [self.places.is_line(operand, previous, x.members, rounds - 1) for operand in x.args]
        if not any(it):
            return None
        if len(x.args) == 1:
            return ops.TABLE[x.code].name
        return self._map(
            x, ["it" if mine else self.say(arg, x, 1, rounds) for arg, mine in zip(x.args, it, strict=True)]
        )

    def instruction(self, x: Instruction, rounds: int) -> str:
        head = self._gradient(x)
        if x.kind == "map":
            return head + self._map(x, [self.say(arg, x, 1, rounds) for arg in x.args])
        if x.kind == "take":
            chosen, values = self.say(x.args[0], x, 1, rounds), self.say(x.args[1], x, x.count, rounds)
            return f"{head}one of the {x.count} numbers {values}, chosen by {chosen}"
        return head + self._sums(x, rounds)

    def is_result(self, x: Instruction) -> bool:
        return self.derived and bool(self._numbers(x))

    def outcome(self, x: Instruction) -> str:
        """What a line says behind itself if it computes results of the function."""
        if self.derived or not (found := self._numbers(x)):
            return ""
        return ": the value" if len(self.results) == 1 else f": {_plural(len(found), 'result')}"

    def _numbers(self, x: Instruction) -> list[int]:
        """The results that an instruction computes."""
        slots = x.out.slots(x.dims).ravel().tolist()
        return [self.results[x.out.space, slot] for slot in slots if (x.out.space, slot) in self.results]

    def _gradient(self, x: Instruction) -> str:
        """Of which parameters this is the gradient; result 0 is the value, result k + 1 belongs to parameter k."""
        found = self._numbers(x) if self.derived else []
        if not found:
            return ""
        value, of = 0 in found, np.array([k - 1 for k in found if k])
        shape = shaped([d for d in x.dims if d > 1]) if not value else ""
        texts = (["the mean value" if self.places.program.batch else "the value"] if value else []) + (
            [f"gradient of {self.places.leaves.group(of, 'W' if len(x.dims) > 1 else 'w')}{shape}"] if len(of) else []
        )
        return " and ".join(texts) + ": "

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
        if name == "onehot":
            return f"{args[2]} at place {args[0]} of {x.members}, 0 at the others"
        return f"{name} of {', '.join(args)}"

    def _sums(self, x: Instruction, rounds: int) -> str:
        """Sums of products: the products first, then what is added to them."""
        formula, added, kinds, products = "", "", [], 0
        for segment in x.segments:
            number_ = segment.left if isinstance(segment.left, float) else None
            right = self.say(segment.right, x, segment.count, rounds, "b" if number_ is not None else "")
            if number_ is None:
                kind, text = product(segment, x.dims, self.say(segment.left, x, segment.count, rounds), right)
                formula += f" + {text}"
                products += segment.count
                kinds.append(kind)
                continue
            sign, size = ("−" if number_ < 0 else "+"), abs(number_)
            text = f"Σ {right}" if segment.count > 1 else right
            added += f" {sign} {text if size == 1 else f'{number(size)} · {text}'}"
        whole = (formula + added).removeprefix(" + ").removeprefix(" ")
        named = kinds[0] if kinds and kinds[0] else ""
        if x.kind == "reduce":
            return f"{named + ' ' if named else ''}{whole}, summed over the batch"
        if not named:
            return whole if x.members == 1 else f"{self.samples}{x.members} sums: {whole}"
        each = "neuron" if self._neurons(x) else "sum"
        many = f"{'×'.join(str(d) for d in x.dims if d > 1)} {each}s: sums" if x.members > 1 else f"1 {each}: a sum"
        if each == "sum":
            many = many.split(": ")[0]
        return f"{self.samples}{many} of {products} products = {named} {whole}"

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
