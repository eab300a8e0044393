"""A row of the table of operations: what it holds, how it is called, and its errors for operands that it cannot take.

The rows themselves are in `ops.py` and `special.py`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from macrograd.rows import composed
from macrograd.rows.floats import INF


class Op:
    """One operation; calling it applies it to numbers, Values or traced values alike.

    name        its name everywhere: in prints, in errors, in `macrograd.<name>`
    symbol      what a drawing shows in the circle
    arity       number of operands; None for any number: `first` operands, then terms of `term` operands each
    forward     floats → float
    derivative  one function (g, out, *operands) → contribution per operand, where g is the derivative of the result
                and out the operation's own result; None for an operand that gets no gradient. A variadic operation
                has one function that returns all contributions
    formula     the operation in other operations, as `composed` describes it. Every column left out below is derived
                from it
    portable    such a formula for strict programs, which may not call a math library; None if the formula or the
                columns below serve them too
    array       for the NumPy target: (numpy, *arrays) → array, or the name of NumPy's own function
    llvm        the name of the instruction, intrinsic or routine in the LLVM target
    c           the expression in C99, a string with {0}, {1} … for operands or a function of their names; and
    c_function  the C function that it calls, if <math.h> has none for it
    onnx        the name of the ONNX operator, or a function (o, *operands) in which `o.Exp(a)` is an operator
    cost        roughly how many floating-point instructions it takes; decides how many are done at once
    remedy      what to do when its result is no longer finite, in a sentence
    unordered   whether any order of calls gives the same number, to the bit, and so does an operand that comes twice
    chooses     whether it picks one of its operands, so that its rules may give the others nothing
    tame        whether the value and all slopes are finite at finite operands, overflow of sums and products aside; or
                a function (*bounds) → bool that tells for operands within bounds, each a pair (lowest, highest)
    range       the lowest and the highest value, NaN aside
    about       the docstring of the operation: its formula, its domain, its slope at kinks

    A row with a formula needs nothing else: every target composes the operation. Raises ValueError for a name that
    already has a row, and for a row without a formula that lacks `forward`, `array`, `llvm` or `c`.
    """

    __slots__ = (
        "__dict__",  # for the operation's docstring: a class with one can have no slot of that name
        "arity",
        "array",
        "c",
        "c_function",
        "chooses",
        "code",
        "cost",
        "derivative",
        "first",
        "formula",
        "forward",
        "llvm",
        "module",
        "name",
        "onnx",
        "portable",
        "range",
        "remedy",
        "symbol",
        "tame",
        "term",
        "ufunc",
        "unordered",
    )

    portable: Callable[..., Any] | None
    # The calls of a trace, which have several results, have derivatives of their own: in reverse, and forward.
    flows: ClassVar[Callable[..., None] | None] = None
    ahead: ClassVar[Callable[..., Any] | None] = None

    def __init__(
        self,
        name: str,
        symbol: str,
        arity: int | None,
        forward: Callable[..., float] | None,
        derivative: Any,
        *,
        first: int = 0,
        term: int = 1,
        formula: Callable[..., Any] | None = None,
        array: Callable[..., Any] | str | None = None,
        llvm: str | None = None,
        c: Callable[..., str] | str | None = None,
        c_function: str = "",
        onnx: Callable[..., Any] | str | None = None,
        cost: int = 1,
        remedy: str = "",
        unordered: bool = False,
        chooses: bool = False,
        tame: bool | Callable[..., bool] = False,
        range: tuple[float, float] = (-INF, INF),  # noqa: A002 - what mathematicians call it
        about: str = "",
    ) -> None:
        if name in BY_NAME:
            raise ValueError(f"operation {name!r} has two rows in the table")
        spelled = {"forward": forward, "array": array, "llvm": llvm, "c": c}
        if not arity:  # the compiler treats these as structure
            del spelled["llvm"]
        missing = [column for column, form in spelled.items() if form is None]
        if missing and formula is None:
            raise ValueError(f"operation {name!r} has no {', '.join(missing)}, and no formula to compose them from")
        if formula is not None and (arity is None or (derivative is not None and len(derivative) != arity)):
            raise ValueError(f"operation {name!r} needs a fixed number of operands and a derivative for each")
        self.name = name
        self.symbol = symbol
        self.arity = arity
        self.forward: Callable[..., float] = forward or composed.on_floats(_needed(formula))
        self.derivative = derivative
        self.first, self.term = (first, term) if arity is None else (arity, 0)
        self.formula = formula
        self.portable = None
        self.ufunc = array if isinstance(array, str) else None
        self.array: Callable[..., Any] = _numpy_form(array, formula)
        self.llvm = llvm
        self.c = c
        self.c_function = c_function
        self.onnx = onnx
        self.cost = cost
        self.remedy = remedy
        self.unordered = unordered
        self.chooses = chooses
        self.tame = tame
        self.range = range
        if about:
            self.__doc__ = about
        self.module: str = sys._getframe(1).f_globals.get("__name__", "")
        self.code = len(TABLE)
        TABLE.append(self)
        BY_NAME[name] = self

    def __call__(self, *operands: Any) -> Any:
        count = len(operands)
        if count != self.arity and self.arity is not None:
            raise TypeError(f"{self.name}() takes {self.arity} operand{'s' * (self.arity != 1)}, got {count}")
        kind: Any = operands[0].__class__ if operands else None
        # Of several kinds of values, the most specific one decides.
        if count == 2:
            other: Any = operands[1].__class__
            if other is not kind and other is not float:
                kind = other if kind is float else _above(kind, other)
        elif count > 2:
            below: Any = float  # the last kind that does not decide: a dot has hundreds of operands of two kinds
            for operand in operands:
                other = operand.__class__
                if other is not kind and other is not below and other is not float:
                    found = _above(kind, other)
                    below, kind = other if found is kind else kind, found
        if (apply := getattr(kind, "_apply", None)) is not None:
            return apply(self, operands)
        name = self.name
        return self.forward(*[as_float(name, operand) for operand in operands])

    @property
    def slots(self) -> int:
        """The number of operands with different rules: all of them if the arity is fixed, else the first ones and those
        of one term."""
        return self.first + self.term

    def slot(self, position: Any) -> Any:
        """Which of these slots the operand at a position belongs to. Positions may be an array."""
        if not self.term:
            return position
        return position - (position >= self.first) * ((position - self.first) // self.term * self.term)

    @property
    def costly(self) -> bool:
        """Whether it keeps the machine busy on its own, however many are done at once."""
        return self.cost >= _COSTLY

    @property
    def long(self) -> bool:
        """Whether scalars are worth gathering into a vector for it."""
        return self.cost >= _LONG

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return (by_name, (self.name,))


def _above(kind: Any, other: Any) -> Any:
    """Which of two kinds of operands decides what an operation does."""
    if not hasattr(other, "_apply"):
        return kind
    return other if not hasattr(kind, "_apply") or issubclass(other, kind) or other._spreads else kind


def _needed(formula: Callable[..., Any] | None) -> Callable[..., Any]:
    assert formula is not None
    return formula


def _numpy_form(array: Callable[..., Any] | str | None, formula: Callable[..., Any] | None) -> Callable[..., Any]:
    if array is None:
        return composed.on_arrays(_needed(formula))
    if isinstance(array, str):
        name = array
        return lambda np, *arrays: getattr(np, name)(*arrays)
    return array


TABLE: list[Op] = []
BY_NAME: dict[str, Op] = composed.BY_NAME
_COSTLY = 5  # instructions; from here on an operation keeps the machine busy on its own
_LONG = 20  # instructions; from here on scalars are worth gathering into a vector


def by_name(name: str) -> Op:
    """The row of that name; operations are pickled by name. Raises KeyError if there is none."""
    return BY_NAME[name]


def as_float(name: str, operand: Any) -> float:
    """The operand as a float, or an error that names the operation or function and what it was given."""
    if operand.__class__ is float:
        return operand
    if not isinstance(operand, (str, bytes)):
        try:
            return float(operand)
        except OverflowError:
            raise too_large(f"{name}()", operand) from None
        except (TypeError, ValueError):
            pass
    raise no_number(name, operand)


def check_operands(name: str, operands: Iterable[Any]) -> None:
    """Raise what `as_float` raises for operands that are not Values, naming the function that was called.

    Functions made of several operations call this only after one of them has failed, so correct calls pay nothing.
    """
    for operand in operands:
        if not hasattr(operand.__class__, "_apply"):
            as_float(name, operand)


def no_number(name: str, operand: Any) -> TypeError:
    many = isinstance(operand, (list, tuple)) or bool(getattr(operand, "shape", ()))
    return TypeError(
        f"{name}() takes numbers and Values, got {operand!r} of type {type(operand).__name__}"
        f"{': pass its elements, one number at a time' if many else ''}"
    )


def too_large(what: str, number: Any) -> OverflowError:
    """For Python's integers, which are unbounded and may have more digits than Python prints."""
    digits = f"an integer of {int(number.bit_length() * math.log10(2)) + 1} digits" if isinstance(number, int) else ""
    return OverflowError(f"{what} takes numbers up to 1.8e308, got {digits or f'a larger {type(number).__name__}'}")
