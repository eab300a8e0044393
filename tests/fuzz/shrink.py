"""Shrinks a failing program: fewest lines, simplest operands, smallest batch, plainest way to compile it.

Greedy: every change that keeps a failure of the same kind is kept, until none does. Source of the idea of chunks that
get smaller: Zeller & Hildebrandt, *Simplifying and Isolating Failure-Inducing Input*, TSE 28(2), 2002.
"""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from .check import check
from .data import Data
from .generate import Case
from .language import Choose, Line, Program, Repeat, Statement, statements
from .ways import Way

Found = tuple[Case, Way]
_LEAVES = ("P[0]", "x[0]", "1.0")


def kind(failure: str) -> str:
    """The kind of failure, which a smaller program must keep."""
    if "raises" in failure:
        return failure.partition("raises ")[2].partition(":")[0]
    return "reference" if ", reference" in failure else "numbers" if failure else ""


def shrink(case: Case, way: Way, seconds: float = 60.0) -> Found:
    """The smallest case and way, within the time, that fail in the same way."""
    wanted, end = kind(check(case, way).failure), time.monotonic() + seconds
    if not wanted:
        return case, way
    found = case, way
    moves: list[Callable[[Found], Iterator[Found]]] = [_ways, _chunks, _results, _loops, _lines, _numbers]
    changed = True
    while changed and time.monotonic() < end:
        changed = False
        for move in moves:
            again = True
            while again and time.monotonic() < end:
                again = False
                for candidate in move(found):
                    if time.monotonic() > end:
                        break
                    if _size(candidate) < _size(found) and kind(check(*candidate).failure) == wanted:
                        found, again, changed = candidate, True, True
                        break
    return found


def _size(found: Found) -> tuple[int, ...]:
    """The sizes to minimise, most important first."""
    case, way = found
    body = list(statements(case.program.body))
    plain = (way.what != "values") + way.strict + way.moved + way.threads + (way.dtype != "float64") + way.batch
    rounds = sum(s.count if isinstance(s, Repeat) else 1 for s in body)
    text = case.program.text()
    digits = sum(len(repr(n)) for row in [case.data.parameters, *case.data.samples] for n in row)
    return len(body), rounds + sum(s.over for s in body if isinstance(s, Line)), len(way.rows), plain, len(text), digits


def _ways(found: Found) -> Iterator[Found]:
    case, way = found
    for rows in (
        way.rows[:1],
        way.rows[: len(way.rows) // 2],
        way.rows[len(way.rows) // 2 :],
        way.rows[1:],
        way.rows[:-1],
    ):
        if rows:
            yield case, replace(way, rows=rows)
    for plainer in ({"what": "values"}, {"what": "backward"}, {"strict": False}, {"moved": False}, {"threads": 1},
                    {"dtype": "float64"}, {"budget": None}, {"rolled": True},
                    {"batch": False, "rows": way.rows[:1]}):  # fmt: skip
        yield case, replace(way, **plainer)
    if len(case.data.samples) > 1 and len(set(way.rows)) == 1:
        yield Case(case.program, case.data.some([way.rows[0]])), replace(way, rows=(0,) * len(way.rows))


def _chunks(found: Found) -> Iterator[Found]:
    """Without a run of statements, long runs first."""
    case, way = found
    everything = list(statements(case.program.body))
    count = size = len(everything)
    while size:
        for first in range(count - size, -1, -size):
            line = everything[first]
            own = line.arguments if size == 1 and isinstance(line, Line) and not line.over else []
            for leaf in (*own, *_LEAVES):
                yield Case(_without(case.program, set(range(first, first + size)), leaf), case.data), way
        size //= 2


def _results(found: Found) -> Iterator[Found]:
    case, way = found
    if len(case.program.results) > 1:
        for one in case.program.results:
            name = f"{one[1:]}[0]" if one.startswith("*") else one
            yield Case(replace(case.program, result=name, results=[name]), case.data), way
    program = case.program
    if len(program.arguments) > 1 and not re.search(r"\bi\b", program.text().partition("\n")[2]):
        yield Case(replace(program, arguments=program.arguments[:1]), case.data), way


def _loops(found: Found) -> Iterator[Found]:
    """Loops with fewer rounds, or written out as one; conditions that always hold; shorter lists."""
    case, way = found
    for k, statement in enumerate(statements(case.program.body)):
        if isinstance(statement, Line):
            for over in {2, 3, statement.over // 2, statement.over - 1} if statement.over > 2 else ():
                program = copy.deepcopy(case.program)
                _at(program, k).over = max(2, over)
                yield Case(program, case.data), way
            if statement.over:
                program = copy.deepcopy(case.program)
                arguments = [re.sub(r"\bk\b", "0", a) for a in statement.arguments]
                _splice(program.body, _at(program, k), [Line(statement.target, statement.call, arguments)])
                _replace(program, statement.target, statement.target, True)
                yield Case(program, case.data), way
            continue
        if isinstance(statement, Repeat):
            for count in sorted({1, 2, 3, statement.count // 2, statement.count - 1} - {0}):
                program = copy.deepcopy(case.program)
                _at(program, k).count = count
                yield Case(program, case.data), way
        program = copy.deepcopy(case.program)
        body = [_renamed(s, statement.counter, "0") if isinstance(statement, Repeat) else s
                for s in copy.deepcopy(statement.body)]  # fmt: skip
        _splice(program.body, _at(program, k), body)
        yield Case(program, case.data), way


def _lines(found: Found) -> Iterator[Found]:
    """Lines that only name one of their operands, simpler operands, no wrapping."""
    case, way = found
    for k, statement in enumerate(statements(case.program.body)):
        if not isinstance(statement, Line):
            continue
        variants = [Line(statement.target, "{0}", [a], statement.over) for a in statement.arguments]
        if statement.call.startswith("ops.tanh(") and "({" not in statement.call[9:]:
            variants.append(replace(statement, call=statement.call[9:-1]))
        for j, argument in enumerate(statement.arguments):
            for leaf in (*_LEAVES, "t"):
                if argument != leaf and (leaf != "t" or "t" in argument):
                    simpler = re.sub(r"\[.*\]", "[t]", argument) if leaf == "t" else leaf
                    variants.append(
                        replace(statement, arguments=[*statement.arguments[:j], simpler, *statement.arguments[j + 1 :]])
                    )
        for line in variants:
            program = copy.deepcopy(case.program)
            _splice(program.body, _at(program, k), [copy.deepcopy(line)])
            yield Case(program, case.data), way


def _numbers(found: Found) -> Iterator[Found]:
    case, way = found
    data = case.data
    for k in range(len(data.parameters)):
        if k and not re.search(rf"P\[{k}\]|P\[.*%", case.program.text()):
            continue
        for simple in (0.0, 1.0, 2.0, 0.5):
            yield Case(case.program, replace(data, parameters=_with(data.parameters, k, simple))), way
    for row, sample in enumerate(data.samples):
        for k in range(len(sample)):
            for simple in (0.0, 1.0, 2.0, 0.5):
                yield Case(case.program, _sampled(data, row, _with(sample, k, simple))), way


def _sampled(data: Data, row: int, sample: list[float]) -> Data:
    return replace(data, samples=[sample if k == row else old for k, old in enumerate(data.samples)])


def _with(numbers: list[float], k: int, number: float) -> list[float]:
    return [*numbers[:k], number, *numbers[k + 1 :]]


# --- trees ----------------------------------------------------------------------------------------------------------


def _at(program: Program, k: int) -> Statement:
    return list(statements(program.body))[k]


def _splice(body: list[Statement], old: Statement, new: list[Statement]) -> bool:
    """Put `new` where `old` stands."""
    for k, statement in enumerate(body):
        if statement is old:
            body[k : k + 1] = new
            return True
        if not isinstance(statement, Line) and _splice(statement.body, old, new):
            return True
    return False


def _without(program: Program, gone: set[int], leaf: str) -> Program:
    """Without some statements, what only they defined replaced by a leaf."""
    found = copy.deepcopy(program)
    everything = list(statements(found.body))
    for k in sorted(gone, reverse=True):
        if k < len(everything):
            _splice(found.body, everything[k], [])
    left = {s.target: bool(s.over) for s in statements(found.body) if isinstance(s, Line)}
    for name, is_list in {s.target: bool(s.over) for s in everything if isinstance(s, Line)}.items():
        if name not in left:
            _replace(found, name, leaf, is_list)
    return found


def _replace(program: Program, name: str, leaf: str, is_list: bool) -> None:
    def changed(text: str) -> str:
        if is_list:
            text = re.sub(rf"\b{name}\[[^:\]]*\]", leaf, text)
        return re.sub(rf"\b{name}\b", f"[{leaf}, {leaf}, {leaf}]" if is_list else leaf, text)

    for statement in statements(program.body):
        if isinstance(statement, Line):
            statement.arguments = [changed(a) for a in statement.arguments]
            statement.call = changed(statement.call)
    program.result = changed(program.result)
    program.results = [changed(r) for r in program.results]


def _renamed(statement: Statement, name: str, new: str) -> Statement:
    pattern = rf"\b{name}\b"
    if isinstance(statement, Line):
        statement.arguments = [re.sub(pattern, new, a) for a in statement.arguments]
        return statement
    if isinstance(statement, Choose):
        statement.condition = re.sub(pattern, new, statement.condition)
    statement.body = [_renamed(s, name, new) for s in statement.body]
    return statement
