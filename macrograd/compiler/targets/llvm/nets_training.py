"""@train: tiles of many nets and their steps: the gradient, whether all its numbers are finite, the update.

The parameters of all tiles and their state are [tile][number][lane]. A tile stops before a step in which a number of
any lane is not finite: no lane has made that step then, and the others can continue without the one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit.text import Counter
from macrograd.compiler.program.program import SUMS_OF_BATCH, Instruction, Operand, Program, body_of
from macrograd.compiler.targets.llvm.code import Code, code_for
from macrograd.compiler.targets.llvm.context import FIELDS
from macrograd.compiler.targets.llvm.nets_context import POINTERS, attributes, finished, get, put
from macrograd.compiler.targets.llvm.nets_parts import Clip, Products
from macrograd.compiler.targets.llvm.nets_products import Product, each
from macrograd.compiler.targets.scalar.access import AffineCounter, Member, Operands, SimdVector, Tables
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.maps import Maps

_TOGETHER = 4  # parameters in a round of the loops over all


def train_text(
    update: Program,
    own: Sequence[int],
    count: int,
    states: int,
    machine: Machine,
    clip: Clip | None,
    products: Products | None = None,
) -> tuple[str, NDArray[np.int32]]:
    """The module of @train for nets of `count` parameters with `states` numbers of state each; `own` are the slots of
    the rule that each net has for itself, and `products` the gradients, if @gradient does not write them."""
    code = code_for(machine.kind, strict=machine.strict, portable=machine.portable)
    writer = _Training(code, update, own, count, states, machine, clip, products)
    writer.tiles()
    text = finished(code, "train")
    return "\n".join([*sorted(code.declared), "", text, attributes(machine)]), np.zeros(1, dtype=np.int32)


class _Values(Operands):
    """The slots of an update rule as names, of both spaces."""

    def __init__(self, code: Code, machine: Machine) -> None:
        super().__init__(code, machine, Tables())
        self.axis = "lane"
        self.values: dict[tuple[str, int], str] = {}

    def load(self, x: Operand, member: Member, term: Counter, count: int, vector: SimdVector) -> str:
        if isinstance(x, float):
            return self.code.splat(x, vector.width)
        slot, moving = self.slot(x, member, term, count)
        assert not moving
        return self.values[x.space, slot]

    def result(self, value: str, instruction: Instruction, member: Member, vector: SimdVector) -> None:
        slot, _ = self.slot(instruction.out, member, 0, 1)
        self.values[instruction.out.space, slot] = value


class _Training:
    """Writes @train."""

    def __init__(
        self,
        code: Code,
        update: Program,
        own: Sequence[int],
        count: int,
        states: int,
        machine: Machine,
        clip: Clip | None,
        products: Products | None,
    ) -> None:
        self.own, self.clip, self.products = own, clip, products
        self.code, self.update, self.count, self.states, self.machine = code, update, count, states, machine
        self.width, self.lanes = machine.width, machine.lanes
        self.vectors = machine.lanes // machine.width
        self.field = {name: get(code, name) for name in (*POINTERS, "steps", "first", "last", "slot", "usual", "owns")}
        code.put(f"%v = getelementptr i8, ptr {self.field['v']}, i64 0")  # as operands of instructions name it
        self.values = _Values(code, machine)
        self.maps = Maps(self.values, np.zeros(0, dtype=np.int64))

    def tiles(self) -> None:
        code, field_ = self.code, self.field
        count = code.let(f"sub i64 {field_['last']}, {field_['first']}")

        def one(i: Counter, _: list[str]) -> list[str]:
            tile = code.let(f"add i64 {field_['first']}, {i}")
            put(code, "net", code.linear(0, [(self.lanes, tile)]))
            theta = code.element(field_["theta"], code.linear(0, [(self.count * self.lanes, tile)]))
            self._copy(theta, field_["v"])
            self._own_numbers(tile)
            self._steps(tile)
            self._copy(field_["v"], theta)
            return []

        code.loop(count, one)

    def _copy(self, source: str, target: str) -> None:
        """Copy a tile's parameters."""
        code = self.code

        def one(p: Counter) -> None:
            for begin in range(0, self.lanes, self.width):
                place = code.linear(begin, [(self.lanes, p)])
                code.store(code.load(code.element(source, place), self.width), code.element(target, place), self.width)

        self._each_parameter(one)

    def _own_numbers(self, tile: str) -> None:
        """Write the nets' own numbers to their slots."""
        code, field_ = self.code, self.field
        begin = code.let(f"mul i64 {tile}, {field_['owns']}")

        def one(j: Counter, _: list[str]) -> list[str]:
            slot = code.let(f"load i64, ptr {code.element(field_['own_slots'], str(j), 'i64')}, align 8")
            place = code.let(f"mul i64 {code.let(f'add i64 {begin}, {j}')}, {self.lanes}")
            source, target = code.element(field_["own"], place), code.let(f"mul i64 {slot}, {self.lanes}")
            for lane in range(0, self.lanes, self.width):
                value = code.load(code.element(source, str(lane)), self.width)
                code.store(value, code.element(code.element(field_["v"], target), str(lane)), self.width)
            return []

        code.loop(field_["owns"], one)

    def _steps(self, tile: str) -> None:
        """The steps of a tile, until one of its lanes has a number that is not finite."""
        code, field_ = self.code, self.field
        steps = field_["steps"]
        before = code.block
        code.count += 1
        name = code.count
        code.put(f"br label %step{name}")
        code.label(f"step{name}")
        k, at = f"%k{name}", f"%at{name}"
        mark = len(code.lines)
        more = code.let(f"icmp ult i64 {k}, {steps}")
        code.put(f"br i1 {more}, label %run{name}, label %all{name}")
        code.label(f"run{name}")
        length = code.let(f"load i64, ptr {code.element(field_['lengths'], k, 'i64')}, align 8")
        usual = code.let(f"icmp eq i64 {length}, {field_['usual']}")
        other = code.let(f"select i1 {usual}, i64 0, i64 1")
        gradient = code.let(f"load ptr, ptr {code.element(field_['gradients'], other, 'ptr')}, align 8")
        context = code.let(f"load ptr, ptr {code.element(field_['contexts'], other, 'ptr')}, align 8")
        put(code, "context", context)
        put(code, "at", at)
        put(code, "number", k)
        code.put(f"call void {gradient}(ptr %nets)")
        value = code.element(field_["v"], code.let(f"mul i64 {field_['slot']}, {self.lanes}"))
        here = code.linear(0, [(1, code.let(f"mul i64 {tile}, {steps}")), (1, k)])
        row = code.let(f"mul i64 {here}, {self.lanes}")
        finite = self._measure(value, code.element(field_["losses"], row), tile)
        flag = code.let(f"load i64, ptr {code.element(context, str(FIELDS['flag']), 'i64')}, align 8")
        indexed = code.let(f"icmp eq i64 {flag}, 0")
        code.put(f"br i1 {code.both(finite, indexed)}, label %update{name}, label %stop{name}")
        code.label(f"update{name}")
        rates = code.let(f"load ptr, ptr {code.element(field_['rates'], tile, 'ptr')}, align 8")
        self._update(value, tile, k, code.element(rates, code.let(f"mul i64 {k}, {self.lanes}")))
        end = code.block
        code.put(f"%k.next{name} = add i64 {k}, 1")
        code.put(f"%at.next{name} = add i64 {at}, {length}")
        code.put(f"br label %step{name}")
        code.lines[mark:mark] = [
            f"  {k} = phi i64 [ 0, %{before} ], [ %k.next{name}, %{end} ]",
            f"  {at} = phi i64 [ 0, %{before} ], [ %at.next{name}, %{end} ]",
        ]
        code.label(f"stop{name}")
        reason = code.let(f"select i1 {indexed}, i64 1, i64 2")
        code.put(f"store i64 0, ptr {code.element(context, str(FIELDS['flag']), 'i64')}, align 8")
        code.put(f"br label %over{name}")
        code.label(f"all{name}")
        code.put(f"br label %over{name}")
        code.label(f"over{name}")
        ended = code.let(f"phi i64 [ {reason}, %stop{name} ], [ 0, %all{name} ]")
        code.put(f"store i64 {k}, ptr {code.element(field_['done'], tile, 'i64')}, align 8")
        code.put(f"store i64 {ended}, ptr {code.element(field_['reason'], tile, 'i64')}, align 8")

    def _measure(self, value: str, losses: str, tile: str) -> str:
        """Note the losses; whether they and all numbers of the gradients are finite: x·0 is 0 for those alone."""
        code, width = self.code, self.width
        kind, zero = code.kind.vector(width), code.splat(0.0, width)
        starts = []
        for begin in range(0, self.lanes, width):
            loss = code.load(code.element(value, str(begin)), width)
            code.store(loss, code.element(losses, str(begin)), width)
            starts += [code.binary("fmul", loss, zero, width), zero, zero, zero]
        ways = 4  # sums beside each other, to hide latency

        def some(p: Counter, sums: list[str]) -> list[str]:
            found = []
            for k, total in enumerate(sums):
                begin, way = k // ways * width, k % ways
                place = code.linear((1 + way) * self.lanes + begin, [(ways * self.lanes, p)])
                g = code.load(code.element(value, place), width)
                found.append(code.multiply_add(g, zero, total, width))
            return found

        count = self.count if self.products is None else 1  # their sum
        sums = code.loop(count // ways, some, [(kind, s) for s in starts])
        for p in range(count // ways * ways, count):
            for k in range(0, len(sums), ways):
                at = str((1 + p) * self.lanes + k // ways * width)
                g = code.load(code.element(value, at), width)
                sums[k] = code.multiply_add(g, zero, sums[k], width)
        fine = "true"
        for k in range(0, len(sums), ways):
            total = sums[k]
            for more in sums[k + 1 : k + ways]:
                total = code.binary("fadd", total, more, width)
            place = code.linear(k // ways * width, [(self.lanes, tile)])
            code.store(total, code.element(self.field["odd"], place), width)
            good = code.compare("oeq", total, zero, width)
            if width > 1:
                all_ = f"@llvm.vector.reduce.and.v{width}i1"
                code.declared.add(f"declare i1 {all_}(<{width} x i1>)")
                good = code.let(f"call i1 {all_}(<{width} x i1> {good})")
            fine = good if fine == "true" else code.both(fine, good)
        return fine

    def _update(self, value: str, tile: str, k: str, rates: str) -> None:
        """The rule for every parameter, with all its values in registers."""
        code = self.code
        state = code.element(self.field["state"], code.linear(0, [(self.states * self.count * self.lanes, tile)]))
        hyper = code.element(self.field["hyper"], code.linear(0, [(len(self.own) * self.lanes, tile)]))
        gradient = code.element(value, str(self.lanes))
        for begin in range(0, self.lanes, self.width):
            shared = self._shared(hyper, value, tile, begin, k, rates)
            one = partial(self._one, state, gradient, begin, shared)
            if self.products is None:
                self._each_parameter(one)
            else:
                each(code, self.machine, self.products, partial(_each_product, code, self.products.first, one))

    def _shared(self, hyper: str, value: str, tile: str, begin: int, k: str, rates: str) -> dict[tuple[str, int], str]:
        """The numbers of the rule that are the same for all parameters: constants, the nets' own, the rate, the
        step's number, the factor that clips, and what is computed from these."""
        code, width, update, at = self.code, self.width, self.update, self.values
        at.values = {}
        for q, number in enumerate(update.constants.tolist()):
            at.values["u", update.parameters + q] = code.splat(number, width)
        for q, slot in enumerate(self.own):
            at.values["u", slot] = code.load(code.element(hyper, str(q * self.lanes + begin)), width)
        at.values["u", update.first_uniform_input] = code.load(code.element(rates, str(begin)), width)
        at.values["u", update.first_uniform_input + 1] = self._numbers(tile, begin, k)
        if self.clip is not None:
            known = at.values
            at.values = known | {("u", update.first_uniform_input + 2): self._factor(self.clip, value, begin)}
        self._run(update.before)
        return at.values

    def _one(
        self, state: str, gradient: str, begin: int, shared: dict[tuple[str, int], str], p: Counter,
        known: str | None = None,
    ) -> None:  # fmt: skip
        """The rule for parameter `p`; its gradient is `known`, or read."""
        code, width, update, at = self.code, self.width, self.update, self.values
        at.values = dict(shared)
        place = code.linear(begin, [(self.lanes, p)])
        targets = [code.element(self.field["v"], place)]
        targets += [
            code.element(state, code.linear(s * self.count * self.lanes + begin, [(self.lanes, p)]))
            for s in range(self.states)
        ]
        g = code.load(code.element(gradient, place), width) if known is None else known
        first, *states = [code.load(target, width) for target in targets]
        at.values |= {("v", j): x for j, x in enumerate([first, g, *states])}
        assert update.inputs == 2 + self.states
        self._run(update.block)
        found = [at.values[result] for result in update.results]
        for new, target in zip(found, targets, strict=self.clip is None):
            code.store(new, target, width)

    def _factor(self, clip: Clip, value: str, begin: int) -> str:
        """What each lane's gradient is multiplied by. Sums over parameters have the order of a run alone, whose lanes
        are parameters: as many sums as it has lanes, and then these in pairs."""
        code, width, program, at = self.code, self.width, clip.measure, self.values
        constants = {
            ("u", program.parameters + q): code.splat(number, width) for q, number in enumerate(program.constants)
        }
        sums = [i for step in program.block for i in body_of(step) if i.kind in SUMS_OF_BATCH]

        def added(p: Counter, totals: list[str]) -> list[str]:
            place = code.linear(self.lanes + begin, [(self.lanes, p)])
            at.values = constants | {("v", 0): code.load(code.element(value, place), width)}
            self._run(program.block)
            new = [at.values[i.out.space, i.out.base] for i in sums]
            return [code.binary("fadd", total, one, width) for total, one in zip(totals, new, strict=True)]

        def some(i: Counter, totals: list[str]) -> list[str]:
            return [
                total
                for k in range(width)
                for total in added(code.linear(k, [(width, i)]), totals[k * len(sums) : (k + 1) * len(sums)])
            ]

        zeros = [(code.kind.vector(width), code.splat(0.0, width))] * (width * len(sums))
        totals = code.loop(self.count // width, some, zeros)
        for k in range(self.count % width):
            mine = slice(k * len(sums), (k + 1) * len(sums))
            totals[mine] = added(self.count // width * width + k, totals[mine])
        at.values = dict(constants)
        for k, instruction in enumerate(sums):
            parts = totals[k :: len(sums)]
            while len(parts) > 1:
                half = len(parts) // 2
                parts = [code.binary("fadd", a, b, width) for a, b in zip(parts[:half], parts[half:], strict=True)]
            at.values[instruction.out.space, instruction.out.base] = parts[0]
        first = program.first_uniform_input
        at.values["u", first] = code.load(code.element(value, str(begin)), width)
        at.values["u", first + 1] = code.splat(clip.norm, width)
        self._run(program.after)
        return at.values[program.results[1]]

    def _each_parameter(self, body: Callable[[Counter], None]) -> None:
        """A loop over the parameters, a few in each round."""
        code = self.code

        def some(i: Counter, _: list[str]) -> list[str]:
            for k in range(_TOGETHER):
                body(code.linear(k, [(_TOGETHER, i)]))
            return []

        code.loop(self.count // _TOGETHER, some)
        for p in range(self.count // _TOGETHER * _TOGETHER, self.count):
            body(p)

    def _numbers(self, tile: str, begin: int, k: str) -> str:
        """The step's number in each lane."""
        code, width = self.code, self.width
        net = code.linear(begin, [(self.lanes, tile)])
        integers = "i64" if width == 1 else f"<{width} x i64>"
        firsts = code.let(f"load {integers}, ptr {code.element(self.field['numbers'], net, 'i64')}, align 8")
        count = k
        if width > 1:
            head = code.let(f"insertelement {integers} poison, i64 {k}, i32 0")
            count = code.let(f"shufflevector {integers} {head}, {integers} poison, <{width} x i32> zeroinitializer")
        total = code.let(f"add {integers} {firsts}, {count}")
        return code.let(f"sitofp {integers} {total} to {code.kind.vector(width)}")

    def _run(self, steps: Sequence[object]) -> None:
        vector = SimdVector(AffineCounter(0, 0, 0), self.width, self.width)
        for instruction in steps:
            assert isinstance(instruction, Instruction)
            self.values.dims = instruction.dims
            members = [tuple(AffineCounter(0, 0, c) for c in counters) for counters in np.ndindex(*instruction.dims)]
            body = self.maps.map if instruction.kind == "map" else self.maps.sums.dot
            body(instruction, members, [vector])


def _each_product(code: Code, first: int, one: Callable[[Counter, str], None], found: list[Product]) -> None:
    """The rule with gradients that are known, in the slots from the `first` on."""
    for g, slot, terms in found:
        one(code.linear(slot - first, terms), g)
