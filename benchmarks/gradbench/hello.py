"""hello: x² and its derivative, to see that messages arrive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import macrograd as mg


def _square(x: Any) -> Any:
    return x * x


def square(x: float) -> Callable[[], float]:
    f = mg.compile(_square)
    return lambda: float(f(x))


def double(x: float) -> Callable[[], float]:
    f = mg.compile(mg.grad(_square))
    return lambda: float(f(x))


FUNCTIONS = {"square": square, "double": double}
