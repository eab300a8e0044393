"""Random nets and losses. All functions are at the top level of this module, so that trainers can be pickled."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import macrograd as mg
from macrograd import Value, nn

Make = Callable[[int], nn.Module]

ACTIVATIONS = ["relu", "tanh", "sigmoid", "softplus", "leaky_relu", "sin", "silu", "gelu"]
# Their strict programs have the eager engine's bits: no function of Python's `math` is called.
EXACT = ["relu", "leaky_relu"]


class Named(nn.Module):
    """A net whose text does not depend on where it is in memory."""

    def __repr__(self) -> str:
        return type(self).__name__


class Dropped(Named):
    """A net with units that are left out."""

    def __init__(self, sizes: list[int], activation: str, rate: float, seed: int) -> None:
        self.first = nn.Layer(sizes[0], sizes[1], activation=activation, seed=seed)
        self.dropout = nn.Dropout(rate)
        self.last = nn.Layer(sizes[1], sizes[2], nonlin=False, seed=seed + 1)

    def __call__(self, x: Any) -> Any:
        hidden = self.dropout(self.first(x))
        return self.last(hidden if hasattr(hidden, "__len__") else [hidden])


class Shared(Named):
    """Scalar code, in which two places have the same parameters, and one parameter is in no place."""

    def __init__(self, nin: int, nout: int, rounds: int, exact: bool, seed: int) -> None:
        rng = random.Random(seed)
        self.w = [Value(rng.uniform(-0.8, 0.8)) for _ in range(nin)]
        self.heads = {f"h{k}": (self.w[0], Value(rng.uniform(-1.0, 1.0))) for k in range(nout)}
        self.unused = Value(0.5)
        self.rounds, self.exact = rounds, exact

    def __call__(self, x: Any) -> Any:
        total = self.w[0] * x[0]
        for k in range(self.rounds):
            w, number = self.w[k % len(self.w)], x[k % len(x)]
            step = w * number - 0.25 * total
            total = mg.relu(step) + 0.5 * total if self.exact else mg.tanh(step) + 0.5 * total
        out = [a * total + b for a, b in self.heads.values()]
        return out if len(out) > 1 else out[0]


class Chooses(Named):
    """Scalar code with choices, divisions and powers."""

    def __init__(self, nin: int, nout: int, seed: int) -> None:
        self.net = nn.MLP(nin, [3, nout], activation="tanh", seed=seed)
        self.shift = Value(0.3)
        self.power = Value(1.5)

    def __call__(self, x: Any) -> Any:
        inputs = [mg.where(v < self.shift, v * 0.5, v / (1.0 + v * v)) for v in x]
        found = self.net(inputs)
        bent = [mg.exp(0.1 * self.power * mg.tanh(z)) * z for z in (found if hasattr(found, "__len__") else [found])]
        return bent if len(bent) > 1 else bent[0]


class Frozen(Named):
    """A net whose first layer is not trained."""

    def __init__(self, nin: int, width: int, nout: int, activation: str, seed: int) -> None:
        self.first = nn.Layer(nin, width, activation=activation, seed=seed)
        self.first.freeze()
        self.last = nn.Layer(width, nout, nonlin=False, seed=seed + 7)

    def __call__(self, x: Any) -> Any:
        hidden = self.first(x)
        return self.last(hidden if hasattr(hidden, "__len__") else [hidden])


def draw(rng: random.Random, nin: int, nout: int, *, exact: bool = False) -> tuple[str, Make]:
    """(what it is, a function that makes it with a seed)."""
    choices = EXACT if exact else ACTIVATIONS
    kind = rng.choice(["mlp", "mlp", "mlp", "dropped", "shared", "frozen", *([] if exact else ["chooses", "tabular"])])
    activation, width = rng.choice(choices), rng.choice([1, 2, 3, 5])
    if kind == "dropped":
        rate = rng.choice([0.1, 0.25, 0.5])
        return f"dropped {rate} {activation} {width}", lambda s: Dropped([nin, width, nout], activation, rate, s)
    if kind == "shared":
        rounds = rng.choice([1, 2, 5])
        return f"shared {rounds}", lambda s: Shared(nin, nout, rounds, exact, s)
    if kind == "chooses":
        return "chooses", lambda s: Chooses(nin, nout, s)
    if kind == "frozen":
        return f"frozen {activation} {width}", lambda s: Frozen(nin, width, nout, activation, s)
    if kind == "tabular":
        members = rng.choice([1, 2, 3])
        return f"tabular {members} {activation}", lambda s: nn.Tabular(
            nin, [width], nout, activation=activation, members=members, seed=s
        )
    hidden = [rng.choice([1, 2, 4, 6]) for _ in range(rng.choice([0, 1, 1, 2]))]
    several = [rng.choice(choices) for _ in hidden]
    return f"mlp {hidden} {several}", lambda s: nn.MLP(nin, [*hidden, nout], activation=several, seed=s)


# --- losses of one's own ------------------------------------------------------------------------------------------


def _pairs(prediction: Any, target: Any) -> list[tuple[Any, Any]]:
    several = hasattr(prediction, "__len__")
    return list(zip(prediction, target, strict=True)) if several else [(prediction, target)]


def log_cosh(prediction: Any, target: Any) -> Any:
    """log cosh of the error, as softplus has it."""
    return mg.sum([mg.softplus(2.0 * (p - t)) - (p - t) for p, t in _pairs(prediction, target)])


def quartic(prediction: Any, target: Any) -> Any:
    """Arithmetic alone."""
    return mg.sum([(p - t) * (p - t) / (1.0 + (p - t) * (p - t)) for p, t in _pairs(prediction, target)])


def quantile(prediction: Any, target: Any) -> Any:
    """A loss with a kink."""
    return mg.sum([mg.maximum(0.7 * (t - p), 0.3 * (p - t)) for p, t in _pairs(prediction, target)])


def whole(model: Any, x: Any, y: Any) -> Any:
    """A loss that calls the model itself, twice."""
    here, there = model(x), model([0.5 * v for v in x])
    errors = [(p - t) * (p - t) for p, t in _pairs(here, y)]
    return mg.sum(errors) + 0.1 * mg.sum([abs(p - q) for p, q in _pairs(here, there)])


def absolutes(model: nn.Module) -> Any:
    """An L1 penalty."""
    return 0.01 * mg.sum([abs(p) for p in model.parameters()])


def tied(model: nn.Module) -> Any:
    """A penalty of two parameters together."""
    found = model.parameters()
    return 0.05 * (found[0] - found[-1]) * (found[0] - found[-1])


OWN = {"log_cosh": log_cosh, "quartic": quartic, "quantile": quantile, "whole": whole}
PENALTIES = {"absolutes": absolutes, "tied": tied}
