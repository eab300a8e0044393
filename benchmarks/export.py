"""export: a training step of an exported file beside native code: C by gcc -O3 -march=native, and WebAssembly in Node.

`moons` is 2-16-16-1 with the hinge loss and SGD in float64, `digits` 64-128-10, cross-entropy and Adam in float32;
both take the same 32 samples in every step, and the first hundred losses are compared.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import classifier, digits, many, native, ours
from benchmarks import data as shared
from benchmarks import moons_net as moons
from benchmarks.harness import Job, Prepared, Unavailable

BATCH, COMPARED, STEPS = 32, 100, 2000

JOB = Job(
    "export",
    what="a training step on 32 samples: 2-16-16-1, SGD, float64 (moons), or 64-128-10, Adam, float32 (digits)",
    unit="step",
    cases=("moons", "digits"),
    tolerance={"moons": 1e-8, "digits": 1e-4},
    baseline="macrograd",
    quick=("moons",),
)

_NODE = """
import { createInterface } from "node:readline";
const { load } = await import(process.argv[2]);
const net = await load(), rate = Number(process.argv[4]);
const { readFileSync } = await import("node:fs");
const rows = net.place(JSON.parse(readFileSync(process.argv[3])));
for await (const line of createInterface({ input: process.stdin })) {
  const losses = [];
  net.init();
  for (let k = Number(line); k > 0; --k) losses.push(net.step(rows, rate));
  console.log(JSON.stringify(losses.slice(0, 100)));
}
"""


@dataclass
class Problem:
    """The loss of one sample, the samples of every step, the precision and the optimiser."""

    loss: Any
    X: np.ndarray
    y: np.ndarray
    dtype: str
    optimizer: Any
    rate: float


def problem(case: str) -> Problem:
    import macrograd as mg
    from macrograd import losses, optim

    if case == "moons":
        layers = ours.values(shared.split(moons.START, moons.SIZES))
        return Problem(
            lambda x, y: losses.hinge(ours.net(layers, x)[0], y), moons.X[:BATCH], moons.Y[:BATCH], "float64",
            optim.SGD(0.01), 0.01,
        )  # fmt: skip
    known = digits.problem("128/32")
    layers = ours.values(known.start)

    def loss(x: Any, y: Any) -> Any:
        logits = ours.net(layers, x)
        return mg.logsumexp(logits) - mg.take(logits, y)

    return Problem(loss, *known.first(), "float32", optim.Adam(classifier.RATE), classifier.RATE)


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    losses = []
    if case == "moons":
        task = many.Task(moons.SIZES, moons.START[None], moons.X, moons.Y, np.zeros((1, 1, 1), int), 0.01)
        theta = moons.START
        for _ in range(COMPARED):
            loss, gradient = many.loss_and_gradient(task, theta, moons.X[:BATCH], moons.Y[:BATCH])
            theta = theta - task.rate * gradient
            losses.append(loss)
        return {"losses": losses}
    known, adam = digits.problem("128/32"), classifier.Adam()
    x, y = known.first()
    pairs = [(W.astype(float), b.astype(float)) for W, b in known.start]
    for _ in range(COMPARED):
        loss, gradients = classifier.loss_and_gradient(pairs, x.astype(float), y)
        pairs = shared.split(adam(shared.flat(pairs), shared.flat(gradients)), known.sizes)
        losses.append(loss)
    return {"losses": losses}


@JOB.contender("macrograd", packages=("macrograd",), note="native, all steps in one call")
def macrograd(case: str) -> Prepared:
    import macrograd as mg
    from macrograd.compiler.step import TrainingLoop

    p = problem(case)
    f = mg.compile(p.loss, batch=True, dtype=p.dtype)
    loop = TrainingLoop(f, (p.X, p.y), p.optimizer.rule, p.optimizer.initial_state, batch_size=BATCH)
    start, order = loop.theta.copy(), np.tile(np.arange(BATCH), STEPS)
    lengths, rates = np.full(STEPS, BATCH), np.full(STEPS, p.rate)

    def run() -> Any:
        loop.theta[:] = start
        loop.state[:] = 0.0
        return loop.run(order, lengths, rates)

    return Prepared(run, lambda: {"losses": run().losses[:COMPARED]}, units=STEPS)


def exported(case: str, name: str) -> tuple[Problem, Path]:
    """The file, in a folder that goes when the process does."""
    import macrograd as mg

    folder = Path(tempfile.mkdtemp(prefix="macrograd-export-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    p = problem(case)
    mg.export(p.loss, folder / name, p.X[0], p.y[0], kind="train", optimizer=p.optimizer, dtype=p.dtype)
    return p, folder / name


@JOB.contender("macrograd-c-file", packages=("macrograd",), note="the exported C file, gcc -O3 -march=native")
def c_file(case: str) -> Prepared:
    p, path = exported(case, "net.c")
    real = "double" if p.dtype == "float64" else "float"
    main = path.with_name("train.c")
    main.write_text(
        f'#include "net.c"\nstatic net_state s;\n'
        f"void train(const {real} *rows, int samples, int steps, {real} rate, {real} *losses) {{\n"
        "    net_init(&s);\n"
        "    for (int k = 0; k < steps; ++k) losses[k] = net_step(&s, rows, samples, rate);\n}\n"
    )
    train = native.shared(main, "-O3", "-march=native", "-std=gnu99").train
    rows = np.hstack([p.X, p.y[:, None]]).astype(p.dtype)
    losses = np.empty(STEPS, p.dtype)
    rate = (ctypes.c_double if real == "double" else ctypes.c_float)(p.rate)
    args = (native.pointer(rows), BATCH, STEPS, rate, native.pointer(losses))

    def answer() -> dict[str, Any]:
        train(*args)
        return {"losses": losses[:COMPARED]}

    return Prepared(lambda: train(*args), answer, units=STEPS)


@JOB.contender("macrograd-wasm", packages=("macrograd",), note="the exported module in Node")
def wasm(case: str) -> Prepared:
    if shutil.which("node") is None:
        raise Unavailable("not installed: node")
    p, path = exported(case, "net.wasm")
    script, rows = path.with_name("train.mjs"), path.with_name("rows.json")
    script.write_text(_NODE, "utf-8")
    rows.write_text(json.dumps(np.hstack([p.X, p.y[:, None]]).ravel().tolist()))
    command = ["node", str(script), str(path.with_suffix(".mjs")), str(rows), str(p.rate)]
    node = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert node.stdin is not None
    assert node.stdout is not None
    atexit.register(node.wait)
    atexit.register(node.stdin.close)

    def run() -> list[float]:
        node.stdin.write(f"{STEPS}\n")
        node.stdin.flush()
        found = json.loads(node.stdout.readline())
        assert isinstance(found, list)
        return found

    return Prepared(run, lambda: {"losses": run()[:COMPARED]}, units=STEPS)
