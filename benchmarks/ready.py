"""ready: from a Python function to its first gradient, against the number of recorded scalars; nothing is cached.

`net-N` is a regular program, the hinge loss of a ReLU net 64-H-1 with N recorded scalars; `loop-N` a Rosenbrock loop;
`kalman-N` a recurrence over an array of N observations, whose derivative has chains of different speeds (that of the
job `kalman`); `random-N` a graph without any pattern (the one of the job `irregular`); `chain-2000` the tanh of a tanh
of a tanh, 2,000 times.
A run traces, compiles and computes one gradient. Each run is a compilation, so a round is one run.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks import irregular, kalman, peers, rosenbrock
from benchmarks.harness import Job, Prepared

NETS = {"net-1000": 1_000, "net-10000": 10_000, "net-100000": 100_000, "net-1000000": 1_000_000}
LOOPS = {"loop-1000": 1_000, "loop-100000": 100_000}
RECURRENCES = {"kalman-1000": 1_000, "kalman-50000": 50_000}
RANDOM = {"random-1000": 1_000, "random-10000": 10_000, "random-100000": 100_000}
CHAIN = 2_000
_TORCH = ("net-1000", "net-10000", "loop-1000", "kalman-1000", "random-1000", "random-10000", "chain-2000")
INPUTS = 64

JOB = Job(
    "ready",
    what="trace, compile and the first gradient of a program of N scalar operations, cold",
    unit="recorded scalar",
    cases=(*NETS, *LOOPS, *RECURRENCES, *RANDOM, "chain-2000"),
    tolerance=1e-9,
    baseline="macrograd",
    quick=("net-1000", "loop-1000", "kalman-1000", "random-1000"),
)


class Problem:
    """A function of values, its start, the operations it records, and its gradient in NumPy where that is short."""

    def __init__(self, case: str) -> None:
        rng = np.random.default_rng(0)
        self.arguments: list[Any] = []
        if case in NETS:
            # A hidden unit is 64 products, 64 sums, a relu, a product and a sum.
            self.hidden = max(1, NETS[case] // (2 * INPUTS + 3))
            self.scalars = self.hidden * (2 * INPUTS + 3)
            self.start = rng.uniform(-0.1, 0.1, self.hidden * (INPUTS + 2))
            self.x = rng.uniform(-1.0, 1.0, INPUTS)
        elif case in LOOPS:
            self.start = rng.uniform(-1.0, 1.0, LOOPS[case] // 8 + 1)
            self.scalars = 8 * (len(self.start) - 1)
        elif case in RECURRENCES:
            self.start, self.arguments = kalman.PARAMETERS, [kalman.observations(RECURRENCES[case])]
            self.scalars = kalman.SCALARS * RECURRENCES[case]
        elif case in RANDOM:
            self.start = irregular.start()
            self.rows = irregular.graph(RANDOM[case]).tolist()
            self.scalars = len(self.rows)
        else:
            self.start, self.scalars = np.array([0.5]), CHAIN
        self.case = case

    def value(self, p: Any, library: Any, *arguments: Any) -> Any:
        """On any numbers, with the library whose tanh, relu and log belong to them."""
        if self.case in RECURRENCES:
            return kalman.likelihood(*arguments, *p, library.log)
        if self.case in LOOPS:
            return rosenbrock.rosenbrock(p)
        if self.case in RANDOM:
            return irregular.program(list(p), self.rows, library.tanh)
        if self.case == "chain-2000":
            x = p[0]
            for _ in range(CHAIN):
                x = library.tanh(x)
            return x
        step, total = INPUTS + 2, 0.0
        for j in range(self.hidden):
            z = p[step * j]
            for i, x in enumerate(self.x.tolist(), 1):
                z = z + p[step * j + i] * x
            total = total + p[step * j + INPUTS + 1] * library.relu(z)
        return total


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    problem = Problem(case)
    p = problem.start
    if case in NETS:
        rows = p.reshape(problem.hidden, INPUTS + 2)
        z = rows[:, 0] + rows[:, 1:-1] @ problem.x
        on = (z > 0) * rows[:, -1]
        gradient = np.concatenate([on[:, None], on[:, None] * problem.x, np.maximum(z, 0)[:, None]], axis=1)
        return {"value": rows[:, -1] @ np.maximum(z, 0), "gradient": gradient.ravel()}
    if case in LOOPS:
        u, v = p[1:] - p[:-1] ** 2, 1.0 - p[:-1]
        slope = np.zeros_like(p)
        slope[1:] += 200.0 * u
        slope[:-1] += -400.0 * p[:-1] * u - 2.0 * v
        return {"value": rosenbrock.in_vectors(p), "gradient": slope}
    if case in RECURRENCES:
        return kalman.reference(f"recorded-{RECURRENCES[case]}")
    if case in RANDOM:
        return irregular.reference(str(RANDOM[case]))
    x, slope = p[0], 1.0
    for _ in range(CHAIN):
        x = np.tanh(x)
        slope *= 1.0 - x * x
    return {"value": x, "gradient": [slope]}


@JOB.contender(
    "macrograd", packages=("macrograd", "llvmlite.binding"), note="llvmlite is loaded before; MACROGRAD_CACHE=off"
)
def macrograd(case: str) -> Prepared:
    import macrograd as mg

    problem = Problem(case)
    return _ready(problem, lambda variables, *given: problem.value(variables, mg, *given))


@JOB.contender(
    "macrograd-loop", packages=("macrograd", "llvmlite.binding"), cases=tuple(RECURRENCES), note="rewritten as mg.loop"
)
def macrograd_loop(case: str) -> Prepared:
    return _ready(Problem(case), lambda variables, y: kalman.written(y, *variables))


def _ready(problem: Problem, value: Callable[..., Any]) -> Prepared:
    """Compile `value(variables, *arguments)` and run its gradient once."""
    import macrograd as mg

    os.environ["MACROGRAD_CACHE"] = "off"
    variables = [mg.Value(x) for x in problem.start.tolist()]

    def compiled() -> dict[str, Any]:
        for v in variables:
            v.grad = 0.0
        found = mg.compile(lambda *given: value(variables, *given)).backward(*problem.arguments)
        return {"value": found, "gradient": [v.grad for v in variables]}

    return Prepared(compiled, compiled, units=problem.scalars)


@JOB.contender("casadi", packages=("casadi",), note="SX and its virtual machine")
def casadi(case: str) -> Prepared:
    import casadi

    problem = Problem(case)

    def compiled() -> dict[str, Any]:
        x = casadi.SX.sym("x", len(problem.start))
        nodes = [x[i] for i in range(len(problem.start))]
        functions = SimpleNamespace(tanh=casadi.tanh, relu=lambda z: casadi.fmax(z, 0.0), log=casadi.log)
        value = problem.value(nodes, functions, *(x.tolist() for x in problem.arguments))
        value, gradient = casadi.Function("f", [x], [value, casadi.gradient(value, x)])(problem.start)
        return {"value": float(value), "gradient": np.array(gradient).ravel()}

    return Prepared(compiled, compiled, units=problem.scalars)


@JOB.contender("torch", packages=("torch",), cases=(*_TORCH,), note="eager: nothing is compiled")
def torch_eager(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    problem = Problem(case)

    def gradient() -> dict[str, Any]:
        p = torch.tensor(problem.start, requires_grad=True)
        value = problem.value(p.unbind(), torch, *(x.tolist() for x in problem.arguments))
        value.backward()
        return {"value": value.item(), "gradient": p.grad.numpy()}

    return Prepared(gradient, gradient, units=problem.scalars)


@JOB.contender("jax-jit", packages=("jax",), cases=("chain-2000",))
@JOB.contender("jax-jit", packages=("jax",), cases=("net-1000", "random-1000"), environment=peers.JAX_SCALARS)
def jax_jit(case: str) -> Prepared:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    problem = Problem(case)

    def compiled() -> dict[str, Any]:
        jax.clear_caches()

        def value(p: Any) -> Any:
            return problem.value(jnp.unstack(p), SimpleNamespace(tanh=jnp.tanh, relu=jax.nn.relu, log=jnp.log))

        result = jax.block_until_ready(jax.jit(jax.value_and_grad(value))(problem.start))
        return dict(zip(("value", "gradient"), result, strict=True))

    return Prepared(compiled, compiled, units=problem.scalars)
