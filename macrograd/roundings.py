"""How much of a result is rounding error, and which line causes most of it.

Every operation rounds: its result is off by some δ from the exact result on the same operands. To first order the total
error is Σ adjoint·δ, since the adjoint of a value is the derivative of the result by it. Here δ is not bounded but
computed: with rational numbers where the exact result is rational, to 50 digits otherwise.

Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, §3.4 (error analysis by adjoints).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from functools import cache
from typing import Any

from macrograd._dataclass import dataclass
from macrograd.replay import Replay, operations
from macrograd.rules import contributions
from macrograd.value import Value

_ONE = Decimal(1)
_SPREAD = 12**-0.5  # standard deviation of a rounding error in units in the last place, if uniformly distributed
_SHOWN = 5


@dataclass(frozen=True)
class Share:
    """The share of one line in a rounding error.

    place  file, line and function
    ops    the names of the operations there
    error  their share of the error, with its sign
    """

    place: str
    ops: tuple[str, ...]
    error: float


@dataclass(frozen=True)
class Rounding:
    """The finding of `rounding`; `print` shows it in words.

    value        the result
    error        the estimate of result − exact result, with its sign
    uncertainty  standard deviation of the unknown part of the error, from operations without an exact reference
    lines        the lines that cause it, the largest share first
    """

    value: float
    error: float
    uncertainty: float
    lines: tuple[Share, ...]

    @property
    def relative(self) -> float:
        """The error relative to the result."""
        size = abs(self.error) + self.uncertainty
        return size / abs(self.value) if self.value else (math.inf if size else 0.0)

    @property
    def digits(self) -> float:
        """The number of correct decimal digits of the result."""
        return min(17.0, -math.log10(self.relative)) if self.relative else 17.0

    def __str__(self) -> str:
        known = f" ± {self.uncertainty:.2g}" if self.uncertainty else ""
        lines = [
            f"{self.value!r} is off by about {self.error:.2g}{known}: {max(self.digits, 0.0):.1f} digits are correct"
        ]
        for share in self.lines[:_SHOWN]:
            lines.append(f"  {share.error:+.2g} by {', '.join(share.ops)} at {share.place or 'an unknown line'}")
        if len(self.lines) > _SHOWN:
            lines.append(f"  … {len(self.lines) - _SHOWN} more lines")
        return "\n".join(lines)


def rounding(fn: Callable[..., Any], *args: float) -> Rounding:
    """How far `fn(*args)` in float64 is from its exact result, and which lines cause the error.

    fn    a function that returns one Value, of Values or of arguments that it turns into Values
    args  numbers, assumed exact, or lists of them

    The estimate is first order: good as long as errors are small relative to their numbers. It does not check whether
    exact numbers would have taken another branch. `print(mg.rounding(f, x))` shows the lines.

    Raises TypeError if `fn` does not return one Value, and ValueError if an intermediate number is not finite.

        print(mg.rounding(lambda x: (mg.exp(x) - 1.0) / x, 1e-9))
    """
    if not callable(fn):
        raise TypeError(f"mg.rounding(fn, …) takes a function, got {fn!r} of type {type(fn).__name__}")
    replay = Replay()
    arguments = [_leaves(x) for x in args]
    result = replay.run(lambda: fn(*arguments))
    if not isinstance(result, Value):
        raise TypeError(f"mg.rounding(fn, …) takes a function that returns one Value; got {type(result).__name__}")
    order = operations(result)
    bad = next((node for node in order if not math.isfinite(node.data)), None)
    if bad is not None and bad.op is not None:
        raise ValueError(f"mg.rounding(): {bad.op.name} gave {bad.data}{replay.at(bad)}; all numbers must be finite")
    adjoint: dict[int, float] = {id(result): 1.0}
    shares: dict[str, tuple[dict[str, None], float]] = {}
    error, variance = 0.0, 0.0
    for node in reversed(order):
        g = adjoint.get(id(node))
        if g is None or node.op is None:
            continue
        numbers = [x.data for x in node.inputs]
        for operand, gain in zip(node.inputs, contributions(node.op, g, node.data, numbers), strict=True):
            if gain is not None:
                adjoint[id(operand)] = adjoint.get(id(operand), 0.0) + gain
        delta = _delta(node.op.name, node.data, numbers)
        if delta is None:
            variance += (g * _SPREAD * math.ulp(node.data)) ** 2
            continue
        error += g * delta
        place = replay.place(node)
        names, before = shares.get(place, ({}, 0.0))
        shares[place] = ({**names, node.op.name: None}, before + g * delta)
    lines = [Share(place, tuple(names), part) for place, (names, part) in shares.items() if part]
    lines.sort(key=lambda share: -abs(share.error))
    return Rounding(result.data, error, math.sqrt(variance), tuple(lines))


def _leaves(x: Any) -> Any:
    return [_leaves(item) for item in x] if isinstance(x, (list, tuple)) else Value(float(x))


# --- what one operation is off by -------------------------------------------------------------------------------------


def _delta(name: str, out: float, numbers: Sequence[float]) -> float | None:
    """result − exact result of one operation on these numbers; None if there is no exact reference."""
    if name in _EXACT:
        return 0.0
    if name in _RATIONAL:
        return float(Fraction(out) - _RATIONAL[name](*map(Fraction, numbers)))
    if name in _DECIMAL:
        with localcontext(_context(50)):
            return float(Decimal(out) - _DECIMAL[name](*map(Decimal, numbers)))
    return None


_EXACT = frozenset(
    [
        *("neg", "abs", "sign", "relu", "maximum", "minimum", "less", "less_equal", "where", "detach", "onehot"),
        *("take", "gate", "random", "floor", "ceil", "round"),
    ]
)


def _dot(*terms: Fraction) -> Fraction:
    return sum((terms[k] * terms[k + 1] for k in range(0, len(terms), 2)), Fraction(0))


_RATIONAL: dict[str, Callable[..., Fraction]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "sum": lambda *terms: sum(terms, Fraction(0)),
    "dot": _dot,
}


def _context(digits: int) -> Context:
    return Context(prec=digits, Emin=-999_999, Emax=999_999)


def _log1p(x: Decimal) -> Decimal:
    if abs(x) < Decimal("1e-12"):  # 1 + x would lose digits
        return x - x * x / 2 + x**3 / 3 - x**4 / 4
    return (_ONE + x).ln()


def _expm1(x: Decimal) -> Decimal:
    if abs(x) < Decimal("1e-12"):
        return x + x * x / 2 + x**3 / 6 + x**4 / 24
    return x.exp() - _ONE


def _tanh(x: Decimal) -> Decimal:
    e = _expm1(2 * x) if x < 0 else _expm1(-2 * x)
    return e / (e + 2) if x < 0 else -e / (e + 2)


def _power(a: Decimal, b: Decimal) -> Decimal:
    whole = b == b.to_integral_value()
    return a ** int(b) if whole and abs(b) < 10_000 else (b * a.ln()).exp()


def _sin(x: Decimal) -> Decimal:
    """By its series, of x reduced by full turns; π by Machin's formula, to 70 digits after the point of x."""
    with localcontext(_context(70 + max(0, x.adjusted()))) as wide:
        turn = 2 * _pi(wide.prec)
        x = x - turn * (x / turn).to_integral_value()
        term = total = x
        k = 1
        while term and abs(term) > abs(total) * Decimal(10) ** -60:
            term *= -x * x / ((2 * k) * (2 * k + 1))
            total += term
            k += 1
        return +total


def _cos(x: Decimal) -> Decimal:
    with localcontext(_context(70 + max(0, x.adjusted()))) as wide:
        return _sin(x + _pi(wide.prec) / 2)


@cache
def _pi(digits: int) -> Decimal:
    def arctan_inverse(n: int) -> Decimal:
        term = total = _ONE / n
        k = 1
        while total + term != total or k == 1:
            term /= -n * n
            total += term / (2 * k + 1)
            k += 1
        return total

    with localcontext(_context(digits)):
        return 4 * (4 * arctan_inverse(5) - arctan_inverse(239))


_DECIMAL: dict[str, Callable[..., Decimal]] = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.ln(),
    "log1p": _log1p,
    "expm1": _expm1,
    "sqrt": lambda x: x.sqrt(),
    "tanh": _tanh,
    "sigmoid": lambda x: _ONE / (_ONE + (-x).exp()),
    "softplus": lambda x: max(x, Decimal(0)) + _log1p((-abs(x)).exp()),
    "sin": _sin,
    "cos": _cos,
    "pow": _power,
}
