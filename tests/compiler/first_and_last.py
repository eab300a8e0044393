"""The program of a function's gradient, called with its first code and its last."""

from __future__ import annotations

from typing import Any

import numpy as np

from macrograd.compiler.settings import settings_of
from macrograd.compiler.specialised import Specialised, results
from macrograd.compiler.targets.llvm.execute import LlvmState


def bits(x: Any) -> Any:
    """NaNs are one: their signs and payloads are the processor's business."""
    x = np.asarray(x)
    return np.where(np.isnan(x), np.nan, x).tobytes()


class Call:
    """The program of a function's gradient as native code, with its arguments."""

    def __init__(
        self, fn: Any, *arrays: Any, dtype: str = "float64", strict: bool = False, special: Specialised | None = None
    ) -> None:
        if special is None:
            settings = settings_of(fn, batch=True, dtype=dtype, backend="llvm", threads=1, strict=strict)
            special = Specialised(settings, tuple(np.shape(array)[1:] for array in arrays))
        self.fn, self.special, self.arrays = fn, special, [np.asarray(array) for array in arrays]
        samples = special.samples(self.arrays)
        self.prepared = special.prepared("gradient", samples)
        state = self.prepared.state(samples)
        assert isinstance(state, LlvmState)
        self.state = state
        special.fill(state)
        special.load(state, self.arrays)

    def again(self) -> Call:
        """Another call of the same code."""
        return Call(self.fn, *self.arrays, special=self.special)

    @property
    def improved(self) -> bool:
        return self.state.native.improved

    def __call__(self) -> tuple[Any, Any]:
        """The value and the gradient."""
        self.state.run()
        value, gradient = results(self.prepared.program, self.state)
        return bits(value), bits(gradient)
