"""Checks of notebooks 9 and 10: recurrences, attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from macrograd.course.checking import (
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

# --- 9: recurrences ---------------------------------------------------------------------------------------------------


def _largest(step: Callable[..., Any]) -> str:
    if gap := missing(step(2.0, 5.0)):
        return gap

    def run(xs: list[float]) -> Any:
        state: Any = xs[0]
        for x in xs[1:]:
            state = step(state, x)
        return state

    cases = {
        (2.0, 5.0, 3.0): "It forgets: after 2, 5, 3 the state should still be 5, and it is {}.",
        (5.0, 2.0): "After 5, 2 the state should be 5, and it is {}.",
        (-4.0, -2.0, -3.0): "With numbers below 0 it is wrong: after −4, −2, −3 the state should be −2, and it is {}.",
        (1.0, 1.0): "After 1, 1 the state should be 1, and it is {}.",
    }
    for xs, hint in cases.items():
        if not near(last := run(list(xs)), max(xs)):
            return hint.format(shown(last))
    return elsewhere(
        step, max, lambda chance: (round(chance.uniform(-9.0, 9.0), 1), round(chance.uniform(-9.0, 9.0), 1))
    )


# --- 10: attention ----------------------------------------------------------------------------------------------------


def _softmax(softmax: Callable[..., Any]) -> str:
    found = softmax([0.0, math.log(3.0)])
    if gap := missing(found):
        return gap
    if not hasattr(found, "__len__") or len(found) != 2:
        return "For two scores there are two weights: return a list."
    if same(list(found), [1.0, 3.0]):
        return "These are the exponentials. Weights have to add up to 1."
    if not near(sum(map(number_of, found)), 1.0):
        return f"The weights for two scores add up to {sum(map(number_of, found)):.4g}, and should to 1."
    if same(list(found), [0.0, 1.0]):
        return "The scores are divided by their sum, without exp. What would become of scores below 0?"
    if not same(list(found), [0.25, 0.75]):
        return (
            f"A score that is larger by log 3 should get 3 times the weight; {called(softmax, [0.0, 1.0986])} does not."
        )
    try:
        large = softmax([1000.0, 1000.0])
    except OverflowError:
        large = [math.nan]
    if not same(list(large), [0.5, 0.5]):
        return (
            "Right for small scores. But exp(1000) is too large for a computer: subtract the largest score from all of "
            "them first. Why does that not change the weights?"
        )

    def right(scores: list[float]) -> list[float]:
        total = sum(map(math.exp, scores))
        return [math.exp(score) / total for score in scores]

    return elsewhere(
        softmax, right, lambda chance: ([round(chance.uniform(-3.0, 3.0), 1) for _ in range(chance.randint(1, 6))],)
    )


_QUERY, _KEYS, _VALUES = (2.0, 0.0), ((1.0, 0.0), (0.0, 1.0)), (10.0, 20.0)


def _mean(scale: float) -> float:
    exponentials = [math.exp(scale * sum(q * k for q, k in zip(_QUERY, key, strict=True))) for key in _KEYS]
    return sum(e * v for e, v in zip(exponentials, _VALUES, strict=True)) / sum(exponentials)


def _mask(answer: Any) -> str:
    found = numbers(answer)
    if isinstance(found, str):
        return found
    if any(k > 2 for k in found):
        return "From place 2 the net must not see what comes later: that is what it has to predict."
    if 2 not in found:
        return "A place may look at itself."
    return "" if sorted(found) == [0.0, 1.0, 2.0] else "Counting starts at 0, and everything before a place is seen."


CHECKS: dict[str, Check] = {
    "09-recurrence/unroll": number(
        4.125,
        {
            5.0: "That is the sum of the inputs: the state is halved at every step before the input is added.",
            2.5: "The state is halved, the input is not.",
            0.125: "That is what is left of the first input. The last one is added, too.",
            2.0625: "Halved once too often: first the state is halved, then the input is added.",
        },
        "Write down the state after each input: 1, then half of it plus 0, and so on.",
        1e-6,
    ),
    "09-recurrence/largest": function(_largest),
    "09-recurrence/power": number(
        0.9**50,
        {
            45.0: "Along a path slopes are multiplied, not added.",
            0.9: "That is the slope of one step. The path has 50.",
            0.9**49: "One step is missing.",
            0.9**51: "That is one step too many.",
            0.005: "Close: give one more digit.",
            0.0: "It is small, but not 0.",
        },
        "Each step has the slope 0.9, and the path from the first state to the last goes through 50 of them.",
        1e-4,
    ),
    "10-attention/softmax": function(_softmax),
    "10-attention/mean": number(
        _mean(1.0 / math.sqrt(2.0)),
        {
            _mean(1.0): "The scores are to be divided by the root of the width, which is 2 here.",
            _mean(0.5): "Divide by the root of the width, not by the width.",
            12.0: "Close: give two digits after the point.",
            15.0: "That is the plain mean: the weights depend on how well each key fits the query.",
            10.0: "The better key gets more weight, but not all of it.",
            30.0 - _mean(1.0 / math.sqrt(2.0)): "The weights are swapped: which key points where the query points?",
        },
        "Three steps: the scores query · key / √2, their softmax, and the mean of the values with these weights.",
        1e-3,
    ),
    "10-attention/mask": _mask,
}
