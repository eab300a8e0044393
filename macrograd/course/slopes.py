"""Checks of notebooks 1 to 3: the derivative, Values, backward."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

from macrograd.course.checking import TURN, Check, called, elsewhere, function, missing, near, number, number_of, shown
from macrograd.graph import topological
from macrograd.value import Value

# --- 1: the derivative ------------------------------------------------------------------------------------------------


def _central(slope: Callable[..., Any]) -> str:
    found = slope(math.sin, 1.0, 1e-3)
    if gap := missing(found):
        return gap
    true, h = math.cos(1.0), 1e-3
    if near(found, 2.0 * true, 1e-4):
        return "The result is twice the slope: how far apart are the two points at which you called f?"
    if near(found, -true, 1e-4):
        return "The sign is wrong: which of the two values comes first in the difference?"
    if near(found, (math.sin(1.0 + h) - math.sin(1.0 - h)), 1e-9):
        return "That is how much f changes; how much per step to the side?"
    if near(found, (math.sin(1.0 + h) - math.sin(1.0)) / h, 1e-9) or near(
        found, (math.sin(1.0) - math.sin(1.0 - h)) / h, 1e-9
    ):
        return "That is a slope, seen from one side. Nudge x both ways, and the error becomes a thousand times smaller."
    if near(found, h * h * true, 1e-9):
        return "Python computes from left to right: / 2 * h divides by 2, and then multiplies by h. Use brackets."
    if not near(found, true, 1e-5):
        return f"{called(slope, math.sin, 1.0, h)} should be close to cos(1), and it is {shown(found)}."
    if not near(slope(lambda x: x * x, -3.0, 1e-4), -6.0, 1e-6):
        return "It works for sin at 1, but not for x² at −3. Does it use its arguments f and x?"
    a = random.uniform(1.0, 2.0)

    def cubic(x: float) -> float:
        return a * x * x * x

    # To both sides, the error of a cubic's slope is a·h² exactly: this sees whether h is used.
    return elsewhere(
        slope,
        lambda f, x, h: a * (3.0 * x * x + h * h),
        lambda chance: (cubic, round(chance.uniform(-2.0, 2.0), 1), round(chance.uniform(0.1, 0.5), 2)),
    )


# --- 2: Values --------------------------------------------------------------------------------------------------------


def _built(answer: Any) -> str:
    if not isinstance(answer, Value):
        if math.isnan(number_of(answer)):
            return "This exercise asks for one Value, computed from a, b and c."
        return (
            "That is a plain number, which has forgotten where it came from. Compute with the three Values, and give "
            "the result, not its .data."
        )
    if not near(answer, 16.0):
        return f"The result is {answer.data:g}. Look at the brackets: first the product, then the sum, then the square."
    leaves = [node for node in topological(answer) if node.op is None]
    if len(leaves) != 3:
        return f"The number is right, but it was computed from {len(leaves)} Values of yours, not from a, b and c."
    if sorted(node.data for node in leaves) != [-3.0, 2.0, 10.0] or not _slopes_are(answer, leaves):
        return "The number is right by chance: this is not (a·b + c)², with the a, b and c above."
    return ""


def _slopes_are(answer: Value, leaves: list[Value]) -> bool:
    """Whether the slopes are those of (a·b + c)²; the grads of the graph stay as they were."""
    nodes = list(topological(answer))
    before = [node.grad for node in nodes]
    try:
        for node in nodes:
            node.grad = 0.0
        answer.backward()
        return all(near(leaf.grad, {2.0: -24.0, -3.0: 16.0, 10.0: 8.0}[leaf.data]) for leaf in leaves)
    finally:
        for node, grad in zip(nodes, before, strict=True):
            node.grad = grad


# --- 3: backward ------------------------------------------------------------------------------------------------------


class _Node:
    """The `Number` of the notebook, as far as a backward function sees it."""

    def __init__(self, data: float, inputs: tuple[_Node, ...] = (), slopes: tuple[float, ...] = ()) -> None:
        self.data, self.inputs, self.slopes, self.grad = data, inputs, slopes, 0.0


def _times(a: _Node, b: _Node) -> _Node:
    return _Node(a.data * b.data, (a, b), (b.data, a.data))


def _plus(a: _Node, b: _Node) -> _Node:
    return _Node(a.data + b.data, (a, b), (1.0, 1.0))


def _backward(backward: Callable[[Any], Any]) -> str:
    x, y = _Node(3.0), _Node(4.0)
    root = _times(x, y)
    if backward(root) is ... and root.grad == 0.0:
        return TURN
    if root.grad == 0.0:
        return "Nothing happened to the result's own grad. How much does the result change if the result is nudged?"
    if not near(root.grad, 1.0):
        return f"The result's own grad is {root.grad:g}. How much does a number change if it is nudged by 1 itself?"
    if near(x.grad, 3.0) and near(y.grad, 4.0):
        return "In x·y both got the slope of the other one. Which slope belongs to which input?"
    if not (near(x.grad, 4.0) and near(y.grad, 3.0)):
        return f"For 3·4 the slopes are {x.grad:g} and {y.grad:g}. The slopes of each input are in `slopes`."
    x = _Node(3.0)
    backward(_plus(x, x))
    if near(x.grad, 1.0):
        return "In x + x the second path replaced the first one. What happens where two paths meet?"
    for square_first in (True, False):  # whichever way a walk turns first, one of these shows a wrong order
        x = _Node(2.0)
        doubled = _plus(x, x)
        square = _times(doubled, doubled)
        backward(_plus(square, doubled) if square_first else _plus(doubled, square))
        if not near(x.grad, 18.0):
            return (
                f"(2x)² + 2x has the slope 18 at 2, and yours is {x.grad:g}. A number can hand on its grad only when "
                "it has got everything from all of its uses: look at the order in which you visit them."
            )
    x = _Node(1.0)
    last = x
    for _ in range(3000):
        last = _plus(last, x)
    backward(last)
    if not near(x.grad, 3001.0):
        return f"In a sum of 3,001 terms the slope should be 3001, and it is {x.grad:g}."
    return _at_random(backward)


def _at_random(backward: Callable[[Any], Any]) -> str:
    """What to say if a backward function is wrong for a graph drawn at random; "" if it is right."""
    nodes = [_Node(round(random.uniform(-2.0, 2.0), 1)) for _ in range(3)]
    for _ in range(12):
        nodes.append(random.choice((_times, _plus))(random.choice(nodes), nodes[-1]))
    backward(nodes[-1])
    wanted, sizes = (dict.fromkeys(map(id, nodes), 0.0) | {id(nodes[-1]): 1.0} for _ in "ab")
    for node in reversed(nodes):  # they were made in this order
        for n, slope in zip(node.inputs, node.slopes, strict=True):
            wanted[id(n)] += wanted[id(node)] * slope
            sizes[id(n)] += sizes[id(node)] * abs(slope)
    # Paths may cancel each other, so that their sum is known up to a share of their sizes.
    wrong = sum(not abs(node.grad - wanted[id(node)]) <= 1e-9 * sizes[id(node)] for node in nodes)
    return f"In a larger graph of {len(nodes)} numbers, {wrong} of the slopes are wrong." if wrong else ""


CHECKS: dict[str, Check] = {
    "01-derivative/slope": number(
        10.0,
        {
            4.0: "4 is the value of the function at 2. How fast does it change there?",
            12.0: "That is the slope of x³ alone. The second part of the function has a slope, too.",
            14.0: "The second part is subtracted, and so is its slope.",
            6.0: "Is that the second derivative, or the slope at 1? Nudge x at 2 and look.",
        },
        "Nudge it: compute the function at 2 and at 2.001. By how much more did the result change than x?",
        2e-2,
    ),
    "01-derivative/nudge": function(_central),
    "01-derivative/downhill": number(
        2.8,
        {
            3.2: "That is uphill: the slope says which way is up.",
            1.0: "That is the whole slope; the rate makes the step a tenth of it.",
            2.9: "That is a step of the rate alone. The steeper the slope, the larger the step.",
            2.0: "That is the bottom itself, which you know from the picture. One step does not go that far.",
        },
        "First the slope at 3, then rate · slope, then subtract that from 3.",
        1e-6,
    ),
    "02-value/build": _built,
    "02-value/count": number(
        4,
        {
            2: "These are the numbers that you wrote down. Each + and each · makes a new one.",
            6: "These are all numbers of the graph. How many of them did an operation make?",
            3: "Draw it: which operation is missing? Two products, and what else?",
            5: "Is one counted twice? Draw it: `mg.draw(y)` has a circle for each.",
        },
        "Draw it with `mg.draw(y)`, and count the circles.",
    ),
    "02-value/reused": number(
        6.0,
        {
            3.0: "That would be right if only one of the two factors was nudged. They are the same number.",
            9.0: "That is the value of x·x.",
            2.0: "That is the slope at 1.",
        },
        "Nudge x: what is 3.001 · 3.001, and by how much more did it change than x?",
        1e-2,
    ),
    "03-backward/chain": number(
        42.0,
        {
            14.0: "That is the slope of the square alone. Before it, x went through 3x + 1, which has a slope, too.",
            3.0: "That is the slope of 3x + 1. After it comes the square.",
            49.0: "That is the value. How fast does it change?",
            17.0: "Along a path slopes are multiplied, not added.",
            12.0: "The slope of the square is needed where the square is: at 3x + 1, not at x.",
            36.0: "The slope of 3x + 1 is 3, wherever x is; and the square is that of 3x + 1.",
        },
        "Write down the two steps, 3x + 1 and the square, with the slope of each at x = 2. The path multiplies them.",
    ),
    "03-backward/paths": number(
        6.0,
        {
            5.0: "That is the path through the product. x is used once more.",
            1.0: "That is the path through the last term. x is used once more.",
            2.0: "That is the slope for y.",
            12.0: "That is the value of z.",
        },
        "There are two paths from x to z. Find the slope along each, and add.",
    ),
    "03-backward/backward": function(_backward),
}
