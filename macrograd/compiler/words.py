"""Operands in words: where the numbers come from that an instruction reads, with names and shapes.

`(3)` is the result of line 3 of the text; brackets give shapes, rows × columns; a dot picks an element.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from macrograd.compiler.program import Index, Operand, Program, Segment
from macrograd.compiler.tape import Ints

# What a slot holds: a leaf of one of these kinds, the argument FIRST_ARGUMENT - k, or the result of line n > 0.
_NOTHING, _PARAMETER, _CONSTANT, _WEIGHT, _FIRST_ARGUMENT = 0, -1, -2, -3, -4


@dataclass
class Leaves:
    """What the leaves are called.

    parameters  a name or None for each
    arguments   name and shape of each
    """

    parameters: Sequence[str | None]
    arguments: Sequence[tuple[str, tuple[int, ...]]]
    _groups: dict[bytes, tuple[str, set[int]]] = field(default_factory=dict)
    _count: dict[str, int] = field(default_factory=dict)

    def group(self, slots: Ints, letter: str) -> str:
        """The name of a set of parameters; without names of their own they are W1, b1 … in the order of the text."""
        slots = np.unique(slots)
        if len(slots) == len(self.parameters) > 1:
            return "all parameters"
        names = [self.parameters[s] for s in slots.tolist()]
        given = [name for name in names if name]
        if len(given) == len(names):
            return common(given)
        key = slots.tobytes()
        if key not in self._groups:
            members = set(slots.tolist())
            for name, group in self._groups.values():
                if members < group:
                    return f"part of {name}"
            self._count[letter] = self._count.get(letter, 0) + 1
            self._groups[key] = (f"{letter}{self._count[letter]}", members)
        return self._groups[key][0]


def common(names: Sequence[str]) -> str:
    """One name for several that differ in their numbers: layers.0.w for layers.0.neurons.3.w.1 and its like."""
    if len(names) == 1:
        return names[0]
    parts = [re.split(r"(\d+)", name) for name in names]
    if len({tuple(part[::2]) for part in parts}) > 1:
        return f"{names[0]}…{names[-1]}"
    columns = [set(column) for column in zip(*parts, strict=True)]
    text = "".join(column.pop() if len(column) == 1 else "" for column in columns)
    for doubled, single in (("[]", ""), ("()", ""), ("..", "."), ("__", "_")):
        text = text.replace(doubled, single)
    return text.strip("._") or f"{names[0]}…{names[-1]}"


def shaped(shape: Sequence[int]) -> str:
    """[16×2]; nothing for one number."""
    return f"[{'×'.join(map(str, shape))}]" if shape else ""


def number(x: float) -> str:
    return f"{x:g}"


class Places:
    """What every slot of one program holds."""

    def __init__(self, program: Program, leaves: Leaves) -> None:
        self.program, self.leaves = program, leaves
        sizes = {"u": program.uniform, "v": program.varying}
        self.source = {space: np.full(size, _NOTHING) for space, size in sizes.items()}
        self.position = {space: np.zeros(size, dtype=np.int64) for space, size in sizes.items()}
        self.round = {space: np.zeros(size, dtype=np.int64) for space, size in sizes.items()}
        self.dims: dict[int, tuple[int, ...]] = {}
        self.rounds: dict[int, int] = {}
        first = program.parameters
        self._put("u", np.arange(first), _PARAMETER)
        self._put("u", first + np.arange(len(program.constants)), _CONSTANT)
        # Two programs of one function may number their constants differently: here a constant is its bits.
        self.position["u"][first : first + len(program.constants)] = program.constants.view(np.int64)
        slot = program.first_input
        for k, (_, shape) in enumerate(leaves.arguments):
            self._put(program.input_space, slot + np.arange(prod(shape)), _FIRST_ARGUMENT - k)
            slot += prod(shape)
        if program.weight is not None:
            self._put(program.input_space, np.array([program.first_input + program.weight]), _WEIGHT)

    def _put(self, space: str, slots: Ints, source: int, round_: int = 0) -> None:
        self.source[space][slots] = source
        self.position[space][slots] = np.arange(len(slots))
        self.round[space][slots] = round_

    def write(self, line: int, out: Index, dims: tuple[int, ...], rounds: int) -> None:
        """The slots `out` hold what line `line` of the text computes."""
        self.dims[line], self.rounds[line] = dims, rounds
        for r in range(rounds):
            self._put(out.space, out.slots(dims, 1, r).ravel(), line, r)

    def key(self, operand: Operand, dims: tuple[int, ...], count: int, round_: int) -> bytes:
        """Equal for operands of two programs that hold the same numbers."""
        if isinstance(operand, float):
            return operand.hex().encode()
        at = operand.slots(dims, count, round_).ravel()
        space = operand.space
        return b"".join(table[space][at].tobytes() for table in (self.source, self.position, self.round))

    def is_line(self, operand: Operand, line: int, members: int, round_: int) -> bool:
        """Whether an operand is all that a line has made (in this round), member by member."""
        if isinstance(operand, float) or self.dims.get(line, (0,)) == () or prod(self.dims[line]) != members:
            return False
        at = operand.slots(self.dims[line], 1, round_).ravel() if len(operand.member) == len(self.dims[line]) else None
        if at is None:
            return False
        space = operand.space
        return bool(
            (self.source[space][at] == line).all()
            and (self.position[space][at] == np.arange(members)).all()
            and (self.round[space][at] == round_).all()
        )

    # --- words ------------------------------------------------------------------------------------------------------

    def say(self, x: Operand, dims: tuple[int, ...], count: int = 1, round_: int = 0, letter: str = "") -> str:
        """An operand with its shape, as in W[16×2]; a matrix that is read column by column is W[16×2]ᵀ."""
        if isinstance(x, float):
            return number(x)
        axes, terms = depends(x, dims, count)
        shape = [dims[axis] for axis in sorted(axes)] + [count] * terms
        at = x.slots(dims, count, round_)
        if x.space == "u" and (self.source["u"][at] == _CONSTANT).all():
            values = np.unique(self.program.constants[at - self.program.parameters])
            if len(values) == 1:
                return number(float(values[0]))
        flips = len(shape) == 2 and terms and x.affine and abs(x.term) > max(abs(x.member[axis]) for axis in axes)
        text = self._where(x, at.ravel(), round_, letter or ("W" if len(shape) > 1 else "w" if shape else "p"))
        if len(np.unique(at)) < prod(shape) and x.affine:
            return f"windows{shaped(shape)} of {text}"
        return text + (f"{shaped(shape[::-1])}ᵀ" if flips else shaped(shape))

    def _where(self, x: Index, slots: Ints, round_: int, letter: str) -> str:
        sources = self.source[x.space][slots]
        found = list(dict.fromkeys(sources.tolist()))
        texts = [self._part(x, source, slots[sources == source], round_, letter) for source in found]
        if len(texts) == 1:
            return texts[0]
        return "{" + (", ".join(texts) if len(texts) < 4 else f"{texts[0]}, …, {texts[-1]}") + "}"

    def _part(self, x: Index, source: int, slots: Ints, round_: int, letter: str) -> str:
        """A source, and which part of it: (3), (3).0–4, x.1."""
        moving = " (the next ones in each round)" if x.shift and source <= 0 else ""
        if source == _PARAMETER:
            return self.leaves.group(slots, letter) + moving
        if source == _CONSTANT:
            return "constants"
        if source == _WEIGHT:
            return "weight"
        position = np.unique(self.position[x.space][slots])
        if source > 0:
            name, dims = f"({source})", self.dims[source]
            dims = tuple(d for d in dims if d > 1)
            part = _element(position, dims)
            return name + part + self._when(self.round[x.space][slots], self.rounds[source], round_)
        name, dims = self.leaves.arguments[_FIRST_ARGUMENT - source]
        return name + _element(position, dims) + moving

    def _when(self, rounds: Ints, count: int, now: int) -> str:
        """Which rounds of a loop, for a reader in round `now`; loops that stand behind are read in round 0."""
        if count == 1:
            return ""
        found = np.unique(rounds)
        if now and len(found) == 1:
            back = now - int(found[0])
            return "" if back == 0 else " of the round before" if back == 1 else f" of {back} rounds before"
        if len(found) == 1 and found[0] == count - 1:
            return " of the last round"
        return " of all rounds" if len(found) == count else f" of {len(found)} rounds"


def _element(position: Ints, dims: tuple[int, ...]) -> str:
    """Which elements of an array of shape dims, in short: nothing for all of them."""
    total = prod(dims)
    if len(position) == total:
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
    tabled = x.members is not None or x.full is not None
    axes = frozenset(axis for axis, size in enumerate(dims) if size > 1 and (tabled or x.member[axis]))
    return axes, count > 1 and (x.term != 0 or x.terms is not None or x.full is not None)


def product(segment: Segment, dims: tuple[int, ...], left: str, right: str) -> tuple[str, str]:
    """What a sum's products are in the language of matrices, and its formula from the words for both sides.

    Only strides are looked at. Where one side depends on members and terms and the other on terms alone, the sums are
    a matrix times a vector; on different members, matrix times matrix, or without terms an outer product.
    """
    (a, a_terms), (b, b_terms) = (depends(x, dims, segment.count) for x in (segment.left, segment.right))
    if a_terms and b_terms:
        if not a and not b:
            return "dot product", f"{left}·{right}"
        if a and b and a & b:
            return "dot products, one for each row of", f"{left}·{right}"
        if "windows" in left or "windows" in right:
            return "convolution", f"{left} over {right}" if "windows" in right else f"{right} over {left}"
        return ("matrix product", f"{left}·{right}") if a else ("matrix product", f"{right}·{left}")
    if segment.count > 1:
        return "sums of", f"{left}·{right}"
    if a and b and not a & b:
        return ("outer product", f"{left} ⊗ {right}") if min(a) < min(b) else ("outer product", f"{right} ⊗ {left}")
    return "", f"{left} ∘ {right}" if a and b else f"{left} · {right}"
