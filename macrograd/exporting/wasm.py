"""A WebAssembly file: the program's functions, and the numbers with which they are called.

All pointers are addresses in the module's memory, which it exports. The memory after `heap` is free for the caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.jit.text import Counter
from macrograd.compiler.program.program import Program
from macrograd.compiler.specialised import Specialised
from macrograd.compiler.step import recorded_update
from macrograd.compiler.targets.llvm.code import Code
from macrograd.compiler.targets.wasm.assembly import Assembly, Placed, pointer
from macrograd.exporting.subject import no_gradient, steps_done
from macrograd.nn.dropout import PERIOD
from macrograd.optim import Optimizer
from macrograd.value import Value

_ALONG_LANES = 8  # parameters that are updated at once


@dataclass
class Part:
    """The interface of a module: the functions and constants that it exports."""

    functions: list[str]
    numbers: dict[str, int]
    trained: dict[Value, int] = field(default_factory=dict)  # the address of each trained parameter


def predicting(
    assembly: Assembly,
    compiled: Compiled,
    lanes: int,
    trained: Mapping[Value, int] | None = None,
    name: str = "predict",
) -> Part:
    """`predict(x, y, rows)`: the results of samples, one after the other; returns 1 if an index was out of range,
    or a loop or solver failed.

    The parameters are those of the function, or those at the addresses `trained`.
    """
    special = compiled._traced()
    size, batch = sum(special.sizes), False
    if lanes > 1 and size:
        program = pipeline.for_file(
            pipeline.value_program(special.source, batch=True, strict=compiled.strict, own=True)
        )
        places = [("v", program.first_output + k) for k in range(len(program.results))]
        batch = list(program.results) == places  # else some results are inputs or the same for all samples
    if not batch:
        program = pipeline.for_file(pipeline.value_program(special.source, batch=False, strict=compiled.strict))
    outputs = len(program.results)
    weights = [p.data for p in special.parameters]
    placed = assembly.place(
        name, program, [size] if size else [], lanes=lanes, parameters=weights, outputs=outputs if batch else 0
    )

    def write(code: Code) -> None:
        if trained:
            _fetch(code, assembly, placed, [trained.get(p, 0) for p in special.parameters])
        (_rows if batch else _one_by_one)(code, assembly, placed, size)

    assembly.function(name, "i32 (ptr %x, ptr %y, i32 %rows)", write)
    return Part([name], {"inputs": size, "outputs": outputs, "parameters": placed.u, "parameter_count": len(weights)})


def _fetch(code: Code, assembly: Assembly, placed: Placed, sources: list[int]) -> None:
    """Copy the parameters from these addresses; 0 leaves a parameter unchanged."""
    addresses = np.array([source or placed.slot(k) for k, source in enumerate(sources)])
    if not len(addresses) or (addresses == placed.u + placed.size * np.arange(len(addresses))).all():
        return
    if (np.diff(addresses) == placed.size).all():
        _copy(code, pointer(int(addresses[0])), pointer(placed.u), len(addresses))
        return
    table = pointer(assembly.layout.put(_addresses(addresses.tolist())))

    def one(k: Counter, _: list[str]) -> list[str]:
        source = code.let(f"load ptr, ptr {code.element(table, str(k), 'i32')}, align 4")
        code.store(code.load(source, 1), code.element(pointer(placed.u), str(k)), 1)
        return []

    code.loop(len(addresses), one)


def _begin(code: Code, placed: Placed) -> None:
    code.put(f"store i64 0, ptr {pointer(placed.field('flag'))}, align 8")


def _argument(code: Code, placed: Placed, address: str) -> None:
    code.put(f"store ptr {address}, ptr {pointer(placed.arguments)}, align 4")


def _run(code: Code, placed: Placed) -> None:
    code.put(f"call void @{placed.run}(ptr {pointer(placed.context)})")


def _flagged(code: Code, placed: Placed) -> str:
    return code.let(f"load i64, ptr {pointer(placed.field('flag'))}, align 8")


def _rows(code: Code, assembly: Assembly, placed: Placed, size: int) -> None:
    """All samples in one call, in the program's blocks."""
    _begin(code, placed)
    _argument(code, placed, "%x")
    code.put(f"store ptr %y, ptr {pointer(placed.field('out'))}, align 8")
    code.put(f"store i64 {code.let('zext i32 %rows to i64')}, ptr {pointer(placed.field('samples'))}, align 8")
    _run(code, placed)
    code.put(f"ret i32 {code.let(f'trunc i64 {_flagged(code, placed)} to i32')}")


def _one_by_one(code: Code, assembly: Assembly, placed: Placed, size: int) -> None:
    """Sample by sample; results may be anywhere among the uniform slots."""
    slots = np.array([slot for _, slot in placed.program.results])
    side_by_side = bool((np.diff(slots) == 1).all())
    table = 0 if side_by_side else assembly.layout.put(slots.astype("<i4").tobytes())
    _begin(code, placed)
    rows = code.let("zext i32 %rows to i64")

    def sample(i: Counter, _: list[str]) -> list[str]:
        if size:
            _argument(code, placed, code.element("%x", code.linear(0, [(size, i)])))
        _run(code, placed)
        target = code.element("%y", code.linear(0, [(len(slots), i)]))
        if side_by_side:
            _copy(code, pointer(placed.slot(int(slots[0]))), target, len(slots))
            return []

        def result(k: Counter, _: list[str]) -> list[str]:
            slot = code.load_integer(code.element(pointer(table), str(k), "i32"))
            value = code.load(code.element(pointer(placed.u), slot), 1)
            code.store(value, code.element(target, str(k)), 1)
            return []

        code.loop(len(slots), result)
        return []

    code.loop(rows, sample)
    code.put(f"ret i32 {code.let(f'trunc i64 {_flagged(code, placed)} to i32')}")


def _copy(code: Code, source: str, target: str, count: int) -> None:
    def one(k: Counter, _: list[str]) -> list[str]:
        code.store(code.load(code.element(source, str(k)), 1), code.element(target, str(k)), 1)
        return []

    code.loop(count, one)


def differentiating(assembly: Assembly, compiled: Compiled) -> Part:
    """`gradient(theta, x, gradient)`: returns the value of one sample and writes its derivatives by the parameters, at
    theta or, if that is 0, at the module's parameters; NaN if an index was out of range, or a loop or solver failed."""
    special = compiled._traced()
    special.check_scalar()
    if not special.parameters:
        raise TypeError(no_gradient(compiled.__name__))
    program = pipeline.for_file(pipeline.gradient_program(special.source, batch=False, strict=compiled.strict))
    size, count = sum(special.sizes), len(special.parameters)
    weights = [p.data for p in special.parameters]
    placed = assembly.place("gradient", program, [size] if size else [], lanes=1, parameters=weights)
    own = assembly.numbers(weights)

    def write(code: Code) -> None:
        _begin(code, placed)
        given = code.let("icmp ne ptr %theta, null")
        theta = code.let(f"select i1 {given}, ptr %theta, ptr {pointer(own)}")
        _copy(code, theta, pointer(placed.u), count)
        if size:
            _argument(code, placed, "%x")
        _run(code, placed)
        value = placed.program.results[0][1]
        _copy(code, pointer(placed.slot(value + 1)), "%gradient", count)
        good = code.let(f"icmp eq i64 {_flagged(code, placed)}, 0")
        code.put(f"ret double {_or_nan(code, good, _double(code, code.load(pointer(placed.slot(value)), 1)))}")

    assembly.function("gradient", "double (ptr %theta, ptr %x, ptr %gradient)", write)
    return Part(["gradient"], {"inputs": size, "parameters": own, "parameter_count": count})


def _double(code: Code, value: str) -> str:
    return value if code.kind.bits == 64 else code.let(f"fpext float {value} to double")


def _single(code: Code, value: str) -> str:
    """A double as a number of the program's type."""
    return value if code.kind.bits == 64 else code.let(f"fptrunc double {value} to float")


def _or_nan(code: Code, good: str, value: str) -> str:
    return code.let(f"select i1 {good}, double {value}, double 0x7FF8000000000000")


def training(
    assembly: Assembly, compiled: Compiled, optimizer: Optimizer, states_of: dict[Value, tuple[float, ...]], lanes: int
) -> Part:
    """`step(batch, rows, rate)`: one step of the optimiser; returns the mean loss before it, NaN if no step was made.

    The numbers of a sample are consecutive, and so are the samples.
    """
    special: Specialised = compiled._traced()
    special.check_scalar()
    if not special.parameters:
        raise TypeError(f"{compiled.__name__} closes over no Values, so there is nothing to train")
    program = pipeline.for_file(pipeline.gradient_program(special.source, batch=True, strict=compiled.strict))
    size, count = sum(special.sizes), len(special.parameters)
    weights = [p.data for p in special.parameters]
    whole = assembly.place("whole", program, [size], lanes=lanes, parameters=weights)
    update = recorded_update(optimizer.rule, len(optimizer.initial_state), strict=compiled.strict)
    rows = np.array([states_of.get(p, optimizer.initial_state) for p in special.parameters])
    states = [assembly.numbers(column) for column in rows.T]
    steps = assembly.layout.put(steps_done(optimizer, states_of, special.parameters).to_bytes(4, "little"))
    value = program.results[0][1]
    gradient = whole.slot(value + 1)
    rule = _along(assembly, "update", update.program, [whole.u, gradient, *states], update.numbers, count)
    step = _Step(assembly, whole, rule, value, steps)
    assembly.function("step", "double (ptr %batch, i32 %rows, double %rate)", step.write)
    return Part(
        ["step"],
        {
            "inputs": size, "parameters": whole.u, "parameter_count": count, "gradient_of_step": gradient,
            "memory_count": count * len(states), "steps": steps,
            **{f"memory{k}": address for k, address in enumerate(states)},
        },
        {p: whole.slot(k) for k, p in enumerate(special.parameters)},
    )  # fmt: skip


def _odd(code: Code, loss: str, gradient: str, count: int, width: int) -> str:
    """0 if the loss and the gradient, so many numbers at this address, are finite, NaN otherwise: x·0 is 0 for every
    finite x. There are several sums, since each addition waits for the one before."""
    zeros, zero = code.splat(0.0, width), code.splat(0.0, 1)
    ways = 4
    vectors, rest = divmod(count, ways * width)

    def some(i: Counter, sums: list[str]) -> list[str]:
        found = []
        for k, total in enumerate(sums):
            place = code.element(gradient, code.linear(k * width, [(ways * width, i)]))
            found.append(code.multiply_add(code.load(place, width), zeros, total, width))
        return found

    def one(i: Counter, sums: list[str]) -> list[str]:
        place = code.element(gradient, code.linear(vectors * ways * width, [(1, i)]))
        return [code.multiply_add(code.load(place, 1), zero, sums[0], 1)]

    (odd,) = code.loop(rest, one, [(code.kind.name, code.binary("fmul", loss, zero, 1))])
    for total in code.loop(vectors, some, [(code.kind.vector(width), zeros)] * ways):
        odd = code.binary("fadd", odd, code.sums_of_elements([total], width), 1)
    return odd


def _along(
    assembly: Assembly, name: str, program: Program, arrays: Sequence[int], numbers: Sequence[float], count: int
) -> Placed:
    """A program along the parameters, on arrays with a number for each parameter; see `AlongParameters`."""
    placed = assembly.place(
        name, program, [1] * program.inputs, lanes=_ALONG_LANES, parameters=numbers, flat=True
    )  # fmt: skip
    data = assembly.layout.data
    targets = [arrays[0], *arrays[2:], *arrays[1:2]][: len(program.results)]
    data[placed.arguments] = _addresses(arrays[: program.inputs])
    data[placed.out] = _addresses(targets)
    context = bytearray(data[placed.context])
    at = placed.field("samples") - placed.context
    context[at : at + 8] = count.to_bytes(8, "little")
    data[placed.context] = bytes(context)
    return placed


def _addresses(found: Sequence[int]) -> bytes:
    return np.array(found, "<u4").tobytes()


@dataclass(frozen=True)
class _Step:
    """The function `step`."""

    assembly: Assembly
    whole: Placed
    rule: Placed
    value: int
    steps: int

    def write(self, code: Code) -> None:
        whole = self.whole
        nan = "0x7FF8000000000000"
        code.put(f"br i1 {code.let('icmp sgt i32 %rows, 0')}, label %some, label %nothing")
        code.label("some")
        _begin(code, whole)
        _argument(code, whole, "%batch")
        rows = code.let("zext i32 %rows to i64")
        code.put(f"store i64 {rows}, ptr {pointer(whole.field('samples'))}, align 8")
        share = code.let(f"fdiv double 1.0, {code.let('sitofp i32 %rows to double')}")
        code.put(f"store double {share}, ptr {pointer(whole.field('scale'))}, align 8")
        steps = code.let(f"add i32 {code.let(f'load i32, ptr {pointer(self.steps)}, align 4')}, 1")
        if whole.program.uniform_inputs:
            number = code.let(f"and i32 {steps}, {PERIOD - 1}")
            self._give(code, whole, 0, code.let(f"sitofp i32 {number} to {code.kind.name}"))
        _run(code, whole)
        good = code.let(f"icmp eq i64 {_flagged(code, whole)}, 0")
        code.put(f"br i1 {good}, label %measure, label %nothing")
        code.label("measure")
        loss = code.load(pointer(whole.slot(self.value)), 1)
        gradient = pointer(whole.slot(self.value + 1))
        odd = _odd(code, loss, gradient, whole.program.parameters, self.assembly.machine(1).width)
        code.put(f"br i1 {code.compare('oeq', odd, code.splat(0.0, 1), 1)}, label %update, label %nothing")
        code.label("update")
        code.put(f"store i32 {steps}, ptr {pointer(self.steps)}, align 4")
        self._give(code, self.rule, 0, _single(code, "%rate"))
        self._give(code, self.rule, 1, code.let(f"sitofp i32 {steps} to {code.kind.name}"))
        _run(code, self.rule)
        code.put(f"ret double {_double(code, loss)}")
        code.label("nothing")
        code.put(f"ret double {nan}")

    @staticmethod
    def _give(code: Code, placed: Placed, k: int, value: str) -> None:
        """A uniform input of a program."""
        code.store(value, pointer(placed.slot(placed.program.first_uniform_input + k)), 1)
