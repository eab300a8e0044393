"""small: one net 2-16-16-1, hinge, plain gradient descent, float64, and one sample a step: the shortest step there is.

The first net of the job `many`, alone; 1,000 steps in a run, from the same start.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import data, many, native, ours
from benchmarks.harness import Job, Prepared

JOB = Job(
    "small",
    what="MLP 2-16-16-1, ReLU, hinge, SGD, one sample a step, float64",
    unit="step",
    cases=("step",),
    tolerance=1e-6,
)


def problem() -> many.Task:
    """The task of `many`, of its first net only."""
    t = many.task("batch-1")
    return many.Task(t.sizes, t.starts[:1], t.X, t.y, t.rows[:1], t.rate)


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    right = many.reference("batch-1")
    return {"losses": right["losses"][0], "theta": right["theta"][0]}


@JOB.contender("c", note="vectors of hidden units, the second layer kept in both orders")
def c(case: str) -> Prepared:
    import ctypes

    t, call = problem(), native.library("single").train
    index = t.rows[0].ravel().astype(np.int64)
    theta, losses = t.starts[0].copy(), np.empty(len(index))
    arrays = [native.pointer(a) for a in (theta, t.X, t.y, index)]
    args = [*arrays, len(index), ctypes.c_double(t.rate), native.pointer(losses)]

    def run() -> None:
        theta[:] = t.starts[0]
        call(*args)

    def answer() -> dict[str, Any]:
        run()
        return {"losses": losses, "theta": theta}

    return Prepared(run, answer, units=len(index))


@JOB.contender("macrograd", packages=("macrograd",), note="all steps in one native call")
def macrograd(case: str) -> Prepared:
    t = problem()
    f, leaves = many.sample(t)
    loop = ours.sgd_loop(f, (t.X, t.y), 1)
    places = ours.order(loop.parameters, leaves)
    start, order = t.starts[0][np.argsort(places)], t.rows[0].ravel()
    lengths, rates = np.ones(len(order), int), np.full(len(order), t.rate)

    def run() -> Any:
        loop.theta[:] = start
        return loop.run(order, lengths, rates)

    return Prepared(run, lambda: {"losses": run().losses, "theta": loop.theta[places]}, units=len(order))


@JOB.contender("jax-scan", packages=("jax",), note="all steps in one jitted lax.scan")
def jax_scan(case: str) -> Prepared:
    t = problem()
    jax, one, starts = many.jax_parts(t)
    train = jax.jit(one)
    pairs = jax.tree.map(lambda p: p[0], starts)

    def answer() -> dict[str, Any]:
        trained, losses = train(pairs, t.rows[0])
        return {"losses": losses, "theta": data.flat(trained)}

    return Prepared(lambda: jax.block_until_ready(train(pairs, t.rows[0])), answer, units=t.rows.shape[1])


def torch_step(t: many.Task) -> tuple[Any, Any, Any]:
    """PyTorch, the loss of a batch as a function of the parameters, and these."""
    import torch

    torch.set_num_threads(1)
    pairs = [(torch.tensor(W), torch.tensor(b)) for W, b in data.split(t.starts[0], t.sizes)]

    def loss(pairs: Any, x: Any, y: Any) -> Any:
        for W, b in pairs[:-1]:
            x = torch.relu(x @ W + b)
        return torch.relu(1.0 - y * (x @ pairs[-1][0] + pairs[-1][1])[:, 0]).mean()

    return torch, loss, pairs


@JOB.contender("torch", packages=("torch",), note="eager, torch.optim.SGD")
def torch_eager(case: str) -> Prepared:
    t = problem()
    torch, loss, start = torch_step(t)
    flat = [p.clone().requires_grad_() for pair in start for p in pair]
    optimizer = torch.optim.SGD(flat, lr=t.rate)
    X, y, rows = torch.tensor(t.X), torch.tensor(t.y), torch.tensor(t.rows[0])

    def run(steps: int = 200) -> list[Any]:
        with torch.no_grad():
            for p, first in zip(flat, [p for pair in start for p in pair], strict=True):
                p.copy_(first)
        losses = []
        for row in rows[:steps]:
            optimizer.zero_grad(set_to_none=True)
            value = loss(list(zip(flat[::2], flat[1::2], strict=True)), X[row], y[row])
            value.backward()
            optimizer.step()
            losses.append(value.detach())
        return losses

    def answer() -> dict[str, Any]:
        losses = [x.item() for x in run(t.rows.shape[1])]
        return {"losses": losses, "theta": np.concatenate([p.detach().numpy().ravel() for p in flat])}

    return Prepared(run, answer, units=200)
