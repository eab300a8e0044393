"""`explain` says of each loop and branch what became of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.explain import controls
from macrograd.compiler.explain.controls import described
from macrograd.compiler.trace import eager_graph
from macrograd.compiler.trace.controls import Control, Written

P, Q = Value(0.7, "p"), Value(0.1, "q")


def step(i: Any, s: Any) -> Any:
    return 0.9 * s + mg.sin(Q * i)


def shrunk(s: Any) -> Any:
    return 0.9 * s


def long(s: Any) -> Any:
    for _ in range(30):
        s = mg.tanh(1.01 * s) + Q
    return s


def told(function: Callable[..., Any], *args: Any, **options: Any) -> list[str]:
    text = mg.compile(function, **options).explain(*args)
    return [line for line in text.partition("\n\n(k) is")[0].splitlines() if "test_explain_controls.py:" in line]


def only(lines: list[str], name: str) -> str:
    (line,) = [line for line in lines if name in line]
    return bare(line)


def bare(line: str) -> str:
    """The line without files and their lines."""
    return re.sub(r" at \S+\.py:\d+", "", line)


@pytest.mark.parametrize(
    ("count", "memory", "text"),
    [
        (1, None, "the loop of step(): its 1 round is written out, and rolled like everything else"),
        (12, None, "the loop of step(): its 12 rounds are written out, and rolled like everything else"),
        (5000, None, "the loop of step(): traced once, and the program of its 5,000 rounds told from that of 16"),
        (
            5000,
            "sqrt",
            "the loop of step(), in 72 sections of 69 rounds, keeps the state before 72 of these; a derivative "
            "computes its rounds again once",
        ),
    ],
)
def test_a_loop_is_written_told_from_a_few_rounds_or_in_sections(count: int, memory: str | None, text: str) -> None:
    assert only(told(lambda x: mg.loop(count, step, x, memory=memory), 1.0), "step()") == text


def test_a_loop_that_stops_says_which_rounds_are_left_out() -> None:
    def run(body: Callable[[Any], Any], most: int) -> Callable[[Any], Any]:
        return lambda x: mg.while_loop(lambda s: s > 1e-3, body, x, most=most)

    written = "the while_loop of shrunk(): its 50 rounds are written out, and rolled like everything else; those after "
    assert only(told(run(shrunk, 50), 1.0), "shrunk()") == f"{written}its end change nothing"
    apart = "the while_loop of long(): at most 50 rounds, of which none is begun once "
    assert only(told(run(long, 50), 1.0), "long()") == f"{apart}it is done"
    assert only(told(run(long, 50), [1.0], batch=True), "long()") == f"{apart}all samples of a block are done"
    assert only(told(run(shrunk, 500), 1.0), "shrunk()").startswith(
        "the while_loop of shrunk(), in 6 sections of 78 rounds, of which none is begun once it is done, keeps the "
    )
    solved = told(lambda x: mg.implicit(lambda u: u * u - x, 1.0), 2.0)
    assert only(solved, "implicit() for <lambda>()").endswith("; those after its end change nothing")


def test_a_branch_says_when_it_is_computed() -> None:
    def run(x: Any) -> Any:
        return mg.cond(x > 0.0, long, shrunk, x)

    assert only(told(run, 1.0), "long()") == "the branch long(): computed only if it is taken"
    short = "the branch shrunk(): always computed, and chosen where it is taken"
    assert only(told(run, 1.0), "shrunk()") == short
    batched = told(run, [1.0], batch=True)
    assert only(batched, "long()") == "the branch long(): computed only if it is taken by a sample of the block"
    text = mg.compile(run).explain(1.0)
    assert "\n    once, or not at all if that would change nothing:\n" in text
    assert "1 rounds" not in text


def test_what_is_alike_shares_a_line_and_many_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(x: Any) -> Any:
        for _ in range(7):
            x = mg.cond(x > 0.0, shrunk, shrunk, x)
        return x

    assert only(told(run, 1.0), "shrunk()").endswith("where it is taken (14 times)")
    monkeypatch.setattr(controls, "_MOST_LINES", 3)
    many = [Control("loop", f"f{k}()", 2, 2, None) for k in range(5)]
    assert described(many, batch=False)[3:] == ["… and 2 more loops or branches"]
    assert len(described(many[:3], batch=False)) == 3


def test_a_check_is_no_choice() -> None:
    text = mg.compile(lambda x: mg.while_loop(lambda s: s > 1.0, shrunk, x, most=9)).explain(2.0)
    assert ", checked by (" in text
    assert "one of the 1 numbers" not in text


def stopping(most: int) -> Callable[[Any], Any]:
    """How often the rounds are done decides what is added up first."""

    def fn(x: Any) -> Any:
        a, b = mg.while_loop(lambda s: s[0] < 3.0, lambda s: (s[1] * P + s[0], s[0] + 0.5), (x, x * Q), most=most)
        return a * b * P

    return fn


def in_turns(most: int) -> Callable[[Any], Any]:
    """So does which of the first numbers is met first."""

    def fn(x: Any) -> Any:
        body = lambda s: (s[0] + 1.0, s[2] * P, s[1] * Q)  # noqa: E731 - one line
        _, a, b = mg.while_loop(lambda s: s[0] < 3.0, body, (x, x * Q, x + P * Q), most=most)
        return a * b * P

    return fn


@pytest.mark.parametrize(
    ("fn", "most", "strict", "why"),
    [
        (stopping, 20, True, None),
        (stopping, 200, True, None),
        (in_turns, 20, True, None),
        (in_turns, 200, False, None),
        (in_turns, 200, True, "choices are in a loop of more than 96 rounds"),
    ],
)
def test_of_strict_gradients_it_is_said_why_a_last_bit_may_differ(
    fn: Any, most: int, strict: bool, why: str | None
) -> None:
    f = mg.compile(fn(most), strict=strict)
    f(1.0)
    lines = [line for line in f.explain().splitlines() if "last bit" in line]
    assert lines == ([f"a last bit of the gradient may not be the eager engine's: {why}"] if why else [])


def test_a_loop_that_is_done_again_says_so() -> None:
    lines = told(stopping(120), 1.0, strict=True)
    rounds = "traced once, and the program of its 120 rounds told from that of 16"
    again = "once more, with the rounds that are done at the end, to add up as the eager engine does"
    assert [re.sub(r" at \S+\.py:\d+", "", line) for line in lines] == [
        f"the while_loop of <lambda>(): {rounds}; those after its end change nothing",
        f"the while_loop of <lambda>() {again}: {rounds}; those before them change nothing",
    ]


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("steps", [2, None])
def test_too_many_ways_are_said(steps: int | None, inside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def fn(x: Any) -> Any:
        y = x * P + Q
        z = mg.cond(x > 0.0, lambda: y * P, lambda: Q) * mg.cond(x > 1.0, lambda: mg.sin(y) * Q, lambda: y)
        return z * mg.maximum(y, z) * P

    if steps is not None:
        monkeypatch.setattr(eager_graph, "_MOST_STEPS", steps)
    f = mg.compile((lambda x: mg.grad(fn)(x) * P) if inside else fn, strict=True)
    f(0.5)
    said = "last bit of the gradient may not be the eager engine's: there are too many ways" in f.explain()
    assert said == (steps is not None)


def test_calls_of_linalg_random_and_custom_have_a_line_each() -> None:
    def run(x: Any, path: Any) -> Any:
        matrix = [[2.0 + x * x, x], [x, 3.0]]
        found = mg.linalg.solve(matrix, [1.0, x])[0] + mg.linalg.inv(matrix)[0][0] + mg.linalg.det(matrix)
        found += mg.linalg.triangular_solve(matrix, [1.0, x])[1] + mg.linalg.cholesky(matrix)[1][0]
        found += mg.linalg.eigh(matrix)[0][1] + mg.linalg.slogdet(matrix)[1] + mg.linalg.det([[x]])
        for k in range(3):
            found += mg.random.normal(1, path, k)
        return found + mg.custom(shrunk, lambda x: 0.9)(x) + mg.random.uniform(2, path)

    lines = told(run, 1.0, 2.0)
    rolled = "and rolled like everything else"
    names = ("solve", "inv", "det", "triangular_solve", "cholesky", "eigh", "slogdet")
    begins = [f"{name}() of 2 rows, in run: recorded as " for name in names]
    begins += ["3 calls of random.normal(), in run: recorded as ", "random.uniform(), in run: recorded as "]
    begins += ["custom() for shrunk(), differentiated by <lambda>() and not through its operations: recorded as "]
    for begin in begins:
        (line,) = [x for x in map(bare, lines) if x.startswith(begin)]
        assert re.fullmatch(rf"[1-9][\d,]* scalars?, {rolled}", line.removeprefix(begin)), line
    assert only(lines, "det() of 1 row,").endswith(
        ": computed while the function was traced, and nothing of it recorded"
    )


def test_a_call_in_a_body_and_one_of_constants() -> None:
    matrix = [[2.0, 1.0], [1.0, 3.0]]

    def body(i: Any, s: Any) -> Any:
        return s + mg.random.uniform(2, i) * mg.linalg.det(matrix)

    lines = told(lambda x: mg.loop(2000, body, x), 1.0)
    text = "det() of 2 rows, in body: computed while the function was traced, and nothing of it recorded"
    assert only(lines, "det()") == text
    assert " of random.uniform" not in only(lines, "uniform")


def test_the_calls_of_a_long_function_are_counted() -> None:
    """Most of such a function is numbers while it is still traced."""

    def run(x: Any) -> Any:
        for k in range(2000):
            x = 0.9 * x + mg.random.normal(1, k)
        return x * mg.random.normal(1, x)

    first, last = told(run, 1.0)
    assert first.startswith("2,000 calls of random.normal(), at ")
    assert "recorded as " in last


def test_more_calls_than_lines_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "_MOST_LINES", 3)
    assert described([Written("solve()", f"line {k}", 7) for k in range(5)], batch=False)[3:] == [
        "… and 2 more such calls"
    ]
