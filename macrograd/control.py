"""Control flow for programs of Values: `loop`, `while_loop` and `cond`.

Eagerly these are plain Python loops and branches. In a compiled function the trace takes over (`Interpreter.loop`): the
body of a loop is traced once, whatever the count (`macrograd.compiler.trace.loops`).

If the number of rounds or the branch depends on an argument, all rounds and both branches are part of the program
(though a `while_loop` need not run all of them), and each sample chooses among their results: those not chosen
contribute neither a number nor a derivative, and cannot raise.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from macrograd import ops, special, value
from macrograd._flags import flag
from macrograd.callees import brief, check_call, first_kept, first_state, pair, place_of, same_nesting
from macrograd.interpreter import Interpreter
from macrograd.nesting import Nest
from macrograd.value import Value, constant
from macrograd.vector import Vector, vector

_SHOWN = 4  # numbers of a state, in messages
NUMBER = 8  # bytes
KEPT = 4  # numbers that a loop with memory= keeps of a round, for each of its state and each operation
SHORTEST = 64  # rounds that it keeps whole, at least


def loop(
    count: Any,
    body: Callable[[Any, Any], Any],
    state: Any,
    *,
    collect: bool = False,
    most: int | None = None,
    memory: str | int | None = None,
) -> Any:
    """The state after `count` rounds of `state = body(i, state)`, for i = 0, 1, …, count - 1.

    count    a non-negative integer. If it depends on an argument of a compiled function, `most` is required
    body     a function of the round number and the state; it returns the next state, nested in the same way
    state    the first state: a number or Value, or tuples, lists, dicts and Vectors of these. Lists, tuples and arrays
             of the same length are interchangeable; the body gets them in the form of the first state
    collect  whether the body returns a pair: the next state, and the values to keep from the round. The result is then
             a pair, too: the last state, and the kept values, with a Vector of `count` elements in place of each number
    most     the largest possible count, for one that depends on an argument. Each sample keeps its state after its own
             count, and no further rounds are begun when all samples of a block are done, as in `while_loop`; with
             a number of bytes as `memory`, a compiled program does `most` rounds
    memory   what a compiled program keeps for the derivative. None: what each round computes. "sqrt": the states of
             about √count rounds, from which the rounds between are computed again, for about half as much time more.
             An integer: as "sqrt" if the program would otherwise keep more than this many bytes for each sample; if
             that takes more, too, with states of fewer rounds, and more computed again. How many bytes it cannot do
             without depends on its operations, so that only a compiled function refuses all that are too few

    In a compiled function the body is traced once, and the program has one loop, however large the count is. The round
    number is then a traced value: read arrays by it with `mg.take(ys, i)`. The kept values can be returned, or read by
    the round number of another loop.

    Raises TypeError if the count is not an integer, the body is not a function, or the state holds anything but
    numbers; ValueError if the count is negative or larger than `most`, the nesting of the state changes, or the loop
    cannot do with so few bytes of `memory`.
    """
    if not callable(body):
        raise TypeError(f"loop(count, body, state) takes a function body(i, state), got {body!r}")
    memory, collect = _memory(memory), flag("loop", "collect", collect)
    most = None if most is None else limit("loop", most)
    program = value.recording()
    counting = program if most is not None and value.is_open(count) else None
    if counting is not None and collect:
        counting.refuse(
            "a loop that keeps what every round makes (collect=True) has a count that depends on an argument",
            "how much is kept shapes the result: pass a Python integer as the count",
        )
    rounds = _count(count, body) if counting is None or most is None else most
    if most is not None and rounds > most:
        raise ValueError(
            f"the loop of {place_of(body)} has a count of {rounds}, and most={most}: give a larger most=, or bound the "
            "count"
        )
    if isinstance(memory, int) and rounds and program is None:  # a compiled one knows what its body computes
        _check_memory(memory, body, len(first_state(body, state)[1]), rounds)
    try:
        if counting is not None:
            return _counted(counting, count, body, state, rounds, memory)
        if program is not None:
            return program.loop(rounds, body, state, collect, memory)
        return _eager_loop(rounds, body, state, collect)
    except TypeError:
        check_call(body, "the body of a loop", "i", "state")
        raise


def _eager_loop(rounds: int, body: Callable[[Any, Any], Any], state: Any, collect: bool) -> Any:
    nest, scalars = first_state(body, state)
    kept: Nest | None = None
    columns: list[list[Any]] = []
    for i in range(rounds):
        found = body(i, nest.built(scalars))
        if collect:
            found, extra = pair(body, found)
            if kept is None:
                kept, row = first_kept(body, extra)
                columns = [[] for _ in row]
            for column, x in zip(columns, same_nesting(body, "what is kept", kept, extra), strict=True):
                column.append(x)
        scalars = same_nesting(body, "the state", nest, found)
    last = nest.built(scalars)
    if not collect:
        return last
    return last, Vector([]) if kept is None else kept.built([vector(column) for column in columns])


def while_loop(condition: Callable[[Any], Any], body: Callable[[Any], Any], state: Any, *, most: int) -> Any:
    """The state after repeating `state = body(state)` while `condition(state)` is true.

    condition  a function of the state: a comparison, True or False
    body       a function of the state; it returns the next state, nested in the same way
    state      the first state, as in `loop`
    most       the largest possible number of rounds, a positive integer

    In a compiled function each sample has its own number of rounds, and keeps its state once its condition has failed.
    No further round is begun when all samples of a block are done, if a round has 50 operations or more. Shorter rounds
    are done in sections of about √most rounds, of which no further one is begun. All `most` rounds are done if they are
    short and fewer than 200, and with `strict=True` where the sections would be rounded in another order. Where a
    strict derivative would be added up in an order that depends on the number of rounds, they are done twice, the first
    time only to count them.

    Raises RuntimeError if the condition still holds after `most` rounds, and TypeError and ValueError as `loop` does.
    """
    for name, function in (("condition", condition), ("body", body)):
        if not callable(function):
            raise TypeError(f"while_loop(condition, body, state, most=…) takes functions, got {name}={function!r}")
    most = limit("while_loop", most)
    reached = (
        f"the while_loop of {place_of(body)} did {most} rounds, and its condition still holds: give a larger most=, or "
        "look at whether the state can reach what ends the loop"
    )
    try:
        return rounds_while(condition, body, state, most, reached)
    except TypeError:
        check_call(condition, "the condition of a while_loop", "state")
        check_call(body, "the body of a while_loop", "state")
        raise


def rounds_while(
    condition: Callable[[Any], Any],
    body: Callable[[Any], Any],
    state: Any,
    most: int,
    reached: str,
    name: str = "while_loop",
    own: int = 0,
) -> Any:
    """`while_loop`, called `name`, with `reached` as the error where the condition holds after the last round. The last
    `own` numbers of the state are the caller's own, and the error does not show them."""
    nest, scalars = first_state(body, state)
    program = value.recording()
    if program is None:
        for done in range(most + 1):
            goes = condition(nest.built(scalars))
            if not (goes if goes.__class__ is bool else _told(condition, goes)):
                return nest.built(scalars)
            if done < most:
                scalars = same_nesting(body, "the state", nest, body(nest.built(scalars)))
        shown = scalars[: len(scalars) - own]
        at = ", ".join([f"{x._data if isinstance(x, Value) else x:.6g}" for x in shown[:_SHOWN]])
        raise RuntimeError(f"{reached}. It is at {at}{', …' * (len(shown) > _SHOWN)}")
    if not scalars:
        raise ValueError(f"the state of the while_loop of {place_of(body)} holds no numbers: its rounds change nothing")

    @wraps(body, updated=())
    def masked(_: Any, now: Any) -> Any:
        active, scalars, *done = now
        with program.guard(active):
            goes = program.test(_truth(active, _told(condition, condition(nest.built(scalars)))))
        with program.guard(goes):
            found = same_nesting(body, "the state", nest, body(nest.built(scalars)))
        return goes, _after(program, goes, found, scalars), *[x + goes for x in done]

    together = program.ends_together and name == "while_loop"  # no derivative goes through Newton's steps
    active, last, *done = program.loop(most, masked, (1.0, scalars, *[0.0] * together), False, stops=name)
    with program.guard(active):
        goes_on = _truth(active, condition(nest.built(last)))
    if together:
        last = _again(program, body, nest, scalars, most, done[0], name)
    last = [program.checked(x, goes_on, reached) for x in last]
    if program.as_eager and not together:
        last = _entered(program, _truth(1.0, condition(nest.built(scalars))), last, scalars)
    return nest.built(last)


def _again(
    program: Interpreter, body: Callable[[Any], Any], nest: Nest, first: list[Any], most: int, done: Any, name: str
) -> list[Any]:
    """The last state of a loop of `done` rounds, which are the last ones of `most`: those before change nothing. So
    what the last round computes is in the same place however many there are, and so is what the round before does, and
    the order in which derivatives are added up does not depend on their number."""
    idle = most - done - 0.5

    @wraps(body, updated=())
    def late(i: Any, now: Any) -> Any:
        active, scalars = now
        goes = program.test(ops.where(active, 1.0, ops.where(ops.less(idle, i), 1.0, 0.0)))
        with program.guard(goes):
            found = same_nesting(body, "the state", nest, body(nest.built(scalars)))
        pairs = zip(found, scalars, first, strict=True)
        return goes, [
            a if a is b else program.chosen(ops.where(goes, a, constant(c)), rounds=True) for a, b, c in pairs
        ]

    active, last = program.loop(most, late, (0.0, first), False, stops=f"{name} again")
    return [
        a if a is b else program.chosen(ops.where(active, a, constant(b))) for a, b in zip(last, first, strict=True)
    ]


def _told(condition: Callable[[Any], Any], found: Any) -> Any:
    """What the condition of a loop returned, if that is a number."""
    if constant(found) is None:
        raise TypeError(
            f"the condition of a while_loop returns a comparison, True or False: {place_of(condition)} returned "
            f"{brief(found)}"
        )
    return found


def cond(test: Any, then: Callable[..., Any], otherwise: Callable[..., Any], *args: Any) -> Any:
    """`then(*args)` if the test is true, else `otherwise(*args)`.

    test             a comparison, True or False, or a number, which is true if it is not 0
    then, otherwise  functions of `args`; they return numbers and Values in the same nesting

    Only the chosen function runs. In a compiled function, if the test depends on an argument or a parameter, both are
    part of the program: the one not chosen contributes neither a number nor a derivative, whatever it computes (NaN,
    infinity, a `take` with an invalid index). A branch of 50 or more operations is computed and differentiated only if
    it is taken, with a batch by some sample of a block; both are with `strict=True` if they would be rounded in another
    order otherwise. To choose between two numbers, `mg.where` is shorter.

    Raises TypeError if either is not a function, or returns anything but numbers; and in a compiled function ValueError
    if the two return different nestings.
    """
    for name, function in (("then", then), ("otherwise", otherwise)):
        if not callable(function):
            raise TypeError(f"cond(test, then, otherwise, *args) takes functions, got {name}={function!r}")
    try:
        return _cond(test, then, otherwise, args)
    except TypeError:
        for branch in (then, otherwise):
            check_call(branch, "a branch of cond", *[f"x{k}" for k in range(len(args))])
        raise


def _cond(test: Any, then: Callable[..., Any], otherwise: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    program = value.recording()
    if program is None or not value.is_open(test):
        number = test._data if isinstance(test, Value) else ops.as_float("cond", test)
        branch = then if number else otherwise
        found = branch(*args)
        if program is None:
            first_state(branch, found)  # as a compiled function does, raise TypeError for anything but numbers
        return found
    test = program.test(test)
    nest: Nest | None = None

    def taken() -> list[Any]:
        nonlocal nest
        nest, scalars = first_state(then, then(*args))
        return scalars

    def not_taken() -> list[Any]:
        assert nest is not None
        scalars = nest.scalars(other := otherwise(*args))
        if scalars is None:
            raise ValueError(
                f"both branches of cond must return the same nesting: {place_of(then)} returned a {nest}, and "
                f"{place_of(otherwise)} {brief(other)}"
            )
        return scalars

    with program.guard(test):
        first = program.branch(test, taken, place_of(then))
    otherwise_test = ops.where(test, 0.0, 1.0)
    with program.guard(otherwise_test):
        second = program.branch(otherwise_test, not_taken, place_of(otherwise))
    assert nest is not None
    return nest.built([program.chosen(ops.where(test, a, b)) for a, b in zip(first, second, strict=True)])


def _after(program: Interpreter, goes: Any, new: list[Any], old: list[Any]) -> list[Any]:
    """The state after a round that is done where `goes` is not 0."""
    pairs = zip(new, old, strict=True)
    return [b if a is b else program.chosen(ops.where(goes, a, b), rounds=True) for a, b in pairs]


def _entered(program: Interpreter, any_round: Any, last: list[Any], first: list[Any]) -> list[Any]:
    """The last state of a loop, which eagerly is the first one itself if no round is done."""
    test = program.test(any_round)
    pairs = zip(last, first, strict=True)
    return [a if a is b else program.chosen(ops.where(test, a, constant(b))) for a, b in pairs]


def _truth(active: Any, found: Any) -> Any:
    """1 where active and the condition holds, else 0."""
    return ops.where(active, ops.where(found, 1.0, 0.0), 0.0)


def _counted(
    program: Interpreter,
    count: Any,
    body: Callable[[Any, Any], Any],
    state: Any,
    most: int,
    memory: str | int | None,
) -> Any:
    """`loop` whose count depends on an argument."""
    nest, scalars = first_state(body, state)

    @wraps(body, updated=())
    def masked(i: Any, now: Any) -> Any:
        _, scalars = now
        goes = program.test(ops.less(i, count))
        with program.guard(goes):
            found = same_nesting(body, "the state", nest, body(i, nest.built(scalars)))
        return goes, _after(program, goes, found, scalars)

    _, last = program.loop(most, masked, (1.0, scalars), False, memory, stops="loop")
    if not last:
        return nest.built(last)
    good = ops.where(ops.less_equal(0.0, count), ops.where(ops.less_equal(count, float(most)), 1.0, 0.0), 0.0)
    whole = ops.where(good, ops.less_equal(count, special.floor(count)), 0.0)
    wrong = (
        f"the count of the loop of {place_of(body)} is not an integer from 0 to most={most}: give a larger most=, or "
        "round the count"
    )
    bad = ops.where(whole, 0.0, 1.0)
    last = [program.checked(x, bad, wrong) for x in last]
    if program.as_eager:
        last = _entered(program, ops.less(0.0, count), last, scalars)
    return nest.built(last)


def _memory(memory: Any) -> str | int | None:
    """`memory`, checked."""
    if memory is None:
        return None
    wrong = f'loop(memory=…) takes None, "sqrt" or a positive number of bytes, got {memory!r}'
    if memory == "sqrt":
        found: str | int = "sqrt"
    elif isinstance(memory, (bool, str, Value)) or not hasattr(memory, "__index__"):
        raise TypeError(wrong) if not isinstance(memory, str) else ValueError(wrong)
    elif (found := int(memory.__index__())) < 1:
        raise ValueError(wrong)
    return found


def _check_memory(memory: int, body: Callable[..., Any], numbers: int, rounds: int) -> None:
    """Raise ValueError for less memory than any compiled loop with such a state needs. How much more one takes depends
    on its operations."""
    if memory < (needed := NUMBER * KEPT * numbers * min(rounds, SHORTEST)):
        many = f"{numbers} number{'s' * (numbers != 1)}"
        raise ValueError(
            f"memory={memory} bytes is too little for the loop of {place_of(body)}: with {many} in its state, "
            f"{rounds:,} round{'s' * (rounds != 1)} need at least {needed:,}, and more for what the body computes. "
            'Write more, or memory="sqrt"'
        )


def limit(name: str, most: Any) -> int:
    """`most=` of a function as an int, checked."""
    wrong = f"{name}(most=…) takes a positive Python integer, got {most!r}"
    if isinstance(most, (bool, Value)) or not hasattr(most, "__index__"):
        raise TypeError(wrong)
    if (number := most.__index__()) < 1:
        raise ValueError(wrong)
    return int(number)


def _count(count: Any, body: Callable[..., Any]) -> int:
    """The checked count as an int."""
    if value.is_open(count) and (program := value.recording()) is not None:
        program.refuse(
            "the count of a loop depends on an argument or a parameter",
            "a Python integer, such as len(xs) or int(mg.static(n)), shapes the program; for a count of each call give "
            "the largest one there may be, as in mg.loop(n, body, state, most=100)",
        )
    try:
        number = ops.as_float("loop", count._data if isinstance(count, Value) else count)
    except TypeError:
        number = float("nan")
    if isinstance(count, bool) or not number.is_integer():
        raise TypeError(f"loop() needs an integer count, got {count!r}, for {place_of(body)}: pass int(n)")
    if number < 0:
        raise ValueError(f"loop() needs a count of 0 or more, got {int(number)}, for {place_of(body)}: pass max(0, n)")
    return int(number)
