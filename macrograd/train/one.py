"""A single prediction with as little overhead as a call from Python allows."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from macrograd._numbers import check_unmasked
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.jit.buffers import GIVEN
from macrograd.value import parameter_writes


def bound(compiled: Compiled, shape: tuple[int, ...], renewed: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A function from one sample's numbers to the model's output, with its own buffers and the current parameters.

    compiled  the model as a compiled function of one argument, with batch=True
    shape     of a sample
    renewed      called instead once the parameters have been written

    A sample is a list, a tuple or an array of `shape`, or one number if the shape is (). Not thread-safe. Raises
    ValueError and TypeError for a sample of another shape or not of real numbers.
    """
    special = compiled._specialise((shape,))
    prepared = special.prepared("values", one=True)
    if any(space != "u" for space, _ in prepared.program.results):
        raise RuntimeError("a model's output for one sample is expected among the uniform numbers")
    state = prepared.executable.state(1)
    special.fill(state)
    buffer = state.buffer(0)
    fill = _filler(buffer, shape)
    held: Any = buffer.data
    pack, bytes_, array = _packer(buffer), held.cast("B"), np.ndarray
    slots = [slot for _, slot in prepared.program.results]
    first, last = slots[0], slots[-1]
    numbers: Any = state.u.data
    row = numbers[first : last + 1] if slots == list(range(first, last + 1)) else None
    run, takes = state.runner(first), prepared.executable.takes
    writes, seen = parameter_writes, parameter_writes[0]
    single = isinstance(special.source.structure, int)
    quick = state.taker(first, [(buffer, GIVEN)]) if single else None

    def after() -> Any:
        found = run()
        if takes:
            special.check_indices(prepared, state)
        if single:
            return found
        return list(row) if row is not None else [numbers[slot] for slot in slots]

    # The checks cost nothing: a view only accepts an array of its length and type, and `pack` only as many numbers as
    # it was made for.

    def flat(x: Any) -> Any:
        if writes[0] != seen:
            return renewed(x)
        if quick is not None:
            found = quick(x)
            if found is not None:
                return found
        try:
            if x.__class__ is array:
                held[:] = x
            elif x.__class__ is list or x.__class__ is tuple:
                pack(bytes_, 0, *x)
            else:  # a masked array is one of these
                fill(x)
        except (ValueError, TypeError, NotImplementedError, OverflowError, struct.error):
            fill(x)
        return after()

    def nested(x: Any) -> Any:
        if writes[0] != seen:
            return renewed(x)
        fill(x)
        return after()

    return flat if len(shape) == 1 else nested


def _packer(buffer: Any) -> Callable[..., None]:
    """pack(bytes, 0, *numbers) writes into memory of the buffer's size and type."""
    # Of the two kinds of format, only "=" refuses numbers too large for float32.
    return struct.Struct(f"={len(buffer)}{'d' if buffer.itemsize == 8 else 'f'}").pack_into


def sample(x: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """One sample as an array of that type. Raises ValueError for another shape and for numbers out of range, TypeError
    if they are not real numbers."""
    check_unmasked("the sample", x)
    try:
        given = np.asarray(x)
    except ValueError:
        raise ValueError(f"a sample must have shape {shape}, got rows of different lengths") from None
    if given.dtype == object:  # other kinds of numbers, such as Decimal
        try:
            given = np.array([float(item) for item in given.flat]).reshape(given.shape)
        except (TypeError, ValueError):
            raise TypeError(f"a sample must hold real numbers, got {x!r}") from None
        except OverflowError:
            raise ValueError("a sample contains an integer beyond the floats: scale the data") from None
    if given.dtype.kind not in "biuf":
        raise TypeError(f"a sample must hold real numbers, got dtype {given.dtype}")
    if given.shape != shape:
        raise ValueError(f"a sample must have shape {shape}, got {given.shape}")
    with np.errstate(over="ignore"):
        numbers = given.astype(dtype)
    if (np.isinf(numbers) & np.isfinite(given)).any():
        raise ValueError(f"a sample contains a number too large for {np.dtype(dtype).name}: scale the data")
    return numbers


def _filler(buffer: Any, shape: tuple[int, ...]) -> Callable[[Any], None]:
    """The slow path for nested samples, single numbers, other types, and errors."""

    def fill(x: Any) -> None:
        buffer[:] = sample(x, shape, buffer.dtype).reshape(-1)

    return fill
