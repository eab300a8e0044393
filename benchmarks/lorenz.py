"""lorenz: the Lorenz system by explicit Euler steps, and the gradient of the end state's x with respect to σ, ρ, β and
the start, float64, written as a scalar loop.

200 steps of 0.01, and 10,000 of 0.001: the same step over 100 time units would be chaos, where no two roundings agree.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import native, ours, peers
from benchmarks.harness import Job, Prepared

PARAMETERS = np.array([10.0, 28.0, 8.0 / 3.0, 1.0, 1.0, 1.0])  # σ, ρ, β, x, y, z
LENGTH = {"200": (200, 0.01), "10000": (10_000, 0.001)}

JOB = Job(
    "lorenz",
    what="x at the end of an Euler integration of the Lorenz system and its gradient by σ, ρ, β, start, float64",
    unit="gradient",
    cases=("200", "10000"),
    tolerance={"200": 1e-10, "10000": 1e-8},
    quick=("200",),
)


def euler(p: Any, steps: int, dt: float) -> Any:
    """On any numbers that add and multiply."""
    sigma, rho, beta, x, y, z = p
    for _ in range(steps):
        dx, dy, dz = sigma * (y - x), x * (rho - z) - y, x * y - beta * z
        x, y, z = x + dt * dx, y + dt * dy, z + dt * dz
    return x


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    """Forward mode by hand: the state's derivative by each of the six, step by step."""
    steps, dt = LENGTH[case]
    sigma, rho, beta, x, y, z = PARAMETERS
    s = np.zeros((3, 6))  # d(x, y, z) / d(σ, ρ, β, x₀, y₀, z₀)
    s[:, 3:] = np.eye(3)
    for _ in range(steps):
        flow = np.array([[-sigma, sigma, 0.0], [rho - z, -1.0, -x], [y, x, -beta]])
        direct = np.zeros((3, 6))
        direct[0, 0], direct[1, 1], direct[2, 2] = y - x, x, -z
        s = s + dt * (flow @ s + direct)
        dx, dy, dz = sigma * (y - x), x * (rho - z) - y, x * y - beta * z
        x, y, z = x + dt * dx, y + dt * dy, z + dt * dz
    return {"value": x, "gradient": s[0]}


@JOB.contender("c")
def c(case: str) -> Prepared:
    import ctypes

    steps, dt = LENGTH[case]
    call = native.library("lorenz").gradient
    call.restype = ctypes.c_double
    out = np.empty(6)
    args = (native.pointer(PARAMETERS), steps, ctypes.c_double(dt), native.pointer(out))
    return Prepared(lambda: call(*args), lambda: {"value": call(*args), "gradient": out})


@JOB.contender("macrograd", packages=("macrograd",), note="value_and_grad(theta)")
def macrograd(case: str) -> Prepared:
    import macrograd as mg

    steps, dt = LENGTH[case]
    variables = [mg.Value(float(v)) for v in PARAMETERS]
    return ours.called(mg.compile(lambda: euler(variables, steps, dt)), variables)


@JOB.contender("macrograd-bound", packages=("macrograd",), note="f.bind() → step()")
def macrograd_bound(case: str) -> Prepared:
    import macrograd as mg

    steps, dt = LENGTH[case]
    variables = [mg.Value(float(v)) for v in PARAMETERS]
    return ours.bound(mg.compile(lambda: euler(variables, steps, dt)), variables)


def casadi_function(case: str, **options: Any) -> Prepared:
    import casadi

    steps, dt = LENGTH[case]
    p = casadi.SX.sym("p", 6)
    end = euler([p[i] for i in range(6)], steps, dt)
    # SX's own gradient repeats common parts; cse() takes them out, as its documentation advises.
    f = casadi.Function("f", [p], [end, casadi.gradient(end, p)], {"cse": True, **options})
    return peers.casadi_bound(f, PARAMETERS)


@JOB.contender("casadi", packages=("casadi",), note="the scalar loop in SX, its virtual machine, bound buffers")
def casadi_vm(case: str) -> Prepared:
    return casadi_function(case)


@JOB.contender("casadi-jit", packages=("casadi",), cases=("200",), note="compiled by gcc -O3 -march=native")
def casadi_jit(case: str) -> Prepared:
    return casadi_function(case, jit=True, compiler="shell", jit_options={"flags": ["-O3", "-march=native"]})


@JOB.contender(
    "casadi-mapaccum", packages=("casadi",), note="one step as a Function, mapaccum() over all, bound buffers"
)
def casadi_mapaccum(case: str) -> Prepared:
    import casadi

    steps, dt = LENGTH[case]
    state, rates, p = casadi.SX.sym("s", 3), casadi.SX.sym("r", 3), casadi.MX.sym("p", 6)
    sigma, rho, beta, x, y, z = *casadi.vertsplit(rates), *casadi.vertsplit(state)
    slope = casadi.vertcat(sigma * (y - x), x * (rho - z) - y, x * y - beta * z)
    step = casadi.Function("step", [state, rates], [state + dt * slope])
    end = step.mapaccum(steps)(p[3:], casadi.repmat(p[:3], 1, steps))[0, -1]
    return peers.casadi_bound(casadi.Function("f", [p], [end, casadi.gradient(end, p)]), PARAMETERS)


@JOB.contender("jax-scan", packages=("jax",), note="rewritten as lax.scan")
def jax_scan(case: str) -> Prepared:
    import jax

    steps, dt = LENGTH[case]

    def end(p: Any) -> Any:
        sigma, rho, beta = p[0], p[1], p[2]

        def body(state: Any, _: Any) -> Any:
            x, y, z = state
            dx, dy, dz = sigma * (y - x), x * (rho - z) - y, x * y - beta * z
            return (x + dt * dx, y + dt * dy, z + dt * dz), None

        (x, _, _), _ = jax.lax.scan(body, (p[3], p[4], p[5]), None, length=steps)
        return x

    return peers.jax_value_and_grad(end, PARAMETERS)


@JOB.contender(
    "jax-scalars",
    packages=("jax",),
    cases=("200",),
    environment=peers.JAX_SCALARS,
    note="the scalar loop, jitted, without XLA's fusion emitters",
)
def jax_scalars(case: str) -> Prepared:
    steps, dt = LENGTH[case]
    return peers.jax_value_and_grad(lambda p: euler([p[i] for i in range(6)], steps, dt), PARAMETERS)


@JOB.contender("torch", packages=("torch",), note="the scalar loop, eager")
def torch_scalars(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    steps, dt = LENGTH[case]
    p = torch.tensor(PARAMETERS, requires_grad=True)

    def gradient() -> Any:
        p.grad = None
        value = euler(p.unbind(), steps, dt)
        value.backward()
        return value

    return Prepared(gradient, lambda: {"value": gradient().item(), "gradient": p.grad.numpy()})


@JOB.contender("macrograd-eager", packages=("macrograd",), note="plain Values, no compiler")
def macrograd_eager(case: str) -> Prepared:
    from macrograd import Value

    steps, dt = LENGTH[case]

    def gradient() -> tuple[Any, Any]:
        p = [Value(float(v)) for v in PARAMETERS]
        end = euler(p, steps, dt)
        end.backward()
        return end, p

    def answer() -> dict[str, Any]:
        end, p = gradient()
        return {"value": end.data, "gradient": [v.grad for v in p]}

    return Prepared(gradient, answer, gc=True)
