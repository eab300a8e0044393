"""The kernel that runs streams: a loop over records, with one inner loop for every operation of the table.

There is one kernel for numbers outside blocks, and one for each number of lanes, compiled once and stored in the disk
cache. Operations composed by a formula are long and rare: a program with such operations in its streams gets a kernel
with a case for these too.

The first program in a new process waits for the kernel. Its text is therefore brief in the baseline tier: operations
share a loop over members, in which a branch chooses one, and sums have one loop, however many terms. No bit differs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import Counter
from macrograd.compiler.program.stream import MORE, SPREAD, SUM, TOTAL
from macrograd.compiler.targets.llvm.code import Code, code_for
from macrograd.compiler.targets.scalar.choice import checked_index
from macrograd.compiler.targets.scalar.composed import as_strict
from macrograd.compiler.targets.scalar.elements import sum_elements
from macrograd.compiler.targets.scalar.machine import Machine
from macrograd.compiler.targets.scalar.routines import is_vector

_FEW_TERMS = 4  # of a sum that has its own code
_More = Callable[[Counter, list[str]], list[str]]

_PARAMETERS = "ptr %u, ptr %v, ptr %words, i64 %count, ptr %flag, i64 %valid"


def kernel(machine: Machine, *, block: bool, composed: tuple[int, ...] = ()) -> native.Native:
    """@stream(u, v, words, count, flag of bad indices, lanes with a sample) for blocks of lanes, or for single numbers;
    `composed` are the codes of the operations with a formula that it must include."""
    return cached_kernel(plain(machine, block=block), block, composed)


def rare(machine: Machine, code: int) -> bool:
    """Whether an operation is composed of others on this machine, so that only programs that need it get its case."""
    row = ops.TABLE[code]
    strict = as_strict(row, strict=machine.strict, portable=machine.portable)
    return row.formula is not None or (strict and row.portable is not None)


def plain(machine: Machine, *, block: bool) -> Machine:
    """The machine without attributes irrelevant to a kernel: single numbers have no lanes and no sums over them."""
    machine = replace(machine, flat=False)
    return machine if block else replace(machine, lanes=1, single=True)


@native.Shared
def cached_kernel(machine: Machine, block: bool, composed: tuple[int, ...]) -> native.Native:
    key = f"kernel {machine} {block} {[ops.TABLE[code].name for code in composed]}".encode()

    def text(brief: bool) -> tuple[str, NDArray[np.int32]]:
        return kernel_text(machine, block, composed, brief=brief), np.zeros(1, dtype=np.int32)

    return native.Native(
        key, ("stream",), partial(text, False), tiers=True, parameters=_PARAMETERS, brief=partial(text, True)
    )


def kernel_text(machine: Machine, block: bool, composed: tuple[int, ...] = (), *, brief: bool = False) -> str:
    code = code_for(machine.kind, strict=machine.strict, portable=machine.portable)
    codes = [row.code for row in ops.TABLE if row.arity in (1, 2, 3) and not rare(machine, row.code)]
    codes += [*composed, ops.take.code, SUM] + ([SPREAD, TOTAL, MORE] if block else [])
    code.put("br label %head")
    code.label("head")
    at = code.let("phi ptr [ %words, %entry ], [ %following, %next ]")
    end = code.element("%words", "%count", "i32")
    more = code.let(f"icmp ult ptr {at}, {end}")
    code.put(f"br i1 {more}, label %record, label %finished")
    code.label("record")
    op, n, arity = (code.let(f"load i32, ptr {code.element(at, str(k), 'i32')}, align 4") for k in range(3))
    wide = code.let(f"zext i32 {n} to i64")
    lists = [code.element(at, "3", "i32")]
    for _ in range(3):
        lists.append(code.element(lists[-1], wide, "i32"))
    lists_ = code.let(f"add i64 {code.let(f'zext i32 {arity} to i64')}, 1")
    size = code.let(f"mul i64 {wide}, {lists_}")
    code.put(f"%following = getelementptr i32, ptr {lists[0]}, i64 {size}")
    (_BriefCase if brief else _Case)(code, machine, block, wide, lists, arity).write_all(op, codes)
    code.label("next")
    code.put("br label %head")
    code.label("finished")
    code.put("ret void")
    size_ = machine.vector_bytes * 8
    return "\n".join(
        [
            *sorted(code.declared),
            f"define void @stream({_PARAMETERS.replace('ptr', 'ptr noalias')}) #0 {{",
            "entry:",
            *code.lines,
            "}",
            f'attributes #0 = {{ nounwind "min-legal-vector-width"="{size_}" }}',
        ]
    )


class _Case:
    """The inner loop of one operation."""

    def __init__(self, code: Code, machine: Machine, block: bool, count: str, lists: list[str], arity: str) -> None:
        self.code, self.machine, self.block, self.count, self.lists, self.arity = (
            code,
            machine,
            block,
            count,
            lists,
            arity,
        )
        self.lanes = machine.lanes if block else 1
        self.width = min(machine.width, self.lanes)

    def write_all(self, op: str, codes: list[int]) -> None:
        """A case for each of these codes; `op` is the record's."""
        self._cases(op, {f"op{c}": ([c], partial(self.write, c)) for c in codes})

    def _cases(self, op: str, cases: Mapping[str, tuple[list[int], Callable[[], None]]], after: str = "next") -> None:
        """By label: the codes of a case, and what writes it."""
        table = " ".join(f"i32 {c}, label %{label}" for label, (codes, _) in cases.items() for c in codes)
        self.code.put(f"switch i32 {op}, label %{after} [ {table} ]")
        for label, (_, write) in cases.items():
            self.code.label(label)
            write()
            self.code.put(f"br label %{after}")

    def write(self, op: int) -> None:
        if op == SUM:
            self._sums()
            return
        special = {SPREAD: self._spread, TOTAL: self._total, MORE: self._more, ops.take.code: self._take}
        body = special.get(op)
        if body is None:
            row = ops.TABLE[op]
            if not self.block and row.costly and is_vector(row) and self.machine.width > 1:
                self._several(row)
                return

            def body(i: Counter) -> None:
                self._map(row, [self._pointer(k, i) for k in range((row.arity or 0) + 1)])

        self._members(body)

    def _members(self, body: Callable[[Counter], None]) -> None:
        def member(i: Counter, _: list[str]) -> list[str]:
            body(i)
            return []

        self.code.loop(self.count, member)

    def _several(self, row: ops.Op) -> None:
        """Numbers outside blocks, several members at a time; the last one fills the last vector."""
        code, width = self.code, self.machine.width
        vectors = code.let(f"udiv i64 {code.let(f'add i64 {self.count}, {width - 1}')}, {width}")
        last = code.let(f"sub i64 {self.count}, 1")

        def some(v: Counter, _: list[str]) -> list[str]:
            members = []
            for k in range(width):
                i = code.linear(k, [(width, v)])
                here = code.let(f"icmp slt i64 {i}, {last}")
                members.append(code.let(f"select i1 {here}, i64 {i}, i64 {last}"))
            operands = [
                code.gathered([code.load(self._pointer(k, i), 1) for i in members], width)
                for k in range(1, (row.arity or 0) + 1)
            ]
            found = code.apply(row, operands, width)
            for k, i in enumerate(members):
                code.store(code.extract(found, k, width), self._pointer(0, i), 1)
            return []

        code.loop(vectors, some)

    def _sums(self) -> None:
        """Sums of products: those of few terms without a loop over them."""
        code = self.code
        terms = code.let(f"zext i32 {code.let(f'lshr i32 {self.arity}, 1')} to i64")
        cases = " ".join(f"i64 {t}, label %terms{t}" for t in range(1, _FEW_TERMS + 1))
        code.put(f"switch i64 {terms}, label %terms [ {cases} ]")
        for t in range(1, _FEW_TERMS + 1):
            code.label(f"terms{t}")
            self._members(partial(self._sum, terms=t))
            code.put("br label %next")
        code.label("terms")
        self._members(partial(self._sum, terms=terms))

    def _sum(self, i: Counter, terms: int | str) -> None:
        """One member, in the order of its products; outside blocks and strict mode, many are several sums at once."""
        code, width = self.code, self.width
        out, vectors = self._pointer(0, i), self.lanes // width
        tile = next(tile for tile in (4, 3, 2, 1) if vectors % tile == 0)

        def vector(begin: Counter, _: list[str]) -> list[str]:
            def more(t: Counter, sums: list[str]) -> list[str]:
                """Add product t of these vectors; the first one if there are no sums yet."""
                lists = code.element(self.lists[1], code.linear(0, [(1, i), (2, self._times(t))]), "i32")
                a, b = (self._at(place) for place in (lists, code.element(lists, self.count, "i32")))
                found = []
                for k in range(tile):
                    offset = code.linear(k * width, [(width * tile, begin)])
                    x, y = (code.load(code.element(p, offset), width) for p in (a, b))
                    found.append(code.multiply_add(x, y, sums[k], width) if sums else code.binary("fmul", x, y, width))
                return found

            for k, x in enumerate(self._summed(terms, more, tile)):
                code.store(x, code.element(out, code.linear(k * width, [(width * tile, begin)])), width)
            return []

        code.loop(vectors // tile, vector)

    def _summed(self, terms: int | str, more: _More, tile: int) -> list[str]:
        """The sums in as many vectors as are in a tile."""
        code = self.code
        if isinstance(terms, int):
            sums = more(0, [])
            for t in range(1, terms):
                sums = more(t, sums)
            return sums
        if self.block or self.machine.in_order:
            left = code.let(f"sub i64 {terms}, 1")
            first = [(code.kind.vector(self.width), x) for x in more(0, [])]
            return code.loop(left, lambda t, sums: more(code.linear(1, [(1, t)]), sums), first)
        return [self._long(terms, more)]

    def _long(self, terms: str, more: _More) -> str:
        """A number that is the sum of more than `_FEW_TERMS` products."""
        code, name = self.code, self.code.kind.name
        rounds = code.let(f"udiv i64 {terms}, {_FEW_TERMS}")

        def some(r: Counter, sums: list[str]) -> list[str]:
            return [more(code.linear(k + _FEW_TERMS, [(_FEW_TERMS, r)]), [x])[0] for k, x in enumerate(sums)]

        first = [(name, more(k, [])[0]) for k in range(_FEW_TERMS)]
        sums = code.loop(code.let(f"sub i64 {rounds}, 1"), some, first)
        done = code.let(f"mul i64 {rounds}, {_FEW_TERMS}")
        rest = code.let(f"sub i64 {terms}, {done}")
        sums[:1] = code.loop(rest, lambda t, x: more(code.linear(0, [(1, done), (1, t)]), x), [(name, sums[0])])
        return self._together(sums)

    def _together(self, sums: list[str]) -> str:
        while len(sums) > 1:
            sums = [self.code.binary("fadd", a, b, 1) for a, b in zip(sums[::2], sums[1::2], strict=True)]
        return sums[0]

    def _times(self, t: Counter) -> Counter:
        """The length of t lists."""
        if t == 0:
            return 0
        return self.count if t == 1 else self.code.let(f"mul i64 {self.count}, {t}")

    def _pointer(self, which: int, i: Counter, *, uniform: bool = False) -> str:
        """The address of a member's operand (0: its result)."""
        return self._at(self.code.element(self.lists[which], str(i), "i32"), uniform=uniform)

    def _at(self, place: str, *, uniform: bool = False) -> str:
        """The address of the slot in this place of a list."""
        code = self.code
        slot = code.let(f"sext i32 {code.let(f'load i32, ptr {place}, align 4')} to i64")
        if uniform or not self.block:
            return code.element("%u", slot)
        return code.element("%v", code.let(f"mul i64 {slot}, {self.lanes}"))

    def _vectors(self, body: Callable[[Counter, list[str]], list[str]]) -> None:
        self.code.loop(self.lanes // self.width, body, unroll=2)

    def _map(self, row: ops.Op, pointers: list[str]) -> None:
        code, width = self.code, self.width

        def vector(lane: Counter, _: list[str]) -> list[str]:
            offset = code.linear(0, [(width, lane)])
            xs = [code.load(code.element(p, offset), width) for p in pointers[1:]]
            code.store(code.apply(row, xs, width), code.element(pointers[0], offset), width)
            return []

        self._vectors(vector)

    def _spread(self, i: Counter) -> None:
        code, width = self.code, self.width
        value = code.broadcast(code.load(self._pointer(1, i, uniform=True), 1), width)
        out = self._pointer(0, i)

        def vector(lane: Counter, _: list[str]) -> list[str]:
            code.store(value, code.element(out, code.linear(0, [(width, lane)])), width)
            return []

        self._vectors(vector)

    def _take(self, i: Counter) -> None:
        """The value that each lane's index chooses from lists of values stored one after the other."""
        code, kind = self.code, self.code.kind
        count = code.let(f"sub i32 {self.arity}, 1")
        values = code.let(f"sitofp i32 {count} to {kind.name}")
        index, out = self._pointer(1, i), self._pointer(0, i)

        def one(lane: Counter, _: list[str]) -> list[str]:
            good, k = checked_index(code, code.load(code.element(index, str(lane)), 1), code.splat(0.0, 1), values)
            code.raise_flag(good)
            list_ = code.let(f"mul i64 {k}, {self.count}")
            at = code.element(code.element(self.lists[2], list_, "i32"), str(i), "i32")
            slot = code.let(f"sext i32 {code.let(f'load i32, ptr {at}, align 4')} to i64")
            place = code.linear(0, [(1, code.let(f"mul i64 {slot}, {self.lanes}")), (1, lane)])
            value = code.load(code.element("%v" if self.block else "%u", place), 1)
            code.store(value, code.element(out, str(lane)), 1)
            return []

        code.loop(self.lanes, one)

    def _more(self, i: Counter) -> None:
        self._total(i, begun=True)

    def _total(self, i: Counter, begun: bool = False) -> None:
        """The sum over the lanes of a (arity 1) or a·b (arity 2), added to that of earlier terms or blocks.

        Lanes without a sample repeat the last one with weight 0, and are left out: 0·∞ is NaN.
        """
        code, width = self.code, self.width
        kind = code.kind.vector(width)
        a = self._pointer(1, i)
        two = code.let(f"icmp eq i32 {self.arity}, 2")
        # With one operand, the following list belongs to the next record: read the first operand again instead.
        second = code.let(f"select i1 {two}, ptr {self.lists[2]}, ptr {self.lists[1]}")
        index = code.let(f"load i32, ptr {code.element(second, str(i), 'i32')}, align 4")
        b = code.element("%v", code.let(f"mul i64 {code.let(f'sext i32 {index} to i64')}, {self.lanes}"))
        one = code.splat(1.0, width)
        out = self._pointer(0, i, uniform=True)
        begun = begun or not self.machine.single
        in_order = self.machine.in_order
        if in_order:
            width, kind, one = 1, code.kind.name, code.splat(1.0, 1)
        choose = f"select i1 {two}, {kind} "

        def vector(lane: Counter, sums: list[str]) -> list[str]:
            offset = code.linear(0, [(width, lane)])
            x, y = code.load(code.element(a, offset), width), code.load(code.element(b, offset), width)
            more = code.multiply_add(x, code.let(f"{choose}{y}, {kind} {one}"), sums[0], width)
            left = code.let(f"sub i64 %valid, {code.linear(0, [(width, lane)])}")
            mask = code.first_lanes(left, width) if width > 1 else code.let(f"icmp sgt i64 {left}, 0")
            return [code.select(mask, more, sums[0], width)]

        start = code.load(out, 1) if in_order and begun else code.splat(0.0, width)
        (total,) = code.loop(self.lanes // width, vector, [(kind, start)])
        if width > 1:
            total = sum_elements(code, [total], width)
        if begun and not in_order:
            total = code.binary("fadd", code.load(out, 1), total, 1)
        code.store(total, out, 1)


class _BriefCase(_Case):
    """The same in fewer lines: they are compiled while somebody waits, and run only until better code is ready."""

    def write_all(self, op: str, codes: list[int]) -> None:
        """Operations of the table share a loop."""
        shared = [c for c in codes if c < SUM and c != ops.take.code]
        own = {f"op{c}": ([c], partial(self.write, c)) for c in codes if c not in shared}

        def member(i: Counter) -> None:
            first = [self._pointer(0, i), self._pointer(1, i)]

            def write(row: ops.Op) -> None:
                self._map(row, first + [self._pointer(k, i) for k in range(2, (row.arity or 0) + 1)])

            self._cases(op, {f"op{c}": ([c], partial(write, ops.TABLE[c])) for c in shared}, "computed")
            self.code.label("computed")

        self._cases(op, own | {"shared": (shared, partial(self._members, member))})

    def _sums(self) -> None:
        code = self.code
        terms = code.let(f"zext i32 {code.let(f'lshr i32 {self.arity}, 1')} to i64")
        self._members(partial(self._sum, terms=terms))

    def _summed(self, terms: int | str, more: _More, tile: int) -> list[str]:
        """Sums begin with −0.0: x + −0.0 is x, whatever x is."""
        code, zero = self.code, self.code.splat(-0.0, self.width)
        kind = code.kind.vector(self.width)
        if self.block or self.machine.in_order:
            return code.loop(terms, more, [(kind, zero)] * tile)
        # Sums of many terms are several, to which products are added in turn.
        many = code.let(f"icmp ugt i64 {terms}, {_FEW_TERMS}")
        apart = code.let(f"select i1 {many}, i64 {code.let(f'and i64 {terms}, -{_FEW_TERMS}')}, i64 0")
        begun = [(kind, zero)] * _FEW_TERMS
        sums = code.loop(apart, lambda t, sums: [*sums[1:], *more(t, sums[:1])], begun)
        rest = code.let(f"sub i64 {terms}, {apart}")
        sums[:1] = code.loop(rest, lambda t, x: more(code.linear(0, [(1, apart), (1, t)]), x), [(kind, sums[0])])
        return [self._together(sums)]
