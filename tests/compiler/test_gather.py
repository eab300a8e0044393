"""Results that are in several places: outputs in any order, constants, parameters, arguments returned unchanged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value

RNG = np.random.default_rng(3)
P = Value(0.75, "p")


def mixed(x: Any, y: Any, t: Any) -> Any:
    """Numbers of each kind in each array, and in another order than they are computed."""
    last = mg.exp(x[0]) * mg.sin(x[1])
    return {
        "matrix": [[last, 2.5, x[1]], [y, x[0] * y, P + 0.0]],
        "mixed": [x[2], last + y, t, 1.0],
        "same": [t * P, 3.0],
        "given": [x[2], x[0]],
        "none": [],
        "one": last,
        "pair": (y, 0.0),
    }


def arguments(samples: int | None) -> list[Any]:
    shape = () if samples is None else (samples,)
    return [RNG.random((*shape, 3)), RNG.random(shape), 1.25]


def compared(found: Any, want: Any) -> None:
    if isinstance(want, dict):
        assert found.keys() == want.keys()
    if isinstance(want, tuple):
        assert isinstance(found, tuple)
    if isinstance(want, (dict, tuple)):
        for key in want if isinstance(want, dict) else range(len(want)):
            compared(found[key], want[key])
        return
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=0)


def wanted(args: list[Any], samples: int | None) -> Any:
    """What the eager engine gives, sample after sample."""

    def numbers(x: Any) -> Any:
        if isinstance(x, dict):
            return {key: numbers(item) for key, item in x.items()}
        if isinstance(x, tuple):
            return tuple(numbers(item) for item in x)
        if isinstance(x, list):
            return np.array([numbers(item) for item in x])
        return x.data if isinstance(x, Value) else float(x)

    if samples is None:
        return numbers(mixed(args[0].tolist(), float(args[1]), args[2]))
    each = [numbers(mixed(x.tolist(), float(y), args[2])) for x, y in zip(args[0], args[1], strict=True)]

    def stacked(parts: list[Any]) -> Any:
        if isinstance(parts[0], dict):
            return {key: stacked([part[key] for part in parts]) for key in parts[0]}
        if isinstance(parts[0], tuple):
            return tuple(stacked([part[k] for part in parts]) for k in range(len(parts[0])))
        return np.stack(parts)

    return stacked(each)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("samples", [None, 1, 2, 33])
def test_every_kind_of_result_is_where_it_belongs(samples: int | None, dtype: str, backend: str) -> None:
    options: dict[str, Any] = {} if samples is None else {"batch": True, "uniform": "t"}
    f = mg.compile(mixed, dtype=dtype, backend=backend, **options)
    args = arguments(samples)
    want = wanted(args, samples)
    for _ in range(2):
        compared(f(*args), want)
    step = f.bind(*args)
    for _ in range(2):
        compared(step(), want)
    again = arguments(samples)
    step.arguments[0][:], step.arguments[1][...] = again[0], again[1]
    compared(step(), wanted(again, samples))
    compared(f(*again), wanted(again, samples))


def test_the_numbers_of_a_sample_are_together_and_the_caller_s_own(backend: str) -> None:
    f = mg.compile(mg.jacobian(lambda x: [x[0] * x[1], 2.0 * x[2], mg.exp(x[0] * x[2])]), batch=True, backend=backend)
    first = f(np.ones((5, 3)))
    assert first.flags.c_contiguous
    kept = first.copy()
    f(np.zeros((5, 3)))
    assert np.array_equal(first, kept)
    first[:] = 0.0
    assert np.array_equal(f(np.ones((5, 3))), kept)
