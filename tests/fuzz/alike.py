"""Random programs with many equal and nearly equal branches, loops and solvers: eager against compiled, values and
gradients.

`python -m tests.fuzz.alike [first seed] [seconds]` tries one seed after the other and prints those that differ.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import numpy as np

import macrograd as mg
from tests.fuzz.loops import Case, search, told

_STEPS = [
    "mg.tanh({0} * {1} + {c})", "mg.sin({0} + {1} * {c})", "{0} * 0.7 + {1} * {c}", "mg.sigmoid({0} - {1} * {c})",
    "{0} / (1.0 + {1} * {1} + {c} * {c})", "mg.maximum({0}, {1} * {c})", "mg.where({0} < {c}, {0} * 0.5, {1})",
    "mg.cos({0}) * {c} - {1} * 0.5", "mg.log(1.5 + {0} * {0}) + {1} * {c}", "mg.exp(-{0} * {0}) * {1} + {c}",
    "abs({0}) ** 1.5 * 0.5 + {c}",
]  # fmt: skip
WAYS: list[dict[str, Any]] = [
    {"backend": "numpy"},
    {"backend": "numpy", "batch": True},
    {"backend": "numpy", "strict": True},
    {"strict": True},
    {"strict": True, "batch": True},
    {},
    {"batch": True},
    {"batch": True, "threads": 2},
    {"dtype": "float32"},
    {"dtype": "float32", "batch": True},
]


class _Writer:
    def __init__(self, rng: random.Random) -> None:
        self.rng, self.made, self.lines = rng, 0, list[str]()
        self.size = rng.choice([1, 2, 2, 3, 5])

    def function(self) -> str:
        """A function of a state and a number, long enough to be a section, or nearly so."""
        rng, name = self.rng, f"f{self.made}"
        self.made += 1
        lines = [f"    def {name}(s, c):", "        t, s = s[0], list(s)", f"        for i in range({self.rounds()}):"]
        for _ in range(rng.randint(1, 3)):
            lines.append(f"            t = {rng.choice(_STEPS).format('t', self.operand(), c=self.number())}")
            if rng.random() < 0.5:
                k = rng.randrange(self.size)
                lines.append(f"            s[{k}] = mg.tanh(s[{k}] * 0.6 + t * 0.3)")
        if rng.random() < 0.25:
            lines.append(f"        t = mg.grad(lambda u: mg.sin(u * t) * c + u * {self.operand()})(t)")
        result = [rng.choice([f"s[{k}]", f"mg.tanh(s[{k}] + t)", "t * 0.5"]) for k in range(self.size)]
        result[rng.randrange(self.size)] = "mg.tanh(t)"
        self.lines += [*lines, f"        return [{', '.join(result)}]"]
        return name

    def rounds(self) -> int:
        return self.rng.choice([4, 12, 12, 12, 18])

    def operand(self) -> str:
        return self.rng.choice(["a", "b", "p[i % 3]", "s[0]", f"s[{self.rng.randrange(self.size)}]", "x"]).replace(
            "p[i % 3]", self.rng.choice(["p[0]", "p[1]"])
        )

    def number(self) -> str:
        return self.rng.choice(["c", "c", "0.3", "-0.2", "b"])

    def call(self, deep: int) -> str:
        """An expression for the state after a branch, a loop or a solver, from s and c."""
        rng = self.rng
        kind, f, g = rng.random(), self.function(), self.function()
        test = rng.choice(["s[0] > 0.1", "s[-1] < c", "x > s[0]", "a * s[0] > c", "s[0] + s[-1] > 0.0"])
        if deep and kind < 0.25:
            inner = self.call(deep - 1)
            f = f"h{self.made}"
            self.made += 1
            self.lines += [f"    def {f}(s, c):", f"        return {inner}"]
        if kind < 0.55:
            return f"mg.cond({test}, lambda *s: {f}(s, c), lambda *s: {g}(s, c), *s)"
        if kind < 0.7:
            count = rng.choice([3, 12, 30])
            return (
                f"(lambda w: w[1])(mg.while_loop(lambda w: w[0] < 2.0 + abs(w[1][0]) * 3.0, "
                f"lambda w: (w[0] + 1.0, {f}(w[1], c)), (0.0, s), most={count}))"
            )
        if kind < 0.85:
            return f"[mg.implicit(lambda u: u - 0.3 * mg.tanh({f}([u, *s[1:]], c)[0]) - s[0], s[0]), *s[1:]]"
        memory = rng.choice([", memory='sqrt'", ""])
        read = rng.choice(["c", "c", "mg.take(y, i) + c", "0.001 * i"])
        count = rng.choice([2, 5, 40]) if deep < 1 or rng.random() < 0.8 else 1_100
        f = self.short() if count > 5 else f
        return f"mg.loop({count}, lambda i, s: {f}(s, {read}), s{memory if count > 1000 else ''})"

    def short(self) -> str:
        name = f"f{self.made}"
        self.made += 1
        step = self.rng.choice(_STEPS).format("s[0]", self.operand(), c="c")
        self.lines.append(f"    def {name}(s, c): return [mg.tanh({step}), *s[1:]]")
        return name

    def write(self) -> str:
        rng = self.rng
        calls = [self.call(1) for _ in range(rng.choice([1, 1, 2]))]
        for k, call in enumerate(calls):
            self.lines += [f"    def g{k}(s, c):", f"        return {call}"]
        n = rng.choice([2, 3, 3, 4, 6, 9])
        numbers = rng.choice(
            ["0.4", "0.4", "[0.4, 0.1][k % 2]", "0.1 * k", "p[k % 3]", "y[k % len(y)]", "[0.0, -0.0, 0.0, 1.0][k % 4]"]
        )
        order = rng.choice(["s", "s", "s[::-1]", "[s[q] for q in turns[k]]"])
        which = " if k % 2 else ".join([f"g{k}({order}, {numbers})" for k in range(len(calls))])
        body = [f"    s = [x, {', '.join(['y[0]', 'a', '0.0', 'b'][: self.size - 1])}]", f"    for k in range({n}):"]
        if rng.random() < 0.3:  # beside each other
            body = [*body, f"        r.append(({which})[0] * (k + 1.0))"]
        else:
            body = [*body, f"        s = {which}"]
            if rng.random() < 0.3:
                body.append("        r.append(s[0])")
        result = "mg.sum([*s, *r]) * a"
        turns = [rng.sample(range(self.size), self.size) for _ in range(n)]
        return "\n".join(
            ["def program(y, z, x):", f"    turns, r = {turns}, []", *self.lines, *body, f"    return {result}"]
        )


def case(seed: int) -> Case:
    rng = random.Random(seed)
    text = _Writer(rng).write()
    numbers = np.random.default_rng(seed)
    a, b, *p = [mg.Value(float(x)) for x in numbers.normal(size=5)]
    space: dict[str, Any] = {"mg": mg, "a": a, "b": b, "p": p}
    exec(compile(text, f"<seed {seed}>", "exec"), space)  # noqa: S102 - the text is written here
    arguments = [numbers.normal(size=1_100), numbers.normal(size=2), float(numbers.normal())]
    return Case(text, space["program"], [a, b, *p], arguments)


def differs(found: Case, seed: int, **how: Any) -> str:
    """The difference between the compiled program and the eager one; empty if they agree."""
    lists = [x.tolist() if isinstance(x, np.ndarray) else x for x in found.arguments]
    batch = how.get("batch", False)
    second = seed % 7 == 0 and not batch
    fn = mg.grad(found.fn, argnums=2) if seed % 3 == 0 else found.fn
    if seed % 3 == 0:
        inner = fn
        fn = lambda y, z, x: inner(y, z, x) * 0.5 + found.fn(y, z, x)  # noqa: E731 - one line
    samples = [lists, [[0.5 * t - 0.1 for t in lists[0]], lists[1], -0.7 * lists[2]], [lists[0], lists[1], 0.3]]
    samples = samples * 7 if how.get("threads") else samples
    samples = samples if batch else samples[:1]
    for p in found.parameters:
        p.grad = 0.0
    values = [fn(*sample) for sample in samples]
    mean = mg.sum(values) / len(values)
    mean.backward()
    expected = [mean.data, *(p.grad for p in found.parameters)]
    for p in found.parameters:
        p.grad = 0.0
    given = [np.array(column) for column in zip(*samples, strict=True)] if batch else found.arguments
    compiled = mg.compile(fn, **how)
    got = [compiled.backward(*given), *(p.grad for p in found.parameters)]
    forward = np.mean(np.asarray(compiled(*given)))
    got.append(float(forward))
    expected.append(mean.data)
    if second:
        got += [float(x) for x in np.ravel(mg.compile(mg.hessian(found.fn, argnums=2), **how)(*given))]
        expected.append(float(getattr(h := mg.hessian(found.fn, argnums=2)(*lists), "data", h)))
    if how.get("dtype") == "float32" and max(map(abs, expected)) > 1e6:  # of which sines have no digit left
        return ""
    return told(got, expected, how)


KNOWN = ["did not converge", "still holds", "the slope of the residual is 0"]

if __name__ == "__main__":
    given: list[Any] = [float(x) if "." in x else int(x) for x in sys.argv[1:]]
    search(case, lambda this, seed, how: differs(this, seed, **how), WAYS, KNOWN, *given)
