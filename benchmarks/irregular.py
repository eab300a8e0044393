"""irregular: the gradient of a random graph of scalars with no pattern at all, by its 20 inputs, float64.

A node is, at random, a sum, a difference, a product of two earlier tanh's, or a tanh, of nodes chosen at random among
all before; the result adds up all nodes that are not used elsewhere. The case is the number of operations.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from benchmarks import native, peers
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
    beaten={
        "100": "C written out by a program calls tanh one by one, and sorted by hand has loops of two or three rounds."
    },
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


def levels(rows: np.ndarray, size: int, lanes: int) -> tuple[np.ndarray, ...]:
    """The graph by depth and kind: runs (kind, first, count) of operations, their operands, and the nodes of the sum.

    Runs are whole vectors of so many lanes. What fills one up reads the node behind the last one, whose gradient nobody
    reads.
    """
    loose = [int(rows[size, 1]), *rows[size:, 2].tolist()] if len(rows) > size else [INPUTS + size - 1]
    depth = np.zeros(INPUTS + size, int)
    for k, (kind, a, b) in enumerate(rows[:size].tolist(), INPUTS):
        depth[k] = 1 + (depth[a] if kind == TANH else max(depth[a], depth[b]))
    order = np.lexsort((rows[:size, 0], depth[INPUTS:]))
    keys = np.stack([depth[INPUTS:][order], rows[:size, 0][order]], axis=1)
    starts = np.flatnonzero(np.r_[True, np.any(keys[1:] != keys[:-1], axis=1)])
    groups = np.split(order, starts[1:])
    places, runs, first = np.zeros(INPUTS + size, np.int32), [], 0
    places[:INPUTS] = np.arange(INPUTS)
    for group in groups:
        places[INPUTS + group] = INPUTS + first + np.arange(len(group))
        runs.append((int(rows[group[0], 0]), first, -(-len(group) // lanes) * lanes))
        first += runs[-1][2]
    a, b = np.full((2, first), INPUTS + first, np.int32)
    for group in groups:
        at = places[INPUTS + group] - INPUTS
        a[at], b[at] = places[rows[group, 1]], places[rows[group, 2]]
    return np.array(runs, np.int32), a, b, places[np.array(loose)]


@JOB.contender("c-levels", note="sorted by hand into levels of operations that do not need each other, in vectors")
def c_levels(case: str) -> Prepared:
    import ctypes

    library = native.library("irregular_levels")
    runs, a, b, loose = levels(graph(SIZES[case]), SIZES[case], library.lanes())
    call = library.gradient
    call.restype = ctypes.c_double
    v, g = np.zeros((2, INPUTS + len(a) + 8))
    v[:INPUTS] = start()
    given = (native.pointer(runs), len(runs), native.pointer(a), native.pointer(b), INPUTS, len(a))
    args = (*given, native.pointer(loose), len(loose), native.pointer(v), native.pointer(g))
    return Prepared(lambda: call(*args), lambda: {"value": call(*args), "gradient": g[:INPUTS]})


def straight(rows: np.ndarray) -> str:
    """The graph as C without a loop, a variable for every number, as a program that writes C would have it."""
    lines = ["#include <math.h>", "double gradient(const double *x, double *out) {"]
    lines += [f"    const double v{i} = x[{i}];" for i in range(INPUTS)]
    for k, (kind, a, b) in enumerate(rows.tolist(), INPUTS):
        right = (f"v{a} + v{b}", f"v{a} - v{b}", f"v{a} * v{b}", f"tanh(v{a})")[kind]
        lines.append(f"    const double v{k} = {right};")
    last = INPUTS + len(rows) - 1
    lines.append(f"    double {', '.join(f'g{k} = {int(k == last)}' for k in range(last + 1))};")
    for k in range(last, INPUTS - 1, -1):
        kind, a, b = rows[k - INPUTS].tolist()
        if kind == TANH:
            lines.append(f"    g{a} += g{k} * (1 - v{k} * v{k});")
            continue
        to_a, to_b = ((f"g{k}", f"g{k}"), (f"g{k}", f"-g{k}"), (f"g{k} * v{b}", f"g{k} * v{a}"))[kind]
        lines += [f"    g{a} += {to_a};", f"    g{b} += {to_b};"]
    lines += [f"    out[{i}] = g{i};" for i in range(INPUTS)]
    return "\n".join([*lines, f"    return v{last};", "}", ""])


@JOB.contender("c-straight", cases=("100", "1000"), note="written out by a program as C without loops, gcc -O3")
def c_straight(case: str) -> Prepared:
    import ctypes
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "straight.c"
        source.write_text(straight(graph(SIZES[case])))
        call = native.shared(source, *native.FLAGS).gradient
    call.restype = ctypes.c_double
    x, out = start(), np.empty(INPUTS)
    args = (native.pointer(x), native.pointer(out))
    return Prepared(lambda: call(*args), lambda: {"value": call(*args), "gradient": out})


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

    x = casadi.SX.sym("x", INPUTS)
    value = program([x[i] for i in range(INPUTS)], graph(SIZES[case]).tolist(), casadi.tanh)
    return peers.casadi_bound(casadi.Function("f", [x], [value, casadi.gradient(value, x)]), start())


@JOB.contender("torch", packages=("torch",), cases=("100", "1000", "10000"), note="scalars, eager")
def torch_scalars(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    rows, x = graph(SIZES[case]).tolist(), torch.tensor(start(), requires_grad=True)

    def gradient() -> Any:
        x.grad = None
        value = program(x.unbind(), rows, torch.tanh)
        value.backward()
        return value

    return Prepared(gradient, lambda: {"value": gradient().item(), "gradient": x.grad.numpy()})


@JOB.contender(
    "jax-scalars",
    packages=("jax",),
    cases=("100", "1000"),
    environment=peers.JAX_SCALARS,
    note="scalars, jitted, without XLA's fusion emitters",
)
def jax_scalars(case: str) -> Prepared:
    import jax.numpy as jnp

    rows = graph(SIZES[case]).tolist()
    return peers.jax_scalars(lambda x: program(x, rows, jnp.tanh), start())
