"""Machine code put into memory without LLVM, whose library takes as long to load as all of macrograd.

LLVM's files for the process that runs them (position-independent, for distances below 2 GB or any) have few kinds of
sections and ten kinds of places to fill in. All of a file is in one piece of memory, so that its parts are near each
other; what is outside of it is reached through a table of addresses. Only x86-64 Linux is known here, and only files in
which everything is of a kind named below; LLVM links the others. Source: *System V Application Binary Interface, AMD64
Architecture Processor Supplement*, chapter 4.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a section holds, and how it is used.
_CONTENT, _SYMBOLS, RELOCATIONS, _ZEROS, _UNWINDING = 1, 2, 4, 8, 0x70000001
WRITTEN, LOADED, RUN, _MERGEABLE, _STRINGS, _LARGE = 0x1, 0x2, 0x4, 0x10, 0x20, 0x10000000
_USES = WRITTEN | LOADED | RUN | _MERGEABLE | _STRINGS | _LARGE
_ELSEWHERE, _SPECIAL = 0, 0xFF00  # in place of a symbol's section
# What a place gets: R_X86_64_64, the address, in 64 bits. In 32 bits, in code for near distances, the distance to it
# (R_X86_64_PC32), to code that goes there (PLT32), or to its entry in the table of addresses (GOTPCREL, GOTPCRELX,
# REX_GOTPCRELX). In 64 bits, in code for any distance, the distance to it (PC64) or to the table (GOTPC64), and what is
# added to the table's address to find it (GOTOFF64) or its entry (GOT64).
_ADDRESS, _NEAR, _CALLED, _ENTRIES = 1, 2, 4, (9, 41, 42)
_FAR, _FROM_TABLE, _ENTRY = (24, 29), 25, 27
_TABLE = "_GLOBAL_OFFSET_TABLE_"
_JUMP, _JUMP_SIZE = bytes.fromhex("ff25"), 8  # to an address of the table, which is at a distance of 32 bits

SECTION = np.dtype([
    ("name", "<u4"), ("kind", "<u4"), ("use", "<u8"), ("address", "<u8"), ("offset", "<u8"), ("size", "<u8"),
    ("link", "<u4"), ("info", "<u4"), ("align", "<u8"), ("entry", "<u8"),
])  # fmt: skip
_SYMBOL = np.dtype([
    ("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"), ("size", "<u8"),
])  # fmt: skip
RELOCATION = np.dtype([("offset", "<u8"), ("kind", "<u4"), ("symbol", "<u4"), ("addend", "<i8")])


class UnknownError(Exception):
    """The file holds something of a kind that is not known here, or the system does not let it run."""


@cache
def known() -> bool:
    """Whether this is a system whose files are known."""
    return sys.platform == "linux" and os.uname().machine == "x86_64" and ctypes.sizeof(ctypes.c_void_p) == 8


@cache
def _process() -> Any:
    return ctypes.CDLL(None, use_errno=True)


class NoRoomError(RuntimeError):
    """The system gives no more memory, so that LLVM, which ends the process then, shall not ask for it either."""

    def __init__(self) -> None:
        super().__init__(
            f"the system gives no more memory for machine code{_pieces()}: drop compiled functions and models that are "
            "no longer used (many nets of one shape share their code in mg.train_many)"
        )


class Image:
    """An object file in memory, as long as something holds the image. Raises UnknownError, or NoRoomError."""

    def __init__(self, file: bytes) -> None:
        if not known() or file[:7] != b"\x7fELF\x02\x01\x01" or file[16:20] != b"\x01\x00\x3e\x00":
            raise UnknownError("a file of another system")
        self._file = file
        self._sections = self._table(SECTION, int.from_bytes(file[40:48], "little"), file[60] | file[61] << 8)
        self._place()
        self._find()
        for section in self._sections.tolist():
            if section[1] == RELOCATIONS and section[7] in self._begin:
                self._fill_in(self._table(RELOCATION, section[4], section[5] // RELOCATION.itemsize), section[7])
        self._protect()
        del self._file, self._sections, self._symbols, self._at  # only the memory is held

    def addresses(self, names: Iterable[str]) -> dict[str, int]:
        """The addresses of what the file offers. Raises KeyError for what it does not."""
        return {name: self._offered[name] for name in names}

    def _table(self, kind: np.dtype[Any], offset: int, count: int) -> NDArray[Any]:
        if offset + count * kind.itemsize > len(self._file):
            raise UnknownError("a table beyond the end")
        return np.frombuffer(self._file, kind, count, offset)

    def _place(self) -> None:
        """Give each section a place in memory, after others of its use: read, run, written. A table of the addresses of
        all symbols is the first of what is read, and jumps to each of them are the first of what is run."""
        symbols = [section for section in self._sections.tolist() if section[1] == _SYMBOLS]
        if len(symbols) != 1:
            raise UnknownError(f"{len(symbols)} tables of symbols")
        (_, _, _, _, offset, size, self._names, _, _, _) = symbols[0]
        self._symbols = self._table(_SYMBOL, offset, size // _SYMBOL.itemsize)
        by_use: dict[int, list[int]] = {0: [], RUN: [], WRITTEN: []}
        for k, (_, kind, use, _, _, size, _, _, align, _) in enumerate(self._sections.tolist()):
            if not use & LOADED or not size or kind == _UNWINDING:  # no error passes through machine code
                continue
            where = by_use.get(use & (RUN | WRITTEN))
            if kind not in (_CONTENT, _ZEROS) or use & ~_USES or align > mmap.PAGESIZE or where is None:
                raise UnknownError(f"a section of kind {kind}, use {use:#x}, aligned to {align}")
            where.append(k)
        self._begin: dict[int, int] = {}
        self._ends: list[int] = []
        self._jumps, at = 0, 8 * len(self._symbols)
        for use, numbers in by_use.items():
            if use == RUN:
                self._jumps, at = at, at + _JUMP_SIZE * len(self._symbols)
            for k in numbers:
                align = max(1, int(self._sections[k]["align"]))
                self._begin[k] = at = -(-at // align) * align
                at += int(self._sections[k]["size"])
            at = -(-at // mmap.PAGESIZE) * mmap.PAGESIZE
            self._ends.append(at)
        self._mapped = new_pages(at)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._mapped))
        for k, begin in self._begin.items():
            _, kind, _, _, offset, size, _, _, _, _ = self._sections[k].tolist()
            if kind == _CONTENT:
                if offset + size > len(self._file):
                    raise UnknownError("a section beyond the end")
                self._mapped[begin : begin + size] = self._file[offset : offset + size]

    def _find(self) -> None:
        """The address of each symbol, 0 for what has none, also in the table."""
        self._at: list[int] = []
        self._offered: dict[str, int] = {}
        self._outside: set[int] = set()
        for k, (name, info, _, section, value, _) in enumerate(self._symbols.tolist()):
            begin, at = self._begin.get(section), 0
            if begin is not None:
                at = self._base + begin + value
                if info >> 4 == 1:
                    self._offered[self._name(name)] = at
            elif section == _ELSEWHERE and name:
                at = self._base if (wanted := self._name(name)) == _TABLE else _outside(wanted)
                self._outside.add(k)
            self._at.append(at)
        self._mapped[: 8 * len(self._at)] = struct.pack(f"<{len(self._at)}Q", *self._at)

    def _name(self, place: int) -> str:
        begin = int(self._sections[self._names]["offset"]) + place
        return self._file[begin : self._file.index(b"\0", begin)].decode()

    def _fill_in(self, relocations: NDArray[Any], section: int) -> None:
        """Write what depends on addresses into a section."""
        begin, size = self._begin[section], int(self._sections[section]["size"])
        if self._sections[section]["kind"] != _CONTENT:
            raise UnknownError("places in a section of zeros")
        for offset, kind, symbol, addend in relocations.tolist():
            if symbol >= len(self._at) or not self._at[symbol]:
                raise UnknownError("a symbol without an address")
            far = self._far(kind, symbol, begin + offset)
            if offset + (4 if far is None else 8) > size:
                raise UnknownError("a place outside of its section")
            if far is not None:
                struct.pack_into("<Q", self._mapped, begin + offset, far + addend & (1 << 64) - 1)
                continue
            distance = self._near(kind, symbol) + addend - begin - offset
            if not -(1 << 31) <= distance < 1 << 31:
                raise UnknownError("a distance of more than 2 GB")
            struct.pack_into("<i", self._mapped, begin + offset, distance)

    def _far(self, kind: int, symbol: int, place: int) -> int | None:
        """What a place of 64 bits gets; None for one of 32 bits."""
        if kind == _ADDRESS:
            return self._at[symbol]
        if kind in _FAR:
            return self._at[symbol] - self._base - place
        if kind == _FROM_TABLE:
            return self._at[symbol] - self._base
        return 8 * symbol if kind == _ENTRY else None

    def _near(self, kind: int, symbol: int) -> int:
        """Where a place that gets a distance leads, from the beginning of the memory."""
        if kind in _ENTRIES:
            return 8 * symbol
        if kind == _CALLED and symbol in self._outside:
            jump = self._jumps + _JUMP_SIZE * symbol
            place = jump + len(_JUMP)
            self._mapped[jump : place + 4] = _JUMP + struct.pack("<i", 8 * symbol - (place + 4))
            return jump
        if kind in (_NEAR, _CALLED):
            return self._at[symbol] - self._base
        raise UnknownError(f"a place of kind {kind}")

    def _protect(self) -> None:
        """Let nothing be written that is run, and nothing be run that is written."""
        read, run, _ = self._ends
        if not allowed(self._base, read, mmap.PROT_READ) or not made_executable(self._base + read, run - read):
            raise UnknownError("a system that lets no new code run")


def new_pages(size: int) -> mmap.mmap:
    """Memory of this process alone. Raises NoRoomError if the system gives none."""
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise NoRoomError from error


def made_executable(place: int, size: int) -> bool:
    """Whether the system lets what is written in these pages run."""
    return allowed(place, size, mmap.PROT_READ | mmap.PROT_EXEC)


def allowed(place: int, size: int, what: int) -> bool:
    """Whether the system grants this protection (`mmap.PROT_…`) to the pages of `size` bytes at `place`. Raises
    NoRoomError if it would have to keep one piece of memory more than it keeps of a process."""
    if not _process().mprotect(ctypes.c_void_p(place), ctypes.c_size_t(size), ctypes.c_int(what)):
        return True
    if ctypes.get_errno() == errno.ENOMEM:
        raise NoRoomError
    return False


def _pieces() -> str:
    """How many pieces of memory this process has, and may have, if that is nearly all."""
    try:
        with open("/proc/self/maps", "rb") as maps, open("/proc/sys/vm/max_map_count") as most:
            has, may = sum(1 for _ in maps), int(most.read())
    except (OSError, ValueError):
        return ""
    # A program takes three at once.
    return "" if has < may - 8 else f", which would be in more than {may:,} pieces (vm.max_map_count), three a program"


@cache
def _outside(name: str) -> int:
    """The address of a function of this process, such as those of the C library; 0 if there is none."""
    try:
        return ctypes.cast(getattr(_process(), name), ctypes.c_void_p).value or 0
    except AttributeError:
        return 0
