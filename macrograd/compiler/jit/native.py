"""From LLVM text to a callable function: target machine, object code, cache, linker."""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from copy import copy
from functools import cache, partial, update_wrapper
from itertools import count
from typing import Any, Generic, ParamSpec, TypeVar

import llvmlite
import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit import cache as disk
from macrograd.compiler.jit import elf
from macrograd.compiler.jit.processor import machine as machine
from macrograd.compiler.jit.tiers import (
    BASELINE,
    BEST,
    LONG,
    SCALARS_A_LINE,
    SHORTER,
    TRAMPOLINES,
    TierUp,
    Use,
    builder,
    emit,
    inside,
    setting,
    trampolines,
    worth_of,
)

Table = NDArray[np.int32]
Given = ParamSpec("Given")
Made = TypeVar("Made")
# Without the types of arguments: a reference is passed as it is, which is faster than converting an address.
_LONG, _BRIEF = ctypes.CFUNCTYPE(None), ctypes.PYFUNCTYPE(None)
_SOONER = 4.0  # by how much each later process is sooner to make better code of what an earlier one has met
_BASELINE = "-baseline"  # suffix of the names of files with baseline code
_count = count()
_own = threading.local()


_api = getattr(ctypes, "pythonapi", None)  # of CPython, which alone frees what is still in use when it ends


# By default values: the names of a module are gone when the last objects are freed.
def never_freed(x: Made, api: Any = _api, pointer: Any = ctypes.py_object) -> Made:
    """The same object, which is not freed when the interpreter ends either."""
    if api is not None:
        api.Py_IncRef(pointer(x))
    return x


@cache
def _llvm() -> Any:
    """LLVM, which is loaded when code is made. Raises RuntimeError if it does not load now, though it once did."""
    try:
        import llvmlite.binding as llvm
    except (ImportError, OSError) as error:
        raise RuntimeError(f"llvmlite does not load here: {error}") from error
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    lock = getattr(llvm.ffi.lib, "_lock", None)
    if lock is not None and hasattr(os, "register_at_fork"):
        # No thread may be inside LLVM while another forks: the child would wait for it forever. (`tiers.emit` is
        # without the lock, and shares nothing.)
        os.register_at_fork(before=lock.__enter__, after_in_parent=lock.__exit__, after_in_child=lock.__exit__)
    return llvm


def _target_machine(level: int) -> Any:
    host = machine()
    target = _llvm().Target.from_default_triple()
    # A module's parts are near each other where they are put into memory here; LLVM's own linker gives no such promise.
    # LLVM's fast selector has fewer cases to leave to the slow one then. The best code would be up to 4 % slower: it
    # would read constants from memory in every round instead of once.
    model = "small" if level == BASELINE and elf.known() else "jitdefault"
    return target.create_target_machine(
        cpu=host.cpu, features=host.features, opt=level, reloc="pic", codemodel=model, jit=True
    )


def _own_target_machine(level: int) -> Any:
    """This thread's target machine of a level: making one takes as long as a small module."""
    found = _own.__dict__.setdefault("machines", {})
    if level not in found:
        found[level] = _target_machine(level)
    return found[level]


@cache
def _linker() -> Any:
    return never_freed(_llvm().create_lljit_compiler(_target_machine(BEST)))


@cache
def makers() -> bytes:
    """Everything but the program that the machine code depends on: the compiler's source, and the names of LLVM and the
    CPU."""
    host = machine()
    return disk.sources() + "\0".join([host.cpu, host.features, llvmlite.__version__]).encode()


class Native:
    """The compiled functions of one module, and the index tables that they read; alive as long as the code is.

    `key` identifies what the module is made from, or computes that where code is kept; `write` makes its text and
    tables if no code is stored under the key; all functions take `parameters`, given as type and name. With `tiers`, a
    text of more than `LONG` lines, and of more than a line for every few `scalars`, first gets the baseline tier, and
    better code in the background once it has run for a while (`tiers`); `functions` then call the better code as soon
    as it is there. A `brief` text for the baseline tier computes the same bits, and reads the same tables; then the
    better code is made from what `write` makes only when it is needed. With `quick` the code remains in the baseline
    tier, unless better code is stored (`ByWork`).
    """

    def __init__(
        self,
        key: bytes | Callable[[], bytes],
        names: tuple[str, ...],
        write: Callable[[], tuple[str, Table]],
        *,
        tiers: bool = False,
        quick: bool = False,
        scalars: int = 0,
        parameters: str = "ptr %context",
        brief: Callable[[], tuple[str, Table]] | None = None,
    ) -> None:
        self._name = ""
        if disk.directory() is not None:
            self._name = hashlib.sha256(makers() + (key if isinstance(key, bytes) else key())).hexdigest()
        self._first = self._name and self._name + _BASELINE
        self._names, self._parameters = names, parameters
        self.tables: Table
        self.functions: dict[str, Any]
        self.improved = True  # whether the best code is running
        self.brief = False  # whether the first code is, or was, of a brief text
        self._code: list[Any] = []  # these own the code, which must outlive every call
        two = tiers and setting() != "best"
        better = None if brief is None else write
        if self._found(self._name):
            return
        if quick and setting() != "best":
            if not self._found(self._first):
                text, self.tables = write()
                self._make(self._first, text, BASELINE)
            self.improved = False
        elif two and (kept := disk.load(self._first)):
            table, lines, worth, image, entries = _unpacked(kept)
            self.tables = np.frombuffer(table, dtype=np.int32)
            found = self.tables
            # Another program with the same code may have kept none: whether a first text is brief is told by the work.
            left, self.brief = float(worth) / _SOONER, not lines
            self._run_first(image, entries, (lambda: (lines.decode(), found)) if lines else write, left)
            disk.store(self._first, _packed(table, lines, repr(left).encode(), image, entries))
        else:
            first, ratio = (write, 1) if brief is None or not two else (brief, SHORTER)
            text, self.tables = first()
            if two and text.count("\n") * ratio > max(LONG, scalars // SCALARS_A_LINE):
                self._compile_baseline(text, better)
            else:
                if first is not write:
                    text, self.tables = write()
                self._make(self._name, text, BEST)

    def __del__(self, ends: Any = sys.is_finalizing, keep: Any = never_freed) -> None:
        """When Python ends, a daemon may be running the code yet."""
        if ends():
            keep(self)

    def call(self, name: str, context: ctypes.Structure, *, brief: bool = False) -> Callable[[], object]:
        """The function on one context, for calls with the least overhead.

        A brief one keeps Python's lock: giving it back and taking it again costs as much as a small program, and
        milliseconds where another thread is waiting for it.
        """
        function = (_BRIEF if brief else _LONG)(self.address(name))
        return partial(function, ctypes.byref(context))

    def address(self, name: str) -> int:
        return ctypes.cast(self.functions[name], ctypes.c_void_p).value or 0

    def with_tables(self, tables: Table) -> Native:
        """The same code with other tables."""
        other = copy(self)
        other.tables = tables
        return other

    def _link(self, image: bytes, names: Iterable[str]) -> dict[str, Any]:
        """The functions of an object file by name."""
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        return {name: kind(address) for name, address in self._addresses(image, names).items()}

    def _addresses(self, image: bytes, names: Iterable[str]) -> dict[str, int]:
        try:
            loaded = elf.Image(image)
            found = loaded.addresses(names)
        except elf.UnknownError:
            loaded, found = linked(image, list(names))
        self._code.append(loaded)
        return found

    def _found(self, name: str) -> bool:
        """Whether code of one tier is kept under this name, which is then linked."""
        kept = disk.load(name)
        if not kept:
            return False
        table, image = _unpacked(kept)
        self.tables = np.frombuffer(table, dtype=np.int32)
        self.functions = self._link(image, self._names)
        return True

    def _make(self, name: str, text: str, level: int) -> None:
        """Compile code of one tier, keep it under this name, and link it."""
        image = object_file(text, level)
        disk.store(name, _packed(self.tables.tobytes(), image))
        self.functions = self._link(image, self._names)

    def _compile_baseline(self, text: str, better: Callable[[], tuple[str, Table]] | None) -> None:
        begin = time.thread_time()
        image = object_file(text, BASELINE)
        took = time.thread_time() - begin
        self.brief = better is not None
        worth = worth_of(took, brief=self.brief)
        kept, entries = b"" if better else text.encode(), _trampolines(len(self._names), self._parameters)
        disk.store(self._first, _packed(self.tables.tobytes(), kept, repr(worth).encode(), image, entries))
        found = self.tables
        self._run_first(image, entries, better or (lambda: (text, found)), worth)

    def _run_first(self, image: bytes, entries: bytes, write: Callable[[], tuple[str, Table]], worth: float) -> None:
        """Run the baseline code, through its trampolines, until better code, made from what `write` makes, is ready; it
        is made once this code has been in use for `worth` seconds."""
        numbers = dict(enumerate(self._names))
        offered = [f"{what}.{k}" for what in ("enter", "code", "own") for k in numbers]
        own, found = self._addresses(image, self._names), self._addresses(entries, [*TRAMPOLINES, *offered])
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
        self.functions = {name: kind(found[f"enter.{k}"]) for k, name in numbers.items()}
        slots = {name: found[f"code.{k}"] for k, name in numbers.items()}
        for k, name in numbers.items():
            ctypes.c_void_p.from_address(found[f"own.{k}"]).value = own[name]
        self.improved = False
        me, name, first, tables = weakref.ref(self), self._name, self._first, self.tables.tobytes()

        def improve() -> None:
            text, table = write()
            if table.tobytes() != tables:
                raise RuntimeError("the better code has other tables")
            if builder.ends():  # while the text was written
                return
            image = object_file(text)
            disk.store(name, _packed(tables, image))
            disk.remove(first)
            native = me()
            if native is not None:
                for function, address in native._addresses(image, native._names).items():
                    ctypes.c_void_p.from_address(slots[function]).value = address
                native.improved = True

        self._watch = TierUp(improve, worth, Use(found["spent"], found["ticks"], self._code))
        ctypes.c_void_p.from_address(found["notify"]).value = self._watch.address


class ByWork:
    """Code of the compiler's own, for which counting calls would not pay: it is compiled quickly, and once more when it
    has done `much` work, in whatever units its callers count. `make` makes it, quickly or not."""

    def __init__(self, make: Callable[[bool], Native], much: int) -> None:
        self._make, self._left = make, much
        self._code = make(True)

    def code(self, work: int) -> Native:
        """The code for so much more work. The caller holds it as long as it runs: another thread may replace it."""
        self._left -= work
        if self._left < 0 and not self._code.improved and setting() != "first":
            self._code = self._make(False)
        return self._code


class Shared(Generic[Given, Made]):
    """A function that makes code, or a table, once for each of its arguments, for callers who keep its address alone.

    Where two threads make the same, both get the first one's. `functools.cache` would keep the last one's, and free the
    other, in which a thread is running. It would also free all of them when the process ends, in which daemon threads
    run on.
    """

    def __init__(self, make: Callable[Given, Made]) -> None:
        self._make = make
        self.made: dict[tuple[Any, ...], Made] = {}
        update_wrapper(self, make)

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Made:
        key = (*args, *sorted(kwargs.items()))
        found = self.made.get(key)
        if found is None:
            made = self._make(*args, **kwargs)
            found = self.made.setdefault(key, made)
            if found is made:
                never_freed(made)
        return found


def linked(image: bytes, names: Iterable[str]) -> tuple[Any, dict[str, int]]:
    """(what holds the code in memory, the addresses of its functions), by LLVM."""
    with inside:
        builder = _llvm().JITLibraryBuilder().add_object_img(image).add_current_process()
        for name in names:
            builder = builder.export_symbol(name)
        tracker = builder.link(_linker(), f"macrograd-{next(_count)}")
        return tracker, {name: tracker[name] for name in names}


@cache
def _trampolines(count: int, parameters: str) -> bytes:
    """The object file of the trampolines to so many functions, which is kept on disk."""
    text = trampolines(count, parameters)
    name = "" if disk.directory() is None else hashlib.sha256(makers() + text.encode()).hexdigest()
    image = disk.load(name)
    if not image:
        disk.store(name, image := object_file(text, BASELINE))
    return image


def _packed(*parts: bytes) -> bytes:
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


def _unpacked(whole: bytes) -> list[bytes]:
    parts, at = [], 0
    while at < len(whole):
        size = int.from_bytes(whole[at : at + 8], "little")
        parts.append(whole[at + 8 : at + 8 + size])
        at += 8 + size
    return parts


def object_file(text: str, level: int = BEST) -> bytes:
    """The object file of a module. It shares nothing, so several threads may compile at once. Raises RuntimeError if
    LLVM fails, and SystemExit on a thread that another one, which ends the process, does not wait for."""
    with inside:
        llvm = _llvm()
        module = llvm.parse_assembly(text, llvm.create_context())
        module.triple = llvm.get_process_triple()
        target = _own_target_machine(level)
        module.data_layout = str(target.target_data)
        return emit(target, module)
