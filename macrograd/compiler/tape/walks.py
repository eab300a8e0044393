"""Walks that go entry by entry, because the result for one entry depends on the results for others.

Everything else in the passes is array operations. These are loops in native code if LLVM is available and the tape is
long enough to be worth it, and Python loops otherwise. The operands of entry i are operand[start[i]:start[i+1]];
entries and places are numbered with 32 bits, so that there is half as much to read. One of them, `picked`, could be
array operations, and is without LLVM: with any number of operands per entry they take a dozen passes over arrays as
long as all operands, a quarter of the time of simplifying a long tape.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from macrograd.compiler.jit.native import ByWork, Native

Ints = NDArray[np.signedinteger[Any]]
SHORT = 1_000  # entries that are worth a call of native code, even if it must be made first
_FEW = 64  # entries that Python always walks in less time than such a call takes
MANY = 20_000  # entries of short tapes that Python can walk in the time that LLVM takes to compile the walks
MUCH = 4_000_000  # entries that code compiled quickly walks in the time that better code takes to compile
_MOSTLY = np.dtype(np.int32)
_AS_THEY_ARE = (np.dtype(np.uint8), np.dtype(np.int16), np.dtype(np.uint64))
_NAMES = ("longest", "reached", "first_equals", "in_rounds", "picked", "counted")


def longest(start: Ints, operand: Ints, own: Ints, step: Ints) -> Ints:
    """For each entry, the maximum of its number and its operands' results, plus its step."""
    found = np.empty(len(own), dtype=np.int32)
    if (walks := _native(len(own))) is not None:
        _call(walks.functions["longest"], start, operand, own, step, found)
        return found
    most = own.tolist()
    begin, used, steps = start.tolist(), operand.tolist(), step.tolist()
    for i in np.flatnonzero(np.diff(start)).tolist():
        deepest = max([most[k] for k in used[begin[i] : begin[i + 1]]]) + steps[i]
        if deepest > most[i]:
            most[i] = deepest
    found[:] = most
    return found


def reached(start: Ints, operand: Ints, roots: Ints) -> NDArray[np.bool_]:
    """Which entries the roots depend on, themselves included."""
    needed = np.zeros(len(start) - 1, dtype=np.uint8)
    needed[roots] = 1
    if (walks := _native(len(needed))) is not None:
        _call(walks.functions["reached"], start, operand, needed)
        return needed.astype(bool)
    mark = bytearray(needed)
    begin, used = start.tolist(), operand.tolist()
    for i in range(len(mark) - 1, -1, -1):
        if mark[i]:
            for k in used[begin[i] : begin[i + 1]]:
                mark[k] = 1
    return np.frombuffer(mark, dtype=np.uint8).astype(bool)


def first_equals(code: Ints, bits: Ints, start: Ints, operand: Ints) -> Ints:
    """For each entry, the first one with the same code, bits and operands, where each operand counts as the first one
    equal to it."""
    n = len(code)
    found = np.empty(n, dtype=np.int32)
    if (walks := _native(n)) is not None:
        table, mapped = np.full(1 << (2 * n).bit_length(), -1, np.int32), np.empty(len(operand), np.int32)
        kinds, leaves = np.ascontiguousarray(code, np.int16), np.ascontiguousarray(bits).view(np.uint64)
        _call(walks.functions["first_equals"], start, operand, kinds, mapped, table, found, leaves, len(table) - 1)
        return found
    twin = list(range(n))
    look = twin.__getitem__
    used, known = operand.tolist(), dict[tuple[int, ...], int]()
    columns = (x.tolist() for x in (code, bits, start[:-1], start[1:]))
    for i, (kind, leaf, begin, end) in enumerate(zip(*columns, strict=True)):
        twin[i] = known.setdefault((kind, leaf, *map(look, used[begin:end])), i)
    found[:] = twin
    return found


def in_rounds(start: Ints, operand: Ints, step: Ints, held: Ints, opens: Ints) -> Ints:
    """For each entry, the maximum of its operands' results, plus its step; if it is `held`, also more than any result
    at the time when the latest round was opened, by the latest entry that `opens` one."""
    found = np.zeros(len(step), dtype=np.int32)
    if (walks := _native(len(step))) is not None:
        _call(walks.functions["in_rounds"], start, operand, step, held, opens, found)
        return found
    most, floor, result = 0, 0, found.tolist()
    begin, used, computed = start.tolist(), operand.tolist(), np.flatnonzero(np.diff(start)).tolist()
    for i in computed:
        if opens[i]:
            floor = most + 1
        deepest = max([result[k] for k in used[begin[i] : begin[i + 1]]]) + int(step[i])
        result[i] = max(deepest, floor) if held[i] else deepest
        most = max(most, result[i])
    found[:] = result
    return found


def picked(begin: Ints, arity: Ints, operand: Ints, number: Ints) -> tuple[Ints, Ints]:
    """Start and operands of entries of `arity` operands each, which are operand[begin], operand[begin + 1] …, with
    number[k] in place of every operand k."""
    start = np.zeros(len(begin) + 1, dtype=np.int32)
    np.cumsum(arity, out=start[1:])
    if (walks := _native(len(begin))) is not None:
        del arity  # which nobody else may hold
        found = np.empty(int(start[-1]), dtype=np.int32)
        _call(walks.functions["picked"], start, begin, operand, number, found)
        return start, found
    at = np.arange(int(start[-1])) + np.repeat(begin - start[:-1], arity)
    return start, number[operand[at]]


def counted(numbers: Ints, most: int) -> Ints:
    """How often each of the numbers 0, 1, … below `most` occurs."""
    if (walks := _native(len(numbers))) is not None:
        found = np.zeros(most, dtype=np.int32)
        _call(walks.functions["counted"], numbers, found, len(numbers))
        return found
    return np.bincount(numbers, minlength=most)


walked = 0  # entries of short tapes, since the process began


def _native(entries: int) -> Native | None:
    """The native walks, if a tape is long, or many short ones have been walked before."""
    global walked
    if entries < SHORT:
        walked += entries
        if walked < MANY or entries < _FEW:
            return None
    code = compiled()
    return None if code is None else code.code(entries)


@cache
def compiled() -> ByWork | None:
    """The native walks, or None without LLVM."""
    try:
        from macrograd.compiler.jit.native import ByWork, Native
    except (ImportError, OSError):
        return None

    def written() -> tuple[str, NDArray[np.int32]]:
        from macrograd.compiler.tape.walks_text import text

        return text(), np.zeros(1, dtype=np.int32)

    def make(quick: bool) -> Native:
        return Native(b"walks", _NAMES, written, quick=quick)

    return ByWork(make, MUCH)


def _call(walk: Any, *given: Any) -> None:
    """Call a walk with arrays and numbers, the first of which is `start`. Arrays have 32 bits a number; those of codes
    16, of marks 8, of the bits of numbers 64."""
    from macrograd.compiler.jit.buffers import address_of  # only where there is native code

    held = [x if isinstance(x, int) else _as_walked(x) for x in given]
    words = np.array([x if isinstance(x, int) else address_of(x) for x in (*held, len(given[0]) - 1)])
    walk(address_of(words))  # keeps the arrays alive during the call, when other threads run


def _as_walked(x: NDArray[Any]) -> NDArray[Any]:
    """The array as native code reads it; it is the same array if it is one already, as those for results are."""
    if x.dtype == _MOSTLY and x.flags.c_contiguous:
        return x
    return np.ascontiguousarray(x, None if x.dtype in _AS_THEY_ARE else _MOSTLY)
