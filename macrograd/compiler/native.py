"""From LLVM text to a function that can be called: the target machine, the object code, the cache, the linker."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm
import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler import cache as disk

Table = NDArray[np.int32]
_count = count()


@dataclass(frozen=True)
class Machine:
    """The processor that this process runs on."""

    cpu: str
    features: str
    vector_bytes: int


@cache
def machine() -> Machine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    found = llvm.get_host_cpu_features()
    size = 64 if found.get("avx512f") else 32 if found.get("avx2") else 16
    return Machine(llvm.get_host_cpu_name(), found.flatten(), size)


@cache
def _target_machine(level: int) -> Any:
    host = machine()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=host.cpu, features=host.features, opt=level, reloc="pic", codemodel="jitdefault", jit=True
    )


@cache
def _linker() -> Any:
    return llvm.create_lljit_compiler(_target_machine(2))


@cache
def _makers() -> bytes:
    """What the machine code depends on besides the program: the compiler's own text, and LLVM's and the CPU's names."""
    digest = hashlib.sha256()
    for path in [Path(ops.__file__), *sorted(Path(__file__).parent.glob("*.py"))]:
        digest.update(path.read_bytes())
    host = machine()
    digest.update("\0".join([host.cpu, host.features, llvmlite.__version__]).encode())
    return digest.digest()


class Native:
    """The compiled functions of one module, and the index tables that they read; alive as long as the code is.

    `key` says what the module is made from; `write` makes its text and tables, if no code is kept under the key.
    """

    def __init__(self, key: bytes, names: tuple[str, ...], write: Callable[[], tuple[str, Table]]) -> None:
        name = hashlib.sha256(_makers() + key).hexdigest()
        kept = disk.load(name)
        if kept is None:
            text, tables = write()
            image = _compile(text)
            disk.store(name, len(tables).to_bytes(8, "little") + tables.tobytes() + image)
        else:
            size = int.from_bytes(kept[:8], "little") * 4
            tables, image = np.frombuffer(kept[8 : 8 + size], dtype=np.int32), kept[8 + size :]
        self.tables: Table = tables
        builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
        for function in names:
            builder = builder.export_symbol(function)
        # The tracker owns the code; it must outlive every call.
        self._tracker = builder.link(_linker(), f"macrograd-{name[:16]}-{next(_count)}")
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self.functions = {function: kind(self._tracker[function]) for function in names}


def _compile(text: str) -> bytes:
    module = llvm.parse_assembly(text)
    module.triple = llvm.get_process_triple()
    target = _target_machine(2)
    module.data_layout = str(target.target_data)
    image: bytes = target.emit_object(module)
    return image
