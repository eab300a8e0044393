"""The text of the native walks (`walks.py` says what each does)."""

from __future__ import annotations

from typing import Any

from macrograd.compiler.jit.text import DOUBLE, Code, Counter

_LEAST = -(1 << 30)


def text() -> str:
    parts = []
    for name, body in _WALKS.items():
        code = Code(DOUBLE)
        body(code)
        parts += [f"define void @{name}(ptr noalias %context) {{", "entry:", *code.lines, "  ret void", "}"]
    return "\n".join(parts)


# A hash table of entries with linear probing: it is searched from an entry's hash until that entry, an equal one or a
# free place is found. The last multiplication scatters leaves, whose numbers are consecutive: a million places in a row
# would make every search that meets them walk to their end.
_FIRST_EQUALS = """
  br label %entries
entries:
  %i = phi i64 [ 0, %entry ], [ %i.next, %set ]
  %more = icmp slt i64 %i, %count
  br i1 %more, label %describe, label %finished
describe:
  %begin.at = getelementptr i32, ptr %start, i64 %i
  %begin.short = load i32, ptr %begin.at
  %begin = sext i32 %begin.short to i64
  %i.next = add i64 %i, 1
  %end.at = getelementptr i32, ptr %start, i64 %i.next
  %end.short = load i32, ptr %end.at
  %end = sext i32 %end.short to i64
  %kind.at = getelementptr i16, ptr %code, i64 %i
  %kind.short = load i16, ptr %kind.at
  %kind = sext i16 %kind.short to i64
  %leaf.at = getelementptr i64, ptr %bits, i64 %i
  %leaf = load i64, ptr %leaf.at
  %spread = mul i64 %kind, -7046029254386353131
  %seed = xor i64 %spread, %leaf
  br label %hash
hash:
  %k = phi i64 [ %begin, %describe ], [ %k.next, %mix ]
  %h = phi i64 [ %seed, %describe ], [ %h.next, %mix ]
  %hashing = icmp slt i64 %k, %end
  br i1 %hashing, label %mix, label %hashed
mix:
  %used.at = getelementptr i32, ptr %operand, i64 %k
  %used.short = load i32, ptr %used.at
  %used = sext i32 %used.short to i64
  %first.at = getelementptr i32, ptr %found, i64 %used
  %first.short = load i32, ptr %first.at
  %first = sext i32 %first.short to i64
  %mapped.k = getelementptr i32, ptr %mapped, i64 %k
  %first.as.mapped.k = trunc i64 %first to i32
  store i32 %first.as.mapped.k, ptr %mapped.k
  %h.high = lshr i64 %h, 29
  %h.folded = xor i64 %h, %h.high
  %h.with = add i64 %h.folded, %first
  %h.next = mul i64 %h.with, -4658895280553007687
  %k.next = add i64 %k, 1
  br label %hash
hashed:
  %scattered = mul i64 %h, -4658895280553007687
  %top = lshr i64 %scattered, 32
  %place.first = xor i64 %scattered, %top
  br label %probe
probe:
  %place = phi i64 [ %place.first, %hashed ], [ %place.next, %other ]
  %slot = and i64 %place, %mask
  %slot.at = getelementptr i32, ptr %table, i64 %slot
  %j.short = load i32, ptr %slot.at
  %j = sext i32 %j.short to i64
  %free = icmp slt i64 %j, 0
  br i1 %free, label %new, label %compare
compare:
  %kind.j.at = getelementptr i16, ptr %code, i64 %j
  %kind.j.short = load i16, ptr %kind.j.at
  %kind.j = sext i16 %kind.j.short to i64
  %leaf.j.at = getelementptr i64, ptr %bits, i64 %j
  %leaf.j = load i64, ptr %leaf.j.at
  %begin.j.at = getelementptr i32, ptr %start, i64 %j
  %begin.j.short = load i32, ptr %begin.j.at
  %begin.j = sext i32 %begin.j.short to i64
  %j.next = add i64 %j, 1
  %end.j.at = getelementptr i32, ptr %start, i64 %j.next
  %end.j.short = load i32, ptr %end.j.at
  %end.j = sext i32 %end.j.short to i64
  %size = sub i64 %end, %begin
  %size.j = sub i64 %end.j, %begin.j
  %same.kind = icmp eq i64 %kind, %kind.j
  %same.leaf = icmp eq i64 %leaf, %leaf.j
  %same.size = icmp eq i64 %size, %size.j
  %same.both = and i1 %same.kind, %same.leaf
  %same = and i1 %same.both, %same.size
  br i1 %same, label %operands, label %other
operands:
  %c = phi i64 [ 0, %compare ], [ %c.next, %both ]
  %comparing = icmp slt i64 %c, %size
  br i1 %comparing, label %both, label %set
both:
  %mine = add i64 %begin, %c
  %mine.at = getelementptr i32, ptr %mapped, i64 %mine
  %a.short = load i32, ptr %mine.at
  %a = sext i32 %a.short to i64
  %its = add i64 %begin.j, %c
  %its.at = getelementptr i32, ptr %mapped, i64 %its
  %b.short = load i32, ptr %its.at
  %b = sext i32 %b.short to i64
  %c.next = add i64 %c, 1
  %equal = icmp eq i64 %a, %b
  br i1 %equal, label %operands, label %other
other:
  %place.next = add i64 %slot, 1
  br label %probe
new:
  %i.as.slot.at = trunc i64 %i to i32
  store i32 %i.as.slot.at, ptr %slot.at
  br label %set
set:
  %result = phi i64 [ %i, %new ], [ %j, %operands ]
  %result.at = getelementptr i32, ptr %found, i64 %i
  %result.as.result.at = trunc i64 %result to i32
  store i32 %result.as.result.at, ptr %result.at
  br label %entries
finished:"""


def _fields(code: Code, names: str) -> list[str]:
    """The fields of the context by name: arrays, except for two that are numbers."""
    for k, name in enumerate(names.split()):
        kind = "i64" if name in ("mask", "size", "count") else "ptr"
        code.put(f"%{name} = load {kind}, ptr {code.element('%context', str(k), 'i64')}")
    return [f"%{name}" for name in names.split()]


def _first_equals(code: Code) -> None:
    _fields(code, "start operand code mapped table found bits mask count")
    code.lines += _FIRST_EQUALS.splitlines()


def _longest(code: Code) -> None:
    start, operand, own, step, found, count = _fields(code, "start operand own step found count")

    def entry(i: Counter, _: list[str]) -> list[str]:
        def used(k: str, most: list[str]) -> list[str]:
            return [_larger(code, _number(code, found, k), most[0])]

        (most,) = _over_operands(code, start, operand, str(i), used, [("i32", str(_LEAST))])
        deepest = code.let(f"add i32 {most}, {_number(code, step, str(i))}")
        result = _larger(code, deepest, _number(code, own, str(i)))
        code.put(f"store i32 {result}, ptr {code.element(found, str(i), 'i32')}")
        return []

    code.loop(count, entry)


def _in_rounds(code: Code) -> None:
    start, operand, step, held, opens, found, count = _fields(code, "start operand step held opens found count")

    def entry(i: Counter, values: list[str]) -> list[str]:
        most, floor = values
        opening = code.let(f"icmp ne i32 {_number(code, opens, str(i))}, 0")
        floor = code.let(f"select i1 {opening}, i32 {code.let(f'add i32 {most}, 1')}, i32 {floor}")

        def used(k: str, deepest: list[str]) -> list[str]:
            return [_larger(code, _number(code, found, k), deepest[0])]

        (deepest,) = _over_operands(code, start, operand, str(i), used, [("i32", "0")])
        result = code.let(f"add i32 {deepest}, {_number(code, step, str(i))}")
        holding = code.let(f"icmp ne i32 {_number(code, held, str(i))}, 0")
        result = code.let(f"select i1 {holding}, i32 {_larger(code, result, floor)}, i32 {result}")
        code.put(f"store i32 {result}, ptr {code.element(found, str(i), 'i32')}")
        return [_larger(code, most, result), floor]

    code.loop(count, entry, [("i32", "0"), ("i32", "0")])


def _picked(code: Code) -> None:
    start, begin, operand, number, found, count = _fields(code, "start begin operand number found count")

    def entry(i: Counter, _: list[str]) -> list[str]:
        first = _place(code, start, str(i))
        size = code.let(f"sub i64 {_place(code, start, code.let(f'add i64 {i}, 1'))}, {first}")
        source = code.element(operand, _place(code, begin, str(i)), "i32")
        target = code.element(found, first, "i32")

        def one(k: Counter, _: list[str]) -> list[str]:
            result = _number(code, number, _place(code, source, str(k)))
            code.put(f"store i32 {result}, ptr {code.element(target, str(k), 'i32')}")
            return []

        code.loop(size, one)
        return []

    code.loop(count, entry)


def _counted(code: Code) -> None:
    numbers, found, size = _fields(code, "numbers found size")

    def one(i: Counter, _: list[str]) -> list[str]:
        place = code.element(found, _place(code, numbers, str(i)), "i32")
        more = code.let(f"add i32 {code.let(f'load i32, ptr {place}')}, 1")
        code.put(f"store i32 {more}, ptr {place}")
        return []

    code.loop(size, one)


def _reached(code: Code) -> None:
    start, operand, needed, count = _fields(code, "start operand needed count")
    last = code.let(f"sub i64 {count}, 1")

    def entry(i: Counter, _: list[str]) -> list[str]:
        at = code.let(f"sub i64 {last}, {i}")
        mine = code.let(f"load i8, ptr {code.element(needed, at, 'i8')}")

        def used(k: str, _: list[str]) -> list[str]:
            place = code.element(needed, k, "i8")
            mark = code.let(f"or i8 {mine}, {code.let(f'load i8, ptr {place}')}")
            code.put(f"store i8 {mark}, ptr {place}")
            return []

        _over_operands(code, start, operand, at, used, [])
        return []

    code.loop(count, entry)


def _over_operands(code: Code, start: str, operand: str, entry: str, body: Any, carried: Any) -> list[str]:
    begin = _place(code, start, entry)
    end = _place(code, start, code.let(f"add i64 {entry}, 1"))
    mine = code.element(operand, begin, "i32")

    def one(k: Counter, values: list[str]) -> list[str]:
        found: list[str] = body(_place(code, mine, str(k)), values)
        return found

    return code.loop(code.let(f"sub i64 {end}, {begin}"), one, carried)


def _number(code: Code, array: str, at: str) -> str:
    return code.let(f"load i32, ptr {code.element(array, at, 'i32')}")


def _place(code: Code, array: str, at: str) -> str:
    """A number by which an array is indexed."""
    return code.let(f"sext i32 {_number(code, array, at)} to i64")


def _larger(code: Code, a: str, b: str) -> str:
    return code.let(f"select i1 {code.let(f'icmp sgt i32 {a}, {b}')}, i32 {a}, i32 {b}")


_WALKS = {
    "longest": _longest,
    "reached": _reached,
    "first_equals": _first_equals,
    "in_rounds": _in_rounds,
    "picked": _picked,
    "counted": _counted,
}
