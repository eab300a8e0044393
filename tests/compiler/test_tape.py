"""The tape: its grammar, its verifier, and what small programs look like after every pass."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from random_programs import RandomProgram, programs

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Program
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape, TapeError
from macrograd.compiler.trace.trace import trace

GOLDEN = Path(__file__).parent / "golden"

NEURON = """
%0 = input 0
%1 = parameter 0
%2 = mul %1 %0
%3 = constant 0.5
%4 = add %2 %3
%5 = tanh %4
return %5
""".strip()


def test_a_tape_prints_as_it_parses() -> None:
    tape = tapes.verify(tapes.parse(NEURON))
    assert str(tape) == NEURON
    assert len(tape) == 6
    assert tape.operands(2).tolist() == [1, 0]
    assert tape.arity.tolist() == [0, 0, 2, 0, 2, 1]
    assert tape.owner.tolist() == [2, 2, 4, 4, 5]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "-0.0", "5e-324", "0.1"])
def test_constants_keep_their_bits(number: str) -> None:
    text = f"%0 = constant {number}\nreturn %0"
    assert str(tapes.parse(text)) == text


@settings(max_examples=50)
@given(programs())
def test_traces_print_and_parse(program: RandomProgram) -> None:
    tape = trace(program, [(program.inputs,), ()]).tape
    again = tapes.parse(str(tapes.verify(tape)))
    for field in ("code", "start", "operand", "leaf", "results"):
        np.testing.assert_array_equal(getattr(again, field), getattr(tape, field))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%0 = input 0", "a tape ends with a line: return %id …"),
        (
            "%1 = input 0\nreturn %1",
            "line 1 does not fit the tape's grammar: '%1 = input 0' (entries are numbered from 0",
        ),
        ("%0 = input 0\n%1 = cotan %0\nreturn %1", "line 2 does not fit the tape's grammar: '%1 = cotan %0' ('cotan')"),
        ("%0 = input 0\n%1 = exp 0\nreturn %1", "'0' is not an operand like %3"),
        ("%0 = input\nreturn %0", "line 1 does not fit the tape's grammar"),
    ],
)
def test_what_does_not_parse(text: str, said: str) -> None:
    with pytest.raises(TapeError) as error:
        tapes.parse(text)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("%0 = input 0\n%1 = exp %1\nreturn %1", "entry %1 uses %1, which does not come before it"),
        ("%0 = input 0\n%1 = exp %2\n%2 = exp %0\nreturn %1", "entry %1 uses %2, which does not come before it"),
        ("%0 = input 0\n%1 = exp %0 %0\nreturn %1", "entry %1 = exp has 2 operands"),
        ("%0 = input 0\n%1 = dot %0 %0 %0\nreturn %1", "entry %1 = dot has 3 operands"),
        ("%0 = input 0\n%1 = sum\nreturn %1", "entry %1 = sum has 0 operands"),
        ("%0 = input 0\nreturn %3", "a result is outside the tape's 1 entries: [3]"),
    ],
)
def test_what_the_verifier_refuses(text: str, said: str) -> None:
    with pytest.raises(TapeError) as error:
        tapes.verify(tapes.parse(text))
    assert said in str(error.value)


def test_the_verifier_refuses_arrays_that_do_not_fit() -> None:
    tape = tapes.parse(NEURON)
    with pytest.raises(TapeError, match="the arrays do not match: 6 entries, 5 operands"):
        tapes.verify(tapes.make(tape.code, tape.start[:-1], tape.operand, tape.leaf, tape.results))
    with pytest.raises(TapeError, match="code 99 is not an operation"):
        tapes.verify(tapes.make(np.where(tape.code >= 0, 99, tape.code), tape.start, tape.operand, tape.leaf, [5]))
    with pytest.raises(TapeError, match="entry 1 has a negative number of operands"):
        tapes.verify(tapes.make([-2, -2, 0], [0, 2, 0, 2], [0, 0], [0, 0, 0], [2]))


# --- golden prints ------------------------------------------------------------------------------------------


def neuron() -> Callable[..., Any]:
    w, b = [Value(0.5), Value(-1.0)], Value(0.25)
    return lambda x: mg.tanh(sum((a * c for a, c in zip(w, x, strict=True)), b))


def layers() -> Callable[..., Any]:
    hidden, out = [[Value(0.1 * k), Value(0.2)] for k in range(3)], [Value(1.0) for _ in range(3)]
    return lambda x, y: (mg.dot(out, [mg.relu(mg.dot(row, x)) for row in hidden]) - y) ** 2


def table() -> Callable[..., Any]:
    rows = [Value(float(k)) for k in range(4)]
    return lambda index: mg.take(rows, index) ** 3


PROGRAMS: dict[Callable[[], Callable[..., Any]], list[tuple[int, ...]]] = {
    neuron: [(2,)],
    layers: [(2,), ()],
    table: [()],
}


def stages(fn: Callable[..., Any], shapes: list[tuple[int, ...]]) -> list[tuple[str, Tape | Program]]:
    seen: list[tuple[str, Tape | Program]] = []
    checks = pipeline.observer

    def observe(stage: str, what: Tape | Program) -> None:
        if checks is not None:
            checks(stage, what)
        seen.append((stage, what))

    pipeline.observer = observe
    try:
        pipeline.gradient_program(pipeline.record(fn, shapes), batch=True)
    finally:
        pipeline.observer = checks
    return seen


@pytest.mark.parametrize("make", PROGRAMS, ids=lambda f: f.__name__)
def test_golden_prints(make: Callable[[], Callable[..., Any]]) -> None:
    """Every stage of small programs, as text. MACROGRAD_GOLDEN=write rewrites them: read them before a commit."""
    seen = stages(make(), PROGRAMS[make])
    text = "\n\n".join(f"--- {stage}\n{what}" for stage, what in seen) + "\n"
    path = GOLDEN / f"{make.__name__}.txt"
    if os.environ.get("MACROGRAD_GOLDEN") == "write":
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
    printed = dict(part.split("\n", 1) for part in text.strip().split("\n\n"))
    for stage, what in seen:
        if isinstance(what, Tape):
            assert str(tapes.parse(str(what))) == str(what)
        assert f"--- {stage}" in printed


def test_debug_prints_every_stage(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MACROGRAD_DEBUG", "passes")
    w = Value(2.0, "w")
    mg.compile(lambda x: x * w, batch=True).backward([1.0])
    printed = capsys.readouterr().err
    found = [line for line in printed.splitlines() if line.startswith("--- ")]
    assert found[0] == "--- trace"
    assert {"--- trace", "--- simplify", "--- differentiate", "--- roll"} <= set(found)
    assert "%2 = mul %0 %1" in printed
    assert "u[" in printed


def test_a_long_chain_needs_no_recursion() -> None:
    def fn(x: Any) -> Any:
        for _ in range(20_000):
            x = x * 0.999 + 0.001
        return x

    source = pipeline.record(fn, [()])
    assert source.recorded == 40_000
    program = pipeline.gradient_program(pipeline.record(lambda x: fn(x) * Value(1.0), [()]), batch=False)
    assert len(program.instructions()) < 100


def test_long_columns_are_looked_up_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes, "AT_ONCE", 10)
    column = np.random.default_rng(0).normal(size=40)
    for count in (0, 9, 10, 11, 35):
        index = np.random.default_rng(count).integers(-1, 40, count).astype(np.int32)
        assert (tapes.at(column, index) == column[index]).all()


def test_once_lists_numbers_in_order_of_their_first_places() -> None:
    x = np.random.default_rng(0).integers(0, 20, 50)
    assert tapes.once(x, 20).tolist() == list(dict.fromkeys(x.tolist()))
    assert tapes.once(x[:0], 20).tolist() == []


@settings(max_examples=20)
@given(programs())
def test_operations_are_the_codes_that_occur(program: RandomProgram) -> None:
    found = trace(program, [(program.inputs,), ()]).tape
    assert tapes.operations(found) == set(found.code.tolist())


def test_a_tape_that_32_bits_cannot_number_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tapes, "MOST", 150)
    x = Value(1.0)
    with pytest.raises(OverflowError, match=r"the recorded program has 202 scalars .* may have 150: write its loops"):
        mg.compile(lambda: chain(x, 100))()
    assert mg.compile(lambda: chain(x, 20))() > 1.0


def chain(x: Value, count: int) -> Any:
    for _ in range(count):
        x = mg.sqrt(x + 1.0)
    return x
