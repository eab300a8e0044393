"""fit: what `Trainer.fit` adds to the native steps: Python between them, checkpoints, and the response time to Ctrl-C.

A case is the data: `moons`, 2-16-16-1 on 96 samples, hinge, SGD, float64, the shortest steps possible; `digits`,
64-128-10, cross-entropy, Adam, float32; `long`, the net of moons on a million samples, whose epochs take seconds.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import classifier, data, native, ours
from benchmarks import moons_net as moons
from benchmarks.harness import Job, Prepared

STEPS = {"moons": 1_600_000, "digits": 120_000, "long": 100_000}  # of a timed run: some seconds, for the checkpoints
FLOOR_STEPS = 200_000
COMPARED, BATCH, SAMPLES, LONG = 50, 32, 96, 1_000_000
RATE = 0.01

JOB = Job(
    "fit",
    what="a step inside Trainer.fit with batches of 32, everything that fit does included",
    unit="step",
    cases=tuple(STEPS),
    # Steps at a rate near 1 amplify the last bits of different orders of summation.
    tolerance={"moons": 1e-7, "digits": 1e-4, "long": 1e-9},
    baseline="macrograd",
    quick=("moons",),
)


def problem(case: str) -> tuple[np.ndarray, np.ndarray, Any]:
    """X, y and the start."""
    if case == "digits":
        X, y, _ = data.digits()
        return X, y, [(W.astype(np.float32), b.astype(np.float32)) for W, b in data.layers((64, 128, 10), seed=2)]
    X, y = (moons.X[:SAMPLES], moons.Y[:SAMPLES]) if case == "moons" else data.moons(LONG)
    return X, y, data.split(moons.START, moons.SIZES)


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    """The losses of the first steps, on the batches in macrograd's order."""
    from macrograd.train.samples.order import Order

    X, y, pairs = problem(case)
    order = Order(len(X), BATCH, shuffle=True, seed=0)
    adam, losses = classifier.Adam(), []
    for k in range(COMPARED):
        rows = order.steps(k, 1)[0]
        if case == "digits":
            loss, gradient = classifier.loss_and_gradient(
                [(W.astype(float), b.astype(float)) for W, b in pairs], X[rows].astype(float), y[rows]
            )
            pairs = data.split(adam(data.flat(pairs).astype(float), data.flat(gradient)), (64, 128, 10))
        else:
            theta = data.flat(pairs)
            loss, step = moons.loss_and_gradient(theta, X[rows], y[rows])
            rate = RATE if case == "long" else 1.0 - 0.9 * k / COMPARED
            pairs = data.split(theta - rate * step, moons.SIZES)
        losses.append(loss)
    return {"losses": losses}


class Training:
    """A Trainer that can be restarted, and the first losses of a run."""

    def __init__(self, case: str) -> None:
        from macrograd import Trainer, optim

        self.case = case
        self.X, self.y, self.start = problem(case)
        self.model = ours.mlp(self.start)
        if case == "digits":
            self.trainer = Trainer(self.model, optimizer=optim.Adam(1e-3), dtype="float32")
        else:
            self.trainer = Trainer(self.model, "hinge", optim.SGD(RATE), l2=moons.DECAY)

    def fit(self, steps: int, **options: Any) -> Any:
        from macrograd import optim

        if self.case == "moons":
            options = {"schedule": optim.linear(1.0, 0.1, steps), **options}
        ours.fill(self.model, self.start)
        self.trainer.optimizer.load_state_dict({"steps": 0, "state": []})
        return self.trainer.fit(self.X, self.y, steps=steps, batch_size=BATCH, progress=False, **options)

    def losses(self) -> dict[str, Any]:
        return {"losses": self.fit(COMPARED).losses}


@contextmanager
def native_time() -> Iterator[list[tuple[float, float]]]:
    """The list of (begin, end) of all native calls that Trainers made in the block make in training."""
    from macrograd.compiler.jit.native import ByWork

    spans: list[tuple[float, float]] = []
    untimed = ByWork.code

    def timed(function: Any) -> Any:
        def call(address: int) -> None:
            begin = time.perf_counter()
            function(address)
            spans.append((begin, time.perf_counter()))

        return call

    def code(self: ByWork, work: int) -> Any:
        found = copy(untimed(self, work))
        found.functions = {
            name: timed(function) if name in ("train", "shuffle") else function
            for name, function in found.functions.items()
        }
        return found

    ByWork.code = code
    try:
        yield spans
    finally:
        ByWork.code = untimed


def pythons_share(case: str) -> float:
    """Of the time from the first native call of a run to the last, the share in none."""
    with native_time() as spans:
        training = Training(case)
        training.fit(64)
        spans.clear()
        training.fit(STEPS[case])
    whole = spans[-1][1] - spans[0][0]
    return 1.0 - sum(end - begin for begin, end in spans) / whole


@JOB.contender("c", cases=("moons",), note="the steps alone, on batches that were made before")
def c(case: str) -> Prepared:
    from macrograd.train.samples.order import Order

    X, y, pairs = problem(case)
    X, y, start = np.ascontiguousarray(X), np.ascontiguousarray(y), data.flat(pairs)
    rows, _ = Order(len(X), BATCH, shuffle=True, seed=0, native=True).steps(0, FLOOR_STEPS)
    index, theta, losses = rows.astype(np.int32), start.copy(), np.empty(FLOOR_STEPS)
    lib = native.library("moons", BATCH=BATCH)
    given = [native.pointer(a) for a in (theta, X, y, index)]

    def run(steps: int = FLOOR_STEPS) -> None:
        theta[:] = start
        lib.train(*given, steps, native.pointer(losses))

    def answer() -> dict[str, Any]:
        run(COMPARED)
        return {"losses": losses[:COMPARED]}

    return Prepared(run, answer, units=FLOOR_STEPS)


@JOB.contender("macrograd", packages=("macrograd",))
def macrograd(case: str) -> Prepared:
    training, extra = Training(case), {}

    def answer() -> dict[str, Any]:
        found = training.losses()
        shares = [pythons_share(case) for _ in range(3)]
        extra["Python's share of the time, %"] = round(100 * float(np.median(shares)), 2)
        return found

    return Prepared(lambda: training.fit(STEPS[case]), answer, units=STEPS[case], extra=extra)


@JOB.contender("macrograd-cosine", packages=("macrograd",), cases=("moons",), note="with a cosine schedule")
def macrograd_cosine(case: str) -> Prepared:
    from macrograd import optim

    training = Training(case)
    schedule = optim.cosine(RATE, RATE / 10, STEPS[case])
    return Prepared(lambda: training.fit(STEPS[case], schedule=schedule), training.losses, units=STEPS[case])


@JOB.contender(
    "macrograd-checkpoint",
    packages=("macrograd",),
    cases=("moons", "digits"),
    note="with a checkpoint every second",
)
def macrograd_checkpoint(case: str) -> Prepared:
    """Counts the CPU seconds of writing, and all the time that training waits for it."""
    from macrograd.train import checkpoint

    training, steps, extra = Training(case), STEPS[case], {}

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            training.fit(steps, checkpoint=Path(folder) / "c.safetensors", every=1.0)

    def answer() -> dict[str, Any]:
        found = training.losses()
        spent, written, write, begin_write = [0.0], [0], checkpoint.files.write, checkpoint.Writer.write

        def counted(*given: Any) -> Any:
            begin = time.thread_time()
            try:
                return write(*given)
            finally:
                spent[0] += time.thread_time() - begin
                written[0] += 1

        def waited(*given: Any) -> None:
            begin = time.perf_counter()
            begin_write(*given)
            spent[0] += time.perf_counter() - begin

        checkpoint.files.write, checkpoint.Writer.write = counted, waited
        try:
            begin = time.perf_counter()
            run()
            whole = time.perf_counter() - begin
        finally:
            checkpoint.files.write, checkpoint.Writer.write = write, begin_write
        extra["the checkpoints' share of the time, %"] = round(100 * spent[0] / whole, 2)
        extra["written"] = f"{written[0]} in {whole:.1f} s"
        return found

    return Prepared(run, answer, units=steps, extra=extra)


@JOB.contender("macrograd-interrupted", packages=("macrograd",), cases=("long",), note="Ctrl-C at ten random moments")
def macrograd_interrupted(case: str) -> Prepared:
    training, extra = Training(case), {}
    random = np.random.default_rng(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it

    def interrupted() -> float:
        """Seconds from Ctrl-C to the return of `fit`."""
        pressed = [0.0]

        def press() -> None:
            pressed[0] = time.perf_counter()
            os.kill(os.getpid(), signal.SIGINT)

        timer = threading.Timer(random.uniform(0.6, 1.6), press)
        timer.start()
        history = training.fit(10**9)
        answered = time.perf_counter() - pressed[0]
        timer.join()
        assert history.stopped == "interrupted"
        assert 0 < len(history) == training.trainer.optimizer.steps
        return answered

    def answer() -> dict[str, Any]:
        found = training.losses()
        times = [interrupted() for _ in range(10)]
        extra["Ctrl-C answered after, s"] = f"{np.median(times):.3f}, at most {max(times):.3f}"
        extra["worst answer, s"] = round(max(times), 4)
        return found

    return Prepared(lambda: training.fit(STEPS[case]), answer, units=STEPS[case], extra=extra)
