"""moons with the peers: JAX, PyTorch, scikit-learn, micrograd."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import data, torch_steps
from benchmarks.harness import Prepared
from benchmarks.moons_net import BATCH, DECAY, INDEX, RATES, SIZES, START, STEPS, X, Y


def jax_parts() -> tuple[Any, Any, Any]:
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)

    def loss(pairs: Any, x: Any, y: Any) -> Any:
        (W1, b1), (W2, b2), (W3, b3) = pairs
        h = jax.nn.relu(jax.nn.relu(x @ W1 + b1) @ W2 + b2)
        score = (h @ W3 + b3)[:, 0]
        squares = sum(jnp.sum(a * a) for pair in pairs for a in pair)
        return jnp.mean(jax.nn.relu(1.0 - y * score)) + DECAY * squares

    pairs = [(jnp.asarray(W), jnp.asarray(b)) for W, b in data.split(START, SIZES)]
    return jax, jax.value_and_grad(loss), pairs


def torch_parts(fused_decay: bool = True) -> tuple[Any, Any, Any]:
    import torch

    torch.set_num_threads(1)
    net = torch.nn.Sequential(
        torch.nn.Linear(2, 16), torch.nn.ReLU(), torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1)
    ).double()

    def reset() -> None:
        with torch.no_grad():
            for layer, (W, b) in zip(net[::2], data.split(START, SIZES), strict=True):
                layer.weight.copy_(torch.tensor(W.T))
                layer.bias.copy_(torch.tensor(b))

    reset()
    return torch, net, reset


def torch_flat(net: Any, what: str) -> np.ndarray:
    pick = (lambda p: p.grad) if what == "grad" else (lambda p: p.detach())
    return data.flat([(pick(layer.weight).numpy().T, pick(layer.bias).numpy()) for layer in net[::2]])


def torch_contender(case: str, compiled: bool) -> Prepared:
    torch, net, reset = torch_parts()
    xs, ys = torch.tensor(X), torch.tensor(Y)
    parameters = list(net.parameters())

    def loss_of(x: Any, y: Any) -> Any:
        score = net(x)[:, 0]
        squares = sum((p * p).sum() for p in parameters)
        return torch.relu(1.0 - y * score).mean() + DECAY * squares

    if compiled:
        loss_of = torch.compile(loss_of)
    x, y = xs[:BATCH].clone(), ys[:BATCH].clone()

    def gradient() -> Any:
        net.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        return loss

    if case == "gradient":
        return Prepared(gradient, lambda: {"loss": gradient().item(), "gradient": torch_flat(net, "grad")})
    index = torch.tensor(INDEX.astype(np.int64))
    optimizer = torch.optim.SGD(parameters, lr=1.0)

    def epoch() -> list[Any]:
        reset()
        losses = []
        for k in range(STEPS):
            optimizer.param_groups[0]["lr"] = float(RATES[k])
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(xs[index[k]], ys[index[k]])
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return losses

    def answer() -> dict[str, Any]:
        losses = epoch()
        return {"losses": [x.item() for x in losses], "theta": torch_flat(net, "data")}

    return Prepared(epoch, answer, units=STEPS)


def torch_step_contender() -> Prepared:
    """Loss, gradient and update in one compiled function."""
    import torch

    torch.set_num_threads(1)

    def loss(parameters: Any, x: Any, y: Any) -> Any:
        W1, b1, W2, b2, W3, b3 = parameters
        score = (torch.relu(torch.relu(x @ W1 + b1) @ W2 + b2) @ W3 + b3)[:, 0]
        return torch.relu(1.0 - y * score).mean() + DECAY * sum((p * p).sum() for p in parameters)

    step = torch_steps.sgd(loss)
    start = [torch.tensor(a) for pair in data.split(START, SIZES) for a in pair]
    xs, ys, rates = torch.tensor(X), torch.tensor(Y), torch.tensor(RATES).unbind()
    index = torch.tensor(INDEX.astype(np.int64)).unbind()

    def epoch() -> tuple[Any, list[Any]]:
        parameters, losses = start, []
        for rate, rows in zip(rates, index, strict=True):
            parameters, value = step(parameters, rate, xs[rows], ys[rows])
            losses.append(value)
        return parameters, losses

    def answer() -> dict[str, Any]:
        parameters, losses = epoch()
        return {"losses": [x.item() for x in losses], "theta": np.concatenate([p.numpy().ravel() for p in parameters])}

    return Prepared(epoch, answer, units=STEPS)


def micrograd_contender(case: str, gc: bool) -> Prepared:
    from micrograd.engine import Value
    from micrograd.nn import MLP

    model = MLP(2, [16, 16, 1])

    def reset() -> None:
        for layer, (W, b) in zip(model.layers, data.split(START, SIZES), strict=True):
            for j, neuron in enumerate(layer.neurons):
                for i, w in enumerate(neuron.w):
                    w.data = float(W[i, j])
                neuron.b.data = float(b[j])

    def flat(what: str) -> np.ndarray:
        return data.flat(
            [
                (
                    np.array([[getattr(w, what) for w in n.w] for n in layer.neurons]).T,
                    np.array([getattr(n.b, what) for n in layer.neurons]),
                )
                for layer in model.layers
            ]
        )

    def loss_of(x: np.ndarray, y: np.ndarray) -> Any:
        scores = [model([Value(v) for v in row]) for row in x.tolist()]
        losses = [(1 - yi * score).relu() for yi, score in zip(y.tolist(), scores, strict=True)]
        return sum(losses) * (1.0 / len(losses)) + DECAY * sum(p * p for p in model.parameters())

    def gradient(x: np.ndarray = X[:BATCH], y: np.ndarray = Y[:BATCH]) -> Any:
        loss = loss_of(x, y)
        model.zero_grad()
        loss.backward()
        return loss

    reset()
    if case == "gradient":
        return Prepared(gradient, lambda: {"loss": gradient().data, "gradient": flat("grad")}, gc=gc)
    position = [0]

    def step() -> float:
        k = position[0] % STEPS
        if k == 0:
            reset()
        position[0] += 1
        loss = gradient(X[INDEX[k]], Y[INDEX[k]])
        for p in model.parameters():
            p.data -= RATES[k] * p.grad
        return float(loss.data)

    def answer() -> dict[str, Any]:
        # Three steps of the hundred: they take up to half a second each.
        return {"first losses": [step() for _ in range(3)]}

    return Prepared(step, answer, gc=gc)


def jax_jit_contender(case: str) -> Prepared:
    jax, both, pairs = jax_parts()
    x, y = jax.device_put(X[:BATCH]), jax.device_put(Y[:BATCH])
    if case == "gradient":
        call = jax.jit(both)

        def gradient() -> dict[str, Any]:
            loss, grads = call(pairs, x, y)
            return {"loss": loss, "gradient": data.flat(grads)}

        return Prepared(lambda: jax.block_until_ready(call(pairs, x, y)), gradient)

    @jax.jit
    def update(pairs: Any, rate: Any, x: Any, y: Any) -> Any:
        loss, grads = both(pairs, x, y)
        return loss, jax.tree.map(lambda p, g: p - rate * g, pairs, grads)

    def epoch() -> tuple[Any, Any]:
        now, losses = pairs, []
        for rate, index in zip(RATES, INDEX, strict=True):
            loss, now = update(now, rate, X[index], Y[index])
            losses.append(loss)
        return jax.block_until_ready((losses, now))

    def answer() -> dict[str, Any]:
        losses, now = epoch()
        return {"losses": np.array(losses), "theta": data.flat(now)}

    return Prepared(epoch, answer, units=STEPS)


def jax_scan_contender(case: str) -> Prepared:
    jax, both, pairs = jax_parts()
    import jax.numpy as jnp

    xs, ys, index, rates = map(jnp.asarray, (X, Y, INDEX, RATES))

    if case == "gradient":
        # The same gradient a hundred times, each after the one before, so that none is dropped.
        @jax.jit
        def repeat(pairs: Any, x: Any, y: Any) -> Any:
            def body(carry: Any, _: Any) -> Any:
                loss, grads = both(carry, x, y)
                return jax.tree.map(lambda p, g: p + 0.0 * g, carry, grads), (loss, grads)

            _, (losses, grads) = jax.lax.scan(body, pairs, None, length=STEPS)
            return losses[-1], jax.tree.map(lambda g: g[-1], grads)

        x, y = xs[:BATCH], ys[:BATCH]

        def gradient() -> dict[str, Any]:
            loss, grads = repeat(pairs, x, y)
            return {"loss": loss, "gradient": data.flat(grads)}

        return Prepared(lambda: jax.block_until_ready(repeat(pairs, x, y)), gradient, units=STEPS)

    @jax.jit
    def epoch(pairs: Any, xs: Any, ys: Any) -> Any:
        def body(carry: Any, step: Any) -> Any:
            rate, batch = step
            loss, grads = both(carry, xs[batch], ys[batch])
            return jax.tree.map(lambda p, g: p - rate * g, carry, grads), loss

        return jax.lax.scan(body, pairs, (rates, index))

    def answer() -> dict[str, Any]:
        now, losses = epoch(pairs, xs, ys)
        return {"losses": losses, "theta": data.flat(now)}

    return Prepared(lambda: jax.block_until_ready(epoch(pairs, xs, ys)), answer, units=STEPS)


def sklearn_contender(case: str) -> Prepared:
    from sklearn.neural_network import MLPClassifier

    x, y, epochs = X[: 3 * BATCH], Y[: 3 * BATCH], 33
    settings = {"solver": "sgd", "batch_size": BATCH, "learning_rate_init": 0.1, "alpha": 2e-4, "momentum": 0.0}

    def run() -> None:
        MLPClassifier((16, 16), max_iter=epochs, tol=0.0, n_iter_no_change=epochs, **settings).fit(x, y)

    return Prepared(run, lambda: {"losses": np.zeros(STEPS)}, units=3 * epochs)
