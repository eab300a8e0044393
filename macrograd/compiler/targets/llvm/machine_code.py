"""The machine code of a program for a machine: from the disk cache, or made now."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache, partial
from math import prod

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit import native
from macrograd.compiler.program.program import Program, counted
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.targets.scalar.machine import Machine

MOST = 1 << 23  # operations of a run, for its first code to be rolled: it takes some milliseconds more
CHUNK = 8  # blocks that are run together, whose sums are added one after the other
_PARTS = ("before", "after", "blocks")  # called one by one where there is more than one block


def native_code(program: Program, machine: Machine, sizes: Sequence[int], outputs: int) -> native.Native:
    """The machine code of a program for a machine: from the disk cache, or made now."""
    stream = _only_stream(program)
    if stream is None:
        return _own_code(program, machine, sizes, outputs)
    code = _all_data(machine, tuple(sizes), outputs, program.first_input, program.inputs)
    return code.with_tables(stream.table())


def kernels(program: Program, machine: Machine) -> dict[str, int | None]:
    """The context's fields for the stream kernels that the program needs."""
    streams = program.streams()
    found: dict[str, int | None] = {}
    if not streams:
        return found
    from macrograd.compiler.targets.llvm.kernel import kernel, rare  # not before it is needed

    for block in {stream.block for stream in streams}:
        composed = {
            code for stream in streams if stream.block == block for code in stream.composed if rare(machine, code)
        }
        code = kernel(machine, block=block, composed=tuple(sorted(composed)))
        address = ctypes.cast(code.functions["stream"], ctypes.c_void_p).value
        found["stream_block" if block else "stream_uniform"] = address
    return found


def _only_stream(program: Program) -> Stream | None:
    """The stream, if the program is nothing else. With a batch there are blocks around it, with a different frame."""
    if program.batch or len(program.steps()) != 1:
        return None
    return next(iter(program.streams()), None)


def _own_code(program: Program, machine: Machine, sizes: Sequence[int], outputs: int) -> native.Native:
    def key() -> bytes:
        return repr((program.fingerprint(), machine, tuple(sizes), outputs)).encode()

    def write(machine: Machine = machine) -> tuple[str, NDArray[np.int32]]:
        from macrograd.compiler.targets.llvm.lower import lower  # only for code that is not in the cache

        return lower(program, machine, sizes, outputs)

    brief = partial(write, replace(machine, rolled=True)) if rolls(program, machine) else None

    names = ("run",) if machine.single else (*_PARTS, "run")
    return native.Native(key, names, write, tiers=True, brief=brief, scalars=program.scalars)


def support(code: native.Native, program: Program, machine: Machine) -> int | None:
    """The context's field for the functions that the program's code calls if it is rolled."""
    if code.improved or not code.brief or not _has_sums(program):
        return None
    from macrograd.compiler.targets.llvm.support import table  # not before it is needed

    return ctypes.addressof(table(machine.kind, machine.width, strict=machine.strict))


def rolls(program: Program, machine: Machine) -> bool:
    """Whether the first tier is rolled code: it is slower, and a run that has begun ends in it; one of many blocks goes
    on in better code after some of them, except for those of strict programs."""
    if machine.flat or machine.team or (machine.strict and not machine.single):
        return False
    work, blocks = 0, 1 if machine.single else CHUNK
    for name, steps in program.phases():
        lanes = machine.lanes * blocks if name == "block" else 1
        for step in steps:
            work += lanes * sum(x.members * max(1, x.terms) * prod(counts) for x, counts in counted(step))
    return work <= MOST


def _has_sums(program: Program) -> bool:
    """Whether a block has sums, which may be calls of those functions."""
    return any(x.kind in ("dot", "reduce", "scatter") for step in program.block for x, _ in counted(step))


@lru_cache(maxsize=16)
def _all_data(machine: Machine, sizes: tuple[int, ...], outputs: int, first_input: int, inputs: int) -> native.Native:
    """The code shared by all programs without a batch that are a single stream: it reads the arguments and calls the
    kernel."""
    stream = Stream(np.empty(0, dtype=np.int32), 0, block=False)
    program = Program((stream,), (), (), first_input, inputs, np.empty(0), first_input + inputs, 0, (), batch=False)
    return _own_code(program, machine, sizes, outputs)
