"""Programs on disk: what is read is what was written, and is read only where nothing else has changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from random_programs import RandomProgram, Recurrence, programs, recurrences

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.program import cache as program_cache
from macrograd.compiler.program.program import Program, verify


def same(program: Program) -> None:
    found = program_cache.unpacked(program_cache.packed(program))
    assert str(verify(found)) == str(program)
    assert found.fingerprint() == program.fingerprint()
    assert found.scalars == program.scalars


@settings(max_examples=40)
@given(programs())
def test_random_programs_are_read_as_written(program: RandomProgram) -> None:
    source = pipeline.record(program.loss, [(program.inputs,), ()])
    same(pipeline.gradient_program(source, batch=True))
    same(pipeline.value_program(source, batch=False))


@settings(max_examples=20)
@given(recurrences(["add", "mul", "tanh", "sum"]))
def test_loops_are_read_as_written(recurrence: Recurrence) -> None:
    source = pipeline.record(recurrence.loss, [(recurrence.inputs,), ()])
    same(pipeline.gradient_program(source, batch=True))


def test_streams_are_read_as_written() -> None:
    rng = np.random.default_rng(0)
    start = [Value(float(x)) for x in rng.uniform(-1, 1, 20)]

    def irregular() -> Value:
        nodes = list(start)
        for i, j, op in rng.integers(0, 20, (2000, 3)).tolist():
            a, b = nodes[-1 - i], nodes[-1 - j]
            nodes.append(mg.tanh(a) if op < 7 else a * b if op < 14 else a - b)
        return mg.sum(nodes[-30:])

    program = pipeline.gradient_program(pipeline.record(irregular, []), batch=False)
    assert "stream" in str(program)
    same(program)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(pipeline, "observer", None)  # who looks at the passes sees them work
    return tmp_path


W = Value(2.0)


def gradient(scale: float = 1.0, strict: bool = False, batch: bool = True) -> float:
    W.grad = 0.0
    f = mg.compile(lambda x: mg.tanh(x * W) * scale + x, batch=batch, strict=strict)
    f.backward([0.5, 0.25] if batch else 0.5)
    return float(W.grad)


def test_the_passes_run_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = gradient()
    monkeypatch.setattr(pipeline, "differentiate", lambda *_, **__: pytest.fail("it is on disk"))
    assert gradient() == expected


def test_another_function_and_another_way_are_programs_of_their_own(folder: Path) -> None:
    first = gradient()
    assert gradient(scale=3.0) == pytest.approx(3 * first)
    count = len(list(folder.glob("*-program.o")))
    gradient(strict=True)
    gradient(batch=False)
    assert len(list(folder.glob("*-program.o"))) == count + 2


def test_a_damaged_program_is_made_anew(folder: Path) -> None:
    expected = gradient()
    for path in folder.glob("*-program.o"):
        path.write_bytes(path.read_bytes()[:-3])
    assert gradient() == expected
    assert len(list(folder.glob("*-program.o"))) == 1


def test_who_looks_at_the_passes_sees_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gradient()
    seen: list[str] = []
    monkeypatch.setattr(pipeline, "observer", lambda stage, _: seen.append(stage))
    gradient()
    assert {"trace", "differentiate", "roll"} <= set(seen)
