"""mid: 2-64-64-10, cross-entropy, 256 samples, float32: loss and gradient of a net whose products fit into the caches.

`numpy-products`, the baseline, are the matrix products of the gradient alone, in NumPy: what a BLAS needs for them.
"""

from __future__ import annotations

from typing import Any

from benchmarks import classifier, classifier_peers
from benchmarks.harness import Job, Prepared

JOB = Job(
    "mid",
    what="2-64-64-10, ReLU, cross-entropy, 256 samples, float32",
    unit="gradient",
    cases=("gradient",),
    tolerance=2e-5,
    baseline="numpy-products",
)


def problem() -> classifier.Problem:
    return classifier.uniform((2, 64, 64, 10), batch=256, samples=256, gradient_only=True)


@JOB.reference
def reference(_: str) -> dict[str, Any]:
    return classifier.reference(problem())


@JOB.contender("numpy-products", tolerance=float("inf"), note="the matrix products alone")
def numpy_products(_: str) -> Prepared:
    return classifier.products(problem())


@JOB.contender("macrograd", packages=("macrograd",), note="value_and_grad")
def macrograd(_: str) -> Prepared:
    return classifier.macrograd(problem())


@JOB.contender("macrograd-bound", packages=("macrograd",), note="f.bind(X, y) → step()")
def macrograd_bound(_: str) -> Prepared:
    return classifier.macrograd_bound(problem())


@JOB.contender("jax-scan", packages=("jax",), note="100 gradients in one jitted lax.scan")
def jax_scan(_: str) -> Prepared:
    return classifier_peers.jax_contender(problem(), scan=True)


@JOB.contender("jax-jit", packages=("jax",), note="a jitted call a gradient")
def jax_jit(_: str) -> Prepared:
    return classifier_peers.jax_contender(problem(), scan=False)


@JOB.contender("torch", packages=("torch",), note="eager")
def torch_eager(_: str) -> Prepared:
    return classifier_peers.torch_contender(problem())


@JOB.contender("torch-compile", packages=("torch",), note="torch.compile of the loss")
def torch_compile(_: str) -> Prepared:
    return classifier_peers.torch_contender(problem(), compiled=True)
