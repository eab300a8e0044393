"""Random programs of everything that programs are written with: loops, branches, solvers, derivatives and takes in each
other; eager against compiled, values and derivatives of all kinds.

`python -m tests.fuzz.mixed [first seed] [seconds]` tries one seed after the other and prints those that differ. Half
of the programs are arithmetic, of which strict functions must have the bits of the eager engine.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import macrograd as mg
from tests.fuzz.language import flat, number
from tests.fuzz.loops import search

EXACT = [
    "{0} * {1} + {c}", "{0} - {1} * {c}", "{0} / (1.1 + {1} * {1})", "mg.maximum({0}, {1})",
    "mg.minimum({0}, {1} * {c})",
    "mg.where({0} < {1}, {0} * {c}, {1})", "mg.relu({0} - {1})", "abs({0}) * {c} - {1}", "mg.sign({0}) * {1} + {0}",
    "mg.dot([{0}, {1}, {0}], [{1}, {c}, {0}])", "mg.sum([{0}, {1}, {c}, {0}]) * 0.4", "mg.maximum({0}, {0}) * {1}",
    "mg.take([{0}, {1}, {c}, {0}], mg.mod(k, 4.0))", "mg.detach({0}) * {1} + {0} * {c}", "-{0} * 0.7",
    "mg.sum([]) + {0} * 0.9 - {1}", "mg.minimum({0}, mg.maximum({1}, -{0}))", "{0} * 0.0 + {1}",
    "{0} / 3.0 + {1} / {2}",
    "mg.where({0} < {1}, {1}, -0.0)", "{0} * 1.1 - {0} * {0} * 0.1 + {1}",
    "mg.mean([{0}, {1}, {1}])", "mg.leaky_relu({0}) + {1} * {c}", "0.3 * {0} - mg.dot([{1}], [{1}]) * 0.2",
]  # fmt: skip
SMOOTH = [
    "mg.tanh({0} * {1} + {c})", "mg.sin({0}) * {1}", "mg.exp(-{0} * {0}) + {1}", "mg.log(1.2 + {0} * {0}) - {1}",
    "mg.sigmoid({0} - {1})", "mg.sqrt(0.5 + {0} * {0}) * {c}", "abs({0}) ** 1.5 * 0.3 + {1}", "mg.softplus({0}) - {1}",
    "mg.atan2({0}, 1.5 + {1} * {1})", "mg.logsumexp([{0}, {1}, {c}])", "mg.softmax([{0}, {1}, {c}])[1]",
    "mg.erf({0}) * {1}", "mg.hypot({0}, 0.4 + abs({1}))", "mg.norm_cdf({0}) - {1}", "mg.log1p(abs({0})) * {1}",
    "mg.random.normal(3, k, 2.0) * {0} + {1} * 0.1", "mg.linalg.slogdet([[2.5 + abs({0}), {1}], [0.2, 3.0]])[1]",
    "mg.cbrt(0.3 + {0} * {0}) * {1}", "(0.5 + {0} * {0}) ** ({1} * 0.2)", "mg.lgamma(1.5 + abs({0})) - {1}",
]  # fmt: skip
MATRICES = [
    "mg.linalg.solve([[2.5 + abs({0}), {1} * 0.3], [0.5, 3.0]], [{1}, {0}])[1]",
    "mg.linalg.det([[{0}, 0.3], [{1}, 1.5]])",
    "mg.linalg.det([[{0}, 0.3, {c}], [{1}, 1.5, {0}], [0.2, {1}, 2.0]])",
    "mg.linalg.inv([[1.5, {0}], [{1}, -4.5]])[1][0]",
    "mg.linalg.triangular_solve([[2.0, 0.0], [{0}, 1.5]], [{1}, {0}])[1]",
    "mg.linalg.solve([[{0}, 1.5 + {1} * {1}], [2.0, {1} * 0.1]], [1.0, {0}])[0]",
]  # fmt: skip
SPECIAL = ["0.0", "-0.0", "1e300", "5e-324", "3.0e38", "1e39", "1e-46"]
WILD = [*SPECIAL, "float('inf')", "float('-inf')", "float('nan')"]


@dataclass
class Case:
    """A program as text and function of y (a vector), z (two numbers), x and k (a number from 0 to 4), with the values
    of some samples; `exact` if it is arithmetic, and `wild` if its numbers are not all finite."""

    text: str
    fn: Callable[..., Any]
    parameters: list[mg.Value]
    samples: list[list[Any]]
    exact: bool
    wild: bool


class _Writer:
    def __init__(self, rng: random.Random) -> None:
        self.rng, self.made = rng, 0
        self.exact, self.wild = rng.random() < 0.5, rng.random() < 0.1
        self.special = rng.random() < 0.2
        self.size = rng.choice([3, 4, 7])
        self.room = rng.choice([1, 2, 3, 4])  # statements that hold others
        self.depth = rng.choice([1, 2, 2])
        kinds = ["cond", "while", "loop", "counted", "collect", "implicit", "custom", "derivative", "long", "matrix"]
        self.kinds = rng.sample(kinds, rng.randint(2, len(kinds)))

    def name(self, start: str = "v") -> str:
        self.made += 1
        return f"{start}{self.made}"

    def number(self) -> str:
        if self.wild and self.rng.random() < 0.08:
            return self.rng.choice(WILD)
        if self.special and self.rng.random() < 0.15:
            return self.rng.choice(SPECIAL[:2])
        return self.rng.choice(["0.3", "-0.7", "1.1", "0.9", "a", "b", "x", "p[0]", "0.5", "z[1]"])

    def leaf(self, names: list[str]) -> str:
        if names and self.rng.random() < 0.65:
            return self.rng.choice(names[-5:] if self.rng.random() < 0.6 else names)
        return self.rng.choice(
            ["a", "b", "x", "z[0]", "z[1]", "p[0]", "p[1]", "p[2]", f"y[{self.rng.randrange(self.size)}]",
             "mg.take(y, mg.mod(k, 3.0))", "mg.take(p, mg.mod(k + 1.0, 3.0))", "k", "x * a"]
        )  # fmt: skip

    def line(self, names: list[str]) -> str:
        table = EXACT if self.exact or self.rng.random() < 0.4 else SMOOTH
        if "matrix" in self.kinds and self.rng.random() < 0.06:
            table = MATRICES
        form = self.rng.choice(table)
        denominator = "(2.0 + abs(" + self.leaf(names) + "))"
        return form.format(self.leaf(names), self.leaf(names), denominator, c=self.number())

    def test(self, names: list[str]) -> str:
        a, b = self.leaf(names), self.leaf(names)
        return self.rng.choice(
            [f"{a} < {b}", f"{a} > 0.1", f"{a} * {b} <= 0.05", f"{a} >= {b}", f"{a} + {b} > x", "k > 1.0"]
        )

    def body(self, indent: str, names: list[str], deep: int, most: int = 4) -> tuple[list[str], list[str]]:
        """Lines, and the names that they have made."""
        lines, mine = list[str](), list[str]()
        for _ in range(self.rng.randint(1, most)):
            known = [*names, *mine]
            if deep and self.room and self.rng.random() < 0.4:
                self.room -= 1
                more, made = getattr(self, f"_{self.rng.choice(self.kinds)}")(indent, known, deep - 1)
            else:
                name = self.name()
                more, made = [f"{indent}{name} = {self.line(known)}"], [name]
            lines += more
            mine += made
        return lines, mine

    def function(
        self, indent: str, given: str, names: list[str], results: int, deep: int, most: int = 3, *, tame: bool = False
    ) -> tuple[str, list[str]]:
        """A function of these arguments that returns so many numbers."""
        f = self.name("f")
        lines, mine = self.body(indent + "    ", names, deep, most)
        found = [self.rng.choice([*mine, *mine, *names]) for _ in range(results)]
        if tame:
            found = [f"{x} / (1.0 + abs({x}) * 0.5)" if self.rng.random() < 0.6 else f"{x} * 0.4" for x in found]
        made = f"({', '.join(found)},)" if results > 1 else found[0]
        return f, [f"{indent}def {f}({given}):", *lines, f"{indent}    return {made}"]

    def _cond(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        results = self.rng.choice([1, 1, 2, 3])
        f, first = self.function(indent, "", names, results, deep)
        g, second = self.function(indent, "", names, results, deep)
        found = [self.name() for _ in range(results)]
        return [*first, *second, f"{indent}{', '.join(found)} = mg.cond({self.test(names)}, {f}, {g})"], found

    def _state(self, names: list[str], size: int) -> tuple[list[str], str]:
        first = [self.rng.choice([self.leaf(names), self.leaf(names), self.number()]) for _ in range(size)]
        return [self.name("s") for _ in range(size)], ", ".join(first)

    def _while(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        size, most = self.rng.choice([1, 2, 2, 3]), self.rng.choice([2, 3, 4, 6, 9])
        state, first = self._state(names, size)
        f, lines = self.function(indent, "n, " + ", ".join(state), [*names, *state], size, deep, 2, tame=True)
        call = f"{f}(n, {', '.join(state)})"
        step = f"    return n + 1.0, {call}" if size == 1 else f"    return (n + 1.0, *{call})"
        body, bound = (
            self.name("f"),
            self.rng.choice(
                ["k", "mg.mod(k, 3.0)", "2.0 * abs(x)", "abs(a) + abs(z[0])", f"abs({self.leaf(names)}) * 2.0"]
            ),
        )
        found = [self.name() for _ in range(size)]
        test = f"s[0] < mg.minimum({bound}, {most - 1}.0)"
        if self.rng.random() < 0.3:
            test = f"mg.where(s[0] < {most - 1}.0, abs(s[1]) > 0.3, 0.0)"
        return [
            *lines, f"{indent}def {body}(s):", f"{indent}    n, {', '.join(state)} = s", f"{indent}{step}",
            f"{indent}_, {', '.join(found)} = mg.while_loop(lambda s: {test}, {body}, (0.0, {first}), most={most})",
        ], found  # fmt: skip

    def _loop(
        self, indent: str, names: list[str], deep: int, how: str = "", counts: Sequence[str] = ()
    ) -> tuple[list[str], list[str]]:
        size, length = self.rng.choice([1, 2, 2, 3]), self.size
        state, first = self._state(names, size)
        count = self.rng.choice(counts or ["0", "1", "2", "3", "5", "12"])
        if how == "collect":
            count = self.rng.choice(["1", "2", "3"])
        body, read = self.name("f"), self.name()
        reads = [
            f"mg.take(y, mg.mod(i, {length}))", "0.1 * i", "mg.take(p, mg.mod(i + k, 3.0))",
            f"mg.take([a, {self.leaf(names)}, 0.5], mg.mod(i, 3))",
        ]  # fmt: skip
        if count.isdigit() and int(count) <= length:
            reads.append("mg.take(y, i)")
        given = f"i, {read}, {', '.join(state)}"
        f, lines = self.function(indent, given, [*names, read, *state], size, deep, 2, tame=True)
        call = f"{f}(i, {self.rng.choice(reads)}, {', '.join(state)})"
        found = [self.name() for _ in range(size)]
        left, unpack = (f"{', '.join(x)}," if size > 1 else x[0] for x in (found, state))
        given = f"({first})" if size > 1 else first
        lines += [f"{indent}def {body}(i, s):", f"{indent}    {unpack} = s"]
        if how != "collect":
            return [
                *lines,
                f"{indent}    return {call}",
                f"{indent}{left} = mg.loop({count}, {body}, {given}{how})",
            ], found
        kept, use = self.name("kept"), self.name()
        row = f"first_of({kept})"
        read = self.rng.choice(
            [f"mg.sum({row})", f"mg.dot({row}, {row}) * 0.3", f"{row}[0]",
             f"mg.loop({count}, lambda i, s: s * 0.5 + mg.take({row}, i), 0.1)"]
        )  # fmt: skip
        return [
            *lines, f"{indent}    new = {call}", f"{indent}    return new, {self.rng.choice(['new', *state])}",
            f"{indent}({left}), {kept} = mg.loop({count}, {body}, {given}, collect=True)", f"{indent}{use} = {read}",
        ], [*found, use]  # fmt: skip

    def _counted(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        most = self.rng.choice([4, 5, 8])
        counts = ["k", "k", "mg.floor(k * 0.9)", "mg.mod(k, 3.0)", "4.0 - k"]
        return self._loop(indent, names, deep, f", most={most}", counts)

    def _collect(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        return self._loop(indent, names, deep, "collect")

    def _long(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        how, counts = self.rng.choice([("", ["97", "120"]), ("", ["200"]), (", memory='sqrt'", ["1100"])])
        return self._loop(indent, names, 0, how, counts)

    def _implicit(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        u = self.name()
        f, lines = self.function(indent, u, [*names, u], 1, 0, 2)
        found = self.name()
        tame = self.rng.choice([f"{u} + 0.1 * {u} * {u} * {u}", f"1.5 * {u}"])
        residual = f"{tame} + 0.02 * {f}({u}) / (1.0 + {f}({u}) * {f}({u})) - {self.leaf(names)}"
        return [*lines, f"{indent}{found} = mg.implicit(lambda {u}: {residual}, 0.1)"], [found]

    def _custom(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        found = self.name()
        a, b = self.leaf(names), self.leaf(names)
        made = f"mg.custom(lambda u, w: u * w * w + {self.number()}, lambda u, w: (w * w, 2.0 * u * w))"
        return [f"{indent}{found} = {made}({a}, {b})"], [found]

    def _derivative(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        u, found = self.name(), self.name()
        f, lines = self.function(indent, u, [*names, u], 1, min(deep, 1), 2)
        at = self.leaf(names)
        call = self.rng.choice(
            [f"mg.grad({f})({at})", f"mg.jvp({f}, {at}, {self.number()})[1]", f"mg.value_and_grad({f})({at})[1]",
             f"mg.hvp({f}, {at}, 0.7)", f"mg.hessian({f})({at})", f"mg.grad(lambda u: {f}(u) * u)({at})"]
        )  # fmt: skip
        return [*lines, f"{indent}{found} = {call}"], [found]

    def _matrix(self, indent: str, names: list[str], deep: int) -> tuple[list[str], list[str]]:
        found = self.name()
        form = self.rng.choice(MATRICES)
        return [f"{indent}{found} = {form.format(self.leaf(names), self.leaf(names), c=self.number())}"], [found]

    def write(self) -> str:
        lines, mine = self.body("    ", [], self.depth, 5)
        results = self.rng.sample(mine, min(len(mine), self.rng.choice([1, 2, 3])))
        return "\n".join(["def program(y, z, x, k):", *lines, f"    return 0.7 * {' + '.join(results)} + a * x"])


def first_of(kept: Any) -> Any:
    """The first numbers of what a loop kept."""
    return kept[0] if isinstance(kept, (tuple, list)) else kept


def case(seed: int) -> Case:
    rng = random.Random(seed)
    writer = _Writer(rng)
    text = writer.write()
    numbers = np.random.default_rng(seed)
    coarse = rng.random() < 0.2

    def draw(*shape: int) -> Any:
        found = numbers.normal(size=shape)
        return (np.round(found * 2.0) / 2.0 if coarse else found).tolist()

    a, b, *p = [mg.Value(x) for x in draw(5)]
    space: dict[str, Any] = {"mg": mg, "a": a, "b": b, "p": p, "first_of": first_of}
    exec(compile(text, f"<seed {seed}>", "exec"), space)  # noqa: S102 - the text is written here
    samples = [[draw(writer.size), draw(2), draw(), float(k % 5)] for k in numbers.integers(0, 5, 3)]
    return Case(text, space["program"], [a, b, *p], samples, writer.exact, writer.wild)


def taken(fn: Any, what: str) -> Any:
    """The derivative of a program that is looked at."""
    if what == "gradient":
        return mg.grad(fn, argnums=2)
    if what == "several":
        return mg.grad(fn, argnums=(1, 0, 2))
    if what == "hessian":
        return lambda y, z, x, k: mg.hessian(lambda w: fn(y, w, x, k))(z)
    if what == "jacobian":
        return lambda y, z, x, k: mg.jacobian(lambda w: [fn(y, w, x, k), w[0] * fn(y, z, x, k)])(z)
    if what == "jvp":
        return lambda y, z, x, k: mg.jvp(lambda w, u: fn(y, w, u, k), (z, x), ([0.3, -0.7], 1.1))
    if what == "hvp":
        return lambda y, z, x, k: mg.hvp(lambda w: fn(w, z, x, k), y, [0.3 - 0.2 * j for j in range(len(y))])
    return fn


WHAT = ["value", "backward", "backward", "gradient", "several", "hessian", "jacobian", "jvp", "hvp", "slope"]


def differs(found: Case, seed: int, **how: Any) -> str:
    """The difference between the compiled program and the eager one; empty if they agree."""
    rng = random.Random(seed + 1)
    what = "value" if found.wild else rng.choice(WHAT)
    batch, strict = how.get("batch", False), how.get("strict", False)
    fn = taken(found.fn, "gradient" if what == "slope" else what)
    samples = found.samples * 7 if how.get("threads") else found.samples
    samples = samples if batch else samples[:1]
    arguments = [[sample[j] for sample in samples] for j in range(4)] if batch else samples[0]
    compiled = mg.compile(fn, **how)
    exact = strict and found.exact
    if what in ("backward", "slope"):
        _clear(found)
        values = [fn(*sample) for sample in samples]
        mean = mg.sum(values) / float(len(values)) if batch else values[0]
        if isinstance(mean, mg.Value):
            mean.backward()
        expected = [number(mean), *(p.grad for p in found.parameters)]
        _clear(found)
        got = [compiled.backward(*arguments), *(p.grad for p in found.parameters)]
        exact = exact and not batch
    else:
        expected = [number(x) for sample in found.samples[: 3 if batch else 1] for x in flat(fn(*sample))]
        got = _rows(compiled(*arguments), len(samples) if batch else 0)[: len(expected)]
    return told(got, expected, {**how, "what": what}, exact=exact, single=how.get("dtype") == "float32")


def _clear(found: Case) -> None:
    for p in found.parameters:
        p.grad = 0.0


def _rows(result: Any, samples: int) -> list[float]:
    parts: list[Any] = []

    def collect(x: Any) -> None:
        if isinstance(x, (tuple, list)):
            for y in x:
                collect(y)
        else:
            parts.append(np.asarray(x, dtype=np.float64).reshape(samples or 1, -1))

    collect(result)
    return [float(x) for x in np.concatenate(parts, axis=1).ravel()]


def told(got: list[float], expected: list[float], how: dict[str, Any], *, exact: bool, single: bool) -> str:
    """The difference between compiled numbers and eager ones: bits if `exact`, where a NaN is any other."""
    if exact:
        same = len(got) == len(expected) and all(
            (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1.0, a) == math.copysign(1.0, b))
            for a, b in zip(got, expected, strict=True)
        )
        return "" if same else f"{how}, bits: got {got}, eager {expected}"
    scale = max([1.0, *(abs(x) for x in expected if math.isfinite(x))])
    if scale > 1e8 or not np.isfinite(expected).all():
        return ""
    relative, absolute = (3e-2, 3e-3) if single else (1e-6, 1e-8)
    near = len(got) == len(expected) and np.allclose(got, expected, rtol=relative, atol=absolute * scale)
    return "" if near else f"{how}: got {got}, eager {expected}"


WAYS: list[dict[str, Any]] = [
    {"backend": "numpy"},
    {"backend": "numpy", "batch": True},
    {"backend": "numpy", "strict": True},
    {"backend": "numpy", "strict": True, "batch": True},
    {"strict": True},
    {"strict": True},
    {"strict": True, "batch": True},
    {},
    {"batch": True},
    {"batch": True, "threads": 2},
    {"dtype": "float32", "batch": True},
]
KNOWN = ["did not converge", "still holds", "is singular", "slope of the residual is 0"]

if __name__ == "__main__":
    given: list[Any] = [float(x) if "." in x else int(x) for x in sys.argv[1:]]
    search(case, lambda this, seed, how: differs(this, seed, **how), WAYS, KNOWN, *given)
