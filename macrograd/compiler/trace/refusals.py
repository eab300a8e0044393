"""The error of a traced function that depends on the numbers of one call, with the line and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from macrograd.callees import user_line

PACKAGE = str(Path(__file__).resolve().parents[2])
WAY_OUT = (
    "the compiled program must be the same for every sample. Choose between values with mg.where(condition, a, b), "
    "mg.maximum and mg.minimum, by an index with mg.take, and use mg.exp, mg.tanh … instead of math's and NumPy's"
)
WAY_OUT_OF_PARAMETERS = (
    "the program reads parameters at every call, and anything computed from today's number would never change. "
    "Choose between values with mg.where(condition, a, b), mg.maximum and mg.minimum, by an index with mg.take, "
    "use mg.exp, mg.tanh … instead of math's and NumPy's, and mg.detach(p) for its number without a gradient; "
    "a number that shapes the program must be an argument of the function that makes it, or, if it never changes, "
    "mg.static(p)"
)
WAY_OUT_OF_GRADIENTS = (
    "that would happen only once, not at every call. Inside the function take derivatives with mg.grad or "
    "mg.value_and_grad; pass what an earlier backward() gave as an argument, and set gradients to 0 outside"
)
OF_A_BRANCH = """. In place of `if` and `while` write
    y = mg.cond(test, then, otherwise, x)                    the function then(x) or otherwise(x), by a test
    state = mg.while_loop(condition, body, state, most=100)  rounds until condition(state) fails
    state = mg.loop(count, body, state)                      a count of rounds of state = body(i, state)"""

OF_A_COUNT = """. In place of `range(count)` write
    state = mg.loop(count, body, state, most=100)            at most 100 rounds of state = body(i, state)"""


class TraceError(TypeError):
    """The traced function did something that depends on the numbers of one call."""


def refuse(what: str, way_out: str = WAY_OUT) -> NoReturn:
    """Raise TraceError, with the line of the user's program."""
    raise TraceError(f"{what} while the function is traced, at {user_line()}: {way_out}")
