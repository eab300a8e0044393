"""Checks of arguments that several classes share."""

from __future__ import annotations

from numbers import Real
from typing import Any

from macrograd import _memory

# The minimum of each if neither `epochs` nor `steps` is given.
_EPOCHS, _STEPS = 20, 1000
_BATCH = 32
# Of memory for each parameter, at the peak: its Value, what is recorded and compiled of it, and its states.
TRAINED_BYTES = 700


def integer(name: str, given: Any, least: int, also: str = "") -> int:
    """The argument as an int. Raises ValueError if it is not an integer of at least `least`; `also` is what else the
    argument may be, for the message: "'auto' or "."""
    if isinstance(given, bool) or not hasattr(given, "__index__") or given.__index__() < least:
        raise ValueError(f"{name} must be {also}an integer of at least {least}, got {given!r}")
    return int(given.__index__())


def size_of_batch(given: int | str | None, samples: int) -> int:
    """The batch size that `fit` was given, for this number of samples. Raises ValueError if there are fewer."""
    if given == "auto":
        return min(_BATCH, samples)
    if given is None:
        return samples
    size = integer("batch_size", given, 1)
    if size > samples:
        raise ValueError(
            f"batch_size {size} is larger than the {samples} samples: give {samples} or less, or None for all"
        )
    return size


def number_of_steps(epochs: int | None, steps: int | None, per_epoch: int) -> int:
    """The number of steps of a run that was given epochs, steps or neither. Raises ValueError for both."""
    if epochs is not None and steps is not None:
        raise ValueError(f"give epochs or steps, not both (got epochs={epochs}, steps={steps})")
    if steps is not None:
        return integer("steps", steps, 0)
    if epochs is not None:
        return integer("epochs", epochs, 0) * per_epoch
    return max(_EPOCHS, -(-_STEPS // per_epoch)) * per_epoch


def check_parameters(what: str, parameters: int, remedy: str) -> None:
    """Raise ValueError if compiling and training so many parameters takes more memory than there is."""
    _memory.check(f"{what} has {parameters:,} parameters to train", TRAINED_BYTES * parameters, remedy)


def is_number(x: Any) -> bool:
    """Whether this is a real number, and no truth value."""
    return isinstance(x, Real) and not isinstance(x, bool)
