"""Windows: slots that a loop writes again in every round."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd.compiler import pipeline, specialised
from macrograd.compiler.program.compact import compact, with_few_slots
from macrograd.compiler.program.program import Loop, Program, verify
from tests.compiler.meaning import meaning

ROUNDS = 80
rate = mg.Value(0.5)


def simple(x: Any) -> Any:
    return mg.loop(len(x), lambda i, h: mg.tanh(rate * h + mg.take(x, i)), 0.0)


def delayed(x: Any) -> Any:
    """A state that is read two rounds after it was made."""
    return mg.loop(len(x), lambda i, s: (mg.sin(0.9 * s[1] + mg.take(x, i) * s[0]), s[0]), (0.1, 0.2))


def vector(x: Any) -> Any:
    """A state of many numbers, each of which becomes part of two."""

    def step(i: Any, s: Any) -> Any:
        return [mg.tanh(0.3 * s[k] + 0.2 * s[(k + 1) % 12] + mg.take(x, i)) for k in range(12)]

    return mg.loop(len(x), step, [0.1 * k for k in range(12)])


def nested(x: Any) -> Any:
    def inner(i: Any, h: Any) -> Any:
        return mg.loop(20, lambda j, g: mg.tanh(rate * g + mg.take(x, i)), h)

    return mg.loop(len(x), inner, 0.0)


def collected(x: Any) -> Any:
    """One of two numbers of every round is a result."""

    def step(i: Any, h: Any) -> Any:
        h = mg.tanh(rate * h + mg.take(x, i))
        return h, mg.exp(h)

    return mg.loop(len(x), step, 0.0, collect=True)


def twice(x: Any) -> Any:
    """The second loop begins with what the first one leaves."""
    return mg.loop(len(x), lambda i, h: mg.sin(h + mg.take(x, i)), simple(x))


def filtered(x: Any) -> Any:
    """Sums of two values, one of them from the beginning of memory and one from its end."""

    def step(i: Any, s: Any) -> Any:
        spread = s[1] + x[0]
        gain = spread / (spread + rate)
        return s[0] + gain * (mg.take(x, i) - s[0]), (1.0 - gain) * spread

    return mg.loop(len(x), step, (0.0, 1.0))[0]


def slope(x: Any) -> Any:
    return mg.grad(simple)(x)


def programs(fn: Callable[..., Any], batch: bool) -> tuple[Program, Program]:
    program = pipeline.value_program(pipeline.record(fn, [(ROUNDS,)]), batch=batch)
    return program, verify(compact(program, 1))


@pytest.mark.parametrize(
    ("fn", "batch"),
    [
        (simple, True),
        (delayed, False),
        (vector, True),
        (nested, True),
        (collected, False),
        (twice, False),
        (filtered, False),
        (filtered, True),
        (slope, True),
    ],
)
def test_windows_do_not_change_what_is_computed(fn: Callable[..., Any], batch: bool) -> None:
    program, windowed = programs(fn, batch)
    assert meaning(windowed) == meaning(program)


@pytest.mark.parametrize("fn", [simple, delayed, filtered], ids=lambda fn: fn.__name__)
def test_memory_does_not_grow_with_the_rounds(fn: Callable[..., Any]) -> None:
    sizes = []
    for rounds in (10_000, 20_000):
        program = compact(pipeline.value_program(pipeline.record(fn, [(rounds,)]), batch=True))
        sizes.append(program.varying - rounds)
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize("fn", [simple, delayed, filtered], ids=lambda fn: fn.__name__)
def test_slots_that_no_operand_reaches_are_gone(fn: Callable[..., Any]) -> None:
    _, windowed = programs(fn, False)
    assert windowed.uniform - ROUNDS < 40


def test_an_exported_file_needs_no_memory_for_each_round(tmp_path: Path) -> None:
    sizes = []
    for rounds in (100, 200):
        mg.export(mg.compile(filtered), tmp_path / "f.c", [0.5] * rounds)
        state = re.search(r"double u\[(\d+)\]", (tmp_path / "f.c").read_text("utf-8"))
        assert state is not None
        sizes.append(int(state[1]) - rounds)
    assert sizes[0] == sizes[1] < 40


def test_a_derivative_keeps_what_it_reads() -> None:
    program, windowed = programs(slope, False)
    assert len(program.results) == ROUNDS
    assert windowed.uniform >= 2 * ROUNDS


def test_what_a_round_leaves_out_of_its_window_is_noticed() -> None:
    """The comparison of meanings fails if a window does not hand its values on."""
    _, windowed = programs(simple, False)
    steps = []
    for step in windowed.before:
        if isinstance(step, Loop):
            step = replace(step, body=step.body[:-1])
        steps.append(step)
    assert meaning(replace(windowed, before=tuple(steps))) != meaning(windowed)


@pytest.mark.parametrize("fn", [simple, collected], ids=lambda fn: fn.__name__)
def test_native_code_gives_the_same_bits(fn: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled with windows, against NumPy and the eager engine."""
    monkeypatch.setattr(specialised, "with_few_slots", partial(with_few_slots, least=1))
    x = np.random.default_rng(0).uniform(-1, 1, ROUNDS)
    native, arrays = (mg.compile(fn, backend=backend, strict=True)(x) for backend in ("llvm", "numpy"))
    for a, b in zip(leaves(native), leaves(arrays), strict=True):
        np.testing.assert_array_equal(a, b)
    if fn is simple:
        assert float(native) == float(fn(x.tolist()).data)


def leaves(x: Any) -> list[Any]:
    return [y for part in x for y in leaves(part)] if isinstance(x, (tuple, list)) else [x]


def test_scalars_of_a_loop_stay_in_registers() -> None:
    """No number of the loop is written to memory; the last one is, once, after it."""
    from macrograd.compiler.jit.text import DOUBLE
    from macrograd.compiler.targets.llvm.lower import lower
    from macrograd.compiler.targets.scalar.machine import Machine

    _, windowed = programs(simple, False)
    text, _ = lower(windowed, Machine(DOUBLE, 32, 4, single=True, strict=False), [ROUNDS], 0)
    before = text.split("@before")[1].split("ret void")[0]
    body = before[before.index("\nloop") : before.index("br i1")]
    assert "load double" in body
    assert "store" not in body
