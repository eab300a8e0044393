"""many: many small nets, each with its own start and its own order of the samples, trained by SGD.

`batch-1` and `batch-32` train 1,000 nets 2-16-16-1 with the hinge loss in float64, 1,000 or 100 steps each; `digits`
200 nets 64-32-10 with the cross-entropy in float32, batches of 32, 40 steps each. A unit is a step of one net.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks import data, ours
from benchmarks.harness import Job, Prepared

_COMPARED = 3  # nets whose numbers are compared

JOB = Job(
    "many",
    what="1,000 nets 2-16-16-1 (hinge, float64), or 200 nets 64-32-10 (cross-entropy, 32 samples, float32), SGD",
    unit="step of one net",
    cases=("batch-1", "batch-32", "digits"),
    tolerance={"batch-1": 1e-6, "batch-32": 1e-9, "digits": 1e-3},
    baseline="macrograd-alone",
)


@dataclass(frozen=True)
class Task:
    """The nets of a case: their widths and starts (nets, parameters), the samples, and the rows of every step."""

    sizes: tuple[int, ...]
    starts: np.ndarray
    X: np.ndarray
    y: np.ndarray
    rows: np.ndarray  # (nets, steps, samples)
    rate: float

    @property
    def hinge(self) -> bool:
        return self.sizes[-1] == 1


def task(case: str) -> Task:
    rng = np.random.default_rng(1)
    digits = case == "digits"
    sizes: tuple[int, ...] = (64, 32, 10) if digits else (2, 16, 16, 1)
    dtype = np.float32 if digits else np.float64
    shapes = {"batch-1": (1000, 1000, 1), "batch-32": (1000, 100, 32), "digits": (200, 40, 32)}
    nets = shapes[case][0]
    parts = [[rng.normal(size=(nets, a * b)) / np.sqrt(a), np.zeros((nets, b))] for a, b in itertools.pairwise(sizes)]
    starts = np.concatenate([part for pair in parts for part in pair], axis=1).astype(dtype)
    X = rng.normal(size=(200, sizes[0])).astype(dtype)
    y = rng.integers(0, 10, 200) if digits else np.where(X[:, 0] * X[:, 1] > 0, 1.0, -1.0)
    return Task(sizes, starts, X, y, rng.integers(0, len(X), shapes[case]), 0.05)


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    t = task(case)
    losses, thetas = [], []
    for theta, rows in zip(t.starts[:_COMPARED].astype(np.float64), t.rows, strict=False):
        mine = []
        for batch in rows:
            loss, gradient = loss_and_gradient(t, theta, t.X[batch].astype(np.float64), t.y[batch])
            theta = theta - t.rate * gradient
            mine.append(loss)
        losses.append(mine)
        thetas.append(theta)
    return {"losses": np.array(losses), "theta": np.array(thetas)}


def loss_and_gradient(t: Task, theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    pairs = data.split(theta, t.sizes)
    layers = [x]
    for W, b in pairs[:-1]:
        layers.append(np.maximum(layers[-1] @ W + b, 0.0))
    out = layers[-1] @ pairs[-1][0] + pairs[-1][1]
    if t.hinge:
        gap = 1.0 - y * out[:, 0]
        loss, back = np.maximum(gap, 0.0).mean(), np.where(gap > 0, -y, 0.0)[:, None] / len(y)
    else:
        shares = np.exp(out - out.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        loss = -np.log(shares[np.arange(len(y)), y]).mean()
        back = shares
        back[np.arange(len(y)), y] -= 1.0
        back = back / len(y)
    gradient = []
    for (W, _), h in zip(pairs[::-1], layers[::-1], strict=True):
        gradient.append((h.T @ back, back.sum(axis=0)))
        back = back @ W.T * (h > 0)
    return float(loss), data.flat(gradient[::-1])


def sample(t: Task) -> tuple[Any, list[Any]]:
    """The loss of one sample as a scalar program, and our parameters in the peers' order."""
    import macrograd as mg
    from macrograd import losses

    layers = ours.values(data.split(t.starts[0].astype(np.float64), t.sizes))

    def loss(x: Any, y: Any) -> Any:
        out = ours.net(layers, x)
        return losses.hinge(out[0], y) if t.hinge else losses.cross_entropy(out, y)

    return mg.compile(loss, batch=True, dtype=t.starts.dtype.name), ours.leaves(layers)


def _together(case: str, threads: int) -> Prepared:
    from macrograd import optim
    from macrograd.compiler.many import NetSteps, TrainingNets

    t = task(case)
    f, leaves = sample(t)
    nets, steps, batch = t.rows.shape
    arrays = [t.X, t.y.astype(t.X.dtype)]
    many = TrainingNets(
        [f], [0] * nets, [optim.SGD(t.rate).rule], [0] * nets, arrays, (), batch_size=batch, period=1 << 24,
        threads=threads,
    )  # fmt: skip
    places = ours.order(many.parameters[0], leaves)
    back, state = np.argsort(places), np.empty((0, len(places)))
    lengths, rates = np.full(steps, batch), np.full(steps, t.rate)
    given = [NetSteps(k, t.rows[k].ravel(), rates, 1) for k in range(nets)]
    many.nets.point_all(arrays)
    starts = t.starts[:, back]

    def run() -> Any:
        many.nets.set_all(starts, state)
        return many.nets.run(given, lengths)

    def answer() -> dict[str, Any]:
        found = run()
        return {
            "losses": np.array([outcome.losses for outcome in found[:_COMPARED]]),
            "theta": np.array([many.nets.get(k)[0][places] for k in range(_COMPARED)]),
        }

    return Prepared(run, answer, units=nets * steps)


@JOB.contender("macrograd", packages=("macrograd",), note="nets on the lanes, all steps in one native call")
def macrograd(case: str) -> Prepared:
    return _together(case, 1)


@JOB.contender("macrograd-alone", packages=("macrograd",), note="one net after the other, each in one native call")
def macrograd_alone(case: str) -> Prepared:
    t = task(case)
    f, leaves = sample(t)
    nets, steps, batch = t.rows.shape
    loop = ours.sgd_loop(f, (t.X, t.y.astype(t.X.dtype)), batch)
    places = ours.order(loop.parameters, leaves)
    back, lengths, rates = np.argsort(places), np.full(steps, batch), np.full(steps, t.rate)
    losses, thetas = np.empty((nets, steps)), np.empty(t.starts.shape)

    def run() -> None:
        for k in range(nets):
            loop.theta[:] = t.starts[k][back]
            losses[k] = loop.run(t.rows[k].ravel(), lengths, rates).losses
            thetas[k] = loop.theta[places]

    def answer() -> dict[str, Any]:
        run()
        return {"losses": losses[:_COMPARED], "theta": thetas[:_COMPARED]}

    return Prepared(run, answer, units=nets * steps)


@JOB.contender("macrograd-2", packages=("macrograd",), threads=2, note="the same on two threads")
def macrograd_2(case: str) -> Prepared:
    return _together(case, 2)


def jax_parts(t: Task) -> tuple[Any, Any, list[Any]]:
    """JAX, the training of one net, (pairs, rows) → (pairs, losses), and the pairs of all nets."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", bool(t.hinge))
    X, y = jnp.asarray(t.X), jnp.asarray(t.y)

    def loss(pairs: Any, x: Any, y: Any) -> Any:
        for W, b in pairs[:-1]:
            x = jax.nn.relu(x @ W + b)
        out = x @ pairs[-1][0] + pairs[-1][1]
        if t.hinge:
            return jnp.mean(jax.nn.relu(1.0 - y * out[:, 0]))
        return jnp.mean(jax.nn.logsumexp(out, axis=1) - jnp.take_along_axis(out, y[:, None], axis=1)[:, 0])

    def one(pairs: Any, rows: Any) -> Any:
        def step(pairs: Any, batch: Any) -> Any:
            value, gradient = jax.value_and_grad(loss)(pairs, X[batch], y[batch])
            return jax.tree.map(lambda p, g: p - t.rate * g, pairs, gradient), value

        return jax.lax.scan(step, pairs, rows)

    return jax, one, [(jnp.asarray(W), jnp.asarray(b)) for W, b in stacked(t)]


def stacked(t: Task) -> list[tuple[np.ndarray, np.ndarray]]:
    """Per layer the W (nets, in, out) and b (nets, out) of all nets."""
    starts, at = [], 0
    for a, b in itertools.pairwise(t.sizes):
        W, at = t.starts[:, at : at + a * b].reshape(-1, a, b), at + a * b
        bias, at = t.starts[:, at : at + b], at + b
        starts.append((W.copy(), bias.copy()))
    return starts


def compared(pairs: Any, losses: Any) -> dict[str, Any]:
    """The answer of a peer that trains all nets, from the first of them."""
    flat = [np.asarray(a)[:_COMPARED].reshape(_COMPARED, -1) for pair in pairs for a in pair]
    return {"losses": np.asarray(losses)[:_COMPARED], "theta": np.concatenate(flat, axis=1)}


@JOB.contender("jax-vmap", packages=("jax",), note="vmap over the nets of one jitted lax.scan over the steps")
def jax_vmap(case: str) -> Prepared:
    t = task(case)
    jax, one, starts = jax_parts(t)
    train = jax.jit(jax.vmap(one))

    def run() -> Any:
        return jax.block_until_ready(train(starts, t.rows))

    return Prepared(run, lambda: compared(*run()), units=t.rows.shape[0] * t.rows.shape[1])


def torch_contender(case: str, compiled: bool) -> Prepared:
    """torch.func: vmap over the nets of the step of one, a Python loop over the steps."""
    import torch

    torch.set_num_threads(1)
    t = task(case)
    X, y, rows = torch.tensor(t.X), torch.tensor(t.y), torch.tensor(t.rows)
    starts = [(torch.tensor(W), torch.tensor(b)) for W, b in stacked(t)]

    def loss(pairs: Any, x: Any, y: Any) -> Any:
        for W, b in pairs[:-1]:
            x = torch.relu(x @ W + b)
        out = x @ pairs[-1][0] + pairs[-1][1]
        if t.hinge:
            return torch.relu(1.0 - y * out[:, 0]).mean()
        return torch.nn.functional.cross_entropy(out, y)

    def step(pairs: Any, x: Any, y: Any) -> Any:
        gradient, value = torch.func.grad_and_value(loss)(pairs, x, y)
        moved = [
            tuple(p - t.rate * g for p, g in zip(*both, strict=True)) for both in zip(pairs, gradient, strict=True)
        ]
        return moved, value

    step = torch.func.vmap(step)
    if compiled:
        step = torch.compile(step)

    def run() -> Any:
        pairs, losses = starts, []
        for k in range(rows.shape[1]):
            pairs, value = step(pairs, X[rows[:, k]], y[rows[:, k]])
            losses.append(value)
        return pairs, torch.stack(losses, 1)

    return Prepared(run, lambda: compared(*run()), units=t.rows.shape[0] * t.rows.shape[1])


@JOB.contender("torch-vmap", packages=("torch",), note="torch.func.vmap over the nets, a Python loop over the steps")
def torch_vmap(case: str) -> Prepared:
    return torch_contender(case, compiled=False)


@JOB.contender("torch-compile", packages=("torch",), note="the same step by torch.compile")
def torch_compile(case: str) -> Prepared:
    return torch_contender(case, compiled=True)
