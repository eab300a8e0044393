"""The frame around a program's instructions: the functions of a module, and the loops over blocks of samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from macrograd.compiler.jit.text import Counter
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm.block import Block
from macrograd.compiler.targets.llvm.code import Code
from macrograd.compiler.targets.llvm.context import field, field_address
from macrograd.compiler.targets.llvm.stopping import stops
from macrograd.compiler.targets.llvm.team import Team

if TYPE_CHECKING:
    from macrograd.compiler.targets.scalar.machine import Machine

_AT_ONCE = 8  # numbers of an argument copied in registers


def open_context(code: Code, fields: dict[str, int]) -> None:
    """Load the pointers that every function needs, named after their fields."""
    for name in ("u", "v", "tables"):
        address = field_address(code, fields[name])
        code.put(f"%{name} = load ptr, ptr {address}, align 8")
    code.put(f"%flag = getelementptr i64, ptr %context, i64 {fields['flag']}")


def function(name: str, code: Code, *, block: bool = False) -> str:
    code.put("ret void")
    linkage = "internal " if block else ""
    scratch = [f"  {name_} = alloca [{count} x {code.kind.name}], align 64" for name_, count in code.scratches]
    loads = [f"  {line}" for lines in code.loads.values() for line in lines]
    head = f"define {linkage}void @{name}(ptr noalias %context) #0 {{"
    return "\n".join([head, "entry:", *scratch, *loads, *code.lines, "}", ""])


def blocks(
    program: Program, machine: Machine, shapes: Sequence[int], outputs: int, fields: dict[str, int], declared: set[str]
) -> str:
    """@blocks: copy in, run @block and copy out, for the blocks first … last - 1."""
    code = Code(machine.kind)
    open_context(code, fields)
    if program.batch:
        samples = Block(code, program, machine, fields)

        def one_block(lane: str) -> None:
            samples.rows(lane)
            samples.read(shapes)
            code.put(f"store i64 {samples.valid(lane)}, ptr {field_address(code, fields['valid'])}, align 8")
            if samples.team is not None:
                samples.team.meet()
            code.put("call void @block(ptr %context)")
            if outputs and samples.team is not None:
                samples.team.once(lambda: samples.write(lane, outputs))
                samples.team.meet()
            elif outputs:
                samples.write(lane, outputs)

        each_block(code, machine, fields, one_block)
    else:
        _copy_in(code, program, shapes, fields)
    text = function("blocks", code)
    declared |= code.declared
    return text


def each_block(code: Code, machine: Machine, fields: dict[str, int], body: Callable[[str], None]) -> None:
    """Call `body` with the first lane's sample, in a loop over the blocks."""
    first, last = field(code, fields["first"], "i64"), field(code, fields["last"], "i64")

    def one(i: Counter, _: list[str]) -> list[str]:
        lane = code.let(f"mul i64 {code.let(f'add i64 {first}, {i}')}, {machine.lanes}")
        if machine.flat or machine.portable or machine.single or machine.team:
            body(lane)
        else:
            code.when(code.let(f"xor i1 {stops(code)}, true", "b"), lambda: body(lane))
        return []

    code.loop(code.let(f"sub i64 {last}, {first}"), one)


def run(program: Program, machine: Machine, fields: dict[str, int]) -> str:
    """@run: all phases, with all blocks."""
    code = Code(machine.kind)
    if program.batch:
        samples = field(code, fields["samples"], "i64")
        more = code.let(f"add i64 {samples}, {machine.lanes - 1}")
        code.put(f"store i64 0, ptr {field_address(code, fields['first'])}, align 8")
        total = code.let(f"udiv i64 {more}, {machine.lanes}")
        code.put(f"store i64 {total}, ptr {field_address(code, fields['last'])}, align 8")
        names: tuple[str, ...] = ("prepare", "before", "blocks", "after")
    else:
        names = ("blocks", "before", "after")
    for name in names:
        code.put(f"call void @{name}(ptr %context)")
    return function("run", code)


def one_block(
    code: Code,
    program: Program,
    machine: Machine,
    shapes: Sequence[int],
    outputs: int,
    fields: dict[str, int],
    phase: Callable[[str], None],
) -> str:
    """@run of a program with one block, whose phases are all in one function; `phase` writes one of them."""
    open_context(code, fields)
    if program.batch:
        samples = Block(code, program, machine, fields)  # first, since its memory is that of the function
        phase("before")
        samples.lane_by_lane(shapes)
        code.put(f"store i64 {samples.valid('0')}, ptr {field_address(code, fields['valid'])}, align 8")
        phase("block")
        if outputs:
            samples.write("0", outputs)
    else:
        _copy_in(code, program, shapes, fields)
        phase("before")
    phase("after")
    return function("run", code)


def prepare(program: Program, machine: Machine, fields: dict[str, int]) -> str:
    """Set the sums over the batch to 0 if several blocks will add to them."""
    code = Code(machine.kind)
    open_context(code, fields)
    if program.batch and not machine.single:
        begin, width = program.held, 1 if machine.rolled else machine.width
        vectors, rest = divmod(program.uniform - begin, width)
        team = Team(code) if machine.team else None

        def clear(first: int, count: int, width: int) -> None:
            def some(i: Counter, _: list[str]) -> list[str]:
                code.store(code.splat(0.0, width), code.element("%u", code.linear(first, [(width, i)])), width)
                return []

            if count:
                (code if team is None else team).loop(count, some)

        clear(begin, vectors, width)
        clear(begin + vectors * width, rest, 1)
        if team is not None and program.uniform > begin:
            team.meet()
    return function("prepare", code, block=True)


def _copy_in(code: Code, program: Program, shapes: Sequence[int], fields: dict[str, int]) -> None:
    """Without a batch: copy the arguments into their slots."""
    arguments = field(code, fields["arguments"], "ptr")
    slot = program.first_input
    for k, size in enumerate(shapes):
        source = code.let(f"load ptr, ptr {code.element(arguments, str(k), 'ptr')}, align 8")
        wide, rest = size // _AT_ONCE, size % _AT_ONCE

        def copy(i: Counter, _: list[str], source: str = source, slot: int = slot) -> list[str]:
            value = code.load(code.element(source, code.linear(0, [(_AT_ONCE, i)])), _AT_ONCE)
            code.store(value, code.element("%u", code.linear(slot, [(_AT_ONCE, i)])), _AT_ONCE)
            return []

        code.loop(wide, copy, unroll=2)
        for j in range(wide * _AT_ONCE, wide * _AT_ONCE + rest):
            code.store(code.load(code.element(source, str(j)), 1), code.element("%u", str(slot + j)), 1)
        slot += size


def clean(machine: Machine, fields: dict[str, int]) -> str:
    """@clean(begin, end): set the lanes without a sample to 0, in the slots begin … end - 1.

    They repeat the last sample with weight 0, and 0·∞ must not enter the sums over the batch.
    """
    code = Code(machine.kind)
    open_context(code, fields)
    valid = field(code, fields["valid"], "i64")
    if machine.lanes % machine.width or machine.width == 1:
        write_clean(code, valid, str(machine.lanes))
    else:
        _write_clean_by_vectors(code, valid, machine.lanes, machine.width)
    code.put("ret void")
    head = "define internal void @clean(ptr noalias %context, i64 %begin, i64 %end) #0 {"
    return "\n".join([head, "entry:", *code.lines, "}", ""])


def _write_clean_by_vectors(code: Code, valid: str, lanes: int, width: int) -> None:
    """`write_clean` for lanes that are whole vectors, of which one has a part, and those behind it are set to 0."""
    slots, full = code.let("sub i64 %end, %begin"), code.let(f"udiv i64 {valid}, {width}")
    mask = code.first_lanes(code.linear(0, [(1, valid), (-width, full)]), width)
    behind, zero = code.let(f"sub i64 {lanes // width - 1}, {full}"), code.splat(0.0, width)

    def per_slot(i: Counter, _: list[str]) -> list[str]:
        place = code.linear(0, [(width, full), (lanes, code.let(f"add i64 %begin, {i}"))])
        address = code.element("%v", place)
        code.store(code.select(mask, code.load(address, width), zero, width), address, width)

        def whole(k: Counter, _: list[str]) -> list[str]:
            code.store(zero, code.element("%v", code.linear(width, [(1, place), (width, k)])), width)
            return []

        if lanes > width:
            code.loop(behind, whole)
        return []

    code.loop(slots, per_slot)


def write_clean(code: Code, valid: str, all_lanes: str) -> None:
    """Set the lanes from number `valid` on to 0, in the slots %begin … %end - 1 of %v."""
    slots, lanes = code.let("sub i64 %end, %begin"), code.let(f"sub i64 {all_lanes}, {valid}")

    def per_slot(i: Counter, _: list[str]) -> list[str]:
        slot = code.let(f"add i64 %begin, {i}")
        first = code.let(f"add i64 {valid}, {code.let(f'mul i64 {slot}, {all_lanes}')}")

        def per_lane(lane: Counter, _: list[str]) -> list[str]:
            code.store(code.splat(0.0, 1), code.element("%v", code.linear(0, [(1, first), (1, lane)])), 1)
            return []

        code.loop(lanes, per_lane)
        return []

    code.loop(slots, per_slot)
