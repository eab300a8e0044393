"""The functions of one operand as methods, for Values and for Vectors of them: `x.tanh()` is `mg.tanh(x)`."""

# mypy: disable-error-code="no-any-return"
# `_apply` is declared by the classes: a Value makes Values, and a Vector Vectors.

from __future__ import annotations

from typing import Any, Self

from macrograd import ops, special
from macrograd.ops import Op


class Methods:
    """The methods; a subclass defines an operation on it in `_apply`."""

    __slots__ = ()

    @classmethod
    def _apply(cls, op: Op, operands: tuple[Any, ...]) -> Any:
        raise NotImplementedError

    def abs(self) -> Self:
        return self._apply(ops.absolute, (self,))

    def leaky_relu(self, slope: float = 0.01) -> Self:
        return ops.leaky_relu(self, slope)

    def exp(self) -> Self:
        return self._apply(ops.exp, (self,))

    def log(self) -> Self:
        return self._apply(ops.log, (self,))

    def log1p(self) -> Self:
        return self._apply(ops.log1p, (self,))

    def sqrt(self) -> Self:
        return self._apply(ops.sqrt, (self,))

    def tanh(self) -> Self:
        return self._apply(ops.tanh, (self,))

    def sigmoid(self) -> Self:
        return self._apply(ops.sigmoid, (self,))

    def softplus(self) -> Self:
        return self._apply(ops.softplus, (self,))

    def relu(self) -> Self:
        return self._apply(ops.relu, (self,))

    def sin(self) -> Self:
        return self._apply(ops.sin, (self,))

    def cos(self) -> Self:
        return self._apply(ops.cos, (self,))

    def expm1(self) -> Self:
        return self._apply(special.expm1, (self,))

    def tan(self) -> Self:
        return self._apply(special.tan, (self,))

    def asin(self) -> Self:
        return self._apply(special.asin, (self,))

    def acos(self) -> Self:
        return self._apply(special.acos, (self,))

    def atan(self) -> Self:
        return self._apply(special.atan, (self,))

    def sinh(self) -> Self:
        return self._apply(special.sinh, (self,))

    def cosh(self) -> Self:
        return self._apply(special.cosh, (self,))

    def erf(self) -> Self:
        return self._apply(special.erf, (self,))

    def erfc(self) -> Self:
        return self._apply(special.erfc, (self,))

    def norm_cdf(self) -> Self:
        return self._apply(special.norm_cdf, (self,))

    def lgamma(self) -> Self:
        return self._apply(special.lgamma, (self,))

    def digamma(self) -> Self:
        return self._apply(special.digamma, (self,))

    def cbrt(self) -> Self:
        return self._apply(special.cbrt, (self,))

    def floor(self) -> Self:
        return self._apply(special.floor, (self,))

    def ceil(self) -> Self:
        return self._apply(special.ceil, (self,))

    def round(self) -> Self:
        return self._apply(special.round_, (self,))
