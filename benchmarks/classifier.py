"""Shared by the jobs digits, wide, mid and large: a classifier of linear layers with ReLU between them, softmax
cross-entropy, float32, and Adam.

Parameters are compared in the order of `data.flat` (W as [in][out]). Adam is Kingma & Ba's with 1e-3, 0.9, 0.999 and
1e-8, the default of every library here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import data, native, ours
from benchmarks.harness import Prepared

RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8


@dataclass
class Problem:
    """Data, the net's sizes, the starting parameters and the batches of one run: index[step][sample]."""

    sizes: tuple[int, ...]
    X: np.ndarray
    y: np.ndarray
    index: np.ndarray
    start: list[tuple[np.ndarray, np.ndarray]]
    gradient_only: bool

    @property
    def batch(self) -> int:
        return int(self.index.shape[1])

    @property
    def steps(self) -> int:
        return len(self.index)

    def first(self) -> tuple[np.ndarray, np.ndarray]:
        """The first batch."""
        return self.X[self.index[0]], self.y[self.index[0]]


def uniform(sizes: tuple[int, ...], batch: int, samples: int, *, gradient_only: bool = False) -> Problem:
    """Random samples and classes, and batches that cover them once."""
    rng = np.random.default_rng(0)
    X = rng.random((samples, sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], samples).astype(np.int32)
    index = rng.permutation(samples).reshape(-1, batch).astype(np.int32)
    start = [(W.astype(np.float32), b.astype(np.float32)) for W, b in data.layers(sizes, seed=2)]
    return Problem(sizes, X, y, index, start, gradient_only)


def loss_and_gradient(pairs: Any, x: np.ndarray, y: np.ndarray) -> tuple[float, list[tuple[np.ndarray, np.ndarray]]]:
    """In NumPy, in the precision of its arguments."""
    inputs, z = [], x
    for W, b in pairs:
        inputs.append(np.maximum(z, 0.0) if inputs else z)
        z = inputs[-1] @ W + b
    z = z - z.max(1, keepdims=True)
    p = np.exp(z)
    total = p.sum(1, keepdims=True)
    rows = np.arange(len(y))
    loss = np.mean(np.log(total[:, 0]) - z[rows, y])
    d = p / total
    d[rows, y] -= 1.0
    d = d / len(y)
    gradient = []
    for k in range(len(pairs) - 1, -1, -1):
        gradient.append((inputs[k].T @ d, d.sum(0)))
        if k:
            d = (d @ pairs[k][0].T) * (inputs[k] > 0)
    return float(loss), gradient[::-1]


def reference(problem: Problem) -> dict[str, Any]:
    """In float64."""
    pairs = [(W.astype(float), b.astype(float)) for W, b in problem.start]
    if problem.gradient_only:
        x, y = problem.first()
        loss, gradient = loss_and_gradient(pairs, x.astype(float), y)
        return {"loss": loss, "gradient": data.flat(gradient)}
    adam, losses = Adam(), []
    for index in problem.index:
        loss, gradient = loss_and_gradient(pairs, problem.X[index].astype(float), problem.y[index])
        losses.append(loss)
        flat = adam(data.flat(pairs), data.flat(gradient))
        pairs = data.split(flat, problem.sizes)
    return {"losses": np.array(losses)}


class Adam:
    """The update on flat arrays, any precision."""

    def __init__(self) -> None:
        self.t = 0
        self.m: Any = 0.0
        self.v: Any = 0.0

    def __call__(self, theta: np.ndarray, g: np.ndarray) -> np.ndarray:
        self.t += 1
        self.m = BETA1 * self.m + (1 - BETA1) * g
        self.v = BETA2 * self.v + (1 - BETA2) * g * g
        m, v = self.m / (1 - BETA1**self.t), self.v / (1 - BETA2**self.t)
        return (theta - RATE * m / (np.sqrt(v) + EPSILON)).astype(theta.dtype)


# --- C ---------------------------------------------------------------------------------------------------------------


def products(problem: Problem) -> Prepared:
    """The matrix products of a gradient alone, in NumPy: the time that a BLAS needs for them."""
    weights = [W for W, _ in problem.start]
    x, _ = problem.first()
    d = np.random.default_rng(0).random((problem.batch, problem.sizes[-1]), dtype=np.float32)

    def run() -> None:
        inputs, back = [x], d
        for W in weights:
            inputs.append(inputs[-1] @ W)
        for k in range(len(weights) - 1, -1, -1):
            inputs[k].T @ back
            if k:
                back = back @ weights[k].T

    return Prepared(run, lambda: {"loss": 0.0})


def c(problem: Problem, floor: str = "classifier") -> Prepared:
    import ctypes

    n_in, n_hidden, n_out = problem.sizes
    lib = native.library(floor, INPUTS=n_in, HIDDEN=n_hidden, BATCH=problem.batch)
    lib.gradient.restype = ctypes.c_float
    (W1, b1), (W2, b2) = problem.start
    start = np.concatenate([W1.ravel(), b1, W2.T.ravel(), b2]).astype(np.float32)  # its W2 is [out][in]
    theta, losses = native.aligned(start), np.zeros(problem.steps, np.float32)

    def ours_order(flat: np.ndarray) -> np.ndarray:
        cut = n_in * n_hidden + n_hidden
        middle = flat[cut:-n_out].reshape(n_out, n_hidden).T.ravel()
        return np.concatenate([flat[:cut], middle, flat[-n_out:]])

    X, y = problem.X, problem.y
    if problem.gradient_only:
        x, labels = (np.ascontiguousarray(a) for a in problem.first())
        out = native.aligned(np.zeros_like(start))
        call, args = lib.gradient, [native.pointer(a) for a in (theta, x, labels, out)]
        return Prepared(lambda: call(*args), lambda: {"loss": call(*args), "gradient": ours_order(out)})
    m, v = (native.aligned(np.zeros_like(start)) for _ in range(2))
    state = [native.pointer(a) for a in (theta, m, v, X, y, problem.index)]
    call = lib.train

    def run() -> None:
        theta[:], m[:], v[:] = start, 0.0, 0.0
        call(*state, problem.steps, 0, ctypes.c_float(RATE), native.pointer(losses))

    def answer() -> dict[str, Any]:
        run()
        return {"losses": losses}

    return Prepared(run, answer, units=problem.steps)


# --- macrograd -------------------------------------------------------------------------------------------------------


def compiled(problem: Problem, threads: int = 1) -> tuple[Any, np.ndarray]:
    """The classifier as a scalar program of one sample, compiled in float32."""
    import macrograd as mg

    layers = ours.values(problem.start)
    parameters = ours.leaves(layers)

    def loss(x: Any, y: Any) -> Any:
        logits = ours.net(layers, x)
        return mg.logsumexp(logits) - mg.take(logits, y)

    f = mg.compile(loss, batch=True, dtype="float32", threads=threads)
    f(*problem.first())
    return f, ours.order(f.parameters, parameters)


def macrograd(problem: Problem, threads: int = 1) -> Prepared:
    """A gradient from Python; or all steps in one native call, Adam included."""
    if problem.gradient_only:
        return macrograd_python(problem)
    f, places = compiled(problem, threads)
    loop = ours.adam_loop(f, (problem.X, problem.y), problem.batch)
    start = data.flat(problem.start).astype(np.float32)[np.argsort(places)]
    order, lengths = problem.index.astype(np.int64).ravel(), np.full(problem.steps, problem.batch)
    rates = np.full(problem.steps, RATE)

    def run() -> Any:
        loop.theta[:] = start
        loop.state[:] = 0.0
        return loop.run(order, lengths, rates)

    return Prepared(run, lambda: {"losses": run().losses}, units=problem.steps)


def macrograd_python(problem: Problem) -> Prepared:
    """From Python: value_and_grad, and the update in NumPy."""
    f, places = compiled(problem)
    back = np.argsort(places)
    theta0 = data.flat(problem.start).astype(np.float32)[back]
    x, y = problem.first()
    if problem.gradient_only:

        def answer() -> dict[str, Any]:
            loss, gradient = f.value_and_grad(theta0, x, y)
            return {"loss": loss, "gradient": np.asarray(gradient)[places]}

        return Prepared(lambda: f.value_and_grad(theta0, x, y), answer)

    def epoch() -> list[float]:
        adam, theta, losses = Adam(), theta0.copy(), []
        for index in problem.index:
            loss, gradient = f.value_and_grad(theta, problem.X[index], problem.y[index])
            losses.append(loss)
            theta = adam(theta, np.asarray(gradient))
        return losses

    return Prepared(epoch, lambda: {"losses": epoch()}, units=problem.steps)


def macrograd_bound(problem: Problem) -> Prepared:
    """f.bind(X, y) → step()."""
    f, places = compiled(problem)
    x, y = (np.array(a) for a in problem.first())
    step = f.bind(x, y)

    def answer() -> dict[str, Any]:
        loss = f.backward(x, y)
        step()
        return {"loss": loss, "gradient": np.array([p.grad for p in f.parameters])[places]}

    return Prepared(step, answer)
