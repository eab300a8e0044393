"""What a program computes, whatever its slots and the order of its steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from macrograd import ops
from macrograd.compiler.program.program import Index, Program, executed


def meaning(program: Program) -> list[Any]:
    """How each result is computed, as a number that differs if anything in it does. Copies do not count, and neither
    does where a sum is cut into one that goes on from the other."""
    memory: dict[str, dict[int, Any]] = {"u": {}, "v": {}}
    sums: dict[int, tuple[Any, ...]] = {}  # the products of each sum
    for slot in range(program.held):
        memory["u"][slot] = ("held", slot)
    for k in range(program.inputs):
        memory[program.input_space][program.first_input + k] = ("input", k)
    for step in program.steps():
        for instruction, rounds in executed(step):
            operands = []
            for x, count in instruction.operands():
                if isinstance(x, Index):
                    slots = np.broadcast_to(x.slots(instruction.dims, count, rounds), (instruction.members, count))
                    operands.append([[memory[x.space][slot] for slot in row] for row in slots.tolist()])
                else:
                    operands.append([[x] * count] * instruction.members)
            out = np.broadcast_to(instruction.out.slots(instruction.dims, 1, rounds), (instruction.members, 1))
            found = []
            for member in range(instruction.members):
                read = tuple(tuple(operand[member]) for operand in operands)
                if instruction.segments:  # the products in order, whatever segments they are in
                    pairs = zip(read[::2], read[1::2], strict=True)
                    read = tuple(product for left, right in pairs for product in zip(left, right, strict=True))
                    one, start = read[0]
                    if instruction.kind == "dot" and one == 1.0 and start in sums:
                        read = (*sums[start], *read[1:])
                copied = instruction.kind == "map" and instruction.code == ops.detach.code
                found.append(read[0][0] if copied else hash((instruction.kind, instruction.code, read)))
                if instruction.kind == "dot":
                    sums[found[-1]] = read
            memory[instruction.out.space].update(zip(out.ravel().tolist(), found, strict=True))
    return [memory[space][slot] for space, slot in program.results]
