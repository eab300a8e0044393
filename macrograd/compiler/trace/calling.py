"""Calls as operations of a trace: a Value with several results, and how derivatives pass through it, either way."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

from macrograd import ops
from macrograd.compiler.tape.tape import CALL, OUT
from macrograd.compiler.trace.calls import Calls, Derivative
from macrograd.compiler.trace.traced import record
from macrograd.rules import added_up, reach
from macrograd.value import Value, constant

Find = Callable[[Any], Any]  # the tangent of a Value, or None


def _reaches(*_: Any) -> list[float]:
    """A derivative can flow through; by which rule, only `flows` and `ahead` know."""
    return [1.0]


class _Operation:
    """What an operation of a trace needs to be one."""

    arity = None
    chooses = False
    derivative = staticmethod(_reaches)
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

    def ahead(self, node: Any, find: Find) -> Any:
        """The result of the call's tangent, if this one changes."""
        call, which = node.inputs
        if (along := find(call)) is None:
            return None
        number = along.op.calls.tangent_of(along.op.number, int(which._data))
        return None if number is None else result_of(along, number)


RESULT = Result()


class Call(_Operation):
    """The call of a number."""

    def __init__(self, calls: Calls, number: int) -> None:
        super().__init__("call", CALL, number)
        self.calls = calls

    def results(self, node: Value) -> list[Value]:
        return [result_of(node, k) for k in range(self.calls.shape(self.number).results)]

    def ahead(self, node: Any, find: Find) -> Any:
        """The tangent of the call."""
        along = {p: t for p, x in enumerate(node.inputs) if (t := find(x)) is not None}
        found = self.calls.tangent(self.number, node, node.inputs, along, lambda x: x.op.number, 0.0)
        return None if found is None else call_of(Call(self.calls, found[0]), found[1])

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
        outs = range(shape.carry, shape.results)
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
        back = call_of(Call(calls, calls.derived(made)), operands)
        for p in wanted:
            x, gain = inputs[p], result_of(back, calls.place(made, p))
            if mask is not None:
                gain = ops.where(mask, gain, before.get(p, 0.0))
            first, old = x not in gradients, None if p in before else gradients.get(x)
            gradients[x] = gain if old is None else _total(old) + gain
            reach(taken, x, mask, first=first)
        for k, row in enumerate(rows):
            source = inputs[shape.scalars + row]
            _, theirs = calls.filled(self.number, row)
            reach(taken, source, mask, first=source not in gradients)
            gradients.setdefault(source, {}).setdefault(("row", theirs), []).append((1 + k, back))


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
