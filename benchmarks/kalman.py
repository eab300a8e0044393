"""kalman: the likelihood of n observations by a scalar Kalman filter, and its gradient by the two variances, float64;
a local level, the simplest state space model, written as a scalar loop over an array input.

`recorded-N` takes N observations. Contenders record N rounds, but for `macrograd-loop`, whose body is traced once
(`mg.loop`). How long each takes until it is ready is part of the job `ready`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import native, peers
from benchmarks.harness import Job, Prepared

PARAMETERS = np.array([0.1, 0.5])  # the variances of the level's steps and of the observations
LENGTH = {"recorded-1000": 1_000, "recorded-50000": 50_000}
SCALARS = 13  # operations that a round records

JOB = Job(
    "kalman",
    what="likelihood of n observations by a scalar Kalman filter and its gradient by both variances, float64",
    unit="gradient",
    cases=tuple(LENGTH),
    tolerance=1e-9,
    quick=("recorded-1000",),
)


def observations(n: int) -> Any:
    rng = np.random.default_rng(0)
    return 0.3 * rng.normal(size=n).cumsum() + 0.7 * rng.normal(size=n)


def likelihood(y: Any, q: Any, r: Any, log: Any) -> Any:
    """On any numbers, with the log that belongs to them; without factors that are the same for all q and r."""
    m, p, total = 0.0, 1.0, 0.0
    for x in y:
        p = p + q
        e = x - m
        S = p + r
        k = p / S
        m = m + k * e
        p = (1.0 - k) * p
        total = total + log(S) + e * e / S
    return total


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    """Forward mode by hand: every number with its derivatives by q and r."""
    m, p, total = 0.0, 1.0, 0.0
    dm, dp, gradient = np.zeros(2), np.zeros(2), np.zeros(2)
    by_q, by_r = np.eye(2)
    for x in observations(LENGTH[case]).tolist():
        p, dp = p + PARAMETERS[0], dp + by_q
        e, de = x - m, -dm
        S, dS = p + PARAMETERS[1], dp + by_r
        k, dk = p / S, dp / S - p * dS / S**2
        m, dm = m + k * e, dm + dk * e + k * de
        p, dp = (1.0 - k) * p, (1.0 - k) * dp - dk * p
        total += np.log(S) + e * e / S
        gradient += dS / S + 2.0 * e * de / S - e * e * dS / S**2
    return {"value": total, "gradient": gradient}


@JOB.contender("c", note="by hand: forward, then backward over the stored states")
def c(case: str) -> Prepared:
    import ctypes

    y, out = observations(LENGTH[case]), np.empty(2)
    call = native.library("kalman").gradient
    call.restype = ctypes.c_double
    args = (native.pointer(y), len(y), native.pointer(PARAMETERS), native.pointer(out))
    return Prepared(lambda: call(*args), lambda: {"value": call(*args), "gradient": out})


def compiled(case: str) -> tuple[Any, Any]:
    """The function and its observations."""
    import macrograd as mg

    q, r = (mg.Value(float(v)) for v in PARAMETERS)
    return mg.compile(lambda y: likelihood(y, q, r, mg.log)), observations(LENGTH[case])


@JOB.contender("macrograd", packages=("macrograd",), note="value_and_grad(theta, y)")
def macrograd(case: str) -> Prepared:
    f, y = compiled(case)
    theta = PARAMETERS.copy()

    def answer() -> dict[str, Any]:
        return dict(zip(("value", "gradient"), f.value_and_grad(theta, y), strict=True))

    return Prepared(lambda: f.value_and_grad(theta, y), answer)


@JOB.contender("macrograd-bound", packages=("macrograd",), note="f.bind(y) → step()")
def macrograd_bound(case: str) -> Prepared:
    f, y = compiled(case)
    step = f.bind(y)
    return Prepared(step, lambda: {"value": step(), "gradient": step.gradient.copy()})


def written(y: Any, q: Any, r: Any) -> Any:
    """The same as a loop that is traced once."""
    import macrograd as mg

    def body(i: Any, state: Any) -> Any:
        m, p, total = state
        p = p + q
        e = mg.take(y, i) - m
        S = p + r
        k = p / S
        return m + k * e, (1.0 - k) * p, total + mg.log(S) + e * e / S

    return mg.loop(len(y), body, (0.0, 1.0, 0.0))[2]


@JOB.contender("macrograd-loop", packages=("macrograd",), note="rewritten as mg.loop; f.bind(y) → step()")
def macrograd_loop(case: str) -> Prepared:
    import macrograd as mg

    q, r = (mg.Value(float(v)) for v in PARAMETERS)
    step = mg.compile(lambda y: written(y, q, r)).bind(observations(LENGTH[case]))
    return Prepared(step, lambda: {"value": step(), "gradient": step.gradient.copy()})


@JOB.contender("casadi", packages=("casadi",), cases=("recorded-1000",), note="the scalar loop in SX, bound buffers")
def casadi_vm(case: str) -> Prepared:
    import casadi

    y = observations(LENGTH[case]).tolist()
    p = casadi.SX.sym("p", 2)
    total = likelihood(y, p[0], p[1], casadi.log)
    f = casadi.Function("f", [p], [total, casadi.gradient(total, p)], {"cse": True})
    return peers.casadi_bound(f, PARAMETERS)


@JOB.contender(
    "casadi-mapaccum", packages=("casadi",), note="one round as a Function, mapaccum() over all, bound buffers"
)
def casadi_mapaccum(case: str) -> Prepared:
    import casadi

    y, n = observations(LENGTH[case]), LENGTH[case]
    state, given, p = casadi.SX.sym("s", 3), casadi.SX.sym("g", 3), casadi.MX.sym("p", 2)
    m, v, total = casadi.vertsplit(state)
    v = v + given[0]
    e, S = given[2] - m, v + given[1]
    k = v / S
    after = casadi.vertcat(m + k * e, (1.0 - k) * v, total + casadi.log(S) + e * e / S)
    step = casadi.Function("step", [state, given], [after])
    inputs = casadi.vertcat(casadi.repmat(p, 1, n), casadi.DM(y).T)
    end = step.mapaccum(n)(casadi.DM([0.0, 1.0, 0.0]), inputs)[2, -1]
    return peers.casadi_bound(casadi.Function("f", [p], [end, casadi.gradient(end, p)]), PARAMETERS)


@JOB.contender("torch", packages=("torch",), cases=("recorded-1000",), note="the scalar loop, eager")
def torch_scalars(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    y, p = observations(LENGTH[case]).tolist(), torch.tensor(PARAMETERS, requires_grad=True)

    def gradient() -> Any:
        p.grad = None
        value = likelihood(y, *p.unbind(), torch.log)
        value.backward()
        return value

    return Prepared(gradient, lambda: {"value": gradient().item(), "gradient": p.grad.numpy()})


@JOB.contender("jax-scan", packages=("jax",), note="rewritten as lax.scan")
def jax_scan(case: str) -> Prepared:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    y = jnp.asarray(observations(LENGTH[case]))

    def total(p: Any) -> Any:
        def body(state: Any, x: Any) -> Any:
            m, v = state
            v = v + p[0]
            e, S = x - m, v + p[1]
            k = v / S
            return (m + k * e, (1.0 - k) * v), jnp.log(S) + e * e / S

        return jax.lax.scan(body, (0.0, 1.0), y)[1].sum()

    return peers.jax_value_and_grad(total, PARAMETERS)
