"""What a check returns, and helpers that compare numbers and try out functions."""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from macrograd._dataclass import dataclass
from macrograd.value import Value

# An answer → what is wrong with it, "" if nothing is.
Check = Callable[[Any], str]

TURN = "Your turn: your function does nothing yet."


@dataclass(frozen=True)
class Verdict:
    """The result of `check`: whether the answer is right, and a text for the person who gave it."""

    exercise: str
    right: bool
    text: str

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return self.text if self.right or self.text.startswith("Your turn") else f"Not yet. {self.text}"


def unanswered(answer: Any) -> bool:
    """Whether an answer, or every part of one, is still the dots of the notebook."""
    if isinstance(answer, (list, tuple)) and answer:
        return any(part is ... for part in answer)
    return answer is ...


def missing(found: Any) -> str:
    """What to say of a function's result if it, or a part of it, is still the dots or None; "" otherwise."""
    if unanswered(found):
        return TURN
    parts = found if isinstance(found, (list, tuple)) else [found]
    return "Your function returns None: is a `return` missing?" if any(part is None for part in parts) else ""


def number_of(answer: Any) -> float:
    """The number that an answer is; NaN if it is none. A Value counts as its number, an array of one does not."""
    if isinstance(answer, Value):
        return float(answer.data)
    if isinstance(answer, (str, bytes, bool)) or not hasattr(answer, "__float__") or getattr(answer, "shape", None):
        return math.nan
    try:
        return float(answer)
    except (TypeError, ValueError):
        return math.nan


def near(a: Any, b: float, tolerance: float = 1e-6) -> bool:
    """Whether a number is b, up to a relative and absolute tolerance."""
    return math.isclose(number_of(a), b, rel_tol=tolerance, abs_tol=tolerance)


def number(right: float, mistakes: Mapping[float, str], otherwise: str, tolerance: float = 1e-3) -> Check:
    """A check for a number: `mistakes` are wrong numbers and what probably led to them."""

    def check(answer: Any) -> str:
        if math.isnan(number_of(answer)):
            return f"This exercise asks for a number, and you gave {_shown(answer)}."
        if near(answer, right, tolerance):
            return ""
        return next((hint for wrong, hint in mistakes.items() if near(answer, wrong, tolerance)), otherwise)

    return check


def numbers(answer: Any, count: int | None = None) -> list[float] | str:
    """The numbers of a list, or what is wrong with it."""
    try:
        found = [number_of(item) for item in answer]
    except TypeError:
        return f"This exercise asks for a list of numbers, and you gave {_shown(answer)}."
    if any(map(math.isnan, found)):
        return "Some of these are not numbers."
    if count is not None and len(found) != count:
        return f"This exercise asks for {count} numbers, and you gave {len(found)}."
    return found


def function(judge: Callable[[Callable[..., Any]], str]) -> Check:
    """A check for a function, which `judge` may call as it likes: what the function raises is part of the verdict."""

    def check(answer: Any) -> str:
        if not callable(answer):
            return f"This exercise asks for a function, without calling it, and you gave {_shown(answer)}."
        try:
            return judge(answer)
        except Exception as error:  # noqa: BLE001 - a student's function may raise anything
            return f"Your function raised {type(error).__name__}: {error}"

    return check


def elsewhere(
    fn: Callable[..., Any],
    right: Callable[..., Any],
    draw: Callable[[random.Random], tuple[Any, ...]],
    agree: Callable[[Any, Any], bool] | None = None,
) -> str:
    """What to say of a function that is right for an example, if it is wrong for others; "" if it is right for all.

    The others are new in each check, so that only a solution passes, and not the numbers of the example. `draw` makes
    the arguments, `right` is the solution, and `agree` whether two results are the same (as numbers, or lists of them).
    """
    chance = random.Random()
    for _ in range(20):
        arguments = draw(chance)
        found = fn(*copy.deepcopy(arguments))
        if not (agree or alike)(found, right(*arguments)):
            return (
                f"It is right for one example, and wrong for another: {called(fn, *arguments)} gives {shown(found)}. "
                "Does the result depend on the arguments alone, and on all of them?"
            )
    return ""


def alike(a: Any, b: Any) -> bool:
    """Whether two numbers, or lists of them nested in the same way, are the same."""
    if isinstance(b, (list, tuple)):
        return hasattr(a, "__len__") and len(a) == len(b) and all(map(alike, a, b))
    return near(a, b)


def called(fn: Callable[..., Any], *arguments: Any) -> str:
    """A call as one would write it."""
    return f"{getattr(fn, '__name__', 'your function')}({', '.join(map(_shown, arguments))})"


def shown(found: Any) -> str:
    """A result as a number if it is one, and as Python writes it if not."""
    value = number_of(found)
    return _shown(found) if math.isnan(value) else f"{value:.6g}"


def same(a: Sequence[Any], b: Sequence[float], tolerance: float = 1e-6) -> bool:
    """Whether two lists hold the same numbers."""
    return len(a) == len(b) and all(near(x, y, tolerance) for x, y in zip(a, b, strict=True))


def _listed(items: Sequence[Any]) -> str:
    inside = ", ".join(_shown(item) for item in items[:20])
    return f"[{inside}]" if isinstance(items, list) else f"({inside})"


def _shown(x: Any) -> str:
    text = getattr(x, "__name__", None) if callable(x) else None
    text = text or (f"{x:g}" if isinstance(x, float) else _listed(x) if type(x) in (list, tuple) else repr(x))
    return text if len(text) <= 60 else text[:57] + "…"
