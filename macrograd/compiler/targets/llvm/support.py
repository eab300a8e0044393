"""Functions that rolled code calls, compiled once for all programs.

Rolled code is compiled quickly and runs slowly. Most of a run of most programs is sums of products, so these are here
instead, and optimised: they add their terms in the order in which all other code adds them. `Context.support` leads to
the functions' addresses.

    dot(sums, a, step, b, stride, count, vectors)                     `Library.add_products`
    outer(out, row, a, step, b, columns, rows, lanes, memory)         `Library.outer_products`
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import Counter, Float
from macrograd.compiler.targets.llvm.code import Code, code_for
from macrograd.compiler.targets.llvm.context import SUPPORT

_PARAMETERS = {
    "dot": "ptr %sums, ptr %a, i64 %step, ptr %b, i64 %stride, i64 %count, i64 %vectors",
    "outer": "ptr %out, i64 %row, ptr %a, i64 %step, ptr %b, i64 %columns, i64 %rows, i64 %lanes, ptr %memory",
}


@native.Shared
def table(kind: Float, width: int, *, strict: bool) -> Any:
    """The addresses of the functions."""
    code = compiled(kind, width, strict)
    return (ctypes.c_void_p * len(SUPPORT))(*[code.address(name) for name in SUPPORT])


@native.Shared
def compiled(kind: Float, width: int, strict: bool) -> native.Native:
    def write() -> tuple[str, Any]:
        functions: list[str] = []
        declared: set[str] = set()
        for name, body in (("dot", _dot), ("outer", _outer)):
            code = code_for(kind, strict=strict)
            body(code, width)
            head = f"define void @{name}({_PARAMETERS[name]}) #0 {{"
            functions.append("\n".join([head, "entry:", *code.lines, "  ret void", "}"]))
            declared |= code.declared
        attributes = f'attributes #0 = {{ nounwind "min-legal-vector-width"="{width * kind.bits}" }}'
        return "\n".join([*sorted(declared), *functions, attributes]), np.zeros(1, dtype=np.int32)

    return native.Native(f"support {kind.name} {width} {strict}".encode(), SUPPORT, write)


def _times(code: Code, counter: Counter, factor: str) -> str:
    return code.let(f"mul i64 {counter}, {factor}")


def _dot(code: Code, width: int) -> None:
    kind = code.kind.vector(width)

    def per_vector(v: Counter, _: list[str]) -> list[str]:
        offset = code.linear(0, [(width, v)])
        place, begin = code.element("%sums", offset), code.element("%b", offset)

        def per_term(t: Counter, values: list[str]) -> list[str]:
            number = code.broadcast(code.load(code.element("%a", _times(code, t, "%step")), 1), width)
            vector = code.load(code.element(begin, _times(code, t, "%stride")), width)
            return [code.multiply_add(number, vector, values[0], width)]

        (total,) = code.loop("%count", per_term, [(kind, code.load(place, width))])
        code.store(total, place, width)
        return []

    code.loop("%vectors", per_vector)


def _outer(code: Code, width: int) -> None:
    """For each vector of columns: these in [lane][column] order, and with them all rows."""
    kind = code.kind.vector(width)

    def per_vector(p: Counter, _: list[str]) -> list[str]:
        first = code.linear(0, [(width, p)])
        begin = code.element("%b", _times(code, first, "%lanes"))

        def turn(lane: Counter, _: list[str]) -> list[str]:
            def one(k: Counter, _: list[str]) -> list[str]:
                source = code.element(begin, code.linear(0, [(1, _times(code, k, "%lanes")), (1, lane)]))
                code.store(code.load(source, 1), code.element("%memory", code.linear(0, [(width, lane), (1, k)])), 1)
                return []

            code.loop(width, one)
            return []

        def per_row(i: Counter, _: list[str]) -> list[str]:
            head = code.element("%a", _times(code, i, "%step"))

            def per_lane(lane: Counter, values: list[str]) -> list[str]:
                number = code.broadcast(code.load(code.element(head, str(lane)), 1), width)
                column = code.load(code.element("%memory", code.linear(0, [(width, lane)])), width)
                return [code.multiply_add(number, column, values[0], width)]

            (total,) = code.loop("%lanes", per_lane, [(kind, code.splat(0.0, width))])
            place = code.linear(0, [(1, _times(code, i, "%row")), (1, first)])
            code.store(total, code.element("%out", place), width)
            return []

        code.loop("%lanes", turn)
        code.loop("%rows", per_row)
        return []

    code.loop(code.let(f"udiv i64 %columns, {width}"), per_vector)
