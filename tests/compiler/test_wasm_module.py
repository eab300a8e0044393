"""WebAssembly modules from object files: the memory as it begins, and an error for what cannot be linked."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import pytest

import macrograd as mg
from macrograd.compiler.targets.wasm import module as linker
from macrograd.compiler.targets.wasm.module import Memory, module
from macrograd.compiler.targets.wasm.offsets import Moved, after_variables
from tests.exporting.test_c import CASES

TRIPLE = "wasm32-unknown-unknown"
FIVE = "define i32 @five() {\n  ret i32 5\n}\n"
TWICE = "define i32 @twice(i32 %x) {\n  %y = add i32 %x, %x\n  ret i32 %y\n}\n"
INDIRECT = """
define i32 @call(i32 %number) {
  %f = inttoptr i32 %number to ptr
  %y = call i32 %f()
  ret i32 %y
}
"""


@cache
def image(text: str) -> bytes:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(TRIPLE).create_target_machine(cpu="mvp", reloc="static")
    parsed = llvm.parse_assembly(text, llvm.create_context())
    parsed.triple = TRIPLE
    found: bytes = target.emit_object(parsed)
    return found


def test_a_module_runs_with_its_memory_table_and_numbers() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    memory = Memory(size=70_000, stack=60_000, data={200: b"abc", 69_990: b"z" * 10})
    text = module(
        image(FIVE + TWICE + INDIRECT), {"double": "twice", "call": "call"}, ["five"], memory, {"heap": 70_000}
    )
    store: Any = wasmtime.Store()
    made = wasmtime.Module(store.engine, text)
    assert made.imports == []
    exports = wasmtime.Instance(store, made, []).exports(store)
    assert exports["double"](store, 21) == 42
    assert exports["call"](store, 1) == 5  # the first of the table has number 1: 0 is no function
    assert exports["heap"].value(store) == 70_000
    room = exports["memory"]
    assert bytes(room.read(store, 198, 207)) == b"\0\0abc\0\0\0\0"
    assert bytes(room.read(store, 69_990, 70_000)) == b"z" * 10
    room.write(store, b"overwritten", 195)
    exports["init"](store)
    assert bytes(room.read(store, 195, 207)) == b"\0\0\0\0\0abc\0\0\0\0"


OUTSIDE = """
declare double @sin(double)
define double @f(double %x) {
  %y = call double @sin(double %x)
  ret double %y
}
"""
DATA = "@x = global i32 7\ndefine i32 @f() {\n  %y = load i32, ptr @x\n  ret i32 %y\n}\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [(OUTSIDE, "calls functions that it does not define: sin"), (DATA, "added data|relocation of kind")],
)
def test_what_cannot_be_linked_is_an_error(text: str, said: str) -> None:
    with pytest.raises(RuntimeError, match=said):
        module(image(text), {"f": "f"}, [], Memory(64, 64, {}), {})


def test_a_file_of_another_kind_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="not WebAssembly of version 1"):
        module(b"\x7fELF" + bytes(60), {}, [], Memory(64, 64, {}), {})


FAR = """
define i32 @read(i32 %base) {
  %at = add i32 %base, CONSTANT
  %place = inttoptr i32 %at to ptr
  %x = load i32, ptr %place
  ret i32 %x
}
define void @write(i32 %base, i32 %x) {
  %at = add i32 %base, CONSTANT
  %place = inttoptr i32 %at to ptr
  %y = mul i32 %x, 3
  store i32 %y, ptr %place
  ret void
}
"""


@pytest.mark.parametrize("constant", [60, 64, 68, -4])
def test_constants_of_addresses_move_into_the_access_if_nothing_can_wrap(constant: int) -> None:
    wasmtime = pytest.importorskip("wasmtime")
    text, names = image(FAR.replace("CONSTANT", str(constant))), {"read": "read", "write": "write"}
    made = [module(text, names, [], Memory(1000, 900, {64: b"\7\0\0\0"}, first), {}) for first in (0, 64)]
    moves = 0 < constant <= 64
    assert len(made[0]) - len(made[1]) >= 4 if moves else made[0] == made[1]
    store: Any = wasmtime.Store()
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, made[1]), []).exports(store)
    assert exports["read"](store, 64 - constant) == 7  # below 0 for 68: at the end of all addresses
    exports["write"](store, 80 - constant, 5)
    assert exports["read"](store, 80 - constant) == 15


@pytest.mark.parametrize("name", CASES)
def test_every_instruction_of_a_module_is_known(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function with an unknown one keeps its constants: right, but slower."""
    function, args, kind = CASES[name]
    bodies: list[bytes] = []

    def kept(body: bytes, _: int) -> bytes:
        bodies.append(body)
        return body

    monkeypatch.setattr(linker, "with_offsets", kept)
    mg.export(function, tmp_path / "case.wasm", *args, kind=kind)
    for body in bodies:
        assert b"".join(Moved(after_variables(body), -1).instructions()) == after_variables(body).rest()
    assert bodies
