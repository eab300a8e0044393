"""The exercises of the course in docs/course: `check` says what is wrong with an answer, and not what is right.

checking.py    what a check returns, and helpers that compare numbers and try out functions
slopes.py      notebooks 1 to 3: the derivative, Values, backward
nets.py        notebooks 4 to 6: neurons and layers, two moons, matrices
learning.py    notebooks 7 and 8: optimisers, overfitting
sequences.py   notebooks 9 and 10: recurrences, attention
"""

from __future__ import annotations

import difflib
from typing import Any

from macrograd.course import learning, nets, sequences, slopes
from macrograd.course.checking import Check, Verdict, unanswered

_CHECKS: dict[str, Check] = {**slopes.CHECKS, **nets.CHECKS, **learning.CHECKS, **sequences.CHECKS}
exercises = tuple(_CHECKS)


def check(exercise: str, answer: Any = ...) -> Verdict:
    """Whether the answer to an exercise is right, and if not, what is wrong with it.

    exercise  the notebook and the name of the exercise, as in "03-backward/chain"; `exercises` has them all
    answer    a number, a list or a function, as the notebook asks

    A notebook shows the verdict; `bool(verdict)` is whether the answer is right. A function is called on a few examples
    and on random numbers, new in each check; an error that it raises is part of the verdict. Raises ValueError for an
    exercise that does not exist.
    """
    found = _CHECKS.get(exercise)
    if found is None:
        close = difflib.get_close_matches(str(exercise), exercises, 1, 0.4)
        hint = f": did you mean {close[0]!r}?" if close else ": mg.course.exercises has their names"
        raise ValueError(f"there is no exercise {exercise!r}{hint}")
    if unanswered(answer):
        return Verdict(exercise, False, "Your turn: put your answer in place of the dots.")
    try:
        text = found(answer)
    except Exception as error:  # noqa: BLE001 - a student may give anything
        text = f"This answer cannot be looked at: it raises {type(error).__name__}: {error}"
    return Verdict(exercise, not text, text or "Right.")


__all__ = ["Verdict", "check", "exercises"]
