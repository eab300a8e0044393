"""A function for arguments of given shapes: buffers that wait for the next call, and results in their nesting."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.calls import Call
from macrograd.compiler.settings import settings_of
from macrograd.compiler.specialised import Prepared, Specialised, results
from macrograd.compiler.targets.target import Executable, State

W = Value(2.0, "w")


def specialised(fn: Any, *shapes: tuple[int, ...], batch: bool = True, uniform: Any = ()) -> Specialised:
    settings = settings_of(
        fn, batch=batch, dtype="float64", backend="numpy", threads=1, strict=False, uniform=uniform
    )  # fmt: skip
    return Specialised(settings, shapes)


def values(special: Specialised, arrays: list[Any]) -> Any:
    return Call(special, "values", special.samples(arrays)).values(None, arrays)


def value_and_grad(special: Specialised, theta: Any, arrays: list[Any]) -> Any:
    return Call(special, "gradient", special.samples(arrays)).value_and_grad(theta, arrays)


def test_programs_are_made_when_they_are_first_needed_and_once() -> None:
    special = specialised(lambda x: W * x, ())
    values = special.prepared("values")
    assert special.prepared("values") is values
    gradient = special.prepared("gradient")
    assert (len(values.program.results), len(gradient.program.results)) == (1, 2)
    assert (values.program.batch, special.prepared("values", one=True).program.batch) == (True, False)


def test_buffers_wait_for_a_call_of_their_size() -> None:
    prepared = specialised(lambda x: W * x, ()).prepared("values")
    state = prepared.take(5)
    assert prepared.take(5) is not state  # in use
    prepared.give(5, state)
    assert prepared.take(6) is not state
    assert prepared.take(5) is state


def test_the_buffers_of_few_sizes_wait() -> None:
    """The oldest size gives way: else calls of many sizes would fill the memory."""
    prepared = specialised(lambda x: W * x, ()).prepared("values")
    for samples in range(1, 60):
        prepared.give(samples, prepared.take(samples))
    assert list(prepared.waiting) == list(range(52, 60))
    assert all(len(states) == 1 for states in prepared.waiting.values())


class Failing:
    """An executable whose code cannot be made for large batches."""

    def __init__(self, right: Executable) -> None:
        self.right = right

    def state(self, samples: int, own: Any = None) -> State:
        if samples > 4:
            raise RuntimeError("no code")
        return self.right.state(samples, own=own)


def test_an_executable_that_fails_later_is_replaced_with_all_its_buffers() -> None:
    right = specialised(lambda x: W * x, ()).prepared("values")
    errors: list[str] = []

    def instead(error: RuntimeError) -> Executable:
        errors.append(str(error))
        return right.executable

    failing: Any = Failing(right.executable)
    prepared = Prepared(right.program, failing, {}, instead)
    prepared.give(3, prepared.take(3))
    assert prepared.take(9).samples == 9
    assert (errors, prepared.waiting, prepared.executable) == (["no code"], {}, right.executable)
    prepared.take(10)
    assert len(errors) == 1


def nested(x: Any, y: Any) -> Any:
    return {"table": [[x[0], x[1]], [W * y, y]], "pair": (x[1], [1.0, W])}


@pytest.mark.parametrize("samples", [1, 4])
def test_results_come_back_in_their_nesting(samples: int) -> None:
    """Inputs that are returned, numbers that are the same for all samples, and computed ones, each from its place."""
    special, draw = specialised(nested, (2,), ()), np.random.default_rng(0)
    x, y = draw.normal(size=(samples, 2)), draw.normal(size=samples)
    found = values(special, [x, y])
    np.testing.assert_array_equal(found["table"], np.stack([x, np.stack([2 * y, y], axis=1)], axis=1))
    assert isinstance(found["pair"], tuple)
    np.testing.assert_array_equal(found["pair"][0], x[:, 1])
    np.testing.assert_array_equal(found["pair"][1], np.tile([1.0, 2.0], (samples, 1)))


def test_lists_of_different_lengths_stay_lists() -> None:
    found = values(specialised(lambda x: [x, [x[0]]], (2,), batch=False), [np.array([3.0, 4.0])])
    assert isinstance(found, list)
    assert [part.tolist() for part in found] == [[3.0, 4.0], [3.0]]


def test_results_belong_to_the_caller() -> None:
    special = specialised(lambda x: W * x, ())
    first = values(special, [np.array([1.0, 2.0])])
    values(special, [np.array([5.0, 6.0])])
    assert first.tolist() == [2.0, 4.0]
    _, gradient = value_and_grad(special, None, [np.array([1.0, 2.0])])
    value_and_grad(special, None, [np.array([5.0, 6.0])])
    assert gradient.tolist() == [1.5]


def test_theta_stands_in_for_the_parameters() -> None:
    special = specialised(lambda x: W * x, ())
    assert value_and_grad(special, np.array([10.0]), [np.array([1.0, 2.0])])[0] == 15.0
    assert value_and_grad(special, np.array([10]), [np.array([1.0, 2.0])])[0] == 15.0  # integers are converted
    assert value_and_grad(special, None, [np.array([1.0, 2.0])])[0] == 3.0
    assert W.data == 2.0


def test_uniform_arguments_have_memory_of_their_own() -> None:
    special = specialised(lambda a, t, x, s: t[0] * a + t[1] * x + s, (), (2,), (), (), uniform=(1, "s"))
    assert (special.varying, special.same) == ([0, 2], [(1, 0, 2), (3, 2, 3)])
    a, x = np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 30.0])
    found = values(special, [a, np.array([2.0, 3.0]), x, np.array(0.5)])
    np.testing.assert_array_equal(found, 2 * a + 3 * x + 0.5)
    assert special.samples([a, np.zeros(2), x, np.zeros(())]) == 3


def test_value_and_gradient_lie_side_by_side() -> None:
    special = specialised(lambda x: W * x, ())
    prepared = special.prepared("gradient")
    state = prepared.take(2)
    special.fill(state)
    special.load(state, [np.array([1.0, 2.0])])
    state.run()
    value, gradient = results(prepared.program, state)
    assert (float(value), gradient.tolist()) == (3.0, [1.5])
    assert np.shares_memory(gradient, state.u)


def test_only_one_scalar_has_a_gradient() -> None:
    with pytest.raises(TypeError, match="returns a list of 2, and only one scalar has a gradient"):
        specialised(lambda x: [W * x, x], ()).prepared("gradient")
    assert specialised(lambda x: W * x, ()).is_scalar
    assert not specialised(lambda x: (W * x,), ()).is_scalar


def test_an_invalid_index_is_found_by_sample() -> None:
    special = specialised(lambda i: mg.take([W, 1.0, 3.0], i), ())
    assert values(special, [np.array([0.0, 2.0])]).tolist() == [2.0, 3.0]
    with pytest.raises(IndexError, match=r"sample 1: take\(\) index 3 is outside 0 … 2"):
        values(special, [np.array([0.0, 3.0, 5.0])])
