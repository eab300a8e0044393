"""Arguments that are the same for all samples: recorded, differentiated, rolled and run as what they are."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpret import interpret
from random_programs import DIFFERENT, RandomProgram, eager_gradients, eager_values, every_line, programs

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program.cache import packed, unpacked
from macrograd.compiler.program.program import verify
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.roll import cost_model
from macrograd.compiler.tape import tape as tapes

W = [Value(0.5, "a"), Value(-1.25, "b")]
X = np.random.default_rng(0).normal(size=(50, 2))
T = 0.3 * X[:, 0]
SHIFT = [0.1, -0.2]


def loss(x: Any, t: Any, rate: Any, shift: Any) -> Any:
    h = W[0] * x[0] * mg.exp(rate * W[1]) + x[1] * shift[1] + shift[0] * W[1]
    return (mg.tanh(h) - t) ** 2 * rate


def compiled(backend: str, **options: Any) -> Any:
    return mg.compile(loss, batch=True, uniform=("rate", "shift"), backend=backend, **options)


# --- the program ------------------------------------------------------------------------------------------------------


def test_a_tape_names_them_and_parses_its_own_print() -> None:
    source = pipeline.record(lambda x, r, y, s: x * r + y * s[1], [(), (), (), (2,)], uniform={1, 3})
    text = str(source.tape)
    leaves = [line.split(" = ")[1] for line in text.splitlines() if " = " in line and "dot" not in line]
    assert leaves == ["input 0", "uniform 0", "input 1", "uniform 1", "uniform 2"]
    assert str(tapes.parse(text)) == text
    assert interpret(source.tape, [], [2.0, 3.0], uniform=[5.0, 7.0, 11.0]) == [2.0 * 5.0 + 3.0 * 11.0]


def test_what_depends_on_them_alone_is_computed_once() -> None:
    source = pipeline.record(loss, [(2,), (), (), (2,)], uniform={2, 3})
    program = verify(pipeline.gradient_program(source, batch=True))
    assert (program.parameters, program.inputs, program.uniform_inputs) == (2, 4, 3)  # x, t and the weight
    assert program.held == 2 + len(program.constants) + 3
    (first, second) = [ops.TABLE[x.code].name for x in program.before[:2] if not isinstance(x, Stream)]
    assert (first, second) == ("mul", "exp")
    assert "2 parameters, 4 inputs, 3 uniform inputs" in str(program)
    again = unpacked(packed(program))
    assert (str(again), again.fingerprint()) == (str(program), program.fingerprint())
    single = verify(pipeline.value_program(source, batch=False))
    assert single.first_input == single.held


def test_a_fingerprint_tells_them_from_inputs() -> None:
    def digest(uniform: set[int]) -> bytes:
        source = pipeline.record(lambda x, y: x * y, [(), ()], uniform=uniform)
        return pipeline.value_program(source, batch=True).fingerprint()

    assert len({digest(uniform) for uniform in (set(), {0}, {1})}) == 3


# --- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("samples", [1, 7, 50])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_gradients(backend: str, dtype: str, samples: int) -> None:
    rounding = 1e-14 if dtype == "float64" else 1e-6
    f, x, t = compiled(backend, dtype=dtype), X[:samples], T[:samples]
    found = [loss(a, b, 0.7, SHIFT) for a, b in zip(x.tolist(), t.tolist(), strict=True)]
    assert f(x, t, 0.7, SHIFT) == pytest.approx([v.data for v in found], abs=rounding)
    (mg.sum(found) / samples).backward()
    expected = [p.grad for p in W]
    for p in W:
        p.grad = 0.0
    assert f.backward(x, t, 0.7, SHIFT) == pytest.approx(np.mean([v.data for v in found]), abs=rounding)
    assert [p.grad for p in W] == pytest.approx(expected, abs=rounding)
    for p in W:
        p.grad = 0.0


@settings(max_examples=40)
@given(programs(), st.lists(st.integers(-32, 32), min_size=1, max_size=3), st.sampled_from([1, 5, 40]))
def test_random_programs_with_uniform_arguments(
    backend: str, program: RandomProgram, given: list[int], samples: int
) -> None:
    check(program, [k / 16 for k in given], samples, backend)


def test_every_operation_on_uniform_arguments(backend: str) -> None:
    check(every_line(), [0.75, -1.25], 1100, backend, threads=2)


def check(program: RandomProgram, same: list[float], samples: int, backend: str, threads: int = 1) -> None:
    """The program with more leaves: eagerly numbers, compiled a uniform argument."""

    def around(leaves: Any) -> RandomProgram:
        return RandomProgram(program.lines, program.inputs, [*program.parameters, *leaves], program.results)

    options: dict[str, Any] = {"batch": True, "uniform": 2, "backend": backend, "threads": threads}
    values = mg.compile(lambda x, i, u: around(u)(x, i), **options)
    f = mg.compile(lambda x, i, u: around(u).loss(x, i), **options)
    data, index = program.data(min(samples, DIFFERENT))
    rows = np.resize(np.arange(len(data)), samples)
    numbers = around([Value(x) for x in same])
    losses, gradients, largest = eager_gradients(numbers, data, index)
    tolerance = 1e-9 * largest
    expected = eager_values(numbers, data, index)[rows]
    data, index = data[rows], index[rows]
    np.testing.assert_allclose(values(data, index, same), expected, rtol=0, atol=tolerance)
    assert f.backward(data, index, same) == pytest.approx(losses[rows].mean(), rel=0, abs=tolerance)
    gradient = gradients[rows].mean(axis=0)
    named = {id(p): g for p, g in zip(numbers.parameters, gradient.tolist(), strict=True)}
    for p in program.parameters:
        assert p.grad == pytest.approx(named[id(p)], rel=0, abs=tolerance)
        p.grad = 0.0


def test_in_streams(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FREE", "MOST_TINY", "MOST_LARGE"):
        monkeypatch.setattr(cost_model, name, 0)
    f = compiled(backend)
    assert "data" in f.explain(X, T, 0.7, SHIFT)
    expected = [loss(a, b, 0.7, SHIFT).data for a, b in zip(X.tolist(), T.tolist(), strict=True)]
    assert f(X, T, 0.7, SHIFT) == pytest.approx(expected, abs=1e-14)


def test_in_a_recurrence(backend: str) -> None:
    def chain(x: Any, rate: Any) -> Any:
        h = 0.0
        for k in range(60):
            h = mg.tanh(rate * h + x[k])
        return h

    f = mg.compile(chain, batch=True, uniform="rate", backend=backend)
    data = np.random.default_rng(1).normal(size=(9, 60))
    assert f(data, 0.4) == pytest.approx([chain([Value(v) for v in row], 0.4).data for row in data.tolist()], abs=1e-13)


# --- calls ------------------------------------------------------------------------------------------------------------


def test_names_positions_and_a_decorator() -> None:
    expected = compiled("auto")(X, T, 0.7, SHIFT).tolist()

    @mg.compile(batch=True, uniform=(2, "shift"))
    def decorated(x: Any, t: Any, rate: Any, shift: Any) -> Any:
        return loss(x, t, rate, shift)

    assert decorated(X, T, shift=SHIFT, rate=0.7).tolist() == expected
    many = mg.compile(lambda *a: loss(*a), batch=True, uniform=(2, 3))
    assert many(X, T, 0.7, SHIFT).tolist() == expected
    first = mg.compile(lambda rate, x: rate * x, batch=True, uniform="rate")
    assert first(2.0, [1.0, 3.0]).tolist() == [2.0, 6.0]


def test_they_are_bound_as_numbers_to_write(backend: str) -> None:
    f = compiled(backend)
    step = f.bind(X, T, 0.7, SHIFT)
    assert [a.shape for a in step.arguments] == [(50, 2), (50,), (), (2,)]
    once = step()
    step.arguments[2][...], step.arguments[3][:] = 1.4, [0.0, 0.5]
    assert step() == f.value_and_grad(f.theta(), X, T, 1.4, [0.0, 0.5])[0]
    step.arguments[2][...], step.arguments[3][:] = 0.7, SHIFT
    assert step() == once


def test_as_results(backend: str) -> None:
    f = mg.compile(lambda x, r: [x, r, r + x], batch=True, uniform="r", backend=backend)
    assert f([1.0, 2.0], 3.0).tolist() == [[1.0, 3.0, 4.0], [2.0, 3.0, 5.0]]
    assert f.bind([1.0, 2.0], 3.0)().tolist() == [[1.0, 3.0, 4.0], [2.0, 3.0, 5.0]]


def test_an_index_that_they_hold_is_checked(backend: str) -> None:
    f = mg.compile(lambda x, k: mg.take([x, 2.0 * x, 3.0 * x], k), batch=True, uniform="k", backend=backend)
    assert f([1.0, 2.0], 2).tolist() == [3.0, 6.0]
    with pytest.raises(IndexError, match=r"take\(\) index 3 is outside 0 … 2"):
        f([1.0, 2.0], 3)


def test_copies_and_words() -> None:
    f = mg.compile(scaled, batch=True, uniform="rate")
    expected = f([1.0, 2.0], 3.0).tolist()
    again = pickle.loads(pickle.dumps(f))  # noqa: S301 - made here
    assert again([1.0, 2.0], 3.0).tolist() == expected
    assert "scaled(x, rate (the same for all samples)) of one sample" in f.explain()
    assert "rate · x" in f.explain() or "x · rate" in f.explain()


def scaled(x: Any, rate: Any) -> Any:
    return x * rate


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"uniform": "nope", "batch": True}, r"uniform='nope'\): 'nope' is not the name or .* are x, t, rate, shift"),
        ({"uniform": (0, 4), "batch": True}, r"4 is not the name or position of an argument"),
        ({"uniform": -1, "batch": True}, r"-1 is not the name"),
        ({"uniform": True, "batch": True}, r"True is not the name"),
        ({"uniform": 2.5, "batch": True}, r"2.5 is not the name"),
        ({"uniform": [None], "batch": True}, r"None is not the name"),
        ({"uniform": "rate"}, r"uniform='rate'\) needs batch=True"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mg.compile(loss, **options)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"argument 'x' has 50 samples .*, argument 't' has 3"):
        compiled("auto")(X, T[:3], 0.7, SHIFT)
    last = mg.compile(lambda rate, x, y: rate * x * y, batch=True, uniform="rate")
    with pytest.raises(ValueError, match=r"argument 'x' has 2 samples .*, argument 'y' has 3"):
        last(1.0, [1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="argument 'y' is a single number"):
        last(1.0, [1.0, 2.0], 1.0)
    alone = mg.compile(lambda rate: rate * W[0], batch=True, uniform="rate")
    with pytest.raises(ValueError, match="needs at least one argument to batch over"):
        alone(1.0)
    with pytest.raises(mg.TraceError, match="branch on a traced value"):
        mg.compile(lambda x, r: x if r > 0 else -x, batch=True, uniform="r")([1.0], 1.0)
