"""Native code: functions of a module by name, stored under everything that they depend on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd.compiler.jit import native

TEXT = """
define void @{name}(ptr %context) {{
  store double {value}, ptr %context
  ret void
}}
"""
TABLE = np.array([3, 1, 4], dtype=np.int32)


def text(**values: float) -> str:
    return "".join(TEXT.format(name=name, value=value) for name, value in values.items())


def called(made: native.Native, name: str) -> float:
    room = ctypes.c_double(-1.0)
    made.functions[name](ctypes.addressof(room))
    return room.value


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))


def unused() -> Any:
    raise AssertionError("this code is stored")


def test_functions_and_tables_are_stored_by_their_key() -> None:
    write: Callable[[], Any] = lambda: (text(one=1.0, two=2.0), TABLE)  # noqa: E731
    for writing in (write, unused):
        made = native.Native(b"a key", ("one", "two"), writing)
        assert [called(made, name) for name in ("one", "two")] == [1.0, 2.0]
        assert made.tables.tolist() == TABLE.tolist()
        assert made.improved
    other = native.Native(b"another key", ("one",), lambda: (text(one=5.0), TABLE))
    assert called(other, "one") == 5.0
    assert called(made, "one") == 1.0  # two functions of one name in one process


def test_other_tables_change_those_of_the_copy_alone() -> None:
    made = native.Native(b"tables", ("one",), lambda: (text(one=1.0), TABLE))
    other = made.with_tables(np.array([7], dtype=np.int32))
    assert (other.tables.tolist(), made.tables.tolist()) == ([7], TABLE.tolist())
    assert called(other, "one") == 1.0


def test_text_that_llvm_refuses_stores_nothing() -> None:
    with pytest.raises(RuntimeError, match="parsing error"):
        native.Native(b"wrong", ("one",), lambda: ("define void @one(ptr %c) { ret i32 0 }", TABLE))
    made = native.Native(b"wrong", ("one",), lambda: (text(one=3.0), TABLE))
    assert called(made, "one") == 3.0


def test_object_code_is_the_same_each_time() -> None:
    assert native.object_file(text(one=1.0)) == native.object_file(text(one=1.0))
    assert native.object_file(text(one=1.0)) != native.object_file(text(one=2.0))
