"""Every construct in every phase: a stream, a loop, a table and takes before the blocks, in them and behind the sums
over the batch, for batches around the widths of a vector. Code that programs share, and code that is kept, must be that
of the program at hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Index, Instruction, Loop, Program, Segment, Step
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.tape.tape import name_of
from macrograd.compiler.targets.llvm import kernel

SAMPLES = (1, 2, 9, 16, 33, 1100)  # around a vector, a few, a block, and in several chunks of blocks
DISTINCT = 137  # of the samples
_SOME = [0.375, -1.4375, 0.5, -0.5, 2, 0.125, 0.77, 2, 0.5, 0.375]
NUMBERS = (*_SOME, 1.3125, -1, 0.05, 0.125, 1.625, -1.08, -0.96, -1.22, -0.33, 2)
Body = Callable[[Any, list[Any]], Any]


def choices(v: Any, p: list[Any]) -> Any:
    """64 rounds of which every second chooses: too many small groups for code."""
    for t in range(64):
        if t % 2 == 1:
            v = mg.where(mg.relu(p[9] - v), v, p[5])
        v = v * 0.5 + p[t % 20]
    return v


def comparisons(v: Any, p: list[Any]) -> Any:
    for t in range(64):
        if t % 2 == 1:
            v = mg.where(ops.less(v, p[9]), v, p[5])
        v = v * 0.5 + p[t % 20]
    return v


def takes(v: Any, p: list[Any]) -> Any:
    for t in range(64):
        v = ops.take(ops.less(v, p[3 * t % 20]), v, p[t % 20], p[7 * t % 20]) * 0.5 + p[5 * t % 20] * 0.25
        v = mg.sin(v) if t % 3 else mg.tanh(v)
    return v


def recurrence(v: Any, p: list[Any]) -> Any:
    for _ in range(150):
        v = mg.tanh(p[2] * v + p[5]) + 0.125 * p[12]
    return v


def gathered(v: Any, p: list[Any]) -> Any:
    """Members in no order: instructions with tables."""
    row = [v * x for x in p]
    for shift in (3, 7, 11):
        row = [mg.tanh(row[(i * i + shift) % 20] * p[(i * shift + 5) % 20] + row[i]) for i in range(20)]
    return mg.sum(row)


BODIES: dict[str, tuple[Body, Callable[[Step], bool]]] = {
    "choices": (choices, lambda step: isinstance(step, Stream)),
    "comparisons": (comparisons, lambda step: isinstance(step, Stream)),
    "takes": (takes, lambda step: isinstance(step, Stream)),
    "recurrence": (recurrence, lambda step: isinstance(step, Loop)),
    "gathered": (
        gathered,
        lambda step: isinstance(step, Instruction) and any(isinstance(x, Index) and not x.affine for x in reads(step)),
    ),
}


def reads(instruction: Instruction) -> list[Any]:
    return [instruction.out, *(x for x, _ in instruction.operands())]


def parameters() -> list[Value]:
    return [Value(float(x)) for x in NUMBERS]


def function(body: Body, phase: str, p: list[Value]) -> Callable[..., Any]:
    """The body on parameters alone, so that it runs before the blocks, and its derivative behind the sums over the
    batch; or on the sample."""
    if phase == "block":
        return lambda x: body(x[1], p) * p[0] + x[0] * p[2]
    return lambda x: body(p[2], p)


def steps(program: Program, phase: str) -> tuple[Step, ...]:
    found: tuple[Step, ...] = getattr(program, phase)
    return found


@pytest.mark.parametrize("phase", ["before", "block"])
@pytest.mark.parametrize("name", BODIES)
def test_the_constructs_are_where_they_are_looked_for(name: str, phase: str) -> None:
    body, is_one = BODIES[name]
    source = pipeline.record(function(body, phase, parameters()), [(2,)])
    assert any(map(is_one, steps(pipeline.value_program(source, batch=True), phase)))
    gradient = pipeline.gradient_program(source, batch=True)
    assert any(map(is_one, steps(gradient, phase)))
    if phase == "before":
        assert len(gradient.after)


@pytest.mark.parametrize(("dtype", "strict"), [("float64", True), ("float64", False), ("float32", False)])
@pytest.mark.parametrize("phase", ["before", "block"])
@pytest.mark.parametrize("name", BODIES)
def test_every_construct_in_every_phase_is_eager(name: str, phase: str, dtype: str, strict: bool, backend: str) -> None:
    p, X, eager, gradients = eagerly(name, phase)
    fn = function(BODIES[name][0], phase, p)
    settings: dict[str, Any] = {"batch": True, "dtype": dtype, "strict": strict, "backend": backend}
    values, loss = mg.compile(fn, **settings), mg.compile(lambda x: fn(x) * 1.5, **settings)
    tolerance = 1e-11 if dtype == "float64" else 2e-4
    for samples in SAMPLES if backend == "llvm" else SAMPLES[1::2]:  # NumPy has no vectors to fill
        np.testing.assert_allclose(values(X[:samples]), eager[:samples], rtol=tolerance, atol=tolerance)
        assert loss.backward(X[:samples]) == pytest.approx(1.5 * eager[:samples].mean(), rel=10 * tolerance)
        expected = 1.5 * gradients[:samples].mean(axis=0)
        scale = max(1.0, np.abs(expected).max())
        found = [x.grad for x in p]
        for x in p:
            x.grad = 0.0
        np.testing.assert_allclose(found, expected, rtol=0, atol=10 * tolerance * scale)


@cache
def eagerly(name: str, phase: str) -> tuple[list[Value], Any, Any, Any]:
    """Parameters, samples, and the value and gradient of each sample."""
    p, random = parameters(), np.random.default_rng(0)
    X = random.uniform(-1.0, 1.0, (DISTINCT, 2)).astype(np.float32).astype(float)
    X[:, 0] += 3.0  # of no parameter's size
    fn = function(BODIES[name][0], phase, p)
    values, gradients = [], []
    for x in X.tolist() if phase == "block" else X[:1].tolist():
        result = fn(x)
        result.backward()
        values.append(result.data)
        gradients.append([v.grad for v in p])
        for v in p:
            v.grad = 0.0
    which = np.arange(max(SAMPLES)) % DISTINCT
    of = which % len(values)
    return p, X[which], np.array(values)[of], np.array(gradients)[of]


# --- what is shared and what is kept ----------------------------------------------------------------------------------


def test_with_and_without_a_batch_the_same_records_are_other_code(backend: str) -> None:
    """The code that all programs share which are one stream copies the arguments to where they are without a batch."""
    p = parameters()
    fn = function(choices, "before", p)
    expected = fn([0.0, 0.0]).data
    for batch in (False, True, False):
        f = mg.compile(fn, batch=batch, backend=backend)
        x = np.full((3, 2), 5.0)
        assert np.array_equal(np.unique(f(x if batch else x[0])), [expected])
        f.parameters[0].data += 0.0
        assert [v.data for v in p] == list(NUMBERS)


def others(x: Any) -> Iterator[Any]:
    """Something else of the same type; an array also in another shape."""
    if isinstance(x, bool):
        yield not x
    elif isinstance(x, int):
        yield x + 1
    elif isinstance(x, float):
        yield x + 1.0
    elif isinstance(x, str):
        yield {"u": "v", "v": "u"}.get(x, x + "s")
    elif isinstance(x, np.ndarray):
        yield np.append(x, x.ravel()[:1]) if x.size else np.zeros(1, x.dtype)
        if x.size:
            changed = x.copy()
            changed.flat[0] += 1
            yield changed
        if x.ndim > 1 and x.shape != x.T.shape:
            yield x.reshape(x.T.shape)
    elif x is None:
        yield np.zeros(1, dtype=np.int64)
    elif isinstance(x, tuple):
        # An operation has as many operands as it has, and a slot is a space and a number.
        if x and not any(isinstance(item, (Index, float)) for item in x) and len(set(map(type, x))) == 1:
            yield x[:-1]
        for k, item in enumerate(x):
            for other in others(item):
                yield (*x[:k], other, *x[k + 1 :])
    elif dataclasses.is_dataclass(x):
        for field in dataclasses.fields(x):
            if (type(x).__name__, field.name) == ("Loop", "guard"):
                yield replace(x, guard=Index("u", 0, (0,)))
            elif (type(x).__name__, field.name) not in NO_CODE:
                for other in others(getattr(x, field.name)):
                    yield replace(x, **{field.name: other})


# What the machine code does not depend on: how many operations were recorded; and which phase a stream is in is said by
# where it stands.
NO_CODE = {("Program", "scalars"), ("Stream", "scalars"), ("Stream", "block")}


def small() -> Program:
    """A program with one of everything, tables of all kinds included; it need not mean anything."""
    rows, columns = np.arange(3).reshape(3, 1), np.arange(4)
    full = np.arange(12).reshape(3, 4)
    plain = Index("u", 1, (2, 0), 1, shifts=(1,))
    tabled = Index("v", 0, (0, 0), 0, members=rows)
    choice = Instruction("take", ops.take.code, (3, 1), tabled, args=(tabled, replace(plain, terms=columns)), count=4)
    total = Instruction(
        "dot", ops.dot.code, (3, 1), tabled, segments=(Segment(4, Index("u", 0, (0, 0), full=full), plain),)
    )
    scatter = Instruction("scatter", -5, (3, 1), plain, args=(tabled, plain), count=4, choice=2)
    mapped = Instruction("map", ops.add.code, (3, 1), plain, args=(plain, 0.5))
    stream = Stream(np.array([1, 1, 2, 3, 4, 5], dtype=np.int32), 1, block=False)
    return Program(
        before=(stream, mapped),
        block=(total, Loop(3, (choice, Loop(2, (mapped,))))),
        after=(scatter,),
        parameters=2,
        inputs=2,
        constants=np.array([0.5, -0.0]),
        uniform=9,
        varying=9,
        results=(("u", 3), ("v", 4)),
        batch=True,
        weight=1,
        first_output=2,
    )


def test_whatever_differs_between_programs_is_in_the_name_of_their_code() -> None:
    program = small()
    assert {type(step).__name__ for step in program.steps()} == {"Stream", "Instruction", "Loop"}
    found = [other.fingerprint() for other in others(program)]
    assert len(found) > 150
    assert program.fingerprint() not in found


def test_a_table_over_rows_is_not_one_over_columns() -> None:
    table = np.array([0, 5, 7])
    one = replace(small(), before=(), block=(), after=())
    names = set()
    for shape in ((3, 1), (1, 3)):
        out = Index("u", 0, (0, 0), members=table.reshape(shape))
        names.add(replace(one, after=(Instruction("map", 0, (3, 3), out),)).fingerprint())
    assert len(names) == 2


def test_kernels_differ_where_their_code_does() -> None:
    llvm = pytest.importorskip("macrograd.compiler.targets.scalar.machine")
    from macrograd.compiler.jit.text import DOUBLE

    target = llvm.Machine(DOUBLE, 32, 8, single=True, strict=False)
    block = {kernel.kernel_text(kernel.plain(t, block=True), True) for t in variants(target)}
    assert len(block) == len({kernel.plain(t, block=True) for t in variants(target)})
    alone = {kernel.kernel_text(kernel.plain(t, block=False), False) for t in variants(target)}
    assert len(alone) == len({kernel.plain(t, block=False) for t in variants(target)}) == 2  # strict or not


def variants(target: Any) -> list[Any]:
    flat = [target, replace(target, flat=True)]
    lanes = [t for x in flat for t in (x, replace(x, lanes=16))]
    single = [t for x in lanes for t in (x, replace(x, single=False))]
    return [t for x in single for t in (x, replace(x, strict=True))]


def test_takes_are_among_the_records() -> None:
    """So that the kernel's flag is tried, too."""
    source = pipeline.record(function(takes, "before", parameters()), [(2,)])
    streams = [step for step in pipeline.value_program(source, batch=True).before if isinstance(step, Stream)]
    assert "take" in {name_of(code) for stream in streams for code, _, _ in stream.records() if code < len(ops.TABLE)}
