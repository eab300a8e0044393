"""wide: 784-128-10, cross-entropy, 128 random samples a step, float32; the job of a big matrix product.

`gradient` is one loss and gradient; `step` adds Adam, 8 steps in a run on 1,024 samples. `numpy-products` are the three
large matrix products of a step alone, in NumPy: what a BLAS would need for them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import classifier, data
from benchmarks.harness import Job, Prepared

SIZES, BATCH, SAMPLES = (784, 128, 10), 128, 1024

JOB = Job(
    "wide",
    what="784-128-10, ReLU, cross-entropy, 128 samples, float32, Adam",
    unit="gradient or step",
    cases=("gradient", "step"),
    tolerance=2e-5,
    quick=("step",),
)


def problem(case: str) -> classifier.Problem:
    rng = np.random.default_rng(0)
    X = rng.random((SAMPLES, SIZES[0]), dtype=np.float32)
    y = rng.integers(0, 10, SAMPLES).astype(np.int32)
    index = rng.permutation(SAMPLES).reshape(-1, BATCH).astype(np.int32)
    start = [(W.astype(np.float32), b.astype(np.float32)) for W, b in data.layers(SIZES, seed=2)]
    return classifier.Problem(SIZES, X, y, index, start, case == "gradient")


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    return classifier.reference(problem(case))


@JOB.contender("c")
def c(case: str) -> Prepared:
    return classifier.c(problem(case))


@JOB.contender("numpy-products", cases=("gradient",), tolerance=float("inf"), note="the matrix products alone")
def numpy_products(case: str) -> Prepared:
    p = problem(case)
    (W1, _), (W2, _) = p.start
    x, _ = p.first()
    h, d = (x @ W1).copy(), np.random.default_rng(0).random((BATCH, 10), dtype=np.float32)

    def run() -> None:
        x @ W1
        h @ W2
        dh = d @ W2.T
        h.T @ d
        x.T @ dh

    return Prepared(run, lambda: {"loss": 0.0})


@JOB.contender("macrograd", packages=("macrograd",), note="gradient: value_and_grad; step: all in one native call")
def macrograd(case: str) -> Prepared:
    return classifier.macrograd(problem(case))


@JOB.contender("macrograd-python", packages=("macrograd",), cases=("step",), note="a Python loop, Adam in NumPy")
def macrograd_python(case: str) -> Prepared:
    return classifier.macrograd_python(problem(case))


@JOB.contender("macrograd-bound", packages=("macrograd",), cases=("gradient",), note="f.bind(X, y) → step()")
def macrograd_bound(case: str) -> Prepared:
    return classifier.macrograd_bound(problem(case))


@JOB.contender("jax-scan", packages=("jax",), note="all steps in one jitted lax.scan")
def jax_scan(case: str) -> Prepared:
    return classifier.jax_contender(problem(case), scan=True)


@JOB.contender("jax-jit", packages=("jax",), note="a jitted call a step")
def jax_jit(case: str) -> Prepared:
    return classifier.jax_contender(problem(case), scan=False)


@JOB.contender("torch", packages=("torch",), note="eager, fused Adam")
def torch_eager(case: str) -> Prepared:
    return classifier.torch_contender(problem(case))
