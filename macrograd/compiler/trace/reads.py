"""Arrays that the body of a loop reads by the round number.

`take(ys, i)` by a round number (`i`, `i + 1`, `n - 1 - i`, `4 * i + j`: sums and multiples) is not an operation: in the
body it is a placeholder, and the copy of the body for round k has element k of ys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_
from typing import Any

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.trace.even import Evenness
from macrograd.compiler.trace.forms import Form, combined
from macrograd.compiler.trace.held import HeldLeaves
from macrograd.compiler.trace.overlaps import Overlaps
from macrograd.compiler.trace.rounds import Kept, Sectioned, Unrolled
from macrograd.compiler.trace.sections import Section, SectionRead
from macrograd.value import Value, constant
from macrograd.vector import Vector, vector

_DEEP = 64  # operations searched for a round number


@dataclass
class Counter:
    """The round number of a loop, within its body."""

    node: Value
    count: int
    long: bool  # only some rounds are written


@dataclass
class Read:
    """An element of `values`, by round numbers; `long` if one of these is of a loop whose rounds are not all
    written."""

    node: Value
    values: Sequence[Any]
    form: Form
    long: bool

    def elements(self) -> Sequence[Any]:
        return self.values.elements if isinstance(self.values, Kept) else self.values


class Reads:
    """The reads of one trace; `new` makes a placeholder or another leaf.

    section    the section whose rounds are being written, or None
    arrays     those with parameters among their elements, by id
    arguments  the ids of the function's arguments, whose elements come from no body
    """

    def __init__(self, held: HeldLeaves, new: Callable[[], Any]) -> None:
        self._held, self._new = held, new
        self.section: Section | None = None
        self.arrays: dict[int, Sequence[Any]] = {}
        self.arguments: set[int] = set()
        self.overlaps = Overlaps()
        self.even = Evenness()
        self._counters: dict[int, Counter] = {}
        self._reads: dict[int, Read] = {}
        self._same_reads: dict[tuple[int, Form, bool], Read] = {}
        self._forms: dict[int, tuple[Value, Form | None]] = {}
        self._ids: dict[int, tuple[Any, dict[int, Any]]] = {}
        self._columns: dict[int, tuple[Any, list[Any]]] = {}
        self._snapshots: dict[int, tuple[Any, Any]] = {}

    def count(self, number: Value, count: int, long: bool) -> None:
        """Note that a value is the round number of a loop."""
        self._counters[id(number)] = Counter(number, count, long)

    def of(self, x: Value) -> Read | None:
        """The read that a value stands for, if it does."""
        return self._reads.get(id(x))

    def take(self, values: Any, index: Any, *, guarded: bool) -> Any:
        """The element at a round number; None if the index is something else."""
        return self._by_number(values, index, guarded) if self._counters else None

    def _by_number(self, values: Any, index: Any, guarded: bool) -> Any:
        """The element at a round number; None if the index is something else, or in range only because of a guard."""
        form = self._form(index)
        if form is None or not form[1]:
            if isinstance(values, Kept):
                values.shape  # noqa: B018 - refuses
            return None
        if not isinstance(values, (Kept, list, tuple, Vector)):
            shape = getattr(values, "shape", None)
            if not shape:
                return None
            numbers = values.tolist()
            values = self._snapshot(values, numbers)
        elif isinstance(values, list):
            rows = list in set(map(type, values))
            values = self._snapshot(
                values, [tuple(x) if isinstance(x, list) else x for x in values] if rows else [*values]
            )
        low, high = self._range(form)
        if low < 0 or high >= len(values):
            if guarded and not isinstance(values, Kept):
                return None
            wrong = low if low < 0 else high
            raise IndexError(
                f"take() index {wrong} is outside 0 … {len(values) - 1}; it is computed from a loop's round number"
            )
        if not isinstance(values, Kept) and hasattr(values[0], "__len__"):
            lengths = {len(row) if hasattr(row, "__len__") else 0 for row in values}
            if len(lengths) > 1:
                raise ValueError(
                    f"take() needs rows of equal length, got rows of {min(lengths)} to {max(lengths)} numbers"
                )
            table = values
            columns = self._once(table, lambda: [list(column) for column in zip(*table, strict=True)])
            return vector([self._read(column, form).node for column in columns])
        return self._read(values, form).node

    def _snapshot(self, values: Any, content: list[Any]) -> list[Any]:
        """What a list or array holds now, the same object as before if it held the same: the body may change it, or the
        function may between two loops."""
        found = self._snapshots.get(id(values))
        if found is None or not _same(found[1], content):
            self._snapshots[id(values)] = found = values, content
            if id(values) in self.arguments:
                self.arguments.add(id(content))
        return found[1]

    def _once(self, x: Any, make: Callable[[], list[Any]]) -> list[Any]:
        """The replacement of each object, made once."""
        if id(x) not in self._columns:
            self._columns[id(x)] = x, make()
        return self._columns[id(x)][1]

    def inside(self, read: Read, made: set[int]) -> list[Any]:
        """The values made in the body among those that a read chooses from."""
        values = read.elements()
        if id(values) in self.arguments or made.isdisjoint(map(id, values)):
            return []
        known = self._by_id(values)
        return [known[x] for x in sorted(made) if x in known]

    def _by_id(self, values: Sequence[Any]) -> dict[int, Any]:
        if id(values) not in self._ids:
            self._ids[id(values)] = values, dict(zip(map(id, values), values, strict=True))
        return self._ids[id(values)][1]

    def passed(self, results: Sequence[Any], leaves: Sequence[Any]) -> bool:
        """Note that the results are differentiated with respect to the leaves. Whether they depend on them through an
        element read by the round number of an open loop: which element, only the copies of the body know."""
        self.overlaps.differentiated = True
        found = reached(results) if self._reads else set()
        inside: set[int] = set()
        while reads := [self._reads[x] for x in found if x in self._reads]:
            found = reached([y for read in reads for y in read.elements()]) - inside
            inside |= found
        return not inside.isdisjoint(map(id, leaves))

    def _read(self, values: Sequence[Any], form: Form, long: bool = False) -> Read:
        key = id(values), form, long or any(self._counters[c].long for c, _ in form[1])
        if key[2]:
            self.overlaps.add(values, form[0], [(self._counters[c].count, factor) for c, factor in form[1]])
            if not isinstance(values, Kept) and id(values) not in self.arguments:
                self.even.add(values, self._range(form), [x.count for c, _ in form[1] if (x := self._counters[c]).long])
        if key not in self._same_reads:
            read = Read(self._new(), values, form, key[2])
            self._same_reads[key] = self._reads[id(read.node)] = read
        return self._same_reads[key]

    def moved(self, read: Read, new: dict[int, Any], known: tuple[int, int]) -> Any:
        """The value of a read in a round: `known` is the counter and its number."""
        counter, k = known
        at = read.form[0] + sum(factor * k for c, factor in read.form[1] if c == counter)
        rest = tuple([(c, factor) for c, factor in read.form[1] if c != counter])
        values = read.values
        if self.section is not None and counter in [c for c, _ in read.form[1]]:
            return self._read_in_section(self.section, read, new, counter)
        if not rest:
            found = values.read(at) if isinstance(values, Kept) else values[at]
            if read.long and not isinstance(values, Kept):
                self.even.read(values, at)
            if not isinstance(found, Value):
                return self._held.element(values, at) if read.long else constant(found)
            if read.long and found.op is None and not found._traced:
                self.arrays.setdefault(id(values), values)
            return new.get(id(found), found)
        if isinstance(values, Kept):
            if any(id(x) in new for x in values.elements):
                values = Kept(len(values), [new.get(id(x), x) for x in values.elements])
        elif any(id(x) in new for x in values):
            values = [new.get(id(x), x) for x in values]
        return self._read(values, (at, rest), read.long).node

    def _read_in_section(self, section: Section, read: Read, new: dict[int, Any], counter: int) -> Value:
        """A new leaf for the element, which is another one in each section."""
        if isinstance(read.values, Kept):
            count = len(read.values)
            if count in self._held.rounds.sectioned:  # and yet has no sections
                raise Unrolled(count, f"the loop of {section.where} with memory= reads what it kept")
            raise Sectioned(count)
        if id(read.node) not in section.reads:
            made = new.keys() - set(map(id, section.outside))
            if id(read.values) not in self.arguments and not made.isdisjoint(map(id, read.values)):
                raise ValueError(
                    f"the loop of {section.where} with memory= reads by its round number from values that its body "
                    "made: choose with mg.where, or leave out memory="
                )
            plan = section.plan
            rounds = range(plan.head, plan.head + plan.rounds * plan.count)
            elements = self._elements(read, counter, rounds)
            if elements is None:
                self.section = None
                elements = [self.moved(read, {}, (counter, k)) for k in rounds]
                self.section = section
            section.reads[id(read.node)] = SectionRead(elements)
        found = section.reads[id(read.node)]
        found.leaves.append(self._new())
        return found.leaves[-1]

    def _elements(self, read: Read, counter: int, rounds: range) -> Sequence[Any] | None:
        """The elements that rounds read of an array, if they depend on nothing else: there may be millions."""
        step = sum(factor for c, factor in read.form[1] if c == counter)
        if read.long or isinstance(read.values, Kept) or not step or any(c != counter for c, _ in read.form[1]):
            return None
        values = read.values._items if isinstance(read.values, Vector) else read.values
        begin, end = read.form[0] + step * rounds[0], read.form[0] + step * (rounds[-1] + 1)
        return values[begin : end if end >= 0 else None : step]

    def _range(self, form: Form) -> tuple[int, int]:
        low = high = form[0]
        for c, factor in form[1]:
            most = factor * (self._counters[c].count - 1)
            low, high = low + min(0, most), high + max(0, most)
        return low, high

    def _form(self, x: Any, deep: int = _DEEP) -> Form | None:
        """An index as a sum of multiples of round numbers, or None."""
        if not isinstance(x, Value) or x.op is ops.CONSTANT:
            number = x._data if isinstance(x, Value) else x
            return (int(number), ()) if float(number).is_integer() else None
        if id(x) in self._counters:
            return 0, ((id(x), 1),)
        if not deep or x.op not in (ops.add, ops.sub, ops.mul, ops.neg):
            return None
        if id(x) not in self._forms:
            parts = [self._form(y, deep - 1) for y in x.inputs]
            self._forms[id(x)] = x, None if None in parts else combined(x.op, [p for p in parts if p is not None])
        return self._forms[id(x)][1]


def reached(roots: Sequence[Any]) -> set[int]:
    """The ids of the Values that the roots depend on, with the roots, but not through the elements of a read."""
    seen: set[int] = set()
    stack = [x for x in roots if isinstance(x, Value)]
    while stack:
        x = stack.pop()
        if id(x) not in seen:
            seen.add(id(x))
            a, b = x._a, x._b
            if b is not None:
                stack += (a, b)
            elif a is not None:
                stack += a if a.__class__ is tuple else (a,)
    return seen


def _same(a: list[Any], b: list[Any]) -> bool:
    """Whether two snapshots hold the same objects, or numbers of the same bits."""
    if len(a) != len(b):
        return False
    return all(map(is_, a, b)) or all(_alike(x, y) for x, y in zip(a, b, strict=True))


def _alike(x: Any, y: Any) -> bool:
    if x is y:
        return True
    if isinstance(x, (tuple, list)) and isinstance(y, (tuple, list)):
        return len(x) == len(y) and all(_alike(a, b) for a, b in zip(x, y, strict=True))
    if isinstance(x, float) and isinstance(y, float):
        return x.hex() == y.hex()
    return False
