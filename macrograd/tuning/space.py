"""The search space: the values of each hyperparameter, by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass

# A space counts as exhausted after this many draws that repeat earlier ones.
_TRIES = 200


@dataclass(frozen=True)
class Uniform:
    """Numbers from `low` to `high`, uniformly. Raises ValueError unless both are finite and low < high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check(self, -math.inf)

    def draw(self, rng: np.random.RandomState) -> float:
        """One such number, by `rng`."""
        return float(rng.uniform(self.low, self.high))


@dataclass(frozen=True)
class LogUniform:
    """Numbers from `low` to `high`, uniformly on a logarithmic scale: for rates and penalties. Raises ValueError unless
    0 < low < high."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check(self, 0.0)

    def draw(self, rng: np.random.RandomState) -> float:
        """One such number, by `rng`."""
        return float(math.exp(rng.uniform(math.log(self.low), math.log(self.high))))


@dataclass(frozen=True)
class Integers:
    """Integers from `low` to `high`, both included. Raises ValueError unless low < high."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _check(self, -math.inf)
        if int(self.low) != self.low or int(self.high) != self.high:
            raise ValueError(f"{self!r}: both ends must be integers")

    def draw(self, rng: np.random.RandomState) -> int:
        """One such number, by `rng`."""
        return int(rng.randint(self.low, self.high + 1))


def _check(given: Uniform | LogUniform | Integers, above: float) -> None:
    for end in (given.low, given.high):
        if not isinstance(end, Real):
            raise TypeError(f"{given!r}: both ends must be numbers, got {end!r}")
    if not above < given.low < given.high < math.inf:
        must = "0 < low < high" if above == 0.0 else "low < high, both finite"
        raise ValueError(f"{given!r}: it must be {must}")


def check(space: Any) -> dict[str, Any]:
    """The space, checked. Raises TypeError and ValueError for an invalid one."""
    if not isinstance(space, Mapping) or not space:
        raise TypeError(f"space must be a dict of values by the name of the hyperparameter, got {space!r}")
    for name, values in space.items():
        if not isinstance(name, str) or not name.isidentifier() or name == "seed":
            raise ValueError(f"space names {name!r}: it must be the name of an argument of make, other than 'seed'")
        if isinstance(values, (Uniform, LogUniform, Integers)):
            continue
        if not isinstance(values, (list, range)) or not len(values):
            raise TypeError(
                f"space[{name!r}] is {values!r}: give a list of values, or tuning.Uniform, LogUniform or Integers "
                "(low, high)"
            )
    return dict(space)


def drawn(space: Mapping[str, Any], n: int, seed: int) -> list[dict[str, Any]]:
    """`n` different random settings, or all if the space has fewer."""
    rng, found, seen, tries = np.random.RandomState(seed), list[dict[str, Any]](), set[str](), 0
    while len(found) < n and tries < _TRIES * n:
        tries += 1
        one = {name: _one(values, rng) for name, values in space.items()}
        if repr(one) not in seen:
            seen.add(repr(one))
            found.append(one)
    return found


def _one(values: Any, rng: np.random.RandomState) -> Any:
    return values.draw(rng) if hasattr(values, "draw") else values[int(rng.randint(len(values)))]
