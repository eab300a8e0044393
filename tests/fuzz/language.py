"""A program as a tree of statements, and as the Python text that runs.

The text is the program: exactly the reported text is executed, eagerly on numbers, on arrays with noise, and traced.

    Line     target = template filled with its arguments; with `over`, a list of one element for each k in range(over)
    Repeat   for counter in range(count): body
    Choose   if condition: body; conditions depend only on counters, so that the trace is the same for every sample
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import macrograd as mg
from macrograd import Value, ops


@dataclass
class Line:
    """`call` says how an operation is spelled ("ops.add({0}, {1})"), `arguments` are Python expressions."""

    target: str
    call: str
    arguments: list[str]
    over: int = 0  # elements of the list; 0 for a scalar

    def text(self) -> str:
        made = self.call.format(*self.arguments)
        return f"{self.target} = [{made} for k in range({self.over})]" if self.over else f"{self.target} = {made}"


@dataclass
class Repeat:
    counter: str
    count: int
    body: list[Statement]


@dataclass
class Choose:
    condition: str
    body: list[Statement]


Statement = Line | Repeat | Choose


@dataclass
class Program:
    """A program without its numbers.

    arguments   "x", a vector, and "i", an integer index, as the program takes them
    result      the text of its result: a nest of names
    results     the scalars and *lists in it, in their order
    """

    body: list[Statement]
    arguments: list[str]
    result: str
    results: list[str]
    features: frozenset[str] = field(default_factory=frozenset)

    def text(self, *, summed: bool = False) -> str:
        """The text; `summed` returns the sum of the results, one scalar, instead."""
        lines = [f"def f({', '.join(self.arguments)}):"]
        lines += [f"    {line}" for line in rendered(self.body)]
        result = self.result
        if summed and self.results != [self.result]:
            result = f"mg.sum([{', '.join(self.results)}])"
        return "\n".join([*lines, f"    return {result}"])


def function(text: str, parameters: Sequence[Any], name: str = "f") -> Callable[..., Any]:
    """The function of a text, closed over what it calls P."""
    names: dict[str, Any] = {"mg": mg, "ops": ops, "P": list(parameters)}
    exec(compile(text, "<program>", "exec"), names)  # noqa: S102 - the text is the generator's
    found: Callable[..., Any] = names[name]
    return found


def rendered(body: Sequence[Statement]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, Line):
            yield statement.text()
            continue
        if isinstance(statement, Repeat):
            yield f"for {statement.counter} in range({statement.count}):"
        else:
            yield f"if {statement.condition}:"
        yield from (f"    {line}" for line in rendered(statement.body) or ["pass"])


def statements(body: Sequence[Statement]) -> Iterator[Statement]:
    for statement in body:
        yield statement
        if not isinstance(statement, Line):
            yield from statements(statement.body)


def flat(result: Any) -> list[Any]:
    """The scalars of a result, in the order in which a compiled function's arrays hold them."""
    if isinstance(result, dict):
        result = list(result.values())
    if isinstance(result, (list, tuple, mg.Vector)):
        return [scalar for item in result for scalar in flat(item)]
    return [result]


def number(x: Any) -> float:
    return x.data if isinstance(x, Value) else float(x)
