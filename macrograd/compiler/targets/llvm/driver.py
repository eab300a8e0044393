"""The training loop: many steps of a compiled loss and a compiled update rule in one native call.

A step gathers its rows, computes the mean loss and its gradient, clips it, makes sure that both are finite, and lets
the update rule move every parameter. The rule is a function of scalars for one parameter; over all parameters it runs
as a batch does over samples: the lanes are the parameters.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.compiled import Compiled, results
from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import Code, Counter, Float
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm.context import FIELDS
from macrograd.compiler.targets.llvm.execute import LlvmExecutable, LlvmState, aligned
from macrograd.compiler.targets.llvm.frame import field, field_address
from macrograd.compiler.targets.llvm.update import Update, entry

_REASONS = ("", "non-finite", "index")


class _Loop(ctypes.Structure):
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


_LOOP = {name: k for k, (name, *_) in enumerate(_Loop._fields_)}


@dataclass(frozen=True)
class Outcome:
    """What a run of steps came to.

    losses  the loss of each step begun, before its update
    done    how many steps were done whole
    why     "" if all were; "non-finite" if a loss or gradient was, "index" if a `take` was out of range: then the step
            behind the last one done was not applied
    """

    losses: NDArray[Any]
    done: int
    why: str


class TrainingLoop:
    """Training steps in native code, on buffers of its own.

    sample         a compiled function of one sample's loss (`compile(fn, batch=True)`)
    arrays         the data, one array per argument of it, rows first
    rule           (parameter, gradient, state, learning rate, step) → (new parameter, new state), of scalars
    initial_state  what each parameter's state starts from, a tuple of numbers
    clip_norm      the largest norm of the gradient, beyond which it is scaled down to it; None for no limit

    parameters, theta, gradient, state are in the compiled order; theta and state may be written between runs. Needs
    LLVM: raises ImportError or RuntimeError where there is none.
    """

    def __init__(
        self,
        sample: Compiled,
        arrays: Sequence[NDArray[Any]],
        rule: Callable[..., tuple[Any, Any]],
        initial_state: Sequence[float] = (),
        *,
        clip_norm: float | None = None,
        batch_size: int = 32,
    ) -> None:
        held, self._special = sample._prepare(tuple(arrays), {})
        plan = self._special.plan("gradient", batch_size)
        if not isinstance(plan.executable, LlvmExecutable):
            raise RuntimeError("the native training loop needs the LLVM back end")
        self._sample, self._plan = sample, plan
        self.parameters = self._special.parameters
        self._clip = np.inf if clip_norm is None else float(clip_norm)
        self._batch_size = batch_size
        self._held: dict[tuple[int, bool], _Held] = {}
        self._data: list[NDArray[Any]] = []
        self.load(held)
        self.theta = aligned(len(self.parameters), sample.dtype)
        self.theta[:] = [p.data for p in self.parameters]
        self.state = (
            np.stack([aligned(len(self.parameters), sample.dtype) + sample.dtype.type(s) for s in initial_state])
            if len(initial_state)
            else np.zeros((0, len(self.parameters)), sample.dtype)
        )
        self._update = Update(rule, len(initial_state), len(self.parameters), sample)
        self._latest = self._buffers(batch_size)
        self._pointed: tuple[Any, ...] = ()

    @property
    def gradient(self) -> NDArray[Any]:
        """Of the latest step, as the update saw it."""
        return results(self._plan.program, self._latest.buffers)[1]

    def load(self, arrays: Sequence[NDArray[Any]]) -> None:
        """Other data, of the same widths. Arrays of the right type and layout are read where they are."""
        self._data = [np.ascontiguousarray(x, dtype=self._sample.dtype) for x in arrays]
        widths = tuple(x.shape[1:] for x in self._data)
        if widths != self._special.shapes:
            raise ValueError(f"the data has samples of shapes {widths}, the loop was made for {self._special.shapes}")

    def run(
        self,
        order: NDArray[np.int64],
        lengths: NDArray[np.int64],
        rates: NDArray[np.float64],
        step: int = 1,
        weights: NDArray[Any] | None = None,
    ) -> Outcome:
        """Steps on the rows `order`, `lengths[k]` of them in step k, which has the learning rate `rates[k]`.

        `step` is the number of the first step, from 1. `weights`, one for each row of the data, multiply the 1/n of
        the mean. Raises ValueError if these do not fit together or a row does not exist.
        """
        order, lengths = np.ascontiguousarray(order, np.int64), np.ascontiguousarray(lengths, np.int64)
        rates = np.ascontiguousarray(rates, np.float64)
        self._check(order, lengths, rates, weights)
        if not len(lengths):
            return Outcome(np.empty(0), 0, "")
        held = self._latest = self._buffers(int(np.maximum.reduce(lengths)))
        self._point(held)
        buffers, loop = held.buffers, held.loop
        buffers.weigh(None if weights is None else np.ascontiguousarray(weights, self._sample.dtype))
        held.theta[:] = self.theta
        losses = np.zeros(len(lengths))
        loop.order, loop.lengths = _address(order), _address(lengths)
        loop.rates, loop.losses = _address(rates), _address(losses)
        loop.step, loop.steps = step, len(lengths)
        held.run(held.address)
        buffers.context.flag = 0
        self.theta[:] = held.theta
        return Outcome(losses[: loop.done + (loop.reason != 0)], loop.done, _REASONS[loop.reason])

    def _buffers(self, longest: int) -> _Held:
        """The buffers for steps of up to so many samples. Those of a whole batch serve all that are no longer: sums are
        rounded the same way however steps are grouped."""
        samples = max(longest, self._batch_size)
        key = self._plan.executable.lanes(samples)
        if key not in self._held:
            self._held[key] = _Held(self._plan.executable.state(samples), self._plan.program, self._update, self._clip)
        return self._held[key]

    def _point(self, held: _Held) -> None:
        """Let the buffers read the data and the update rule work on the parameters, where they did not yet."""
        wanted = (held, self._data, self.state)
        if len(self._pointed) == len(wanted) and all(a is b for a, b in zip(self._pointed, wanted, strict=True)):
            return
        for k, array in enumerate(self._data):
            held.buffers.point(k, array)
        self._update.point(held.theta, held.gradient, self.state)
        self._pointed = wanted

    def _check(self, order: Any, lengths: Any, rates: Any, weights: Any) -> None:
        rows = len(self._data[0])
        if len(lengths) != len(rates) or (
            len(lengths) and (np.minimum.reduce(lengths) < 1 or np.add.reduce(lengths) != len(order))
        ):
            raise ValueError(
                f"{len(order)} rows, {len(lengths)} lengths with the sum {lengths.sum()} and {len(rates)} learning "
                "rates do not fit together: every step needs one length of at least 1 and one rate"
            )
        # Seen as unsigned, a negative number is a very large one.
        if len(order) and np.maximum.reduce(order.view(np.uint64)) >= rows:
            raise ValueError(f"a row of the order is outside of the data's {rows} rows")
        if weights is not None and np.shape(weights) != (rows,):
            raise ValueError(f"weights has shape {np.shape(weights)}; it needs one number for each of {rows} rows")


class _Held:
    """The buffers of a step, and what @train works on with them, but for what each run brings along."""

    def __init__(self, buffers: LlvmState, program: Program, update: Update, clip: float) -> None:
        value = program.results[0][1]
        gradient = value + 1
        count = update.count
        self.buffers = buffers
        self.theta, self.gradient = buffers.u[:count], buffers.u[gradient : gradient + count]
        size = buffers.u.itemsize
        self.loop = _Loop(
            gradient_run=entry(buffers.native),
            gradient_context=buffers.address,
            update_run=entry(update.native),
            update_context=update.address,
            value=buffers.u.ctypes.data + value * size,
            gradient=buffers.u.ctypes.data + gradient * size,
            parameters=count,
            rate_slot=update.slot("rate"),
            step_slot=update.slot("step"),
            clip=clip,
        )
        self.run = _driver(buffers.executable.kind).functions["train"]
        self.address = ctypes.addressof(self.loop)


def _address(array: Any) -> int:
    """Where an array's numbers are. `array.ctypes` takes five times as long; it is left for what may not be written."""
    if array.flags.writeable and array.size:
        return ctypes.addressof(ctypes.c_char.from_buffer(array))
    address: int = array.ctypes.data
    return address


@cache
def _driver(kind: Float) -> native.Native:
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
