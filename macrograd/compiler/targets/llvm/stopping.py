"""Ctrl-C in native code, which Python cannot interrupt: long loops look at the context's `stop` now and then.

A long loop is written as a loop over chunks of rounds, and each chunk has no rounds once `stop` is set. A call that may
take long runs on a thread of its own, while the main thread waits for it, which signals interrupt: it then sets `stop`,
waits until the code has returned, and raises what the signal's handler raised. Whatever the code has written until then
is dropped.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from macrograd.compiler.program.program import Instruction, Loop, Program, Step
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import Walker
from macrograd.compiler.targets.llvm.context import FIELDS, field_address

if TYPE_CHECKING:  # code that is kept runs without what writes code
    from macrograd.compiler.jit.text import Counter
    from macrograd.compiler.targets.llvm.code import Code

AT_ONCE = 1 << 22  # numbers computed between two looks at `stop`: some milliseconds
LONG = 1 << 29  # numbers computed by a run that is worth a thread: from some tens of milliseconds to half a second
_WAIT = 0.1  # seconds; where a wait for a lock cannot be interrupted, it takes that long to notice


class _Work(Walker[int]):
    """How many numbers are computed, for a sample."""

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> int:
        return instruction.members * max(1, instruction.terms)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> int:
        return loop.count * sum([self.step(step, around) for step in loop.body])

    def stream(self, stream: Stream, around: tuple[int, ...]) -> int:
        return len(stream.words)


def work(steps: Iterable[Step]) -> int:
    """How many numbers the steps compute, about, for a sample."""
    walker = _Work()
    return sum([walker.step(step) for step in steps])


def work_of(program: Program, samples: int) -> int:
    """How many numbers a run computes, about."""
    return work((*program.before, *program.after)) + samples * work(program.block)


def chunked(
    code: Code,
    lanes: int,
    loop: Loop,
    body: Callable[[Counter, list[str]], list[str]],
    carried: Sequence[tuple[str, str]],
) -> list[str]:
    """`code.loop` over the rounds of a loop of a program, which ends early if `stop` is set while it is long."""
    each = max(1, work(loop.body) * lanes)
    if each * loop.count < LONG:
        return code.loop(loop.count, body, carried)
    many = max(1, AT_ONCE // each)
    kinds = [kind for kind, _ in carried]

    def chunk(k: Counter, values: list[str]) -> list[str]:
        begin = code.let(f"mul i64 {k}, {many}", "i")
        left = code.let(f"sub i64 {loop.count}, {begin}", "i")
        few = code.less(left, many)
        rounds = code.let(f"select i1 {few}, i64 {left}, i64 {many}", "i")
        rounds = code.let(f"select i1 {stops(code)}, i64 0, i64 {rounds}", "i")

        def one(i: Counter, values: list[str]) -> list[str]:
            return body(code.let(f"add i64 {begin}, {i}", "i"), values)

        return code.loop(rounds, one, list(zip(kinds, values, strict=True)))

    return code.loop(-(-loop.count // many), chunk, carried)


def stops(code: Code) -> str:
    """Whether `stop` is set."""
    stop = code.let(f"load volatile i64, ptr {field_address(code, FIELDS['stop'])}, align 8", "i")
    return code.let(f"icmp ne i64 {stop}, 0", "b")


class Interruptible:
    """A function that runs native code, which `stop(1)` ends early, as one that signals interrupt. It is also ended if
    `asked`, now and then, says True, which raises nothing."""

    def __init__(
        self, run: Callable[[], object], stop: Callable[[int], None], asked: Callable[[], bool] = lambda: False
    ) -> None:
        self._run, self._stop, self._asked = run, stop, asked

    def __call__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            self._run()  # signals go to the main thread
            return
        turn = Turn(self._run)
        try:
            start_new_thread(turn.work, ())
            told = False
            while not turn.ended():
                if not told and self._asked():
                    told = True
                    self._stop(1)
            self._stop(0)
        except BaseException:
            self._stop(1)
            turn.give_up()
            self._stop(0)
            raise
        if turn.error is not None:
            raise turn.error


class Turn:
    """One run on a thread. An interrupt may come at any moment, before the thread has begun, too, and between any two
    instructions of who waits: Python's own events have a lock that it would leave taken, queues in C have none."""

    def __init__(self, run: Callable[[], object]) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._given_up = self._begun = False
        self._done, self._ends = False, SimpleQueue[None]()
        self.error: BaseException | None = None

    def work(self) -> None:
        with self._lock:
            if self._given_up:
                return
            self._begun = True
        try:
            self._run()
        except BaseException as error:  # noqa: BLE001 - it is raised by the thread that waits
            self.error = error
        finally:
            self._done = True
            self._ends.put(None)

    def ended(self) -> bool:
        """Whether the code has returned, for which this waits a moment."""
        with suppress(Empty):
            if not self._done:
                self._ends.get(timeout=_WAIT)
        return self._done

    def give_up(self) -> None:
        """Wait until the thread runs no more, or will not begin; a second interrupt does not shorten that."""
        while True:
            try:
                with self._lock:
                    self._given_up = True
                if self._begun:
                    while not self.ended():
                        pass
                return
            except BaseException:  # noqa: BLE001 - the first one is raised in any case
                continue
