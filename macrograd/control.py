"""Control flow for programs of Values: `loop`.

Eager it is a plain Python loop. In a function that is compiled the trace takes over (`Interpreter.loop`): the body is
traced once, whatever the count (`macrograd.compiler.trace.loops`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from macrograd import ops, value
from macrograd.nesting import Nest, nest_of
from macrograd.value import Value
from macrograd.vector import Vector, vector


def loop(count: Any, body: Callable[[Any, Any], Any], state: Any, *, collect: bool = False) -> Any:
    """The state after `count` rounds of `state = body(i, state)`, for i = 0, 1, …, count - 1.

    count    a non-negative integer that does not depend on an argument of a compiled function
    body     a function of the number of the round and the state; it returns the next state, nested in the same way
    state    the first state: a number or Value, or tuples, lists, dicts and Vectors of these. Lists, tuples and arrays
             of one length may stand for each other; the body gets them in the form that the first state has
    collect  whether the body returns a pair: the next state, and what to keep of the round. The result is then a pair
             as well: the last state, and what was kept, with a Vector of `count` elements in place of each number

    In a compiled function the body is traced once, and the program has one loop, however large the count is. The number
    of the round is then a traced value: read arrays by it with `mg.take(ys, i)`. What was kept can be returned, or read
    by the number of the round of another loop.

    Raises TypeError for a count that is not an integer, for a body that is not a function and for a state that holds
    something other than numbers; ValueError for a negative count and for a state whose nesting changes.
    """
    if not callable(body):
        raise TypeError(f"loop(count, body, state) takes a function body(i, state), got {body!r}")
    rounds = _count(count)
    if (program := value.recording()) is not None:
        return program.loop(rounds, body, state, collect)
    nest, scalars = first_state(body, state)
    kept: Nest | None = None
    columns: list[list[Any]] = []
    for i in range(rounds):
        found = body(i, nest.built(scalars))
        if collect:
            found, extra = pair(body, found)
            if kept is None:
                kept, row = nest_of(extra)
                columns = [[] for _ in row]
            for column, x in zip(columns, same_nesting(body, "what is kept", kept, extra), strict=True):
                column.append(x)
        scalars = same_nesting(body, "the state", nest, found)
    last = nest.built(scalars)
    if not collect:
        return last
    return last, Vector([]) if kept is None else kept.built([vector(column) for column in columns])


def first_state(body: Callable[..., Any], state: Any) -> tuple[Nest, list[Any]]:
    """The nesting of the first state of a loop, and its scalars."""
    try:
        return nest_of(state)
    except TypeError as error:
        raise TypeError(f"the state of the loop of {place_of(body)}: {error}") from None


def pair(body: Callable[..., Any], found: Any) -> tuple[Any, Any]:
    """The state and what is kept of what a body returned. Raises TypeError for anything but a pair."""
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(
            f"loop(…, collect=True): {place_of(body)} returned {_brief(found)}, and not a pair: "
            "return (state, what to keep of the round)"
        )
    return found


def same_nesting(body: Callable[..., Any], what: str, nest: Nest, found: Any) -> list[Any]:
    """The scalars of what a body returned. Raises ValueError if it is not nested as before."""
    scalars = nest.scalars(found)
    if scalars is None:
        raise ValueError(
            f"{what} of a loop must keep its nesting in every round: it was a {nest}, and {place_of(body)} returned "
            f"{_brief(found)}. Return as many numbers, nested in the same way"
        )
    return scalars


def place_of(function: Callable[..., Any]) -> str:
    """How messages call a function: its name, its file and its line."""
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    name = getattr(function, "__name__", type(function).__name__)
    return f"{name}()" if code is None else f"{name}() at {code.co_filename}:{code.co_firstlineno}"


def _brief(found: Any) -> str:
    try:
        return f"a {nest_of(found)[0]}"
    except TypeError:
        return f"{found!r}"[:80]


def _count(count: Any) -> int:
    """The checked count as an int."""
    if value.is_open(count) and (program := value.recording()) is not None:
        program.refuse(
            "the count of a loop depends on an argument or a parameter",
            "the count shapes the program: pass a Python integer, such as len(xs) or int(mg.static(n))",
        )
    number = ops.as_float("loop", count._data if isinstance(count, Value) else count)
    if isinstance(count, bool) or not number.is_integer():
        raise TypeError(f"loop() needs an integer count, got {count!r}")
    if number < 0:
        raise ValueError(f"loop() needs a count of 0 or more, got {int(number)}")
    return int(number)
