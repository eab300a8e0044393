"""Condensing: the first part of a long trace becomes numbers while the function still runs.

A long function soon forgets most of what it computes: only later Values hold the earlier ones, as their operands. After
every some thousands of new Values a `Condenser` therefore links them (`links.py`) and lets go of the list of them. From
those that somebody still holds it takes the operands, which would hold all the others. A million Values would be 130
bytes each; as numbers they are 14.

Who then asks a Value for its operands (a derivative inside the function, a comparison that looks for parameters, a
drawing) gets them: `Condensed` is the class of a Value without its operands, and makes all Values again, as they were.
Nothing more is condensed then in that trace. A function that holds most of what it computes is not condensed either.

Whether somebody holds a Value is told by its reference count: by the references beyond those of the list and of later
operands. A Value that is wrongly taken for forgotten keeps its operands, and is treated as one that was computed before
the trace, so that no number of the program depends on the count.

The Values listed are the trace's alone: those that another thread makes for itself are not listed. Once another thread
takes part in the trace, nothing more is condensed. It may ask for operands while this thread condenses: one lock keeps
the two apart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import compress, repeat
from operator import attrgetter
from threading import RLock, get_ident
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops, value
from macrograd._forks import free_in_child
from macrograd.compiler.tape.tape import Ints
from macrograd.compiler.trace.links import UNKNOWN, Linker, Links, ids_of
from macrograd.compiler.trace.traced import Traced
from macrograd.value import Value

AT_ONCE = 1 << 14  # Values
SAMPLE = 1 << 11  # Values that show how much of what it computes the function holds
MOST_HELD = 0.5  # of these; there is little to gain otherwise
ELSEWHERE = UNKNOWN - 1  # neither a node nor to be asked about
_condensing = free_in_child(RLock())  # one for all: only one trace runs at a time
_first, _second = Value.__dict__["_a"], Value.__dict__["_b"]  # the slots, which `Condensed` hides


class Condensed:
    """Mixed into a Value: its operands are numbers of a `Condenser`, which is in the slot of the first one."""

    __slots__ = ()

    @property
    def _a(self) -> Any:
        return _first.__get__(_whole(self))

    @_a.setter
    def _a(self, operand: Any) -> None:
        _first.__set__(_whole(self), operand)

    @property
    def _b(self) -> Any:
        return _second.__get__(_whole(self))

    @_b.setter
    def _b(self, operand: Any) -> None:
        _second.__set__(_whole(self), operand)


class CondensedValue(Condensed, Value):
    """A Value that was computed from parameters. Unlike a Value it is no base of `Traced`, which therefore does not go
    first in an operation on both."""

    __slots__ = ()

    @classmethod
    def _apply(cls, op: ops.Op, operands: tuple[Any, ...]) -> Value:
        kind = Traced if any(getattr(x, "_traced", False) for x in operands) else Value
        return kind._apply(op, operands)


def _operator(name: str) -> Callable[[Any, Any], Any]:
    own, reflected = getattr(Value, f"__{name}__"), f"__r{name}__"

    def operator(self: Any, other: Any) -> Any:
        return getattr(other, reflected)(self) if getattr(other, "_traced", False) else own(self, other)

    return operator


for _name in ("add", "sub", "mul", "truediv", "pow"):
    setattr(CondensedValue, f"__{_name}__", _operator(_name))


class CondensedTraced(Condensed, Traced):
    """A Value without a number."""

    __slots__ = ()


_CONDENSED: dict[Any, Any] = {Value: CondensedValue, Traced: CondensedTraced}
_ORIGINAL = {made: original for original, made in _CONDENSED.items()}


def _whole(node: Any) -> Any:
    """The node, with its operands."""
    with _condensing:
        if isinstance(node, Condensed):
            by = _first.__get__(node)
            if by.__class__ is Condenser:
                by.restore()
            else:  # Ctrl-C came before its operands were taken
                node.__class__ = _ORIGINAL[node.__class__]
        if isinstance(node, Condensed):
            raise RuntimeError("the operands of this Value are lost: its references were not counted right")
    return node


class Condenser:
    """Condenses the Values of one trace, in its thread; `listed` is the list to which the trace adds them.

    alone  whether no other thread was there at its start
    """

    def __init__(self, listed: list[Value]) -> None:
        self.alone = value.is_alone()
        self._listed = listed
        self._thread = get_ident()
        self._goes_on, self._stopped = True, False
        self._linker = Linker()
        self._held: list[Value] = []  # the Values that somebody holds
        self._numbers = np.empty(0, dtype=np.int32)  # theirs
        self._fresh = value._fresh  # the gradient of what is new in the trace

    def classes(self) -> Iterator[type[Value]]:
        """The class of the next Values to be made, once for each; before, the Values listed are condensed."""
        if self.alone and not value.is_alone():  # the function started a thread
            self.restore()
        if self._goes_on and get_ident() == self._thread and len(self._listed) >= max(AT_ONCE, len(self._held)):
            self._goes_on = False  # for a Value that is made meanwhile
            with _condensing:
                self._goes_on = self.condense() and not self._stopped
        return repeat(Value, AT_ONCE) if self._goes_on else repeat(Value, SAMPLE)

    def watched(self, new: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """`new`, which stops the condensing when another thread calls it."""

        def watching(kind: Any) -> Any:
            if get_ident() != self._thread:
                self.restore()
            return new(kind)

        return watching

    @property
    def condensed(self) -> int:
        """How many Values are numbers now."""
        return self._linker.count

    def condense(self) -> bool:
        """Condense the Values listed; returns whether to go on."""
        sample = self._listed[-SAMPLE:]
        try:
            labels = ids_of(map(attrgetter("label"), self._listed)) != id("")
            if np.count_nonzero(_beyond(sample, Linker(), self._held, self._elsewhere())[1]) > MOST_HELD * len(sample):
                return False
        except AttributeError:  # a Value that is only just being made
            return True
        del sample
        some, first = self._listed[: len(labels)], self._linker.count
        place, beyond = _beyond(some, self._linker, self._held, self._numbers)
        if self._linker.incomplete:  # something was computed before the trace
            self._restore(first)
            return False
        which = np.flatnonzero(beyond | labels[place])
        held = [some[k] for k in place[which].tolist()]
        # First of all, for Ctrl-C may come at any time.
        both = self._held + held, np.append(self._numbers, (first + which).astype(np.int32))
        self._held, self._numbers = both
        for node in held:
            made = _CONDENSED.get(node.__class__)
            if made is not None:
                node.__class__ = made
                _first.__set__(node, self)
                _second.__set__(node, None)
        del self._listed[: len(some)], some, held, both
        self._forget()
        return True

    def _elsewhere(self) -> Ints:
        """Numbers for the Values held that are none of a sample's: nobody asks them for their operands then, which
        would restore all."""
        return np.full(len(self._held), ELSEWHERE, dtype=np.int32)

    def _forget(self) -> None:
        """Hold only what others hold, too."""
        still = _references(self._held) > _ALONE
        both = [*compress(self._held, still.tolist())], self._numbers[still]
        self._held, self._numbers = both

    def restore(self) -> None:
        """Make all Values again, and list them; nothing is condensed from now on."""
        with _condensing:
            self._goes_on, self._stopped = False, True
            if self._linker.count:
                self._restore(self._linker.count)

    def _restore(self, count: int) -> None:
        held = dict(zip(self._numbers.tolist(), self._held, strict=True))
        made: list[Value] = []
        for k, (code, operands) in enumerate(self._linker.operations(count, made)):
            node = held.get(k)
            if node is None:
                node = _made(ops.TABLE[code], operands, self._fresh)
            elif (original := _ORIGINAL.get(node.__class__)) is not None:
                _set_operands(node, operands)  # before its class, for whoever asks meanwhile
                node.__class__ = original
            made.append(node)
        self._linker, self._held, self._numbers = Linker(), [], self._numbers[:0]
        self._listed[:0] = made

    def links(self, results: list[Value]) -> Links | None:
        """The links of all Values, and of the results; both lists are emptied. None if nothing is condensed, or if it
        cannot stay so."""
        with _condensing:
            self._goes_on, self._stopped = False, True
            return self._linked(results) if self._linker.count else None

    def _linked(self, results: list[Value]) -> Links | None:
        first = self._linker.count
        try:
            self._linker.add(self._listed.copy(), self._held, self._numbers)  # another thread may add to the list
        except AttributeError:  # a Value that another thread is just making
            self._listed[:] = [x for x in self._listed if hasattr(x, "label")]
            self._restore(first)
            return None
        self._linker.finish(results)
        if self._linker.incomplete:
            self._restore(first)
            return None
        self._listed.clear()
        results.clear()
        linker = self._linker
        self._forget()
        if self._held:  # the caller keeps Values of the trace
            self._restore(first)
            self._listed.clear()
        return linker.links()


def _set_operands(node: Value, operands: tuple[Value, ...]) -> None:
    count = len(operands)
    _first.__set__(node, operands if count > 2 else operands[0] if count else None)
    _second.__set__(node, operands[1] if count == 2 else None)


def _made(op: Any, operands: tuple[Value, ...], fresh: float) -> Value:
    """A Value as the trace made it."""
    node: Value = object.__new__(Value)
    if any(x._traced for x in operands):
        node.__class__ = Traced
    else:
        node._data = op.forward(*[x._data for x in operands])
        node._grad = fresh
    node.op = op
    _set_operands(node, operands)
    node.label = ""
    return node


def _beyond(
    some: list[Value], linker: Linker, held: Sequence[Value] = (), numbers: Ints | Sequence[int] = ()
) -> tuple[Ints, NDArray[np.bool_]]:
    """Link some Values, which are in two lists. Returns the places of those that were computed, and which of them have
    more references than those of the lists and of the others' operands."""
    references, first = _references(some), linker.count
    place = np.flatnonzero(linker.add(some, held, numbers) != UNKNOWN)
    return place, references[place] > _ALONE + 1 + linker.uses(first)


def _references(some: Sequence[Value]) -> Ints:
    return np.fromiter(map(sys.getrefcount, some), np.int32, len(some))


_ALONE = int(_references([object.__new__(Value)])[0])  # references of a Value that is in a list alone
