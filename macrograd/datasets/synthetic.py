"""Synthetic data: moons, circles, blobs, spirals, xor.

All use NumPy's legacy generator, whose streams are frozen, so that a seed always gives the same samples. Moons,
circles and blobs draw in the same order as scikit-learn's functions: first the centres (blobs), then the shuffle, then
the noise (before the shuffle in blobs). The bits are equal because the order is.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from macrograd._flags import flag
from macrograd._numbers import check_unmasked

Samples: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64]]


def make_moons(
    n_samples: int | tuple[int, int] = 100, *, noise: float | None = None, seed: int = 0, shuffle: bool = True
) -> Samples:
    """Two interleaved half circles: X of shape (n, 2) in float64, y of shape (n,) in {0, 1}.

    `n_samples` is the total (if odd, the second moon gets one more) or a pair, the number in each moon; `noise` is the
    standard deviation of the normal noise added to every coordinate; `seed` determines shuffle and noise. Raises
    ValueError for arguments out of range and TypeError for arguments of the wrong type.
    """
    first, second = _halves("make_moons", n_samples)
    upper, lower = np.linspace(0, np.pi, first), np.linspace(0, np.pi, second)
    points = np.concatenate(
        [_columns(np.cos(upper), np.sin(upper)), _columns(1 - np.cos(lower), 1 - np.sin(lower) - 0.5)]
    )
    return _finish("make_moons", points, [first, second], noise, seed, shuffle)


def make_circles(
    n_samples: int | tuple[int, int] = 100,
    *,
    noise: float | None = None,
    seed: int = 0,
    factor: float = 0.8,
    shuffle: bool = True,
) -> Samples:
    """A circle (class 0, radius 1) around a smaller one (class 1, radius `factor`): X (n, 2) float64, y (n,) in {0, 1}.

    `factor` is at least 0 and less than 1; the other arguments and the errors are those of `make_moons`.
    """
    outside, inside = _halves("make_circles", n_samples)
    if not 0 <= factor < 1:
        raise ValueError(f"make_circles() factor must be at least 0 and less than 1, got {factor!r}")
    outer, inner = (np.linspace(0, 2 * np.pi, n, endpoint=False) for n in (outside, inside))
    points = np.concatenate(
        [_columns(np.cos(outer), np.sin(outer)), _columns(np.cos(inner) * factor, np.sin(inner) * factor)]
    )
    return _finish("make_circles", points, [outside, inside], noise, seed, shuffle)


def make_blobs(
    n_samples: int | Sequence[int] = 100,
    n_features: int = 2,
    *,
    centers: int | ArrayLike | None = None,
    cluster_std: float | Sequence[float] = 1.0,
    center_box: tuple[float, float] = (-10.0, 10.0),
    seed: int = 0,
    shuffle: bool = True,
) -> Samples:
    """Gaussian blobs: X of shape (n, n_features) in float64, y of shape (n,) in {0 … number of centres − 1}.

    `n_samples` is the total, divided evenly (the first blobs get the remainder), or the number in each blob.
    `centers` is the number of blobs (default 3), with centres drawn uniformly from `center_box` in each coordinate, or
    an array of centres of shape (k, n_features). `cluster_std` is the standard deviation, one for all or one per blob.
    Raises ValueError for arguments out of range or of inconsistent lengths, TypeError for the wrong type.
    """
    name = "make_blobs"
    check_unmasked("make_blobs() centers", centers)
    check_unmasked("make_blobs() cluster_std", cluster_std)
    sizes = None if _is_integer(n_samples) else [_count(name, "n_samples", n) for n in _sequence(name, n_samples)]
    random = _generator(name, seed)
    if centers is None:
        centers = 3 if sizes is None else len(sizes)
    if _is_integer(centers):
        shape = (_count(name, "centers", centers), _count(name, "n_features", n_features))
        places = random.uniform(*center_box, size=shape)
    else:
        places = np.asarray(centers, dtype=np.float64)
        if places.ndim != 2:
            raise ValueError(
                f"make_blobs() centers must be a number or an array of shape (k, features), got shape {places.shape}"
            )
    k = len(places)
    if sizes is None:
        whole, rest = divmod(_count(name, "n_samples", n_samples), k)
        sizes = [whole + (i < rest) for i in range(k)]
    spread = np.asarray(cluster_std, dtype=np.float64)
    deviations = [float(d) for d in (spread if spread.ndim else [spread] * k)]
    for what, got in (("n_samples", len(sizes)), ("cluster_std", len(deviations))):
        if got != k:
            raise ValueError(f"make_blobs() has {k} centers but {got} numbers in {what}: give one per center")
    if min(deviations) < 0:
        raise ValueError(f"make_blobs() cluster_std must not be negative, got {min(deviations)!r}")
    clouds = [
        random.normal(loc=place, scale=deviation, size=(n, places.shape[1]))
        for place, deviation, n in zip(places, deviations, sizes, strict=True)
    ]
    return _labelled(np.concatenate(clouds), sizes, random if flag("make_blobs", "shuffle", shuffle) else None)


def make_spirals(
    n_samples: int = 100,
    *,
    arms: int = 2,
    turns: float = 1.0,
    noise: float | None = None,
    seed: int = 0,
    shuffle: bool = True,
) -> Samples:
    """Arms that wind `turns` times around the origin: X of shape (n, 2) in float64, y of shape (n,) in {0 … arms − 1}.

    Archimedean spirals from radius 0.1 to 1, one per class, at equal angles. The samples are divided evenly among the
    arms (the first get the remainder) and spaced evenly along each. `noise`, `seed`, `shuffle` and the errors are those
    of `make_moons`.
    """
    count, k = _count("make_spirals", "n_samples", n_samples), _count("make_spirals", "arms", arms)
    whole, rest = divmod(count, k)
    sizes = [whole + (i < rest) for i in range(k)]
    points = []
    for arm, n in enumerate(sizes):
        along = np.linspace(0.0, 1.0, n)
        angle, radius = 2 * np.pi * (turns * along + arm / k), 0.1 + 0.9 * along
        points.append(_columns(radius * np.cos(angle), radius * np.sin(angle)))
    return _finish("make_spirals", np.concatenate(points), sizes, noise, seed, shuffle)


def make_xor(n_samples: int = 100, *, noise: float | None = None, seed: int = 0) -> Samples:
    """Points uniform in the square [−1, 1]²: X of shape (n, 2) in float64, y of shape (n,) in {0, 1}.

    y is 1 where exactly one of the two coordinates is positive. `noise`, `seed` and the errors are those of
    `make_moons`; noise is added after the classes are assigned, so it blurs the boundaries.
    """
    random = _generator("make_xor", seed)
    X = random.uniform(-1.0, 1.0, size=(_count("make_xor", "n_samples", n_samples), 2))
    y = ((X[:, 0] > 0) != (X[:, 1] > 0)).astype(np.int64)
    return X + _noise("make_xor", noise, random, X.shape), y


# --- shared helpers --------------------------------------------------------------------------------------------------


def _finish(
    name: str, points: NDArray[np.float64], sizes: list[int], noise: float | None, seed: int, shuffle: bool
) -> Samples:
    random = _generator(name, seed)
    X, y = _labelled(points, sizes, random if flag(name, "shuffle", shuffle) else None)
    return X + _noise(name, noise, random, X.shape), y


def _labelled(points: NDArray[np.float64], sizes: list[int], shuffler: np.random.RandomState | None) -> Samples:
    y = np.repeat(np.arange(len(sizes), dtype=np.int64), sizes)
    if shuffler is None:
        return points, y
    order = np.arange(len(y))
    shuffler.shuffle(order)
    return points[order], y[order]


def _noise(name: str, noise: float | None, random: np.random.RandomState, shape: tuple[int, ...]) -> Any:
    if noise is None:
        return 0.0
    if not 0 <= noise < float("inf"):
        raise ValueError(f"{name}() noise (a standard deviation) must be finite and not negative, got {noise!r}")
    return random.normal(scale=noise, size=shape)


def _columns(*columns: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack(columns, axis=1)


def _halves(name: str, n_samples: int | tuple[int, int]) -> tuple[int, int]:
    if _is_integer(n_samples):
        count = _count(name, "n_samples", n_samples)
        return count // 2, count - count // 2
    pair = _sequence(name, n_samples)
    if len(pair) != 2 or isinstance(n_samples, str):
        raise ValueError(f"{name}() makes two classes: n_samples must be one number or two, got {n_samples!r}")
    return _count(name, "n_samples", pair[0], least=0), _count(name, "n_samples", pair[1], least=0)


def _sequence(name: str, numbers: Any) -> list[Any]:
    try:
        return list(numbers)
    except TypeError:
        message = f"{name}() n_samples must be an integer or a sequence of integers, got {numbers!r}"
        raise TypeError(message) from None


def _is_integer(x: Any) -> bool:
    return hasattr(x, "__index__") and not isinstance(x, np.ndarray)


def _count(name: str, what: str, number: Any, least: int = 1) -> int:
    try:
        count = operator.index(number)
    except TypeError:
        raise TypeError(f"{name}() {what} must be an integer, got {number!r}") from None
    if count < least:
        raise ValueError(f"{name}() {what} must be at least {least}, got {count}")
    return count


def _generator(name: str, seed: int) -> np.random.RandomState:
    number = _count(name, "seed", seed, least=0)
    if number >= 2**32:
        raise ValueError(f"{name}() seed must be less than 2**32 (the limit of NumPy's legacy generator), got {number}")
    return np.random.RandomState(number)
