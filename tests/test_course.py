"""The course: every notebook runs, every check takes the right answer, and says the right thing for wrong ones."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import random
import re
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, datasets, nn, optim

DOCS = Path(__file__).parent.parent / "docs"


def loaded(path: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notebooks = loaded(DOCS / "notebooks.py")
PAGES: list[Path] = notebooks.pages()
CHECK = re.compile(r'mg\.course\.check\("([^"]+)"')


# --- the notebooks ----------------------------------------------------------------------------------------------------


def run(source: str, names: dict[str, Any]) -> Any:
    """Run a cell; returns the value of its last line, as a notebook shows it."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)  # noqa: S102 - the project's own text
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307 - as above


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_notebook_runs_and_its_exercises_wait(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {"__name__": "notebook"}
    pictures = 0
    for kind, source in notebooks.cells(page):
        if kind == "code":
            shown = run(source, names)
            pictures += hasattr(shown, "_repr_png_") or hasattr(shown, "_repr_svg_")
            if CHECK.search(source):
                assert repr(shown).startswith("Your turn"), source
    assert pictures
    assert len(capsys.readouterr().out) < 6000


def test_there_are_ten_and_their_exercises_are_those_that_exist() -> None:
    assert len(PAGES) == 10
    asked = [name for page in PAGES for name in CHECK.findall(page.read_text("utf-8"))]
    assert tuple(asked) == mg.course.exercises
    for page in PAGES:
        assert all(name.startswith(f"{page.stem}/") for name in CHECK.findall(page.read_text("utf-8")))


def test_links_lead_to_pages_that_exist() -> None:
    for page in [*PAGES, DOCS / "course" / "index.md"]:
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            assert (page.parent / link).exists(), (page.name, link)


def test_the_pages_become_notebooks(tmp_path: Path) -> None:
    written = notebooks.write(tmp_path / "course")
    assert [path.stem for path in written] == [page.stem for page in PAGES]
    for path in written:
        nbformat.validate(json.loads(path.read_text("utf-8")))
    first = json.loads(written[0].read_text("utf-8"))
    code = [cell["source"] for cell in first["cells"] if cell["cell_type"] == "code"]
    assert code[0].startswith("def f(x):")
    assert not any("code-cell" in cell["source"] for cell in first["cells"])
    assert "](02-value.ipynb)" in first["cells"][-1]["source"]


# --- right answers ----------------------------------------------------------------------------------------------------


def slope(f: Callable[[float], float], x: float, h: float) -> float:
    return (f(x + h) - f(x - h)) / (2 * h)


def built() -> Value:
    return (Value(2.0) * Value(-3.0) + Value(10.0)) ** 2


def in_order(root: Any) -> list[Any]:
    order: list[Any] = []
    seen: set[int] = set()
    stack = [(root, False)]
    while stack:
        number, done = stack.pop()
        if done:
            order.append(number)
        elif id(number) not in seen:
            seen.add(id(number))
            stack.append((number, True))
            stack += [(n, False) for n in number.inputs]
    return order


def backward(root: Any) -> None:
    root.grad = 1.0
    for number in reversed(in_order(root)):
        for n, s in zip(number.inputs, number.slopes, strict=True):
            n.grad += number.grad * s


def xor(x1: float, x2: float) -> Any:
    return mg.relu(x1 + x2) - 2.0 * mg.relu(x1 + x2 - 1.0)


def step(parameters: list[Value], rate: float) -> None:
    for p in parameters:
        p.data -= rate * p.grad


def product(table: list[list[float]], x: list[float]) -> list[float]:
    return [sum(w * v for w, v in zip(row, x, strict=True)) for row in table]


def momentum(p: float, g: float, v: float, rate: float, keep: float) -> tuple[float, float]:
    v = keep * v + g
    return p - rate * v, v


def split(n: int, share: float) -> tuple[list[int], list[int]]:
    rows = random.Random(n).sample(range(n), n)
    return rows[int(share * n) :], rows[: int(share * n)]


def scaled(train: list[float], held: list[float]) -> tuple[list[float], list[float]]:
    mean = sum(train) / len(train)
    sd = math.sqrt(sum((x - mean) ** 2 for x in train) / len(train))
    return [(x - mean) / sd for x in train], [(x - mean) / sd for x in held]


def softmax(scores: list[float]) -> list[float]:
    exponentials = [math.exp(s - max(scores)) for s in scores]
    return [e / sum(exponentials) for e in exponentials]


RIGHT: dict[str, Any] = {
    "01-derivative/slope": 3 * 2**2 - 2,
    "01-derivative/nudge": slope,
    "01-derivative/downhill": 3 - 0.1 * (2 * 3 - 4),
    "02-value/build": built(),
    "02-value/count": 4,
    "02-value/reused": 6.0,
    "03-backward/chain": 2 * (3 * 2 + 1) * 3,
    "03-backward/paths": 5 + 1,
    "03-backward/backward": backward,
    "04-neuron/and": [1.0, 1.0, -1.5],
    "04-neuron/xor": xor,
    "04-neuron/parameters": len(nn.MLP(3, [4, 2]).parameters()),
    "05-moons/hinge": mg.losses.hinge(Value(0.3), -1),
    "05-moons/step": step,
    "05-moons/better": None,  # made in the test, which takes longest
    "06-matrix/product": product,
    "06-matrix/shape": (10, 64),
    "06-matrix/pattern": [7, 1, 5],
    "07-optimisers/limit": 0.02,
    "07-optimisers/momentum": momentum,
    "07-optimisers/adam": 0.01,
    "08-overfitting/epoch": 4,
    "08-overfitting/split": split,
    "08-overfitting/scaled": scaled,
    "09-recurrence/unroll": 4.125,
    "09-recurrence/largest": mg.maximum,
    "09-recurrence/power": 0.9**50,
    "10-attention/softmax": softmax,
    "10-attention/mean": softmax([2 / 2**0.5, 0.0])[0] * 10 + softmax([2 / 2**0.5, 0.0])[1] * 20,
    "10-attention/mask": [0, 1, 2],
}


def test_right_answers_are_right() -> None:
    assert tuple(RIGHT) == mg.course.exercises
    for name, answer in RIGHT.items():
        if answer is not None:
            verdict = mg.course.check(name, answer)
            assert verdict, (name, verdict)
            assert repr(verdict) == "Right."


def test_a_small_net_is_good_enough() -> None:
    X, y = datasets.make_moons(200, noise=0.1, seed=1)
    good = mg.Trainer(nn.MLP(2, [7, 7, 1], activation="tanh", seed=1), "hinge", optim.Adam(0.03))
    good.fit(X, y, steps=400, progress="none")
    assert mg.course.check("05-moons/better", good)
    good.fit(X, 1 - y, steps=30, progress="none")
    assert "On 500 new points it is right for" in repr(mg.course.check("05-moons/better", good))
    large = mg.Trainer(nn.MLP(2, [16, 16, 1], seed=1))
    assert "has 337 parameters, and may have 100" in repr(mg.course.check("05-moons/better", large))
    assert "asks for a Trainer" in repr(mg.course.check("05-moons/better", 0.99))


# --- wrong answers ----------------------------------------------------------------------------------------------------


def one_sided(f: Any, x: float, h: float) -> float:
    return float(f(x + h) - f(x)) / h


def replaces(root: Any) -> None:
    root.grad = 1.0
    for number in reversed(in_order(root)):
        for n, s in zip(number.inputs, number.slopes, strict=True):
            n.grad = number.grad * s


def too_early(root: Any) -> None:
    root.grad, stack = 1.0, [root]
    seen: set[int] = set()
    while stack:
        number = stack.pop(0)
        if id(number) in seen:
            continue
        seen.add(id(number))
        for n, s in zip(number.inputs, number.slopes, strict=True):
            n.grad += number.grad * s
            stack.append(n)


def no_start(root: Any) -> None:
    for number in reversed(in_order(root)):
        for n, s in zip(number.inputs, number.slopes, strict=True):
            n.grad += number.grad * s


def uphill(parameters: list[Value], rate: float) -> None:
    for p in parameters:
        p.data += rate * p.grad


def transposed(table: list[list[float]], x: list[float]) -> list[float]:
    return [sum(row[j] * x[j] for row in table) for j in range(len(x))]


def broken(*arguments: Any) -> Any:
    return 1 / 0


WRONG: list[tuple[str, Any, str]] = [
    ("01-derivative/slope", None, "you gave None"),
    ("01-derivative/nudge", lambda f, x, h: None, "is a `return` missing?"),
    ("01-derivative/nudge", lambda f, x, h: (f(x + h) - f(x - h)) / 2 * h, "Use brackets"),
    ("01-derivative/nudge", lambda f, x, h: "s", "and it is 's'"),
    ("02-value/build", Value(10.0) - Value(2.0) * Value(-3.0), "by chance"),
    ("02-value/build", Value(1.0) * Value(4.0) * Value(4.0), "by chance"),
    ("02-value/build", "16", "asks for one Value"),
    ("04-neuron/and", [0.1, 0.2, -0.3], "For the inputs (1, 1)"),
    ("04-neuron/xor", lambda a, b: mg.relu(a + b) - 1.6 * mg.relu(a + b - 1.0), "for (1, 1) it gives 0.4"),
    ("04-neuron/xor", lambda a, b: a != b, "and it should be"),
    ("04-neuron/parameters", 22, "not each layer"),
    ("05-moons/better", mg.Trainer(nn.MLP(2, [1])), "has not been fitted"),
    ("07-optimisers/momentum", lambda *given: momentum(*given)[::-1], "the other way round"),
    ("07-optimisers/adam", -0.01, "without a sign"),
    ("08-overfitting/split", lambda n, share: ([k for k in range(n) if k % 4], list(range(0, n, 4))), "regular order"),
    ("08-overfitting/split", lambda n, share: (30, 10), "the rows themselves"),
    ("09-recurrence/largest", lambda state, x: [x], "and it is [3]"),
    ("09-recurrence/power", 0.005, "one more digit"),
    ("10-attention/mean", 12, "two digits after the point"),
    ("01-derivative/slope", 12, "The second part of the function has a slope"),
    ("01-derivative/slope", "ten", "asks for a number, and you gave 'ten'"),
    ("01-derivative/slope", 77, "Nudge it"),
    ("01-derivative/nudge", one_sided, "Nudge x both ways"),
    ("01-derivative/nudge", lambda f, x, h: f(x + h) - f(x - h), "how much per step"),
    ("01-derivative/nudge", lambda f, x, h: (f(x + h) - f(x - h)) / h, "twice the slope"),
    ("01-derivative/nudge", lambda f, x, h: math.cos(x), "not for x² at −3"),
    ("01-derivative/nudge", 3.0, "asks for a function, without calling it, and you gave 3"),
    ("01-derivative/nudge", broken, "Your function raised ZeroDivisionError: division by zero"),
    ("01-derivative/downhill", 3.2, "uphill"),
    ("02-value/build", 16.0, "a plain number, which has forgotten"),
    ("02-value/build", Value(16.0), "computed from 1 Values of yours"),
    ("02-value/build", Value(2.0) * -3.0 + 100.0, "The result is 94"),
    ("02-value/count", 6, "How many of them did an operation make"),
    ("02-value/reused", 3, "only one of the two factors"),
    ("03-backward/chain", 14, "Before it, x went through 3x + 1"),
    ("03-backward/paths", 5, "x is used once more"),
    ("03-backward/backward", no_start, "Nothing happened to the result's own grad"),
    ("03-backward/backward", replaces, "the second path replaced the first one"),
    ("03-backward/backward", too_early, "look at the order in which you visit them"),
    ("04-neuron/and", [1, 1, -0.5], "it is OR"),
    ("04-neuron/and", [1, 1, -2], "For the inputs (1, 1) the sum is 0, and it should be above 0"),
    ("04-neuron/and", [1, 1], "asks for 3 numbers, and you gave 2"),
    ("04-neuron/xor", lambda a, b: mg.relu(a + b), "for (1, 1) it gives 2"),
    ("04-neuron/xor", lambda a, b: 0.0, "(0, 1) is 0, and it should be 1"),
    ("04-neuron/parameters", 20, "Each neuron has one number more"),
    ("05-moons/hinge", 0.7, "would be right for the target +1"),
    ("05-moons/step", uphill, "a step up the slope"),
    ("05-moons/step", lambda ps, rate: step(ps, 1.0), "ten times too large"),
    ("05-moons/step", lambda ps, rate: step(ps[:1], rate), "Only the first parameter"),
    ("06-matrix/product", transposed, "The table has 2 rows of 3 numbers, and your list has 3"),
    ("06-matrix/product", lambda table, x: sum(x), "is a list, with one number for each row"),
    ("06-matrix/shape", (64, 10), "The other way round"),
    ("06-matrix/pattern", [7, 5, 1], "The two steps are swapped"),
    ("06-matrix/pattern", [7, 1, 4], "For i = 0, j = 1 your formula gives 11"),
    ("07-optimisers/limit", 0.01, "still comes closer"),
    ("07-optimisers/momentum", lambda p, g, v, rate, keep: (p - rate * v, keep * v + g), "moved by the old v"),
    (
        "07-optimisers/momentum",
        lambda p, g, v, rate, keep: (p - rate * g, keep * v + g),
        "as if there were no momentum",
    ),
    ("07-optimisers/momentum", lambda p, g, v, rate, keep: p, "has to return two numbers"),
    ("07-optimisers/adam", 10, "the step of plain descent"),
    ("08-overfitting/epoch", 9, "There the training loss is smallest"),
    ("08-overfitting/split", lambda n, share: (list(range(n)), list(range(5))), "is in both lists"),
    ("08-overfitting/split", lambda n, share: (list(range(10, 40)), list(range(10))), "shuffle first"),
    ("08-overfitting/split", lambda n, share: split(n, share)[::-1], "are the two lists swapped?"),
    ("08-overfitting/scaled", lambda a, b: (scaled(a, a)[0], scaled(b, b)[0]), "each by its own mean"),
    ("08-overfitting/scaled", lambda a, b: (scaled(a + b, a)[1], scaled(a + b, b)[1]), "that is a leak"),
    ("09-recurrence/unroll", 5, "the state is halved at every step"),
    ("09-recurrence/power", 45, "multiplied, not added"),
    ("09-recurrence/largest", lambda state, x: x, "It forgets: after 2, 5, 3 the state should still be 5, and it is 3"),
    ("09-recurrence/largest", lambda state, x: max(0.0, state, x), "With numbers below 0 it is wrong"),
    ("10-attention/softmax", lambda s: [math.exp(x) / sum(map(math.exp, s)) for x in s], "exp(1000) is too large"),
    ("10-attention/softmax", lambda s: [math.exp(x) for x in s], "Weights have to add up to 1"),
    ("10-attention/mean", 15, "That is the plain mean"),
    ("10-attention/mask", [0, 1, 2, 3], "must not see what comes later"),
]


FUNCTIONS = [name for name in RIGHT if callable(RIGHT[name]) and not isinstance(RIGHT[name], Value)]

# What fits the examples that the hints speak of, and solves nothing.
HARD_CODED: dict[str, Any] = {
    "01-derivative/nudge": lambda f, x, h: math.cos(1.0) if x == 1.0 else -6.0,
    "03-backward/backward": lambda root: backward(root) if len(in_order(root)) in (2, 3, 4, 3001) else None,
    "04-neuron/xor": lambda a, b: float(round(a) != round(b)),
    "05-moons/step": lambda ps, rate: [setattr(p, "data", d) for p, d in zip(ps, (0.95, -1.7), strict=False)],
    "06-matrix/product": lambda table, x: [-2.0, -2.0] if len(x) == 3 else [7.0, 0.0],
    "07-optimisers/momentum": lambda *given: (1.0 - 0.1 * 2.3, 2.3),
    "08-overfitting/split": lambda n, share: split(40, 0.25),
    "08-overfitting/scaled": lambda a, b: scaled([1.0, 2.0, 3.0, 6.0], [11.0, 13.0]),
    "09-recurrence/largest": lambda state, x: 5.0 if 5.0 in (state, x) else x if x < 3.0 and state > -4.1 else state,
    "10-attention/softmax": lambda scores: [0.5, 0.5] if scores[0] else [0.25, 0.75],
}


def test_numbers_of_the_examples_are_no_solution() -> None:
    assert set(HARD_CODED) == set(FUNCTIONS)
    for name, answer in HARD_CODED.items():
        for _ in range(3):
            assert not mg.course.check(name, answer), name


def test_a_product_is_not_made_of_neurons() -> None:
    assert "it is curved between them" in repr(mg.course.check("04-neuron/xor", lambda a, b: a + b - 2.0 * a * b))


def test_wrong_answers_are_told_what_is_wrong() -> None:
    for name, answer, said in WRONG:
        verdict = mg.course.check(name, answer)
        assert not verdict, name
        assert repr(verdict).startswith("Not yet. "), (name, verdict)
        assert said in verdict.text, (name, said, verdict)


RUBBISH: list[Any] = [
    "x", [], {}, [1, "x"], [[1]], object(), np.zeros(3), np.nan, 10**400, True, Value(1.0), broken, int,
    lambda: 0, lambda *given: None, lambda *given: "s", lambda *given: [], lambda *given: {}, lambda *given: given,
    mg.Trainer(nn.MLP(2, [1])), mg.Trainer(nn.MLP(3, [1])),
]  # fmt: skip


def test_rubbish_is_an_answer_that_is_not_right() -> None:
    for name in mg.course.exercises:
        for answer in RUBBISH:
            verdict = mg.course.check(name, answer)
            assert not verdict, (name, answer)
            assert len(verdict.text) < 400


def test_the_right_number_of_another_type_is_no_number() -> None:
    for name, right in RIGHT.items():
        if isinstance(right, (int, float)):
            for answer in ([right], (right,), np.array([right]), np.array([[right]]), str(right), lambda r=right: r):
                verdict = mg.course.check(name, answer)
                assert not verdict, (name, answer)
                assert "asks for a number, and you gave" in verdict.text, (name, answer)
            assert mg.course.check(name, np.float64(right)), name


def test_no_message_gives_the_number_away() -> None:
    for name, answer, _ in WRONG:
        right = RIGHT[name]
        if isinstance(right, (int, float)) and name != "09-recurrence/power":
            assert not re.search(rf"(?<![\d.]){right:g}(?![\d.]|\.\d)", mg.course.check(name, answer).text), name


def test_an_exercise_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match="there is no exercise '03-backward/chian': did you mean '03-backward/chain'"):
        mg.course.check("03-backward/chian", 1)
    with pytest.raises(ValueError, match=r"'': mg\.course\.exercises has their names"):
        mg.course.check("", 1)
