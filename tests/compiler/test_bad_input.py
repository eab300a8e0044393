"""Bad input gets an error that names the argument, the value given and the remedy. Never a stray number."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.tape import indices

W = Value(2.0, "w")


# --- arguments ----------------------------------------------------------------------------------------------


def dot(x: Any, y: Any) -> Any:
    return mg.dot(x, y) * W


def test_ragged_arguments() -> None:
    with pytest.raises(ValueError, match="dot: argument 'y' is ragged: its rows must all have the same length"):
        mg.compile(dot)([1.0, 2.0], [[1.0], [2.0, 3.0]])


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (["a", "b"], "argument 'y' must hold real numbers, got dtype <U1"),
        ([1j, 2j], "argument 'y' must hold real numbers, got dtype complex128"),
        ([0.5, None], "argument 'y' must hold real numbers, got None at [1]"),
        (None, "argument 'y' must hold real numbers, got None"),
        ([[1.0], ["a", None]][1:], "argument 'y' must hold real numbers, got 'a' at [0, 0]"),
        ([10**400], "got an integer at [0] that no float holds exactly: pass it as float"),
        (np.array([1.0, 2], dtype=object), "got dtype object: convert it with array.astype(float)"),
        ([W, W], "argument 'y' must hold real numbers, got a Value at [0]; Values to be learned must be closed"),
    ],
)
def test_arguments_that_are_no_numbers(bad: Any, said: str) -> None:
    with pytest.raises(TypeError) as error:
        mg.compile(dot)([1.0, 2.0], bad)
    assert said in str(error.value)


def test_bools_count_as_numbers_and_no_theta_is_said() -> None:
    f = mg.compile(dot)
    assert f([True, False], np.array([1.5, 2.5]) > 2.0) == 0.0
    assert f([True, False], [True, True]) == W.data
    for call in (f.value_and_grad, f.value):
        with pytest.raises(TypeError, match=r"got None for theta, the parameters' numbers: pass f\.theta\(\)"):
            call(None, [1.0, 2.0], [1.0, 2.0])


def test_wrong_shapes_name_the_argument_and_both_shapes() -> None:
    f = mg.compile(dot, batch=True)
    f(np.ones((3, 2)), np.ones((3, 2)))
    with pytest.raises(ValueError, match=r"'x' has 3 samples \(shape \(3, 2\)\), argument 'y' has 4 \(shape \(4, 2"):
        f(np.ones((3, 2)), np.ones((4, 2)))
    with pytest.raises(ValueError, match=r"dot\(\) takes two sequences of the same length, got 2 and 3") as error:
        f(np.ones((3, 2)), np.ones((3, 3)))
    (note,) = error.value.__notes__
    assert "argument 'x' of shape (2,), argument 'y' of shape (3,) for one sample" in note
    assert "it was traced before with argument 'x' of shape (2,), argument 'y' of shape (2,)" in note


def test_an_empty_batch() -> None:
    with pytest.raises(ValueError, match=r"dot: the batch is empty \(shape \(0, 2\)\): give at least one sample"):
        mg.compile(dot, batch=True)(np.ones((0, 2)), np.ones((0, 2)))


def test_a_number_where_a_batch_is_due() -> None:
    with pytest.raises(ValueError, match="argument 'x' is a single number, but compiled with batch=True every"):
        mg.compile(lambda x: x * W, batch=True)(1.0)
    with pytest.raises(ValueError, match="compiled with batch=True it needs at least one argument to batch over"):
        mg.compile(lambda: W * W, batch=True)()


def test_too_few_arguments_are_the_functions_own_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        mg.compile(dot)([1.0])


def test_arguments_by_name() -> None:
    f = mg.compile(dot)
    assert f([1.0, 2.0], y=[3.0, 4.0]) == 22.0
    assert f(y=[1.0, 2.0], x=[3.0, 4.0]) == 22.0
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        f([1.0], [1.0], z=[1.0])
    with pytest.raises(TypeError, match="scale can only be passed by name"):
        mg.compile(lambda x, *, scale: x * scale)(1.0, scale=2.0)


# --- results ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", [None, "text", {1, 2}, object()])
def test_results_that_are_no_numbers(result: Any) -> None:
    with pytest.raises(TypeError, match="a compiled function returns Values, numbers, or lists, tuples and dicts"):
        mg.compile(lambda x: result)(1.0)


@pytest.mark.parametrize("result", [[], (), {}, ([], {"a": []})])
def test_results_that_hold_nothing(result: Any) -> None:
    with pytest.raises(ValueError, match="the result of <lambda> holds no numbers: return at least one number or Val"):
        mg.compile(lambda x: result)(1.0)


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (lambda x: [x * W, x], "returns a list of 2, and only one scalar has a gradient: return a single Value"),
        (lambda x: (x * W,), "returns a tuple of 1"),
        (lambda x: {"a": x * W}, "returns a dict, and only one"),
    ],
)
def test_backward_of_what_is_no_scalar(fn: Callable[..., Any], said: str) -> None:
    f = mg.compile(fn)
    f(1.0)
    for call in (f.backward, lambda x: f.value_and_grad(np.ones(1), x)):
        with pytest.raises(TypeError) as error:
            call(1.0)
        assert said in str(error.value)


# --- parameters ---------------------------------------------------------------------------------------------


def test_theta_of_a_wrong_size() -> None:
    f = mg.compile(lambda x: x * W)
    f(1.0)
    for bad in (np.ones(2), np.ones((1, 1)), 1.0, ["a"], []):
        with pytest.raises(ValueError, match=r"theta is one array of 1 numbers, one for each parameter of <lambda>"):
            f.value_and_grad(bad, 1.0)
        with pytest.raises(ValueError, match=r"theta is one array of 1 numbers"):
            f.assign(bad)
    for call in (f.assign, lambda theta: f.value_and_grad(theta, 1.0)):
        with pytest.raises(ValueError, match=r"theta is one array of 1 numbers, .*; got rows of different lengths"):
            call([[1.0], [2.0, 3.0]])
    assert W.data == 2.0


@pytest.mark.parametrize("names", [[1], "a", {"w": 2.0}])
def test_names_that_are_none(names: Any) -> None:
    f = mg.compile(lambda x: x * W)
    f(1.0)
    with pytest.raises(
        TypeError, match=r"explain\(names=.*\): names is a dict of names and their Values, as from model"
    ):
        f.explain(names=names)


def test_parameters_are_not_known_before_the_first_call() -> None:
    f = mg.compile(lambda x: x * W)
    for ask in (lambda: f.parameters, f.theta, lambda: f.assign([1.0]), f.explain):
        with pytest.raises(RuntimeError, match="has not been traced yet, so its parameters are not known: call it"):
            ask()


# --- take ---------------------------------------------------------------------------------------------------

HERE = f", at {__file__}:… in <lambda>"


def without_line(message: str) -> str:
    return re.sub(r"(?<=:)[0-9]+(?= in )", "…", message)


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (3, "take() index 3 is outside 0 … 2"),
        (-1, "take() index -1 is outside 0 … 2"),
        (1e300, "take() index 1e+300 is outside 0 … 2"),
        (1.5, "take() needs an integer index, got 1.5"),
        (np.nan, "take() needs an integer index, got nan"),
        (np.inf, "take() needs an integer index, got inf"),
    ],
)
@pytest.mark.parametrize("batch", [False, True])
def test_an_index_out_of_range(index: float, said: str, batch: bool, backend: str) -> None:
    values = [Value(1.0), Value(2.0), Value(3.0)]
    f = mg.compile(lambda i: mg.take(values, i), batch=batch, backend=backend)
    good, bad = (np.array([2.0, 0.0]), np.array([0.0, index])) if batch else (2.0, index)
    step = f.bind(good)
    for call in (f, f.backward, lambda i: f.value_and_grad(np.ones(3), i)):
        with pytest.raises(IndexError) as error:
            call(bad)
        assert without_line(str(error.value)) == f"<lambda>{', sample 1' if batch else ''}: {said}{HERE}"
        call(good)  # an error does not cause another
    step.arguments[0][...] = bad
    with pytest.raises(IndexError) as error:
        step()
    assert said in str(error.value)
    step.arguments[0][...] = good
    assert step() == 2.0 if batch else 3.0


TABLE = [[Value(float(i * j)) for j in range(3)] for i in range(4)]


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (lambda i: mg.take([1.0, 2.0, W], 2 * i + 1), "take() index 3 is outside 0 … 2"),
        (lambda i: mg.take([1.0, 2.0, W], i + W), "take() index 3 is outside 0 … 2"),
        (lambda i: mg.dot(mg.take(TABLE, i + 3), mg.take(TABLE, i)), "take() index 4 is outside 0 … 3"),
        (lambda i: mg.take([1.0, 2.0], mg.take([0.0, 9.0], i)), "take() index 9 is outside 0 … 1"),
        (lambda i: mg.take([1.0, W], mg.take([0.0, W], i)), "take() index 2 is outside 0 … 1"),
        (lambda i: mg.take([1.0, W], mg.take([0.0, 1.0], i + i)), "take() index 2 is outside 0 … 1"),
        (lambda i: mg.take([1.0, W], mg.log(1 - i)), "take() needs an integer index, got -inf"),
    ],
)
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_computed_index_out_of_range(
    fn: Callable[..., Any], said: str, strict: bool, dtype: str, backend: str
) -> None:
    index = np.zeros(900)
    index[700:] = 1.0
    f = mg.compile(fn, batch=True, strict=strict, dtype=dtype, backend=backend)
    for call in (f, f.backward):
        with pytest.raises(IndexError) as error:
            call(index)
        assert without_line(str(error.value)) == f"<lambda>, sample 700: {said}{HERE}"


def test_an_index_that_the_second_look_does_not_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indices, "find", lambda *_: None)
    with pytest.raises(IndexError, match=r"take\(\) got an index outside of its values, or one that is not an integer"):
        mg.compile(lambda i: mg.take([1.0, W], i))(2)


def test_a_failed_backward_leaves_the_gradients_alone() -> None:
    values = [Value(1.0), Value(2.0)]
    f = mg.compile(lambda i: mg.take(values, i), batch=True)
    with pytest.raises(IndexError):
        f.backward([0, 2])
    assert [v.grad for v in values] == [0.0, 0.0]


@pytest.mark.parametrize(
    ("values", "error", "said"),
    [
        ([[1.0, 2.0], [3.0]], ValueError, "take() needs rows of equal length, got rows of 1 to 2 numbers"),
        ([[2.0, 3.0], 1.0], TypeError, "take() chooses from numbers or from rows of numbers, got both"),
        ("abc", TypeError, "take() takes numbers and Values, got 'a' of type str"),
        (None, TypeError, "take() takes a sequence of numbers and Values, got None of type NoneType"),
    ],
)
def test_take_from_what_is_no_table(values: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as caught:
        mg.compile(lambda i: mg.take(values, i))(0)
    assert str(caught.value) == said


def test_take_from_nothing() -> None:
    with pytest.raises(IndexError, match=r"take\(\) needs at least one value to choose from"):
        mg.compile(lambda i: mg.take([], i))(0)


def test_a_theta_that_was_left_out_is_asked_for() -> None:
    a = Value(1.0)
    f = mg.compile(lambda x, y: a * x + y)
    assert f(20.0, 0.7) == 20.7
    for _ in range(2):
        with pytest.raises(
            TypeError, match=r"takes theta, .* before the function's own .* 'y'\): write value_and_grad\(f"
        ):
            f.value_and_grad(20.0, 0.7)
        assert f.value_and_grad(f.theta(), 20.0, 0.7)[0] == 20.7


def test_masked_parameters_are_missing() -> None:
    f, hidden = mg.compile(dot), np.ma.array([2.0], mask=[True])
    arguments = np.array([1.0, 2.0]), np.array([1.0, 1.0])
    for _ in range(2):  # a call before the code is known, and one after
        for call in (f.value_and_grad, f.value, lambda theta, *_: f.assign(theta)):
            with pytest.raises(ValueError, match=r"theta is masked at \[0\], so there is no number: fill it in"):
                call(hidden, *arguments)
            call(np.ma.array([2.0]), *arguments)
            call(np.array([2.0]), *arguments)
            call([2.0], *arguments)


def test_masked_numbers_are_missing() -> None:
    f, hidden = mg.compile(dot), np.ma.array([1.0, 2.0], mask=[False, True])

    def with_theta(*args: Any) -> Any:
        return f.value_and_grad([2.0], *args)

    assert f(np.ma.array([1.0, 2.0]), [1.0, 1.0]) == 6.0
    for call in (f, f.backward, f.bind, f.explain, with_theta):
        with pytest.raises(
            ValueError, match=r"dot: argument 'y' is masked at \[1\], so there is no number: fill it in"
        ):
            call([1.0, 1.0], hidden)
    with pytest.raises(ValueError, match=r"argument 'y'\[1\] is masked at \[1\], so there is no number: fill it in"):
        mg.compile(lambda y: y[0][0])([np.array([1.0, 1.0]), hidden])
