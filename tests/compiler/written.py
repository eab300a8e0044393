"""What the tests of the emitter share: the text that a part writes, and small programs that run."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from literal import Literal

from macrograd.compiler.jit.text import DOUBLE, Code
from macrograd.compiler.program.program import Index, Instruction, Program, Segment, verify
from macrograd.compiler.targets.llvm.code import code_for
from macrograd.compiler.targets.llvm.target import Llvm
from macrograd.compiler.targets.scalar.access import Operands, Tables
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.target import Request

MACHINE = Machine(DOUBLE, vector_bytes=32, lanes=16, single=True, strict=False)  # vectors of four, four in a block


def operands(
    machine: Machine = MACHINE, axis: str = "lane", dims: tuple[int, ...] = (1,)
) -> tuple[Operands, list[str]]:
    """Operands that write to a new function, and its lines."""
    code = code_for(machine.kind, strict=machine.strict)
    at = Operands(code, machine, Tables())
    at.axis, at.dims = axis, dims
    return at, code.lines


def count(lines: list[str], pattern: str) -> int:
    """The number of lines that match."""
    return sum(bool(re.search(pattern, line)) for line in lines)


def calls(code: Code, name: str) -> int:
    """Calls of a function or intrinsic whose name begins like this."""
    return count(code.lines, rf"call .*@{re.escape(name)}")


def dot(dims: tuple[int, ...], out: Index, *segments: Segment, kind: str = "dot") -> Instruction:
    return Instruction(kind, 0, dims, out, segments=segments)


def in_block(instruction: Instruction, parameters: int, inputs: int) -> Program:
    """The program of one instruction over a batch, whose results follow the parameters in u or the inputs in v."""
    n, varying = instruction.members, instruction.out.space == "v"
    first = inputs if varying else parameters
    results = tuple((instruction.out.space, first + k) for k in range(n))
    uniform, rows = parameters + n * (not varying), inputs + n * varying
    return verify(
        Program(
            (), (instruction,), (), parameters, inputs, np.empty(0), uniform, rows, results, True, first_output=inputs
        )
    )


def before(instruction: Instruction, parameters: int) -> Program:
    """The program of one instruction on parameters, whose results follow them."""
    n = instruction.members
    results = tuple(("u", parameters + k) for k in range(n))
    return verify(Program((instruction,), (), (), parameters, 0, np.empty(0), parameters + n, 0, results, batch=False))


def agrees(program: Program, samples: int = 1, *, strict: bool = False, seed: int = 0) -> Any:
    """Run the program; what it computes, after a comparison with the literal reading."""
    draw = np.random.default_rng(seed)
    parameters = draw.normal(size=program.parameters)
    rows = draw.normal(size=(samples, program.inputs))
    varying = program.results[0][0] == "v"
    sizes, outputs = (program.inputs,) if program.batch else (), len(program.results) if varying else 0
    request = Request(program, sizes, outputs, np.dtype(float), strict=strict, samples=samples)
    state = Llvm().prepare(request).state(samples)
    state.u[: program.parameters] = parameters
    if program.batch:
        state.load([rows])
    state.run()
    right = Literal(program, parameters, rows if program.batch else []).results()
    found = np.array(state.out) if varying else np.array([state.u[slot] for _, slot in program.results])
    np.testing.assert_allclose(found, np.transpose(right) if varying else right, rtol=1e-12, atol=1e-13)
    return found
