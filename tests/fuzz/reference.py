"""The reference: the eager engine's numbers, and their movement under noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg
from macrograd import Value
from macrograd.graph import topological

from . import noise
from .data import Data
from .language import Program, flat, function, number

Array = NDArray[Any]


@dataclass
class Answer:
    """The expectation for some numbers, in the shape of `eager`.

    eager      the eager engine's
    replicas   (replicas, …) the same under noise, the first without
    extreme    where sums or products come near the ends of the numbers' range, so that their order matters
    slack      what a sum over the batch may add
    trusts     whether these are derivatives for which the compiler takes numbers to be finite that are not: data behind
               a clamp, and what a result that is not finite was computed from, behind a choice (docs/compiler.md)
    """

    eager: Array
    replicas: Array
    extreme: Array
    slack: Array
    trusts: bool = False

    def rows(self, which: Array) -> Answer:
        return Answer(self.eager[which], self.replicas[:, which], self.extreme[which], self.slack[which], self.trusts)


def weights(count: int) -> Array:
    """The factor of the gradient by the inputs before it is differentiated again."""
    return np.array([1.0, 0.5, -0.75, 2.0, 0.25, -1.5, 0.125, 3.0][:count])


def _arguments(data: Data, row: int, program: Program, *, values: bool = False) -> list[Any]:
    x = [Value(a) for a in data.samples[row]] if values else list(data.samples[row])
    return [x, float(data.indices[row])][: len(program.arguments)]


def _noisy_arguments(data: Data, program: Program) -> list[Any]:
    columns = np.array(data.samples, dtype=np.float64).T
    return [[noise.leaf(c) for c in columns], noise.leaf(np.array(data.indices, dtype=float))][: len(program.arguments)]


def operations(program: Program, data: Data) -> set[str]:
    """The names of the operations that the program does on some row, if its inputs are Values."""
    found: set[str] = {"take"} if "mg.take" in program.text() else set()
    for row in range(len(data.samples)):  # what a take chooses among is an operation in the row that chooses it
        f = function(program.text(), [Value(p) for p in data.parameters])
        results = [r for r in flat(f(*_arguments(data, row, program, values=True))) if isinstance(r, Value)]
        found |= {node.op.name for node in topological(*results) if node.op}
    return found - {"constant"}


def values(program: Program, data: Data, dtype: str) -> Answer:
    """(rows, results)."""
    f = function(program.text(), [Value(p) for p in data.parameters])
    rows = range(len(data.samples))
    eager = np.array([[number(r) for r in flat(f(*_arguments(data, k, program)))] for k in rows])
    with noise.running(1, len(rows), dtype) as run:
        f = function(program.text(), [noise.leaf(np.array(p)) for p in data.parameters])
        found = np.stack([noise.array(r) for r in flat(f(*_noisy_arguments(data, program)))], axis=-1)
    extreme = np.broadcast_to(run.extreme[:, None], eager.shape)
    return Answer(eager, found.astype(np.float64), extreme, np.zeros_like(eager))


def gradient(program: Program, data: Data, dtype: str, rows: list[int]) -> tuple[Answer, Answer]:
    """The mean of the summed results over a batch of rows, and its derivatives by the parameters."""
    text, (which, times) = program.text(summed=True), _samples(rows)
    data = data.some(which)
    eager = np.array([_eager_gradient(text, program, data, k) for k in range(len(which))])
    with noise.running(2, len(which), dtype, times) as run:
        P = [noise.leaf(np.array(p)) for p in data.parameters]
        out = function(text, P)(*_noisy_arguments(data, program))
        return _mean(eager, out, P, data, run, dtype)


def _eager_gradient(text: str, program: Program, data: Data, row: int) -> list[float]:
    P = [Value(p) for p in data.parameters]
    out = function(text, P)(*_arguments(data, row, program))
    if isinstance(out, Value):
        out.backward()
    return [number(out), *(p.grad for p in P)]


def by_inputs(program: Program, data: Data, dtype: str) -> Answer:
    """(rows, inputs): the derivatives of the summed results by x."""
    text, rows = program.text(summed=True), range(len(data.samples))
    eager = []
    for k in rows:
        arguments = _arguments(data, k, program, values=True)
        out = function(text, [Value(p) for p in data.parameters])(*arguments)
        if isinstance(out, Value):
            out.backward()
        eager.append([x.grad for x in arguments[0]])
    with noise.running(3, len(rows), dtype) as run:
        arguments = _noisy_arguments(data, program)
        out = function(text, [noise.leaf(np.array(p)) for p in data.parameters])(*arguments)
        found = np.stack([noise.array(g) for g in noise.derivatives(out, arguments[0])], axis=-1)
    extreme = np.broadcast_to(run.extreme[:, None], np.shape(eager))
    return Answer(np.array(eager), found.astype(np.float64), extreme, np.zeros(np.shape(eager)), _trusts(out, data))


def second(program: Program, data: Data, dtype: str, rows: list[int]) -> tuple[Answer, Answer]:
    """The mean of weights · (derivatives by x) over a batch of rows, and its derivatives by the parameters."""
    text, (which, times) = program.text(summed=True), _samples(rows)
    w, data = weights(len(data.samples[0])).tolist(), data.some(which)
    eager = np.array([_eager_second(text, program, data, k, w) for k in range(len(which))])
    with noise.running(4, len(which), dtype, times) as run:
        P = [noise.leaf(np.array(p)) for p in data.parameters]
        arguments = _noisy_arguments(data, program)
        out = function(text, P)(*arguments)
        return _mean(eager, mg.dot(noise.derivatives(out, arguments[0]), w), P, data, run, dtype)


def _eager_second(text: str, program: Program, data: Data, row: int, w: list[float]) -> list[float]:
    P = [Value(p) for p in data.parameters]
    found = mg.grad(function(text, P))(*_arguments(data, row, program))
    out = mg.dot(found, w)
    if isinstance(out, Value):
        out.backward()
    return [number(out), *(p.grad for p in P)]


def training(program: Program, data: Data, train: Callable[[Data], Array], dtype: str, rows: list[int]) -> Answer:
    """The parameters after some steps of the eager engine, from starts that are a little off, in opposite pairs.

    Noise on the parameters alone, but 64 units in the last place of it: an operation's own is a fraction of that. And
    from starts with zeros of the other sign: a gradient that is 0 may have either, and so has what it is added to.
    Nothing can be said if the first derivatives have numbers beyond float32, in which the eager engine does not train.
    """
    rng, epsilon = np.random.default_rng(5), 64.0 * float(np.finfo(dtype).eps)
    start = np.array(data.parameters)
    eager, found = train(data), []
    with np.errstate(all="ignore"):
        for _ in range(2):
            noise = rng.choice([-1.0, 1.0], len(start)) * rng.uniform(0.5, 1.0, len(start)) * epsilon
            for off in (noise, -noise):
                found.append(train(replace(data, parameters=(start + off * np.maximum(np.abs(start), 2**-6)).tolist())))
    if (start == 0.0).any():
        found.append(train(replace(data, parameters=np.where(start == 0.0, -start, start).tolist())))
    if dtype == "float32" and not all(np.isfinite(x.replicas).all() for x in gradient(program, data, dtype, rows)):
        found.append(np.full_like(eager, np.nan))
    replicas = np.array([eager, *found])
    slack = epsilon * np.maximum(np.abs(eager), 1.0) * 0.5
    return Answer(eager, replicas, np.zeros(len(eager), dtype=bool), slack)


def _samples(rows: list[int]) -> tuple[list[int], list[int]]:
    """The different rows of a batch, and how often each is in it; two of one row, so that it is known from what is the
    same for all."""
    which, times = (found.tolist() for found in np.unique(rows, return_counts=True))
    return (which * 2, [1, len(rows) - 1]) if len(which) == 1 < len(rows) else (which, times)


def _trusts(out: Any, data: Data) -> bool:
    if not data.finite():
        return noise.clamped(out)
    return noise.chooses(out) and not np.isfinite(out.data).all()


def _mean(eager: Array, out: Any, P: list[Any], data: Data, run: Any, dtype: str) -> tuple[Answer, Answer]:
    """The mean of a result over the batch and its derivatives, of which `eager` has those of each sample."""
    value, share = noise.mean(out)
    replicas = np.stack([noise.one(x) for x in (value, *noise.derivatives(out, P, share))], axis=-1).astype(np.float64)
    n = int(run.times.sum())
    with np.errstate(all="ignore"):
        mean = np.array([_sum(column) for column in np.repeat(eager / n, run.times, axis=0).T.tolist()])
        size = (np.abs(eager) * run.times[:, None]).sum(axis=0) / n
        slack = (n + 2) * (run.epsilon * size + run.smallest)  # among subnormal numbers a rounding is as large as they
    # A sum over the samples that is multiplied by an infinite slope, where eagerly each sample is.
    mean = np.where(np.isnan(mean) & np.isinf(replicas[0]), replicas[0], mean)
    finite = np.where(np.isfinite(slack), slack, 0.0)
    answer = Answer(mean, replicas, np.full(len(mean), run.extreme.any()), finite, _trusts(out, data))
    return answer.rows(np.array([0])), answer.rows(np.arange(1, len(P) + 1))


def _sum(numbers: list[float]) -> float:
    if len(numbers) == 1:  # of -0.0 fsum makes 0.0
        return numbers[0]
    try:
        return math.fsum(numbers)
    except (OverflowError, ValueError):  # infinities of both signs
        return sum(numbers)
