"""The native loop over training steps: gradient, clipping, the test for finite numbers, update."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

import numpy as np

from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import Code, Counter, Float
from macrograd.compiler.targets.llvm.context import FIELDS, field, field_address


class Steps(ctypes.Structure):
    """What @train works on."""

    _fields_ = (
        ("gradient_run", ctypes.c_void_p),
        ("gradient_context", ctypes.c_void_p),
        ("update_run", ctypes.c_void_p),
        ("update_context", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("lengths", ctypes.c_void_p),
        ("rates", ctypes.c_void_p),
        ("losses", ctypes.c_void_p),
        ("value", ctypes.c_void_p),
        ("gradient", ctypes.c_void_p),
        ("parameters", ctypes.c_int64),
        ("rate_slot", ctypes.c_void_p),
        ("step_slot", ctypes.c_void_p),
        ("step", ctypes.c_int64),
        ("steps", ctypes.c_int64),
        ("done", ctypes.c_int64),
        ("reason", ctypes.c_int64),
        ("clip", ctypes.c_double),
    )


_LOOP = {name: k for k, (name, *_) in enumerate(Steps._fields_)}


@cache
def driver(kind: Float) -> native.Native:
    """The loop itself: the same code for all programs, which it calls by their addresses."""
    code = Code(kind)
    pointers = (
        "gradient_run",
        "gradient_context",
        "update_run",
        "update_context",
        "order",
        "lengths",
        "rates",
        "losses",
        "value",
        "gradient",
        "rate_slot",
        "step_slot",
    )
    at = {key: field(code, _LOOP[key], "ptr") for key in pointers}
    count, first, steps = (field(code, _LOOP[key], "i64") for key in ("parameters", "step", "steps"))
    clip = field(code, _LOOP["clip"], "double")
    code.put("br label %head")
    code.label("head")
    k = code.let("phi i64 [ 0, %entry ], [ %k.next, %updated ]")
    rows = code.let("phi ptr [ " + at["order"] + ", %entry ], [ %rows.next, %updated ]")
    more = code.let(f"icmp ult i64 {k}, {steps}")
    code.put(f"br i1 {more}, label %step, label %all")
    code.label("step")
    length = code.let(f"load i64, ptr {code.element(at['lengths'], k, 'i64')}, align 8")

    def put(context: str, key: str, kind_: str, value: str) -> None:
        code.put(f"store {kind_} {value}, ptr {code.element(context, str(FIELDS[key]), 'i64')}, align 8")

    put(at["gradient_context"], "samples", "i64", length)
    put(at["gradient_context"], "order", "ptr", rows)
    put(
        at["gradient_context"],
        "scale",
        "double",
        code.let(f"fdiv double 1.0, {code.let(f'sitofp i64 {length} to double')}"),
    )
    code.put(f"call void {at['gradient_run']}(ptr {at['gradient_context']})")
    value = code.load(at["value"], 1)
    loss = value if kind.bits == 64 else code.let(f"fpext float {value} to double")
    code.put(f"store double {loss}, ptr {code.element(at['losses'], k, 'double')}, align 8")
    flag = code.let(f"load i64, ptr {code.element(at['gradient_context'], str(FIELDS['flag']), 'i64')}, align 8")
    code.put(f"br i1 {code.let(f'icmp ne i64 {flag}, 0')}, label %index, label %measure")
    code.label("measure")
    _measure(code, at["gradient"], count, loss, clip)
    code.label("updating")
    rate = code.let(f"load double, ptr {code.element(at['rates'], k, 'double')}, align 8")
    number_ = code.let(f"sitofp i64 {code.let(f'add i64 {first}, {k}')} to double")
    for slot, x in (("rate_slot", rate), ("step_slot", number_)):
        code.store(x if kind.bits == 64 else code.let(f"fptrunc double {x} to float"), at[slot], 1)
    code.put(f"call void {at['update_run']}(ptr {at['update_context']})")
    code.put("br label %updated")
    code.label("updated")
    code.put(f"%rows.next = getelementptr i64, ptr {rows}, i64 {length}")
    code.put(f"%k.next = add i64 {k}, 1")
    code.put("br label %head")
    for label, reason in (("all", 0), ("bad", 1), ("index", 2)):
        code.label(label)
        code.put(f"store i64 {k}, ptr {field_address(code, _LOOP['done'])}, align 8")
        code.put(f"store i64 {reason}, ptr {field_address(code, _LOOP['reason'])}, align 8")
        code.put("ret void")
    text = "\n".join([*sorted(code.declared), "define void @train(ptr %context) {", "entry:", *code.lines, "}"])
    key = f"train {kind.name} {native.machine().vector_bytes}".encode()
    return native.Native(key, ("train",), lambda: (text, np.zeros(1, dtype=np.int32)))


def _measure(code: Code, gradient: str, count: str, loss: str, clip: str) -> None:
    """Go to %bad if the loss or an element of the gradient is not finite; scale the gradient to the norm `clip`."""
    kind = code.kind
    width = native.machine().vector_bytes // kind.bytes
    vector = kind.vector(width)
    zero = code.splat(0.0, width)
    whole = code.let(f"udiv i64 {count}, {width}")
    # x·0 is 0 for every finite x and NaN for the others, so one sum tells about all.
    odd = code.let("fmul double " + loss + ", 0.0")

    def sums(size: int) -> Callable[[Counter, list[str]], list[str]]:
        def body(i: Counter, values: list[str]) -> list[str]:
            x = code.load(code.element(gradient, code.linear(0, [(size, i)])), size)
            product = code.let(f"fmul {kind.vector(size)} {x}, {code.splat(0.0, size)}")
            square = code.let(f"fmul {kind.vector(size)} {x}, {x}")
            return [
                code.let(f"fadd {kind.vector(size)} {values[0]}, {product}"),
                code.let(f"fadd {kind.vector(size)} {values[1]}, {square}"),
            ]

        return body

    some = code.let(f"icmp ugt i64 {whole}, 0")
    before = code.block
    code.put(f"br i1 {some}, label %wide, label %narrow")
    code.label("wide")
    wide = code.loop(whole, sums(width), [(vector, zero), (vector, zero)])
    added = [
        code.let(
            f"call {kind.name} @llvm.vector.reduce.fadd.{kind.intrinsic(width)}"
            f"({kind.name} {code.splat(0.0, 1)}, {vector} {x})"
        )
        for x in wide
    ]
    code.declared.add(f"declare {kind.name} @llvm.vector.reduce.fadd.{kind.intrinsic(width)}({kind.name}, {vector})")
    after = code.block
    code.put("br label %narrow")
    code.label("narrow")
    start = [code.let(f"phi {kind.name} [ {code.splat(0.0, 1)}, %{before} ], [ {x}, %{after} ]") for x in added]
    done = code.let(f"mul i64 {whole}, {width}")
    rest = code.let(f"sub i64 {count}, {done}")
    here = code.block
    code.put(f"br i1 {code.let(f'icmp ugt i64 {rest}, 0')}, label %tail, label %measured")
    code.label("tail")

    def single(i: Counter, values: list[str]) -> list[str]:
        x = code.load(code.element(gradient, code.let(f"add i64 {done}, {i}")), 1)
        product = code.let(f"fmul {kind.name} {x}, {code.splat(0.0, 1)}")
        square = code.let(f"fmul {kind.name} {x}, {x}")
        return [
            code.let(f"fadd {kind.name} {values[0]}, {product}"),
            code.let(f"fadd {kind.name} {values[1]}, {square}"),
        ]

    tail = code.loop(rest, single, [(kind.name, x) for x in start])
    end = code.block
    code.put("br label %measured")
    code.label("measured")
    odds, squares = (
        code.let(f"phi {kind.name} [ {a}, %{here} ], [ {b}, %{end} ]") for a, b in zip(start, tail, strict=True)
    )
    if kind.bits == 32:
        odds, squares = (code.let(f"fpext float {x} to double") for x in (odds, squares))
    total = code.let(f"fadd double {odd}, {odds}")
    code.put(f"br i1 {code.let(f'fcmp uno double {total}, {total}')}, label %bad, label %finite")
    code.label("finite")
    code.declared.add("declare double @llvm.sqrt.f64(double)")
    norm = code.let(f"call double @llvm.sqrt.f64(double {squares})")
    code.put(f"br i1 {code.let(f'fcmp ogt double {norm}, {clip}')}, label %scale, label %updating")
    code.label("scale")
    factor = code.let(f"fdiv double {clip}, {norm}")
    if kind.bits == 32:
        factor = code.let(f"fptrunc double {factor} to float")

    def shrink(i: Counter, _: list[str]) -> list[str]:
        address = code.element(gradient, str(i))
        code.store(code.let(f"fmul {kind.name} {code.load(address, 1)}, {factor}"), address, 1)
        return []

    code.loop(count, shrink)
    code.put("br label %updating")
