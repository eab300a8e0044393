"""accuracy: full training on scikit-learn's digits, 64-H-10, Adam 1e-3, 20 epochs of batches of 32, float32, five
seeds.

A seed determines a split of the data (80 % for training), the initial weights and the order of the samples, the same
for all contenders, so that only arithmetic differs. Reported are the time of an epoch, including everything around the
steps, and the accuracy on the rest of the data.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from benchmarks import classifier, classifier_peers, data, ours
from benchmarks.harness import Job, Prepared

CASES = {"128": 128, "32": 32}
TRAIN, BATCH, EPOCHS, SEEDS = 1437, 32, 20, range(5)

Pairs = list[tuple[np.ndarray, np.ndarray]]

JOB = Job(
    "accuracy",
    what="digits, 64-H-10, ReLU, cross-entropy, Adam 1e-3, 20 epochs of batches of 32, float32; H is the case",
    unit="epoch",
    cases=tuple(CASES),
    # For the test losses. Rounding errors grow over 900 steps, and more where two digits are hard to distinguish.
    tolerance=2e-2,
    baseline="torch",
    quick=("32",),
)


@cache
def split(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """X and y for training, and X and y for testing."""
    X, y, _ = data.digits()
    order = np.random.default_rng(seed).permutation(len(X))
    first, rest = order[:TRAIN], order[TRAIN:]
    return X[first], y[first], X[rest], y[rest]


def start(case: str, seed: int) -> Pairs:
    return [(W.astype(np.float32), b.astype(np.float32)) for W, b in data.layers((64, CASES[case], 10), seed=seed)]


def batches(seed: int) -> list[np.ndarray]:
    """The rows of every step: macrograd's own order, which the others are given."""
    from macrograd.train.samples.order import Order

    order = Order(TRAIN, BATCH, shuffle=True, seed=seed)
    rows, lengths = order.steps(0, EPOCHS * order.steps_per_epoch)
    return np.split(rows.copy(), np.cumsum(lengths)[:-1])


def judged(learn: Callable[[int], Pairs], extra: dict[str, Any]) -> dict[str, Any]:
    """The test losses of all seeds' trained nets; their accuracies go into `extra`."""
    losses, right = [], []
    for seed in SEEDS:
        pairs = [(W.astype(float), b.astype(float)) for W, b in learn(seed)]
        _, _, x, y = split(seed)
        losses.append(classifier.loss_and_gradient(pairs, x.astype(float), y)[0])
        (W1, b1), (W2, b2) = pairs
        right.append(np.mean((np.maximum(x @ W1 + b1, 0.0) @ W2 + b2).argmax(axis=1) == y))
    extra["accuracy"] = round(float(np.mean(right)), 5)
    extra["of each seed"] = ", ".join(f"{share:.3f}" for share in right)
    return {"test losses": losses}


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    def learn(seed: int) -> Pairs:
        X, y, _, _ = split(seed)
        pairs = [(W.astype(float), b.astype(float)) for W, b in start(case, seed)]
        adam = classifier.Adam()
        for rows in batches(seed):
            _, gradient = classifier.loss_and_gradient(pairs, X[rows].astype(float), y[rows])
            pairs = data.split(adam(data.flat(pairs), data.flat(gradient)), (64, CASES[case], 10))
        return pairs

    return judged(learn, {})


@JOB.contender("macrograd", packages=("macrograd",), note="Trainer.fit of an nn.MLP")
def macrograd(case: str) -> Prepared:
    from macrograd import Trainer, optim

    model = ours.mlp(start(case, 0))
    trainer = Trainer(model, optimizer=optim.Adam(1e-3), dtype="float32")

    def learn(seed: int) -> Pairs:
        X, y, _, _ = split(seed)
        ours.fill(model, start(case, seed))
        trainer.optimizer.load_state_dict({"steps": 0, "state": []})
        with warnings.catch_warnings():  # all contenders learn from raw pixels
            warnings.filterwarnings("ignore", "the features differ in scale")
            trainer.fit(X, y, epochs=EPOCHS, batch_size=BATCH, seed=seed, progress=False)
        return ours.pairs(model)

    extra: dict[str, Any] = {}
    return Prepared(lambda: learn(0), lambda: judged(learn, extra), units=EPOCHS, extra=extra)


@JOB.contender("torch", packages=("torch",), note="eager, fused Adam")
def torch(case: str) -> Prepared:
    import torch

    torch.set_num_threads(1)
    net = torch.nn.Sequential(torch.nn.Linear(64, CASES[case]), torch.nn.ReLU(), torch.nn.Linear(CASES[case], 10))

    def learn(seed: int) -> Pairs:
        X, y = torch.tensor(split(seed)[0]), torch.tensor(split(seed)[1], dtype=torch.long)
        with torch.no_grad():
            for layer, (W, b) in zip(net[::2], start(case, seed), strict=True):
                layer.weight.copy_(torch.tensor(W.T))
                layer.bias.copy_(torch.tensor(b))
        optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        for rows in map(torch.tensor, batches(seed)):
            optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(net(X[rows]), y[rows]).backward()
            optimizer.step()
        return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in net[::2]]

    extra: dict[str, Any] = {}
    return Prepared(lambda: learn(0), lambda: judged(learn, extra), units=EPOCHS, extra=extra)


@JOB.contender("jax-scan", packages=("jax",), note="an epoch in one jitted lax.scan, its last batch by itself")
def jax_scan(case: str) -> Prepared:
    import jax
    import jax.numpy as jnp

    both, n = jax.value_and_grad(classifier_peers.jax_loss()), TRAIN // BATCH

    def step(carry: Any, batch: Any) -> Any:
        t = carry[3] + 1.0
        _, gradients = both(carry[0], *batch)
        return (*classifier_peers.jax_adam(*carry[:3], t, gradients), t), None

    @jax.jit
    def epoch(carry: Any, X: Any, y: Any, full: Any, rest: Any) -> Any:
        carry, _ = jax.lax.scan(lambda c, rows: step(c, (X[rows], y[rows])), carry, full)
        return step(carry, (X[rest], y[rest]))[0]

    def learn(seed: int) -> Pairs:
        X, y = map(jnp.asarray, split(seed)[:2])
        pairs = [(jnp.asarray(W), jnp.asarray(b)) for W, b in start(case, seed)]
        zeros, rows = jax.tree.map(jnp.zeros_like, pairs), batches(seed)
        carry = (pairs, zeros, zeros, jnp.float32(0.0))
        for k in range(0, len(rows), n + 1):
            carry = epoch(carry, X, y, np.stack(rows[k : k + n]), rows[k + n])
        return [(np.asarray(W), np.asarray(b)) for W, b in carry[0]]

    extra: dict[str, Any] = {}
    return Prepared(lambda: learn(0), lambda: judged(learn, extra), units=EPOCHS, extra=extra)
