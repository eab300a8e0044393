"""gpt: the character GPT of `examples/gpt.py`, float32: loss, gradient and Adam, per real token.

The case `7` has 16 documents of 7 tokens, all alike, in a step; `names` has 1,024 names of the standard library of
every length. There a step of macrograd's is 16 rows of 16 positions that hold about 28 names: 1.04 positions are
computed for a token. The C floor takes the same names in the same steps, and has rows for real tokens only. JAX and
PyTorch take 16 names a step, padded to 8 or 16 positions, 1.35 for a token.
"""

from __future__ import annotations

import runpy
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import gpt_peers, native
from benchmarks.harness import Job, Prepared

TABLES = ("token", "position", "query", "key", "value", "mix", "widen", "narrow", "head")
HEADS, STEPS = 4, 50
PADDED = 0, 8, 16  # peers fill documents up to the next of these lengths

JOB = Job(
    "gpt",
    what="a character GPT (1 block, 16 wide, 4 heads, 4,192 parameters): loss, gradient and Adam",
    unit="token",
    cases=("7", "names"),
    tolerance=2e-5,
)


@cache
def example() -> dict[str, Any]:
    return runpy.run_path(str(Path(__file__).parents[1] / "examples" / "gpt.py"))


def documents(case: str) -> list[str]:
    # A package's names include the modules of it that are loaded, and PyTorch loads this one.
    import unittest.mock  # noqa: F401 - see above

    names = [name for name in example()["library_names"]() if case == "names" or len(name) == 6]
    return [names[i] for i in np.random.default_rng(0).permutation(len(names))[: 1024 if case == "names" else 16]]


def model() -> Any:
    return example()["GPT"]("abcdefghijklmnopqrstuvwxyz", seed=0)


def rms(x: Any) -> tuple[Any, Any]:
    """RMSNorm of the rows, and the function from the gradient of its result to that of x."""
    scale = 1 / np.sqrt((x * x).mean(axis=1, keepdims=True) + 1e-5)
    return x * scale, lambda g: g * scale - x * (g * x).mean(axis=1, keepdims=True) * scale**3


def document(w: dict[str, Any], tokens: Any, share: Any, heads: int) -> tuple[float, dict[str, Any]]:
    """Loss and gradients of one document, in matrices with the backward pass by hand."""
    inputs, targets = tokens[:-1], tokens[1:]
    n, width = len(inputs), w["token"].shape[1]
    size = width // heads
    e, back_e = rms(w["token"][inputs] + w["position"][:n])
    x, back_x = rms(e)
    q, k, v = (x @ w[name].T for name in ("query", "key", "value"))
    by_head = [slice(h * size, (h + 1) * size) for h in range(heads)]
    mixed, weights = np.empty((n, width)), []
    for part in by_head:
        scores = np.where(np.tri(n, dtype=bool), q[:, part] @ k[:, part].T / np.sqrt(size), -np.inf)
        a = np.exp(scores - scores.max(axis=1, keepdims=True))
        weights.append(a / a.sum(axis=1, keepdims=True))
        mixed[:, part] = weights[-1] @ v[:, part]
    e2 = e + mixed @ w["mix"].T
    y, back_y = rms(e2)
    hidden = y @ w["widen"].T
    e3 = e2 + np.maximum(hidden, 0) @ w["narrow"].T
    logits = e3 @ w["head"].T
    shifted = logits - logits.max(axis=1, keepdims=True)
    logp = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    loss = -(share * logp[np.arange(n), targets]).sum()

    g = {name: np.zeros_like(w[name]) for name in TABLES}
    dlogits = np.exp(logp)
    dlogits[np.arange(n), targets] -= 1
    dlogits *= share[:, None]
    g["head"] = dlogits.T @ e3
    de3 = dlogits @ w["head"]
    g["narrow"] = de3.T @ np.maximum(hidden, 0)
    dhidden = (de3 @ w["narrow"]) * (hidden > 0)
    g["widen"] = dhidden.T @ y
    de2 = de3 + back_y(dhidden @ w["widen"])
    g["mix"] = de2.T @ mixed
    dmixed = de2 @ w["mix"]
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for part, a in zip(by_head, weights, strict=True):
        dv[:, part] = a.T @ dmixed[:, part]
        da = dmixed[:, part] @ v[:, part].T
        dscores = a * (da - (a * da).sum(axis=1, keepdims=True)) / np.sqrt(size)
        dq[:, part], dk[:, part] = dscores @ k[:, part], dscores.T @ q[:, part]
    for name, d in (("query", dq), ("key", dk), ("value", dv)):
        g[name] = d.T @ x
    de = de2 + back_x(dq @ w["query"] + dk @ w["key"] + dv @ w["value"])
    dsum = back_e(de)
    np.add.at(g["token"], inputs, dsum)
    g["position"][:n] = dsum
    return loss, g


def numbers(gpt: Any) -> dict[str, Any]:
    return {name: np.array([[p.data for p in row] for row in getattr(gpt, name)]) for name in TABLES}


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    """The mean loss and gradient of the first 16 documents."""
    gpt = model()
    each = [
        document(numbers(gpt), np.array(tokens), np.array(share), HEADS)
        for tokens, share in map(gpt.encoded, documents(case)[:16])
    ]
    gradient = np.mean([np.concatenate([g[name].ravel() for name in TABLES]) for _, g in each], axis=0)
    return {"loss": np.mean([loss for loss, _ in each]), "gradient": gradient}


@JOB.contender("c", note="a row of 16 numbers for each real token, none for padding; the same batches")
def c(case: str) -> Prepared:
    import ctypes

    from macrograd import datasets

    lib, gpt, chosen = native.library("gpt"), model(), documents(case)
    lib.gradient.restype = ctypes.c_float
    start = np.concatenate([numbers(gpt)[name].ravel() for name in TABLES]).astype(np.float32)
    theta, g, m, v = (native.aligned(a) for a in (start, *np.zeros((3, len(start)), np.float32)))
    tokens = np.array([gpt.encoded(d, example()["LONGEST"])[0] for d in chosen], np.int32)
    lengths = np.array([len(d) + 1 for d in chosen], np.int32)
    data, state = [native.pointer(a) for a in (tokens, lengths)], [native.pointer(a) for a in (theta, m, v)]
    first, rate, random, done = np.arange(16, dtype=np.int32), ctypes.c_float(1e-3), np.random.default_rng(0), 0

    def answer() -> dict[str, Any]:
        each = ctypes.c_float(1 / 16)
        loss = lib.gradient(native.pointer(start), *data, native.pointer(first), 16, each, native.pointer(g))
        return {"loss": loss, "gradient": g}

    def train(chosen: np.ndarray, ends: np.ndarray, each: np.ndarray, positions: int) -> np.ndarray:
        """Steps on these documents, the k-th on those up to ends[k], with the weight each[k] of one of them."""
        nonlocal done
        losses = np.zeros(len(ends), np.float32)
        given = [native.pointer(a) for a in (chosen.astype(np.int32), ends.astype(np.int32), each.astype(np.float32))]
        lib.train(*state, *data, *given, len(ends), positions, done, rate, native.pointer(losses))
        done += len(ends)
        return losses

    if case == "7":
        repeated, ends, each = np.tile(first, STEPS), np.arange(16, 16 * STEPS + 1, 16), np.full(STEPS, 1 / 16)
        return Prepared(lambda: train(repeated, ends, each, 7), answer, units=STEPS * 16 * 7)
    packing = datasets.packed(lengths, 16)
    rows = np.where(packing.place == 0, packing.sequence, -1)  # a document at its first position, -1 elsewhere
    counts, last = (rows >= 0).sum(axis=1), np.array([*range(16, len(rows), 16), len(rows)])

    def epoch() -> float:
        """That of `Training.epoch`, its random numbers too."""
        order = random.permutation(len(rows))
        chosen = rows[order].ravel()
        each = len(rows) / len(lengths) / np.diff(last, prepend=0)
        return float(train(chosen[chosen >= 0], counts[order].cumsum()[last - 1], each, 16).mean())

    return Prepared(epoch, answer, units=int(lengths.sum()))


@JOB.contender("macrograd", packages=("macrograd",), note="steps in native code; names: on rows of several")
def macrograd(case: str) -> Prepared:
    import macrograd as mg

    gpt, chosen = model(), documents(case)
    place = {id(p): k for k, p in enumerate(gpt.parameters())}
    training = example()["Training"](gpt, chosen) if case == "names" else None
    compiled = training.loss if training else mg.compile(gpt.loss, batch=True, dtype="float32")

    def answer() -> dict[str, Any]:
        if case == "7":
            data = [np.array(x) for x in zip(*map(gpt.encoded, chosen[:16]), strict=True)]
        else:
            data = example()["arrays"](gpt, chosen[:16])
        step = compiled.bind(*data)
        loss = step()
        gradient = np.zeros(len(place))
        gradient[[place[id(p)] for p in compiled.parameters]] = step.gradient
        return {"loss": loss, "gradient": gradient}

    if training:
        return Prepared(lambda: training.epoch(1e-3), answer, units=sum(len(d) + 1 for d in chosen))

    from macrograd import optim
    from macrograd.compiler.step import TrainingLoop

    adam = optim.Adam(betas=(0.9, 0.99))
    data = [np.array(x) for x in zip(*map(gpt.encoded, chosen), strict=True)]
    loop = TrainingLoop(compiled, data, adam.rule, adam.initial_state, batch_size=16)
    order, lengths, rates = np.tile(np.arange(16), STEPS), np.full(STEPS, 16), np.full(STEPS, 1e-3)
    return Prepared(lambda: loop.run(order, lengths, rates), answer, units=STEPS * 16 * 7)


def padded(chosen: list[str], positions: int) -> gpt_peers.Group:
    """Documents as arrays, filled up to that number of positions."""
    tokens, share = zip(*(model().encoded(d, positions) for d in chosen), strict=True)
    return np.array(tokens, np.int32), np.array(share, np.float32)


def peers_problem(case: str) -> tuple[dict[str, Any], list[gpt_peers.Group], gpt_peers.Group, int]:
    """The start, the groups of padded documents, the first 16 documents, and the tokens of an epoch."""
    chosen = documents(case)
    if case == "7":
        group = padded(chosen, 7)
        repeated = (np.tile(group[0], (STEPS, 1)), np.tile(group[1], (STEPS, 1)))
        return numbers(model()), [repeated], group, STEPS * 16 * 7
    limits = list(pairwise(PADDED))
    groups = [padded([d for d in chosen if low < len(d) + 1 <= high], high) for low, high in limits]
    return numbers(model()), groups, padded(chosen[:16], limits[-1][1]), sum(len(d) + 1 for d in chosen)


@JOB.contender("jax-scan", packages=("jax",), note="an epoch's steps of one length in one jitted lax.scan, padded")
def jax_scan(case: str) -> Prepared:
    return gpt_peers.jax_contender(*peers_problem(case), scan=True)


@JOB.contender("jax-jit", packages=("jax",), note="a jitted call a step, padded")
def jax_jit(case: str) -> Prepared:
    return gpt_peers.jax_contender(*peers_problem(case), scan=False)


@JOB.contender("torch", packages=("torch",), note="eager, fused Adam, padded")
def torch(case: str) -> Prepared:
    return gpt_peers.torch_contender(*peers_problem(case), compiled=False)


@JOB.contender("torch-compile", packages=("torch",), note="torch.compile of the loss, fused Adam, padded")
def torch_compile(case: str) -> Prepared:
    return gpt_peers.torch_contender(*peers_problem(case), compiled=True)


@JOB.contender("macrograd-eager", packages=("macrograd",), cases=("7",), note="plain Values, without the Adam")
def macrograd_eager(case: str) -> Prepared:
    import macrograd as mg

    gpt, chosen = model(), documents(case)
    parameters = gpt.parameters()

    def gradient(names: list[str]) -> float:
        for p in parameters:
            p.grad = 0.0
        loss = mg.mean(gpt.loss(*gpt.encoded(name)) for name in names)
        loss.backward()
        return float(loss.data)

    def answer() -> dict[str, Any]:
        return {"loss": gradient(chosen), "gradient": [p.grad for p in parameters]}

    return Prepared(lambda: gradient(chosen[:1]), answer, units=7, gc=True)
