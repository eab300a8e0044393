"""The classifier of the jobs digits, wide, mid and large with the peers: JAX, PyTorch, scikit-learn."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks import data, torch_steps
from benchmarks.classifier import BETA1, BETA2, EPSILON, RATE, Problem
from benchmarks.harness import Prepared


def jax_loss() -> Callable[..., Any]:
    import jax
    import jax.numpy as jnp

    def loss(pairs: Any, x: Any, y: Any) -> Any:
        z = x
        for k, (W, b) in enumerate(pairs):
            z = (jax.nn.relu(z) if k else z) @ W + b
        return jnp.mean(jax.nn.logsumexp(z, axis=1) - jnp.take_along_axis(z, y[:, None], axis=1)[:, 0])

    return loss


def jax_adam(pairs: Any, m: Any, v: Any, t: Any, grads: Any) -> Any:
    import jax
    import jax.numpy as jnp

    tree = jax.tree.map
    m = tree(lambda m, g: BETA1 * m + (1 - BETA1) * g, m, grads)
    v = tree(lambda v, g: BETA2 * v + (1 - BETA2) * g * g, v, grads)
    c1, c2 = 1 - BETA1**t, 1 - BETA2**t
    pairs = tree(lambda p, m, v: p - RATE * (m / c1) / (jnp.sqrt(v / c2) + EPSILON), pairs, m, v)
    return pairs, m, v


def jax_contender(problem: Problem, scan: bool) -> Prepared:
    import jax
    import jax.numpy as jnp

    both = jax.value_and_grad(jax_loss())
    pairs = [(jnp.asarray(W, jnp.float32), jnp.asarray(b, jnp.float32)) for W, b in problem.start]
    zeros = jax.tree.map(jnp.zeros_like, pairs)
    x, y = map(jnp.asarray, problem.first())
    steps = problem.steps

    if problem.gradient_only and not scan:
        call = jax.jit(both)

        def gradient() -> dict[str, Any]:
            loss, grads = call(pairs, x, y)
            return {"loss": loss, "gradient": data.flat(grads)}

        return Prepared(lambda: jax.block_until_ready(call(pairs, x, y)), gradient)
    if problem.gradient_only:

        @jax.jit
        def repeat(pairs: Any, x: Any, y: Any) -> Any:
            def body(carry: Any, _: Any) -> Any:
                loss, grads = both(carry[0], x, y)
                # The next gradient depends on this one, so that none is dropped or hoisted out of the loop.
                return (jax.tree.map(lambda p, g: p - 1e-30 * g, carry[0], grads), grads), loss

            (_, grads), losses = jax.lax.scan(body, (pairs, zeros), None, length=100)
            return losses[-1], grads

        def repeated() -> dict[str, Any]:
            loss, grads = repeat(pairs, x, y)
            return {"loss": loss, "gradient": data.flat(grads)}

        return Prepared(lambda: jax.block_until_ready(repeat(pairs, x, y)), repeated, units=100)
    X, Y, index = map(jnp.asarray, (problem.X, problem.y, problem.index))
    times = jnp.arange(1.0, steps + 1.0)
    if scan:

        @jax.jit
        def epoch(pairs: Any, X: Any, Y: Any) -> Any:
            def body(carry: Any, step: Any) -> Any:
                t, batch = step
                loss, grads = both(carry[0], X[batch], Y[batch])
                return jax_adam(*carry, t, grads), loss

            return jax.lax.scan(body, (pairs, zeros, zeros), (times, index))

        return Prepared(
            lambda: jax.block_until_ready(epoch(pairs, X, Y)), lambda: {"losses": epoch(pairs, X, Y)[1]}, units=steps
        )

    @jax.jit
    def update(carry: Any, t: Any, x: Any, y: Any) -> Any:
        loss, grads = both(carry[0], x, y)
        return jax_adam(*carry, t, grads), loss

    def walk() -> Any:
        carry, losses = (pairs, zeros, zeros), []
        for k in range(steps):
            batch = problem.index[k]
            carry, loss = update(carry, float(k + 1), problem.X[batch], problem.y[batch])
            losses.append(loss)
        return jax.block_until_ready((carry, losses))

    return Prepared(walk, lambda: {"losses": np.array(walk()[1])}, units=steps)


def torch_contender(problem: Problem, compiled: bool = False, threads: int = 1) -> Prepared:
    import torch

    torch.set_num_threads(threads)
    layers = [(torch.nn.Linear(*pair), torch.nn.ReLU()) for pair in itertools.pairwise(problem.sizes)]
    net = torch.nn.Sequential(*list(itertools.chain(*layers))[:-1])

    def reset() -> None:
        with torch.no_grad():
            for layer, (W, b) in zip(net[::2], problem.start, strict=True):
                layer.weight.copy_(torch.tensor(W.T))
                layer.bias.copy_(torch.tensor(b))

    reset()

    def loss_of(x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(net(x), y)

    if compiled:
        loss_of = torch.compile(loss_of)
    x, y = problem.first()
    x, y = torch.tensor(x), torch.tensor(y, dtype=torch.long)

    def gradient() -> Any:
        net.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        return loss

    if problem.gradient_only:

        def answer() -> dict[str, Any]:
            loss = gradient().item()
            pairs = [(layer.weight.grad.numpy().T, layer.bias.grad.numpy()) for layer in net[::2]]
            return {"loss": loss, "gradient": data.flat(pairs)}

        return Prepared(gradient, answer)
    X, Y = torch.tensor(problem.X), torch.tensor(problem.y, dtype=torch.long)
    batches = torch.tensor(problem.index, dtype=torch.long).unbind()

    def epoch() -> list[Any]:
        reset()
        optimizer = torch.optim.Adam(net.parameters(), lr=RATE, fused=True)
        losses = []
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(X[batch], Y[batch])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses

    return Prepared(epoch, lambda: {"losses": [x.item() for x in epoch()]}, units=problem.steps)


def torch_step_contender(problem: Problem) -> Prepared:
    """Loss, gradient and Adam in one compiled function."""
    import torch

    torch.set_num_threads(1)

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        layers = list(zip(parameters[::2], parameters[1::2], strict=True))
        for W, b in layers[:-1]:
            x = torch.relu(x @ W + b)
        return torch.nn.functional.cross_entropy(x @ layers[-1][0] + layers[-1][1], y)

    step = torch_steps.adam(loss, RATE, (BETA1, BETA2), EPSILON)
    start = [torch.tensor(a) for pair in problem.start for a in pair]
    zeros = [torch.zeros_like(p) for p in start]
    X, Y = torch.tensor(problem.X), torch.tensor(problem.y, dtype=torch.long)
    batches = torch.tensor(problem.index, dtype=torch.long).unbind()
    times = torch.arange(1.0, len(batches) + 1).unbind()

    def epoch() -> list[Any]:
        state, losses = (start, zeros, zeros), []
        for t, rows in zip(times, batches, strict=True):
            *state, value = step(*state, t, X[rows], Y[rows])
            losses.append(value)
        return losses

    return Prepared(epoch, lambda: {"losses": [x.item() for x in epoch()]}, units=problem.steps)


def sklearn_contender(problem: Problem) -> Prepared:
    from sklearn.neural_network import MLPClassifier

    n = problem.steps * problem.batch
    order = problem.index.ravel()[:n]
    X, y, epochs = problem.X[order], problem.y[order], 3

    def run() -> Any:
        return MLPClassifier(
            problem.sizes[1:2], solver="adam", alpha=0.0, batch_size=problem.batch, max_iter=epochs, tol=0.0
        ).fit(X, y)

    # It starts from its own random numbers, so the only comparison is that it learns.
    return Prepared(run, lambda: {"losses": np.full(problem.steps, run().loss_)}, units=problem.steps * epochs)
