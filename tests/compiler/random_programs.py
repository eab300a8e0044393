"""Programs at random: the same text runs eagerly on numbers and, compiled, on every back end.

A program is a list of lines (name, i, j, k): an operation and the entries that it takes, counted modulo the number of
entries so far, so that every list is a program: with shared entries, duplicate operands and dead code. What it computes
stays of moderate size: `_scaled` multiplies by powers of two, which rounds nothing.

Where an operation has a step or a kink, an error of one rounding could flip it, and a comparison of two engines that
may round differently would be a lottery. Steps therefore look only at the leaves, whose numbers are the same in both;
kinks stand 0.1234567 away from the sums of the leaves (which are multiples of 1/16), or exactly on a leaf.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

import macrograd as mg
from macrograd import Value, ops

_OFF = 0.1234567
_MOST = 6  # binary digits before the point that an entry may have
Entry = tuple[Any, int]  # a scalar, and how many binary digits it may have


def _scaled(x: Any, digits: int) -> Entry:
    return (x, digits) if digits <= _MOST else (x * 2.0**-digits, 1)


def _positive(a: Entry) -> Entry:
    return a[0] * a[0] + 0.5, 2 * a[1] + 1


# name → function of three entries and two leaves.
LINES: dict[str, Callable[[Entry, Entry, Entry, Any, Any], Entry]] = {
    "add": lambda a, b, c, x, y: (a[0] + b[0], max(a[1], b[1]) + 1),
    "sub": lambda a, b, c, x, y: (a[0] - b[0], max(a[1], b[1]) + 1),
    "mul": lambda a, b, c, x, y: (a[0] * b[0], a[1] + b[1]),
    "div": lambda a, b, c, x, y: (a[0] / _positive(b)[0], a[1] + 1),
    "neg": lambda a, b, c, x, y: (-a[0], a[1]),
    "abs": lambda a, b, c, x, y: (abs(a[0] + _OFF), a[1] + 1),
    "abs of a leaf": lambda a, b, c, x, y: (abs(x), 2),
    "sign": lambda a, b, c, x, y: (ops.sign(x), 1),
    "pow 3": lambda a, b, c, x, y: (a[0] ** 3, 3 * a[1]),
    "pow 2": lambda a, b, c, x, y: (a[0] ** 2, 2 * a[1]),
    "pow 1": lambda a, b, c, x, y: (a[0] ** 1, a[1]),
    "pow 0": lambda a, b, c, x, y: (a[0] ** 0, 1),
    "pow -1": lambda a, b, c, x, y: (_positive(a)[0] ** -1, 1),
    "pow ½": lambda a, b, c, x, y: (_positive(a)[0] ** 0.5, a[1] + 1),
    "pow of two": lambda a, b, c, x, y: (_positive(a)[0] ** mg.tanh(b[0]), 2 * a[1] + 1),
    "number pow": lambda a, b, c, x, y: (1.5 ** mg.tanh(a[0]), 1),
    "exp": lambda a, b, c, x, y: (mg.exp(mg.tanh(a[0])), 2),
    "log": lambda a, b, c, x, y: (mg.log(_positive(a)[0]), a[1] + 1),
    "log1p": lambda a, b, c, x, y: (mg.log1p(a[0] * a[0]), a[1] + 1),
    "sqrt": lambda a, b, c, x, y: (mg.sqrt(_positive(a)[0]), a[1] + 1),
    "tanh": lambda a, b, c, x, y: (mg.tanh(a[0]), 1),
    "sigmoid": lambda a, b, c, x, y: (mg.sigmoid(a[0]), 1),
    "softplus": lambda a, b, c, x, y: (mg.softplus(a[0]), a[1] + 1),
    "relu": lambda a, b, c, x, y: (mg.relu(a[0] + _OFF), a[1] + 1),
    "relu of a leaf": lambda a, b, c, x, y: (mg.relu(x), 2),
    "sin": lambda a, b, c, x, y: (mg.sin(a[0]), 1),
    "cos": lambda a, b, c, x, y: (mg.cos(a[0]), 1),
    "maximum": lambda a, b, c, x, y: (mg.maximum(a[0], a[0] + b[0] + _OFF), max(a[1], b[1]) + 2),
    "maximum of leaves": lambda a, b, c, x, y: (mg.maximum(x, y), 2),
    "maximum, tied": lambda a, b, c, x, y: (mg.maximum(a[0], a[0]), a[1]),
    "minimum": lambda a, b, c, x, y: (mg.minimum(a[0] + b[0] + _OFF, a[0]), max(a[1], b[1]) + 2),
    "minimum of leaves": lambda a, b, c, x, y: (mg.minimum(x, y), 2),
    "random": lambda a, b, c, x, y: (ops.random(x * 16.0, y * 16.0, 7.0) * a[0], a[1]),
    "less": lambda a, b, c, x, y: (ops.less(x, y), 1),
    "less_equal": lambda a, b, c, x, y: (ops.less_equal(x, y), 1),
    "where": lambda a, b, c, x, y: (mg.where(ops.less(x, y), a[0], b[0]), max(a[1], b[1])),
    "where a leaf": lambda a, b, c, x, y: (mg.where(x, a[0], b[0]), max(a[1], b[1])),
    # What is not taken is multiplied by 0, as the contract of a gate is.
    "gate": lambda a, b, c, x, y: (
        ops.gate(ops.less(x, y), a[0]) * mg.where(ops.less(x, y), b[0], 0.0),
        a[1] + b[1] + 1,
    ),
    "detach": lambda a, b, c, x, y: (a[0] * mg.detach(a[0]), 2 * a[1]),
    "onehot": lambda a, b, c, x, y: (ops.onehot(x, 0.5, a[0]), a[1]),
    "sum": lambda a, b, c, x, y: (mg.sum([a[0], b[0], a[0], c[0]]), max(a[1], b[1], c[1]) + 2),
    "dot": lambda a, b, c, x, y: (mg.dot([a[0], b[0], x], [b[0], c[0], c[0]]), a[1] + b[1] + c[1] + 3),
    "floor": lambda a, b, c, x, y: (mg.floor(x), 2),
    "ceil": lambda a, b, c, x, y: (mg.ceil(x), 2),
    "round": lambda a, b, c, x, y: (mg.round(x), 2),
    "mod": lambda a, b, c, x, y: (mg.mod(x, 0.75) * a[0], a[1]),
    "erf": lambda a, b, c, x, y: (mg.erf(a[0]), 1),
    "erfc": lambda a, b, c, x, y: (mg.erfc(a[0]), 2),
    "norm_cdf": lambda a, b, c, x, y: (mg.norm_cdf(a[0]), 1),
    "expm1": lambda a, b, c, x, y: (mg.expm1(mg.tanh(a[0])), 2),
    "sinh": lambda a, b, c, x, y: (mg.sinh(mg.tanh(a[0])), 2),
    "cosh": lambda a, b, c, x, y: (mg.cosh(mg.tanh(a[0])), 2),
    "tan": lambda a, b, c, x, y: (mg.tan(mg.tanh(a[0])), 2),
    "atan": lambda a, b, c, x, y: (mg.atan(a[0]), 2),
    "atan2": lambda a, b, c, x, y: (mg.atan2(a[0], _positive(b)[0]), 2),
    "asin": lambda a, b, c, x, y: (mg.asin(0.5 * mg.tanh(a[0])), 2),
    "acos": lambda a, b, c, x, y: (mg.acos(0.5 * mg.tanh(a[0])), 2),
    "hypot": lambda a, b, c, x, y: (mg.hypot(a[0], _positive(b)[0]), max(a[1], 2 * b[1]) + 2),
    "cbrt": lambda a, b, c, x, y: (mg.cbrt(_positive(a)[0]), a[1] + 1),
    "lgamma": lambda a, b, c, x, y: (mg.lgamma(1.5 + mg.tanh(a[0])), 2),
    "digamma": lambda a, b, c, x, y: (mg.digamma(1.5 + mg.tanh(a[0])), 2),
    "polygamma": lambda a, b, c, x, y: (mg.polygamma(1.0, 1.5 + mg.tanh(a[0])), 3),
    "constants": lambda a, b, c, x, y: ((2.0 + 1.0) * 0.5 + 0.0 * a[0] + 1.0 * a[0] - 0.0, a[1] + 2),
}

Line = tuple[str, int, int, int]


@dataclass(frozen=True, eq=False)
class RandomProgram:
    """A program of `inputs` inputs, an index and parameters: `lines` as above, and `results`, entries counted from the
    end."""

    lines: list[Line]
    inputs: int
    parameters: list[Value]
    results: list[int]

    def __call__(self, x: Sequence[Any], index: Any) -> list[Any]:
        leaves = [*x, *self.parameters]
        entries: list[Entry] = [(leaf, 2) for leaf in leaves]
        for name, i, j, k in self.lines:
            a, b, c = (entries[m % len(entries)] for m in (-1 - i, -1 - j, -1 - k))
            if name == "take":
                found = (mg.take([a[0], b[0], c[0], a[0]], index), max(a[1], b[1], c[1]))
            else:
                found = LINES[name](a, b, c, leaves[j % len(leaves)], leaves[k % len(leaves)])
            entries.append(_scaled(*found))
        return [entries[-1 - (m % len(entries))][0] for m in self.results] + [x[0] * self.parameters[0]]

    def loss(self, x: Sequence[Any], index: Any) -> Any:
        return mg.sum(self(x, index))

    def data(self, samples: int, seed: int = 0) -> tuple[Any, Any]:
        """Multiples of 1/16, exact in every type; half of them of 1/2, for zeros and ties."""
        random = np.random.default_rng(seed)
        fine, coarse = random.integers(-32, 33, (samples, self.inputs)), random.integers(-2, 3, (samples, self.inputs))
        X = np.where(random.random(fine.shape) < 0.5, fine / 16, coarse / 2)
        return X, random.integers(0, 4, samples)


def line(names: Sequence[str]) -> st.SearchStrategy[Line]:
    return st.tuples(st.sampled_from(names), st.integers(0, 7), st.integers(0, 40), st.integers(0, 40))


@st.composite
def programs(draw: Any, names: Sequence[str] = (*LINES, "take"), longest: int = 50) -> RandomProgram:
    lines = draw(st.lists(line(names), min_size=1, max_size=longest))
    parameters = [Value(k / 16) for k in draw(st.lists(st.integers(-32, 32), min_size=1, max_size=4))]
    results = draw(st.lists(st.integers(0, 60), min_size=1, max_size=4))
    return RandomProgram(lines, draw(st.integers(1, 4)), parameters, results)


@dataclass(frozen=True, eq=False)
class Recurrence(RandomProgram):
    """The lines as one step of a recurrence: their last entries are the next step's state, `steps` times over."""

    steps: int = 5

    def __call__(self, x: Sequence[Any], index: Any) -> list[Any]:
        state = [x[k % len(x)] * p for k, p in enumerate(self.parameters)]
        for step in range(self.steps):
            cell = RandomProgram(self.lines, 1, [*state, *self.parameters], list(range(len(state))))
            found = cell([x[step % len(x)]], index)
            state = [mg.tanh(a) for a in found[: len(state)]]
        return [*state, x[0] * self.parameters[0]]


@st.composite
def recurrences(draw: Any, names: Sequence[str]) -> Recurrence:
    program = draw(programs(names=names, longest=8))
    return Recurrence(program.lines, program.inputs, program.parameters, [], draw(st.integers(3, 40)))


def every_line(names: Sequence[str] = (*LINES, "take")) -> RandomProgram:
    """Every operation, on something that depends on inputs and parameters, and once more on the one before it."""
    inputs, parameters = 3, [Value(0.75), Value(-1.25)]
    lines: list[Line] = [("dot", 0, 1, 2), ("mul", 0, 2, 3)]
    first = inputs + len(parameters)

    def back(entry: int) -> int:
        """How far behind the newest entry."""
        return first + len(lines) - 1 - entry

    for name in names:
        lines.append((name, back(first), back(first + 1), back(3)))
    lines += [(name, 0, 1, 2) for name in names]
    return RandomProgram(lines, inputs, parameters, list(range(len(lines))))


# --- the oracle: the eager engine ---------------------------------------------------------------------------


def number(x: Any) -> float:
    return x.data if isinstance(x, Value) else float(x)


# Larger batches repeat this many samples, since the eager engine would take most of the time. A prime, so that a sample
# never stands in the same lane of the same vector again for long.
DIFFERENT = 53


def eager_values(program: RandomProgram, X: Any, index: Any) -> Any:
    return np.array([[number(r) for r in program(x, float(i))] for x, i in zip(X.tolist(), index, strict=True)])


def eager_gradients(program: RandomProgram, X: Any, index: Any) -> tuple[Any, Any, float]:
    """Loss (samples,) and gradient (samples, parameters) of each sample, and the largest number of any graph."""
    losses, gradients, largest = [], [], 1.0
    for x, i in zip(X.tolist(), index, strict=True):
        for p in program.parameters:
            p.grad = 0.0
        loss = program.loss(x, float(i))
        loss.backward()
        losses.append(loss.data)
        gradients.append([p.grad for p in program.parameters])
        nodes = graph(loss)
        largest = max(largest, *(abs(node.grad) for node in nodes), *(abs(node.data) for node in nodes))
    for p in program.parameters:
        p.grad = 0.0
    return np.array(losses), np.array(gradients), largest


@dataclass(frozen=True)
class Eager:
    """What the eager engine makes of samples: the values of each, (samples, results), and as `eager_gradients`."""

    X: Any
    index: Any
    values: Any
    losses: Any
    gradients: Any
    largest: float


@lru_cache(maxsize=8)  # the sizes of the batches of a program, with which every back end is compared
def eager(program: RandomProgram, samples: int) -> Eager:
    X, index = program.data(samples)
    return Eager(X, index, eager_values(program, X, index), *eager_gradients(program, X, index))


def graph(root: Value) -> list[Value]:
    from macrograd.value import topological

    return topological(root)
