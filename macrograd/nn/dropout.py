"""`Dropout` and its random numbers: the same in every engine, different for every sample and step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from macrograd import ops
from macrograd.nn._scalars import as_list
from macrograd.nn.module import Module
from macrograd.vector import vector

_UNITS = 1 << 24  # integers up to here are exact in float32
PERIOD = _UNITS  # of a run's steps, which `Draws` counts modulo this number


class Draws:
    """Random numbers for one sample at one step of a training run.

    step, sample  indices of the step and the sample; may be traced values or Values
    seed          the seed of the run
    keys          the k' below, if they are known, in place of a seed
    count         how many numbers were drawn

    The k-th number of a sample is `ops.random(step, sample, k')`, where k' is k permuted by the seed: a counter-based
    generator (Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011), which has no state that engines
    could disagree about.
    """

    def __init__(self, step: Any, sample: Any, seed: int = 0, keys: Sequence[Any] | None = None) -> None:
        self._step, self._sample, self._seed, self._keys, self.count = step, sample, seed, keys, 0

    @property
    def used(self) -> bool:
        """Whether any number was drawn."""
        return self.count > 0

    def next(self) -> Any:
        """A random number in [0, 1)."""
        key = key_of(self._seed, self.count) if self._keys is None else self._keys[self.count]
        self.count += 1
        return ops.random(self._step, self._sample, key)


def key_of(seed: int, k: int) -> float:
    """The integer below 2²⁴ that stands for a sample's k-th random number in a run of this seed."""
    # An odd factor permutes the integers below 2²⁴: no two units of a run share a number.
    return float((seed * 0x9E3779B1 + k * ((2 * seed + 0x5BD1E995) % _UNITS | 1)) % _UNITS)


_current: Draws | None = None


@contextlib.contextmanager
def drawing(draws: Draws) -> Iterator[Draws]:
    """A context in which every `Dropout` draws from `draws`; outside it, Dropout passes everything through."""
    global _current
    before, _current = _current, draws
    try:
        yield draws
    finally:
        _current = before


class Dropout(Module):
    """While a `Trainer` trains, set each number to 0 with probability `rate` and divide the others by 1 − rate;
    otherwise pass everything through unchanged.

    Called with a sequence of numbers or Values, it returns a `Vector` of the same length; called with one, it returns
    one. Raises ValueError if `rate` is not in [0, 1). Source: Srivastava, Hinton, Krizhevsky, Sutskever &
    Salakhutdinov, *Dropout*, JMLR 15, 2014, in the "inverted" form that scales during training.
    """

    def __init__(self, rate: float = 0.5) -> None:
        if not hasattr(rate, "__float__") or not 0.0 <= rate < 1.0:
            raise ValueError(f"Dropout rate must be a number of at least 0 and less than 1, got {rate!r}")
        self.rate = rate

    def __call__(self, x: Any) -> Any:
        draws = _current
        if draws is None or not self.rate:
            return x
        scale = 1.0 / (1.0 - self.rate)
        out = [ops.where(ops.less(draws.next(), self.rate), 0.0, value * scale) for value in as_list(x)]
        return vector(out) if hasattr(x, "__len__") else out[0]

    def __repr__(self) -> str:
        return f"Dropout({self.rate})"
