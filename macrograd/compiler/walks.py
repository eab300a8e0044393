"""Walks over a tape that go entry by entry, because what they find for one depends on what they found for others.

All else that passes do is array work. These two are loops of native code where LLVM is to be had and the tape is long
enough to be worth it, and loops of Python otherwise. They take the operands of entry i as operand[start[i]:start[i+1]].
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from macrograd.compiler.ir import Code, Counter

Ints = NDArray[np.int64]
_SHORT = 1_000  # entries, which Python walks while LLVM would compile the loop
_LEAST = -(1 << 62)


def longest(start: Ints, operand: Ints, own: Ints, step: Ints) -> Ints:
    """For each entry the larger of its own number and of the largest of its operands' results, plus its step."""
    found = np.empty(len(own), dtype=np.int64)
    if (walks := _native(len(own))) is not None:
        _call(walks["longest"], start, operand, own, step, found)
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
        _call(walks["reached"], start, operand, needed)
        return needed.astype(bool)
    mark = bytearray(needed)
    begin, used = start.tolist(), operand.tolist()
    for i in range(len(mark) - 1, -1, -1):
        if mark[i]:
            for k in used[begin[i] : begin[i + 1]]:
                mark[k] = 1
    return np.frombuffer(mark, dtype=np.uint8).astype(bool)


def _native(entries: int) -> dict[str, Any] | None:
    return _compiled() if entries >= _SHORT else None


@cache
def _compiled() -> dict[str, Any] | None:
    """The native walks by name; None without LLVM."""
    try:
        from macrograd.compiler.native import Native
    except ImportError:
        return None
    native = Native(b"walks", ("longest", "reached"), lambda: (_text(), np.zeros(1, dtype=np.int32)))
    return {name: (native, function) for name, function in native.functions.items()}


def _call(walk: Any, start: Ints, *arrays: NDArray[Any]) -> None:
    given = [np.ascontiguousarray(x) for x in (start, *arrays[:-1])]
    context = np.array([*(x.ctypes.data for x in given), arrays[-1].ctypes.data, len(start) - 1])
    walk[1](context.ctypes.data)


def _text() -> str:
    from macrograd.compiler.ir import DOUBLE, Code

    parts = []
    for name, body in (("longest", _longest), ("reached", _reached)):
        code = Code(DOUBLE)
        body(code)
        parts += [f"define void @{name}(ptr noalias %context) {{", "entry:", *code.lines, "  ret void", "}"]
    return "\n".join(parts)


def _fields(code: Code, pointers: int) -> list[str]:
    """What the context holds: pointers, and the number of entries."""
    kinds = ["ptr"] * pointers + ["i64"]
    return [code.let(f"load {kind}, ptr {code.element('%context', str(k), 'i64')}") for k, kind in enumerate(kinds)]


def _longest(code: Code) -> None:
    start, operand, own, step, found, count = _fields(code, 5)

    def entry(i: Counter, _: list[str]) -> list[str]:
        def used(k: str, most: list[str]) -> list[str]:
            return [_larger(code, _number(code, found, k), most[0])]

        (most,) = _over_operands(code, start, operand, str(i), used, [("i64", str(_LEAST))])
        deepest = code.let(f"add i64 {most}, {_number(code, step, str(i))}")
        result = _larger(code, deepest, _number(code, own, str(i)))
        code.put(f"store i64 {result}, ptr {code.element(found, str(i), 'i64')}")
        return []

    code.loop(count, entry)


def _reached(code: Code) -> None:
    start, operand, needed, count = _fields(code, 3)
    last = code.let(f"sub i64 {count}, 1")

    def entry(i: Counter, _: list[str]) -> list[str]:
        at = code.let(f"sub i64 {last}, {i}")
        mine = code.let(f"load i8, ptr {code.element(needed, at, 'i8')}")

        def used(k: str, _: list[str]) -> list[str]:
            place = code.element(needed, k, "i8")
            mark = code.let(f"or i8 {mine}, {code.let(f'load i8, ptr {place}')}")
            code.put(f"store i8 {mark}, ptr {place}")
            return []

        _over_operands(code, start, operand, at, used, [])
        return []

    code.loop(count, entry)


def _over_operands(code: Code, start: str, operand: str, entry: str, body: Any, carried: Any) -> list[str]:
    begin = _number(code, start, entry)
    end = _number(code, start, code.let(f"add i64 {entry}, 1"))
    mine = code.element(operand, begin, "i64")

    def one(k: Counter, values: list[str]) -> list[str]:
        found: list[str] = body(_number(code, mine, str(k)), values)
        return found

    return code.loop(code.let(f"sub i64 {end}, {begin}"), one, carried)


def _number(code: Code, array: str, at: str) -> str:
    return code.let(f"load i64, ptr {code.element(array, at, 'i64')}")


def _larger(code: Code, a: str, b: str) -> str:
    return code.let(f"select i1 {code.let(f'icmp sgt i64 {a}, {b}')}, i64 {a}, i64 {b}")
