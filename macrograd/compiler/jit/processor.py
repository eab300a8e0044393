"""The processor that this process runs on, as LLVM names and describes it; without LLVM if that is in the cache.

The key in the cache is what the processor says of itself (the instruction CPUID, and XGETBV for what the system
supports), and LLVM asks nothing else; and, as of all that is kept, the source of the compiler.
"""

from __future__ import annotations

import ctypes
import hashlib
import mmap
from functools import cache

import llvmlite

from macrograd._dataclass import dataclass
from macrograd.compiler.jit import cache as disk
from macrograd.compiler.jit import elf

# void cpuid(uint32_t out[4], uint32_t leaf, uint32_t subleaf), and void xgetbv(uint32_t out[2])
_CPUID = bytes.fromhex("53 4989f8 89f0 89d1 0fa2 418900 41895804 41894808 4189500c 5b c3")
_XGETBV = bytes.fromhex("31c9 0f01d0 8907 895704 c3")
_XGETBV_AT, _USES_XGETBV = 64, 1 << 27
# The leaves that LLVM reads. Numbers of cores, and sizes that depend on what runs, are left out where they are asked.
_LEAVES = ((7, 0), (7, 1), (0xD, 1), (0x14, 0), (0x19, 0), (0x1E, 1), (0x24, 0))
_EXTENDED = (0x80000001, 0x80000008)


@dataclass(frozen=True)
class Processor:
    """The processor that this process runs on.

    cpu, features   LLVM's name of it, and the extensions that it has, as LLVM takes them
    vector_bytes    the width of its vector registers
    """

    cpu: str
    features: str
    vector_bytes: int


@cache
def machine() -> Processor:
    """Raises ImportError or OSError if llvmlite does not load; it is not loaded if an earlier process has asked it."""
    name = None
    if disk.directory() is not None and (told := said()) is not None:
        name = hashlib.sha256(disk.sources() + told + llvmlite.__version__.encode()).hexdigest() + "-processor"
        if kept := disk.load(name):
            cpu, features, size = kept.decode().split("\n")
            return Processor(cpu, features, int(size))
    import llvmlite.binding as llvm

    found = llvm.get_host_cpu_features()
    made = Processor(
        llvm.get_host_cpu_name(), found.flatten(), 64 if found.get("avx512f") else 32 if found.get("avx2") else 16
    )
    if name is not None:
        disk.store(name, f"{made.cpu}\n{made.features}\n{made.vector_bytes}".encode())
    return made


def said() -> bytes | None:
    """What the processor says of itself; None where it is not asked."""
    if not elf.known():
        return None
    code = elf.new_pages(mmap.PAGESIZE)
    code[: len(_CPUID)] = _CPUID
    code[_XGETBV_AT : _XGETBV_AT + len(_XGETBV)] = _XGETBV
    place = ctypes.addressof(ctypes.c_char.from_buffer(code))
    if not elf.made_executable(place, mmap.PAGESIZE):
        return None
    cpuid = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)(place)
    words = (ctypes.c_uint32 * 4)()

    def leaf(number: int, part: int = 0) -> list[int]:
        cpuid(ctypes.addressof(words), number, part)
        return list(words)

    highest, *maker = leaf(0)
    one, _, three, four = leaf(1)
    found = [highest, *maker, one, three, four]
    for number, part in _LEAVES:
        found += leaf(number, part)[: 1 if number == 0xD else 4] if number <= highest else []
    beyond = leaf(0x80000000)[0]
    for number in _EXTENDED:
        found += leaf(number)[:2] if number <= beyond else []
        if number == 0x80000001 <= beyond:
            found += leaf(number)[2:]
    if three & _USES_XGETBV:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(place + _XGETBV_AT)(ctypes.addressof(words))
        found += words[:2]
    return repr(found).encode()
