"""Teams: threads that run a program's functions side by side, on the same numbers.

Every thread of a team calls the same function, with a context of its own in which only its rank differs. Members of an
instruction are shared out, by whole tiles, so that each number is computed as one thread would compute it; small
instructions are left to the first thread. The threads meet between two instructions that depend on each other.

A team is for one block of samples with much to compute. Many blocks are shared out whole (`threads`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from macrograd._workers import surely
from macrograd.compiler.jit.text import Code, Counter, Float
from macrograd.compiler.targets.llvm import threads
from macrograd.compiler.targets.llvm.context import FIELDS, Context, field

_SPINS = 2_000  # looks for the others before the processor is offered to another thread

# The first word counts the threads that have arrived, the second the meetings; they are on separate lines of the cache.
_LINE = 8
MEET = f"""
define internal void @meet(ptr %context) noinline {{
entry:
  %ranks.at = getelementptr i64, ptr %context, i64 {FIELDS["ranks"]}
  %ranks = load i64, ptr %ranks.at, align 8
  %arrived.at.at = getelementptr i64, ptr %context, i64 {FIELDS["meeting"]}
  %arrived.at = load ptr, ptr %arrived.at.at, align 8
  %yield.at = getelementptr i64, ptr %context, i64 {FIELDS["give_way"]}
  %yield = load ptr, ptr %yield.at, align 8
  %count.at = getelementptr i64, ptr %arrived.at, i64 {_LINE}
  %count = load atomic i64, ptr %count.at acquire, align 8
  %before = atomicrmw add ptr %arrived.at, i64 1 acq_rel
  %now = add i64 %before, 1
  %last = icmp eq i64 %now, %ranks
  br i1 %last, label %open, label %look
open:
  store atomic i64 0, ptr %arrived.at monotonic, align 8
  %next = add i64 %count, 1
  store atomic i64 %next, ptr %count.at release, align 8
  ret void
look:
  %spins = phi i64 [ 0, %entry ], [ %more, %again ], [ 0, %way ]
  %seen = load atomic i64, ptr %count.at acquire, align 8
  %same = icmp eq i64 %seen, %count
  br i1 %same, label %again, label %done
again:
  %more = add i64 %spins, 1
  %enough = icmp uge i64 %more, {_SPINS}
  br i1 %enough, label %give, label %look
give:
  %there = icmp ne ptr %yield, null
  br i1 %there, label %offer, label %way
offer:
  %ignored = call i32 %yield()
  br label %way
way:
  br label %look
done:
  ret void
}}
"""


class Team:
    """Writes what the threads of a team do together."""

    def __init__(self, code: Code) -> None:
        self.code = code

    def share(self, count: int) -> tuple[str, str]:
        """The first round and the number of rounds that this thread runs, out of `count`."""
        code = self.code
        rank, ranks = field(code, FIELDS["rank"], "i64"), field(code, FIELDS["ranks"], "i64")
        ends = []
        for number in (rank, code.let(f"add i64 {rank}, 1")):
            ends.append(code.let(f"udiv i64 {code.let(f'mul i64 {number}, {count}')}, {ranks}"))
        return ends[0], code.let(f"sub i64 {ends[1]}, {ends[0]}")

    def loop(self, count: int, body: Callable[[Counter, list[str]], list[str]]) -> None:
        """A loop whose rounds the threads share; they do not depend on each other."""
        start, number = self.share(count)
        self.code.loop(number, lambda i, _: body(self.code.linear(0, [(1, start), (1, i)]), []))

    def once(self, body: Callable[[], None]) -> None:
        """What only the first thread does."""
        self.code.when(self.code.let(f"icmp eq i64 {field(self.code, FIELDS['rank'], 'i64')}, 0"), body)

    def meet(self) -> None:
        """Wait until all threads are here: what each has written, all can read."""
        self.code.put("call void @meet(ptr %context)")


class Crew:
    """The threads of a team while a program runs: the calling one and helpers."""

    def __init__(self, kind: Float, size: int) -> None:
        self.size = size
        self._helpers = [threads.Helper(kind) for _ in range(size - 1)]
        self._meeting = (ctypes.c_int64 * (4 * _LINE))()
        self._share, self._serve = threads.ThreadShare(spins=1), threads.share_code(kind).functions["serve"]
        self._number = 0
        self._left: Callable[[], None] | None = None

    def contexts(self, first: Context) -> list[Context]:
        """The contexts of the other threads; the first one's becomes that of rank 0."""
        first.rank, first.ranks, first.give_way = 0, self.size, _give_way()
        first.meeting = (ctypes.addressof(self._meeting) + 63) // 64 * 64
        return [self.renewed(Context(), first, rank) for rank in range(1, self.size)]

    @staticmethod
    def renewed(other: Context, first: Context, rank: int) -> Context:
        """A thread's context as a copy of the first one's."""
        ctypes.memmove(ctypes.addressof(other), ctypes.addressof(first), ctypes.sizeof(Context))
        other.rank = rank
        return other

    def run(self, function: int, addresses: Sequence[int], mine: int) -> None:
        """Run a native function on these contexts, one for each helper, and here on the one at `mine`.

        The threads wait for each other in native code. So if Ctrl-C comes before all of them have begun, the others do,
        and this one: a run has a number, under which none does its part twice."""
        if self._left is not None:  # interrupted twice
            surely(self._left)
        self._number += 1
        self._left = go = partial(self._go, self._number, function, addresses, mine)
        try:
            go()
        except BaseException:
            surely(go)
            raise
        finally:
            self._left = None

    def _go(self, number: int, function: int, addresses: Sequence[int], mine: int) -> None:
        """Do what is still to be done of the run with this number."""
        for helper, address in zip(self._helpers, addresses, strict=True):
            if helper.share.ticket != number:
                helper.work(function, address, number)
        if self._share.ticket != number:
            self._share.function, self._share.task, self._share.ticket = function, mine, number
        self._serve(ctypes.addressof(self._share))  # nothing if this thread has done its part
        threads.wait_for(self._helpers)


@cache
def _give_way() -> int | None:
    """The address of the system's function that lets another thread have the processor."""
    try:
        library: Any = ctypes.CDLL(None)
        return ctypes.cast(library.sched_yield, ctypes.c_void_p).value
    except (OSError, TypeError, AttributeError):  # Windows
        return None
