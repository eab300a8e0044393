"""Threads that share the chunks of a large batch.

A Python thread takes tens of microseconds to wake up, as long as a thousand samples of a small net. The helpers
therefore stay in native code, without Python's global lock, and look for the next task for a short while after each one
before they go to sleep.

Every chunk adds up its own sums over the batch, in its row of `sums`; who does which chunk does not matter.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from typing import Any

import numpy as np

from macrograd._workers import surely
from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import Code, Counter, Float
from macrograd.compiler.targets.llvm.context import FIELDS, field

_WIDTH = 8  # numbers copied at a time
_SPINS = 200_000  # looks for a new task before sleeping: about a tenth of a millisecond


class ThreadShare(ctypes.Structure):
    """One thread's part of a batch: the chunks first … last - 1. Sums over the batch are in the slots `reduced`, or,
    if that is null, in `count` slots from `begin` on."""

    _fields_ = (
        ("context", ctypes.c_void_p),
        ("blocks", ctypes.c_void_p),
        ("whole", ctypes.c_void_p),
        ("own", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("reduced", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("sums", ctypes.c_void_p),
        ("first", ctypes.c_int64),
        ("last", ctypes.c_int64),
        ("chunk", ctypes.c_int64),
        ("total", ctypes.c_int64),
        ("ticket", ctypes.c_int64),
        ("done", ctypes.c_int64),
        ("spins", ctypes.c_int64),
        ("begin", ctypes.c_int64),
        ("function", ctypes.c_void_p),  # the task: what to run, and on which context
        ("task", ctypes.c_void_p),
    )


_SHARE = {name: k for k, (name, *_) in enumerate(ThreadShare._fields_)}


@native.Shared
def share_code(kind: Float) -> native.Native:
    """@share does a share; @serve does shares as their tickets come; @wait waits until one is done."""
    functions = []
    for name, body in (("share", _share), ("serve", _serve), ("wait", _wait)):
        code = Code(kind)
        body(code)
        functions.append("\n".join([f"define void @{name}(ptr %context) {{", "entry:", *code.lines, "}"]))
    text = "\n".join(functions)
    key = f"thread pool {kind.name}".encode()
    # Almost all of its time is that of the code that it calls.
    return native.Native(key, ("share", "serve", "wait"), lambda: (text, np.zeros(1, dtype=np.int32)), quick=True)


def _share(code: Code) -> None:
    at = {name: field(code, _SHARE[name], "ptr") for name in ("context", "blocks", "whole", "own", "reduced", "sums")}
    names = ("size", "count", "first", "last", "chunk", "total", "begin")
    number = {name: field(code, _SHARE[name], "i64") for name in names}
    sums = code.element(at["own"], number["begin"])

    def copy(i: str, width: int) -> None:
        code.store(code.load(code.element(at["whole"], i), width), code.element(at["own"], i), width)

    def put(name: str, value: str) -> None:
        code.put(f"store i64 {value}, ptr {code.element(at['context'], str(FIELDS[name]), 'i64')}, align 8")

    def slot(i: Counter) -> str:
        index = code.let(f"load i64, ptr {code.element(at['reduced'], str(i), 'i64')}, align 8")
        return code.element(at["own"], index)

    def scattered(each: Callable[[str, str, int], None]) -> None:
        """each(index, address of the sum, 1)"""

        def one(i: Counter, _: list[str]) -> list[str]:
            each(str(i), slot(i), 1)
            return []

        code.loop(number["count"], one)

    def side_by_side(each: Callable[[str, str, int], None]) -> None:
        _all(code, number["count"], lambda i, width: each(i, code.element(sums, i), width))

    def chunk(c: Counter, _: list[str], over: Callable[[Callable[[str, str, int], None]], None]) -> list[str]:
        k = code.let(f"add i64 {number['first']}, {c}")
        over(lambda _, address, width: code.store(code.splat(0.0, width), address, width))
        first = code.let(f"mul i64 {k}, {number['chunk']}")
        last = code.let(f"add i64 {first}, {number['chunk']}")
        last = code.let(
            f"select i1 {code.let(f'icmp slt i64 {last}, ' + number['total'])}, i64 {last}, i64 {number['total']}"
        )
        put("first", first)
        put("last", last)
        code.put(f"call void {at['blocks']}(ptr {at['context']})")
        row = code.element(at["sums"], code.let(f"mul i64 {k}, {number['count']}"))
        over(lambda i, address, width: code.store(code.load(address, width), code.element(row, i), width))
        return []

    _all(code, number["size"], copy)
    chunks = code.let(f"sub i64 {number['last']}, {number['first']}")
    code.put(f"br i1 {code.let('icmp eq ptr ' + at['reduced'] + ', null')}, label %near, label %far")
    for label, over in (("near", side_by_side), ("far", scattered)):
        code.label(label)
        code.loop(chunks, partial(chunk, over=over))
        code.put("ret void")


def _all(code: Code, count: str, body: Callable[[str, int], None]) -> None:
    """body(index, width) for `count` numbers side by side, some at a time."""
    wide = code.let(f"udiv i64 {count}, {_WIDTH}")
    done = code.let(f"mul i64 {wide}, {_WIDTH}")

    def some(i: Counter, _: list[str]) -> list[str]:
        body(code.linear(0, [(_WIDTH, i)]), _WIDTH)
        return []

    def one(i: Counter, _: list[str]) -> list[str]:
        body(code.let(f"add i64 {done}, {i}"), 1)
        return []

    code.loop(wide, some)
    code.loop(code.let(f"sub i64 {count}, {done}"), one)


def _atomic(code: Code, name: str) -> str:
    address = code.element("%context", str(_SHARE[name]), "i64")
    return code.let(f"load atomic i64, ptr {address} acquire, align 8")


def _serve(code: Code) -> None:
    spins = field(code, _SHARE["spins"], "i64")
    code.put("br label %look")
    code.label("look")
    left = code.let(f"phi i64 [ {spins}, %entry ], [ %less, %idle ], [ {spins}, %work ]")
    ticket, done = _atomic(code, "ticket"), _atomic(code, "done")
    code.put(f"br i1 {code.let(f'icmp ne i64 {ticket}, {done}')}, label %work, label %idle")
    code.label("work")
    function, task = (field(code, _SHARE[name], "ptr") for name in ("function", "task"))
    code.put(f"call void {function}(ptr {task})")
    address = code.element("%context", str(_SHARE["done"]), "i64")
    code.put(f"store atomic i64 {ticket}, ptr {address} release, align 8")
    code.put("br label %look")
    _idle(code, left)


def _idle(code: Code, left: str) -> None:
    """The end of both loops: look again while spins are left."""
    code.label("idle")
    code.put(f"%less = sub i64 {left}, 1")
    code.put(f"br i1 {code.let('icmp sgt i64 %less, 0')}, label %look, label %end")
    code.label("end")
    code.put("ret void")


def _wait(code: Code) -> None:
    spins = field(code, _SHARE["spins"], "i64")
    code.put("br label %look")
    code.label("look")
    left = code.let(f"phi i64 [ {spins}, %entry ], [ %less, %idle ]")
    ticket, done = _atomic(code, "ticket"), _atomic(code, "done")
    code.put(f"br i1 {code.let(f'icmp ne i64 {ticket}, {done}')}, label %idle, label %end")
    _idle(code, left)


class Helper:
    """One thread and its share of the work."""

    def __init__(self, kind: Float) -> None:
        self.code = share_code(kind)
        self.share = ThreadShare(spins=_SPINS)
        self.address = ctypes.addressof(self.share)
        self._begin()

    def _begin(self) -> None:
        # Ctrl-C would leave the lock of an event taken, if it came while this one is set.
        self._wake = SimpleQueue[None]()
        self._thread = threading.Thread(
            target=_live, args=(weakref.ref(self), self.code, self.share, self._wake), daemon=True, name="macrograd"
        )
        self._thread.start()

    def start(self) -> None:
        """Start on the current share."""
        self.work(ctypes.cast(self.code.functions["share"], ctypes.c_void_p).value, self.address)

    def work(self, function: int | None, task: int, ticket: int | None = None) -> None:
        """Start a native function on a context; the task has a number, a `ticket`, which is the next one unless it is
        given."""
        if not self._thread.is_alive():  # in a forked process, which has only the thread that forked
            self._begin()
        self.share.function, self.share.task = function, task
        self.share.ticket = self.share.ticket + 1 if ticket is None else ticket
        self._wake.put(None)

    def wait(self) -> None:
        """Wait until the latest task is done."""
        share, woken = self.share, False
        while share.done != share.ticket:
            self.code.functions["wait"](self.address)
            if not woken:  # Ctrl-C may have come before it was
                self._wake.put(None)
                woken = True

    def __del__(self) -> None:
        with suppress(AttributeError):  # interrupted before there was a thread
            self._wake.put(None)


def together(helpers: Sequence[Helper], run: Callable[[], object]) -> None:
    """Run what starts these helpers, and wait until all are done, also when Ctrl-C comes between any two instructions:
    until then they write to memory that the caller would free."""
    try:
        run()
        wait_for(helpers)
    except BaseException:
        surely(partial(wait_for, helpers))
        raise


def wait_for(helpers: Iterable[Helper]) -> None:
    """Wait until all are done."""
    for helper in helpers:
        helper.wait()


def _live(me: weakref.ref[Helper], code: native.Native, share: ThreadShare, wake: SimpleQueue[None]) -> None:
    """The thread's loop: serve, sleep, and end when its helper is gone."""
    serve, address = code.functions["serve"], ctypes.addressof(share)
    while True:
        wake.get()
        while not wake.empty():  # of tasks that were served while it was awake
            wake.get()
        if me() is None:
            return
        serve(address)


def new_share(kind: Float) -> tuple[ThreadShare, Any]:
    """A share for the calling thread itself, and the function that runs it."""
    return ThreadShare(spins=_SPINS), share_code(kind).functions["share"]
