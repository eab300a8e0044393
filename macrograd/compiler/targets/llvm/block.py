"""A block's samples: arguments copied in, results copied out.

Arguments and results are arrays with the samples first ([sample][scalar]); a block works on [slot][lane]. Rows are
selected by `order` if there is one; lanes after the last sample repeat it with weight 0, and their results are not
written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from macrograd.compiler.jit.text import Counter
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm.code import Code
from macrograd.compiler.targets.llvm.context import field
from macrograd.compiler.targets.llvm.team import Team

if TYPE_CHECKING:
    from macrograd.compiler.targets.scalar.machine import Machine

_SQUARE = 8  # rows and columns transposed in registers at once


class Block:
    """Copies a block in and out."""

    def __init__(self, code: Code, program: Program, machine: Machine, fields: dict[str, int]) -> None:
        self.code, self.program, self.machine = code, program, machine
        self.samples = field(code, fields["samples"], "i64")
        self.final = code.let(f"sub i64 {self.samples}, 1")
        self.arguments = field(code, fields["arguments"], "ptr")
        self.order = field(code, fields["order"], "ptr")
        self.weights = field(code, fields["weights"], "ptr")
        scale = field(code, fields["scale"], "double")
        self.scale = scale if machine.kind.bits == 64 else code.let(f"fptrunc double {scale} to float")
        self.out = field(code, fields["out"], "ptr")
        self.row = ""  # the memory for each lane's row, if they are not read one after the other
        if not (machine.rolled and machine.single):
            self.row = code.let(f"alloca [{machine.lanes} x i64], align 64")
        self.ordered = code.let(f"icmp ne ptr {self.order}, null")
        self.weighted = code.let(f"icmp ne ptr {self.weights}, null")
        self.names = 0
        self.team = Team(code) if machine.team else None

    def rows(self, first: str) -> None:
        """The row of the arguments that each lane reads, and the weight of its sample."""
        code = self.code
        last = code.let(f"add i64 {first}, {self.machine.lanes}")
        full = code.let(f"icmp sle i64 {last}, {self.samples}")
        self.branch(full, lambda: self._full_rows(first), lambda: self._some_rows(first))
        if self.program.weight is not None:
            plain = code.let(f"and i1 {full}, {code.let(f'icmp eq ptr {self.weights}, null')}")
            self.branch(plain, self._equal_weights, lambda: self._weights(first))

    def branch(self, condition: str, then: Callable[[], object], otherwise: Callable[[], object]) -> None:
        code = self.code
        self.names += 1
        labels = [f"{name}{self.names}" for name in ("then", "else", "joined")]
        code.put(f"br i1 {condition}, label %{labels[0]}, label %{labels[1]}")
        for label, body in zip(labels, (then, otherwise), strict=False):
            code.label(label)
            body()
            code.put(f"br label %{labels[2]}")
        code.label(labels[2])

    def _full_rows(self, first: str) -> None:
        """A full block: the next rows of the order, or of the arguments."""
        code, lanes = self.code, self.machine.lanes
        width = next(w for w in (8, 4, 2, 1) if lanes % w == 0)
        kind = f"<{width} x i64>"
        steps = "<" + ", ".join(f"i64 {k}" for k in range(width)) + ">"

        def put(i: Counter, value: str) -> None:
            place = code.element(self.row, code.linear(0, [(width, i)]), "i64")
            code.put(f"store {kind} {value}, ptr {place}, align 8")

        def ordered(i: Counter, _: list[str]) -> list[str]:
            position = code.let(f"add i64 {first}, {code.linear(0, [(width, i)])}")
            put(i, code.let(f"load {kind}, ptr {code.element(self.order, position, 'i64')}, align 8"))
            return []

        def counted(i: Counter, _: list[str]) -> list[str]:
            position = code.let(f"add i64 {first}, {code.linear(0, [(width, i)])}")
            head = code.let(f"insertelement {kind} poison, i64 {position}, i32 0")
            wide = code.let(f"shufflevector {kind} {head}, {kind} poison, <{width} x i32> zeroinitializer")
            put(i, code.let(f"add {kind} {wide}, {steps}"))
            return []

        count = lanes // width
        self.branch(
            self.ordered, lambda: code.loop(count, ordered, unroll=4), lambda: code.loop(count, counted, unroll=4)
        )

    def _some_rows(self, first: str) -> None:
        """A block with fewer samples than lanes: lanes after the last sample repeat it."""
        code = self.code

        def one(lane: Counter, _: list[str]) -> list[str]:
            row = self._row(code.let(f"add i64 {first}, {lane}"))[1]
            code.put(f"store i64 {row}, ptr {code.element(self.row, str(lane), 'i64')}, align 8")
            return []

        code.loop(self.machine.lanes, one)

    def _row(self, position: str) -> tuple[str, str]:
        """Whether there is a sample at this position, and its row or the last one's."""
        code = self.code
        short = code.let(f"icmp slt i64 {position}, {self.samples}")
        position = code.let(f"select i1 {short}, i64 {position}, i64 {self.final}")
        return short, self._either(self.ordered, self.order, position, "i64", position)

    def lane_by_lane(self, shapes: Sequence[int]) -> None:
        """The only block's weights and arguments, one sample after the other."""
        code, lanes = self.code, self.machine.lanes
        sources = [self.argument(k) for k in range(len(shapes))]

        def one(lane: Counter, _: list[str]) -> list[str]:
            short, row = self._row(str(lane))
            if self.program.weight is not None:
                self._weigh(lane, short, row)
            slot = 0
            for source, size in zip(sources, shapes, strict=True):
                start = code.element(source, code.linear(0, [(size, row)]))

                def column(j: Counter, _: list[str], start: str = start, slot: int = slot) -> list[str]:
                    place = code.linear(slot * lanes, [(lanes, j), (1, lane)])
                    code.store(code.load(code.element(start, str(j)), 1), code.element("%v", place), 1)
                    return []

                code.loop(size, column)
                slot += size
            return []

        code.loop(lanes, one)

    def _equal_weights(self) -> None:
        code, width = self.code, self.machine.width
        wide = code.broadcast(self.scale, width)
        base = (self.program.weight or 0) * self.machine.lanes

        def some(i: Counter, _: list[str]) -> list[str]:
            code.store(wide, code.element("%v", code.linear(base, [(width, i)])), width)
            return []

        code.loop(self.machine.lanes // width, some, unroll=4)

    def _weights(self, first: str) -> None:
        """The weight of each lane's sample: 1/n, times the sample's weight if there are any; 0 after the last
        sample."""
        code = self.code

        def one(lane: Counter, _: list[str]) -> list[str]:
            position = code.let(f"add i64 {first}, {lane}")
            short = code.let(f"icmp slt i64 {position}, {self.samples}")
            row = code.let(f"load i64, ptr {code.element(self.row, str(lane), 'i64')}, align 8")
            self._weigh(lane, short, row)
            return []

        code.loop(self.machine.lanes, one)

    def _weigh(self, lane: Counter, short: str, row: str) -> None:
        code, base = self.code, (self.program.weight or 0) * self.machine.lanes
        weight = self._either(self.weighted, self.weights, row, self.machine.kind.name, code.splat(1.0, 1))
        weight = code.binary("fmul", weight, self.scale, 1)
        weight = code.select(short, weight, code.splat(0.0, 1), 1)
        code.store(weight, code.element("%v", code.linear(base, [(1, lane)])), 1)

    def _either(self, condition: str, pointer: str, index: str, kind: str, otherwise: str) -> str:
        """pointer[index] if the condition holds, else `otherwise`."""
        code = self.code
        self.names += 1
        there, join = f"there{self.names}", f"join{self.names}"
        before = code.block
        code.put(f"br i1 {condition}, label %{there}, label %{join}")
        code.label(there)
        found = code.let(f"load {kind}, ptr {code.element(pointer, index, kind)}, align {code.kind.bytes}")
        code.put(f"br label %{join}")
        code.label(join)
        return code.let(f"phi {kind} [ {otherwise}, %{before} ], [ {found}, %{there} ]")

    def argument(self, k: int) -> str:
        return self.code.let(f"load ptr, ptr {self.code.element(self.arguments, str(k), 'ptr')}, align 8")

    def _start(self, source: str, lane: Counter | str, size: int) -> str:
        """The start of a lane's row."""
        code = self.code
        row = code.let(f"load i64, ptr {code.element(self.row, str(lane), 'i64')}, align 8")
        return code.element(source, code.linear(0, [(size, row)]))

    def read(self, shapes: Sequence[int]) -> None:
        """Read the arguments' rows into the lanes of the input slots."""
        slot = 0
        for k, size in enumerate(shapes):
            source, begin = self.argument(k), 0
            for side in self._sides():
                squares = (size - begin) // side
                if squares:
                    self._read_squares(source, size, slot, begin, squares, side)
                begin += squares * side
            self._read_rest(source, size, slot, begin)
            slot += size

    def _sides(self) -> list[int]:
        """The sides of the squares that are transposed in registers, the largest first: a whole vector, so that each
        line of the cache is written once."""
        sides = sorted({max(_SQUARE, self.machine.width), _SQUARE})[::-1]
        return [side for side in sides if self.machine.lanes % side == 0]

    def _read_squares(self, source: str, size: int, slot: int, begin: int, squares: int, side: int) -> None:
        code, lanes = self.code, self.machine.lanes

        def per_lanes(i: Counter, _: list[str]) -> list[str]:
            starts = [self._start(source, code.linear(k, [(side, i)]), size) for k in range(side)]

            def per_square(j: Counter, _: list[str]) -> list[str]:
                column = code.linear(begin, [(side, j)])
                for k, vector in enumerate(code.transposed_from([code.element(start, column) for start in starts])):
                    position = code.linear((slot + begin + k) * lanes, [(side * lanes, j), (side, i)])
                    code.store(vector, code.element("%v", position), side)
                return []

            code.loop(squares, per_square)
            return []

        (code.loop if self.team is None else self.team.loop)(lanes // side, per_lanes)

    def _read_rest(self, source: str, size: int, slot: int, begin: int) -> None:
        code, lanes = self.code, self.machine.lanes
        if begin == size:
            return

        def per_lane(lane: Counter, _: list[str]) -> list[str]:
            start = self._start(source, lane, size)

            def per_column(j: Counter, _: list[str]) -> list[str]:
                value = code.load(code.element(start, code.linear(begin, [(1, j)])), 1)
                place = code.linear((slot + begin) * lanes, [(lanes, j), (1, lane)])
                code.store(value, code.element("%v", place), 1)
                return []

            code.loop(size - begin, per_column, unroll=_SQUARE)
            return []

        (code.loop if self.team is None else self.team.loop)(lanes, per_lane)

    def valid(self, first: str) -> str:
        """The number of lanes of a block that stand for a sample."""
        left = self.code.let(f"sub i64 {self.samples}, {first}")
        fewer = self.code.let(f"icmp slt i64 {left}, {self.machine.lanes}")
        return self.code.let(f"select i1 {fewer}, i64 {left}, i64 {self.machine.lanes}")

    def write(self, first: str, outputs: int) -> None:
        """Write the varying results of the valid lanes as rows of the output."""
        code, lanes = self.code, self.machine.lanes
        valid = self.valid(first)

        def per_lane(lane: Counter, _: list[str]) -> list[str]:
            row = code.let(f"add i64 {first}, {lane}")
            place = code.element(self.out, code.linear(0, [(outputs, row)]))

            def per_output(k: Counter, _: list[str]) -> list[str]:
                position = code.linear(self.program.first_output * lanes, [(lanes, k), (1, lane)])
                code.store(code.load(code.element("%v", position), 1), code.element(place, str(k)), 1)
                return []

            code.loop(outputs, per_output, unroll=4)
            return []

        code.loop(valid, per_lane)
