"""Random bodies for `mg.loop`: eager against compiled, values and gradients.

`python -m tests.fuzz.loops [first seed] [seconds]` tries one seed after the other and prints those that differ.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import macrograd as mg

_UNARY = ["mg.tanh({0})", "mg.sin({0})", "mg.sigmoid({0})", "mg.cos({0} * 0.5)", "-{0}", "{0} * 0.9", "abs({0})"]
_BINARY = [
    "{0} + {1} * 0.5", "{0} * {1}", "{0} - {1}", "{0} / (1.0 + {1} * {1})", "mg.maximum({0}, {1})", "{0} * {1} + {0}",
    "mg.cond({0} < {1}, lambda: {0} * 0.7, lambda: mg.sin({1}))",
    "mg.while_loop(lambda s: abs(s) > 0.5, lambda s: s * 0.4, {0} + {1}, most=6)",
    "mg.linalg.solve([[2.5 + abs({0}), mg.tanh({1})], [0.5, 3.0]], [{1}, {0}])[0]",
    "mg.linalg.det([[{0}, 0.3], [{1}, 1.5]])", "{0} * mg.random.uniform(7, {i}, 2) + {1} * 0.1",
    "mg.where({0} < {1}, {0} * 0.5, {1})", "mg.where({0} > 0.1, mg.log(abs({0}) + 0.5), {1})", "mg.minimum({0}, {1})",
]  # fmt: skip


@dataclass
class Case:
    """A program with loops, as text and as a function of y (n,), z (n + 5,) and x, and its parameters."""

    text: str
    fn: Callable[..., Any]
    parameters: list[mg.Value]
    arguments: list[Any]


class _Writer:
    def __init__(self, rng: random.Random) -> None:
        self.rng, self.lines, self.made = rng, list[str](), 0
        self.n = rng.choice([97, 100, 121, 128, 500, 1_100, 2_000])

    def read(self, counter: str, count: int) -> str:
        """An element of an array by a round number."""
        name, length = self.rng.choice([("y", self.n), ("z", self.n + 5), ("C", self.n)])
        if length < count:
            return "x"
        forms = [counter, f"{length - 1} - {counter}", f"{count - 1} - {counter}"]
        if length > count:
            forms += [f"{counter} + {length - count}"]
        return f"mg.take({name}, {self.rng.choice(forms)})"

    def leaf(self, state: list[str], counters: list[tuple[str, int]]) -> str:
        counter, count = self.rng.choice(counters)
        kind = self.rng.random()
        if kind < 0.45:
            return self.rng.choice(state)
        if kind < 0.65:
            return self.read(counter, count)
        if kind < 0.85:
            return self.rng.choice(["a", "b", "a * b", "x"])
        return self.rng.choice(
            [f"0.01 * {counter}", f"mg.sin({counter} * 0.3)", "0.5", f"mg.take([a, 0.3, x], mg.mod({counter}, 3))"]
        )

    def body(self, indent: str, state: list[str], counters: list[tuple[str, int]], deep: int) -> list[str]:
        names, lines = list(state), []
        for _ in range(self.rng.randint(1, 5)):
            self.made += 1
            name = f"v{self.made}"
            if deep and self.rng.random() < 0.15:
                lines += self.loop(indent, name, names, counters, deep - 1)
            elif self.rng.random() < 0.35:
                lines.append(f"{indent}{name} = " + self.rng.choice(_UNARY).format(self.leaf(names, counters)))
            else:
                lines.append(
                    f"{indent}{name} = "
                    + self.rng.choice(_BINARY).format(
                        self.leaf(names, counters), self.leaf(names, counters), i=counters[-1][0]
                    )
                )
            names.append(name)
        fresh = [x for x in names if x not in state] or names
        following = []
        for k, old in enumerate(state):
            choice = self.rng.random()
            following.append(
                f"mg.tanh({self.rng.choice(fresh)})"
                if choice < 0.6
                else f"mg.tanh({old} * 0.8 + {self.rng.choice(fresh)} * 0.3)"
                if choice < 0.9 or not k
                else state[k - 1]
            )
        if len(state) > 3 and self.rng.random() < 0.5:  # a delay line, or a ring
            last = following[-1] if self.rng.random() < 0.5 else f"mg.tanh({state[0]} * 0.5 + {self.rng.choice(fresh)})"
            following = [*state[1:], last]
        return [*lines, f"{indent}return {self.nested(following)}"]

    @staticmethod
    def nested(names: list[str]) -> str:
        """The numbers of a state: a tuple of some, and a dict of the others if there are many."""
        first, rest = names[:3], names[3:]
        inner = f", {{'few': [{', '.join(rest[:2])}], 'more': ({', '.join(rest[2:])},)}}" if len(rest) > 2 else ""
        return f"({', '.join(first if inner else names)}{inner or ','})"

    def loop(self, indent: str, name: str, names: list[str], counters: list[tuple[str, int]], deep: int) -> list[str]:
        self.made += 1
        label = self.made
        count = (
            self.rng.choice([self.n, self.n - 1, 200, 2, 3, 5])
            if counters
            else self.rng.choice([self.n, self.n, self.n - 2, 111])
        )
        if counters and counters[0][1] > 5:
            count = self.rng.choice([2, 3, 5, 97])
        by_data = self.rng.random() < 0.15
        most = 9 if counters else self.rng.choice([9, 90, 250, 700])
        if by_data:
            count = most
        size = self.rng.choice([1, 2, 3, 3, 5, 8, 12]) if count > 9 else self.rng.randint(1, 3)
        first = self.nested([self.rng.choice([*names, "0.0", "1.0", "x"]) for _ in range(size)])
        state = [f"s{label}_{k}" for k in range(size)]
        lines = [f"{indent}def body{label}(i{label}, state):", f"{indent}    {self.taken_apart(state)} = state"]
        if size >= 6:  # the others are in a dict
            lines.append(f"{indent}    ({', '.join(state[3:5])}), ({', '.join(state[5:])},) = {state[3]}_of.values()")
        deep = 0 if by_data and most > 9 else deep  # many rounds with a loop in each may be too long to be compiled
        lines += self.body(indent + "    ", state, [*counters, (f"i{label}", count)], deep)
        if by_data:
            whole = f"mg.floor(mg.mod(abs(x) * 1000, {most - 2}))"
            lines.append(f"{indent}{name} = mg.loop({whole}, body{label}, {first}, most={most})[0]")
        else:
            memory = ', memory="sqrt"' if not counters and self.rng.random() < 0.4 else ""
            lines.append(
                f"{indent}{name} = mg.loop({count}, body{label}, {first}{memory})[{self.rng.randrange(min(size, 3))}]"
            )
        return lines

    @staticmethod
    def taken_apart(names: list[str]) -> str:
        if len(names) < 6:
            return f"{', '.join(names)},"
        return f"{', '.join(names[:3])}, {names[3]}_of"

    def write(self) -> str:
        lines = ["def program(y, z, x):"]
        names = ["a", "x"]
        for _ in range(self.rng.choice([1, 1, 1, 2])):
            self.made += 1
            name = f"r{self.made}"
            lines += self.loop("    ", name, names, [], 1)
            names.append(name)
        results = [x for x in names if x.startswith("r")]
        return "\n".join([*lines, f"    return {' + '.join(results)} * a"])


def case(seed: int) -> Case:
    rng = random.Random(seed)
    writer = _Writer(rng)
    text = writer.write()
    numbers = np.random.default_rng(seed)
    a, b = mg.Value(float(numbers.normal())), mg.Value(float(numbers.normal()))
    space: dict[str, Any] = {"mg": mg, "a": a, "b": b, "C": numbers.normal(size=writer.n).tolist()}
    exec(compile(text, f"<seed {seed}>", "exec"), space)  # noqa: S102 - the text is written here
    arguments = [numbers.normal(size=writer.n), numbers.normal(size=writer.n + 5), float(numbers.normal())]
    return Case(text, space["program"], [a, b], arguments)


def differs(found: Case, **how: Any) -> str:
    """The difference between the compiled program and the eager one; empty if they agree."""
    for p in found.parameters:
        p.grad = 0.0
    value = found.fn(*[x.tolist() if isinstance(x, np.ndarray) else x for x in found.arguments])
    value.backward()
    expected = [value.data, *(p.grad for p in found.parameters)]
    for p in found.parameters:
        p.grad = 0.0
    batch = how.get("batch", False)
    given = [np.array([x, x]) if batch else x for x in found.arguments]
    mean = mg.compile(found.fn, **how).backward(*given)
    got = [mean, *(p.grad for p in found.parameters)]
    return told(got, expected, how)


def told(got: list[float], expected: list[float], how: dict[str, Any]) -> str:
    """The difference between compiled numbers and eager ones; empty if they agree as well as they can that way."""
    scale = max(1.0, *map(abs, expected))
    if how.get("dtype") == "float32":
        relative, absolute = 2e-2, 2e-3
    elif how.get("strict") and not how.get("batch"):
        relative, absolute = 1e-9, 1e-11
    else:
        relative, absolute = 1e-6, 1e-8
    near = np.allclose(got, expected, rtol=relative, atol=absolute * scale)
    return "" if near or not np.isfinite(expected).all() else f"{how}: got {got}, eager {expected}"


def search(
    make: Callable[[int], Case],
    wrong: Callable[[Case, int, dict[str, Any]], str],
    ways: Sequence[dict[str, Any]],
    known: Sequence[str],
    first: int = 0,
    seconds: float = 60.0,
) -> None:
    """Try one seed after the other, each in one of the ways, and print those that are wrong. Errors with one of the
    `known` texts are refusals."""
    end, seed, found, refused = time.monotonic() + seconds, first, 0, 0
    while time.monotonic() < end:
        this, how = make(seed), random.Random(seed).choice(ways)
        try:
            text = wrong(this, seed, how)
        except Exception as error:  # noqa: BLE001 - the next seeds are looked at whatever this one raises
            is_known = any(some in str(error) for some in known)
            refused += is_known
            text = "" if is_known else f"{how}: {type(error).__name__}: {error}"
        if text:
            found += 1
            print(f"seed {seed}: {text}\n{this.text}\n", flush=True)
        seed += 1
    print(f"{seed - first} programs, {found} differ, {refused} are refused")


WAYS: list[dict[str, Any]] = [
    {"backend": "numpy"},
    {"backend": "numpy", "batch": True},
    {"backend": "numpy", "strict": True},
    {},
    {"batch": True},
]

if __name__ == "__main__":
    given: list[Any] = [float(x) if "." in x else int(x) for x in sys.argv[1:]]
    search(case, lambda this, _, how: differs(this, **how), WAYS, ["memory="], *given)
