"""The arguments of a call of a compiled function: arrays and their shapes, or an error that names what is wrong."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._numbers import check_unmasked
from macrograd.compiler.settings import Settings
from macrograd.value import Value

Shapes = tuple[tuple[int, ...], ...]

SHAPES = "an argument of shape () is one value, and one of another shape (nested) Vectors of values"


def read(settings: Settings, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[NDArray[Any]], Shapes]:
    """The arguments as arrays, and the shape of each, of one sample where there is a batch.

    Raises TypeError for what is not real numbers, and ValueError for ragged lists and for what is not one batch.
    """
    if kwargs:
        args = _positional(settings, args, kwargs)
    arrays = [
        x if x.__class__ is np.ndarray and x.dtype == settings.dtype else _array(settings, k, x)
        for k, x in enumerate(args)
    ]
    if not settings.batch:
        return arrays, tuple([x.shape for x in arrays])
    uniform = settings.uniform
    if not uniform:
        _check_batch(settings, arrays)
        return arrays, tuple([x.shape[1:] for x in arrays])
    _check_batch(settings, [x for k, x in enumerate(arrays) if k not in uniform])
    return arrays, tuple([x.shape if k in uniform else x.shape[1:] for k, x in enumerate(arrays)])


def _positional(settings: Settings, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    if settings.signature is None:
        raise TypeError(f"{settings.name} has no signature to place {', '.join(kwargs)} in: pass it by position")
    bound = settings.signature.bind(*args, **kwargs)
    if bound.kwargs:
        raise TypeError(
            f"{settings.name}: {', '.join(bound.kwargs)} can only be passed by name; "
            "a compiled function takes arguments by position"
        )
    return bound.args


def _array(settings: Settings, k: int, x: Any) -> NDArray[Any]:
    where = f"{settings.name}: {settings.argument(k)}"
    check_unmasked(where, x)
    try:
        array = np.asarray(x)
    except ValueError:
        raise ValueError(f"{where} is ragged: its rows must all have the same length") from None
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{where} must hold real numbers, got {_unreal(array)}")
    return array


def _unreal(array: NDArray[Any]) -> str:
    """The part of an array that is not a real number, and the remedy."""
    if array.dtype.kind != "O":
        return f"dtype {array.dtype}"
    for index, item in np.ndenumerate(array):
        at = f" at {list(index)}" if index else ""
        if isinstance(item, Value):
            return (
                f"a Value{at}; Values to be learned must be closed over, not passed, and for its number alone pass "
                "value.data"
            )
        if isinstance(item, int) and abs(item) >= 2**63:
            return f"an integer{at} that no float holds exactly: pass it as float(…)"
        if not isinstance(item, (int, float, np.number)):
            return f"{item!r}{at}"
    return "dtype object: convert it with array.astype(float)"


def _check_batch(settings: Settings, arrays: list[NDArray[Any]]) -> None:
    """Raise ValueError if these arguments, all those that vary, are not a batch."""
    name = settings.name
    if not arrays:
        raise ValueError(f"{name}: compiled with batch=True it needs at least one argument to batch over")
    leading = arrays[0]
    for k, array in enumerate(arrays):
        if not array.ndim:
            raise ValueError(
                f"{name}: {_varying(settings, k)} is a single number, but compiled with batch=True every argument has "
                "the batch as its first axis"
            )
        if len(array) != len(leading):
            raise ValueError(
                f"{name}: {_varying(settings, 0)} has {len(leading)} samples (shape {leading.shape}), "
                f"{_varying(settings, k)} has {len(array)} (shape {array.shape}); they must be equal"
            )
    if not len(leading) and not settings.own_rows:  # the others may have rows
        raise ValueError(f"{name}: the batch is empty (shape {leading.shape}): give at least one sample")


def _varying(settings: Settings, number: int) -> str:
    """The name in messages of the k-th argument that varies."""
    return settings.argument(next(islice((k for k in count() if k not in settings.uniform), number, None)))


def check_with_theta(settings: Settings, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Raise TypeError if they do not fit the function, for example because theta was left out."""
    if settings.signature is None:
        return
    try:
        settings.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(
            f"{settings.name}.{method}(theta, …) takes theta, the parameters' numbers, before the function's own "
            f"arguments ({error}): write {method}(f.theta(), …); for derivatives by the arguments, "
            f"mg.compile(mg.{method}({settings.name}))"
        ) from None


def no_theta(settings: Settings, method: str) -> TypeError:
    return TypeError(
        f"{settings.name}.{method}(theta, …) got None for theta, the parameters' numbers: pass f.theta() for those "
        "that the Values hold"
    )


def history(settings: Settings, shapes: Shapes, earlier: Iterable[Shapes]) -> str:
    """With what the function was traced, and with what before, for an error's note."""

    def told(shapes: Shapes) -> str:
        return ", ".join(f"{settings.argument(k)} of shape {shape}" for k, shape in enumerate(shapes))

    per = " for one sample" if settings.batch else ""
    text = f"while {settings.name} was traced with {told(shapes) or 'no arguments'}{per}"
    return text + "".join(f"; it was traced before with {told(before)}" for before in earlier)
