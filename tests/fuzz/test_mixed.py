"""A few programs of the fuzzer of everything in each other, and that it notices faults."""

from __future__ import annotations

from typing import Any

import pytest

import macrograd as mg

from . import mixed


@pytest.mark.parametrize("seed", range(21, 33))
def test_random_programs_of_everything_are_those_of_the_eager_engine(seed: int) -> None:
    how: list[dict[str, Any]] = [{}, {"batch": True}, {"strict": True}]
    assert not mixed.differs(mixed.case(seed), seed, backend="numpy", **how[seed % 3])


def test_a_last_bit_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = next(found for found in map(mixed.case, range(20, 40)) if found.exact and not found.wild)
    compiled = mg.compile
    monkeypatch.setattr(mg, "compile", lambda fn, **how: compiled(lambda *args: fn(*args) * (1.0 + 2.0**-52), **how))
    monkeypatch.setattr(mixed, "WHAT", ["value"])
    assert "bits" in mixed.differs(found, 0, backend="numpy", strict=True)
    assert not mixed.differs(found, 0, backend="numpy")


def test_signs_of_zero_are_bits_and_those_of_nan_are_not() -> None:
    assert mixed.told([0.0], [-0.0], {}, exact=True, single=False)
    assert not mixed.told([0.0], [-0.0], {}, exact=False, single=False)
    assert not mixed.told([float("nan")], [-float("nan")], {}, exact=True, single=False)
