"""From LLVM text to a function that can be called: the target machine, the object code, the cache, the linker."""

from __future__ import annotations

import ctypes
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from macrograd.compiler import cache as disk


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


class Native:
    """The compiled functions of one module; alive as long as the code is."""

    def __init__(self, text: str, names: tuple[str, ...], level: int = 2) -> None:
        host = machine()
        key = hashlib.sha256(
            "\0".join([text, host.cpu, host.features, llvmlite.__version__, str(level)]).encode()
        ).hexdigest()
        image = disk.load(key)
        if image is None:
            image = _compile(text, level)
            disk.store(key, image)
        self.size = len(image)
        library = f"macrograd-{key[:16]}-{id(self)}"
        builder = llvm.JITLibraryBuilder().add_object_img(image).add_current_process()
        for name in names:
            builder = builder.export_symbol(name)
        # The tracker owns the code; it must outlive every call.
        self._tracker = builder.link(_linker(), library)
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self.functions = {name: kind(self._tracker[name]) for name in names}


def _compile(text: str, level: int) -> bytes:
    module = llvm.parse_assembly(text)
    module.triple = llvm.get_process_triple()
    machine_ = _target_machine(level)
    module.data_layout = str(machine_.target_data)
    image: bytes = machine_.emit_object(module)
    return image
