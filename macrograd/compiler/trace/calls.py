"""Calls: a stretch of a program that is recorded once, as a Value with several results.

A call runs the sections of a loop (`sections.py`), one after the other, or a branch as a single section. On a tape its
operands are, in this order:

    carry     the state that the sections hand on
    outside   other numbers, the same for all sections
    reads     numbers of which each round reads its own
    rows      calls that filled a row of numbers for each section

and its results are the carry after the last section, and what its rounds put out. It also fills rows: number 0 is the
carry before each section, the others belong to derivatives.

The derivative of a call is another call, whose sections run in the opposite order:

    carry     the adjoints of the carry, and for each wanted number from outside the sum of the contributions so far
    outside   as before
    reads     as before, and the adjoints of what the rounds put out
    rows      the carry before each section, rows as before, and the adjoints of rows, where something used these
    results   the adjoints of the carry, the sums, the adjoints of wanted reads
    filled    the adjoints of wanted rows

So the derivative of a derivative is a call, too.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

from macrograd import ops
from macrograd.compiler.tape.tape import CALL, OUT
from macrograd.compiler.trace.rounds import NoSections
from macrograd.compiler.trace.traced import record
from macrograd.rules import added_up, reach
from macrograd.value import Value, constant


@dataclass(frozen=True)
class Shape:
    """The numbers of a call: operands in `carry`, from `outside`, and of each read; numbers in a row of each kind; and
    what all its rounds put out, for each kind."""

    carry: int
    outside: int
    reads: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    outs: tuple[int, ...] = ()

    @property
    def inner(self) -> int:
        return self.carry + self.outside

    @property
    def scalars(self) -> int:
        return self.inner + sum(self.reads)

    def read_of(self, position: int) -> tuple[int, int]:
        """The read that an operand belongs to, and its place in it."""
        position -= self.inner
        for k, many in enumerate(self.reads):
            if position < many:
                return k, position
            position -= many
        raise IndexError(position)


@dataclass(frozen=True)
class Derivative:
    """A call that differentiates another.

    wanted  the positions of the scalar operands that it is taken by
    rows    the numbers of the rows that it is taken by
    added   for each adjoint of a row that the other call filled: the row, and the call and the row of the adjoint
    masked  whether the last operand from outside is 0 where a choice did not take the other call: its rows get nothing
    """

    of: int
    wanted: tuple[int, ...]
    rows: tuple[int, ...]
    added: tuple[tuple[int, int, int], ...]
    masked: bool = False


class Primal(Protocol):
    """What a call runs that is no derivative."""

    def shape(self) -> Shape: ...


class Calls:
    """The calls of a program, by number."""

    def __init__(self) -> None:
        self.made: list[Primal | Derivative] = []
        self._traced = 0
        self._numbers: dict[Derivative, int] = {}
        self._shapes: dict[int, Shape] = {}

    def add(self, section: Primal) -> int:
        self.made.append(section)
        return len(self.made) - 1

    def derivative(self, made: Derivative) -> int:
        """The number of a derivative."""
        if made not in self._numbers:
            self._numbers[made] = len(self.made)
            self.made.append(made)
        return self._numbers[made]

    def origin(self, number: int) -> tuple[int, int]:
        """The section that a call is derived from, and how often."""
        order = 0
        while isinstance(found := self.made[number], Derivative):
            number, order = found.of, order + 1
        return number, order

    def outline(self) -> list[Derivative | Shape]:
        """What the numbers that a trace gave mean."""
        made = self.made[: self._traced]
        return [x if isinstance(x, Derivative) else x.shape() for x in made]

    def finish(self) -> None:
        """The trace is done: later numbers are those of derivatives of its tape."""
        self._traced = len(self.made)

    def shape(self, number: int) -> Shape:
        if number not in self._shapes:
            made = self.made[number]
            self._shapes[number] = made.shape() if not isinstance(made, Derivative) else self._derived(made)
        return self._shapes[number]

    def _derived(self, made: Derivative) -> Shape:
        of = self.shape(made.of)
        added = tuple([self.width(made.of, row) for row, _, _ in made.added])
        return Shape(
            of.carry + len(self.sums(made)),
            of.outside + made.masked,
            (*of.reads, *of.outs),
            (of.carry, *of.rows, *added),
            tuple([of.reads[k] for k in self.wanted_reads(made)]),
        )

    def sums(self, made: Derivative) -> list[int]:
        """The wanted positions from outside."""
        of = self.shape(made.of)
        return [p for p in made.wanted if of.carry <= p < of.inner]

    def wanted_reads(self, made: Derivative) -> list[int]:
        """The reads of which some operand is wanted."""
        of = self.shape(made.of)
        return list(dict.fromkeys(of.read_of(p)[0] for p in made.wanted if p >= of.inner))

    def width(self, number: int, row: int) -> int:
        """How many numbers a row that a call filled has."""
        if not row:
            return self.shape(number).carry
        made = self.made[number]
        assert isinstance(made, Derivative)
        return self.shape(made.of).rows[made.rows[row - 1]]

    def place(self, made: Derivative, position: int) -> int:
        """The number of the result that is the derivative by an operand."""
        of = self.shape(made.of)
        if position < of.carry:
            return position
        sums = self.sums(made)
        if position < of.inner:
            return of.carry + sums.index(position)
        read, k = of.read_of(position)
        reads = self.wanted_reads(made)
        return of.carry + len(sums) + sum(of.reads[x] for x in reads[: reads.index(read)]) + k

    def asked(self, number: int, wanted: Container[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Of the wanted operand positions those of scalars, and the rows that the others are."""
        shape = self.shape(number)
        rows = tuple([k for k in range(len(shape.rows)) if shape.scalars + k in wanted])
        return tuple([p for p in range(shape.scalars) if p in wanted]), rows


# --- as operations of a trace -----------------------------------------------------------------------------------------


def _no_rule(*_: Any) -> NoReturn:
    raise ValueError(
        "forward derivatives (mg.jvp, mg.hvp, mg.hessian, mg.jacobian) of a loop with memory= inside a compiled "
        "function: write mg.grad (of mg.grad) instead, or leave out memory="
    )


class _Operation:
    """What an operation of a trace needs to be one."""

    arity = None
    chooses = False
    derivative = staticmethod(_no_rule)
    first, term, slots = 0, 1, 1

    def __init__(self, name: str, code: int, number: int = 0) -> None:
        self.name = self.symbol = name
        self.code, self.number = code, number

    def slot(self, position: Any) -> Any:
        return position * 0


class Result(_Operation):
    """A result of a call: its operands are the call and the result's number."""

    def __init__(self) -> None:
        super().__init__("out", OUT)

    def flows(
        self, node: Any, g: Any, active: Container[Any], gradients: dict[Any, Any], taken: dict[Any, Any]
    ) -> None:
        """Hand a gradient on to the call: the adjoints of its results, by number."""
        call, which = node.inputs
        mask = taken.get(node)
        reach(taken, call, mask, first=call not in gradients)
        gradients.setdefault(call, {})[int(which._data)] = g


RESULT = Result()


class Call(_Operation):
    """The call of a number."""

    def __init__(self, calls: Calls, number: int) -> None:
        super().__init__("call", CALL, number)
        self.calls = calls

    def derivative(self, *_: Any) -> NoReturn:
        """Forward derivatives do not pass a call: without sections for branches and loops that stop, there may be
        none."""
        if any(getattr(x, "stops", None) is not None for x in self.calls.made):
            raise NoSections
        _no_rule()

    def results(self, node: Value) -> list[Value]:
        shape = self.calls.shape(self.number)
        return [result_of(node, k) for k in range(shape.carry + sum(shape.outs))]

    def flows(
        self, node: Any, g: Any, active: Container[Any], gradients: dict[Any, Any], taken: dict[Any, Any]
    ) -> None:
        """Differentiate the call (see the module's docstring). `g` has the adjoints of its results by number, and by
        ("row", k) the calls that have adjoints of row k, with the number of theirs."""
        calls, shape, mask = self.calls, self.calls.shape(self.number), taken.get(node)
        inputs = node.inputs
        wanted, rows = calls.asked(self.number, {p for p, x in enumerate(inputs) if x in active})
        added = [(row, theirs, call) for row in range(1 + len(shape.rows)) for theirs, call in g.get(("row", row), ())]
        masked = mask is not None and bool(rows)
        pairs = tuple([(row, call.op.number, theirs) for row, theirs, call in added])
        made = Derivative(self.number, wanted, rows, pairs, masked)
        sums = calls.sums(made)
        before = {p: _total(gradients[inputs[p]]) for p in sums if inputs[p] in gradients and _first(inputs, p)}
        outs = range(shape.carry, shape.carry + sum(shape.outs))
        operands = [
            *(g.get(k, 0.0) for k in range(shape.carry)),
            *(before.get(p, 0.0) for p in sums),
            *inputs[shape.carry : shape.inner],
            *([mask] if masked else []),
            *inputs[shape.inner : shape.scalars],
            *(g.get(k, 0.0) for k in outs),
            node,
            *inputs[shape.scalars :],
            *(call for _, _, call in added),
        ]
        back = call_of(Call(calls, calls.derivative(made)), operands)
        for p in wanted:
            x, gain = inputs[p], result_of(back, calls.place(made, p))
            if mask is not None:
                gain = ops.where(mask, gain, before.get(p, 0.0))
            old = None if p in before else gradients.get(x)
            gradients[x] = gain if old is None else _total(old) + gain
            taken.pop(x, None)
            if mask is not None and old is None and p not in before:
                taken[x] = mask
        for k, row in enumerate(rows):
            source = inputs[shape.scalars + row]
            _, theirs = filled(calls, self.number, row)
            gradients.setdefault(source, {}).setdefault(("row", theirs), []).append((1 + k, back))


def filled(calls: Calls, number: int, row: int) -> tuple[int, int]:
    """The call that filled a row of a call, and the row's number there."""
    made = calls.made[number]
    assert isinstance(made, Derivative)
    if not row:
        return made.of, 0
    before = len(calls.shape(made.of).rows)
    if row <= before:
        return filled(calls, made.of, row - 1)
    return made.added[row - 1 - before][1:]


def _first(inputs: Sequence[Any], p: int) -> bool:
    return all(x is not inputs[p] for x in inputs[:p])


def _total(gradient: Any) -> Any:
    """A gradient, which may be a list of factors."""
    return added_up(gradient) if gradient.__class__ is list else gradient


def call_of(operation: Call, operands: Sequence[Any]) -> Any:
    made: Any = operation
    return record(made, tuple([known(x) for x in operands]))


def result_of(call: Any, number: int) -> Any:
    made: Any = RESULT
    return record(made, (call, known(float(number))))


def known(x: Any) -> Value:
    found = constant(x)
    assert isinstance(found, Value)
    return found
