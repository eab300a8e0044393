"""An instruction in words: what it computes from what, and which gradient or result that is."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from macrograd import ops
from macrograd.compiler.explain.words import (
    Now,
    SlotNames,
    depends,
    number,
    plural,
    product,
    shaped,
)
from macrograd.compiler.program.program import (
    Index,
    Instruction,
    Operand,
    Program,
    Segment,
)
from macrograd.compiler.program.stream import MORE, TOTAL, Stream
from macrograd.compiler.program.walk import Kinds
from macrograd.compiler.tape.tape import Ints

_SIGNS = {"add": "+", "sub": "−", "mul": "∘", "div": "÷", "less": "<", "less_equal": "≤", "pow": "^"}


class Sentences(Kinds[str]):
    """The instructions of one phase of a program in words."""

    def __init__(self, program: Program, places: SlotNames, derived: bool, block: bool) -> None:
        self.places, self.derived = places, derived
        self.samples = "n samples × " if program.batch and block else ""
        self.now = Now()  # instructions in loops are described as in the last round, after all the others
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
        """The operation, if it is one on the whole previous line; otherwise None."""
        if x.kind != "map" or self._gradient(x):
            return None
        it = [self.places.is_line(operand, x.dims, previous, self.now) for operand in x.args]
        if not any(it):
            return None
        if len(x.args) == 1:
            return ops.TABLE[x.code].name
        return self._map(x, ["it" if mine else self.say(arg, x, 1) for arg, mine in zip(x.args, it, strict=True)])

    def instruction(self, x: Instruction, same: int | None = None) -> str:
        """The text for an instruction; line `same`, if given, has computed it already."""
        head = self._gradient(x)
        if same is not None:
            return f"{head}({same})"
        return head + self.kind(x)

    def map(self, x: Instruction) -> str:
        return self._map(x, [self.say(arg, x, 1) for arg in x.args])

    def take(self, x: Instruction) -> str:
        chosen, values = self.say(x.args[0], x, 1), self.say(x.args[1], x, x.count)
        if x.count == 1:  # there is nothing to choose: another index is an error's
            return f"{values}, checked by {chosen}"
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
        """The end of a line that computes results of the function."""
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
        """The parameters whose gradient this is; result 0 is the value, result k + 1 belongs to parameter k."""
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
        """Sums of products: the products first, then the added terms."""
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
        """Whether each sum has its own parameters as weights and all have the same inputs, as neurons do."""
        for segment in x.segments:
            left, right = segment.left, segment.right
            if isinstance(left, Index) and isinstance(right, Index):
                own = self.places.program.parameters
                weights = left.space == "u" and left.slots(x.dims, segment.count).max() < own
                seen = right.space == "v" or right.slots(x.dims, segment.count).min() >= own
                backwards = left.affine and any(0 < abs(s) < abs(left.term) for s in left.member)
                return weights and seen and not backwards and not depends(right, x.dims, segment.count)[0]
        return False
