"""What the body of a loop or a branch computes: the operations of a round, and what each number of the state needs."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Protocol

from macrograd._dataclass import dataclass
from macrograd.compiler.trace.checking import Checks
from macrograd.compiler.trace.reads import Reads
from macrograd.value import Value


class Listing(Protocol):
    """Lists the Values of a trace, and knows which are constants."""

    def depends(self, value: Value) -> bool: ...
    @property
    def as_eager(self) -> bool: ...
    @property
    def checks(self) -> Checks: ...
    def compared(self, value: Value) -> None: ...
    def copied(self, original: Value, made: Value) -> None: ...
    def mark(self, value: Value) -> Hashable: ...
    def count(self) -> int: ...
    def since(self, mark: int) -> list[Any]: ...


@dataclass(frozen=True)
class Body:
    """A recorded body: its operations, and the placeholders and results of a round."""

    order: list[Any]
    slots: list[Any]
    counter: Any
    outs: list[Any]
    kept: list[Any]

    @property
    def counts(self) -> bool:
        """Whether anything is computed from the number of the round."""
        return any(x is self.counter for made in [self.outs, self.kept, *(y.inputs for y in self.order)] for x in made)


class Walks:
    """The walks over recorded bodies, which read elements of arrays."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads

    def of_a_round(self, roots: list[Any], made: set[int], counter: Any) -> list[Any]:
        """The Values that the roots depend on within a round, operands first: all operations of the body, even those
        that are the same in every round, because eagerly each round does them; and reads that depend on its counter or
        on these operations."""
        order: list[Any] = []
        seen: set[int] = set()
        stack: list[tuple[Any, bool]] = [(x, False) for x in reversed(roots)]
        while stack:
            x, ready = stack.pop()
            if ready:
                order.append(x)
                continue
            read = self._reads.of(x)
            if id(x) in seen or (read is None and (id(x) not in made or x._a is None)):
                continue
            seen.add(id(x))
            inner = x.inputs if read is None else self._reads.inside(read, made)
            if read is not None and not inner and all(c != id(counter) for c, _ in read.form[1]):
                continue
            stack.append((x, True))
            stack.extend((y, False) for y in reversed(inner) if id(y) not in seen)
        return order

    def depends_on(self, slots: list[Any], outs: list[Any], order: list[Any]) -> list[int]:
        """The slots that each number of the next state depends on, as bits."""
        on = {id(slot): 1 << k for k, slot in enumerate(slots)}
        for x in order:
            read = self._reads.of(x)
            inner = x.inputs if read is None else read.elements()
            found = 0
            if read is None or not on.keys().isdisjoint(map(id, inner)):  # elements can be a million
                for y in inner:
                    found |= on.get(id(y), 0)
            on[id(x)] = found
        return [on.get(id(x), 0) for x in outs]

    def inner(self, x: Any) -> Sequence[Any]:
        """What a Value of a body depends on, but for the elements that it reads."""
        return () if self._reads.of(x) is not None else x.inputs
