"""LLVM text: exact literals, folded integers, and loops that carry values, run as native code."""

from __future__ import annotations

import ctypes
import math
import struct
from collections.abc import Callable

import numpy as np
import pytest

from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import DOUBLE, SINGLE, Code, Counter, Float, number


def run(kind: Float, write: Callable[[Code], None], numbers: list[float]) -> list[float]:
    """The memory after a function on it."""
    code = Code(kind)
    write(code)
    text = "\n".join(
        [*sorted(code.declared), "define void @f(ptr %context) {", "entry:", *code.lines, "  ret void", "}"]
    )
    made = native.Native(text.encode(), ("f",), lambda: (text, np.zeros(1, dtype=np.int32)))
    memory = np.array(numbers, dtype=np.float64 if kind is DOUBLE else np.float32)
    made.functions["f"](memory.ctypes.data_as(ctypes.c_void_p))
    found: list[float] = memory.tolist()
    return found


@pytest.mark.parametrize("value", [0.1, -0.0, 5e-324, math.inf, -math.inf, 1e308])
def test_literals_are_exact(value: float) -> None:
    assert struct.unpack(">d", bytes.fromhex(number(DOUBLE, value)[2:]))[0].hex() == value.hex()
    single = struct.unpack(">d", bytes.fromhex(number(SINGLE, value)[2:]))[0]
    assert single.hex() == float(ctypes.c_float(value).value).hex()


def test_integers_are_folded_as_far_as_they_are_known() -> None:
    code = Code(DOUBLE)
    assert code.linear(3, [(4, 5), (0, "%i"), (-1, 2)]) == "21"
    assert code.linear(0, [(1, "%i")]) == "%i"
    assert code.lines == []
    code.linear(0, [(2, "%i"), (1, "%j")])
    assert len(code.lines) == 2


@pytest.mark.parametrize(("count", "known"), [(0, False), (1, False), (5, False), (1, True), (5, True)])
def test_loops_carry_values(count: int, known: bool) -> None:
    """The sum of the numbers, and how many of them are above 2, whether the count is known or read."""

    def write(code: Code) -> None:
        some: int | str = count
        if not known:
            some = code.integer(code.load(code.element("%context", "7"), 1))

        def body(i: Counter, carried: list[str]) -> list[str]:
            total, above = carried
            x = code.load(code.element("%context", str(i)), 1)
            more = code.binary("fadd", above, code.splat(1.0, 1), 1)
            test = code.compare("ogt", x, code.splat(2.0, 1), 1)
            return [code.binary("fadd", total, x, 1), code.select(test, more, above, 1)]

        zero = code.splat(0.0, 1)
        total, above = code.loop(some, body, [("double", zero), ("double", zero)])
        code.store(total, code.element("%context", "5"), 1)
        code.store(above, code.element("%context", "6"), 1)

    numbers = [1.0, 2.5, 8.0, -4.0, 16.0]
    found = run(DOUBLE, write, [*numbers, -1.0, -1.0, float(count)])
    assert found[5:7] == [sum(numbers[:count]), sum(x > 2.0 for x in numbers[:count])]


@pytest.mark.parametrize("kind", [DOUBLE, SINGLE], ids=lambda kind: kind.name)
def test_masks_keep_what_lies_behind(kind: Float) -> None:
    def write(code: Code) -> None:
        three = code.integer(code.load(code.element("%context", "4"), 1))
        first = code.load_where(code.first_lanes(three, 4), "%context", 4)
        code.masked_store(code.binary("fadd", first, first, 4), code.element("%context", "5"), 4, 2)
        code.store_where(code.first_lanes(three, 4, start=2), first, code.element("%context", "9"), 4)

    found = run(kind, write, [1.0, 2.0, 4.0, 8.0, 3.0, *[-1.0] * 8])
    assert found[5:9] == [2.0, 4.0, -1.0, -1.0]
    assert found[9:] == [1.0, -1.0, -1.0, -1.0]


def test_conditions_and_elements() -> None:
    def write(code: Code) -> None:
        for k, threshold in enumerate((0.0, 2.0)):
            test = code.compare("olt", code.load("%context", 1), code.splat(threshold, 1), 1)
            code.when(test, lambda k=k: code.store(code.splat(7.0, 1), code.element("%context", str(1 + k)), 1))
        row = code.gathered([code.splat(x, 1) for x in (3.0, 4.0)], 4)  # the last one fills the rest
        turned = code.shuffle(row, row, [3, 0, 1, 4], 4)
        code.store(turned, code.element("%context", "3"), 4)
        code.store(code.extract(row, 1, 4), code.element("%context", "7"), 1)

    assert run(DOUBLE, write, [1.0, *[-1.0] * 7])[1:] == [-1.0, 7.0, 4.0, 3.0, 4.0, 3.0, 4.0]
