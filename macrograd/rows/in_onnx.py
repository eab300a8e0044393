"""Operations as ONNX operators, if that takes more than one line: functions (o, *operands) in which `o.Exp(a)` is an
operator. They use only operators that ONNX Runtime also has in double precision."""

from __future__ import annotations

import math
from typing import Any

from macrograd.rows.floats import RANDOM_KEYS, RANDOM_MIX


def log1p(o: Any, a: Any) -> Any:
    # The quotient cancels the rounding error of 1 + a in the logarithm (W. Kahan's method).
    u = o.Add(1.0, a)
    found = o.Div(o.Mul(o.Log(u), a), o.Sub(u, 1.0))
    # −0.0 stays what it is: it comes from the second array of each Where, where ONNX Runtime keeps the sign. (It would
    # optimise a Not away, and swap the arrays.)
    near = o.Where(o.Less(0.0, o.Abs(o.Sub(u, 1.0))), found, a)
    return o.Where(o.Or(o.Equal(a, math.inf), o.IsNaN(a)), a, near)


def maximum(o: Any, a: Any, b: Any) -> Any:
    # Of two zeros ONNX Runtime returns either: their sum, −0.0 if both are, is added. What is added to other numbers is
    # −0.0, which changes none. As in log1p, zeros keep their sign only in the second array of Where.
    sign = o.Where(o.Less(0.0, o.Add(o.Abs(a), o.Abs(b))), 0.0, o.Neg(o.Add(a, b)))
    return o.Add(o.Max(a, b), o.Neg(sign))


def minimum(o: Any, a: Any, b: Any) -> Any:
    return o.Neg(maximum(o, o.Neg(a), o.Neg(b)))


def tanh(o: Any, a: Any) -> Any:
    # In single precision the result of ONNX Runtime's operator can leave [-1, 1].
    return o.Max(o.Min(o.Tanh(a), 1.0), -1.0) if o.single else o.Tanh(a)


def sigmoid(o: Any, a: Any) -> Any:
    # In single precision ONNX Runtime's operator returns 0 below -18.
    e = o.Exp(o.Neg(o.Abs(a)))
    return o.Div(o.Where(o.Less(a, 0.0), e, 1.0), o.Add(1.0, e))


def softplus(o: Any, a: Any) -> Any:
    return o.Add(o.Max(a, 0.0), log1p(o, o.Exp(o.Neg(o.Abs(a)))))


def random(o: Any, *operands: Any) -> Any:
    good, z = None, None
    for x, key in zip(operands, RANDOM_KEYS, strict=True):
        small = o.Less(o.Abs(x), 2.0**53)
        good = small if good is None else o.And(good, small)
        part = o.Mul(o.whole(o.Where(small, x, 0.0)), _signed(key))
        z = part if z is None else o.Add(z, part)
    for shift, factor in zip((30, 27), RANDOM_MIX, strict=True):
        z = o.Mul(o.mixed(z, shift), _signed(factor))
    return o.Where(good, o.Mul(o.real(o.shifted(o.mixed(z, 31), 40)), 2.0**-24), math.nan)


def _signed(x: int) -> int:
    """64 bits as a signed integer."""
    return x - 2**64 if x >= 2**63 else x
