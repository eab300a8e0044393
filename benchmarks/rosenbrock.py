"""rosenbrock: Σ 100(xᵢ − xᵢ₋₁²)² + (1 − xᵢ₋₁)² over 1,000 variables and its gradient, float64.

The scalar contenders get the obvious Python loop; `-vectors` are rewritten by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import native, ours, peers
from benchmarks.harness import Job, Prepared

N = 1000
X = np.random.default_rng(0).uniform(-1.5, 1.5, size=N)

JOB = Job(
    "rosenbrock",
    what=f"value and gradient of Σ 100(xᵢ − xᵢ₋₁²)² + (1 − xᵢ₋₁)², {N:,} variables, float64",
    unit="gradient",
    cases=("1000",),
    tolerance=1e-12,
)


def rosenbrock(x: Any) -> Any:
    """On any numbers that add and multiply."""
    total = 0.0
    for i in range(1, len(x)):
        u = x[i] - x[i - 1] * x[i - 1]
        v = 1.0 - x[i - 1]
        total = total + 100.0 * u * u + v * v
    return total


def in_vectors(x: Any) -> Any:
    """The same in arrays."""
    u, v = x[1:] - x[:-1] ** 2, 1.0 - x[:-1]
    return (100.0 * u**2 + v**2).sum()


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    gradient = np.zeros(N)
    u, v = X[1:] - X[:-1] ** 2, 1.0 - X[:-1]
    gradient[1:] += 200.0 * u
    gradient[:-1] += -400.0 * X[:-1] * u - 2.0 * v
    return {"value": in_vectors(X), "gradient": gradient}


def floor(name: str, *more: int, units: int = 1) -> Prepared:
    import ctypes

    call = getattr(native.library("rosenbrock"), name)
    call.restype = ctypes.c_double
    out = np.empty(N)
    args = (native.pointer(X), native.pointer(out), N, *more)
    return Prepared(lambda: call(*args), lambda: {"value": call(*args), "gradient": out}, units)


@JOB.contender("c", note="explicit vectors, four sums at a time; called through ctypes")
def c(case: str) -> Prepared:
    return floor("gradient")


@JOB.contender("c-inside", note="the same, called a hundred times by C: what the call from Python costs")
def c_inside(case: str) -> Prepared:
    return floor("gradients", 100, units=100)


@JOB.contender("macrograd", packages=("macrograd",), note="parameters are the variables; value_and_grad(theta)")
def macrograd(case: str) -> Prepared:
    import macrograd as mg

    variables = [mg.Value(float(v)) for v in X]
    return ours.called(mg.compile(lambda: rosenbrock(variables)), variables)


@JOB.contender("macrograd-bound", packages=("macrograd",), note="f.bind() → step()")
def macrograd_bound(case: str) -> Prepared:
    import macrograd as mg

    variables = [mg.Value(float(v)) for v in X]
    return ours.bound(mg.compile(lambda: rosenbrock(variables)), variables)


def casadi_function(**options: Any) -> Prepared:
    import casadi

    x = casadi.SX.sym("x", N)
    value = rosenbrock([x[i] for i in range(N)])
    f = casadi.Function("f", [x], [value, casadi.gradient(value, x)], options)
    return peers.casadi_bound(f, X)


@JOB.contender("casadi", packages=("casadi",), note="the scalar loop in SX, its virtual machine, bound buffers")
def casadi_vm(case: str) -> Prepared:
    return casadi_function()


@JOB.contender("casadi-jit", packages=("casadi",), note="the scalar loop in SX, compiled by gcc -O3 -march=native")
def casadi_jit(case: str) -> Prepared:
    return casadi_function(jit=True, compiler="shell", jit_options={"flags": ["-O3", "-march=native"]})


@JOB.contender("casadi-map", packages=("casadi",), note="one term as a Function, map() over all, bound buffers")
def casadi_map(case: str) -> Prepared:
    import casadi

    a, b = casadi.SX.sym("a"), casadi.SX.sym("b")
    term = casadi.Function("term", [a, b], [100.0 * (b - a * a) ** 2 + (1.0 - a) ** 2])
    x = casadi.MX.sym("x", N)
    value = casadi.sum2(term.map(N - 1)(x[:-1].T, x[1:].T))
    return peers.casadi_bound(casadi.Function("f", [x], [value, casadi.gradient(value, x)]), X)


@JOB.contender("jax-vectors", packages=("jax",), note="rewritten in arrays")
def jax_vectors(case: str) -> Prepared:
    return peers.jax_value_and_grad(in_vectors, X)


@JOB.contender(
    "jax-scalars",
    packages=("jax",),
    environment=peers.JAX_SCALARS,
    note="the scalar loop, jitted, without XLA's fusion emitters",
)
def jax_scalars(case: str) -> Prepared:
    return peers.jax_scalars(rosenbrock, X)


@JOB.contender("torch", packages=("torch",), note="the scalar loop, eager")
def torch_scalars(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    x = torch.tensor(X, requires_grad=True)

    def gradient() -> Any:
        x.grad = None
        value = rosenbrock(x.unbind())
        value.backward()
        return value

    return Prepared(gradient, lambda: {"value": gradient().item(), "gradient": x.grad.numpy()})


@JOB.contender("torch-vectors", packages=("torch",), note="rewritten in arrays, eager")
def torch_vectors(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    x = torch.tensor(X, requires_grad=True)

    def gradient() -> Any:
        x.grad = None
        value = in_vectors(x)
        value.backward()
        return value

    return Prepared(gradient, lambda: {"value": gradient().item(), "gradient": x.grad.numpy()})


@JOB.contender("torch-compile", packages=("torch",), note="rewritten in arrays, torch.compile of value and gradient")
def torch_compile(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    both = torch.compile(torch.func.grad_and_value(in_vectors))
    x = torch.tensor(X)

    def answer() -> dict[str, Any]:
        gradient, value = both(x)
        return {"value": value.item(), "gradient": gradient.numpy()}

    return Prepared(lambda: both(x), answer)


@JOB.contender("autograd", packages=("autograd",), note="HIPS autograd, rewritten in arrays")
def autograd(case: str) -> Prepared:
    from autograd import value_and_grad

    call = value_and_grad(lambda x: in_vectors(x))
    return Prepared(lambda: call(X), lambda: dict(zip(("value", "gradient"), call(X), strict=True)))


def scalar_tape(value_class: Any, gc: bool) -> Prepared:
    def gradient() -> tuple[Any, Any]:
        x = [value_class(float(v)) for v in X]
        total = rosenbrock(x)
        total.backward()
        return total, x

    def answer() -> dict[str, Any]:
        total, x = gradient()
        return {"value": total.data, "gradient": [v.grad for v in x]}

    return Prepared(gradient, answer, gc=gc)


@JOB.contender("micrograd", packages=("micrograd.engine",), note="Python's garbage collector off")
def micrograd(case: str) -> Prepared:
    import sys

    from micrograd.engine import Value

    sys.setrecursionlimit(100_000)  # its walk over the graph is recursive
    return scalar_tape(Value, gc=False)


@JOB.contender("micrograd-as-is", packages=("micrograd.engine",), note="with Python's garbage collector on")
def micrograd_as_is(case: str) -> Prepared:
    prepared = micrograd(case)
    prepared.gc = True
    return prepared


@JOB.contender("macrograd-eager", packages=("macrograd",), note="plain Values, no compiler")
def macrograd_eager(case: str) -> Prepared:
    from macrograd import Value

    return scalar_tape(Value, gc=True)
