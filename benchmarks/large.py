"""large: 784-1024-1024-10, cross-entropy, 256 random samples a step, float32, Adam: 1.86 million parameters, whose
products are the field of a BLAS.

A run is 4 steps, on 1,024 samples.
"""

from __future__ import annotations

from typing import Any

from benchmarks import classifier, classifier_peers
from benchmarks.harness import Job, Prepared

JOB = Job(
    "large",
    what="784-1024-1024-10, ReLU, cross-entropy, 256 samples, float32, Adam",
    unit="step",
    cases=("step",),
    tolerance=5e-4,  # of half a million sums before a ReLU one is 8e-8: its sign depends on the order of its terms
    baseline="torch",
)


def problem() -> classifier.Problem:
    return classifier.uniform((784, 1024, 1024, 10), batch=256, samples=1024)


@JOB.reference
def reference(_: str) -> dict[str, Any]:
    return classifier.reference(problem())


@JOB.contender("numpy-products", tolerance=float("inf"), note="the matrix products alone")
def numpy_products(_: str) -> Prepared:
    return classifier.products(problem())


@JOB.contender("macrograd", packages=("macrograd",), note="all steps in one native call")
def macrograd(_: str) -> Prepared:
    return classifier.macrograd(problem())


@JOB.contender("macrograd-2", packages=("macrograd",), threads=2, note="on two threads")
def macrograd_2(_: str) -> Prepared:
    return classifier.macrograd(problem(), threads=2)


@JOB.contender("jax-scan", packages=("jax",), note="all steps in one jitted lax.scan")
def jax_scan(_: str) -> Prepared:
    return classifier_peers.jax_contender(problem(), scan=True)


@JOB.contender("jax-scan-2", packages=("jax",), threads=2, note="on two threads")
def jax_scan_2(_: str) -> Prepared:
    return classifier_peers.jax_contender(problem(), scan=True)


@JOB.contender("torch", packages=("torch",), note="eager, fused Adam")
def torch_eager(_: str) -> Prepared:
    return classifier_peers.torch_contender(problem())


@JOB.contender("torch-2", packages=("torch",), threads=2, note="on two threads")
def torch_2(_: str) -> Prepared:
    return classifier_peers.torch_contender(problem(), threads=2)


@JOB.contender("torch-compile-step", packages=("torch",), note="torch.compile of loss, gradient and Adam")
def torch_compile_step(_: str) -> Prepared:
    return classifier_peers.torch_step_contender(problem())
