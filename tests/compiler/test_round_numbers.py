"""The round number of a traced loop is not an integer, and a compiled loop cannot keep any amount of numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.stretched import Stretched

N = 120
LISTED, ARRAY, NAMED = [1.0] * N, np.ones(N), {0: 1.0}
AS_INTEGERS: dict[str, Callable[[Any], Any]] = {
    "an element of a list": lambda i: LISTED[i],
    "a slice": lambda i: sum(LISTED[:i]),
    "an element of a dict": lambda i: NAMED[i],
    "get": lambda i: NAMED.get(i, 2.0),
    "a set": lambda i: len({i}),
    "range": lambda i: len(range(i)),
    "remainder": lambda i: i % 7,
    "divmod": lambda i: divmod(i, 7)[0],
    "quotient": lambda i: i // 7,
    "bits": lambda i: i & 1,
    "text": lambda i: len(str(i)),
    "an f-string": lambda i: len(f"w{i:>3}"),
    "equal": lambda i: 1.0 if i == 3 else 2.0,
    "among": lambda i: 1.0 if i in (1, 2) else 2.0,
    "truth": lambda i: 1.0 if i else 2.0,
    "int": int,
    "float": float,
}


@pytest.mark.parametrize("use", AS_INTEGERS.values(), ids=AS_INTEGERS)
@pytest.mark.parametrize("count", [3, N])
def test_a_use_as_an_integer_is_refused_and_names_what_to_write(use: Callable[[Any], Any], count: int) -> None:
    with pytest.raises(mg.TraceError, match=r"round number of a loop .*test_round_numbers") as found:
        mg.compile(lambda x: mg.loop(count, lambda i, s: s + use(i), x))(1.0)
    for remedy in ("mg.take(values, i)", "mg.mod(i, 7)", "mg.where(i < 10, a, b)"):
        assert remedy in str(found.value)


def test_numpy_hides_why_an_index_fails_and_the_trace_does_not() -> None:
    with pytest.raises(mg.TraceError, match=r"NumPy array was indexed .* write mg.take\(array, i\)"):
        mg.compile(lambda x: mg.loop(N, lambda i, s: s + ARRAY[i], x))(1.0)
    with pytest.raises(IndexError, match="out of bounds"):
        mg.compile(lambda x: x + ARRAY[N])(1.0)


def test_arithmetic_with_a_round_number_and_debugging_are_allowed() -> None:
    seen = []

    def body(i: Any, s: Any) -> Any:
        seen.append(repr(i))
        return s + mg.where(i < 2, 2 * i, -i) * 0.5 + mg.take(LISTED, i) - i / 3 + mg.mod(i, 7) + mg.floor(i / 7)

    assert mg.compile(lambda x: mg.loop(N, body, x))(1.0) == pytest.approx(float(mg.loop(N, body, 1.0)), rel=1e-12)
    assert seen[0] == "Traced(input)"


@pytest.mark.parametrize("count", [10**10, 10**12, 10**18])
def test_a_count_beyond_any_memory_is_refused_before_the_body_runs(count: int) -> None:
    def body(i: Any, s: Any) -> Any:
        raise AssertionError("the body ran")

    with pytest.raises(ValueError, match=rf"body\(\) at .*{count} rounds, would hold at least .* GB"):
        mg.compile(lambda x: mg.loop(count, body, x))(1.0)


def test_numbers_of_all_rounds_beyond_any_memory_are_refused() -> None:
    def fn(x: Any) -> Any:
        return mg.loop(2 * 10**9, lambda i, s: mg.sin(mg.exp(s * x)), x)

    with pytest.raises(ValueError, match=r"fn\), with a loop of 2000000000 rounds, would hold at least [\d,]+ numbers"):
        mg.compile(mg.grad(fn))(1.0)


A = mg.Value(0.3)


def kept(x: Any) -> Any:
    return mg.loop(N, lambda i, s: ((n := mg.sin(s * A + 0.1 * i)), (n, s * n)), x, collect=True)[1]


ELEMENTWISE: dict[str, Callable[[Any], Any]] = {
    "sums": lambda x: mg.sum(kept(x)[0]) + mg.mean(kept(x)[1]) * mg.dot(kept(x)[0], kept(x)[1]),
    "functions": lambda x: mg.sum(mg.exp(kept(x)[0])) + mg.mean(abs(-kept(x)[1])) + mg.sum(kept(x)[0].tanh(), 1.5),
    "arithmetic": lambda x: mg.sum((kept(x)[0] * A - kept(x)[1]) / (2.0 + kept(x)[0]) + (1.0 - kept(x)[1]) ** 2),
    "choices": lambda x: mg.mean(mg.where(kept(x)[0] > 0.1, kept(x)[0], mg.maximum(kept(x)[1], x))),
    "read again": lambda x: mg.loop(N, lambda i, s: s * 0.9 + mg.take(mg.exp(kept(x)[0]), N - 1 - i), 0.0),
}


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_what_a_loop_kept_is_computed_with_element_by_element(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name in ("sums", "functions"):
        monkeypatch.setattr(Stretched, "written_out", lambda self: pytest.fail("written out"))
    fn = ELEMENTWISE[name]
    A.grad = 0.0
    expected = fn(mg.Value(0.4))
    expected.backward()
    slope = A.grad
    for how in ({"backend": "numpy"}, {"strict": True, "backend": "numpy"})[: 2 if name == "sums" else 1]:
        A.grad = 0.0
        value = mg.compile(fn, **how).backward(0.4)
        assert [value, A.grad] == pytest.approx([expected.data, slope], rel=1e-10)


def test_what_loops_of_different_counts_kept_does_not_pair_up() -> None:
    def fn(x: Any) -> Any:
        first, second = (mg.loop(n, lambda i, s: (s * A, s), x, collect=True)[1] for n in (N, N + 1))
        return mg.dot(first, second)

    with pytest.raises(ValueError, match="same length, got 120 and 121"):
        mg.compile(fn)(1.0)


SLOPE = Value(0.37)
NUMBERS: list[Callable[[Any], Any]] = [
    lambda i: 0.1 * i,
    lambda i: (0.1 * i + 0.3) * (i * 0.7 - 0.01 * i * i) / (1.3 + i),
    lambda i: mg.sin(0.3 * i) + mg.exp(-0.01 * i) * mg.tanh(0.03 * i) + mg.sqrt(0.7 * i),
    lambda i: mg.dot([0.1 * i, 0.7, mg.log(1.1 + i)], [0.3, 0.1 * i, 0.9]) + mg.sum([0.1 * i, 0.2, 0.3 * i]),
]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("backend", ["numpy", "llvm"])
def test_strict_float32_folds_numbers_as_it_computes_them(number: Any, backend: str) -> None:
    """A short loop, whose numbers are folded, one that computes them, and one that takes them as an argument."""

    def kept(count: int) -> Any:
        def body(i: Any, s: Any) -> Any:
            new = 0.9 * s + SLOPE * number(i)
            return new, new

        return lambda x: mg.loop(count, body, x, collect=True)[1]

    def compiled(fn: Any) -> Any:
        return mg.compile(fn, strict=True, dtype="float32", backend=backend)

    short = compiled(kept(96))(0.3).tolist()
    assert compiled(kept(97))(0.3).tolist()[:96] == short
    step = compiled(lambda s, i: 0.9 * s + SLOPE * number(i))
    state = np.float32(0.3)
    for i, expected in enumerate(short[:20]):
        state = step(state, float(i))
        assert state == expected


@pytest.mark.parametrize("number", NUMBERS[:2])
def test_strict_float32_has_the_same_bits_with_less_memory(number: Any) -> None:
    def fn(memory: Any) -> Any:
        return lambda x: mg.loop(1100, lambda i, s: 0.9 * s + SLOPE * number(i), x, memory=memory)

    all_, some = (mg.compile(fn(memory), strict=True, dtype="float32", backend="numpy") for memory in (None, "sqrt"))
    (a, slope), (b, other) = all_.value_and_grad([0.37], 0.3), some.value_and_grad([0.37], 0.3)
    assert (a, slope.tolist()) == (b, other.tolist())
