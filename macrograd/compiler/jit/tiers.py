"""Two tiers: baseline code at once, and better code when it pays.

LLVM takes three times as long for optimised code as for any code, so a long module starts in a baseline tier. Every
function of a baseline module has a trampoline, which jumps to the function's current code, counts its calls, and adds
up how long they take. At the second, third, fifth, ninth … call it asks whether better code pays: it does once the
functions have run for as long as the better code will take to compile, and sooner if they come from an earlier process,
the sooner the more of them have used it. The better code is then compiled in the background and stored on disk; once it
is linked, the trampolines jump to it. It is made from the same text, or from a longer one that rounds alike (of the
stream kernel, and of rolled code: `targets/scalar/rolled.py`). Both tiers round as their text prescribes, so the
results are the same to the bit.

`MACROGRAD_TIERS` selects only one of them: `first` or `best`.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import platform
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from queue import SimpleQueue
from typing import Any

from macrograd._workers import surely

BASELINE, BEST = 0, 2  # LLVM's optimisation levels of code generation
LONG = 150  # lines of a module; shorter ones are optimised in the time that two tiers would take
SCALARS_A_LINE = 40  # in a program with this many, optimising is a small part of the preparation
SHORTER = 3  # how many times as long a text is, about, as a brief one
DEARER = 2.3  # how much longer the better code takes to compile, if it is made from the same text …
BRIEFER = 3.0  # … and how much longer again if the first text was brief, about
_LOOK = 0.01  # seconds between two looks at who is inside LLVM when the process ends


def setting() -> str:
    """The value of `MACROGRAD_TIERS`: "first", "best" or "both"."""
    found = os.environ.get("MACROGRAD_TIERS", "").lower()
    return found if found in ("first", "best") else "both"


def _counter() -> str:
    """An expression of LLVM's: a counter that runs evenly, of a processor where any program may read one, else 0."""
    name = platform.machine().lower()
    if name in ("x86_64", "amd64", "i386", "i686"):
        return "call i64 @llvm.readcyclecounter()"
    if name in ("aarch64", "arm64"):  # whose intrinsic was for a counter of the system's, before LLVM 22
        return 'call i64 asm sideeffect "mrs $0, cntvct_el0", "=r"()'
    return "add i64 0, 0"


TRAMPOLINES = ("notify", "spent", "ticks")  # and of function k: enter.k, code.k, own.k


def trampolines(count: int, parameters: str) -> str:
    """The text of the trampolines to so many functions of a module, all of which take the same parameters.

    It is a module of its own, the same for all with as many functions, so that it is compiled once: it would be a tenth
    of what LLVM does for the net of the first example. `own.k` is the address of function k."""
    lines = [
        "@notify = global ptr null",
        "@spent = global i64 0",
        "@calls = internal global i64 0",
        "declare i64 @llvm.ctpop.i64(i64)",
        "declare i64 @llvm.readcyclecounter()",
        "define i64 @ticks() {",
        f"  %now = {_counter()}",
        "  ret i64 %now",
        "}",
        "define internal i64 @begins() {",
        "  %before = atomicrmw add ptr @calls, i64 1 monotonic",
        "  %ones = call i64 @llvm.ctpop.i64(i64 %before)",
        "  %ask = icmp eq i64 %ones, 1",
        "  br i1 %ask, label %asking, label %beginning",
        "asking:",
        "  %notified = load atomic ptr, ptr @notify acquire, align 8",
        "  call void %notified()",
        "  br label %beginning",
        "beginning:",
        "  %now = call i64 @ticks()",
        "  ret i64 %now",
        "}",
        "define internal void @ends(i64 %began) {",
        "  %now = call i64 @ticks()",
        "  %took = sub i64 %now, %began",
        "  %before = atomicrmw add ptr @spent, i64 %took monotonic",
        "  ret void",
        "}",
    ]
    for k in range(count):
        lines += [
            f"@own.{k} = global ptr null",
            f"@code.{k} = global ptr @first.{k}",
            f"define void @enter.{k}({parameters}) {{",
            f"  %code = load atomic ptr, ptr @code.{k} acquire, align 8",
            f"  musttail call void %code({parameters})",
            "  ret void",
            "}",
            f"define internal void @first.{k}({parameters}) {{",
            "  %began = call i64 @begins()",
            f"  %own = load ptr, ptr @own.{k}, align 8",
            f"  call void %own({parameters})",
            "  call void @ends(i64 %began)",
            "  ret void",
            "}",
        ]
    return "\n".join([*lines, ""])


class Use:
    """How long a module's functions have run in their first code, in seconds of processor time, about.

    spent, ticks  the addresses of what they add up, in units of the processor's counter, and of what reads that
    code          what holds the module in memory

    The counter goes on while a thread waits for a processor, so it tells too much on a busy machine, but never more
    than all processor time of the process.
    """

    def __init__(self, spent: int, ticks: int, code: object) -> None:
        self._code = code
        self._spent = ctypes.c_uint64.from_address(spent)
        self._ticks = ctypes.CFUNCTYPE(ctypes.c_uint64)(ticks)
        self._began = self._now()

    def _now(self) -> tuple[int, float, float]:
        return self._ticks(), time.perf_counter(), time.process_time()

    def __call__(self) -> float:
        ticks, clock, processor = (now - began for now, began in zip(self._now(), self._began, strict=True))
        return min(processor, self._spent.value / ticks * clock) if ticks > 0 else processor


def worth_of(took: float, *, brief: bool) -> float:
    """The seconds of running for which better code pays, if it took so many to compile the first code."""
    return took * DEARER * (BRIEFER if brief else 1.0)


class TierUp:
    """Decides when to make a module's better code. `address` is the C function that the module calls at some of its
    calls.

    build  makes the better code and installs it
    worth  the seconds in use for which it pays
    use    how many these are
    """

    def __init__(self, build: Callable[[], None], worth: float, use: Callable[[], float]) -> None:
        self._build: Callable[[], None] | None = build
        self._worth, self._use = worth, use
        # Native code must not call Python: a signal would be handled there, and an exception from its handler lost.
        # This queue's `put` is C, and so is `partial`.
        self._callback = ctypes.CFUNCTYPE(None)(partial(_asking.put, weakref.ref(self)))
        self.address = ctypes.cast(self._callback, ctypes.c_void_p).value
        if setting() == "first":
            self._build = None
        watches.add(self)
        _listen()

    def asked(self) -> None:
        """The module was called again."""
        if self._build is not None and self._use() >= self._worth:
            self.pays()

    def pays(self) -> None:
        """Request the better code, unless it has been requested before."""
        build, self._build = self._build, None
        if build is not None:
            builder.submit(build)


class Builder:
    """A background thread that compiles one module after the other, and ends when there is nothing to do.

    The process must not end while it is inside LLVM, and so waits for it: for one module at most, which is not begun
    when the process ends (`ends`).
    """

    def __init__(self) -> None:
        self._waiting: deque[Callable[[], None]] = deque()
        self.lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ends = False

    def submit(self, build: Callable[[], None]) -> None:
        with self.lock:
            self._waiting.append(build)
            if self._thread is None and not self.ends():
                # A thread is a daemon if the one that makes it is, which the listener is: Python would not wait for it.
                self._thread = threading.Thread(target=self._work, name="macrograd-tier", daemon=False)
                self._thread.start()

    def ends(self) -> bool:
        """Whether the process ends, so that nothing more is worth making."""
        return self._ends or not threading.main_thread().is_alive()

    def end(self) -> None:
        """Wait for the module that is being made, also after Ctrl-C, and make no other."""
        with self.lock:
            self._ends = True
        surely(self.wait)

    def wait(self) -> None:
        """Wait until everything submitted is done."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        while True:
            with self.lock:
                if not self._waiting or self.ends():
                    self._thread = None
                    return
                build = self._waiting.popleft()
            try:
                build()
            except RuntimeError:  # if LLVM fails, the baseline code runs on, with the same results
                continue
            except BaseException:
                with self.lock:
                    self._thread = None  # the next module gets another
                raise


class Inside:
    """Which threads are inside LLVM, of which a user's may be daemons, for whom Python does not wait. The C library's
    exit handlers free what LLVM needs, so the process waits for them: for one module each at most."""

    def __init__(self) -> None:
        self._threads: set[int] = set()
        self._ender: int | None = None  # the thread that ends the process

    def __enter__(self) -> None:
        """Raises SystemExit, which ends a thread without a word, if another thread is ending the process."""
        me = threading.get_ident()
        self._threads.add(me)
        if self._ender not in (None, me):  # looked at last: either it sees this thread, or this one sees it
            self._threads.discard(me)
            raise SystemExit("the process is ending")

    def __exit__(self, *_: object) -> None:
        self._threads.discard(threading.get_ident())

    def end(self) -> None:
        """Let no other thread in, and wait until none is inside."""
        self._ender = threading.get_ident()
        surely(self._wait)

    def _wait(self) -> None:
        while self._threads - {self._ender}:
            time.sleep(_LOOK)


builder, inside = Builder(), Inside()
# Python has waited for the builder's thread before, unless Ctrl-C came then, or the listener has just made it.
atexit.register(inside.end)  # after the builder's: the last that is registered is called first
atexit.register(lambda: builder.end())
if hasattr(os, "register_at_fork"):  # a forked child lacks its parent's threads, and may find the lock held
    for _made in (builder, inside):
        os.register_at_fork(after_in_child=_made.__init__)  # type: ignore[misc]  # recreated in place

watches: weakref.WeakSet[TierUp] = weakref.WeakSet()
_asking: SimpleQueue[Callable[[], TierUp | None]] = SimpleQueue()
_listener: threading.Thread | None = None


def _listen() -> None:
    """Make sure that a thread is listening to requests from native code."""
    global _listener
    if _listener is None or not _listener.is_alive():  # none yet, or this is a forked child
        _listener = threading.Thread(target=_hear, name="macrograd-listener", daemon=True)
        _listener.start()


def _hear() -> None:
    while True:
        if (watch := _asking.get()()) is not None:
            with suppress(RuntimeError):  # no thread can be started during shutdown
                watch.asked()
            del watch


def wait() -> None:
    """Wait until everything requested is done."""
    if _listener is not None and _listener.is_alive():
        heard = threading.Event()
        _asking.put(heard.set)
        heard.wait()
    builder.wait()


def finish() -> None:
    """Make the better code of every module with two tiers, and wait for it."""
    for watch in list(watches):
        watch.pays()
    wait()


@cache
def _unlocked() -> Any:
    """llvmlite's library without its lock, which would block other threads that compile."""
    import llvmlite.binding as llvm  # only where code is made

    library = ctypes.CDLL(llvm.ffi.lib._name)
    library.LLVMPY_TargetMachineEmitToMemory.restype = ctypes.c_void_p
    library.LLVMPY_TargetMachineEmitToMemory.argtypes = (
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_int,
        ctypes.POINTER(ctypes.c_char_p),
    )
    library.LLVMPY_GetBufferStart.restype = ctypes.c_void_p
    library.LLVMPY_GetBufferStart.argtypes = (ctypes.c_void_p,)
    library.LLVMPY_GetBufferSize.restype = ctypes.c_size_t
    library.LLVMPY_GetBufferSize.argtypes = (ctypes.c_void_p,)
    library.LLVMPY_DisposeMemoryBuffer.argtypes = (ctypes.c_void_p,)
    return library


def emit(target: Any, module: Any) -> bytes:
    """`target.emit_object(module)`, for a target and a module that no other thread uses; others may compile meanwhile.

    Raises RuntimeError if LLVM fails.
    """
    library = _unlocked()
    error = ctypes.c_char_p()
    buffer = library.LLVMPY_TargetMachineEmitToMemory(target._ptr, module._ptr, 1, ctypes.byref(error))
    if not buffer:
        raise RuntimeError((error.value or b"no object code").decode())
    try:
        start = library.LLVMPY_GetBufferStart(buffer)
        return ctypes.string_at(start, library.LLVMPY_GetBufferSize(buffer))
    finally:
        library.LLVMPY_DisposeMemoryBuffer(buffer)
