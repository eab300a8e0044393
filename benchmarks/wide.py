"""wide: 784-128-10, cross-entropy, 128 random samples a step, float32; the job of a big matrix product.

`gradient` is one loss and gradient; `step` adds Adam, 8 steps in a run on 1,024 samples. `numpy-products` are the three
large matrix products of a step alone, in NumPy: what a BLAS would need for them.
"""

from __future__ import annotations

from typing import Any

from benchmarks import classifier, classifier_peers
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
    return classifier.uniform(SIZES, BATCH, SAMPLES, gradient_only=case == "gradient")


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    return classifier.reference(problem(case))


@JOB.contender("c")
def c(case: str) -> Prepared:
    return classifier.c(problem(case))


@JOB.contender("c-lanes", note="the same with samples as lanes in the softmax")
def c_lanes(case: str) -> Prepared:
    return classifier.c(problem(case), "classifier_lanes")


@JOB.contender("numpy-products", cases=("gradient",), tolerance=float("inf"), note="the matrix products alone")
def numpy_products(case: str) -> Prepared:
    return classifier.products(problem(case))


@JOB.contender("macrograd", packages=("macrograd",), note="gradient: value_and_grad; step: all in one native call")
def macrograd(case: str) -> Prepared:
    return classifier.macrograd(problem(case))


@JOB.contender("macrograd-2", packages=("macrograd",), cases=("step",), threads=2, note="on two threads")
def macrograd_2(case: str) -> Prepared:
    return classifier.macrograd(problem(case), threads=2)


@JOB.contender("macrograd-python", packages=("macrograd",), cases=("step",), note="a Python loop, Adam in NumPy")
def macrograd_python(case: str) -> Prepared:
    return classifier.macrograd_python(problem(case))


@JOB.contender("macrograd-bound", packages=("macrograd",), cases=("gradient",), note="f.bind(X, y) → step()")
def macrograd_bound(case: str) -> Prepared:
    return classifier.macrograd_bound(problem(case))


@JOB.contender("jax-scan", packages=("jax",), note="all steps in one jitted lax.scan")
def jax_scan(case: str) -> Prepared:
    return classifier_peers.jax_contender(problem(case), scan=True)


@JOB.contender("jax-scan-2", packages=("jax",), cases=("step",), threads=2, note="on two threads")
def jax_scan_2(case: str) -> Prepared:
    return classifier_peers.jax_contender(problem(case), scan=True)


@JOB.contender("jax-jit", packages=("jax",), note="a jitted call a step")
def jax_jit(case: str) -> Prepared:
    return classifier_peers.jax_contender(problem(case), scan=False)


@JOB.contender("torch", packages=("torch",), note="eager, fused Adam")
def torch_eager(case: str) -> Prepared:
    return classifier_peers.torch_contender(problem(case))


@JOB.contender("torch-2", packages=("torch",), cases=("step",), threads=2, note="on two threads")
def torch_2(case: str) -> Prepared:
    return classifier_peers.torch_contender(problem(case), threads=2)


@JOB.contender(
    "torch-compile-step", packages=("torch",), cases=("step",), note="torch.compile of loss, gradient and Adam"
)
def torch_compile_step(case: str) -> Prepared:
    return classifier_peers.torch_step_contender(problem(case))
