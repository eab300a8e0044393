"""moons: an MLP 2-16-16-1 with ReLU, hinge loss + 1e-4·Σp², float64; 32 of 100 samples a step.

`gradient` is the mean loss of one batch of 32 and its gradient; `step` is a whole training step, 100 of them in a run:
take the batch, loss and gradient, p −= (1 − 0.9·k/100)·gradient, from the same start.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import data, native, ours
from benchmarks.harness import Job, Prepared

SIZES = (2, 16, 16, 1)
BATCH, STEPS, DECAY = 32, 100, 1e-4

JOB = Job(
    "moons",
    what="MLP 2-16-16-1, ReLU, hinge + 1e-4·Σp², 32 samples, float64",
    unit="gradient or step",
    cases=("gradient", "step"),
    # A hundred steps at a rate near 1 amplify the last bits of different summation orders.
    tolerance={"gradient": 1e-12, "step": 1e-6},
)

X, Y = data.moons()
START = data.flat(data.layers(SIZES, seed=1337, scale=1.0))
INDEX = np.stack([np.random.default_rng(k).choice(100, BATCH, replace=False) for k in range(STEPS)]).astype(np.int32)
RATES = 1.0 - 0.9 * np.arange(STEPS) / STEPS


def loss_and_gradient(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    (W1, b1), (W2, b2), (W3, b3) = data.split(theta, SIZES)
    h1 = np.maximum(x @ W1 + b1, 0.0)
    h2 = np.maximum(h1 @ W2 + b2, 0.0)
    margin = 1.0 - y * (h2 @ W3 + b3)[:, 0]
    d3 = (np.where(margin > 0, -y, 0.0) / len(y))[:, None]
    d2 = (d3 @ W3.T) * (h2 > 0)
    d1 = (d2 @ W2.T) * (h1 > 0)
    gradient = data.flat([(x.T @ d1, d1.sum(0)), (h1.T @ d2, d2.sum(0)), (h2.T @ d3, d3.sum(0))])
    return np.maximum(margin, 0.0).mean() + DECAY * theta @ theta, gradient + 2.0 * DECAY * theta


def train(step: Any) -> dict[str, np.ndarray]:
    """The hundred steps with any (theta, x, y) → (loss, gradient)."""
    theta, losses = START.copy(), []
    for rate, index in zip(RATES, INDEX, strict=True):
        loss, gradient = step(theta, X[index], Y[index])
        losses.append(loss)
        theta = theta - rate * gradient
    return {"losses": np.array(losses), "theta": theta}


@JOB.reference
def reference(case: str) -> dict[str, Any]:
    if case == "step":
        right = train(loss_and_gradient)
        return {**right, "first losses": right["losses"][:3]}
    loss, gradient = loss_and_gradient(START, X[:BATCH], Y[:BATCH])
    return {"loss": loss, "gradient": gradient}


@JOB.contender("c", note="hand-written C, gcc -O3 -march=native -ffast-math, through ctypes")
def c(case: str) -> Prepared:
    import ctypes

    lib = native.library("moons", BATCH=BATCH)
    lib.gradient.restype = ctypes.c_double
    theta, out, losses = START.copy(), np.empty_like(START), np.empty(STEPS)
    if case == "gradient":
        call, args = lib.gradient, [native.pointer(a) for a in (theta, X, Y, out)]
        return Prepared(lambda: call(*args), lambda: {"loss": call(*args), "gradient": out})
    start, epoch = START.copy(), lib.train
    given = [native.pointer(a) for a in (theta, X, Y, INDEX)] + [STEPS, native.pointer(losses)]

    def run() -> None:
        theta[:] = start
        epoch(*given)

    def answer() -> dict[str, Any]:
        run()
        return {"losses": losses, "theta": theta}

    return Prepared(run, answer, units=STEPS)


@JOB.contender("c-inside", cases=("gradient",), note="the same, called a hundred times by C: what the call from Python costs")
def c_inside(case: str) -> Prepared:
    import ctypes

    call = native.library("moons", BATCH=BATCH).gradients
    theta, out = START.copy(), np.empty_like(START)
    args = [*(native.pointer(a) for a in (theta, X, Y, out)), 100, ctypes.c_double(0.0)]

    def answer() -> dict[str, Any]:
        call(*args)
        return {"gradient": out}

    return Prepared(lambda: call(*args), answer, units=100)


def compiled() -> tuple[Any, np.ndarray, Any]:
    """The net as a scalar program of one sample, compiled; where our parameters stand among its own."""
    import macrograd as mg

    layers = ours.values(data.split(START, SIZES))
    parameters = ours.leaves(layers)

    def loss(x: Any, y: Any) -> Any:
        score = ours.net(layers, x)[0]
        return mg.relu(1.0 - y * score) + DECAY * mg.sum([p * p for p in parameters])

    f = mg.compile(loss, batch=True)
    f(X[:BATCH], Y[:BATCH])
    return f, ours.order(f.parameters, parameters), f


@JOB.contender("macrograd", packages=("macrograd",), note="from Python: gradient = value_and_grad; step = a Python loop over it")
def macrograd(case: str) -> Prepared:
    f, places, _ = compiled()
    x, y, theta = X[:BATCH].copy(), Y[:BATCH].copy(), np.asarray(f.theta(), dtype=float)
    back = np.argsort(places)

    def ordered(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = f.value_and_grad(theta[back], x, y)
        return value, np.asarray(gradient)[places]

    if case == "gradient":
        call = f.value_and_grad
        return Prepared(
            lambda: call(theta, x, y),
            lambda: dict(zip(("loss", "gradient"), ordered(START, x, y), strict=True)),
        )
    start = START[back]

    def run() -> None:
        theta = start.copy()
        for rate, index in zip(RATES, INDEX, strict=True):
            _, gradient = f.value_and_grad(theta, X[index], Y[index])
            theta -= rate * gradient

    return Prepared(run, lambda: train(ordered), units=STEPS)


@JOB.contender("macrograd-bound", packages=("macrograd",), cases=("gradient",), note="f.bind(X, y) → step()")
def macrograd_bound(case: str) -> Prepared:
    f, places, _ = compiled()
    x, y = X[:BATCH].copy(), Y[:BATCH].copy()
    step = f.bind(x, y)

    def answer() -> dict[str, Any]:
        f.backward(x, y)
        gradient = np.array([p.grad for p in f.parameters])[places]
        result = step()
        value = result[0] if isinstance(result, tuple) else result
        return {"loss": np.mean(np.asarray(value, dtype=float)), "gradient": gradient}

    return Prepared(step, answer)


# --- peers -----------------------------------------------------------------------------------------------------------


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


@JOB.contender("jax-jit", packages=("jax",), note="jax.jit of value_and_grad (and the update), a call a step")
def jax_jit(case: str) -> Prepared:
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


@JOB.contender("jax-scan", packages=("jax",), note="100 steps in one jitted lax.scan")
def jax_scan(case: str) -> Prepared:
    jax, both, pairs = jax_parts()
    import jax.numpy as jnp

    xs, ys, index, rates = map(jnp.asarray, (X, Y, INDEX, RATES))

    if case == "gradient":
        # The same gradient a hundred times, each from parameters that depend on the one before, so that none is dropped.
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


@JOB.contender("torch", packages=("torch",), note="PyTorch eager, torch.optim.SGD")
def torch_eager(case: str) -> Prepared:
    return torch_contender(case, compiled=False)


@JOB.contender("torch-compile", packages=("torch",), note="torch.compile of the loss")
def torch_compile(case: str) -> Prepared:
    return torch_contender(case, compiled=True)


@JOB.contender(
    "sklearn",
    packages=("sklearn.neural_network",),
    cases=("step",),
    tolerance=float("inf"),
    note="MLPClassifier.fit, 3 batches an epoch; its loss is the logistic one, so nothing is compared",
)
def sklearn(case: str) -> Prepared:
    from sklearn.neural_network import MLPClassifier

    x, y, epochs = X[: 3 * BATCH], Y[: 3 * BATCH], 33
    settings = {"solver": "sgd", "batch_size": BATCH, "learning_rate_init": 0.1, "alpha": 2e-4, "momentum": 0.0}

    def run() -> None:
        MLPClassifier((16, 16), max_iter=epochs, tol=0.0, n_iter_no_change=epochs, **settings).fit(x, y)

    return Prepared(run, lambda: {"losses": np.zeros(STEPS)}, units=3 * epochs)


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


@JOB.contender("micrograd", packages=("micrograd.nn",), note="Python's garbage collector off")
def micrograd(case: str) -> Prepared:
    return micrograd_contender(case, gc=False)


@JOB.contender("micrograd-as-is", packages=("micrograd.nn",), note="as users run it, with Python's garbage collector on")
def micrograd_as_is(case: str) -> Prepared:
    return micrograd_contender(case, gc=True)
