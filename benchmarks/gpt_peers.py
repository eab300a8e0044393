"""gpt with JAX and PyTorch, as their users write it: batches of padded documents, matrices, heads as an axis.

Documents are padded to 7 positions, or to 8 and 16, as with macrograd. A batch that lacks documents is filled up with
some that have no share in the loss, so that every step of a length has one shape and is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.harness import Prepared

BATCH, HEADS = 16, 4
RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.99, 1e-8
Group = tuple[np.ndarray, np.ndarray]  # tokens (documents, positions + 1) and shares (documents, positions)


def loss_of(w: dict[str, Any], tokens: Any, share: Any, lib: Any) -> Any:
    """The mean loss of a batch; `lib` has what JAX and PyTorch name differently."""
    batch, n = share.shape
    width = w["token"].shape[1]

    def rms(x: Any) -> Any:
        return x * ((x * x).mean(-1)[..., None] + 1e-5) ** -0.5

    e = rms(w["token"][tokens[:, :-1]] + w["position"][:n])
    x = rms(e)
    q, k, v = ((x @ w[name].T).reshape(batch, n, HEADS, width // HEADS) for name in ("query", "key", "value"))
    scores = lib.einsum("bthd,bshd->bhts", q, k) * (width // HEADS) ** -0.5 + lib.mask(n)
    mixed = lib.einsum("bhts,bshd->bthd", lib.softmax(scores), v).reshape(batch, n, width)
    e = e + mixed @ w["mix"].T
    e = e + lib.relu(rms(e) @ w["widen"].T) @ w["narrow"].T
    logp = lib.log_softmax(e @ w["head"].T)
    return -(share * lib.pick(logp, tokens[:, 1:])).sum()


def batches(group: Group, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and shares of the steps over documents in that order: a share is that of the batch's mean."""
    steps = -(-len(order) // BATCH)
    tokens = np.zeros((steps * BATCH, group[0].shape[1]), np.int32)
    share = np.zeros((steps * BATCH, group[1].shape[1]), np.float32)
    tokens[: len(order)], share[: len(order)] = group[0][order], group[1][order]
    counts = np.full(steps, BATCH)
    counts[-1] = len(order) - (steps - 1) * BATCH
    share = share.reshape(steps, BATCH, -1) / counts[:, None, None]
    return tokens.reshape(steps, BATCH, -1), share.astype(np.float32)


def jax_contender(start: dict[str, Any], groups: list[Group], first: Group, units: int, scan: bool) -> Prepared:
    import jax
    import jax.numpy as jnp

    lib = SimpleNamespace(
        einsum=jnp.einsum,
        softmax=jax.nn.softmax,
        log_softmax=jax.nn.log_softmax,
        relu=jax.nn.relu,
        mask=lambda n: jnp.where(jnp.tri(n, dtype=bool), 0.0, -jnp.inf),
        pick=lambda logp, target: jnp.take_along_axis(logp, target[..., None], axis=-1)[..., 0],
    )
    both = jax.value_and_grad(lambda w, tokens, share: loss_of(w, tokens, share, lib))
    w = {name: jnp.asarray(x, jnp.float32) for name, x in start.items()}

    def step(carry: Any, batch: Any) -> Any:
        w, m, v, t = carry
        loss, g = both(w, *batch)
        t = t + 1.0
        tree = jax.tree.map
        m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, g)
        v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, g)
        c1, c2 = 1 - BETA1**t, 1 - BETA2**t
        w = tree(lambda p, m, v: p - RATE * (m / c1) / (jnp.sqrt(v / c2) + EPSILON), w, m, v)
        return (w, m, v, t), loss

    one, several = jax.jit(step), jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches))
    zeros = jax.tree.map(jnp.zeros_like, w)
    carry, random = (w, zeros, zeros, jnp.float32(0.0)), np.random.default_rng(0)

    def epoch() -> Any:
        now = carry
        for group in groups:
            made = batches(group, random.permutation(len(group[0])))
            if scan:
                now, losses = several(now, made)
            else:
                for batch in zip(*made, strict=True):
                    now, losses = one(now, batch)
        return jax.block_until_ready((now, losses))

    def answer() -> dict[str, Any]:
        tokens, share = (a[0] for a in batches(first, np.arange(BATCH)))
        loss, g = jax.jit(both)(w, tokens, share)
        epoch()
        return {"loss": loss, "gradient": np.concatenate([np.ravel(g[name]) for name in start])}

    return Prepared(epoch, answer, units=units)


def torch_contender(start: dict[str, Any], groups: list[Group], first: Group, units: int, compiled: bool) -> Prepared:
    import torch

    torch.set_num_threads(1)
    lib = SimpleNamespace(
        einsum=torch.einsum,
        softmax=lambda x: torch.softmax(x, -1),
        log_softmax=lambda x: torch.log_softmax(x, -1),
        relu=torch.relu,
        mask=lambda n: torch.full((n, n), -torch.inf).triu(1),
        pick=lambda logp, target: logp.gather(-1, target[..., None])[..., 0],
    )
    w = {name: torch.tensor(np.asarray(x, np.float32), requires_grad=True) for name, x in start.items()}
    optimizer = torch.optim.Adam(w.values(), lr=RATE, betas=(BETA1, BETA2), eps=EPSILON, fused=True)
    loss: Callable[..., Any] = lambda tokens, share: loss_of(w, tokens, share, lib)  # noqa: E731 - may be compiled
    loss = torch.compile(loss, dynamic=False) if compiled else loss
    random = np.random.default_rng(0)

    def gradient(tokens: np.ndarray, share: np.ndarray) -> Any:
        optimizer.zero_grad(set_to_none=True)
        value = loss(torch.from_numpy(tokens.astype(np.int64)), torch.from_numpy(share))
        value.backward()
        return value

    def epoch() -> list[Any]:
        losses = []
        for group in groups:
            for batch in zip(*batches(group, random.permutation(len(group[0]))), strict=True):
                losses.append(gradient(*batch).detach())
                optimizer.step()
        return losses

    def answer() -> dict[str, Any]:
        value = gradient(*(a[0] for a in batches(first, np.arange(BATCH))))
        found = {"loss": value.item(), "gradient": np.concatenate([w[name].grad.numpy().ravel() for name in start])}
        epoch()
        return found

    return Prepared(epoch, answer, units=units)
