"""Checks raise in compiled functions as they do eagerly, whether a result uses what they check or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg

TABLE = [0.5, 1.5, 2.5]
Check = Callable[[Any], Any]


def soft(x: Any) -> Any:
    return x / (1.0 + abs(x))


def long(x: Any) -> Any:
    for _ in range(30):
        x = 1.01 * soft(x) + 0.1
    return x


CHECKS: dict[str, Check] = {  # each fails where i is 3
    "take": lambda i: mg.take(TABLE, i),
    "row": lambda i: mg.take([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], i)[1],
    "pivot": lambda i: mg.linalg.cholesky([[1.0, 0.4 * i], [0.4 * i, 1.0]])[0][0],
    "solve": lambda i: mg.linalg.solve([[1.0, 0.0], [0.0, i - 3.0]], [1.0, 1.0])[0],
    "rounds": lambda i: mg.while_loop(lambda s: s[0] < i, lambda s: (s[0] + 1.0, 1.1 * s[1]), (0.0, i), most=2)[1],
    "count": lambda i: mg.loop(i, lambda k, s: 0.9 * s, 1.0, most=2),
    "branch": lambda i: mg.cond(i > 0.5, lambda i: long(i) + mg.take(TABLE, i), lambda i: i, i),
}


def unused(check: Check, x: Any, i: Any) -> Any:
    check(i)
    return x * 1.5


def in_a_body(check: Check, x: Any, i: Any) -> Any:
    def body(k: Any, s: Any) -> Any:
        check(i)
        return 0.9 * s

    return mg.loop(120, body, x)


def in_one_round(check: Check, x: Any, i: Any) -> Any:
    """Only in round 50, and the last round puts another number in place of what that gave."""

    def body(k: Any, s: Any) -> Any:
        return 0.9 * s[0], check(mg.where(mg.minimum(k, 100.0 - k) > 49.5, i, 0.0))

    return mg.loop(120, body, (x, 0.0))[0]


def kept(check: Check, x: Any, i: Any) -> Any:
    return x * mg.loop(120, lambda k, s: (0.9 * s, check(i)), x, collect=True)[0]


def of_a_state(check: Check, x: Any, i: Any) -> Any:
    return mg.loop(120, lambda k, s: (0.9 * s[0], 0.5 * s[1] + check(i)), (x, 0.0))[0]


def with_sections(check: Check, x: Any, i: Any) -> Any:
    def body(k: Any, s: Any) -> Any:
        check(i)
        return 0.9 * s

    return mg.loop(1200, body, x, memory="sqrt")


def nested(check: Check, x: Any, i: Any) -> Any:
    return mg.loop(3, lambda k, s: in_a_body(check, s, i), x)


def inside_a_branch(check: Check, x: Any, i: Any) -> Any:
    def then(x: Any) -> Any:
        check(i)
        return long(x)

    return mg.cond(x > 0.0, then, lambda x: 2.0 * x, x)


PLACES = [unused, in_a_body, in_one_round, kept, of_a_state, with_sections, nested, inside_a_branch]


@pytest.mark.parametrize("name", CHECKS)
@pytest.mark.parametrize("place", PLACES)
def test_a_check_that_no_result_needs(place: Callable[..., Any], name: str) -> None:
    f = mg.compile(lambda x, i: place(CHECKS[name], x, i), batch=True, backend="numpy")
    f([0.5, 0.25], [1.0, 2.0])
    with pytest.raises((IndexError, RuntimeError), match="sample 1"):
        f([0.5, 0.25], [2.0, 3.0])


@pytest.mark.parametrize("place", [unused, in_a_body, with_sections])
def test_derivatives_check_too(place: Callable[..., Any]) -> None:
    f = mg.compile(mg.grad(lambda x, i: place(CHECKS["pivot"], x, i)))
    f(0.5, 2.0)
    with pytest.raises(RuntimeError, match="pivot 1 of 2 is not above 0"):
        f(0.5, 3.0)


def test_a_branch_that_is_not_taken_does_not_check() -> None:
    f = mg.compile(lambda x, i: inside_a_branch(CHECKS["take"], x, i))
    assert f(-0.5, 3.0) == -1.0


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("place", [unused, in_a_body, of_a_state])
def test_checks_change_no_bit(place: Callable[..., Any], strict: bool) -> None:
    p = mg.Value(-0.0)

    def plain(x: Any, i: Any) -> Any:
        return place(lambda i: 0.0 * i, x * p, i)

    def checked(x: Any, i: Any) -> Any:
        return place(CHECKS["take"], x * p, i)

    found = []
    for fn in (plain, checked):
        f = mg.compile(fn, strict=strict)
        found.append((np.float64(f(0.5, 1.0)).tobytes(), f.value_and_grad([1.25], 0.5, 1.0)[1].tobytes()))
    assert found[0] == found[1]


def test_a_take_names_its_lines() -> None:
    f = mg.compile(lambda i: mg.take(TABLE, i) + mg.take([1.0, 2.0], i))
    with pytest.raises(IndexError, match=r"take\(\) index 3 is outside 0 … 2, at .*test_checking.py:\d+ in <lambda>$"):
        f(3.0)


def test_a_result_of_rounds_alone() -> None:
    def f(x: Any, i: Any) -> Any:
        mg.take(TABLE, i)
        return mg.loop(300, lambda k, s: (0.99 * s, s), x, collect=True)[1]

    compiled = mg.compile(f)
    assert len(compiled(1.0, 2.0)) == 300
    with pytest.raises(IndexError, match="index 3 is outside"):
        compiled(1.0, 3.0)
