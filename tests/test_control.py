"""`mg.loop` in the eager engine, and its errors for bad input (compiled: tests/compiler/test_written_loops.py)."""

from __future__ import annotations

import re
from collections import namedtuple
from typing import Any

import pytest

import macrograd as mg


def test_a_loop_is_a_plain_loop() -> None:
    a = mg.Value(0.5)

    def step(i, s):
        assert type(i) is int
        return a * s + i

    found = mg.loop(4, step, 1.0)
    by_hand = 1.0
    for i in range(4):
        by_hand = a * by_hand + i
    assert found.data == by_hand.data
    found.backward()
    mine, a.grad = a.grad, 0.0
    by_hand.backward()
    assert mine == a.grad
    assert mg.loop(0, step, 1.0) == 1.0
    assert mg.loop(mg.Value(2.0), step, 1.0).data == 1.25


def test_a_state_keeps_its_form() -> None:
    Point = namedtuple("Point", "x y")
    first = {"point": Point(1.0, 2.0), "row": mg.Vector([1.0, 2.0]), "list": [3.0], "none": ()}

    def body(i, s):
        assert isinstance(s["point"], Point)
        assert isinstance(s["row"], mg.Vector)
        return {"none": [], "list": (s["list"][0] + 1,), "row": [2 * x for x in s["row"]], "point": [s["point"].y, i]}

    last = mg.loop(3, body, first)
    assert last == {"point": Point(1, 2), "row": mg.Vector([8.0, 16.0]), "list": [6.0], "none": ()}
    assert list(last) == list(first)


def test_what_is_kept_has_an_element_for_each_round() -> None:
    last, kept = mg.loop(3, lambda i, s: (s + i, {"state": s, "pair": (i, [s * s])}), 1.0, collect=True)
    assert last == 4.0
    assert kept["state"] == mg.Vector([1.0, 1.0, 2.0])
    assert kept["pair"] == (mg.Vector([0, 1, 2]), [mg.Vector([1.0, 1.0, 4.0])])
    assert mg.loop(0, lambda i, s: (s, s), 1.0, collect=True) == (1.0, mg.Vector([]))


@pytest.mark.parametrize("compiled", [False, True])
def test_bad_input_is_named(compiled: bool) -> None:
    def refused(count, body, state, kind, match, **more):
        def run(x):
            return mg.loop(count, body, state(x), **more)

        with pytest.raises(kind, match=match):
            mg.compile(run)(1.0) if compiled else run(1.0)

    def same(i, s):
        return s

    one, two = (lambda x: x), (lambda x: [x, x])
    refused(-1, same, one, ValueError, r"count of 0 or more, got -1, for same\(\) at .*test_control.py:\d+: pass")
    refused(2.5, same, one, TypeError, "integer count, got 2.5")
    refused(True, same, one, TypeError, "integer count, got True")
    for count in ("3", None, [3]):
        named = re.escape(f"loop() needs an integer count, got {count!r}, for same() at ")
        refused(count, same, one, TypeError, named + r".*test_control.py:\d+: pass int\(n\)")
    refused(3, 3.0, one, TypeError, r"body\(i, state\), got 3.0")
    refused(3, same, lambda x: {"a": "text"}, TypeError, r"same\(\) at .*test_control.py:\d+: .*got 'text'")
    refused(
        3, lambda i, s: s[0], two, ValueError, r"it was a list of 2, and <lambda>\(\) at .*test_control.py:\d+ returned"
    )
    refused(3, lambda i, s: [*s, s[0]], two, ValueError, "list of 2, .* returned a list of 3")
    refused(3, lambda i, s: None, one, ValueError, "it was a number, .* returned None")
    refused(3, same, one, TypeError, r"not a pair: return \(state, what to keep", collect=True)
    kept = r"what <lambda>\(\) at .*test_control.py:\d+ keeps of a round: got None"
    refused(3, lambda i, s: (s, None), one, TypeError, kept, collect=True)
    refused(200, lambda i, s: s + mg.take([1.0, 2.0], i), one, IndexError, r"take\(\) index \d+ is outside 0 … 1")


@pytest.mark.parametrize("compiled", [False, True])
def test_functions_of_other_arguments_are_named(compiled: bool) -> None:
    def run(function):
        return mg.compile(function, backend="numpy")(2.0) if compiled else function(2.0)

    def none():
        return 1.0

    def one(x):
        return x

    def three(x, y, z):
        return x

    here = r"\(\) at .*test_control.py:\d+ takes"
    for call, match in (
        (lambda x: mg.loop(3, one, x), rf"body of a loop is called with 2 arguments, \(i, state\), and one{here}"),
        (lambda x: mg.loop(3, three, x, collect=True), rf"three{here} \(x, y, z\): missing .*'z'"),
        (lambda x: mg.loop(x, one, 1.0, most=3), rf"one{here}"),
        (lambda x: mg.while_loop(none, one, x, most=3), rf"condition of a while_loop .* none{here} \(\)"),
        (lambda x: mg.while_loop(lambda s: s < 3, three, x, most=3), rf"body of a while_loop .* three{here}"),
        (lambda x: mg.cond(x > 0, one, one), rf"branch of cond is called with no argument, and one{here}"),
        (lambda x: mg.cond(x > 0, three, one, x), rf"1 argument, \(x0\), and three{here}"),
        (lambda x: mg.implicit(three, x), rf"residual of implicit is called with 1 argument, \(x\), and three{here}"),
        (lambda x: mg.custom(one, three)(x * mg.Value(1.0)), rf"derivative of custom .* three{here}"),
    ):
        with pytest.raises(TypeError, match=match):
            run(call)

    def fails(i, s):
        raise TypeError("an error of the body's")

    with pytest.raises(TypeError, match=r"^an error of the body's"):
        run(lambda x: mg.loop(3, fails, x))


def test_while_loop_and_cond_are_pythons_own() -> None:
    a = mg.Value(0.5)
    assert mg.while_loop(lambda s: s < 10, lambda s: s * 2 + 1, 1.0, most=9) == 15.0
    assert mg.while_loop(lambda s: False, lambda s: s, (1.0, [a]), most=1) == (1.0, [a])
    with pytest.raises(
        RuntimeError, match=r"the while_loop of <lambda>\(\) at .*test_control.py:\d+ did 3 rounds.* at 4"
    ):
        mg.while_loop(lambda s: s < 10, lambda s: s + 1, 1.0, most=3)
    chosen = mg.cond(a > 0, lambda x, y: x * y, lambda x, y: 1 / 0, a, 4.0)
    assert chosen.data == 2.0
    assert mg.cond(0.0, lambda: 1, lambda: [2]) == [2]
    assert mg.loop(3, lambda i, s: s + i, 0.0, most=3) == 3.0
    for wrong, kind, match in (
        (lambda: mg.while_loop(1, lambda s: s, 1.0, most=3), TypeError, "condition=1"),
        (lambda: mg.while_loop(bool, lambda s: s, 1.0, most=0), ValueError, "positive Python integer, got 0"),
        (lambda: mg.while_loop(bool, lambda s: s, 1.0, most=2.5), TypeError, "positive Python integer, got 2.5"),
        (lambda: mg.while_loop(bool, lambda s: [s], 1.0, most=3), ValueError, "it was a number, .* a list of 1"),
        (lambda: mg.cond(1, 2, lambda: 3), TypeError, "then=2"),
        (lambda: mg.cond(1, lambda: "a", lambda: 3), TypeError, r"<lambda>\(\) at .*: got 'a' of type str"),
        (lambda: mg.cond(0, lambda: 3, lambda: [1, None]), TypeError, "got None of type NoneType"),
        (lambda: mg.cond("a", lambda: 1, lambda: 3), TypeError, "'a'"),
        (
            lambda: mg.loop(4, lambda i, s: s, 0.0, most=3),
            ValueError,
            "has a count of 4, and most=3: give a larger most=",
        ),
        (
            lambda: mg.while_loop(lambda s: "a", lambda s: s, 1.0, most=3),
            TypeError,
            r"comparison, True or False: <lambda>\(\) at .*test_control.py:\d+ returned 'a'",
        ),
        (
            lambda: mg.compile(lambda x: mg.while_loop(lambda s: [s], lambda s: s, x, most=3))(1.0),
            TypeError,
            "returned a list of 1",
        ),
    ):
        with pytest.raises(kind, match=match):
            wrong()


def test_a_count_or_a_branch_on_an_argument_is_refused_when_it_is_traced() -> None:
    with pytest.raises(mg.TraceError, match="the count of a loop depends on an argument"):
        mg.compile(lambda x, n: mg.loop(n, lambda i, s: s * x, 1.0))(2.0, 3)
    with pytest.raises(mg.TraceError, match=r"give the largest one .* most=100"):
        mg.compile(lambda x, n: mg.loop(n, lambda i, s: s * x, 1.0))(2.0, 3)
    with pytest.raises(mg.TraceError, match="keeps what every round makes"):
        mg.compile(lambda x, n: mg.loop(n, lambda i, s: (s, s * x), 1.0, collect=True, most=5))(2.0, 3)
    with pytest.raises(mg.TraceError) as branch:
        mg.compile(lambda x: 1.0 if x > 0 else x)(2.0)
    lines = str(branch.value).splitlines()[1:]
    assert [line.split("(")[0].strip() for line in lines] == ["y = mg.cond", "state = mg.while_loop", "state = mg.loop"]
    with pytest.raises(
        ValueError, match=r"both branches of cond must return the same nesting: .* returned a number, and"
    ):
        mg.compile(lambda x: mg.cond(x > 0, lambda: x, lambda: [x]))(2.0)
    with pytest.raises(mg.TraceError, match="used as an integer"):
        mg.compile(lambda x: mg.loop(3, lambda i, s: s + x[i], 1.0))([1.0, 2.0, 3.0])

    def leaks(x):
        made = []
        mg.loop(3, lambda i, s: made.append(s * x) or s * x, 1.0)
        return made[0]

    with pytest.raises(mg.TraceError, match="the body of a loop made was used outside"):
        mg.compile(leaks)(2.0)


def test_a_loop_whose_result_is_not_used_is_left_out() -> None:
    def unused(x):
        mg.while_loop(lambda s: s < 10.0, lambda s: s + x, x, most=200)
        return 2.0 * x

    def without_a_tangent(x):
        rounds = mg.while_loop(lambda s: s < 10.0, lambda s: s + 1.0, x, most=200)
        return mg.jvp(lambda x: x * x + mg.detach(rounds), x, 1.0)[1]

    for function in (unused, without_a_tangent):
        assert mg.compile(function, backend="numpy")(1.5) == 3.0
    assert mg.compile(mg.value_and_grad(unused), backend="numpy")(1.5) == (3.0, 2.0)


@pytest.mark.parametrize("count", [1, 20, 64, 999, 1000, 5000, 100_000])
@pytest.mark.parametrize("numbers", [1, 3])
def test_what_the_eager_engine_refuses_as_too_little_memory_is_too_little_compiled(count: int, numbers: int) -> None:
    def run(memory: int) -> Any:
        return mg.loop(count, lambda i, s: [0.5 * x for x in s], [mg.Value(1.0)] * numbers, memory=memory)[0]

    least = 32 * numbers * min(count, 64)
    named = rf"memory={least - 1} .* with {numbers} number.* need at least {least:,}, and more for what .*\. Write more"
    with pytest.raises(ValueError, match=named):
        run(least - 1)
    for memory in (1, least // 2, least - 1):
        with pytest.raises(ValueError, match=rf"memory={memory} .* need about [\d,]+ bytes"):
            mg.compile(lambda memory=memory: run(memory), backend="numpy")()
    if count < 100:
        assert run(least).data == run(2 * least).data == 0.5**count


def test_a_loop_without_rounds_needs_no_memory() -> None:
    assert mg.loop(0, lambda i, s: s, 1.0, memory=1) == 1.0
    assert mg.compile(lambda x: mg.loop(0, lambda i, s: s, x, memory=1), backend="numpy")(1.0) == 1.0
