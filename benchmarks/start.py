"""start: from the function to the first gradient, for the net of the job moons: trace, compile, bind, call.

`new` is a program never seen, `kept` one whose code and program are in macrograd's disk cache. Imports are excluded.
JAX's jit is given for scale: its cache is cleared for each run. `many` is a whole run that is over soon: 1,000 nets
2-16-16-1 with the hinge loss, 1,000 steps of SGD of one sample each, from the first line to the trained numbers.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks import data, many, moons_peers, ours
from benchmarks.harness import Job, Prepared
from benchmarks.moons_net import BATCH, DECAY, SIZES, START, X, Y, loss_and_gradient

JOB = Job(
    "start",
    what="MLP 2-16-16-1, hinge, float64: from the function to its first gradient, or to 1,000 trained nets (many)",
    unit="start",
    cases=("new", "kept", "many"),
    tolerance={"new": 1e-9, "kept": 1e-9, "many": 1e-6},
    baseline="macrograd",
    quick=("new", "kept"),
)
NETS, RATE = 1000, 0.05


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    if case == "many":
        t, theta = task(), many_starts()[3]
        for row in orders(4)[3]:
            theta = theta - RATE * many.loss_and_gradient(t, theta, t.X[[row]], t.y[[row]])[1]
        return {"theta": theta}
    loss, gradient = loss_and_gradient(START, X[:BATCH], Y[:BATCH])
    return {"loss": loss, "gradient": gradient}


def task() -> many.Task:
    return many.task("batch-1")


def many_starts() -> np.ndarray:
    """The starts of all nets, as `data.flat` orders them: those of nets made with the seeds 0, 1, 2 …"""
    from macrograd import nn

    drawn = np.asarray(nn.starts(nn.MLP(2, [16, 16, 1]), NETS))  # neuron by neuron: its weights, then its bias
    parts, at = [], 0
    for n_in, n_out in pairwise(SIZES):
        neurons = drawn[:, at : at + n_out * (n_in + 1)].reshape(NETS, n_out, n_in + 1)
        at += n_out * (n_in + 1)
        parts += [neurons[:, :, :-1].transpose(0, 2, 1).reshape(NETS, -1), neurons[:, :, -1]]
    return np.concatenate(parts, axis=1)


def orders(nets: int) -> np.ndarray:
    """The samples of every step, as macrograd shuffles them for each of the first nets."""
    from macrograd.train.samples.order import Order

    n = len(task().X)
    return np.stack([Order(n, 1, shuffle=True, seed=k).steps(0, NETS)[0] for k in range(nets)])


@JOB.contender("macrograd", packages=("macrograd", "llvmlite.binding"), cases=("many",), note="mg.train_many")
def macrograd_many(case: str) -> Prepared:
    import macrograd as mg
    from macrograd import nn, optim

    t = task()

    def start() -> Any:
        net = nn.MLP(2, [16, 16, 1])
        trainer = mg.Trainer(net, "hinge", optim.SGD(RATE))
        starts = nn.starts(net, NETS)
        return mg.train_many(trainer, t.X, t.y, starts=starts, steps=NETS, batch_size=1, progress=False)

    def answer() -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # one sample a step is a small batch
            return {"theta": data.flat(ours.pairs(start()[3].model))}

    return Prepared(start, answer)


@JOB.contender("jax-vmap", packages=("jax",), cases=("many",), note="its nets drawn before; compiled in every run")
def jax_vmap(case: str) -> Prepared:
    t = task()
    first = many.Task(t.sizes, many_starts(), t.X, t.y, orders(NETS)[:, :, None], RATE)
    jax, one, starts = many.jax_parts(first)

    def start() -> Any:
        jax.clear_caches()
        return jax.block_until_ready(jax.jit(jax.vmap(one))(starts, first.rows))

    return Prepared(start, lambda: {"theta": data.flat([(np.asarray(W)[3], np.asarray(b)[3]) for W, b in start()[0]])})


@JOB.contender(
    "macrograd",
    packages=("macrograd", "llvmlite.binding", "macrograd.compiler.targets.llvm.execute"),
    cases=("new", "kept"),
)
def macrograd(case: str) -> Prepared:
    import macrograd as mg

    folder = tempfile.mkdtemp(prefix="macrograd-start-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    layers = ours.values(data.split(START, SIZES))
    parameters = ours.leaves(layers)

    def loss(x: Any, y: Any) -> Any:
        score = ours.net(layers, x)[0]
        return mg.relu(1.0 - y * score) + DECAY * mg.sum([p * p for p in parameters])

    def start() -> dict[str, Any]:
        os.environ["MACROGRAD_CACHE"] = folder if case == "kept" else "off"
        f = mg.compile(loss, batch=True)
        bound = f.bind(X[:BATCH], Y[:BATCH])
        value = bound()
        return {"loss": value, "gradient": bound.gradient[ours.order(f.parameters, parameters)]}

    if case == "kept":  # the second start finds the baseline code and requests the better code, which later starts find
        from macrograd.compiler.jit import tiers

        start()
        start()
        tiers.finish()
    return Prepared(start, start)


@JOB.contender("jax-jit", packages=("jax",), cases=("new",))
def jax_jit(case: str) -> Prepared:
    jax, gradients, pairs = moons_peers.jax_parts()

    def start() -> dict[str, Any]:
        jax.clear_caches()
        value, gradient = jax.block_until_ready(jax.jit(gradients)(pairs, X[:BATCH], Y[:BATCH]))
        return {"loss": value, "gradient": data.flat([(np.asarray(W), np.asarray(b)) for W, b in gradient])}

    return Prepared(start, start)


@JOB.contender("torch", packages=("torch",), cases=("new",), note="eager: nothing is compiled")
def torch_eager(case: str) -> Prepared:
    def start() -> dict[str, Any]:
        return moons_peers.torch_contender("gradient", compiled=False).answer()

    return Prepared(start, start)
