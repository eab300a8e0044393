"""Lower a program to LLVM: one loop nest per instruction, with explicit vectors.

A varying buffer is [slot][lane]; the SIMD axis of an instruction in a block is the lanes. Without lanes it is the
innermost counter of the members, or for a sum the terms, whichever is contiguous in memory. Sums of products keep a
tile of accumulators (members × vectors) in registers across their terms; operands shared by several members of a tile
are loaded once, and that alone turns a group of dot products into a matrix product.

    context   the argument of the functions, a struct of pointers and integers (`Context`)
    @before   runs once; @blocks(first, last) runs blocks of lanes; @after runs once; @run is all of them
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm import flat, frame
from macrograd.compiler.targets.llvm.code import code_for
from macrograd.compiler.targets.llvm.context import FIELDS
from macrograd.compiler.targets.llvm.stopping import chunked
from macrograd.compiler.targets.llvm.team import MEET, Team
from macrograd.compiler.targets.scalar.access import Tables
from macrograd.compiler.targets.scalar.emit import Emitter
from macrograd.compiler.targets.scalar.fuse import readers
from macrograd.compiler.targets.scalar.held import Readers
from macrograd.compiler.targets.scalar.inline import inlined
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.registers import fits


def lower(program: Program, machine: Machine, shapes: Sequence[int], outputs: int) -> tuple[str, NDArray[np.int32]]:
    """The module's text, and the tables that it reads.

    `shapes` are the numbers of scalars of each argument; `outputs` the number of varying results to write out.
    """
    tables, read, reused = Tables(sparing=machine.portable), readers(program), Readers(program)
    attributes = f'attributes #0 = {{ nounwind "min-legal-vector-width"="{machine.vector_bytes * 8}" }}'
    if machine.rolled and machine.single:
        code, phases = (
            code_for(machine.kind, strict=machine.strict, rolled=True, lanes=machine.lanes),
            dict(program.phases()),
        )

        def write(name: str) -> None:
            Emitter(code, machine, tables, name, read, reused, library=code).steps(phases[name])

        run = frame.one_block(code, program, machine, shapes, outputs, FIELDS, write)
        return "\n".join([*sorted(code.declared), run, attributes]), tables.array()
    functions: list[str] = []
    declared: set[str] = set()
    short = machine.flat and (flat.adds_up(program) or fits(program))
    phases = dict(program.phases()) if machine.rolled else inlined(program, machine)
    for name, steps in (phases | ({"block": ()} if short else {})).items():
        code = code_for(
            machine.kind, strict=machine.strict, portable=machine.portable, rolled=machine.rolled, lanes=machine.lanes
        )
        frame.open_context(code, FIELDS)
        team = Team(code) if machine.team else None
        lanes = machine.lanes if name == "block" else 1
        rounds = None if machine.flat or machine.portable or machine.rolled else partial(chunked, code, lanes)
        library = code if machine.rolled else None
        emitter = Emitter(code, machine, tables, name, read, reused, team, rounds, library)
        if team is not None and name != "block":
            team.once(partial(emitter.steps, steps))
            team.meet()
        else:
            emitter.steps(steps)
        functions.append(frame.function(name, code, block=name == "block"))
        declared |= code.declared
    if not machine.rolled:
        functions.append(frame.clean(machine, FIELDS))
    if machine.flat:
        around = flat.in_registers if short else flat.in_blocks
        functions.append(around(program, machine, len(shapes), declared))
    else:
        functions.append(frame.blocks(program, machine, shapes, outputs, FIELDS, declared))
    functions += [frame.prepare(program, machine, FIELDS), frame.run(program, machine, FIELDS)]
    if machine.team:
        functions.append(MEET)
    return "\n".join([*sorted(declared), "", *functions, attributes]), tables.array()
