"""moons: an MLP 2-16-16-1 with ReLU, hinge loss + 1e-4·Σp², float64; 32 of 100 samples a step.

`gradient` is the mean loss of one batch of 32 and its gradient; `step` is a whole training step, 100 of them in a run:
take the batch, loss and gradient, p −= (1 − 0.9·k/100)·gradient, from the same start.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import data, moons_peers, native, ours
from benchmarks.harness import Job, Prepared
from benchmarks.moons_net import (
    BATCH,
    DECAY,
    INDEX,
    RATES,
    SIZES,
    START,
    STEPS,
    X,
    Y,
    loss_and_gradient,
    train,
)

JOB = Job(
    "moons",
    what="MLP 2-16-16-1, ReLU, hinge + 1e-4·Σp², 32 samples, float64",
    unit="gradient or step",
    cases=("gradient", "step"),
    # A hundred steps at a rate near 1 amplify the last bits of different summation orders.
    tolerance={"gradient": 1e-12, "step": 1e-6},
)


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    if case == "step":
        right = train(loss_and_gradient)
        return {**right, "first losses": right["losses"][:3]}
    loss, gradient = loss_and_gradient(START, X[:BATCH], Y[:BATCH])
    return {"loss": loss, "gradient": gradient}


@JOB.contender("c", note="hand-written C, gcc -O3 -march=native -ffast-math, through ctypes")
def c(case: str) -> Prepared:
    import ctypes

    lib = native.library("moons", BATCH=BATCH)
    lib.gradient.restype = ctypes.c_double
    theta, out, losses = START.copy(), np.empty_like(START), np.empty(STEPS)
    if case == "gradient":
        call, args = lib.gradient, [native.pointer(a) for a in (theta, X, Y, out)]
        return Prepared(lambda: call(*args), lambda: {"loss": call(*args), "gradient": out})
    start, epoch = START.copy(), lib.train
    given = [native.pointer(a) for a in (theta, X, Y, INDEX)] + [STEPS, native.pointer(losses)]

    def run() -> None:
        theta[:] = start
        epoch(*given)

    def answer() -> dict[str, Any]:
        run()
        return {"losses": losses, "theta": theta}

    return Prepared(run, answer, units=STEPS)


@JOB.contender(
    "c-inside", cases=("gradient",), note="the same, called a hundred times by C: what the call from Python costs"
)
def c_inside(case: str) -> Prepared:
    import ctypes

    call = native.library("moons", BATCH=BATCH).gradients
    theta, out = START.copy(), np.empty_like(START)
    args = [*(native.pointer(a) for a in (theta, X, Y, out)), 100, ctypes.c_double(0.0)]

    def answer() -> dict[str, Any]:
        call(*args)
        return {"gradient": out}

    return Prepared(lambda: call(*args), answer, units=100)


def compiled() -> tuple[Any, np.ndarray, Any]:
    """The net as a scalar program of one sample, compiled; where our parameters stand among its own."""
    import macrograd as mg

    layers = ours.values(data.split(START, SIZES))
    parameters = ours.leaves(layers)

    def loss(x: Any, y: Any) -> Any:
        score = ours.net(layers, x)[0]
        return mg.relu(1.0 - y * score) + DECAY * mg.sum([p * p for p in parameters])

    f = mg.compile(loss, batch=True)
    f(X[:BATCH], Y[:BATCH])
    return f, ours.order(f.parameters, parameters), f


@JOB.contender(
    "macrograd",
    packages=("macrograd",),
    note="gradient: value_and_grad; step: TrainingLoop, 100 steps in one native call",
)
def macrograd(case: str) -> Prepared:
    if case == "gradient":
        return macrograd_python(case)
    f, places, _ = compiled()
    loop = ours.sgd_loop(f, (X, Y), BATCH)
    start, order = START[np.argsort(places)], INDEX.astype(np.int64).ravel()
    lengths = np.full(STEPS, BATCH)

    def run() -> Any:
        loop.theta[:] = start
        return loop.run(order, lengths, RATES)

    return Prepared(run, lambda: {"losses": run().losses, "theta": loop.theta[places]}, units=STEPS)


@JOB.contender(
    "macrograd-python",
    packages=("macrograd",),
    cases=("step",),
    note="a Python loop over value_and_grad, NumPy's update",
)
def macrograd_python(case: str) -> Prepared:
    f, places, _ = compiled()
    x, y, theta = X[:BATCH].copy(), Y[:BATCH].copy(), np.asarray(f.theta(), dtype=float)
    back = np.argsort(places)

    def ordered(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = f.value_and_grad(theta[back], x, y)
        return value, np.asarray(gradient)[places]

    if case == "gradient":
        call = f.value_and_grad
        return Prepared(
            lambda: call(theta, x, y),
            lambda: dict(zip(("loss", "gradient"), ordered(START, x, y), strict=True)),
        )
    start = START[back]

    def run() -> None:
        theta = start.copy()
        for rate, index in zip(RATES, INDEX, strict=True):
            _, gradient = f.value_and_grad(theta, X[index], Y[index])
            theta -= rate * gradient

    return Prepared(run, lambda: train(ordered), units=STEPS)


@JOB.contender("macrograd-bound", packages=("macrograd",), cases=("gradient",), note="f.bind(X, y) → step()")
def macrograd_bound(case: str) -> Prepared:
    f, places, _ = compiled()
    x, y = X[:BATCH].copy(), Y[:BATCH].copy()
    step = f.bind(x, y)

    def answer() -> dict[str, Any]:
        f.backward(x, y)
        gradient = np.array([p.grad for p in f.parameters])[places]
        result = step()
        value = result[0] if isinstance(result, tuple) else result
        return {"loss": np.mean(np.asarray(value, dtype=float)), "gradient": gradient}

    return Prepared(step, answer)


@JOB.contender("jax-jit", packages=("jax",), note="jax.jit of value_and_grad (and the update), a call a step")
def jax_jit(case: str) -> Prepared:
    return moons_peers.jax_jit_contender(case)


@JOB.contender("jax-scan", packages=("jax",), note="100 steps in one jitted lax.scan")
def jax_scan(case: str) -> Prepared:
    return moons_peers.jax_scan_contender(case)


@JOB.contender("torch", packages=("torch",), note="PyTorch eager, torch.optim.SGD")
def torch_eager(case: str) -> Prepared:
    return moons_peers.torch_contender(case, compiled=False)


@JOB.contender("torch-compile", packages=("torch",), note="torch.compile of the loss")
def torch_compile(case: str) -> Prepared:
    return moons_peers.torch_contender(case, compiled=True)


@JOB.contender(
    "torch-compile-step", packages=("torch",), cases=("step",), note="torch.compile of loss, gradient and update"
)
def torch_compile_step(case: str) -> Prepared:
    return moons_peers.torch_step_contender()


@JOB.contender(
    "sklearn",
    packages=("sklearn.neural_network",),
    cases=("step",),
    tolerance=float("inf"),
    note="MLPClassifier.fit, 3 batches an epoch; its loss is the logistic one, so nothing is compared",
)
def sklearn(case: str) -> Prepared:
    return moons_peers.sklearn_contender(case)


@JOB.contender("micrograd", packages=("micrograd.nn",), note="Python's garbage collector off")
def micrograd(case: str) -> Prepared:
    return moons_peers.micrograd_contender(case, gc=False)


@JOB.contender(
    "micrograd-as-is", packages=("micrograd.nn",), note="as users run it, with Python's garbage collector on"
)
def micrograd_as_is(case: str) -> Prepared:
    return moons_peers.micrograd_contender(case, gc=True)
