"""Where the results of a program are: a million derivatives in two arrays, not in a million tuples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass

Place = tuple[str, int]
_AT_ONCE = 1 << 12  # results that are numbers of Python's at a time


@dataclass(frozen=True, eq=False)
class Results(Sequence[Place]):
    """The (space, slot) of each result, in v where it varies over the samples and in u otherwise.

    varies  (n,)
    slots   (n,) int64
    """

    varies: NDArray[np.bool_]
    slots: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.slots)

    @overload
    def __getitem__(self, k: int) -> Place: ...
    @overload
    def __getitem__(self, k: slice) -> Results: ...
    def __getitem__(self, k: Any) -> Any:
        if isinstance(k, slice):
            return Results(self.varies[k], self.slots[k])
        return "v" if self.varies[k] else "u", int(self.slots[k])

    def __iter__(self) -> Iterator[Place]:
        for first in range(0, len(self), _AT_ONCE):
            some = self[first : first + _AT_ONCE]
            yield from zip(spaces(some), some.slots.tolist(), strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)

    __hash__ = None  # type: ignore[assignment]  # equal to lists, which have none


def slots(results: Sequence[Place]) -> NDArray[np.int64]:
    """The slot of each result."""
    return results.slots if isinstance(results, Results) else np.array([slot for _, slot in results], dtype=np.int64)


def varies(results: Sequence[Place]) -> NDArray[np.bool_]:
    """Which results are in v."""
    if isinstance(results, Results):
        return results.varies
    return np.array([space == "v" for space, _ in results], dtype=bool)


def spaces(results: Sequence[Place]) -> str:
    """The space of each result, a letter each."""
    if isinstance(results, Results):
        return np.where(results.varies, np.uint8(ord("v")), np.uint8(ord("u"))).tobytes().decode()
    return "".join([space for space, _ in results])
