"""Stretch: derive the program of a long loop from programs of a few rounds.

Every round of a loop is a copy of one small graph, so tapes with different numbers of rounds n differ only in how often
the graph occurs. If their programs have the same form, too, the integers in them (how often a loop runs, how many
members an instruction has, in which slot an operand begins) are linear in n: say, a loop of the program runs n - 2
times, and the slots after it begin at 40 + 3n. Two programs determine these lines; as a check, a third must lie on
them, and a program of twice the rounds, told from them, must be valid. With loops of different counts n and m, the
integers are linear in 1, n, m and n·m.

Programs that differ in anything else (another instruction, another constant, a table of another size) are `Uneven`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.program.instruction import Index, Instruction, Loop
from macrograd.compiler.program.program import Program, ProgramError, verify
from macrograd.compiler.program.results import Results
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import counted
from macrograd.compiler.tape.tape import Ints

Point = tuple[int, ...]
_LONG = 12  # elements; a longer table may grow with a loop's count
_LONGEST_PERIOD = 512
_LEAST_ROUNDS = 4


class Uneven(Exception):  # noqa: N818 - an answer, not an error
    """The programs differ in more than integers that lie on lines."""


def points(families: int) -> list[Point]:
    """The points at which programs are needed, in steps of each count: the corners of the unit cube, and points two
    steps out, to check that the lines are straight."""
    corners = list(product((0, 1), repeat=families))
    along = [tuple(2 * (f == g) for g in range(families)) for f in range(families)]
    return list(dict.fromkeys([*corners, *along, (2,) * families]))


def on_lines(numbers: Ints, at: Sequence[Point], wanted: Point) -> Ints:
    """Extrapolate numbers (a row for each of the `points`) to another point, each as a product of lines. Raises Uneven
    if they do not lie on lines."""
    families = len(wanted)
    corner = {point: row for point, row in zip(at, numbers, strict=True) if max(point) <= 1}
    terms: dict[Point, Ints] = {}
    for point in corner:  # Σ over subsets: the coefficient of each product of counts
        inside = [p for p in corner if all(a <= b for a, b in zip(p, point, strict=True))]
        terms[point] = np.sum([(-1) ** (sum(point) - sum(p)) * corner[p] for p in inside], axis=0)

    def value(point: Point) -> Ints:
        factors = {t: int(np.prod([point[f] if t[f] else 1 for f in range(families)], dtype=object)) for t in terms}
        found: Ints = np.sum([factors[t] * terms[t] for t in terms], axis=0)
        return found

    for point, row in zip(at, numbers, strict=True):
        if not np.array_equal(value(point), row):
            raise Uneven("numbers do not lie on lines")
    return value(wanted)


def stretched(programs: Sequence[Program], at: Sequence[Point], wanted: Point, beyond: Point) -> Program:
    """The program at `wanted`, from the programs at the points `at`. Raises Uneven if they do not determine it.

    On lines, one number may overtake another: an instruction whose members are as many as the rounds may come to read
    what it writes itself. If so, it does in the program at `beyond`, which is verified for that reason, but not used.
    """
    lines = _Lines(programs, at)
    if max(wanted) > 2:
        try:
            verify(lines.program(tuple(map(min, wanted, beyond))))
        except ProgramError as error:
            raise Uneven(str(error)) from None
    return lines.program(wanted)


class _Lines:
    """The programs at some points as lines. Raises Uneven if they are none."""

    def __init__(self, programs: Sequence[Program], at: Sequence[Point]) -> None:
        self.first, self.at = replace(programs[0], results=_runs(programs[0])), at
        parts = [_Parts(replace(program, results=_runs(program))) for program in programs]
        _check_words(parts)
        self.trees: list[Any] = []
        for tables in zip(*(part.tables for part in parts), strict=True):
            axis = _growing(tables)
            trees = [_table(table, axis) for table in tables]
            inside = [_Parts(tree) for tree in trees]
            _check_words(inside)
            self.trees.append(trees[0])
            for part, more in zip(parts, inside, strict=True):
                part.numbers += more.numbers
        self.numbers = np.array([part.numbers for part in parts], dtype=np.int64)
        self.of_tables = sum(map(_integers, self.trees))

    def program(self, wanted: Point) -> Program:
        told = on_lines(self.numbers, self.at, wanted).tolist()
        begin = len(told) - self.of_tables
        numbers, of_tables = iter(told[:begin]), iter(told[begin:])
        tables = (_put_together(tree, of_tables, iter(())) for tree in self.trees)
        made: Program = _put_together(self.first, numbers, tables)
        made = replace(
            made,
            results=_results(made.results),
            before=_without_none(made.before),
            block=_without_none(made.block),
            after=_without_none(made.after),
        )
        _check_bounds(made)
        return made


class _Parts:
    """The parts of a program: its integers, its tables, and words for everything else, each in order."""

    def __init__(self, whole: Any) -> None:
        self.words: list[Any] = []
        self.numbers: list[int] = []
        self.tables: list[NDArray[Any]] = []
        word, number, waiting = self.words.append, self.numbers.append, [whole]
        while waiting:
            x = waiting.pop()
            kind: Any = type(x)
            if kind is int or isinstance(x, np.integer):
                word(int)
                number(int(x))
            elif kind is tuple:
                word(len(x))
                waiting.extend(x[::-1])
            elif (names := _names(kind)) is not None:
                word(kind)
                waiting.extend([getattr(x, name) for name in names[::-1]])
            elif kind is np.ndarray:
                word(np.ndarray)
                self.tables.append(x)
            else:
                word(x.hex() if kind is float else x)


def _check_words(parts: Sequence[_Parts]) -> None:
    if any(part.words != parts[0].words for part in parts[1:]):
        raise Uneven("the programs differ in more than numbers")


@cache
def _names(kind: Any) -> tuple[str, ...] | None:
    """The fields of a part of programs, or None of anything else."""
    if kind is Stream:
        raise Uneven("there is a stream")
    return tuple([part.name for part in fields(kind)]) if is_dataclass(kind) else None


def _growing(tables: Sequence[NDArray[Any]]) -> int:
    """The axis along which the tables of the programs differ in length, or the longest."""
    shapes = [table.shape for table in tables]
    if len({len(shape) for shape in shapes}) > 1:
        raise Uneven("the programs differ in more than numbers")
    grows = [axis for axis, lengths in enumerate(zip(*shapes, strict=True)) if len(set(lengths)) > 1]
    return grows[0] if grows else int(np.argmax(shapes[0]))


def _integers(tree: Any) -> int:
    return sum(map(_integers, tree)) if isinstance(tree, tuple) else int(type(tree) is int)


def _put_together(x: Any, numbers: Iterator[int], tables: Iterator[Any]) -> Any:
    """The same program, or tree of a table, with other integers and tables."""
    kind: Any = type(x)
    if kind is int or isinstance(x, np.integer):
        return next(numbers)
    if kind is tuple:
        return tuple([_put_together(item, numbers, tables) for item in x])
    if kind is np.ndarray:
        return _array(next(tables), x)
    if (names := _names(kind)) is not None:
        return kind(*[_put_together(getattr(x, name), numbers, tables) for name in names])
    return x


def _without_none(steps: Sequence[Any]) -> tuple[Any, ...]:
    """The steps without those that have no members or rounds, and sums without their empty segments. Raises Uneven for
    a negative number of anything."""
    found: list[Any] = []
    for step in steps:
        if isinstance(step, Loop):
            _check(step.count)
            if step.count:
                found.append(replace(step, body=_without_none(step.body)))
            continue
        assert isinstance(step, Instruction)
        _check(step.count, *step.dims, *(segment.count for segment in step.segments))
        if 0 in step.dims:
            continue
        segments = tuple([segment for segment in step.segments if segment.count])
        if step.count == 0 or (step.segments and not segments):
            raise Uneven("a sum would have no terms")
        found.append(replace(step, segments=segments))
    return tuple(found)


def _check(*counts: int) -> None:
    if min(counts) < 0:
        raise Uneven("a number of members, terms or rounds would be negative")


def _check_bounds(program: Program) -> None:
    """Raise Uneven if an operand or a result would be outside its space."""
    sizes = {"u": program.uniform, "v": program.varying}
    for step in program.steps():
        for instruction, rounds in counted(step):
            for operand, terms in (*instruction.operands(), (instruction.out, 1)):
                if not isinstance(operand, Index):
                    continue
                low = high = operand.base
                for stride, many in zip(
                    (*operand.member, operand.term, *operand.shifts), (*instruction.dims, terms, *rounds), strict=True
                ):
                    most = stride * (many - 1)
                    low, high = low + min(0, most), high + max(0, most)
                for table in (operand.members, operand.terms, operand.full):
                    if table is not None and table.size:
                        low, high = low + int(table.min()), high + int(table.max())
                if low < 0 or high >= sizes[operand.space]:
                    raise Uneven(f"an operand would be outside its space: {instruction}")


def _table(x: NDArray[Any], axis: int = 0) -> Any:
    """An array as a tuple: a long row as its beginning, the period that is repeated with a step for each of its
    elements, these steps, the rest, and the number of repeats, each of the parts again such a tuple. One with several
    axes is rows along the one that grows. Any other array is kept unchanged."""
    if x.dtype.kind != "i":
        return ("bytes", x.shape, x.dtype.str, x.tobytes())
    whole = ("whole", *x.ravel().tolist(), x.shape)
    if x.size < _LONG:
        return whole
    if x.ndim > 1:
        rows = np.moveaxis(x, axis, -1).reshape(-1, x.shape[axis])
        return ("rows", axis, tuple([_table(row) for row in rows]), x.shape[:axis] + x.shape[axis + 1 :])
    best = (0, 0, 0)  # elements that a period covers, the period, its beginning
    for period in range(1, min(_LONGEST_PERIOD, len(x) // _LEAST_ROUNDS) + 1):
        step = x[period:] - x[:-period]
        edges = np.flatnonzero(np.concatenate([[True], step[period:] != step[:-period], [True]]))
        longest = int(np.argmax(np.diff(edges)))
        begin = int(edges[longest])
        covers = (int(edges[longest + 1]) - 1 + 2 * period - begin) // period * period
        if covers >= max(_LONG, _LEAST_ROUNDS * period) and covers > best[0] + period:
            best = covers, period, begin
        if 2 * best[0] > len(x):
            break
    covers, period, begin = best
    if not covers:
        return whole
    pattern = x[begin : begin + period]
    parts = x[:begin], pattern, x[begin + period : begin + 2 * period] - pattern, x[begin + covers :]
    return ("row", *(_table(part) for part in parts), covers // period)


def _array(table: Any, like: NDArray[Any]) -> NDArray[Any]:
    """The array of a table, with the type of another one."""
    if table[0] == "bytes":
        return like
    if table[0] == "whole":
        return np.array(table[1:-1], dtype=like.dtype).reshape(table[-1])
    if table[0] == "rows":
        _, axis, parts, rest = table
        rows = [_array(part, like) for part in parts]
        if len({len(row) for row in rows}) > 1:
            raise Uneven("the rows of a table would differ in length")
        return np.moveaxis(np.array(rows).reshape(*rest, -1), -1, axis)
    first, pattern, step, last = (_array(part, like) for part in table[1:5])
    rounds = table[5]
    _check(rounds)
    middle = pattern + step * np.arange(rounds, dtype=like.dtype)[:, None]
    return np.concatenate([first, middle.ravel(), last])


def _runs(program: Program) -> Any:
    """The results as runs: (space, first slot, step, length)."""
    slot, varies, results = program.slots, program.varies, program.results
    step = np.diff(slot)
    alone = varies[1:] != varies[:-1]
    bends = np.flatnonzero((step[1:] != step[:-1]) | alone[1:] | alone[:-1]) + 1 if len(step) > 1 else np.empty(0, int)
    found, i, n = [], 0, len(slot)
    while i < n:
        if i == n - 1 or alone[i]:
            end, pace = i + 1, 0
        else:
            at = int(np.searchsorted(bends, i + 1))
            end, pace = (int(bends[at]) if at < len(bends) else n - 1) + 1, int(step[i])
        found.append((results[i][0], int(slot[i]), pace, end - i))
        i = end
    return tuple(found)


def _results(runs: Any) -> Results:
    varies, slots = [np.empty(0, dtype=bool)], [np.empty(0, dtype=np.int64)]
    for space, first, step, length in runs:
        _check(length)
        varies.append(np.full(length, space == "v"))
        slots.append(first + step * np.arange(length))
    return Results(np.concatenate(varies), np.concatenate(slots))


def with_held(program: Program, held: NDArray[np.float64]) -> Program:
    """The program with its first uniform inputs turned into constants, which come before the other ones."""
    return replace(
        program,
        constants=np.concatenate([program.constants, held]),
        uniform_inputs=program.uniform_inputs - len(held),
    )
