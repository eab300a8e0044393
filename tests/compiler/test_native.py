"""Native code: functions of a module by name, stored under everything that they depend on."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from macrograd.compiler.jit import builtin, cache, native, processor, tiers
from macrograd.compiler.jit.tiers import BASELINE, BEST
from macrograd.compiler.targets.llvm import support, threads
from macrograd.compiler.targets.llvm.driver import driver
from macrograd.compiler.targets.llvm.kernel import cached_kernel
from macrograd.compiler.targets.scalar.machine import DOUBLE, Machine

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


@pytest.mark.parametrize("kind", [{}, {"quick": True}, {"tiers": True}])
def test_without_a_cache_no_source_is_read(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key would take all of it. Code made so is not kept either when there is a directory later."""

    def read() -> Any:
        raise AssertionError("the source is read")

    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    monkeypatch.setattr(native, "makers", read)
    monkeypatch.setattr(native, "LONG", 0)
    monkeypatch.setattr(cache, "own_sources", read)
    made = native.Native(b"no key", ("one",), lambda: (text(one=1.0), TABLE), **kind)
    assert called(made, "one") == 1.0
    assert processor.machine.__wrapped__() == native.machine()
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    tiers.finish()
    assert called(made, "one") == 1.0
    assert not list(tmp_path.iterdir())


def unused() -> Any:
    raise AssertionError("this code is stored")


def test_functions_and_tables_are_stored_by_their_key() -> None:
    def write() -> Any:
        return text(one=1.0, two=2.0), TABLE

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


@pytest.mark.parametrize(
    ("shared", "given"),
    [
        (driver, (DOUBLE,)),
        (cached_kernel, (Machine(DOUBLE, 64, 8, single=True, strict=False), True, ())),
        (threads.share_code, (DOUBLE,)),
        (builtin.enter, (DOUBLE,)),
        (support.compiled, (DOUBLE, 8, False)),
    ],
    ids=["driver", "kernel", "threads", "builtin", "support"],
)
def test_threads_that_make_the_same_code_share_it(
    shared: native.Shared[..., Any], given: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has an address of the code does not hold the code, which must therefore not be replaced."""
    both = Barrier(2)

    class Slow:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            both.wait(60.0)

    monkeypatch.setattr(native, "Native", Slow)
    monkeypatch.setattr(shared, "made", {})
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(shared, *given) for _ in range(2))
    assert first.result() is second.result() is shared(*given)


def test_threads_share_a_table_of_addresses_too() -> None:
    both = Barrier(2)

    def make(size: int, *, filled: bool) -> Any:
        both.wait(60.0)
        return (ctypes.c_void_p * size)()

    shared = native.Shared(make)
    with ThreadPoolExecutor(2) as pool:
        first, second = (pool.submit(shared, 3, filled=True) for _ in range(2))
    assert first.result() is second.result() is shared(3, filled=True)
    assert isinstance(support.table, native.Shared)


@pytest.mark.parametrize("choice", ["both", "first", "best"])
def test_code_that_has_done_much_work_is_compiled_again(choice: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROGRAD_TIERS", choice)
    levels = []

    def noting(text: str, level: int = BEST, made: Callable[..., bytes] = native.object_file) -> bytes:
        levels.append(level)
        return made(text, level)

    monkeypatch.setattr(native, "object_file", noting)

    def make(quick: bool) -> native.Native:
        return native.Native(b"much work", ("one",), lambda: (text(one=1.0), TABLE), quick=quick)

    by_work = native.ByWork(make, 10)
    for work in (4, 6, 1, 1):  # more than ten after the third
        assert called(by_work.code(work), "one") == 1.0
    assert levels == {"both": [BASELINE, BEST], "first": [BASELINE], "best": [BEST]}[choice]
    again = native.ByWork(make, 10)  # as a later process finds it
    assert called(again.code(1), "one") == 1.0
    assert len(levels) == {"both": 2, "first": 1, "best": 1}[choice]
    assert again.code(1).improved == (choice != "first")
