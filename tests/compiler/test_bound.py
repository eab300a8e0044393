"""Bound calls of one scalar and of several results; names and places of the parameters; the decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, losses, nn
from macrograd.compiler import Bound, BoundResults, Compiled

BACKENDS = ["numpy", "llvm"]
W = Value(0.75, "w")
X, Y = [0.5, -1.25, 2.0], [1.5, 0.25, -3.0]


def rosenbrock(x: Any) -> Any:
    return mg.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "grad": lambda a, b: mg.grad(lambda x: rosenbrock(x) + mg.dot(x, b))(a),
    "value_and_grad": lambda a, b: mg.value_and_grad(lambda x: rosenbrock(x) + mg.dot(x, b))(a),
    "both arguments": lambda a, b: mg.grad(lambda x, y: mg.dot(x * x, y), argnums=(0, 1))(a, b),
    "hessian": lambda a, b: mg.hessian(rosenbrock)(a),
    "jacobian": lambda a, b: mg.jacobian(lambda x: mg.exp(x) * b)(a),
    "closed over": lambda a, b: (a * W, mg.grad(lambda x: mg.sum(W * x**3))(b)),
    "uniform": lambda a, b: [W, W * 2, W],
    "an input returned": lambda a, b: (a, b[0], a[0] + b[0]),
    "the same twice": lambda a, b: {"x": a[0] * 2, "y": [a[0] * 2, a[0] * 2], "z": b},
    "reversed": lambda a, b: (a + b)[::-1],
    "constants": lambda a, b: [1.0, a[0], 2.0],
    "ragged": lambda a, b: [a, [b[0]], b[1]],
    "mixed": lambda a, b: [[W, a[0]], [b[0], W * W]],
}


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return np.shape(a) == np.shape(b) and np.asarray(a).tobytes() == np.asarray(b).tobytes()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("samples", [None, 1, 7, 70])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_bound_call_gives_what_the_call_gives(name: str, samples: int | None, backend: str) -> None:
    compiled = mg.compile(FUNCTIONS[name], batch=samples is not None, backend=backend)
    rng = np.random.default_rng(5)

    def given() -> tuple[Any, Any]:
        return tuple(rng.normal(size=(*([] if samples is None else [samples]), 3)) for _ in range(2))

    step = compiled.bind(*given())
    assert type(step) is BoundResults
    for _ in range(3):
        new = given()
        for buffer, numbers in zip(step.arguments, new, strict=True):
            buffer[:] = numbers
        found = step()
        assert found is step.results
        assert equal(found, compiled(*new))


@pytest.mark.parametrize("backend", BACKENDS)
def test_theta_is_read_and_written_here_too(backend: str) -> None:
    w = Value(2.0, "w")
    step = mg.compile(mg.grad(lambda x: w * x * x + mg.where(x < w, x, 0.0), argnums=(0,)), backend=backend).bind(3.0)
    assert step() == (12.0,)
    assert step.theta.tolist() == [2.0]
    step.theta[:] = 5.0
    assert step() == (31.0,)
    assert w.data == 2.0


def test_a_gradient_is_bound_without_any_copy() -> None:
    """The numbers stand side by side, as native code writes them; copies would be arrays apart."""
    step = mg.compile(mg.value_and_grad(rosenbrock)).bind(np.zeros(50))
    value, gradient = step()
    assert (value.shape, gradient.shape) == ((), (50,))
    assert gradient.ctypes.data == value.ctypes.data + value.itemsize
    batched = mg.compile(mg.grad(rosenbrock), batch=True).bind(np.zeros((9, 50)))
    assert batched().shape == (9, 50)
    assert batched.results.base is not None  # a view of what native code writes


def test_one_scalar_is_bound_as_before() -> None:
    step = mg.compile(lambda x: W * x).bind(2.0)
    assert type(step) is Bound
    assert (step(), step.value, step.gradient.tolist()) == (1.5, 1.5, [2.0])
    assert mg.compile(mg.grad(lambda x: x * x)).bind(3.0)() == 6.0


def test_what_several_results_do_not_have_is_said() -> None:
    step = mg.compile(mg.grad(rosenbrock)).bind([1.0, 2.0])
    with pytest.raises(AttributeError, match=r"has no 'gradient': the function returns several results.*step\.results"):
        step.gradient  # noqa: B018 - the access is what is tested
    with pytest.raises(AttributeError, match=r"has no 'thet'$"):
        step.thet  # noqa: B018 - that is the test
    with pytest.raises(TypeError, match="holds memory of this process"):
        step.__reduce__()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_index_out_of_range_is_found_here_too(backend: str) -> None:
    step = mg.compile(lambda x, k: (mg.take(x, k), x[0]), backend=backend).bind(X, 1)
    assert step() == (-1.25, 0.5)
    step.arguments[1][...] = 3
    with pytest.raises(IndexError, match=r"take\(\) index 3 is outside 0 … 2"):
        step()
    step.arguments[1][...] = 2
    assert step() == (2.0, 0.5)


def test_names_and_places_of_theta() -> None:
    model = nn.MLP(2, [3, 1], seed=1)
    unused = nn.Neuron(2)
    compiled = mg.compile(lambda x, y: losses.squared_error(model(x), y) + W * W, batch=True)
    step = compiled.bind(np.ones((4, 2)), np.zeros(4))
    named = model.named_parameters()
    names = step.names(named)
    assert names == compiled.names(named)
    assert len(names) == len(step.theta) == len(named) + 1
    assert names[:3] == ["layers.0.neurons.0.b", "layers.0.neurons.0.w.0", "layers.0.neurons.0.w.1"]  # of first use
    assert "w" in names  # a label, where there is no name
    assert [named.get(name, W).data for name in names] == step.theta.tolist()
    assert all(a is b for a, b in zip(step.parameters, compiled.parameters, strict=True))
    at = step.places(model.parameters())
    assert (at == compiled.places(model.parameters())).all()
    assert step.theta[at].tolist() == [p.data for p in model.parameters()]
    loss = step()
    for p in model.parameters():
        p.grad = 0.0
    assert compiled.backward(np.ones((4, 2)), np.zeros(4)) == loss
    assert step.gradient[at].tolist() == [p.grad for p in model.parameters()]
    with pytest.raises(ValueError, match=r"does not use Value\(.*among its parameters"):
        step.places(unused.parameters())
    for wrong in (["w"], {"w": 1.0}, model):
        with pytest.raises(TypeError, match="names is a dict of names and their Values"):
            step.names(wrong)


def test_parameters_without_a_name_are_called_by_their_place() -> None:
    a, b = Value(1.0), Value(2.0, "b")
    compiled = mg.compile(lambda x: a * x + b)
    compiled(1.0)
    assert compiled.names() == ["theta[0]", "b"]


def test_compile_is_a_decorator_with_settings_too() -> None:
    @mg.compile(batch=True, dtype="float32")
    def f(x: Any) -> Any:
        """What it says."""
        return x[0] * W

    @mg.compile
    def g(x: Any) -> Any:
        return x * 2

    @mg.compile()
    def h(x: Any) -> Any:
        return x * 3

    assert (type(f), f.batch, f.dtype, f.__name__, f.__doc__) == (Compiled, True, np.float32, "f", "What it says.")
    assert f(np.ones((2, 1))).tolist() == [0.75, 0.75]
    assert (g(2.0), h(2.0)) == (4.0, 6.0)
    with pytest.raises(TypeError, match="compile\\(\\) takes a function, got None"):
        mg.compile(None)
    with pytest.raises(TypeError, match="compile\\(\\) takes a function, got 3"):
        mg.compile(batch=True)(3)
