"""Memory of freed arrays goes back to the system where the C library can do that."""

from __future__ import annotations

import ctypes

import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.jit import heap


def test_a_c_library_that_cannot_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    class Without:
        def __init__(self, name: str | None) -> None:
            assert name is None

    monkeypatch.setattr(ctypes, "CDLL", Without)
    heap.trimmer.cache_clear()
    try:
        heap.give_back()
        assert heap.trimmer() is None
    finally:
        heap.trimmer.cache_clear()
    heap.give_back()


def test_the_passes_of_a_long_tape_give_it_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []
    monkeypatch.setattr(pipeline, "give_back", lambda: given.append(True))
    w = Value(0.5)
    assert mg.compile(lambda: w * w + 1.0)() == 1.25
    assert not given
    monkeypatch.setattr(pipeline, "LONG", 2)
    assert mg.compile(lambda: w * w + 1.0)() == 1.25
    assert given
