"""Operands in words: where the numbers that an instruction reads come from, with names and shapes.

`(3)` is the result of line 3 of the text; brackets give shapes, rows × columns; a dot picks an element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import field
from math import prod

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index, Instruction, Loop, Operand, Program, Segment, body_of
from macrograd.compiler.program.walk import in_rows, loops_of
from macrograd.compiler.tape.tape import Ints

_FEW = 5  # up to this many items are listed
# The source of a slot: a leaf of one of these kinds, the argument FIRST_ARGUMENT - k, or the result of line n > 0.
_NOTHING, _PARAMETER, _CONSTANT, _WEIGHT, _FIRST_ARGUMENT = 0, -1, -2, -3, -4


@dataclass
class LeafNames:
    """The names of the leaves.

    parameters  a name or None for each
    arguments   name and shape of each; `uniform` are the positions of those shared by all samples
    """

    parameters: Sequence[str | None]
    arguments: Sequence[tuple[str, tuple[int, ...]]]
    uniform: frozenset[int] = frozenset()
    _groups: dict[bytes, tuple[str, set[int]]] = field(default_factory=dict)
    _count: dict[str, int] = field(default_factory=dict)

    def group(self, slots: Ints, letter: str) -> str:
        """The name of a set of parameters; unnamed ones are W1, b1 … in the order of the text."""
        slots = np.unique(slots)
        names = [name for s in slots.tolist() if (name := self.parameters[s])]
        found = common(names) if len(names) == len(slots) else None
        if found is not None:
            return found
        if len(slots) == len(self.parameters) > 1:
            return "all parameters"
        if len(names) == len(slots):
            return f"{names[0]}…{names[-1]}"
        key = slots.tobytes()
        if key not in self._groups:
            members = set(slots.tolist())
            for name, group in self._groups.values():
                if members < group:
                    return f"part of {name}"
            self._count[letter] = self._count.get(letter, 0) + 1
            self._groups[key] = (f"{letter}{self._count[letter]}", members)
        return self._groups[key][0]


def common(names: Sequence[str]) -> str | None:
    """One name for several that differ in their numbers: layers.0.neurons.w for layers.0.neurons.3.w.1 and the like. A
    few that differ otherwise are listed; None for many."""
    if len(names) == 1:
        return names[0]
    parts = [re.split(r"(\d+)", name) for name in names]
    if len({tuple(part[::2]) for part in parts}) > 1:
        return f"{{{', '.join(names)}}}" if len(names) < _FEW else None
    columns = [set(column) for column in zip(*parts, strict=True)]
    text = "".join(column.pop() if len(column) == 1 else "" for column in columns)
    for doubled, single in (("[]", ""), ("()", ""), ("..", "."), ("__", "_")):
        text = text.replace(doubled, single)
    return text.strip("._") or None


def shaped(shape: Sequence[int]) -> str:
    """[16×2]; nothing for one number."""
    return f"[{'×'.join(map(str, shape))}]" if shape else ""


def plural(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def line_ranges(numbers: list[int]) -> str:
    """(3), (5)–(8) for 3, 5, 6, 7, 8."""
    runs: list[list[int]] = []
    for n in sorted(numbers):
        if runs and runs[-1][1] == n - 1:
            runs[-1][1] = n
        else:
            runs.append([n, n])
    texts = [f"({a})" if a == b else f"({a}), ({b})" if b == a + 1 else f"({a})–({b})" for a, b in runs]
    return ", ".join(texts[:12]) + (f" and {len(texts) - 12} more" if len(texts) > 12 else "")


def number(x: float) -> str:
    return f"{x:g}"


def _numbers(values: NDArray[np.float64]) -> str:
    """Constants: one number, a few, or the first and the last."""
    found = list(dict.fromkeys(values.ravel().tolist()))
    if len(found) == 1:
        return number(found[0])
    texts = [number(x) for x in found]
    return "{" + (", ".join(texts) if len(texts) < _FEW else f"{texts[0]}, …, {texts[-1]}") + "}"


@dataclass(frozen=True)
class LineResult:
    """The array that a line has written, of these dims; once in each round of the loop `loop` if that is not (), each
    round `shift` slots after the previous one."""

    dims: tuple[int, ...]
    rounds: int
    loop: tuple[int, ...]
    shift: int


@dataclass(frozen=True)
class Now:
    """The place where an operand is read: in the last of `counts` rounds of the loops around it; `loop` is the first
    line and depth of the innermost one, () outside loops."""

    counts: tuple[int, ...] = ()
    loop: tuple[int, ...] = ()

    @property
    def rounds(self) -> tuple[int, ...]:
        return tuple(count - 1 for count in self.counts)

    @property
    def last(self) -> int:
        """The number of this round, counted through all loops around it."""
        return prod(self.counts) - 1

    def moves(self, x: Index) -> Ints:
        """The distances of the operand from its current slots, in all rounds."""
        moved = [x.moved(rounds) for rounds in np.ndindex(*self.counts)]
        return np.array(moved) - x.moved(self.rounds)


def in_rounds(loop: Loop, start: int, around: tuple[int, ...]) -> Iterator[tuple[Instruction, Now]]:
    """The instructions of a loop, the first of which is line `start`, each with its last round."""
    counts, line = (*around, loop.count), start
    for row, inner in in_rows(loop.body):
        yield from ((x, Now(counts, (start, len(counts)))) for x in row)
        line += len(row)
        for nested in loops_of(inner):
            yield from in_rounds(nested, line, counts)
            line += len(body_of(nested))


class SlotNames:
    """The source of every slot of one program."""

    def __init__(self, program: Program, leaves: LeafNames) -> None:
        self.program, self.leaves = program, leaves
        sizes = {"u": program.uniform, "v": program.varying}
        self.source = {space: np.full(size, _NOTHING) for space, size in sizes.items()}
        self.position = {space: np.zeros(size, dtype=np.int64) for space, size in sizes.items()}
        self.round = {space: np.zeros(size, dtype=np.int64) for space, size in sizes.items()}
        self.lines: dict[int, LineResult] = {}
        first = program.parameters
        self._put("u", np.arange(first), _PARAMETER)
        self._put("u", first + np.arange(len(program.constants)), _CONSTANT)
        # Two programs of one function may number their constants differently, so a constant is identified by its bits.
        self.position["u"][first : first + len(program.constants)] = program.constants.view(np.int64)
        slots = {True: program.first_uniform_input, False: program.first_input}  # the next of each kind
        for k, (_, shape) in enumerate(leaves.arguments):
            same = k in leaves.uniform
            space = "u" if same else program.input_space
            self._put(space, slots[same] + np.arange(prod(shape)), _FIRST_ARGUMENT - k)
            slots[same] += prod(shape)
        if program.weight is not None:
            self._put(program.input_space, np.array([program.first_input + program.weight]), _WEIGHT)

    def _put(self, space: str, slots: Ints, source: int, round_: int = 0) -> None:
        self.source[space][slots] = source
        self.position[space][slots] = np.arange(len(slots))
        self.round[space][slots] = round_

    def write(self, line: int, out: Index, dims: tuple[int, ...], now: Now) -> None:
        """Note that line `line` has written the slots `out`, in all rounds so far."""
        self.lines[line] = LineResult(dims, now.last + 1, now.loop, out.shift)
        moved = np.zeros((1,) * len(now.counts), dtype=np.int64)
        for axis, (shift, count) in enumerate(zip(out.shifts, now.counts, strict=False)):
            moved = moved + (shift * np.arange(count)).reshape([-1 if k == axis else 1 for k in range(len(now.counts))])
        first = out.slots(dims, 1).ravel()
        slots = np.broadcast_to(moved, now.counts).reshape(-1, 1) + first
        self.source[out.space][slots] = line
        self.position[out.space][slots] = np.arange(len(first))
        self.round[out.space][slots] = np.arange(len(slots))[:, None]

    def write_all(self, line: int, space: str, slots: Ints) -> None:
        """Note that line `line` has written these slots, in no particular shape."""
        self.lines.setdefault(line, LineResult((len(slots),), 1, (), 0))
        self._put(space, slots, line)

    def key(self, operand: Operand, dims: tuple[int, ...], count: int, now: Now, start: int) -> bytes:
        """Equal for operands of two programs that hold the same numbers. Lines from `start` on are counted from it."""
        if isinstance(operand, float):
            return operand.hex().encode()
        at = operand.slots(dims, count, now.rounds).ravel()
        source, position, rounds = (table[operand.space][at] for table in (self.source, self.position, self.round))
        source = np.where(source >= start, 10**9 + source - start, source)
        return b"".join(table.tobytes() for table in (source, position, rounds))

    def is_line(self, operand: Operand, dims: tuple[int, ...], line: int, now: Now) -> bool:
        """Whether an operand is the whole result of a line (in this round), member by member."""
        if isinstance(operand, float) or line not in self.lines or prod(self.lines[line].dims) != prod(dims):
            return False
        at, space = operand.slots(dims, 1, now.rounds).ravel(), operand.space
        return bool(
            (self.source[space][at] == line).all()
            and (self.position[space][at] == np.arange(len(at))).all()
            and (self.round[space][at] == now.last).all()
        )

    # --- words ------------------------------------------------------------------------------------------------------

    def say(
        self,
        x: Operand,
        dims: tuple[int, ...],
        count: int = 1,
        *,
        now: Now,
        letter: str = "",
        second: bool = False,
    ) -> str:
        """An operand with its shape, as in W[16×2]; a matrix read by columns is W[16×2]ᵀ.

        `now` is the place where it is read, `letter` the name of unnamed parameters, and `second` tells that it is the
        right operand of a matrix product, whose rows are the terms.
        """
        if isinstance(x, float):
            return number(x)
        axes, terms = depends(x, dims, count)
        members = [dims[axis] for axis in sorted(axes)]
        shape = members + [count] * terms
        at = x.slots(dims, count, now.rounds)
        if x.space == "u" and (self.source["u"][at] == _CONSTANT).all():
            return _numbers(self.program.constants[at - self.program.parameters])
        letter = letter or ("W" if len(shape) > 1 else "w" if shape else "p")
        text, when = self._where(x, at.ravel(), now, letter)
        if len(shape) > 1 and x.affine and len(np.unique(at)) < prod(shape):
            return f"windows{shaped(shape)} of {text}{when}"
        if len(shape) == 1 and re.search(r"\.\d+–\d+$", text):  # that already tells the shape
            return text + when
        if len(members) == 1 and terms and x.affine:
            across = abs(x.term) > max(abs(x.member[axis]) for axis in axes)  # the terms are the rows as stored
            return text + shaped(shape[::-1] if across else shape) + ("ᵀ" if across != second else "") + when
        return text + shaped(shape) + when

    def _where(self, x: Index, slots: Ints, now: Now, letter: str) -> tuple[str, str]:
        """The source of slots, and the round in which it was made."""
        sources = self.source[x.space][slots]
        found = list(dict.fromkeys(sources.tolist()))
        parts = [self._part(x, source, slots[sources == source], now, letter) for source in found]
        if len(parts) == 1:
            return parts[0]
        texts = [text + when for text, when in parts]
        return "{" + (", ".join(texts) if len(texts) < _FEW else f"{texts[0]}, …, {texts[-1]}") + "}", ""

    def _part(self, x: Index, source: int, slots: Ints, now: Now, letter: str) -> tuple[str, str]:
        """A source and the part of it that is read: (3), (3).0–4, x.1; and the round in which it was made."""
        moving = " (the next in each round)" if x.shift and source <= 0 else ""
        if source == _PARAMETER:
            return self.leaves.group((slots[:, None] + now.moves(x)[::-1]).ravel(), letter), moving
        if source == _CONSTANT:
            return "constants", moving
        if source == _WEIGHT:
            return "weight", ""
        if x.shift and (source <= 0 or not self.lines[source].loop):  # everything that it reads in all rounds
            moved = (slots[:, None] + now.moves(x)[::-1]).ravel()
            slots = moved[self.source[x.space][moved] == source]
        position = np.unique(self.position[x.space][slots])
        if source > 0:
            made = self.lines[source]
            if x.shift and not made.loop:
                return f"({source}){_element(position, made.dims)}", " (the next in each round)"
            part = _element(position, tuple(d for d in made.dims if d > 1))
            return f"({source}){part}", _when(x, made, self.round[x.space][slots], now)
        name, dims = self.leaves.arguments[_FIRST_ARGUMENT - source]
        return name + _element(position, dims), moving


def _when(x: Index, made: LineResult, rounds: Ints, now: Now) -> str:
    """The rounds of a loop whose results an operand reads now."""
    if not made.loop:
        return ""
    found = np.unique(rounds)
    if now.loop == made.loop and len(found) == 1:
        back = now.last - int(found[0])
        return "" if back == 0 else " of the round before" if back == 1 else f" of {back} rounds before"
    if x.shift:
        return " round by round" if x.shift * made.shift > 0 else " round by round from the last"
    if len(found) == 1:
        return " of the last round" if found[0] == made.rounds - 1 else f" of round {int(found[0]) + 1}"
    return " of all rounds" if len(found) == made.rounds else f" of {len(found)} rounds"


def _element(position: Ints, dims: tuple[int, ...]) -> str:
    """The elements of an array of shape dims, abbreviated; nothing for all of them."""
    total = prod(dims)
    if len(position) == total or position[-1] >= total:  # a line that stands for several arrays has more than one's
        return ""
    if len(position) == 1:
        return "".join(f".{int(k)}" for k in np.unravel_index(int(position[0]), dims))
    if len(dims) == 1 and position[-1] - position[0] == len(position) - 1:
        return f".{position[0]}–{position[-1]}"
    return f" (a part of {total})"


# --- sums of products ------------------------------------------------------------------------------------------------


def depends(x: Operand, dims: tuple[int, ...], count: int) -> tuple[frozenset[int], bool]:
    """The member axes on which an operand depends, and whether it depends on the term."""
    if isinstance(x, float):
        return frozenset(), False
    lengths = dims if x.full is not None else (1,) * len(dims) if x.members is None else x.members.shape
    axes = frozenset(k for k, size in enumerate(dims) if size > 1 and (lengths[k] > 1 or x.member[k]))
    return axes, count > 1 and (x.term != 0 or x.terms is not None or x.full is not None)


@dataclass(frozen=True)
class Product:
    """The products of a segment in terms of matrices: first, sign, second. `matrices` tells whether both sides are
    matrices."""

    kind: str
    first: Operand
    sign: str
    second: Operand
    matrices: bool = False


def product(segment: Segment, dims: tuple[int, ...]) -> Product:
    """Classify the products of a segment by their strides alone.

    If one side depends on members and terms and the other on terms alone, the sums are a matrix times a vector; if on
    different members, a matrix times a matrix, or, without terms, an outer product.
    """
    left, right = segment.left, segment.right
    (a, a_terms), (b, b_terms) = (depends(x, dims, segment.count) for x in (left, right))
    if b and (not a or min(b) < min(a)) and a_terms == b_terms:  # rows first
        left, right, a, b = right, left, b, a
    if a_terms and b_terms:
        if not a:
            return Product("dot product", left, "·", right)
        if a & b:
            return Product("dot products of rows", left, "·", right)
        return Product("matrix product", left, "·", right, matrices=bool(b))
    if segment.count > 1:
        return Product("", left, " · Σ ", right) if b_terms else Product("", right, " · Σ ", left)
    if a and b and not a & b:
        return Product("outer product", left, " ⊗ ", right)
    return Product("", left, " ∘ " if a and b else " · ", right)
