"""irregular: the gradient of a random graph of scalars with no pattern at all, by its 20 inputs, float64.

A node is, at random, a sum, a difference, a product of two earlier tanh's, or a tanh, of nodes chosen at random among
all before; the result adds up all nodes that are not used elsewhere. The case is the number of operations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks import native
from benchmarks.harness import Job, Prepared

INPUTS = 20
SIZES = {"100": 100, "1000": 1_000, "10000": 10_000, "100000": 100_000}
ADD, SUB, MUL, TANH = range(4)

JOB = Job(
    "irregular",
    what="value and gradient of a random graph (+, −, ×, tanh) by its 20 inputs, float64; the case is its size",
    unit="gradient",
    cases=tuple(SIZES),
    tolerance=1e-9,
    quick=("100", "1000"),
)


@lru_cache
def graph(size: int) -> np.ndarray:
    """Rows (kind, a, b); nodes 0 … 19 are the inputs and 20 + k is row k."""
    rng = np.random.default_rng(size)
    rows, bounded, used = [], list(range(INPUTS)), np.zeros(2 * size + INPUTS, bool)
    for _ in range(size):
        here = INPUTS + len(rows)
        kind = int(rng.choice(4, p=[0.3, 0.25, 0.2, 0.25]))
        # Products of bounded numbers only: otherwise the numbers grow without bound.
        a, b = (int(bounded[i]) for i in rng.integers(0, len(bounded), 2)) if kind == MUL else rng.integers(0, here, 2)
        if kind in (MUL, TANH):
            bounded.append(here)
        rows.append((kind, int(a), int(b)))
        used[[a] if kind == TANH else [a, b]] = True
    loose = [n for n in range(INPUTS, INPUTS + size) if not used[n]]
    total = loose[0]
    for n in loose[1:]:
        rows.append((ADD, total, n))
        total = INPUTS + len(rows) - 1
    return np.array(rows, np.int32)


def start() -> np.ndarray:
    return np.random.default_rng(7).uniform(-1.0, 1.0, INPUTS)


def program(nodes: list[Any], rows: list[list[int]], tanh: Any) -> Any:
    """On any kind of numbers, with their tanh."""
    nodes = list(nodes)
    for kind, a, b in rows:
        if kind == ADD:
            nodes.append(nodes[a] + nodes[b])
        elif kind == SUB:
            nodes.append(nodes[a] - nodes[b])
        elif kind == MUL:
            nodes.append(nodes[a] * nodes[b])
        else:
            nodes.append(tanh(nodes[a]))
    return nodes[-1]


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    rows = graph(SIZES[case]).tolist()
    v = [*start().tolist(), *[0.0] * len(rows)]
    for k, (kind, a, b) in enumerate(rows, INPUTS):
        v[k] = (v[a] + v[b], v[a] - v[b], v[a] * v[b], np.tanh(v[a]))[kind]
    g = [0.0] * len(v)
    g[-1] = 1.0
    for k in range(len(v) - 1, INPUTS - 1, -1):
        kind, a, b = rows[k - INPUTS]
        by_a, by_b = ((1.0, 1.0), (1.0, -1.0), (v[b], v[a]), (1.0 - v[k] * v[k], 0.0))[kind]
        g[a] += g[k] * by_a
        g[b] += g[k] * by_b
    return {"value": v[-1], "gradient": g[:INPUTS]}


@JOB.contender("c", note="a switch loop in C over the operations as data")
def c(case: str) -> Prepared:
    import ctypes

    rows = graph(SIZES[case])
    call = native.library("irregular").gradient
    call.restype = ctypes.c_double
    v, g = np.zeros(INPUTS + len(rows)), np.zeros(INPUTS + len(rows))
    v[:INPUTS] = start()
    args = (native.pointer(rows), len(rows), INPUTS, native.pointer(v), native.pointer(g))
    return Prepared(lambda: call(*args), lambda: {"value": call(*args), "gradient": g[:INPUTS]})


@JOB.contender("macrograd", packages=("macrograd",), note="value_and_grad(theta)")
def macrograd(case: str) -> Prepared:
    f, variables = compiled(case)
    theta = f.theta()
    return Prepared(lambda: f.value_and_grad(theta), lambda: by_input(f, variables, *f.value_and_grad(theta)))


@JOB.contender("macrograd-bound", packages=("macrograd",), note="step = f.bind(); step()")
def macrograd_bound(case: str) -> Prepared:
    f, variables = compiled(case)
    step = f.bind()
    return Prepared(step, lambda: by_input(f, variables, step(), step.gradient))


def compiled(case: str) -> tuple[Any, list[Any]]:
    import macrograd as mg

    rows = graph(SIZES[case]).tolist()
    variables = [mg.Value(x) for x in start().tolist()]
    return mg.compile(lambda: program(variables, rows, mg.tanh)), variables


def by_input(f: Any, variables: list[Any], value: float, gradient: np.ndarray) -> dict[str, Any]:
    place = {id(p): k for k, p in enumerate(f.parameters)}
    return {"value": value, "gradient": [gradient[place[id(v)]] if id(v) in place else 0.0 for v in variables]}


@JOB.contender("macrograd-eager", packages=("macrograd",), note="plain Values, no compiler")
def macrograd_eager(case: str) -> Prepared:
    import macrograd as mg

    rows = graph(SIZES[case]).tolist()

    def gradient() -> tuple[Any, list[Any]]:
        variables = [mg.Value(x) for x in start().tolist()]
        value = program(variables, rows, mg.tanh)
        value.backward()
        return value, variables

    def answer() -> dict[str, Any]:
        value, variables = gradient()
        return {"value": value.data, "gradient": [v.grad for v in variables]}

    return Prepared(gradient, answer, gc=True)


@JOB.contender("casadi", packages=("casadi",), note="SX, its virtual machine, bound buffers")
def casadi_vm(case: str) -> Prepared:
    import casadi

    from benchmarks import peers

    x = casadi.SX.sym("x", INPUTS)
    value = program([x[i] for i in range(INPUTS)], graph(SIZES[case]).tolist(), casadi.tanh)
    return peers.casadi_bound(casadi.Function("f", [x], [value, casadi.gradient(value, x)]), start())
