"""Every kind of instruction, in programs made by hand, on every target that runs: what native code and NumPy compute
is what the program says, whatever its indices, sizes, loops and number of samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from literal import Literal

from macrograd import ops
from macrograd.compiler.program.program import Index, Instruction, Loop, Operand, Program, Segment, verify
from macrograd.compiler.targets.llvm.target import Llvm
from macrograd.compiler.targets.numpy.target import Numpy
from macrograd.compiler.targets.target import Request, Runner

TARGETS: list[Runner] = [Llvm(), Numpy()]
MAPS = ["add", "sub", "mul", "neg", "relu", "maximum", "abs", "where", "exp", "tanh", "sigmoid"]
SIZES = [(1,), (2,), (7,), (16,), (33,), (3, 5), (9, 16), (17, 33), (2, 3, 4), (5, 2, 9)]


class Maker:
    """A program of one instruction or loop. Operands lie anywhere; spaces become as large as they have to be."""

    def __init__(self, seed: int, *, batch: bool, rounds: int) -> None:
        self.draw = np.random.default_rng(seed)
        self.batch, self.rounds = batch, rounds
        self.size = {"u": 1, "v": 1}

    def shifts(self, largest: int) -> tuple[int, ...]:
        return (int(self.draw.integers(largest + 1)),) if self.rounds else ()

    def operand(self, dims: tuple[int, ...], count: int, space: str | None = None) -> Operand:
        space = space or self.draw.choice(["u", "v"] if self.batch else ["u"])
        if space == "u" and self.draw.random() < 0.1 and count == 1:
            return float(self.draw.normal())
        n = int(np.prod(dims))
        strides = [int(self.draw.choice([0, 1, 1, -1, 2, int(np.prod(dims[k + 1 :]))])) for k in range(len(dims))]
        backwards = sum((d - 1) * max(0, -stride) for d, stride in zip(dims, strides, strict=True))
        base, shifts = backwards + int(self.draw.integers(4)), self.shifts(3)
        form = self.draw.random()
        if form < 0.6 or (count == 1 and form >= 0.75):  # only operands with terms have tables over them
            index = Index(space, base, tuple(strides), int(self.draw.integers(3)), shifts=shifts)
        elif form < 0.75:
            shape = tuple(d if self.draw.random() < 0.7 else 1 for d in dims)
            index = Index(space, base, tuple(strides), 1, members=self.draw.integers(0, 9, shape), shifts=shifts)
        elif form < 0.9:
            index = Index(space, base, tuple(strides), terms=self.draw.integers(0, 9, count), shifts=shifts)
        else:
            index = Index(space, 0, (0,) * len(dims), full=self.draw.integers(0, 12, (n, count)), shifts=shifts)
        slots = index.slots(dims, count, (max(self.rounds - 1, 0),) if self.rounds else ())
        self.size[space] = max(self.size[space], int(slots.max()) + 1)
        return index

    def instruction(self, kind: str, dims: tuple[int, ...]) -> Instruction:
        """Without its result's place, which is known when all operands are."""
        out = Index("v" if self.batch and kind != "reduce" else "u", 0, ())
        if kind == "map":
            row = ops.BY_NAME[str(self.draw.choice(MAPS))]
            args = tuple(self.operand(dims, 1) for _ in range(row.arity))
            return Instruction(kind, row.code, dims, out, args)
        if kind == "take":
            count = int(self.draw.integers(1, 9))
            index = self.operand(dims, 1, "u")
            if isinstance(index, float):
                index = float(self.draw.integers(count))
            return Instruction(kind, ops.take.code, dims, out, (index, self.operand(dims, count)), count=count)
        counts = [int(self.draw.choice([1, 2, 5, 8, 16, 40])) for _ in range(int(self.draw.integers(1, 4)))]
        code = ops.dot.code if kind == "dot" else 0
        # What a reduce reads is 0 in lanes without a sample, so a factor of each of its terms varies.
        left = "v" if kind == "reduce" else None
        segments = tuple(Segment(n, self.operand(dims, n, left), self.operand(dims, n)) for n in counts)
        return Instruction(kind, code, dims, out, segments=segments)

    def program(self, kind: str, dims: tuple[int, ...]) -> Program:
        made = self.instruction(kind, dims)
        space, n = made.out.space, int(np.prod(dims))
        strides = tuple(int(np.prod(dims[k + 1 :])) for k in range(len(dims)))
        parameters, inputs = self.size["u"], self.size["v"]
        first = {"u": parameters, "v": inputs}[space]
        out = Index(space, first, strides, shifts=(n,) if self.rounds else ())
        made = Instruction(kind, made.code, dims, out, made.args, made.segments, made.count)
        step = Loop(self.rounds, (made,)) if self.rounds else made
        added = n * max(self.rounds, 1)
        results = tuple((space, first + k) for k in range(added))
        uniform, varying = parameters + added * (space == "u"), inputs + added * (space == "v")
        phases = ((), (step,), ()) if self.batch else ((step,), (), ())
        if not self.batch:
            inputs = varying = 0
        return Program(
            *phases, parameters, inputs, np.empty(0), uniform, varying, results, self.batch, first_output=first
        )


def cases() -> Iterator[Any]:
    """Each kind and size with and without a batch and a loop, at batches around the widths of vectors and blocks."""
    samples = [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 70]
    seed = 0
    for kind in ("map", "dot", "reduce", "take"):
        for dims in SIZES:
            for batch, rounds in ((False, 0), (True, 0), (False, 3), (True, 2)):
                if kind == "reduce" and not batch:
                    continue
                seed += 1
                rows = samples[seed % len(samples)] if batch else 1
                size = "×".join(map(str, dims))
                yield pytest.param(seed, kind, dims, batch, rounds, rows, id=f"{kind}-{size}-{rows}-{rounds}-{seed}")


def tolerance(kind: str, dtype: Any) -> float:
    return (1e-11 if kind != "map" else 1e-14) * (1.0 if dtype == np.float64 else 1e8)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(("seed", "kind", "dims", "batch", "rounds", "samples"), list(cases()))
def test_a_target_computes_what_the_program_says(
    target: Runner, seed: int, kind: str, dims: tuple[int, ...], batch: bool, rounds: int, samples: int
) -> None:
    if target.missing() is not None:
        pytest.skip(f"{target.needs} does not load here")
    maker = Maker(seed, batch=batch, rounds=rounds)
    program = verify(maker.program(kind, dims))
    dtype = np.dtype(np.float32 if seed % 3 == 0 else np.float64)
    draw = np.random.default_rng(seed)
    parameters = draw.normal(size=program.parameters).astype(dtype)
    if kind == "take":  # whole numbers serve as indices and as what is chosen
        count = next(i.count for i in program.instructions())
        parameters = draw.integers(0, count, program.parameters).astype(dtype)
    inputs = draw.normal(size=(samples, program.inputs)).astype(dtype)
    varying = program.results[0][0] == "v"
    outputs = len(program.results) if varying else 0
    sizes = (program.inputs,) if batch else ()
    request = Request(program, sizes, outputs, dtype, strict=seed % 4 == 0, samples=samples)
    state = target.prepare(request).state(samples)
    state.u[: program.parameters] = parameters
    if batch:
        state.load([inputs])
    state.run()
    expected = Literal(program, parameters, inputs if batch else []).results()
    if varying:
        found, expected = np.asarray(state.out), np.transpose(expected)
    else:
        found = np.asarray([state.u[slot] for _, slot in program.results])
    bound = tolerance(kind, dtype)
    np.testing.assert_allclose(found, expected, rtol=bound, atol=bound * 50)
