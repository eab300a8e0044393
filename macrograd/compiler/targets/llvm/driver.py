"""The native loop over training steps: it calls three programs, gradient, measure and update, by their addresses."""

from __future__ import annotations

import ctypes
import math

import numpy as np

from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import Code, Counter, Float
from macrograd.compiler.targets.llvm.context import FIELDS, field, field_address
from macrograd.compiler.targets.llvm.team import MEET

_POINTERS = (
    "gradient_run", "gradient_context", "measure_run", "measure_context", "update_run", "update_context", "order",
    "lengths", "rates", "losses", "value", "number", "loss_in", "odd", "factor", "rate_in", "step_in", "factor_in",
    "first_rows", "flag_context",
)  # fmt: skip
_MUCH = 500_000  # steps that code compiled quickly makes in the time that better code takes to compile
_INTEGERS = ("mask", "step", "steps", "done", "reason", "arguments")


class TrainContext(ctypes.Structure):
    """The argument of @train. Pointers that end in `_in` lead to uniform inputs of the programs; `value`, `odd` and
    `factor` to results; and `number` to where a sample reads the step number, masked by `mask`. A program of one sample
    reads each of its `arguments` where it is led: `first_rows` has the address of their first rows and the bytes of
    one."""

    _fields_ = (*((name, ctypes.c_void_p) for name in _POINTERS), *((name, ctypes.c_int64) for name in _INTEGERS))


_FIELD = {name: k for k, (name, *_) in enumerate(TrainContext._fields_)}


@native.Shared
def driver(kind: Float, *, team: bool = False, stops: bool = False) -> native.ByWork:
    """The loop itself, with the same code for all programs. The threads of a team all run it: they share the gradient
    program, the first one measures, and each updates a part of the parameters. `flag_context` is the first one's.

    One that `stops` drops the step whose gradient was told to stop. It has no finite measure, whatever it is, and what
    it flagged does not count, which the first thread decides for all of a team before they meet."""
    code = Code(kind)
    at = {key: field(code, _FIELD[key], "ptr") for key in _POINTERS}
    mask, first, steps, count = (field(code, _FIELD[key], "i64") for key in ("mask", "step", "steps", "arguments"))
    pointers = code.let(
        f"load ptr, ptr {code.element(at['gradient_context'], str(FIELDS['arguments']), 'i64')}, align 8"
    )

    def context(key: str, name: str, kind_: str, value: str) -> None:
        code.put(f"store {kind_} {value}, ptr {code.element(at[key], str(FIELDS[name]), 'i64')}, align 8")

    def give(key: str, number: str) -> None:
        """Store a double where a program reads it."""
        code.store(number if kind.bits == 64 else code.let(f"fptrunc double {number} to float"), at[key], 1)

    def call(name: str) -> None:
        code.put(f"call void {at[f'{name}_run']}(ptr {at[f'{name}_context']})")

    def meet() -> None:
        if team:
            code.put(f"call void @meet(ptr {at['gradient_context']})")

    def is_set(key: str, name: str) -> str:
        found = code.let(f"load i64, ptr {code.element(at[key], str(FIELDS[name]), 'i64')}, align 8")
        return code.let(f"icmp ne i64 {found}, 0")

    def measure() -> None:
        code.store(value, at["loss_in"], 1)
        call("measure")
        if stops:
            code.when(is_set("gradient_context", "stop"), drop)

    def drop() -> None:
        code.store(code.splat(math.nan, 1), at["odd"], 1)
        code.put(f"store i64 0, ptr {code.element(flags, str(FIELDS['flag']), 'i64')}, align 8")

    def lead(i: Counter, _: list[str]) -> list[str]:
        """Lead an argument to the row of this step."""
        begin, size = (
            code.let(f"load i64, ptr {code.element(at['first_rows'], code.linear(j, [(2, i)]), 'i64')}, align 8")
            for j in (0, 1)
        )
        row = code.let(f"mul i64 {code.let(f'load i64, ptr {rows}, align 8')}, {size}")
        place = code.element(pointers, code.linear(0, [(1, i)]), "i64")
        code.put(f"store i64 {code.let(f'add i64 {begin}, {row}')}, ptr {place}, align 8")
        return []

    code.put("br label %head")
    code.label("head")
    k = code.let("phi i64 [ 0, %entry ], [ %k.next, %updated ]")
    rows = code.let("phi ptr [ " + at["order"] + ", %entry ], [ %rows.next, %updated ]")
    more = code.let(f"icmp ult i64 {k}, {steps}")
    code.put(f"br i1 {more}, label %step, label %all")
    code.label("step")
    length = code.let(f"load i64, ptr {code.element(at['lengths'], k, 'i64')}, align 8")
    number = code.let(f"add i64 {first}, {k}")
    give("number", code.let(f"sitofp i64 {code.let(f'and i64 {number}, {mask}')} to double"))
    context("gradient_context", "samples", "i64", length)
    context("gradient_context", "order", "ptr", rows)
    share = code.let(f"fdiv double 1.0, {code.let(f'sitofp i64 {length} to double')}")
    context("gradient_context", "scale", "double", share)
    code.loop(count, lead)
    call("gradient")
    value = code.load(at["value"], 1)
    loss = value if kind.bits == 64 else code.let(f"fpext float {value} to double")
    code.put(f"store double {loss}, ptr {code.element(at['losses'], k, 'double')}, align 8")
    owner = "flag_context" if team else "gradient_context"
    flags = at[owner]
    if not stops:
        code.put(f"br i1 {is_set(owner, 'flag')}, label %index, label %measure")
        code.label("measure")
    if team:
        rank = code.let(f"load i64, ptr {code.element(at['gradient_context'], str(FIELDS['rank']), 'i64')}, align 8")
        code.when(code.let(f"icmp eq i64 {rank}, 0"), measure)
        meet()
    else:
        measure()
    if stops:
        code.put(f"br i1 {is_set(owner, 'flag')}, label %index, label %measured")
        code.label("measured")
    odd = code.load(at["odd"], 1)
    finite = code.let(f"fcmp oeq {kind.name} {odd}, {code.splat(0.0, 1)}")
    code.put(f"br i1 {finite}, label %update, label %bad")
    code.label("update")
    code.store(code.load(at["factor"], 1), at["factor_in"], 1)
    give("rate_in", code.let(f"load double, ptr {code.element(at['rates'], k, 'double')}, align 8"))
    give("step_in", code.let(f"sitofp i64 {number} to double"))
    call("update")
    meet()
    code.put("br label %updated")
    code.label("updated")
    code.put(f"%rows.next = getelementptr i64, ptr {rows}, i64 {length}")
    code.put(f"%k.next = add i64 {k}, 1")
    code.put("br label %head")
    for label, reason in (("all", "0"), ("bad", "1"), ("index", "2")):
        code.label(label)
        if stops and label == "bad":
            reason = code.let(f"select i1 {is_set('gradient_context', 'stop')}, i64 3, i64 1")
        code.put(f"store i64 {k}, ptr {field_address(code, _FIELD['done'])}, align 8")
        code.put(f"store i64 {reason}, ptr {field_address(code, _FIELD['reason'])}, align 8")
        code.put("ret void")
    shared = [MEET] if team else []
    text = "\n".join(
        [*sorted(code.declared), *shared, "define void @train(ptr %context) {", "entry:", *code.lines, "}"]
    )

    def make(quick: bool) -> native.Native:
        key = f"train {kind.name} {team} {stops}".encode()
        return native.Native(key, ("train",), lambda: (text, np.zeros(1, dtype=np.int32)), quick=quick)

    return native.ByWork(make, _MUCH)
