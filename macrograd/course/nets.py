"""Checks of notebooks 4 to 6: neurons and layers, two moons, matrices."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from macrograd.course.checking import (
    TURN,
    Check,
    called,
    elsewhere,
    function,
    missing,
    near,
    number,
    number_of,
    numbers,
    same,
    shown,
)
from macrograd.datasets import make_moons
from macrograd.value import Value

_CORNERS = [(0, 0), (0, 1), (1, 0), (1, 1)]

# --- 4: neurons and layers --------------------------------------------------------------------------------------------


def _and(answer: Any) -> str:
    found = numbers(answer, 3)
    if isinstance(found, str):
        return found
    w1, w2, b = found
    sums = {corner: w1 * corner[0] + w2 * corner[1] + b for corner in _CORNERS}
    wrong = [corner for corner, total in sums.items() if (total > 1e-9) != (corner == (1, 1))]
    if not wrong:
        return ""
    corner = wrong[0]
    wanted = "above 0" if corner == (1, 1) else "0 or less"
    if len(wrong) > 1 and sums[1, 1] > 0 and sums[0, 0] <= 0:
        return f"That fires for {wrong[0]} already: it is OR. The bias has to hold back a single weight, but not both."
    return f"For the inputs {corner} the sum is {sums[corner]:g}, and it should be {wanted}."


def _xor(xor: Callable[..., Any]) -> str:
    found = {corner: xor(*map(float, corner)) for corner in _CORNERS}
    if gap := missing([*found.values()]):
        return gap
    wrong = [corner for corner in _CORNERS if not near(found[corner], float(corner[0] != corner[1]), 0.05)]
    if not wrong:
        return _bends(xor)
    if wrong == [(1, 1)]:
        return (
            f"Three of four: for (1, 1) it gives {shown(found[1, 1])}. The sum of the inputs is 2 there, and "
            "only there: let the second neuron notice it, and the output subtract it."
        )
    corner = wrong[0]
    return f"{called(xor, *corner)} is {shown(found[corner])}, and it should be {int(corner[0] != corner[1])}."


def _bends(xor: Callable[..., Any]) -> str:
    """What to say of a function that is XOR in the corners, if between them it is not a sum of a few relu neurons."""
    for end in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0)):
        line = [number_of(xor(end[0] * k / 1000, end[1] * k / 1000)) for k in range(1001)]
        steps = [after - before for before, after in pairwise(line)]
        if not max(map(abs, steps)) < 0.3:
            return "All four corners are right, but it jumps between them. Two relu neurons and a sum only have bends."
        if sum(abs(after - before) > 1e-9 for before, after in pairwise(steps)) > 8:
            return "All four corners are right, but it is curved between them. Use sums, relu and numbers only."
    return ""


# --- 5: two moons -----------------------------------------------------------------------------------------------------


def _step(step: Callable[..., Any]) -> str:
    parameters = [Value(1.0), Value(-2.0)]
    for p, gradient in zip(parameters, (0.5, -3.0), strict=True):
        p.grad = gradient
    step(parameters, 0.1)
    if [p.data for p in parameters] == [1.0, -2.0]:
        return f"{TURN} Set the .data of every parameter."
    found = [p.data for p in parameters]
    if same(found, [1.05, -2.3]):
        return "The loss would grow: that is a step up the slope."
    if same(found, [0.5, 1.0]):
        return "These steps are ten times too large: where is the rate?"
    if same(found, [0.95, -2.0]):
        return "Only the first parameter has changed."
    if same(found, [0.9, -1.9]) or same(found, [0.9, -2.1]):
        return "These steps do not depend on the gradients."
    if not same(found, [0.95, -1.7]):
        return (
            f"From 1 and −2, with the gradients 0.5 and −3 and the rate 0.1, it went to {found[0]:g} and {found[1]:g}."
        )

    def moved(data: list[float], gradients: list[float], rate: float) -> list[float]:
        parameters = [*map(Value, data)]
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient
        step(parameters, rate)
        return [p.data for p in parameters]

    def right(data: list[float], gradients: list[float], rate: float) -> list[float]:
        return [p - rate * g for p, g in zip(data, gradients, strict=True)]

    def draw(chance: random.Random) -> tuple[Any, ...]:
        data, gradients = _table(chance, 2, chance.randint(1, 5))
        return data, gradients, round(chance.uniform(0.01, 1.0), 2)

    moved.__name__ = getattr(step, "__name__", "step")
    return elsewhere(moved, right, draw)


def _table(chance: random.Random, rows: int, columns: int) -> list[list[float]]:
    return [[round(chance.uniform(-9.0, 9.0), 1) for _ in range(columns)] for _ in range(rows)]


def _better(answer: Any) -> str:
    if not hasattr(answer, "predict") or not hasattr(answer, "model"):
        return "This exercise asks for a Trainer that you have fitted, not for its result."
    count = len(answer.model.parameters())
    if count > 100:
        return f"Your net has {count} parameters, and may have 100. A layer of n neurons after m has n · (m + 1)."
    X, y = make_moons(500, noise=0.1, seed=2024)
    try:
        predicted = answer.predict(X)
    except RuntimeError:
        return "This Trainer has not been fitted: call its fit first."
    if not set(predicted.tolist()) <= {0, 1}:
        return "It does not predict the classes 0 and 1: fit it with the labels y as they are, and a loss for classes."
    right = float((predicted == y).mean())
    if right < 0.98:
        return (
            f"On 500 new points it is right for {100 * right:.1f} %, and 98 % are wanted: train for longer, or try "
            "another shape, activation, rate or seed."
        )
    return ""


# --- 6: matrices ------------------------------------------------------------------------------------------------------


def _product(product: Callable[..., Any]) -> str:
    table, x = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], [1.0, 0.0, -1.0]
    found = product(table, x)
    if gap := missing(found):
        return gap
    if not hasattr(found, "__len__"):
        return "A table times a list is a list, with one number for each row."
    if len(found) != 2:
        return f"The table has 2 rows of 3 numbers, and your list has {len(found)} numbers: there is one for each row."
    if not same(list(found), [-2.0, -2.0]):
        return (
            f"{called(product, table, x)} is [{', '.join(map(shown, found))}]. The first number comes from the first "
            "row: multiply it with x, number by number, and add."
        )
    square = product([[0.0, 1.0], [0.0, 0.0]], [5.0, 7.0])
    if not same(list(square), [7.0, 0.0]):
        return "For a square table, rows and columns are mixed up."

    def right(table: list[list[float]], x: list[float]) -> list[float]:
        return [sum(w * number for w, number in zip(row, x, strict=True)) for row in table]

    def draw(chance: random.Random) -> tuple[Any, ...]:
        rows, columns = chance.randint(1, 4), chance.randint(1, 4)
        return _table(chance, rows, columns), _table(chance, 1, columns)[0]

    return elsewhere(product, right, draw)


def _shape(answer: Any) -> str:
    found = numbers(answer, 2)
    if isinstance(found, str):
        return found
    if found == [64.0, 10.0]:
        return "The other way round: in this notebook a row is a neuron."
    if found in ([10.0, 65.0], [65.0, 10.0]):
        return "The biases are not part of the matrix: they are a separate list."
    return "" if found == [10.0, 64.0] else "One row for each neuron, and in it a weight for each input."


def _pattern(answer: Any) -> str:
    found = numbers(answer, 3)
    if isinstance(found, str):
        return found
    base, per_i, per_j = found
    if [base, per_i, per_j] == [7.0, 5.0, 1.0]:
        return "The two steps are swapped: i counts the rows of the print, j the places in a row."
    wrong = next(((i, j) for i in range(3) for j in range(4) if base + i * per_i + j * per_j != 7 + i + 5 * j), None)
    if wrong is None:
        return ""
    i, j = wrong
    return f"For i = {i}, j = {j} your formula gives {base + i * per_i + j * per_j:g}; look in the table."


CHECKS: dict[str, Check] = {
    "04-neuron/and": _and,
    "04-neuron/xor": function(_xor),
    "04-neuron/parameters": number(
        26,
        {
            20: "These are the weights. Each neuron has one number more.",
            24: "Two are missing: the second layer has as many inputs as the first has neurons, and biases.",
            22: "Each neuron has a bias, not each layer.",
            8: "In the first layer each neuron has a weight for every input, and a bias.",
        },
        "Each neuron has a weight for each of its inputs and a bias. Count the neurons of each layer.",
    ),
    "05-moons/hinge": number(
        1.3,
        {
            0.7: "That would be right for the target +1. With −1 the score is on the wrong side.",
            0.0: "The loss is 0 only if the score has the sign of the target, and is larger than 1.",
            -1.3: "A loss is never below 0.",
            0.3: "That is the score. What is 1 − target · score?",
        },
        "Put the numbers into max(0, 1 − target · score).",
        1e-6,
    ),
    "05-moons/step": function(_step),
    "05-moons/better": _better,
    "06-matrix/product": function(_product),
    "06-matrix/shape": _shape,
    "06-matrix/pattern": _pattern,
}
