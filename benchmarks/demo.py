"""demo: micrograd's published notebook run: MLP 2-16-16-1 on all 100 samples, 100 steps, float64.

`steps` are the 100 full-batch steps; its published losses are 0.8958441028683222 at step 0 and 0.010978370135492717 at
step 99, and every contender must reproduce them. `process` is a shell command, from process start to printed result.
"""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import data, moons_peers, native, ours
from benchmarks import moons_net as moons
from benchmarks.harness import Job, Prepared

STEPS, SAMPLES = 100, 100
PUBLISHED = {0: 0.8958441028683222, STEPS - 1: 0.010978370135492717}
RATES = 1.0 - 0.9 * np.arange(STEPS) / STEPS

JOB = Job(
    "demo",
    what="micrograd's notebook run: 2-16-16-1, all 100 samples, 100 steps, float64",
    unit="step or process",
    cases=("steps", "process"),
    # The published digits; the hundred steps amplify the last bits of different summation orders.
    tolerance=1e-7,
)


def problem() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """X, y in {−1, 1} and the starting parameters: macrograd makes them as the notebook's libraries did."""
    from macrograd import datasets, nn

    X, y = datasets.make_moons(SAMPLES, noise=0.1, seed=1337)
    model = nn.MLP(2, [16, 16, 1], seed=1337)
    flat = iter([p.data for p in model.parameters()])
    pairs = []
    for n_in, n_out in pairwise(moons.SIZES):
        neurons = np.array([[next(flat) for _ in range(n_in + 1)] for _ in range(n_out)])
        pairs.append((neurons[:, :-1].T.copy(), neurons[:, -1].copy()))
    return np.ascontiguousarray(X), np.where(y == 1, 1.0, -1.0), data.flat(pairs)


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    if case == "process":
        return {"last loss": PUBLISHED[STEPS - 1]}
    X, y, theta = problem()
    losses = []
    for rate in RATES:
        loss, gradient = moons.loss_and_gradient(theta, X, y)
        losses.append(loss)
        theta = theta - rate * gradient
    for step, published in PUBLISHED.items():
        assert abs(losses[step] - published) < 1e-9, f"step {step}: {losses[step]}, published {published}"
    return {"losses": np.array(losses), "first losses": np.array(losses[:2])}


@JOB.contender("c", cases=("steps",))
def c(case: str) -> Prepared:
    X, y, start = problem()
    lib = native.library("moons", BATCH=SAMPLES)
    theta, losses = start.copy(), np.empty(STEPS)
    index = np.tile(np.arange(SAMPLES, dtype=np.int32), (STEPS, 1))
    given = [*(native.pointer(a) for a in (theta, X, y, index)), STEPS, native.pointer(losses)]

    def run() -> None:
        theta[:] = start
        lib.train(*given)

    def answer() -> dict[str, Any]:
        run()
        return {"losses": losses}

    return Prepared(run, answer, units=STEPS)


@JOB.contender(
    "macrograd", packages=("macrograd",), cases=("steps",), note="TrainingLoop: 100 steps in one native call"
)
def macrograd(case: str) -> Prepared:
    f, theta, X, y = compiled()
    loop = ours.sgd_loop(f, (X, y), SAMPLES)
    order, lengths = np.tile(np.arange(SAMPLES), STEPS), np.full(STEPS, SAMPLES)

    def run() -> Any:
        loop.theta[:] = theta
        return loop.run(order, lengths, RATES)

    return Prepared(run, lambda: {"losses": run().losses}, units=STEPS)


@JOB.contender("macrograd-python", packages=("macrograd",), cases=("steps",), note="a Python loop over value_and_grad")
def macrograd_python(case: str) -> Prepared:
    f, theta0, X, y = compiled()

    def run() -> list[float]:
        theta, losses = theta0.copy(), []
        for rate in RATES:
            value, gradient = f.value_and_grad(theta, X, y)
            losses.append(value)
            theta -= rate * gradient
        return losses

    return Prepared(run, lambda: {"losses": run()}, units=STEPS)


def compiled() -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """The compiled loss of one sample, its initial parameters, and the data."""
    import macrograd as mg

    X, y, start = problem()
    layers = ours.values(data.split(start, moons.SIZES))
    parameters = ours.leaves(layers)

    def loss(x: Any, t: Any) -> Any:
        return mg.relu(1.0 - t * ours.net(layers, x)[0]) + 1e-4 * mg.sum([p * p for p in parameters])

    f = mg.compile(loss, batch=True)
    f(X, y)
    return f, np.asarray(f.theta()), X, y


@JOB.contender("jax-scan", packages=("jax",), cases=("steps",), note="100 steps in one jitted lax.scan")
def jax_scan(case: str) -> Prepared:
    import jax.numpy as jnp

    jax, both, _ = moons_peers.jax_parts()
    X, y, start = problem()
    pairs = [(jnp.asarray(W), jnp.asarray(b)) for W, b in data.split(start, moons.SIZES)]

    def step(pairs: Any, rate: Any) -> Any:
        loss, gradient = both(pairs, X, y)
        return jax.tree.map(lambda p, g: p - rate * g, pairs, gradient), loss

    train = jax.jit(lambda pairs: jax.lax.scan(step, pairs, jnp.asarray(RATES))[1])
    return Prepared(lambda: jax.block_until_ready(train(pairs)), lambda: {"losses": train(pairs)}, units=STEPS)


@JOB.contender("torch", packages=("torch",), cases=("steps",), note="eager, torch.optim.SGD")
def torch_eager(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    X, y, start = problem()
    xs, ys, first = (
        torch.tensor(X),
        torch.tensor(y),
        [torch.tensor(a) for p in data.split(start, moons.SIZES) for a in p],
    )
    parameters = [p.clone().requires_grad_() for p in first]
    optimizer = torch.optim.SGD(parameters, lr=1.0)

    def run() -> list[Any]:
        with torch.no_grad():
            for p, number in zip(parameters, first, strict=True):
                p.copy_(number)
        losses = []
        for rate in RATES.tolist():
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            W1, b1, W2, b2, W3, b3 = parameters
            score = (torch.relu(torch.relu(xs @ W1 + b1) @ W2 + b2) @ W3 + b3)[:, 0]
            loss = torch.relu(1.0 - ys * score).mean() + 1e-4 * sum((p * p).sum() for p in parameters)
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses

    return Prepared(run, lambda: {"losses": [x.item() for x in run()]}, units=STEPS)


@JOB.contender("micrograd", packages=("micrograd.nn",), cases=("steps",), note="Python's garbage collector off")
def micrograd(case: str) -> Prepared:
    from micrograd.engine import Value
    from micrograd.nn import MLP

    X, y, start = problem()
    model = MLP(2, [16, 16, 1])
    position = [0]

    def step() -> float:
        k = position[0] % STEPS
        if k == 0:
            for layer, (W, b) in zip(model.layers, data.split(start, moons.SIZES), strict=True):
                for j, neuron in enumerate(layer.neurons):
                    neuron.b.data = float(b[j])
                    for i, w in enumerate(neuron.w):
                        w.data = float(W[i, j])
        position[0] += 1
        scores = [model([Value(v) for v in row]) for row in X.tolist()]
        losses = [(1 - t * score).relu() for t, score in zip(y.tolist(), scores, strict=True)]
        loss = sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())
        model.zero_grad()
        loss.backward()
        for p in model.parameters():
            p.data -= RATES[k] * p.grad
        return float(loss.data)

    return Prepared(step, lambda: {"first losses": [step(), step()]})


@JOB.contender(
    "micrograd-as-is", packages=("micrograd.nn",), cases=("steps",), note="with Python's garbage collector on"
)
def micrograd_as_is(case: str) -> Prepared:
    prepared = micrograd(case)
    prepared.gc = True
    return prepared


@JOB.contender("macrograd", cases=("process",), note="macrograd train moons, start to end, warm cache")
def macrograd_process(case: str) -> Prepared:
    def run() -> str:
        command = [sys.executable, "-m", "macrograd", "train", "moons"]
        warm = {key: value for key, value in os.environ.items() if key != "MACROGRAD_CACHE"}
        return subprocess.run(command, capture_output=True, text=True, check=True, env=warm).stdout

    def answer() -> dict[str, Any]:
        lines = [line for line in run().splitlines() if line.startswith(f"step {STEPS - 1} ")]
        return {"last loss": float(lines[0].split("loss ")[1].split(",")[0])}

    return Prepared(run, answer)
