"""start: from the function to the first gradient, for the net of the job moons: trace, compile, bind, call.

`new` is a program never seen, `kept` one whose code and program are in macrograd's disk cache. Imports are excluded.
JAX's jit is given for scale: its cache is cleared for each run.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from typing import Any

from benchmarks import data, moons_peers, ours
from benchmarks.harness import Job, Prepared
from benchmarks.moons_net import BATCH, DECAY, SIZES, START, X, Y, loss_and_gradient

JOB = Job(
    "start",
    what="MLP 2-16-16-1, hinge + 1e-4·Σp², 32 samples, float64: from the function to its first gradient",
    unit="start",
    cases=("new", "kept"),
    tolerance=1e-9,
    baseline="macrograd",
)


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    loss, gradient = loss_and_gradient(START, X[:BATCH], Y[:BATCH])
    return {"loss": loss, "gradient": gradient}


@JOB.contender("macrograd", packages=("macrograd", "llvmlite.binding", "macrograd.compiler.targets.llvm.execute"))
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
    import numpy as np

    def start() -> dict[str, Any]:
        jax.clear_caches()
        value, gradient = jax.block_until_ready(jax.jit(gradients)(pairs, X[:BATCH], Y[:BATCH]))
        return {"loss": value, "gradient": data.flat([(np.asarray(W), np.asarray(b)) for W, b in gradient])}

    return Prepared(start, start)
