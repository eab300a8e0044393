"""NumPy's functions on a Value: Python's operators work with NumPy's scalars, all else is refused with its counterpart.

NumPy itself is not imported here: it calls `Value.__array_ufunc__` with what it was asked to do.
"""

from __future__ import annotations

from typing import Any

from macrograd._numbers import not_mine

# The operator of a number on the left, by NumPy's name: `np.float64(2.0) * value` asks for `multiply`.
_REFLECTED = {
    "add": "__radd__",
    "subtract": "__rsub__",
    "multiply": "__rmul__",
    "divide": "__rtruediv__",
    "true_divide": "__rtruediv__",
    "power": "__rpow__",
    "floor_divide": "__rfloordiv__",
    "remainder": "__rmod__",
    "divmod": "__rdivmod__",
    "less": "__gt__",
    "less_equal": "__ge__",
    "greater": "__lt__",
    "greater_equal": "__le__",
}
_SAME = {"equal": False, "not_equal": True}  # a Value equals nothing but itself
_ALIKE = ("exp", "expm1", "log", "log1p", "sqrt", "cbrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "floor", "ceil",
          "sign")  # fmt: skip
_INSTEAD = {
    **{name: f"mg.{name}(x)" for name in _ALIKE},
    **{f"arc{name}": f"mg.a{name}(x)" for name in ("sin", "cos", "tan")},
    **{name: f"mg.{name}(a, b)" for name in ("maximum", "minimum", "hypot")},
    **{f"f{name[:3]}": f"mg.{name}(a, b)" for name in ("maximum", "minimum")},
    **dict.fromkeys(("absolute", "fabs"), "abs(x)"),
    "arctan2": "mg.atan2(a, b)",
    "rint": "mg.round(x)",
    "square": "x ** 2",
    "reciprocal": "1 / x",
    "negative": "-x",
    "logaddexp": "mg.logsumexp([a, b])",
    "clip": "mg.minimum(mg.maximum(x, low), high)",
    "add": "a + b",
    "add.reduce": "mg.sum(xs)",
    "subtract": "a - b",
    "multiply": "a * b",
    "divide": "a / b",
    "power": "a ** b",
}


# The operators by NumPy's functions, of those that were asked for: `Value.__array_ufunc__` looks here first.
operators: dict[Any, str] = {}
REFUSED = "computes with arrays, and a Value is one number"  # in the message of every refusal


def called(value: Any, ufunc: Any, method: str, inputs: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """The result of a call of NumPy's `ufunc` that has this Value among its inputs. Raises TypeError, with the
    counterpart here, unless it is an operator between one of NumPy's scalars and the Value."""
    name: str = ufunc.__name__
    if method == "__call__" and len(inputs) == 2 and inputs[1] is value:
        left = inputs[0]
        if name in _SAME:
            return _SAME[name]
        if name in _REFLECTED:
            not_mine(left)  # raises for an array
            if not options:
                operators[ufunc] = _REFLECTED[name]
                found = getattr(value, _REFLECTED[name])(left)
                if found is not NotImplemented:
                    return found
    if method != "__call__":
        name += f".{method}"
    remedy = f"write {_INSTEAD[name]}, or" if name in _INSTEAD else "write"
    raise TypeError(
        f"np.{name}() {REFUSED} that remembers how it was computed: {remedy} value.data for the number alone"
    )
