"""The frame of update programs: every argument is an array of one number per parameter, and so is every result.

A rule of a few operations runs vector by vector with all its values in registers, from the arguments' arrays to the
results' (`in_registers`). One with loops, streams, tables or long sums works on blocks in memory like any other program
(`in_blocks`), with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable

from macrograd.compiler.jit.text import Counter
from macrograd.compiler.program.program import SUMS_OF_BATCH, Program, body_of
from macrograd.compiler.targets.llvm.block import Block
from macrograd.compiler.targets.llvm.code import Code, code_for
from macrograd.compiler.targets.llvm.context import FIELDS, field
from macrograd.compiler.targets.llvm.frame import each_block, function, open_context
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.registers import Registers


def adds_up(program: Program) -> bool:
    """Whether there are sums over all samples. These are only supported in registers."""
    return any(i.kind in SUMS_OF_BATCH for step in program.block for i in body_of(step))


def _written(program: Program) -> list[tuple[str, int]]:
    """The results that go to arrays: all except those computed from sums over the samples."""
    summed = {
        slot
        for step in (*program.block, *program.after)
        for i in body_of(step)
        if i.out.space == "u"
        for slot in i.out.slots(i.dims).ravel().tolist()
    }
    return [(space, slot) for space, slot in program.results if space == "v" or slot not in summed]


def in_registers(program: Program, machine: Machine, arguments: int, declared: set[str]) -> str:
    """@blocks of a program that `fits`: all samples, for any range of blocks."""
    code = code_for(machine.kind, strict=machine.strict, portable=machine.portable)
    open_context(code, FIELDS)
    width = machine.width
    rule = _Block(code, program, machine, arguments)
    samples = field(code, FIELDS["samples"], "i64")

    def whole(i: Counter, sums: list[str]) -> list[str]:
        return rule.run(code.linear(0, [(width, i)]), None, sums)

    count = code.let(f"udiv i64 {samples}, {width}")
    kind = code.kind.vector(width)
    sums = code.loop(count, whole, [(kind, code.splat(0.0, width))] * len(rule.summed))
    if width > 1:
        begin = code.let(f"mul i64 {count}, {width}")
        rest = code.let(f"sub i64 {samples}, {begin}")
        some, before = code.let(f"icmp sgt i64 {rest}, 0"), code.block
        code.put(f"br i1 {some}, label %rest, label %end")
        code.label("rest")
        more = rule.run(begin, code.first_lanes(rest, width), sums)
        last = code.block
        code.put("br label %end")
        code.label("end")
        sums = [code.let(f"phi {kind} [ {a}, %{before} ], [ {b}, %{last} ]") for a, b in zip(sums, more, strict=True)]
    for slot, value in zip(rule.summed, sums, strict=True):
        code.store(code.sums_of_elements([value], width), code.element("%u", str(slot)), 1)
    text = function("blocks", code)
    declared |= code.declared
    return text


class _Block:
    """The block's instructions for one vector of samples."""

    def __init__(self, code: Code, program: Program, machine: Machine, arguments: int) -> None:
        self.code, self.program, self.machine = code, program, machine
        self.sources = _pointers(code, "arguments", arguments)
        self.written = _written(program)
        self.targets = _pointers(code, "out", len(self.written))
        self.summed = [
            slot
            for i in program.instructions()
            if i.kind in SUMS_OF_BATCH
            for slot in i.out.slots(i.dims).ravel().tolist()
        ]
        self.at = Registers(code, machine, program, self.written)

    def run(self, position: str, mask: str | None, sums: list[str]) -> list[str]:
        """Compute the results from the arguments at a position, for the masked samples or all; returns the sums
        including these samples."""
        code, width, at = self.code, self.machine.width, self.at
        inputs = []
        for source in self.sources:
            address = code.element(source, position)
            inputs.append(code.load(address, width) if mask is None else code.load_where(mask, address, width))
        at.run(inputs)
        for (space, slot), array in zip(self.written, self.targets, strict=True):
            value = at.value(space, slot)
            address = code.element(array, position)
            if mask is None:
                code.store(value, address, width)
            else:
                code.store_where(mask, value, address, width)
        added = []
        for slot, total in zip(self.summed, sums, strict=True):
            value = at.sums[slot]
            if mask is not None and width > 1:
                value = code.select(mask, value, code.splat(0.0, width), width)
            added.append(code.binary("fadd", total, value, width))
        return added


def in_blocks(program: Program, machine: Machine, arguments: int, declared: set[str]) -> str:
    """@blocks of any program: copy a block in, run it, copy it out."""
    code = code_for(machine.kind, strict=machine.strict, portable=machine.portable)
    open_context(code, FIELDS)
    samples = _FlatBlock(code, program, machine, FIELDS)

    def one_block(lane: str) -> None:
        samples.read_flat(lane, arguments)
        code.put("call void @block(ptr %context)")
        samples.write_flat(lane)

    each_block(code, machine, FIELDS, one_block)
    text = function("blocks", code)
    declared |= code.declared
    return text


def _pointers(code: Code, name: str, count: int) -> list[str]:
    """The addresses in the array that a field of the context points to."""
    head = field(code, FIELDS[name], "ptr")
    return [code.let(f"load ptr, ptr {code.element(head, str(k), 'ptr')}, align 8") for k in range(count)]


class _FlatBlock(Block):
    """Copies a block of parameters in and out."""

    def read_flat(self, first: str, arguments: int) -> None:
        """Read one scalar of each argument per lane; lanes after the last sample repeat it."""
        code, lanes = self.code, self.machine.lanes
        sources = [self.argument(k) for k in range(arguments)]
        width = self.machine.width

        def vectors(i: Counter, _: list[str]) -> list[str]:
            offset = code.linear(0, [(width, i)])
            position = code.let(f"add i64 {first}, {offset}")
            for k, source in enumerate(sources):
                value = code.load(code.element(source, position), width)
                code.store(value, code.element("%v", code.linear(k * lanes, [(width, i)])), width)
            return []

        def one(lane: Counter, _: list[str]) -> list[str]:
            position = code.let(f"add i64 {first}, {lane}")
            short = code.let(f"icmp slt i64 {position}, {self.samples}")
            position = code.let(f"select i1 {short}, i64 {position}, i64 {self.final}")
            for k, source in enumerate(sources):
                value = code.load(code.element(source, position), 1)
                code.store(value, code.element("%v", code.linear(k * lanes, [(1, lane)])), 1)
            return []

        self._whole_or_part(first, lambda: code.loop(lanes // width, vectors), lambda valid: code.loop(lanes, one))

    def write_flat(self, first: str) -> None:
        """Write each result of the valid lanes to its own array; `out` points to their addresses."""
        code, lanes, width = self.code, self.machine.lanes, self.machine.width
        results = self.program.results
        targets = [
            code.let(f"load ptr, ptr {code.element(self.out, str(k), 'ptr')}, align 8") for k in range(len(results))
        ]

        def value(space: str, slot: int, lane: str, size: int) -> str:
            if space == "u":
                return code.broadcast(code.load(code.element("%u", str(slot)), 1), size)
            return code.load(code.element("%v", code.let(f"add i64 {lane}, {slot * lanes}")), size)

        def vectors(i: Counter, _: list[str]) -> list[str]:
            lane = code.linear(0, [(width, i)])
            position = code.let(f"add i64 {first}, {lane}")
            for (space, slot), array in zip(results, targets, strict=True):
                code.store(value(space, slot, lane, width), code.element(array, position), width)
            return []

        def one(i: Counter, _: list[str]) -> list[str]:
            position = code.let(f"add i64 {first}, {i}")
            for (space, slot), array in zip(results, targets, strict=True):
                code.store(value(space, slot, str(i), 1), code.element(array, position), 1)
            return []

        self._whole_or_part(first, lambda: code.loop(lanes // width, vectors), lambda valid: code.loop(valid, one))

    def _whole_or_part(self, first: str, whole: Callable[[], object], part: Callable[[str], object]) -> None:
        """Run `whole` if all lanes of the block have samples, otherwise `part` with their number."""
        code, lanes = self.code, self.machine.lanes
        left = code.let(f"sub i64 {self.samples}, {first}")
        full = code.let(f"icmp sge i64 {left}, {lanes}")
        self.branch(full, whole, lambda: part(left))
