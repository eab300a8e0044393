"""Random programs. Operations come from the table, so that a new row takes part from the day it lands.

A program also runs on floats while it is written: lines with numbers that are not moderate are bounded or rewritten,
unless the program is meant to be wild. So operations need no restrictions on their use.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import macrograd as mg
from macrograd import ops

from . import data as numbers
from . import features as swarm
from .data import CHOICES, Data
from .language import Choose, Line, Program, Repeat, Statement, flat, rendered, statements

# Strict programs made of these alone give the eager engine's bits.
EXACT = {
    "add", "sub", "mul", "div", "neg", "abs", "sign", "relu", "maximum", "minimum", "less", "less_equal", "where",
    "detach", "onehot", "sum", "dot",
}  # fmt: skip
LARGE = 100.0  # the bound of moderate numbers
_MOST_WORK = 400  # operations of a program, its loops written out
_MOST_RESULTS = 24
_PERIODS = (2, 3, 4, 5, 7)

# Another way to write a row; and what is made of several.
SPELLINGS = {"add": "{0} + {1}", "sub": "{0} - {1}", "mul": "{0} * {1}", "neg": "-{0}", "abs": "abs({0})"}
VARIADIC = {
    "sum": ["mg.sum([{0}, {1}, {2}])", "mg.sum([{0}, {1}], {2})", "mg.sum({L0})", "mg.mean({L0})"],
    "dot": ["mg.dot([{0}, {1}], [{2}, {3}])", "mg.dot({L0}, {L0})", "mg.dot([{0}, {1}, {0}], [{1}, {2}, {2}])"],
    "take": ["mg.take([{0}, {1}, {2}], {I})", "mg.take({L0}, {I})"],
}
COMPOSED = {
    "div": ["ops.div(1.0, {0})"],
    "pow": ["ops.power({0}, 2.0)", "ops.power({0}, 3.0)", "ops.power({0}, 0.5)", "ops.power({0}, -1.0)",
            "ops.power({0}, 0.0)", "ops.power({0}, 1.0)", "ops.power(1.5, {0})"],
    "detach": ["{0} * mg.detach({1})"],
    "onehot": ["ops.onehot({0}, 0.5, {1})"],
    "random": ["ops.random({0} * 16.0, {1} * 16.0, 7.0) * {2}"],
    "exp": ["mg.logsumexp([{0}, {1}, {2}])", "mg.softmax([{0}, {1}, {2}])[1]", "mg.logsumexp({L0})"],
}  # fmt: skip
CHOICE = [
    "mg.where({0} < {1}, {2}, {3})", "mg.where({0} >= {1}, {2}, {3})", "mg.where({0}, {1}, {2})",
    "mg.where(ops.less({0}, {1}), {2}, {0})", "mg.where(ops.less_equal(0.0, {0}), {0}, ops.sqrt(-{0}))",
    "mg.where({0}, ops.div(1.0, {0}), {1})", "mg.where(ops.less(0.0, {0}), ops.log({0}), {1})",
    "ops.maximum({0}, ops.sqrt({1}))", "ops.minimum({0}, ops.div({1}, {2}))", "mg.leaky_relu({0})",
]  # fmt: skip

_LAYERS = ["{0} * {1} + {2}", "mg.dot([{0}, {1}], [{2}, {3}]) + {4}", "{0} * {1} + {2} * {3} + {4}", "{0} * {1}"]
_ACTIVATIONS = ["mg.relu({0})", "ops.tanh({0})", "ops.maximum({0}, 0.0)", "mg.sigmoid({0})", "ops.sin({0})"]


def spelled(op: ops.Op) -> str:
    """The call of a row of the table."""
    name = next((f"ops.{name}" for name, found in vars(ops).items() if found is op), f"mg.{op.name}")
    return f"{name}({', '.join(f'{{{k}}}' for k in range(op.arity or 0))})"


def calls(rng: random.Random, features: frozenset[str]) -> list[str]:
    """The operations of one program, each as it is spelled: a random half of the table."""
    rows = [op for op in ops.TABLE if op not in (ops.CONSTANT, ops.gate)]  # derivatives alone make gates
    if "arithmetic" in features:
        rows = [op for op in rows if op.name in EXACT]
    found: list[str] = []
    # What is composed of others is hundreds of operations for the reference: as likely, but not as often together.
    for op in [row for row in rows if rng.random() < (0.2 if row.formula else 0.5)] or rows:
        if op.arity is None:
            found += [call for call in VARIADIC[op.name] if rng.random() < 0.6]
            continue
        found.append(spelled(op))
        if op.name in SPELLINGS:
            found.append(SPELLINGS[op.name])
        if "arithmetic" not in features:
            found += [call for call in COMPOSED.get(op.name, ()) if rng.random() < 0.4]
    if "choices" in features and "arithmetic" not in features:
        found += [call for call in CHOICE if rng.random() < 0.5]
    if "index" not in features:
        found = [call for call in found if "{I}" not in call]
    elif "arithmetic" not in features:
        found += VARIADIC["take"]  # or else half of the indices would be read by nothing
    if "lists" not in features:
        found = [call for call in found if "{L0}" not in call]
    return found or ["{0} + {1}", "{0} * {1}"]


@dataclass
class Case:
    """A program and its numbers."""

    program: Program
    data: Data


class _Writer:
    """Writes one program."""

    def __init__(self, rng: random.Random, features: frozenset[str], data: Data) -> None:
        self.rng, self.on, self.data = rng, features, data
        self.calls = calls(rng, features)
        self.scalars: list[str] = []  # names, the newest last
        self.lists: dict[str, int] = {}
        self.counters: list[str] = []
        self.counted = 0
        self.work = 0
        self.inputs, self.parameters = len(data.samples[0]), len(data.parameters)
        if "unused" in features:
            self.inputs, self.parameters = max(1, self.inputs - 1), max(1, self.parameters - 1)
        rows = range(min(3, len(data.samples)))
        self.spaces: list[dict[str, Any]] = [
            {"mg": mg, "ops": ops, "P": data.parameters, "x": data.samples[k], "i": float(data.indices[k])}
            for k in rows
        ]

    # --- operands ---------------------------------------------------------------------------------------------------

    def index(self, size: int, over: bool) -> str:
        counters = [*self.counters, *(["k"] if over else [])]
        if not counters or self.rng.random() < 0.2:
            return str(self.rng.randrange(size))
        counter = counters[-1] if self.rng.random() < 0.8 else self.rng.choice(counters)
        step, shift = self.rng.choice([1, 1, 1, 2, 3]), self.rng.choice([0, 0, 0, 1, 2])
        moved = (f"{step} * {counter}" if step > 1 else counter) + (f" + {shift}" if shift else "")
        return f"({moved}) % {size}" if step > 1 or shift else f"{counter} % {size}"

    def leaf(self, over: bool) -> str:
        kind = self.rng.random()
        if kind < 0.45 and "uniform" not in self.on:
            return f"x[{self.index(self.inputs, over)}]"
        if kind < 0.85:
            return f"P[{self.index(self.parameters, over)}]"
        if self.counters and kind < 0.9:
            return f"float({self.counters[-1]} % {self.rng.choice(_PERIODS)})"
        if "special" in self.on and self.rng.random() < 0.3:
            return self.rng.choice(["0.0", "-0.0", 'float("inf")', 'float("nan")', "1e-310", "1e200"])
        return repr(self.rng.choice([0.5, 1.0, 2.0, -1.0, 0.1, 0.0, -0.0, -0.75, 3.0]))

    def operand(self, over: bool = False) -> str:
        if over and self.lists and self.rng.random() < 0.7:
            name = self.rng.choice(list(self.lists))
            return f"{name}[{self.index(self.lists[name], True)}]"
        if not self.scalars or self.rng.random() < 0.3:
            return self.leaf(over)
        if "sharing" in self.on and self.rng.random() < 0.5:
            return self.rng.choice(self.scalars)
        return self.rng.choice(self.scalars[-3:])

    def line(self, target: str, over: int = 0) -> Line:
        call = self.rng.choice(self.calls)
        if "{L0}" in call:
            if over or not self.lists:
                call = "{0} * {1} + {2}"
            else:
                names = [self.rng.choice(list(self.lists)) for _ in range(call.count("{L0}"))]
                if call.startswith("mg.dot"):
                    names = [
                        names[0],
                        self.rng.choice([n for n in self.lists if self.lists[n] == self.lists[names[0]]]),
                    ]
                for name in names:
                    call = call.replace("{L0}", f"{name}[:{CHOICES}]" if "{I}" in call else name, 1)
        call = call.replace("{I}", "i")
        arguments = [
            self.operand(bool(over)) for _ in range(1 + max([int(c) for c in "0123" if f"{{{c}}}" in call], default=-1))
        ]
        if len(arguments) > 1 and "duplicates" in self.on and self.rng.random() < 0.4:
            arguments[1] = arguments[0]
        return Line(target, call, arguments, over)

    # --- statements -------------------------------------------------------------------------------------------------

    def name(self, letter: str = "v") -> str:
        self.counted += 1
        return f"{letter}{self.counted}"

    def runs(self, statement: Statement) -> bool:
        """Run a statement; whether it leaves numbers that are moderate (any, in a wild program)."""
        code = compile("\n".join(rendered([statement])), "<statement>", "exec")
        for space in self.spaces:
            exec(code, space)  # noqa: S102 - the text is written here
        if "wild" in self.on:
            return True
        names = {s.target for s in statements([statement]) if isinstance(s, Line)}
        values = [value for space in self.spaces for name in names for value in flat(space.get(name, 0.0))]
        return all(math.isfinite(value) and abs(value) <= LARGE for value in values)

    def add(self, body: list[Statement], statement: Statement, work: int) -> bool:
        """Append a statement that can be used; what it makes is undone if it cannot."""
        before = [dict(space) for space in self.spaces]
        for _ in range(2):
            if self.runs(statement):
                body.append(statement)
                self.work += work
                return True
            for space, old in zip(self.spaces, before, strict=True):
                space.clear()
                space.update(old)
            if isinstance(statement, Line):
                statement = Line(statement.target, f"ops.tanh({statement.call})", statement.arguments, statement.over)
            elif isinstance(statement, Repeat):
                changed = {s.target: None for s in statements([statement]) if isinstance(s, Line) and s.target in old}
                for name in changed:
                    statement.body.append(Line(name, "ops.tanh({0})", [name]))
        return False

    def straight(self, body: list[Statement]) -> None:
        name = self.name()
        if self.add(body, self.line(name), 1):
            self.scalars.append(name)
            if "duplicates" in self.on and self.rng.random() < 0.2:
                again, line = self.name(), body[-1]
                assert isinstance(line, Line)
                if self.add(body, Line(again, line.call, line.arguments, line.over), 1):
                    self.scalars.append(again)

    def wide(self, body: list[Statement]) -> None:
        name, over = self.name("h"), self.rng.choice([3, 4, 5, 8, 9, 17])
        if self.add(body, self.line(name, over), over):
            self.lists[name] = over

    def layer(self, body: list[Statement]) -> None:
        """Sums of products side by side, an activation of each, and something that reads both."""
        over = self.rng.choice([3, 4, 5, 8, 9, 17])
        before, call = self.name("h"), self.rng.choice(_LAYERS)
        leaves = [self.leaf(True) for _ in range(5)]
        if not self.add(body, Line(before, call, leaves, over), over):
            return
        self.lists[before] = over
        activated = self.name("h")
        if self.add(body, Line(activated, self.rng.choice(_ACTIVATIONS), [f"{before}[k]"], over), over):
            self.lists[activated] = over
            again = self.name("h")
            operands = [f"{activated}[k]", self.rng.choice([f"{before}[k]", self.operand(True)])]
            if self.add(body, Line(again, self.rng.choice(["{0} * {1}", "{0} - {1}"]), operands, over), over):
                self.lists[again] = over
        total = self.name()
        if self.add(body, Line(total, "mg.sum({0})", [list(self.lists)[-1]]), 1):
            self.scalars.append(total)

    def loop(self, body: list[Statement]) -> None:
        if not self.scalars:
            self.straight(body)
        if not self.scalars:
            return
        state = self.rng.sample(self.scalars, min(len(self.scalars), self.rng.choice([1, 1, 2, 3])))
        repeat = self.repeat(state, self.rng.choice([2, 3, 5, 6, 12, 20, 36, 64]))
        written = sum(isinstance(s, Line) for s in statements([repeat]))
        self.add(body, repeat, repeat.count * written)

    def repeat(self, state: Sequence[str], count: int) -> Repeat:
        counter = "t" if not self.counters else "s"
        self.counters.append(counter)
        outer, made = list(self.scalars), []
        body: list[Statement] = []
        for _ in range(self.rng.choice([0, 1, 1, 2])):
            line = self.line(self.name())
            body.append(line)
            made.append(line.target)
            self.scalars.append(line.target)
        for name in state:
            body.append(self.line(name))
            if "periods" in self.on and self.rng.random() < 0.6:
                period = self.rng.choice(_PERIODS)
                body.append(Choose(f"{counter} % {period} == {self.rng.randrange(period)}", [self.line(name)]))
        if "nests" in self.on and len(self.counters) == 1 and self.rng.random() < 0.5:
            body.append(self.repeat(state, self.rng.choice([2, 3, 4])))
            count = min(count, 20)
        self.rng.shuffle(body) if self.rng.random() < 0.3 and not made else None
        self.scalars = outer
        self.counters.pop()
        return Repeat(counter, count, body)

    # --- the whole --------------------------------------------------------------------------------------------------

    def write(self) -> Program:
        body: list[Statement] = []
        length = self.rng.randint(20, 45) if "long" in self.on else self.rng.randint(2, 14)
        for _ in range(length):
            kind = self.rng.random()
            if self.work > _MOST_WORK:
                break
            if "loops" in self.on and kind < 0.25:
                self.loop(body)
            elif "lists" in self.on and kind < 0.5:
                self.wide(body)
            elif "layers" in self.on and "arithmetic" not in self.on and kind < 0.65:
                self.layer(body)
            else:
                self.straight(body)
        if self.lists and self.rng.random() < 0.5:
            name = self.name()
            if self.add(body, Line(name, "mg.sum({0})", [list(self.lists)[-1]]), 1):
                self.scalars.append(name)
        arguments = ["x", "i"] if "index" in self.on else ["x"]
        return Program(body, arguments, *self.result(), self.on)

    def result(self) -> tuple[str, list[str]]:
        """The text of what is returned, and the scalars and lists in it."""
        if "everything" in self.on and self.scalars:
            every = self.scalars[-_MOST_RESULTS:]
            return f"[{', '.join(every)}]", every
        if "results" not in self.on or not self.scalars:
            one = self.scalars[-1] if self.scalars else "P[0] * 0.5"
            return one, [one]
        some = [self.scalars[-1], *(self.rng.choice(self.scalars) for _ in range(self.rng.randint(1, 4)))]
        some += [self.rng.choice(["x[0]", "P[0]", "2.0"]) for _ in range(self.rng.choice([0, 0, 1]))]
        if self.lists and self.rng.random() < 0.5:
            name = list(self.lists)[-1]
            return f"[{', '.join(some)}, {name}]", [*some, f"*{name}"]
        if "nested" not in self.on:
            return f"[{', '.join(some)}]", some
        half = len(some) // 2
        first, second = ", ".join(some[:half]), ", ".join(some[half:])
        return self.rng.choice([
            (f"[[{first}], ({second},)]", some), (f'{{"a": [{first}], "b": {some[half]}}}', some[: half + 1]),
            (f"({some[0]}, [{', '.join(some[1:])}])", some), (f"[[{second}], [{second}]]", some[half:] * 2),
        ])  # fmt: skip


def case(seed: str) -> Case:
    """The program of a seed."""
    rng = random.Random(seed)
    features = swarm.draw(rng)
    if "special" in features:
        features |= {"wild"}
    data = numbers.draw(
        rng, features, rows=rng.choice([1, 3, 5]), inputs=rng.randint(1, 5), parameters=rng.randint(1, 6)
    )
    while True:
        try:
            program = _Writer(rng, features, data).write()
        except (OverflowError, ZeroDivisionError):  # Python's own arithmetic on plain numbers
            continue
        return Case(program, data.with_odd_one(rng) if "odd one" in features else data)
