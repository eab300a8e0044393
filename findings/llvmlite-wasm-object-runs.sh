#!/usr/bin/env bash
# llvmlite 0.50.0's wheel (LLVM 22.1) compiles for wasm32 and holds no linker, and an object file of LLVM's is "to be
# linked". But it is a whole module: what its relocations would fill in is there already, counted by the object's own
# lists. An object that has no data and calls nothing from outside lacks exports and nothing else: with a section that
# names them put before its code, it runs in wasmtime 50.0.1 as it came from LLVM, calls between its functions included.
#
# Seen:
#     relocations of kinds {0} in reloc.CODE, 0 a function's number
#     twice_plus_one(20.5) = 42.0
#
# So macrograd makes WebAssembly modules of objects by itself. Exits 1 if that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check llvmlite==0.50.0 wasmtime==50.0.1
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import llvmlite.binding as llvm
import wasmtime

TEXT = """
define double @other(double %x) {
  %y = fadd double %x, %x
  ret double %y
}
define double @twice_plus_one(double %x) {
  %y = call double @other(double %x)
  %z = fadd double %y, 1.0
  ret double %z
}
"""
llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()
module = llvm.parse_assembly(TEXT)
module.triple = "wasm32-unknown-unknown"
image = llvm.Target.from_triple(module.triple).create_target_machine(opt=2, reloc="static").emit_object(module)


def number(data, at):
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if data[at - 1] < 0x80:
            return value, at


whole, at, kinds = image[:8], 8, set()
while at < len(image):
    size, body = number(image, at + 1)
    if image[at] == 10:  # the code: what is exported stands before it
        name = b"twice_plus_one"
        entry = bytes([len(name)]) + name + b"\x00\x01"  # function 1
        whole += b"\x07" + bytes([1 + len(entry)]) + b"\x01" + entry
    if image[at] == 0 and image[body + 1 : body + 11] == b"reloc.CODE":
        where = body + 11
        _, where = number(image, where)
        count, where = number(image, where)
        for _ in range(count):
            kinds.add(image[where])
            _, where = number(image, where + 1)
            _, where = number(image, where)
    whole += image[at : body + size]
    at = body + size
print("relocations of kinds", kinds, "in reloc.CODE, 0 a function's number")
store = wasmtime.Store()
made = wasmtime.Module(store.engine, whole)
memory = wasmtime.Memory(store, wasmtime.MemoryType(wasmtime.Limits(1, None)))
instance = wasmtime.Instance(store, made, [memory for _ in made.imports])
found = instance.exports(store)["twice_plus_one"](store, 20.5)
print("twice_plus_one(20.5) =", found)
sys.exit(0 if found == 42.0 and kinds == {0} else 1)
PYTHON
