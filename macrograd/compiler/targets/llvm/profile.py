"""Profiles a compiled program: the time of every step alone, on the data of one call.

Each step of the program, or group of instructions that run together (`fuse`), is compiled as a separate function and
timed many times on the buffers that a whole run has filled. Values that pass between steps in registers pass through
memory here, so the sum is an upper bound of the whole. Arithmetic is counted in floating-point operations (a
multiply-add is two), against the rate that independent multiply-adds reach on this machine, measured once.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Protocol

import numpy as np

from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import Code, Counter, Float
from macrograd.compiler.program.program import Instruction, Loop, Program, Step
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.program.walk import Kinds, Walker
from macrograd.compiler.targets.llvm import frame
from macrograd.compiler.targets.llvm.code import code_for
from macrograd.compiler.targets.llvm.context import FIELDS, Context
from macrograd.compiler.targets.profile import Profile, Row
from macrograd.compiler.targets.scalar.access import Tables
from macrograd.compiler.targets.scalar.emit import Emitter
from macrograd.compiler.targets.scalar.fuse import Fusion, grouped, readers
from macrograd.compiler.targets.scalar.machine import Machine

SECONDS = 0.005  # to spend on each step
_CHAINS = 12  # independent multiply-adds in flight, enough to hide their latency


class _Buffers(Protocol):
    """The part of a call's state that is needed here."""

    context: Context
    native: native.Native
    run: Callable[[], object]
    samples: int
    lanes: int
    blocks: int
    address: int


def profile(program: Program, machine: Machine, state: _Buffers) -> Profile:
    """Time every step of a program on a state whose arguments and parameters are set."""
    state.run()
    blocks = state.blocks
    state.context.first, state.context.last, state.context.valid = 0, 1, min(state.lanes, state.samples)
    pieces = _pieces(program, machine)
    phases = [(name, piece, blocks if name == "block" else 1) for name, piece in pieces]
    code = _steps(program, machine, pieces)
    state.context.tables = code.tables.ctypes.data
    empty = _time(partial(code.functions["nothing"], state.address))
    seconds = []
    for k, (_, _, times) in enumerate(phases):
        seconds.append(times * max(0.0, _time(partial(code.functions[f"step{k}"], state.address)) - empty))
    state.context.tables = state.native.tables.ctypes.data
    total = sum(seconds) or 1.0
    rows = [
        Row(_text(step), name, spent, spent / total, times * _operations(step, name, machine))
        for (name, step, times), spent in zip(phases, seconds, strict=True)
    ]
    return Profile(rows, _time(state.run), peak(machine.kind))


def _pieces(program: Program, machine: Machine) -> list[tuple[str, Step | Fusion]]:
    """The pieces that are timed separately, each with its phase."""
    block = grouped(program.block, readers(program), machine)
    phases = (("before", program.before), ("block", block), ("after", program.after))
    return [(name, piece) for name, pieces in phases for piece in pieces]


def _text(step: Step | Fusion) -> str:
    lines = str(step).splitlines()
    return lines[0] if len(lines) == 1 else f"{lines[0]} {len(lines) - 1} instructions"


def _time(run: Callable[[], object]) -> float:
    """Seconds per call: the least of several means."""
    run()
    begin = time.perf_counter()
    run()
    once = max(time.perf_counter() - begin, 1e-7)
    rounds = max(1, int(SECONDS / 5 / once))
    best = float("inf")
    for _ in range(5):
        begin = time.perf_counter()
        for _ in range(rounds):
            run()
        best = min(best, (time.perf_counter() - begin) / rounds)
    return best


def _steps(program: Program, machine: Machine, pieces: list[tuple[str, Step | Fusion]]) -> native.Native:
    """@step0, @step1, …: the pieces of the program one by one; and @nothing."""
    names = tuple([f"step{k}" for k in range(len(pieces))] + ["nothing"])

    def write() -> tuple[str, Any]:
        tables, functions, declared = Tables(), [frame.clean(machine, FIELDS)], set[str]()
        read = readers(program)
        for k, (phase, piece) in enumerate(pieces):
            code = code_for(machine.kind, strict=machine.strict)
            frame.open_context(code, FIELDS)
            Emitter(code, machine, tables, phase, read).piece(piece)
            functions.append(frame.function(f"step{k}", code))
            declared |= code.declared
        functions.append(frame.function("nothing", code_for(machine.kind, strict=True)))
        attributes = f'attributes #0 = {{ nounwind "min-legal-vector-width"="{machine.vector_bytes * 8}" }}'
        return "\n".join([*sorted(declared), *functions, attributes]), tables.array()

    return native.Native(repr(("profile", program.fingerprint(), machine)).encode(), names, write)


def _operations(step: Step | Fusion, phase: str, machine: Machine) -> int:
    """Floating-point operations of a step in one block: one for a map's member, two for a term of a sum."""
    lanes = machine.lanes if phase == "block" else 1
    if isinstance(step, Fusion):
        return lanes * sum(map(_Operations().kind, step.instructions))
    return lanes * _Operations().step(step)


class _Operations(Walker[int], Kinds[int]):
    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> int:
        return self.kind(instruction)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> int:
        return loop.count * sum(map(self.step, loop.body))

    def stream(self, stream: Stream, around: tuple[int, ...]) -> int:
        return stream.scalars

    def map(self, instruction: Instruction) -> int:
        return instruction.members

    def take(self, instruction: Instruction) -> int:
        return instruction.members

    def dot(self, instruction: Instruction) -> int:
        return 2 * instruction.members * instruction.terms

    reduce = dot

    def scatter(self, instruction: Instruction) -> int:
        return instruction.members // instruction.dims[-1] * instruction.count


@cache
def peak(kind: Float) -> float:
    """Floating-point operations per second of independent vector multiply-adds on one core."""
    code = Code(kind, fused=True)
    width = native.machine().vector_bytes // kind.bytes
    vector = kind.vector(width)
    rounds = 100_000
    half, one = code.splat(0.5, width), code.splat(1.0, width)

    def body(_: Counter, values: list[str]) -> list[str]:
        return [code.intrinsic("fma", width, value, half, one) for value in values]

    values = code.loop(rounds, body, [(vector, code.splat(float(k), width)) for k in range(_CHAINS)])
    total = values[0]
    for value in values[1:]:
        total = code.binary("fadd", total, value, width)
    code.store(total, "%context", width)
    code.put("ret void")
    size = width * kind.bytes * 8
    text = "\n".join(
        [
            *sorted(code.declared),
            "define void @peak(ptr %context) #0 {",
            "entry:",
            *code.lines,
            "}",
            f'attributes #0 = {{ nounwind "min-legal-vector-width"="{size}" }}',
        ]
    )
    key = f"peak {kind.name} {width}".encode()
    code_ = native.Native(key, ("peak",), lambda: (text, np.zeros(1, dtype=np.int32)))
    room = (ctypes.c_double * 64)()
    seconds = _time(partial(code_.functions["peak"], ctypes.addressof(room)))
    return 2.0 * _CHAINS * width * rounds / seconds
