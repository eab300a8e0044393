"""Native code as built-in functions: they take exactly the arrays that were described, and refuse all others."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.calls import Call, place_of_number
from macrograd.compiler.jit import builtin
from macrograd.compiler.jit.buffers import GIVEN, OBJECTS, RESULT
from macrograd.compiler.jit.native import Native
from macrograd.compiler.jit.text import DOUBLE, SINGLE, Float
from macrograd.compiler.targets.llvm.execute import LlvmExecutable

Array = np.ndarray[Any, Any]

AFFINE = """define void @run(ptr %context) {{
  %x = load {0}, ptr %context, align 4
  %y.at = getelementptr {0}, ptr %context, i64 1
  %y = fadd {0} %x, %x
  store {0} %y, ptr %y.at, align 4
  ret void
}}"""


@pytest.fixture(autouse=True)
def one_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Direct calls wait for the best code, which is here the first."""
    monkeypatch.setenv("MACROGRAD_TIERS", "best")


def test_they_are_available_here() -> None:
    """NumPy's and CPython's structures are as expected: else all these tests would pass by falling back."""
    assert builtin.available()


def doubling(
    kind: Float, memory: Array, flag: Array, buffers: Any = None, place: int = 0
) -> Callable[..., float | None]:
    """memory[1] = 2·memory[0], which it returns."""
    text = AFFINE.format(kind.name)
    code = Native(f"test of built-in functions {kind.name}".encode(), ("run",), lambda: (text, np.zeros(1, np.int32)))
    at = memory.ctypes.data
    address = code.address("run")
    return builtin.builtin(address, at, at + kind.bytes, kind, (code, memory), flag.ctypes.data, buffers, place)


@pytest.fixture(params=[DOUBLE, SINGLE], ids=["float64", "float32"])
def made(request: pytest.FixtureRequest) -> tuple[Callable[..., float | None], Array, Array]:
    """One that takes an array (2, 3), one number, and an array for its results; its memory, and its flag."""
    kind: Float = request.param
    memory, flag = np.arange(12, dtype=np.float64 if kind is DOUBLE else np.float32), np.zeros(1, np.int64)
    buffers = [(memory[:1].reshape(()), GIVEN), (memory[2:8].reshape(2, 3), GIVEN), (memory[1:3], RESULT)]
    return doubling(kind, memory, flag, buffers), memory, flag


def test_a_function_without_arguments_runs_and_returns_a_number() -> None:
    memory = np.array([1.25, 0.0])
    run = doubling(DOUBLE, memory, np.zeros(1, np.int64))
    assert (run(), memory.tolist(), type(run())) == (2.5, [1.25, 2.5], float)


def test_arrays_as_described_are_copied_in_and_out(made: tuple[Any, Array, Array]) -> None:
    run, memory, _ = made
    result, whole = np.zeros(2, memory.dtype), np.arange(20, 26, dtype=memory.dtype).reshape(2, 3)
    assert run(np.array(4.5, memory.dtype), whole, result) == 9.0
    assert (memory[2:8].tolist(), result.tolist()) == (whole.ravel().tolist(), [9.0, 20.0])
    whole.flags.writeable = False
    assert run(np.array(1.5, memory.dtype), whole, result) == 3.0
    assert run(5.5, whole, result) == (11.0 if memory.dtype == np.float64 else None)  # only to float64 without rounding


def test_others_are_refused_and_change_nothing(made: tuple[Any, Array, Array]) -> None:
    run, memory, _ = made
    dtype, other = memory.dtype, np.float32 if memory.dtype == np.float64 else np.float64
    one, whole, result = np.array(1.0, dtype), np.ones((2, 3), dtype), np.zeros(2, dtype)
    bad: list[Any] = [
        None, "12", 3, True, [1.0, 2.0], b"12345678", np.float64(1.0), dtype, np.ndarray, object(),
        np.ones(6, dtype), np.ones((3, 2), dtype), np.ones((2, 3, 1), dtype), np.ones((2, 3), other),
        np.ones((2, 3), int), np.ones((2, 3), dtype.newbyteorder()), np.ones((3, 2), dtype).T,
        np.ones((2, 6), dtype)[:, ::2], np.ones((2, 3), dtype).view(np.matrix), np.ma.ones((2, 3)),
        np.full((2, 3), None), np.ones((2, 3), complex),
    ]  # fmt: skip
    before = memory.tolist()
    for x in bad:
        assert run(x, whole, result) is None
        assert run(one, x, result) is None
        assert run(one, whole, x) is None
    assert run(one, whole, 1.0) is None  # a float has no room for results
    for some in [(), (one,), (one, whole), (one, whole, result, one)]:
        assert run(*some) is None
    assert (memory.tolist(), result.tolist()) == (before, [0.0, 0.0])


def test_code_that_raises_the_flag_is_refused_and_the_flag_lowered(made: tuple[Any, Array, Array]) -> None:
    run, memory, flag = made
    flag[0] = 1
    arguments = np.array(1.0, memory.dtype), np.ones((2, 3), memory.dtype), np.zeros(2, memory.dtype)
    assert (run(*arguments), flag[0], arguments[2].tolist()) == (None, 0, [0.0, 0.0])
    assert run(*arguments) == 2.0


@pytest.mark.parametrize("kind", [DOUBLE, SINGLE], ids=["float64", "float32"])
def test_floats_of_objects_are_read_where_they_are(kind: Float) -> None:
    memory, values = np.zeros(8, np.float64 if kind is DOUBLE else np.float32), [Value(0.1), Value(-1e30)]
    flag = np.zeros(1, np.int64)
    buffers = [(memory[:1].reshape(()), GIVEN), (memory[3:5], OBJECTS)]
    run = doubling(kind, memory, flag, buffers, place_of_number())
    addresses, one = np.array([id(v) for v in values]), np.array(2.0, memory.dtype)
    assert (run(one, addresses), memory[3:5].tolist()) == (4.0, np.array([0.1, -1e30]).astype(memory.dtype).tolist())
    values[1].data = 7.0
    assert (run(one, addresses), memory[4]) == (4.0, 7.0)
    for bad in (addresses.astype(float), addresses.astype(np.int32), addresses[:1], memory[3:5], [1, 2], None):
        assert run(one, bad) is None
    assert run(addresses, addresses) is None
    elsewhere = doubling(kind, memory, flag, buffers, object.__basicsize__)  # where no float is
    assert elsewhere(one, addresses) is None


# --- as compiled functions use them ----------------------------------------------------------------------------------

W = [Value(0.5), Value(-1.5), Value(2.0)]


def line(x: Any, y: Any) -> Any:
    return mg.tanh(W[0] * x[0] + W[1] * x[1] + W[2]) * y


@pytest.fixture
def in_python(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What `Call.value_and_grad` computes, and direct calls do not."""
    found, right = [], Call.value_and_grad

    def noted(self: Call, theta: Any, arrays: Any) -> Any:
        found.append(right(self, theta, arrays))
        return found[-1]

    monkeypatch.setattr(Call, "value_and_grad", noted)
    return found


def repeated(f: Any, theta: Any, *arguments: Any) -> list[tuple[float, list[float]]]:
    """Its values and gradients in calls one after the other: the third is direct."""
    found = [f.value_and_grad(theta, *arguments) for _ in range(4)]
    assert len({id(gradient) for _, gradient in found}) == 4
    return [(value, gradient.tolist()) for value, gradient in found]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("strict", [False, True])
def test_repeated_calls_give_the_same_bits(
    dtype: str, strict: bool, in_python: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    f = mg.compile(line, batch=True, dtype=dtype, strict=strict)
    draw = np.random.default_rng(0)
    batches = [(draw.normal(size=(n, 2)).astype(dtype), draw.normal(size=n).astype(dtype)) for n in (7, 8, 1, 7)]
    found = []
    for x, y in batches:
        in_python.clear()
        same = repeated(f, np.array([0.5, -1.5, 2.0], dtype), x, y)
        assert len(in_python) == (2 if len(found) < 3 else 1)  # the last batch is known
        assert same == [same[0]] * 4
        assert same[0] == repeated(f, f.theta().tolist(), x.tolist(), y.tolist())[0]
        found.append(same[0])
    monkeypatch.setattr(builtin, "available", lambda: False)
    apart = mg.compile(line, batch=True, dtype=dtype, strict=strict)
    in_python.clear()
    assert [repeated(apart, [0.5, -1.5, 2.0], x, y)[0] for x, y in batches] == found
    assert len(in_python) == 4 * len(batches)


def test_plain_numbers_and_uniform_arguments(in_python: list[Any]) -> None:
    plain = mg.compile(lambda a, b: W[0] * a * b + W[1] * b)
    plain(1.0, 2.0)
    assert repeated(plain, plain.theta(), 3.0, 4.0) == [(0.0, [12.0, 4.0])] * 4
    assert len(in_python) == 2
    assert plain.value_and_grad(plain.theta(), 1, True)[0] == -1.0
    shared = mg.compile(lambda x, s: W[0] * x * s, batch=True, uniform="s")
    shared([1.0], 2.0)
    assert repeated(shared, shared.theta(), np.array([1.0, 3.0]), 2.0) == [(2.0, [4.0])] * 4
    assert len(in_python) == 5


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_follow_the_parameters(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one number, a batch of them, and arrays; what has several arrays is not called directly."""
    p = [Value(0.5), Value(-1.5)]
    functions: list[tuple[Any, Any, bool]] = [
        (lambda x: mg.tanh(p[0] * x + p[1]), np.array(0.3, dtype), False),
        (lambda x: mg.tanh(p[0] * x + p[1]), np.array([0.3, 0.4, 0.5], dtype), True),
        (lambda x: mg.tanh(p[0] * x + p[1]), np.array([0.3], dtype), True),
        (lambda x: [[p[0] * x[0], p[1]], [x[1], p[1] * x[1]]], np.array([0.3, 2.0], dtype), False),
        (lambda x: [p[0] * x[1], p[1] * x[0]], np.ones((5, 2), dtype), True),
        (lambda x: (p[0] * x, [p[1], x]), np.array(0.3, dtype), False),
    ]
    for fn, x, batch in functions:
        found: list[Any] = []
        for apart in (False, True):
            monkeypatch.setattr(builtin, "available", lambda apart=apart: not apart)
            f = mg.compile(fn, batch=batch, dtype=dtype)
            for k in range(4):
                p[0].data = 0.5 + k
                found.append(f(x))
        for one, other in zip(found[:4], found[4:], strict=True):
            assert repr(one) == repr(other)
            assert type(one) is type(other)
        assert len({id(one) for one in found}) == 8
        assert repr(found[0]) != repr(found[3])


def test_values_are_not_read_past_a_trace() -> None:
    """In a trace, numbers of Values that it depends on are refused as ever."""
    w = Value(2.0)
    inner = mg.compile(lambda x: w * x)
    for _ in range(3):
        inner(1.5)
    with pytest.raises(mg.TraceError, match="the number of"):
        mg.compile(lambda x: w * x + inner(1.5))(1.0)
    assert inner(1.5) == 3.0


def test_errors_are_those_of_a_first_call(in_python: list[Any]) -> None:
    f = mg.compile(line, batch=True)
    x, y, theta = np.ones((4, 2)), np.ones(4), np.array([0.5, -1.5, 2.0])
    bad: list[tuple[Any, ...]] = [
        (None, x, y), (theta[:2], x, y), ("abc", x, y), (theta, x), (theta, x, y, y), (theta, x, y[:3]),
        (theta, None, y), (theta, np.full((4, 2), "a"), y), (theta, x[:0], y[:0]), (theta, x, 1.0), (x, y),
    ]  # fmt: skip

    def errors() -> list[str]:
        found = []
        for arguments in bad:
            with pytest.raises((TypeError, ValueError)) as caught:
                f.value_and_grad(*arguments)
            found.append(f"{type(caught.value)} {caught.value}")
        return found

    first = errors()
    for _ in range(3):
        f.value_and_grad(theta, x, y)
    assert not in_python  # these shapes have been seen
    assert errors() == first


def test_an_index_out_of_range_is_reported_by_a_direct_call(in_python: list[Any]) -> None:
    f = mg.compile(lambda k: mg.take(W, k) * 2.0, batch=True)
    theta = np.array([0.5, -1.5, 2.0])
    repeated(f, theta, np.array([0.0, 2.0]))
    assert len(in_python) == 2
    with pytest.raises(IndexError, match="sample 1: take\\(\\) index 3 is outside 0 … 2"):
        f.value_and_grad(theta, np.array([0.0, 3.0]))
    assert repeated(f, theta, np.array([1.0, 1.0]))[3] == (-3.0, [0.0, 2.0, 0.0])


def test_baseline_code_is_not_called_directly(in_python: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """It calls Python at times, which would let another thread in between a call's copies."""
    f = mg.compile(line, batch=True)
    f([[1.0, 2.0]] * 2, [1.0, 2.0])
    monkeypatch.setattr(LlvmExecutable, "settled", lambda self, samples: False)
    assert len(set(map(str, repeated(f, f.theta(), np.ones((2, 2)), np.ones(2))))) == 1
    assert len(in_python) == 4


def test_the_latest_call_is_known_after_a_direct_one() -> None:
    """Its parameters are those of the function's."""
    f = mg.compile(lambda x: W[len(x) - 2] * mg.sum(x))
    for n in (2, 3, 2):
        repeated(f, np.array([0.5]), np.ones(n))
        assert f.parameters == [W[n - 2]]
    f(np.ones(3))
    assert f.parameters == [W[1]]
    f.value_and_grad(np.array([0.5]), np.ones(2))
    assert f.parameters == [W[0]]


def test_threads_may_call_one_function() -> None:
    f = mg.compile(line, batch=True)
    x, y = np.random.default_rng(0).normal(size=(64, 2)), np.ones(64)
    thetas = [np.array([0.1 * k, -1.5, 2.0]) for k in range(4)]
    right = [repeated(f, theta, x, y)[0] for theta in thetas]
    wrong: list[Any] = []

    def many(k: int) -> None:
        for _ in range(300):
            value, gradient = f.value_and_grad(thetas[k], x, y)
            if (value, gradient.tolist()) != right[k]:
                wrong.append((k, value))

    threads = [threading.Thread(target=many, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_two_threads_may_make_the_first_functions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both compile what enters them, and only one of these is kept: no function may jump into the other."""
    kind, both = Float("float", 32, "f32, for the first time"), threading.Barrier(2)

    def compiled(*given: Any) -> Native:
        code = Native(*given)
        both.wait(60.0)
        return code

    monkeypatch.setattr(builtin.native, "Native", compiled)
    found: list[Callable[..., float | None]] = []

    def make(number: float) -> None:
        found.append(doubling(kind, np.array([number, 0.0], np.float32), np.zeros(1, np.int64)))

    threads = [threading.Thread(target=make, args=(number,)) for number in (1.0, 2.0)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gc.collect()
    assert sorted([run() for run in found]) == [2.0, 4.0]
