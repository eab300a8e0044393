"""`implicit`, a function defined by an equation, and `custom`, a function with a custom derivative."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, wraps
from types import MethodType
from typing import Any

from macrograd import linalg, ops
from macrograd._flags import flag
from macrograd.callees import Writing, check_call, nest_in, place_of
from macrograd.control import limit, rounds_while
from macrograd.copying import check_importable
from macrograd.gradients import jacobian
from macrograd.interpreter import Interpreter
from macrograd.nesting import Nest, nest_of
from macrograd.value import Value, constant, epsilon, recording
from macrograd.vector import vector

_ROUNDINGS = 4096  # the smallest tolerance, in units of the last place: that of the default one in float64
_STEP = 2.0**-17  # of the differences in `check`, for numbers near 1


def implicit(residual: Callable[[Any], Any], guess: Any, *, tolerance: float = 1e-12, most: int = 50) -> Any:
    """The x near `guess` with residual(x) = 0, as a function of everything that `residual` closes over.

    residual   takes x in the nesting of `guess` and returns as many numbers, in any nesting. Values and arguments that
               it closes over are parameters of the solution
    guess      the start of Newton's method; no derivative flows through it
    tolerance  Newton's method ends when no step is larger than this times 1 + the largest |x|; in float32 than 2⁻¹¹
               times that, if the tolerance is less. (Two more steps follow, each of which squares the error)
    most       the largest number of its steps

    The derivative is that of the implicit function theorem, dx/dθ = −(∂r/∂x)⁻¹ ∂r/∂θ, and exact to the third order: the
    solution is held constant, and followed by two steps of Newton's method that are differentiated, each of which
    doubles the order to which derivatives are right.

    Raises RuntimeError if `most` steps do not converge; ValueError for a singular Jacobian (in a compiled function
    RuntimeError), a residual of another length, and a tolerance or `most` that is not above 0; TypeError for a guess or
    a residual that is not numeric.
    Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, ch. 15.
    """
    if not callable(residual):
        raise TypeError(f"implicit(residual, guess) takes a function residual(x), got {residual!r}")
    most, tolerance = limit("implicit", most), _tolerance(tolerance)
    try:
        return _implicit(residual, guess, tolerance, most)
    except TypeError:
        check_call(residual, "the residual of implicit", "x")
        raise


def _implicit(residual: Callable[[Any], Any], guess: Any, tolerance: float, most: int) -> Any:
    nest, first = nest_in(f"the guess of implicit() for {place_of(residual)}", guess)
    if not first:
        raise ValueError(f"implicit(): the guess for {place_of(residual)} holds no numbers: give one for each unknown")
    if (numbers := epsilon()) > Interpreter.epsilon:
        tolerance = max(tolerance, _ROUNDINGS * numbers)

    def newton(x: list[Any]) -> list[Any]:
        return _newton(residual, nest, x)

    def not_yet(state: Any) -> Any:
        x, step = state
        size: Any = 1.0
        for value in x:
            size = ops.maximum(size, 1.0 + abs(value))
        return ops.where(ops.less(step, tolerance * size), 0.0, 1.0)  # not yet for a NaN, either

    @wraps(residual, updated=())
    def body(state: Any) -> Any:
        x, _ = state
        new = [_held(value) for value in newton(list(x))]
        step: Any = 0.0
        for a, b in zip(new, x, strict=True):
            step = ops.maximum(step, abs(a - b))
        return new, step

    reached = (
        f"implicit(): Newton's method for {place_of(residual)} did not converge in {most} steps: give a guess nearer "
        "to the solution, a larger most= or a larger tolerance="
    )
    start = [_held(value) for value in first], float("inf")
    x, _ = rounds_while(not_yet, body, start, most, reached, "implicit", own=1)
    x = newton(newton([_held(value) for value in x]))
    return nest.built(x)


def _tolerance(tolerance: Any) -> float:
    """`tolerance`, checked."""
    wrong = f"implicit(tolerance=…) takes a number above 0, got {tolerance!r}"
    if isinstance(tolerance, (bool, Value)) or not hasattr(tolerance, "__float__"):
        raise TypeError(wrong)
    if not (number := float(tolerance)) > 0.0:
        raise ValueError(wrong)
    return number


def _held(x: Any) -> Any:
    """A number without a derivative."""
    if recording() is not None:
        return ops.detach(x)
    return x._data if isinstance(x, Value) else ops.as_float("implicit", x)


def _newton(residual: Callable[[Any], Any], nest: Nest, x: list[Any]) -> list[Any]:
    """One step of Newton's method."""

    def flat(x: Any) -> Any:
        _, found = nest_in(f"what {place_of(residual)} returned to implicit()", residual(nest.built(list(x))))
        if len(found) != len(x):
            raise ValueError(
                f"implicit(): {place_of(residual)} returned {len(found)} numbers for {len(x)} unknowns: it needs as "
                "many equations"
            )
        return vector(found)

    here = vector(list(x))
    matrix = jacobian(flat)(here)
    (step,) = linalg.Factors("implicit", [list(row) for row in matrix], _no_step).solved([list(flat(here))])
    return [value - change for value, change in zip(x, step, strict=True)]


def _no_step(k: int, n: int) -> tuple[str, str]:
    """Why there is no step of Newton's method if pivot k of n is 0, and the remedy."""
    return (
        "the Jacobian of the residual is singular" if n > 1 else "the slope of the residual is 0",
        "give another guess; there may be no solution nearby, or too few equations that differ",
    )


def custom(fn: Callable[..., Any], derivative: Callable[..., Any], *, check: bool = False) -> Callable[..., Any]:
    """The function `fn` with a custom derivative.

    fn          takes numbers and Values, in any nesting, and returns one number; its operations are not differentiated
    derivative  takes the same arguments and returns the derivatives by each number, nested as the argument, or a tuple
                of these for several arguments
    check       whether each eager call compares them with central differences

    Second derivatives come from differentiating `derivative`; those of the third order and beyond are wrong and should
    not be used. A derivative that is infinite or NaN makes the value NaN.

    Raises TypeError if either is not a function, ValueError if the derivatives are not nested as the arguments are, and
    with `check` ValueError if they differ from the central differences by more than 1e-5 of the largest.
    """
    for name, given in (("fn", fn), ("derivative", derivative)):
        if not callable(given):
            raise TypeError(f"custom(fn, derivative) takes functions, got {name}={given!r}")
    return _Custom(fn, derivative, flag("custom", "check", check))


class _Custom(partial[Any]):
    """What `custom` returns: a partial call of `_called`, which code that looks into functions looks into, too."""

    __name__: str
    __wrapped__: Callable[..., Any]

    def __new__(cls, *parts: Any) -> _Custom:
        made = super().__new__(cls, _called, *parts)
        made.__wrapped__, made.__doc__ = parts[0], parts[0].__doc__
        made.__name__ = getattr(parts[0], "__name__", "custom")
        return made

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind as a method, as a function would."""
        return self if instance is None else MethodType(self, instance)

    def __reduce__(self) -> tuple[Any, ...]:
        for what, function in zip(("function", "derivative"), self.args[:2], strict=True):
            check_importable(f"mg.custom({self.__name__}, …)", what, function)
        return _Custom, self.args

    def __deepcopy__(self, _: Any) -> _Custom:
        return self  # as of other functions


def _called(fn: Callable[..., Any], derivative: Callable[..., Any], check: bool, *args: Any) -> Any:
    nest, x = nest_of(args)
    if any(isinstance(a, Value) for a in x):
        slopes = f"custom() for {place_of(fn)}, differentiated by {place_of(derivative)} and not through its operations"
        with Writing(slopes, ""):
            return _differentiated(fn, derivative, check, nest, x)
    value = _one_number(fn, fn(*nest.built([_held(a) for a in x])))
    if check:
        _check(fn, derivative, nest, x)
    return value


def _differentiated(
    fn: Callable[..., Any], derivative: Callable[..., Any], check: bool, nest: Nest, x: list[Any]
) -> Any:
    """The value at x, with the derivative."""
    fixed = [_held(value) for value in x]
    value = _one_number(fn, fn(*nest.built(fixed)))
    # Half way from the fixed point to the argument, which coincide here: the midpoint rule for the integral of the
    # derivative. The integral is 0, and the rule has its first two derivatives.
    between = [a + 0.5 * (b - a) for a, b in zip(fixed, x, strict=True)]
    if check and recording() is None:
        _check(fn, derivative, nest, [a._data if isinstance(a, Value) else a for a in x])
    for slope, a, b in zip(_slopes(derivative, nest, between), fixed, x, strict=True):
        value = value + slope * (b - a)
    return value


def _one_number(fn: Callable[..., Any], found: Any) -> Any:
    """What the function of `custom` returned, without a derivative."""
    if constant(found) is None:
        raise TypeError(f"custom(): {place_of(fn)} must return one number, and returned {found!r}")
    return _held(found)


def _slopes(derivative: Callable[..., Any], nest: Nest, x: list[Any]) -> list[Any]:
    """The derivatives by each number."""
    args = nest.built(x)
    try:
        found = derivative(*args)
    except TypeError:
        check_call(derivative, "the derivative of custom", *[f"x{k}" for k in range(len(args))])
        raise
    slopes = nest.scalars((found,) if len(args) == 1 else found)
    if slopes is None and len(args) == 1:
        slopes = nest.scalars(found)
    if slopes is None:
        raise ValueError(
            f"custom(): {place_of(derivative)} must return derivatives nested as the arguments, a {nest}; got {found!r}"
        )
    return slopes


def _check(fn: Callable[..., Any], derivative: Callable[..., Any], nest: Nest, x: list[Any]) -> None:
    """Raise ValueError if the derivatives are not those of central differences."""
    numbers = [float(value) for value in x]

    def at(k: int, step: float) -> float:
        moved = [value + step * (j == k) for j, value in enumerate(numbers)]
        found = fn(*nest.built(moved))
        return float(found._data if isinstance(found, Value) else found)

    said = [float(s._data if isinstance(s, Value) else s) for s in _slopes(derivative, nest, list(numbers))]
    seen = []
    for k, value in enumerate(numbers):
        step = _STEP * max(1.0, abs(value))
        seen.append((at(k, step) - at(k, -step)) / (2.0 * step))
    largest = max(1.0, *map(abs, seen)) if seen else 1.0
    for k, (a, b) in enumerate(zip(said, seen, strict=True)):
        if not abs(a - b) <= 1e-5 * largest:
            raise ValueError(
                f"custom(): by number {k} of its arguments {place_of(derivative)} says {a:.6g}, and central "
                f"differences of {place_of(fn)} {b:.6g}, at {numbers}"
            )


__all__ = ["custom", "implicit"]
