"""A few random programs with loops as files."""

from __future__ import annotations

import pytest

from . import exports, loops


@pytest.mark.parametrize(("seed", "form"), [(12, "c"), (21, "c"), (27, "wasm"), (28, "onnx")])
def test_random_loops_in_files_are_those_of_the_eager_engine(seed: int, form: str) -> None:
    if form not in exports.FORMS:
        pytest.skip(f"needs what runs {form}")
    assert not exports.differs(loops.case(seed), form)
