"""west: A. Rogozhnikov's "Fastest Autograd in the West" (2023): a recurrence of 10,000 operations on 100 start values.

Operation k is, for k mod 4 = 0, 1, 2, 3: softplus(n[-10]); the sum of n[-30:-10:5]; n[-20]·n[-10]; softmax over
n[-4:], which makes four new nodes. The task is the gradient of the last node. The start values are 0, 1, 2 … 99, as in
the post, so that the gradient by them vanishes on the way (below 1e-300 after 10,000 operations): the contenders are
therefore compared on the first 40 operations, where it is 5e-44, and on the last node's value after all of them.

`gradient` times one gradient of the 10,000. `all` is the job as the post has it: from nothing to 10,000 gradients, in
one go. macrograd traces and compiles in it, the C floor builds its tape in it; what gcc took is not counted.

The post's own figures, on an M1: PyTorch 1,130 s, JAX 470 s (nearly all compiling), a tape in Python 94 s, Numba 41 s,
Rust 1.4 s, C 0.99 s, generated C 60 s to compile and 1 s to run.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import native
from benchmarks.harness import Job, Prepared

OPERATIONS, SHORT, TIMES = 10_000, 40, 10_000
START = np.arange(100.0)

JOB = Job(
    "west",
    what="100 start values, 10,000 operations (softplus, sum, product, softmax); gradient of the last node, float64",
    unit="gradient",
    cases=("gradient", "all"),
    tolerance=1e-9,
    baseline="c-tape",
    quick=("gradient",),
)


def program(start: Any, operations: int, softplus: Any, softmax: Any) -> Any:
    """On any kind of numbers, with their softplus and softmax."""
    nodes = [*start]
    for k in range(operations):
        kind = k % 4
        if kind == 0:
            nodes.append(softplus(nodes[-10]))
        elif kind == 1:
            nodes.append(sum(nodes[-30:-10:5]))
        elif kind == 2:
            nodes.append(nodes[-20] * nodes[-10])
        else:
            nodes.extend(softmax(nodes[-4:]))
    return nodes[-1]


def _softplus(x: Any) -> Any:
    return np.logaddexp(0.0, x)


def _softmax(xs: Any) -> list[Any]:
    e = np.exp(np.array(xs) - max(xs))
    return list(e / e.sum())


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    """The value by NumPy floats; the short gradient by a sweep over the written-out program."""
    return {
        "value": program(START, OPERATIONS, _softplus, _softmax),
        "short value": program(START, SHORT, _softplus, _softmax),
        "short gradient": short_gradient(),
    }


def short_gradient() -> np.ndarray:
    """The Jacobian of each node by the start, carried forward."""

    class Dual:
        def __init__(self, value: float, slope: np.ndarray) -> None:
            self.value, self.slope = value, slope

        def __add__(self, other: Any) -> Dual:
            return self if isinstance(other, int) else Dual(self.value + other.value, self.slope + other.slope)

        __radd__ = __add__

        def __mul__(self, other: Dual) -> Dual:
            return Dual(self.value * other.value, self.slope * other.value + self.value * other.slope)

    def softplus(x: Dual) -> Dual:
        return Dual(_softplus(x.value), x.slope / (1.0 + np.exp(-x.value)))

    def softmax(xs: list[Dual]) -> list[Dual]:
        p = _softmax([x.value for x in xs])
        mean = sum(q * x.slope for q, x in zip(p, xs, strict=True))
        return [Dual(q, q * (x.slope - mean)) for q, x in zip(p, xs, strict=True)]

    start = [Dual(v, row) for v, row in zip(START, np.eye(100), strict=True)]
    return np.asarray(program(start, SHORT, softplus, softmax).slope)


# --- C ---------------------------------------------------------------------------------------------------------------

OPERATION = np.dtype([("kind", "i4"), ("count", "i4"), ("in", "i4", 8), ("out", "i4")])


def tape(operations: int) -> tuple[np.ndarray, int]:
    """The program as data for the switch loop, and its number of nodes."""
    records = np.zeros(operations, OPERATION)
    size = 100
    for k, record in enumerate(records):
        offsets = ((-10,), (-30, -25, -20, -15), (-20, -10), (-4, -3, -2, -1))[k % 4]
        record["kind"], record["count"], record["out"] = k % 4, len(offsets), size
        record["in"][: len(offsets)] = [size + o for o in offsets]
        size += 4 if k % 4 == 3 else 1
    return records, size


def c_contender(case: str, call: Any) -> Prepared:
    """`call(operations, values, gradients, times)` runs one of the three ways."""
    size = tape(OPERATIONS)[1]
    values, gradients = np.zeros(size), np.zeros(size)
    values[:100] = START

    def answer() -> dict[str, Any]:
        call(SHORT, values, gradients, 1)
        end = 100 + SHORT // 4 * 7
        short = {"short value": values[end - 1], "short gradient": gradients[:100].copy()}
        call(OPERATIONS, values, gradients, 1)
        return {"value": values[-1], **short}

    times = 1 if case == "gradient" else TIMES
    return Prepared(lambda: call(OPERATIONS, values, gradients, times), answer, units=1)


@JOB.contender("c-tape", note="a switch loop over the operations as data, like the post's C")
def c_tape(case: str) -> Prepared:
    lib = native.library("west")
    programs: dict[int, Any] = {}

    def call(operations: int, values: np.ndarray, gradients: np.ndarray, times: int) -> None:
        if times > 1 or operations not in programs:
            programs[operations] = tape(operations)  # `all` builds its tape each time, as all contenders there do
        records, size = programs[operations]
        lib.run_tape(
            native.pointer(records), operations, size, native.pointer(values), native.pointer(gradients), times
        )

    return c_contender(case, call)


@JOB.contender("c", note="the program itself as a loop in C, written by hand for it")
def c_loop(case: str) -> Prepared:
    return written("run_loop", case)


@JOB.contender("c-vectors", note="that loop with its exponentials in one vector")
def c_vectors(case: str) -> Prepared:
    return written("run_vectors", case)


def written(name: str, case: str) -> Prepared:
    """The loops: they need no tape."""
    run = getattr(native.library("west"), name)

    def call(operations: int, values: np.ndarray, gradients: np.ndarray, times: int) -> None:
        run(native.pointer(values), native.pointer(gradients), operations // 4, times)

    return c_contender(case, call)


# --- macrograd -------------------------------------------------------------------------------------------------------


def bound(operations: int) -> tuple[Any, Any, list[Any]]:
    """The compiled function, its gradient as a call without arguments, and the start values."""
    import macrograd as mg

    start = [mg.Value(v) for v in START]
    f = mg.compile(lambda: program(start, operations, mg.softplus, mg.softmax))
    return f, f.bind(), start


def macrograd_answer() -> dict[str, Any]:
    f, step, start = bound(SHORT)
    value = step()
    by_id = dict(zip([id(p) for p in f.parameters], step.gradient, strict=True))
    short = {"short value": value, "short gradient": [by_id.get(id(p), 0.0) for p in start]}
    return {"value": bound(OPERATIONS)[1](), **short}


@JOB.contender("macrograd", packages=("macrograd",), cases=("gradient",), note="step = f.bind(); step()")
def macrograd(case: str) -> Prepared:
    return Prepared(bound(OPERATIONS)[1], macrograd_answer)


@JOB.contender(
    "macrograd", packages=("macrograd",), cases=("all",), note="traced, compiled and called 10,000 times; no cache"
)
def macrograd_all(case: str) -> Prepared:
    import os

    os.environ["MACROGRAD_CACHE"] = "off"

    def run() -> None:
        step = bound(OPERATIONS)[1]
        for _ in range(TIMES):
            step()

    return Prepared(run, macrograd_answer)


@JOB.contender("torch", packages=("torch",), cases=("gradient",), note="eager")
def torch_eager(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)

    def gradient(operations: int) -> tuple[Any, Any]:
        start = torch.tensor(START, requires_grad=True)

        def softmax(xs: Any) -> Any:
            return torch.softmax(torch.stack(xs), dim=0).unbind()

        end = program(start.unbind(), operations, torch.nn.functional.softplus, softmax)
        end.backward()
        return end, start.grad

    def answer() -> dict[str, Any]:
        value, slope = gradient(SHORT)
        return {"value": gradient(OPERATIONS)[0].item(), "short value": value.item(), "short gradient": slope.numpy()}

    return Prepared(lambda: gradient(OPERATIONS), answer)


@JOB.contender(
    "jax-scan", packages=("jax",), cases=("gradient",), note="rewritten by hand as lax.scan over rounds of seven nodes"
)
def jax_scan(case: str) -> Prepared:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def end(start: Any, rounds: int) -> Any:
        def body(n: Any, _: Any) -> Any:
            a = jax.nn.softplus(n[-10])
            b = n[-29] + n[-24] + n[-19] + n[-14]
            c = n[-18] * n[-8]
            p = jax.nn.softmax(jnp.stack([n[-1], a, b, c]))
            return jnp.concatenate([n[7:], jnp.stack([a, b, c]), p]), None

        last, _ = jax.lax.scan(body, start[-30:], None, length=rounds)
        return last[-1]

    call = jax.jit(jax.value_and_grad(end), static_argnums=1)
    start = jax.device_put(START)

    def answer() -> dict[str, Any]:
        value, slope = call(start, SHORT // 4)
        return {"value": call(start, OPERATIONS // 4)[0], "short value": value, "short gradient": slope}

    return Prepared(lambda: jax.block_until_ready(call(start, OPERATIONS // 4)), answer)


@JOB.contender("casadi", packages=("casadi",), cases=("gradient",), note="SX, its virtual machine, bound buffers")
def casadi(case: str) -> Prepared:
    import casadi

    from benchmarks import peers

    def softplus(x: Any) -> Any:
        return casadi.fmax(x, 0.0) + casadi.log1p(casadi.exp(-casadi.fabs(x)))

    def softmax(xs: Any) -> list[Any]:
        largest = casadi.fmax(casadi.fmax(xs[0], xs[1]), casadi.fmax(xs[2], xs[3]))
        e = [casadi.exp(x - largest) for x in xs]
        total = e[0] + e[1] + e[2] + e[3]
        return [x / total for x in e]

    def bound(operations: int) -> Prepared:
        x = casadi.SX.sym("x", 100)
        end = program([x[i] for i in range(100)], operations, softplus, softmax)
        return peers.casadi_bound(casadi.Function("f", [x], [end, casadi.gradient(end, x)], {"cse": True}), START)

    long, short = bound(OPERATIONS), bound(SHORT)

    def answer() -> dict[str, Any]:
        found = short.answer()
        return {"value": long.answer()["value"], "short value": found["value"], "short gradient": found["gradient"]}

    return Prepared(long.run, answer)


@JOB.contender("macrograd-eager", packages=("macrograd",), cases=("gradient",), note="plain Values, no compiler")
def macrograd_eager(case: str) -> Prepared:
    import macrograd as mg

    def gradient(operations: int) -> tuple[Any, Any]:
        start = [mg.Value(v) for v in START]
        end = program(start, operations, mg.softplus, mg.softmax)
        end.backward()
        return end, start

    def answer() -> dict[str, Any]:
        end, start = gradient(SHORT)
        short = {"short value": end.data, "short gradient": [v.grad for v in start]}
        return {"value": gradient(OPERATIONS)[0].data, **short}

    return Prepared(lambda: gradient(OPERATIONS), answer, gc=True)
