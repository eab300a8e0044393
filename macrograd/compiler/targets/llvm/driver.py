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
    loop = _Loop(Code(kind), team, stops)
    loop.write()
    shared = [MEET] if team else []
    text = "\n".join(
        [*sorted(loop.code.declared), *shared, "define void @train(ptr %context) {", "entry:", *loop.code.lines, "}"]
    )

    def make(quick: bool) -> native.Native:
        key = f"train {kind.name} {team} {stops}".encode()
        return native.Native(key, ("train",), lambda: (text, np.zeros(1, dtype=np.int32)), quick=quick)

    return native.ByWork(make, _MUCH)


class _Loop:
    """The text of the loop, written in the order in which it runs."""

    def __init__(self, code: Code, team: bool, stops: bool) -> None:
        self.code, self.team, self.stops = code, team, stops
        self.at = {key: field(code, _FIELD[key], "ptr") for key in _POINTERS}
        self.mask, self.first, self.steps, self.count = (
            field(code, _FIELD[key], "i64") for key in ("mask", "step", "steps", "arguments")
        )
        arguments = code.element(self.at["gradient_context"], str(FIELDS["arguments"]), "i64")
        self.pointers = code.let(f"load ptr, ptr {arguments}, align 8")
        self.owner = "flag_context" if team else "gradient_context"

    def write(self) -> None:
        code = self.code
        code.put("br label %head")
        code.label("head")
        k = code.let("phi i64 [ 0, %entry ], [ %k.next, %updated ]")
        rows = code.let("phi ptr [ " + self.at["order"] + ", %entry ], [ %rows.next, %updated ]")
        more = code.let(f"icmp ult i64 {k}, {self.steps}")
        code.put(f"br i1 {more}, label %step, label %all")
        code.label("step")
        length = code.let(f"load i64, ptr {code.element(self.at['lengths'], k, 'i64')}, align 8")
        number = code.let(f"add i64 {self.first}, {k}")
        self.compute_gradient(k, rows, length, number)
        self.decide(self.note_loss(k))
        self.update(k, number)
        code.label("updated")
        code.put(f"%rows.next = getelementptr i64, ptr {rows}, i64 {length}")
        code.put(f"%k.next = add i64 {k}, 1")
        code.put("br label %head")
        self.end(k)

    # --- the parts of a step --------------------------------------------------------------------------------------

    def compute_gradient(self, k: str, rows: str, length: str, number: str) -> None:
        code = self.code
        self.give("number", code.let(f"sitofp i64 {code.let(f'and i64 {number}, {self.mask}')} to double"))
        self.set("gradient_context", "samples", "i64", length)
        self.set("gradient_context", "order", "ptr", rows)
        share = code.let(f"fdiv double 1.0, {code.let(f'sitofp i64 {length} to double')}")
        self.set("gradient_context", "scale", "double", share)
        self.lead_arguments(rows)
        self.call("gradient")

    def lead_arguments(self, rows: str) -> None:
        """Lead each argument to the row of this step."""
        code = self.code

        def lead(i: Counter, _: list[str]) -> list[str]:
            begin, size = (
                code.let(f"load i64, ptr {code.element(self.at['first_rows'], at, 'i64')}, align 8")
                for at in (code.linear(j, [(2, i)]) for j in (0, 1))
            )
            row = code.let(f"mul i64 {code.let(f'load i64, ptr {rows}, align 8')}, {size}")
            place = code.element(self.pointers, code.linear(0, [(1, i)]), "i64")
            code.put(f"store i64 {code.let(f'add i64 {begin}, {row}')}, ptr {place}, align 8")
            return []

        code.loop(self.count, lead)

    def note_loss(self, k: str) -> str:
        """Keep the loss of step k; the name of it, in the programs' type."""
        code = self.code
        value = code.load(self.at["value"], 1)
        loss = value if code.kind.bits == 64 else code.let(f"fpext float {value} to double")
        code.put(f"store double {loss}, ptr {code.element(self.at['losses'], k, 'double')}, align 8")
        return value

    def decide(self, value: str) -> None:
        """Measure the step, and go on at %update, or end at %bad or at %index."""
        code = self.code
        if not self.stops:
            code.put(f"br i1 {self.is_set(self.owner, 'flag')}, label %index, label %measure")
            code.label("measure")
        if self.team:
            rank = code.element(self.at["gradient_context"], str(FIELDS["rank"]), "i64")
            is_first = code.let(f"icmp eq i64 {code.let(f'load i64, ptr {rank}, align 8')}, 0")
            code.when(is_first, lambda: self.measure(value))
            self.meet()
        else:
            self.measure(value)
        if self.stops:
            code.put(f"br i1 {self.is_set(self.owner, 'flag')}, label %index, label %measured")
            code.label("measured")
        odd = code.load(self.at["odd"], 1)
        finite = code.let(f"fcmp oeq {code.kind.name} {odd}, {code.splat(0.0, 1)}")
        code.put(f"br i1 {finite}, label %update, label %bad")

    def measure(self, value: str) -> None:
        code = self.code
        code.store(value, self.at["loss_in"], 1)
        self.call("measure")
        if self.stops:
            code.when(self.is_set("gradient_context", "stop"), self.drop)

    def drop(self) -> None:
        """A step that was told to stop has no finite measure and no flag."""
        code = self.code
        code.store(code.splat(math.nan, 1), self.at["odd"], 1)
        self.set(self.owner, "flag", "i64", "0")

    def update(self, k: str, number: str) -> None:
        code = self.code
        code.label("update")
        code.store(code.load(self.at["factor"], 1), self.at["factor_in"], 1)
        self.give("rate_in", code.let(f"load double, ptr {code.element(self.at['rates'], k, 'double')}, align 8"))
        self.give("step_in", code.let(f"sitofp i64 {number} to double"))
        self.call("update")
        self.meet()
        code.put("br label %updated")

    def end(self, k: str) -> None:
        """What the loop returns: how many steps are done, and why it ended."""
        code = self.code
        for label, reason in (("all", "0"), ("bad", "1"), ("index", "2")):
            code.label(label)
            if self.stops and label == "bad":
                reason = code.let(f"select i1 {self.is_set('gradient_context', 'stop')}, i64 3, i64 1")
            code.put(f"store i64 {k}, ptr {field_address(code, _FIELD['done'])}, align 8")
            code.put(f"store i64 {reason}, ptr {field_address(code, _FIELD['reason'])}, align 8")
            code.put("ret void")

    # --- contexts -------------------------------------------------------------------------------------------------

    def set(self, key: str, name: str, kind: str, value: str) -> None:
        address = self.code.element(self.at[key], str(FIELDS[name]), "i64")
        self.code.put(f"store {kind} {value}, ptr {address}, align 8")

    def is_set(self, key: str, name: str) -> str:
        code = self.code
        found = code.let(f"load i64, ptr {code.element(self.at[key], str(FIELDS[name]), 'i64')}, align 8")
        return code.let(f"icmp ne i64 {found}, 0")

    def give(self, key: str, number: str) -> None:
        """Store a double where a program reads it."""
        code = self.code
        narrow = number if code.kind.bits == 64 else code.let(f"fptrunc double {number} to float")
        code.store(narrow, self.at[key], 1)

    def call(self, name: str) -> None:
        self.code.put(f"call void {self.at[f'{name}_run']}(ptr {self.at[f'{name}_context']})")

    def meet(self) -> None:
        if self.team:
            self.code.put(f"call void @meet(ptr {self.at['gradient_context']})")
