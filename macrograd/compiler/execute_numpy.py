"""Placeholder until the NumPy back end lands in this file."""

from typing import Any


class NumpyExecutable:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError("no numpy back end yet")
