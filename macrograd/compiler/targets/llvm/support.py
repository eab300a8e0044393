"""Functions that rolled code calls, compiled once for all programs.

Rolled code is compiled quickly and runs slowly. Most of a run of most programs is sums of products, so these are here
instead: they add their terms in the order in which all other code adds them, many terms and two vectors in a round, so
that they are fast without being optimised, which would take four times as long. `Context.support` leads to the
functions' addresses.

    fill(place, number, vectors)                                      `Library.fill`
    dot(place, a, step, b, stride, count, vectors)                    `Library.add_products`
    clean(v, valid, lanes, begin, end)                                `Code.clean`
    outer(out, row, a, step, b, columns, rows, lanes, memory)         `Library.outer_products`
"""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import Counter, Float
from macrograd.compiler.targets.llvm.context import SUPPORT

if TYPE_CHECKING:
    from macrograd.compiler.targets.llvm.code import Code

_AT_ONCE = 8  # terms in a round of a loop
_TOGETHER = 2  # vectors with the same terms
_PARAMETERS = {
    "fill": "ptr %place, {number} %number, i64 %vectors",
    "dot": "ptr %place, ptr %a, i64 %step, ptr %b, i64 %stride, i64 %count, i64 %vectors",
    "outer": "ptr %out, i64 %row, ptr %a, i64 %step, ptr %b, i64 %columns, i64 %rows, i64 %lanes, ptr %memory",
    "clean": "ptr %v, i64 %valid, i64 %lanes, i64 %begin, i64 %end",
}


@native.Shared
def table(kind: Float, width: int, *, strict: bool) -> Any:
    """The addresses of the functions."""
    code = compiled(kind, width, strict)
    return (ctypes.c_void_p * len(SUPPORT))(*[code.address(name) for name in SUPPORT])


@native.Shared
def compiled(kind: Float, width: int, strict: bool) -> native.Native:
    def write() -> tuple[str, Any]:
        from macrograd.compiler.targets.llvm.code import code_for  # only for code that is not in the cache

        functions: list[str] = []
        declared: set[str] = set()
        for name, body in (("fill", _fill), ("dot", _dot), ("outer", _outer), ("clean", _clean)):
            code = code_for(kind, strict=strict)
            body(code, width)
            head = f"define void @{name}({_PARAMETERS[name].replace('{number}', kind.name)}) #0 {{"
            functions.append("\n".join([head, "entry:", *code.lines, "  ret void", "}"]))
            declared |= code.declared
        attributes = f'attributes #0 = {{ nounwind "min-legal-vector-width"="{width * kind.bits}" }}'
        return "\n".join([*sorted(declared), *functions, attributes]), np.zeros(1, dtype=np.int32)

    return native.Native(f"support {kind.name} {width} {strict}".encode(), SUPPORT, write, quick=True)


def _times(code: Code, counter: Counter, factor: str) -> str:
    return code.let(f"mul i64 {counter}, {factor}")


def _fill(code: Code, width: int) -> None:
    wide = code.broadcast("%number", width)

    def one(v: Counter, _: list[str]) -> list[str]:
        code.store(wide, code.element("%place", code.linear(0, [(width, v)])), width)
        return []

    code.loop("%vectors", one)


def _clean(code: Code, width: int) -> None:
    from macrograd.compiler.targets.llvm.frame import write_clean

    write_clean(code, "%valid", "%lanes")


def _dot(code: Code, width: int) -> None:
    kind = code.kind.vector(width)

    def several(vectors: int, first: str, v: Counter) -> list[str]:
        """The sums in this many vectors, from vector number first + vectors·v on."""
        offset = code.linear(0, [(width, first if vectors == 1 else 0), (width * vectors, v)])
        places = [code.element(code.element("%place", offset), str(k * width)) for k in range(vectors)]
        begin = code.element("%b", offset)

        def some(term: Counter, terms: int, sums: list[str]) -> list[str]:
            """The sums with this many more terms."""
            a = code.element("%a", _times(code, term, "%step"))
            b = code.element(begin, _times(code, term, "%stride"))
            for t in range(terms):
                if t:
                    a, b = code.element(a, "%step"), code.element(b, "%stride")
                number = code.broadcast(code.load(a, 1), width)
                factors = [code.load(code.element(b, str(k * width)), width) for k in range(vectors)]
                sums = [code.multiply_add(number, x, y, width) for x, y in zip(factors, sums, strict=True)]
            return sums

        def rest(t: Counter, sums: list[str]) -> list[str]:
            return some(code.let(f"add i64 {done}, {t}"), 1, sums)

        sums = [(kind, code.load(place, width)) for place in places]
        found = code.loop(rounds, lambda r, sums: some(code.linear(0, [(_AT_ONCE, r)]), _AT_ONCE, sums), sums)
        found = code.loop(left, rest, [(kind, x) for x in found])
        for total, place in zip(found, places, strict=True):
            code.store(total, place, width)
        return []

    rounds = code.let(f"udiv i64 %count, {_AT_ONCE}")
    done = code.let(f"mul i64 {rounds}, {_AT_ONCE}")
    left = code.let(f"sub i64 %count, {done}")
    tiles = code.let(f"udiv i64 %vectors, {_TOGETHER}")
    whole = code.let(f"mul i64 {tiles}, {_TOGETHER}")
    code.loop(tiles, lambda v, _: several(_TOGETHER, "0", v))
    code.loop(code.let(f"sub i64 %vectors, {whole}"), lambda v, _: several(1, whole, v))


def _outer(code: Code, width: int) -> None:
    """For each vector of columns: these in [lane][column] order, and with them all rows. There are whole vectors of
    lanes."""
    kind, some = code.kind.vector(width), min(width, _AT_ONCE)

    def per_vector(p: Counter, _: list[str]) -> list[str]:
        first = code.linear(0, [(width, p)])
        begin = code.element("%b", _times(code, first, "%lanes"))

        def turn(lane: Counter, _: list[str]) -> list[str]:
            source, target = code.element(begin, str(lane)), code.element("%memory", code.linear(0, [(width, lane)]))
            for k in range(width):
                code.store(code.load(source, 1), code.element(target, str(k)), 1)
                source = code.element(source, "%lanes")
            return []

        def per_row(i: Counter, _: list[str]) -> list[str]:
            head = code.element("%a", _times(code, i, "%step"))

            def lanes(r: Counter, values: list[str]) -> list[str]:
                (total,) = values
                number = code.element(head, code.linear(0, [(some, r)]))
                column = code.element("%memory", code.linear(0, [(some * width, r)]))
                for k in range(some):
                    left = code.broadcast(code.load(code.element(number, str(k)), 1), width)
                    right = code.load(code.element(column, str(k * width)), width)
                    total = code.multiply_add(left, right, total, width)
                return [total]

            (total,) = code.loop(rounds, lanes, [(kind, code.splat(0.0, width))])
            place = code.linear(0, [(1, _times(code, i, "%row")), (1, first)])
            code.store(total, code.element("%out", place), width)
            return []

        code.loop("%lanes", turn)
        code.loop("%rows", per_row)
        return []

    rounds = code.let(f"udiv i64 %lanes, {some}")
    code.loop(code.let(f"udiv i64 %columns, {width}"), per_vector)
