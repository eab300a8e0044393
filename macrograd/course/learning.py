"""Checks of notebooks 7 and 8: optimisers, overfitting."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from macrograd.course.checking import Check, elsewhere, function, missing, near, number, same

# --- 7: optimisers ----------------------------------------------------------------------------------------------------


def _momentum(momentum: Callable[..., Any]) -> str:
    found = momentum(1.0, 0.5, 2.0, 0.1, 0.9)
    if gap := missing(found):
        return gap
    if not isinstance(found, (list, tuple)) or len(found) != 2:
        return "The function has to return two numbers, the new p and the new v: the next step needs v."
    p, v = found
    if near(p, 2.3) and near(v, 0.77):
        return "Both numbers are there, but the other way round: the new p comes first."
    if near(v, 0.9 * 2.0 + 0.5):
        if near(p, 1.0 - 0.1 * 2.3):

            def right(p: float, g: float, v: float, rate: float, keep: float) -> tuple[float, float]:
                return p - rate * (keep * v + g), keep * v + g

            return elsewhere(
                momentum, right, lambda chance: tuple(round(chance.uniform(0.1, 3.0), 2) for _ in range(5))
            )
        if near(p, 1.0 + 0.1 * 2.3):
            return "v is right, but p goes up the slope."
        if near(p, 1.0 - 0.1 * 2.0):
            return "p moved by the old v: first the new v, then the step with it."
        if near(p, 1.0 - 0.1 * 0.5):
            return "p moved by the gradient alone, as if there were no momentum."
        return "v is right. p changes by rate · v."
    if near(v, 2.5):
        return "The old v is kept whole: after a thousand steps it would be enormous. Keep a share of it."
    if near(v, 0.5):
        return "The new v has forgotten the old one."
    if near(v, 0.9 * 2.0 + 0.1 * 0.5):
        return "That is a mean of v and the gradient, as Adam takes it. Here the gradient is added whole."
    return "The new v is a share `keep` of the old v, plus the gradient."


# --- 8: overfitting ---------------------------------------------------------------------------------------------------


def _split(split: Callable[..., Any]) -> str:
    found = split(40, 0.25)
    if gap := missing(found):
        return gap
    if not isinstance(found, (list, tuple)) or len(found) != 2:
        return "The function has to return two lists: the rows to train on, and the rows held out."
    if not all(hasattr(part, "__iter__") for part in found):
        return "The function has to return the rows themselves, as two lists."
    train, held = ([int(k) for k in part] for part in found)
    if set(train) & set(held):
        return f"Row {min(set(train) & set(held))} is in both lists: the net would be examined on what it has learned."
    if sorted(train + held) != list(range(40)):
        return "Every one of the rows 0 to 39 has to be in one of the two lists, once."
    if len(held) != 10:
        return f"A quarter of 40 rows is 10, and {len(held)} are held out: " + (
            "are the two lists swapped?" if len(held) == 30 else "look at the share."
        )
    if len({after - row for row, after in zip(sorted(held), sorted(held)[1:], strict=False)}) == 1:
        return (
            "The rows are taken in a regular order. In a file that is sorted by class, the held-out rows would all be "
            "of one class: shuffle first."
        )

    def draw(chance: random.Random) -> tuple[int, float]:
        return 4 * chance.randint(4, 20), chance.choice([0.25, 0.5, 0.75])

    def sizes(n: int, share: float) -> list[int]:
        return [n - round(n * share), round(n * share)]

    def agree(found: Any, wanted: list[int]) -> bool:
        rows = sorted(int(k) for part in found for k in part)
        return [len(part) for part in found] == wanted and rows == list(range(sum(wanted)))

    return elsewhere(split, sizes, draw, agree)


def _scaled(scaled: Callable[..., Any]) -> str:
    train, held = [1.0, 2.0, 3.0, 6.0], [11.0, 13.0]
    found = scaled(list(train), list(held))
    if gap := missing(found):
        return gap
    if not isinstance(found, (list, tuple)) or len(found) != 2 or not all(hasattr(part, "__len__") for part in found):
        return "The function has to return two lists, as it got two."
    a, b = (list(part) for part in found)

    def with_those_of(numbers: list[float]) -> tuple[list[float], list[float]]:
        return _moved(numbers, train, 0), _moved(numbers, held, 0)

    for ddof in (0, 1):  # both are called a standard deviation
        if same(a, _moved(train, train, ddof)) and same(b, _moved(train, held, ddof)):
            return elsewhere(
                scaled,
                lambda train, held, ddof=ddof: (_moved(train, train, ddof), _moved(train, held, ddof)),
                lambda chance: tuple(
                    [round(chance.gauss(3.0, 4.0), 1) for _ in range(chance.randint(3, 6))] for _ in "ab"
                ),
            )
    if same(a, with_those_of(train + held)[0]):
        return (
            "The held-out numbers had a say in the mean. When the net is used, nobody knows them yet: that is a leak."
        )
    if same(a, with_those_of(train)[0]) and same(b, with_those_of(held)[1]):
        return (
            "The two lists are scaled each by its own mean. The same 11 would then mean something else to the net in "
            "each of them."
        )
    if same([x - a[0] for x in a], [x - train[0] for x in train]):
        return "The numbers are moved, but not scaled: divide by the standard deviation, too."
    return "Subtract the mean of the training numbers from all numbers, and divide all by their standard deviation."


def _moved(by: list[float], numbers: list[float], ddof: int) -> list[float]:
    """Numbers scaled with the mean and the standard deviation of others."""
    mean = sum(by) / len(by)
    sd = math.sqrt(sum((x - mean) ** 2 for x in by) / (len(by) - ddof))
    return [(x - mean) / sd for x in numbers]


CHECKS: dict[str, Check] = {
    "07-optimisers/limit": number(
        0.02,
        {
            0.01: "With that rate one step lands on the bottom. A little more goes past it, and still comes closer.",
            0.04: "With 0.04 a step from y = 1 goes to −3, and the next to 9.",
            100.0: "That is the curvature, the slope of the slope. A rate too large for it makes steps too long.",
            1.0: "Try it: one step from y = 1 with the rate 1.",
        },
        "One step takes y to y − rate · 100 · y. For which rates is the new y no larger than the old one?",
        1e-4,
    ),
    "07-optimisers/momentum": function(_momentum),
    "07-optimisers/adam": number(
        0.01,
        {
            10.0: "That is the step of plain descent. Adam divides the gradient by its own size first.",
            -0.01: "How far: the length of the step, without a sign.",
            1000.0: "That is the gradient. How long is the step?",
            1.0: "Gradient by its own size is 1. And then comes the rate.",
            0.00001: "Adam divides by the size of the gradient once, not twice.",
        },
        "In the first step Adam has seen one gradient: its mean is g, and the root of its mean square is |g|.",
        1e-4,
    ),
    "08-overfitting/epoch": number(
        4,
        {
            9: "There the training loss is smallest. Which of the two losses tells how good the net is for new data?",
            5: "Epochs are counted from 0 here.",
            0.31: "That is the loss. In which epoch was it?",
            3: "Close, but there is a smaller one in the second list.",
        },
        "Look for the smallest loss on held-out data.",
    ),
    "08-overfitting/split": function(_split),
    "08-overfitting/scaled": function(_scaled),
}
