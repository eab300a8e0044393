"""Nestings: a state of numbers and Values in tuples, lists, dicts and Vectors, taken apart and put together again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from macrograd.value import constant
from macrograd.vector import Vector, vector


class Nest:
    """How scalars are nested: a scalar, a sequence or a dict of nestings.

    kind   None for a scalar, `dict`, `list`, `Vector`, or the class of a tuple
    keys   of a dict
    parts  the nestings inside
    """

    __slots__ = ("keys", "kind", "parts")

    def __init__(self, kind: Any, parts: Sequence[Nest] = (), keys: Sequence[Any] = ()) -> None:
        self.kind, self.parts, self.keys = kind, tuple(parts), tuple(keys)

    def built(self, scalars: Sequence[Any]) -> Any:
        """The scalars in this nesting."""
        return self._built(iter(scalars))

    def _built(self, scalars: Iterator[Any]) -> Any:
        kind = self.kind
        if kind is None:
            return next(scalars)
        items = [part._built(scalars) for part in self.parts]
        if kind is dict:
            return dict(zip(self.keys, items, strict=True))
        if kind is Vector:
            return vector(items)
        if kind is list:
            return items
        return tuple(items) if kind is tuple else kind(*items)  # a named tuple

    def scalars(self, x: Any) -> list[Any] | None:
        """The scalars of x in order, if it is nested like this; sequences of the same length are interchangeable."""
        found: list[Any] = []
        return found if self._read(x, found) else None

    def _read(self, x: Any, found: list[Any]) -> bool:
        if self.kind is None:
            if x.__class__ is not float and x.__class__ is not int and constant(x) is None:
                return False
            found.append(x)
            return True
        if self.kind is dict:
            if not isinstance(x, dict) or set(x) != set(self.keys):
                return False
            return all(part._read(x[key], found) for key, part in zip(self.keys, self.parts, strict=True))
        if isinstance(x, dict) or not _is_nested(x) or len(x) != len(self.parts):
            return False
        return all(part._read(item, found) for item, part in zip(x, self.parts, strict=True))

    def __str__(self) -> str:
        if self.kind is None:
            return "number"
        if self.kind is dict:
            return "{" + ", ".join(f"{k!r}: {part}" for k, part in zip(self.keys, self.parts, strict=True)) + "}"
        if all(part.kind is None for part in self.parts):
            return f"{self.kind.__name__} of {len(self.parts)}"
        return f"{self.kind.__name__} of ({', '.join(map(str, self.parts))})"


def nest_of(x: Any) -> tuple[Nest, list[Any]]:
    """The nesting of x, and its scalars in order. Raises TypeError for what is neither a number nor a nest of them."""
    scalars: list[Any] = []
    return _nest(x, scalars), scalars


def _nest(x: Any, scalars: list[Any]) -> Nest:
    """`nest_of` a part. A nested function that calls itself would be a reference cycle, and keep all Values."""
    if isinstance(x, dict):
        return Nest(dict, [_nest(item, scalars) for item in x.values()], list(x))
    if isinstance(x, tuple):
        return Nest(type(x), [_nest(item, scalars) for item in x])
    if isinstance(x, list):
        return Nest(list, [_nest(item, scalars) for item in x])
    if _is_nested(x):
        return Nest(Vector, [_nest(item, scalars) for item in x])
    check(x)
    scalars.append(x)
    return Nest(None)


def check(x: Any) -> None:
    """Raise TypeError for what is neither a number nor a Value."""
    if constant(x) is None:
        raise TypeError(
            f"got {x!r} of type {type(x).__name__} in place of numbers and Values, which may be in tuples, lists, "
            "dicts and Vectors"
        )


def _is_nested(x: Any) -> bool:
    return isinstance(x, (list, tuple, dict, Vector)) or bool(getattr(x, "shape", None))
