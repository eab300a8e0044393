"""An analytic operation's complex form, for the complex step: f'(x) = Im f(x + ih) / h without cancellation (Squire &
Trapp, SIAM Review 40, 1998), so that an error in the last digits of a derivative is seen."""

from __future__ import annotations

import cmath
from collections.abc import Callable
from typing import Any

import mpmath


def precisely(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function of mpmath's as a complex form. Beside a real part of 1 an imaginary one of 1e-30 needs 50 digits."""

    def form(*operands: complex) -> Any:
        with mpmath.workdps(80):
            return function(*map(mpmath.mpmathify, operands))

    return form


COMPLEX: dict[str, Callable[..., complex]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": lambda a, b: cmath.exp(b * cmath.log(a)),
    "exp": cmath.exp,
    "log": cmath.log,
    "log1p": lambda a: cmath.log(1 + a),
    "sqrt": cmath.sqrt,
    "tanh": cmath.tanh,
    "sigmoid": lambda a: 1 / (1 + cmath.exp(-a)),
    "softplus": lambda a: cmath.log(1 + cmath.exp(a)),
    "sin": cmath.sin,
    "cos": cmath.cos,
    "erf": precisely(mpmath.erf),
    "erfc": precisely(mpmath.erfc),
    "norm_cdf": precisely(lambda a: mpmath.erfc(-a / mpmath.sqrt(2)) / 2),
    "expm1": precisely(mpmath.expm1),
    "sinh": precisely(mpmath.sinh),
    "cosh": precisely(mpmath.cosh),
    "tan": precisely(mpmath.tan),
    "atan": precisely(mpmath.atan),
    "atan2": precisely(lambda a, b: mpmath.atan(a / b)),
    "asin": precisely(mpmath.asin),
    "acos": precisely(mpmath.acos),
    "hypot": precisely(lambda a, b: mpmath.sqrt(a * a + b * b)),
    "cbrt": precisely(mpmath.cbrt),
    "lgamma": precisely(lambda a: mpmath.log(mpmath.gamma(a) ** 2) / 2),
    "digamma": precisely(mpmath.digamma),
    "polygamma": precisely(lambda n, a: mpmath.psi(int(n.real), a)),
    "sum": lambda *terms: sum(terms),
    "dot": lambda *pairs: sum(pairs[i] * pairs[i + 1] for i in range(0, len(pairs), 2)),
}
