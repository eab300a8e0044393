"""Users' functions that are called: where they stand, whether they take what they are given, and what they return."""

from __future__ import annotations

import sys
from collections.abc import Callable
from inspect import signature, unwrap
from pathlib import Path
from typing import Any

from macrograd.nesting import Nest, nest_of
from macrograd.value import recording

_PACKAGE = str(Path(__file__).resolve().parent)


def first_state(body: Callable[..., Any], state: Any) -> tuple[Nest, list[Any]]:
    """The nesting of the first state of a loop, and its scalars."""
    return nest_in(f"what goes into or comes out of {place_of(body)}", state)


def first_kept(body: Callable[..., Any], kept: Any) -> tuple[Nest, list[Any]]:
    """The nesting of what a loop keeps of its first round, and its scalars."""
    return nest_in(f"what {place_of(body)} keeps of a round", kept)


def nest_in(what: str, given: Any) -> tuple[Nest, list[Any]]:
    """The nesting of what is given, and its scalars. Raises TypeError that says what was given."""
    try:
        return nest_of(given)
    except TypeError as error:
        raise TypeError(f"{what}: {error}") from None


def pair(body: Callable[..., Any], found: Any) -> tuple[Any, Any]:
    """The next state and the values to keep, as returned by a body. Raises TypeError for anything but a pair."""
    if not isinstance(found, tuple) or len(found) != 2:
        raise TypeError(
            f"loop(…, collect=True): {place_of(body)} returned {brief(found)}, and not a pair: "
            "return (state, what to keep of the round)"
        )
    return found


def same_nesting(body: Callable[..., Any], what: str, nest: Nest, found: Any) -> list[Any]:
    """The scalars of a body's result. Raises ValueError if it is not nested as before."""
    scalars = nest.scalars(found)
    if scalars is None:
        raise ValueError(
            f"{what} of a loop must keep its nesting in every round: it was a {nest}, and {place_of(body)} returned "
            f"{brief(found)}. Return as many numbers, nested in the same way"
        )
    return scalars


def place_of(function: Callable[..., Any]) -> str:
    """A function's name, file and line, for messages; of one that wraps another, those of the inner one."""
    function = unwrap(function)
    code = getattr(getattr(function, "__func__", function), "__code__", None)
    name = getattr(function, "__name__", type(function).__name__)
    return f"{name}()" if code is None else f"{name}() at {code.co_filename}:{code.co_firstlineno}"


def check_call(function: Callable[..., Any], what: str, *names: str) -> None:
    """Raise TypeError if the function, which is `what`, cannot be called with as many arguments as there are names. To
    be called where a TypeError was met: a signature takes longer to look at than a round."""
    try:
        takes = signature(function)
    except (TypeError, ValueError):  # of a function that is not Python's
        return
    try:
        takes.bind(*names)
    except TypeError as error:
        many = f"{len(names)} argument{'s' * (len(names) != 1)}, ({', '.join(names)})" if names else "no argument"
        raise TypeError(f"{what} is called with {many}, and {place_of(function)} takes {takes}: {error}") from None


def user_line() -> str:
    """File, line and function of the innermost frame outside this package, for messages."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


class Writing:
    """A context in which a function of this package is recorded, for `explain`: `what` names it, and `where` its place
    unless that is the line of the user's program."""

    def __init__(self, what: str, where: str | None = None) -> None:
        self.what, self.where = what, where
        program = recording()
        self.program = program if program is not None and program.records() else None

    def __enter__(self) -> None:
        if self.program is not None:
            self.first = self.program.written()

    def __exit__(self, kind: object, *_: object) -> None:
        if self.program is not None and kind is None:
            where = user_line() if self.where is None else self.where
            self.program.wrote(self.what, where, self.program.written() - self.first)


def brief(found: Any) -> str:
    try:
        return f"a {nest_of(found)[0]}"
    except TypeError:
        return f"{found!r}"[:80]
