"""The interpreter protocol: observers of operations, besides the Values themselves.

Usually nobody is: each Value computes its number when it is made. That is the eager engine. An interpreter can be put
in charge beside it for a while (`macrograd.value.interpret`). It is told of every Value that is made and of every
number that is read from one or written to one:

    a trace     lists the operations for the compiler, and forbids reading numbers that change from call to call
                (`macrograd.compiler.trace`)
    a replay    notes the source line of each operation, to name the one that gave the first NaN (`macrograd.replay`;
                `macrograd.train.diagnose`, `macrograd.reasons`)

An interpreter does not override Python's operators. Arguments of a trace, which have no number at all, are a subclass
of Value instead, with an `_apply` that records. Its binary operators are written out once more, in `trace`, for speed
alone: going through `_apply` nearly doubles the time of a trace.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn


class Interpreter:
    """The protocol; this one allows everything and notes nothing."""

    #: the identifier of the thread that it is in charge of
    thread = 0

    #: (class) → an empty Value for the result of an operation, or for a number that took part in one
    new: Callable[[Any], Any] = staticmethod(object.__new__)
    #: a number that an operator of Value takes → a Value, None for anything else; None: a new Value each time
    operand: Callable[[Any], Any] | None = None

    def leaf(self, value: Any) -> None:
        """A leaf was made."""

    def depends(self, value: Any) -> bool:
        """Whether the Value's number may differ between runs of the program."""
        return False

    def known(self, value: Any) -> float | None:
        """The Value's number, for the rules of choices; None if the program must not bake it in."""
        number: float = value._data
        return number

    def signed_zero(self, value: Any) -> bool:
        """Whether the Value may be −0.0 where the program must tell it from 0.0."""
        return bool(value._data == 0.0)

    def compared(self, value: Any) -> None:
        """The Value is the result of a Python comparison: eagerly a bool, which is not part of any graph."""

    #: the distance from 1 to the next number that the program computes with
    epsilon = 2.0**-52

    #: whether the program is to add up derivatives in the order of the eager engine
    as_eager = False

    #: whether the rounds of loops whose number the data decide are to end together: the last is always the same
    ends_together = False

    def test(self, test: Any) -> Any:
        """The test of a branch: eagerly a number that no graph holds."""
        return test

    def chosen(self, value: Any, *, rounds: bool = False) -> Any:
        """The Value chooses between two that a test decides on: eagerly it is one of them. With `rounds` the first is
        the state after a round of a loop, and the other that before it."""
        return value

    def same(self, value: Any) -> Any:
        """The Value has the number of its second operand: eagerly, but for the sign of zero, it is that operand."""
        return value

    def look(self, value: Any, what: str) -> None:
        """Its number is about to become a Python number; `what` says how, with {} for the Value. May raise."""

    def gradient(self, value: Any, what: str) -> None:
        """Its gradient is about to be read or set; `what` says which, with {} for the Value. May raise."""

    def write(self, value: Any) -> None:
        """Its number is about to be set. May raise."""

    def records(self) -> bool:
        """Whether the program is being recorded: it then asks for loops and elements by `loop` and `take`."""
        return False

    def count(self) -> int:
        """How many Values the program being recorded has made."""
        raise NotImplementedError

    def written(self) -> int:
        """How many scalars have been recorded; unlike `count` it may be asked often."""
        return 0

    def wrote(self, what: str, where: str, scalars: int) -> None:
        """A function of this package, called at `where`, has recorded so many scalars, for `explain`."""

    def since(self, mark: int) -> Sequence[Any]:
        """The Values made since there were this many."""
        raise NotImplementedError

    def loop(
        self,
        count: int,
        body: Callable[[Any, Any], Any],
        state: Any,
        collect: bool,
        memory: str | int | None = None,
        stops: str = "",
    ) -> Any:
        """`macrograd.loop` of a program that is being recorded. With `stops`, which says what it is called, the first
        number of the state is 0 once the rounds change nothing more."""
        raise NotImplementedError

    def branch(self, test: Any, compute: Callable[[], list[Any]], where: str) -> list[Any]:
        """The scalars that `compute` gives, which matter only where the test is not 0; `where` is its place."""
        raise NotImplementedError

    def one(self) -> Any:
        """The 1 that seeds a derivative."""
        return 1.0

    def differentiated(self, results: Sequence[Any], leaves: Sequence[Any]) -> None:
        """The results are about to be differentiated with respect to the leaves. May raise."""

    def derivatives(self, results: Sequence[Any], leaves: Sequence[Any], within: set[int] | None) -> Any:
        """What has the `gradients` of the results with respect to the leaves, added up in the order of the eager
        engine; None to `sweep` the graph. It does not go beyond the Values whose ids are `within`, if given."""
        return None

    def guard(self, test: Any) -> AbstractContextManager[None]:
        """Where the test is 0, operations recorded in this context are not chosen: their indices must not raise."""
        raise NotImplementedError

    def checked(self, x: Any, wrong: Any, message: str) -> Any:
        """x; the program raises RuntimeError with this message where `wrong` is 1."""
        raise NotImplementedError

    def refuse(self, what: str, way_out: str) -> NoReturn:
        """Raise the error of a program that cannot be recorded."""
        raise NotImplementedError

    def take(self, values: Any, index: Any) -> Any:
        """`macrograd.take` by a round number; None if the index is something else."""
        return None

    def taken(self, found: Sequence[Any], count: int) -> None:
        """These were taken by one index, from so many values each."""

    def index(self, index: Any) -> Any:
        """The index of a take: eagerly a number that no graph holds."""
        return index
