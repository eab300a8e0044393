"""A few programs of the fuzzer of equal sections, and that it notices faults."""

from __future__ import annotations

from typing import Any

import pytest

from macrograd.compiler.trace import loops
from macrograd.compiler.trace.alike import Form, form_of

from . import alike


@pytest.mark.parametrize("seed", range(7, 14))
def test_random_programs_of_equal_sections_are_those_of_the_eager_engine(seed: int) -> None:
    how = [{"backend": "numpy"}, {"backend": "numpy", "batch": True}, {"backend": "numpy", "strict": True}][seed % 3]
    assert not alike.differs(alike.case(seed), seed, **how)


def test_constants_that_are_not_told_apart_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def blind(*body: Any) -> tuple[Form, list[Any], list[Any]]:
        form, outside, _ = form_of(*body)
        return tuple("a number" if isinstance(x, str) else x for x in form), outside, []

    monkeypatch.setattr(loops, "form_of", blind)
    assert all(alike.differs(alike.case(seed), seed, backend="numpy") for seed in (10, 13))
