"""One walker: what it does not know is an error in every target, and in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.explain.lines import Lines
from macrograd.compiler.explain.words import LeafNames
from macrograd.compiler.program.instruction import KINDS, Index, Instruction, Loop, ProgramError
from macrograd.compiler.program.program import Program, verify
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import Kinds, Walker, counted, executed, in_rows, loop_of, streams_of
from macrograd.compiler.targets.c.target import C
from macrograd.compiler.targets.llvm.target import Llvm
from macrograd.compiler.targets.numpy.target import Numpy
from macrograd.compiler.targets.target import Request

W = Value(2.0)


def program() -> Program:
    """One map, in a block."""
    return pipeline.value_program(pipeline.record(lambda x: mg.tanh(W * x), [()]), batch=True)


def altered(change: Callable[[Instruction], Any]) -> Program:
    base = program()
    last = base.block[-1]
    assert isinstance(last, Instruction)
    return replace(base, block=(*base.block[:-1], change(last)))


@dataclass(frozen=True)
class Branch:
    """A class of steps that no target has."""

    body: Instruction

    def __str__(self) -> str:
        return f"branch {self.body}"


def llvm(request: Request) -> Any:
    return Llvm().prepare(request).state(4)


def numpy(request: Request) -> Any:
    state = Numpy().prepare(request).state(4)
    state.load([np.ones(4)])
    return state.run()


def in_c(request: Request) -> Any:
    return C().write(request, "net")


def words(request: Request) -> Any:
    return Lines(LeafNames(["w"], [("x", ())]), True).tell(request.program, derived=False)


USES = {"llvm": llvm, "numpy": numpy, "c": in_c, "words": words}


@pytest.mark.parametrize("use", USES)
def test_a_new_kind_of_instruction_fails_in_every_target(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    request = Request(program(), (1,), 1, np.dtype(np.float64), samples=4)
    USES[use](request)
    unknown = replace(request, program=altered(lambda x: replace(x, kind="cumsum")))
    with pytest.raises(ProgramError, match="does not know instructions of kind 'cumsum'"):
        USES[use](unknown)
    with pytest.raises(ProgramError, match="'cumsum' is not a kind of instruction"):
        verify(unknown.program)


@pytest.mark.parametrize("use", USES)
def test_a_new_class_of_steps_fails_in_every_target(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    with pytest.raises(ProgramError, match="does not know steps of class Branch"):
        USES[use](Request(altered(Branch), (1,), 1, np.dtype(np.float64), samples=4))


@pytest.mark.parametrize("missing", KINDS)
def test_who_lacks_a_kind_cannot_be_made(missing: str) -> None:
    methods = {kind: lambda self, instruction: "found" for kind in KINDS if kind != missing}
    with pytest.raises(TypeError, match=missing):
        type("Target", (Kinds,), methods)()
    assert type("Target", (Kinds,), {**methods, missing: lambda self, x: "found"})() is not None


def test_who_lacks_a_class_of_steps_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="abstract method"):
        type("Target", (Walker,), {"instruction": None, "loop": None})()


def test_rows_rounds_and_streams() -> None:
    x = Instruction("map", 0, (), Index("u", 0, ()))
    y, stream = replace(x, code=1), Stream(np.array([0, 1, 0, 3], dtype=np.int32), 1, block=False)
    loop = Loop(2, (x, Loop(3, (y,))))
    assert list(in_rows((x, y, loop, stream, x))) == [((x, y), loop), ((), stream), ((x,), None)]
    assert list(counted(loop)) == [(x, (2,)), (y, (2, 3))]
    assert [rounds for _, rounds in executed(loop)] == [(0,), (0, 0), (0, 1), (0, 2), (1,), (1, 0), (1, 1), (1, 2)]
    assert streams_of((x, stream, loop)) == (stream,)
    assert list(counted(stream)) == []
    with pytest.raises(ProgramError, match="a stream is in a loop"):
        loop_of(2, (stream,))
