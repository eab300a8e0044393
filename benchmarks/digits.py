"""digits: scikit-learn's bundled digits, 64-128-10 and 64-32-10, cross-entropy, Adam 1e-3, float32.

A case is hidden units / batch: a whole training step, an epoch of them in a run (take the batch, loss, gradient, Adam),
every run from the same start. `gradient` is one loss and gradient of 64-128-10 on 32 samples alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import classifier, classifier_peers, data
from benchmarks.harness import Job, Prepared

SHAPES = {"gradient": (128, 32), "128/32": (128, 32), "128/200": (128, 200), "32/32": (32, 32)}
TRAIN = 1437  # 80 %; the rest is for the accuracy

JOB = Job(
    "digits",
    what="64-H-10, ReLU, cross-entropy, batches of B, float32, Adam; H/B is the case",
    unit="gradient or step",
    cases=tuple(SHAPES),
    tolerance=2e-5,
    quick=("gradient", "128/32"),
)


def problem(case: str) -> classifier.Problem:
    hidden, batch = SHAPES[case]
    X, y, _ = data.digits()
    order = np.random.default_rng(0).permutation(len(X))
    X, y = np.ascontiguousarray(X[order][:TRAIN]), np.ascontiguousarray(y[order][:TRAIN])
    steps = TRAIN // batch
    index = np.random.default_rng(1).permutation(TRAIN)[: steps * batch].reshape(steps, batch).astype(np.int32)
    sizes = (64, hidden, 10)
    start = [(W.astype(np.float32), b.astype(np.float32)) for W, b in data.layers(sizes, seed=2)]
    return classifier.Problem(sizes, X, y, index, start, case == "gradient")


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    return classifier.reference(problem(case))


@JOB.contender("c", note=f"hand-written C; the data are {data.digits()[2]}")
def c(case: str) -> Prepared:
    return classifier.c(problem(case))


@JOB.contender("c-lanes", note="the same with samples as lanes in the softmax")
def c_lanes(case: str) -> Prepared:
    return classifier.c(problem(case), "classifier_lanes")


@JOB.contender("macrograd", packages=("macrograd",), note="gradient: value_and_grad; step: all in one native call")
def macrograd(case: str) -> Prepared:
    return classifier.macrograd(problem(case))


@JOB.contender("macrograd-python", packages=("macrograd",), cases=("128/32",), note="a Python loop, Adam in NumPy")
def macrograd_python(case: str) -> Prepared:
    return classifier.macrograd_python(problem(case))


@JOB.contender("macrograd-bound", packages=("macrograd",), cases=("gradient",), note="f.bind(X, y) → step()")
def macrograd_bound(case: str) -> Prepared:
    return classifier.macrograd_bound(problem(case))


@JOB.contender("jax-scan", packages=("jax",), note="an epoch in one jitted lax.scan")
def jax_scan(case: str) -> Prepared:
    return classifier_peers.jax_contender(problem(case), scan=True)


@JOB.contender("jax-jit", packages=("jax",), note="a jitted call a step")
def jax_jit(case: str) -> Prepared:
    return classifier_peers.jax_contender(problem(case), scan=False)


@JOB.contender("torch", packages=("torch",), note="eager, fused Adam")
def torch_eager(case: str) -> Prepared:
    return classifier_peers.torch_contender(problem(case))


@JOB.contender(
    "torch-compile", packages=("torch",), cases=("gradient", "128/32"), note="torch.compile of the loss, fused Adam"
)
def torch_compile(case: str) -> Prepared:
    return classifier_peers.torch_contender(problem(case), compiled=True)


@JOB.contender(
    "torch-compile-step",
    packages=("torch",),
    cases=("128/32", "128/200", "32/32"),
    note="torch.compile of loss, gradient and Adam",
)
def torch_compile_step(case: str) -> Prepared:
    return classifier_peers.torch_step_contender(problem(case))


@JOB.contender(
    "sklearn",
    packages=("sklearn.neural_network",),
    cases=("128/32", "128/200", "32/32"),
    tolerance=float("inf"),
    note="MLPClassifier.fit; its start is its own, so nothing is compared",
)
def sklearn(case: str) -> Prepared:
    return classifier_peers.sklearn_contender(problem(case))
