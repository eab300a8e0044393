"""Rolled code: the first code of a program has the bits of that which replaces it, whatever their tiles."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from first_and_last import Call, bits
from written import MACHINE

import macrograd as mg
from macrograd import Value, losses, nn
from macrograd.compiler.jit import native, tiers
from macrograd.compiler.jit.text import DOUBLE
from macrograd.compiler.program.program import Index, Instruction, Segment
from macrograd.compiler.targets.llvm import execute, machine_code, support
from macrograd.compiler.targets.llvm.code import Code, code_for
from macrograd.compiler.targets.scalar.access import Operands, Tables
from macrograd.compiler.targets.scalar.rolled import Rolled
from macrograd.compiler.targets.scalar.tiles import Tiles

RNG = np.random.default_rng(5)
Loss = Callable[..., Any]


@pytest.fixture(autouse=True)
def _both_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also short programs have both, and the second is compiled without optimisation, once it is requested."""
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    monkeypatch.delenv("MACROGRAD_TIERS", raising=False)
    monkeypatch.setattr(tiers, "DEARER", math.inf)
    monkeypatch.setattr(native, "LONG", 0)
    monkeypatch.setattr(machine_code, "MOST", 1 << 40)
    compiled = native.object_file
    monkeypatch.setattr(native, "object_file", lambda text, *_: compiled(text, tiers.BASELINE))


def net(inputs: int, widths: list[int]) -> Loss:
    model = nn.MLP(inputs, widths, seed=1)
    if widths[-1] == 1:
        return lambda x, y: losses.hinge(model(x), y) + 1e-3 * mg.sum([p * p for p in model.parameters()])
    return lambda x, y: losses.cross_entropy(
        model(x), [y * 0.1] + [(1.0 - y * 0.1) / (widths[-1] - 1)] * (widths[-1] - 1)
    )


def values(*shape: int) -> Any:
    return np.vectorize(Value)(RNG.normal(size=shape)).tolist()


def looked_up(x: Any, y: Any, rows: Any = values(7, 11)) -> Any:  # noqa: B008 - drawn once
    """Rows that an index chooses, and tables of an order without a pattern."""
    index = abs(y) * 3.0 + 3.0
    chosen = [mg.take([row[k] for row in rows], index) for k in range(11)]
    order = [3, 0, 9, 1, 10, 4, 7, 2, 8, 6, 5]
    return mg.sum([chosen[k] * x[i % 3] * chosen[order[k]] for i, k in enumerate(order)])


def distances(x: Any, y: Any, centres: Any = values(10, 3)) -> Any:  # noqa: B008 - drawn once
    """Operands that a sum computes where it reads them."""
    near = [mg.exp(-mg.sum([(a - b) * (a - b) for a, b in zip(x, centre, strict=True)])) for centre in centres]
    return mg.sum(near) * y + mg.log(mg.sum(near))


def long_sums(x: Any, y: Any, p: Any = values(333), q: Any = values(333)) -> Any:  # noqa: B008 - drawn once
    """Sums outside blocks, of vectors of terms and of numbers that lie apart, with several products."""
    dense = mg.sum([a * a for a in p]) + mg.sum([a * b for a, b in zip(p, q, strict=True)])
    apart = mg.sum([a * b for a, b in zip(p[::3], q[::-3], strict=True)])
    return dense * x[0] + apart * y + mg.sum(p[:200]) * x[1] - mg.sum(q[50:]) * x[2]


def rounds(x: Any, y: Any, p: Any = values(4)) -> Any:  # noqa: B008 - drawn once
    """A loop, a few scalars of which pass from round to round."""
    a, b = x[0], x[1]
    for _ in range(40):
        a, b = mg.tanh(p[0] * a + p[1] * b + x[2]), p[2] * a - p[3] * b * y
    return a + b


PROGRAMS: dict[str, tuple[Loss, int]] = {
    "2-16-16-1": (net(2, [16, 16, 1]), 2),
    "3-5-7-3": (net(3, [5, 7, 3]), 3),
    "9-12-10-4": (net(9, [12, 10, 4]), 9),
    "17-19-11": (net(17, [19, 11]), 17),
    "looked up": (looked_up, 3),
    "distances": (distances, 3),
    "long sums": (long_sums, 3),
    "rounds": (rounds, 3),
}


@pytest.mark.parametrize("how", [("float64", False), ("float32", False), ("float64", True), ("float32", True)])
@pytest.mark.parametrize("samples", [1, 5, 32, 100])
@pytest.mark.parametrize("name", PROGRAMS)
def test_no_bit_and_no_table_depends_on_what_is_rolled(name: str, samples: int, how: tuple[str, bool]) -> None:
    loss, inputs = PROGRAMS[name]
    rng = np.random.default_rng(samples)
    X, y = rng.normal(size=(samples, inputs)), rng.choice([-1.0, 1.0], samples)
    bound = Call(loss, X, y, dtype=how[0], strict=how[1])
    first = bound()
    assert not bound.improved
    tiers.finish()
    assert bound.improved  # which it is not if the tables are others
    assert bound() == first


@pytest.fixture
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for room in ("BLOCK_BYTES", "PRODUCT_BYTES"):
        monkeypatch.setattr(execute, room, 1)
    monkeypatch.setattr(execute, "FEW_VECTORS", 1)


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("blocks", [3, 11])
@pytest.mark.parametrize("name", PROGRAMS)
def test_blocks_after_each_other_have_the_same_bits(name: str, blocks: int, dtype: str) -> None:
    """A few at once, and chunks of them, whose sums are added. The last one has a lane without a sample."""
    loss, inputs = PROGRAMS[name]
    samples = blocks * native.machine().vector_bytes // np.dtype(dtype).itemsize - 1
    rng = np.random.default_rng(samples)
    X, y = rng.normal(size=(samples, inputs)), rng.choice([-1.0, 1.0], samples)
    bound = Call(loss, X, y, dtype=dtype)
    assert bound.state.blocks == blocks
    assert 3 <= machine_code.CHUNK < 11
    first = bound()
    assert not bound.improved
    tiers.finish()
    assert bound.improved
    assert bound() == first


def test_strict_sums_over_many_blocks_are_not_rolled() -> None:
    """All of them are one run, and would end in slow code."""
    for strict in (False, True):
        machine = replace(MACHINE, single=False, strict=strict)
        program = Call(looked_up, np.ones((5, 3)), np.ones(5), strict=strict).prepared.program
        assert machine_code.rolls(program, machine) is not strict


def test_products_are_summed_by_functions_that_all_programs_share(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    call = Code.call_support

    def noted(self: Code, name: str, *operands: Any) -> None:
        asked.append(name)
        call(self, name, *operands)

    monkeypatch.setattr(Code, "call_support", noted)
    loss, inputs = PROGRAMS["17-19-11"]
    Call(loss, np.ones((32, inputs)), np.ones(32))
    # The second layer and its transposed product; the first layer's terms follow a bias. Two matrices of weights.
    assert asked.count("dot") >= 3
    assert asked.count("outer") == 2
    first, second = (support.table(DOUBLE, 8, strict=False) for _ in range(2))
    assert first is second


def test_a_sum_of_negative_zeros_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first product begins it, with its sign: it is not added to 0, as after a bias of 0."""
    weights, bias = [Value(-0.0), Value(-0.0), Value(0.0)], Value(0.0)
    asked: list[str] = []
    call = Code.call_support
    monkeypatch.setattr(Code, "call_support", lambda self, name, *given: asked.append(name) or call(self, name, *given))

    def loss(x: Any) -> Any:
        products = [w * a for w, a in zip(weights, x, strict=True)]
        alone, biased = mg.sum(products), bias + mg.sum(products)
        return mg.where(1.0 / alone < 0.0, 1.0, 8.0) + mg.where(1.0 / biased < 0.0, 1.0, 8.0)

    bound = Call(loss, np.array([[1.0, 2.0, -3.0]] * 16))
    first = bound()
    assert {"fill", "dot"} <= set(asked)
    assert first[0] == bits(9.0)
    tiers.finish()
    assert bound() == first


def test_functions_without_a_batch_have_the_same_bits() -> None:
    p = values(40)
    f = mg.compile(lambda: mg.sum([mg.sin(a) * b * b for a, b in pairwise(p)]))
    f()
    first = bits(f.value_and_grad(f.theta())[1])
    tiers.finish()
    assert bits(f.value_and_grad(f.theta())[1]) == first


@pytest.mark.usefixtures("_small_blocks")
@pytest.mark.parametrize("memory", [None, "sqrt"])
@pytest.mark.parametrize("samples", [1, 5, 40, 140])
def test_loops_have_the_same_bits(memory: str | None, samples: int) -> None:
    """With sections, tables of their own for each of the two programs, and branches; in one block, some, and chunks."""
    series, a, b = RNG.normal(size=300), Value(0.9), Value(0.4)

    def loss(x: Any) -> Any:
        def step(i: Any, s: Any) -> Any:
            there = mg.take(series, i)
            return mg.tanh(a * s[0] + b * there + x), s[1] * 0.9 + mg.cond(
                there > 0, lambda v: v * b, lambda v: v, s[0]
            )

        return mg.sum(mg.loop(300, step, (x, x * 0.5), memory=memory))

    bound = Call(loss, np.linspace(-1.0, 1.0, samples))
    first = bound()
    tiers.finish()
    assert bound.improved
    assert bound() == first


def test_the_better_code_is_not_used_with_other_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = Call(looked_up, np.ones((5, 3)), np.ones(5))
    first = bound()
    monkeypatch.setattr(Tables, "array", lambda _: np.zeros(3, dtype=np.int32))
    tiers.finish()
    assert bound() == first
    assert not bound.improved


def test_long_runs_are_not_rolled(monkeypatch: pytest.MonkeyPatch) -> None:
    written = []
    run = Rolled.run

    def noted(*given: Any, **how: Any) -> None:
        written.append(1)
        run(*given, **how)

    monkeypatch.setattr(Rolled, "run", noted)
    loss, inputs = PROGRAMS["9-12-10-4"]
    products = (9 * 12 + 12 * 10 + 10 * 4) * 3 * 32
    for most, rolled in ((2 * products, True), (products // 2, False)):
        monkeypatch.setattr(machine_code, "MOST", most)
        Call(loss, np.ones((32, inputs)), np.ones(32))
        assert bool(written) is rolled
        written.clear()


@pytest.mark.parametrize("dims", [(), (1,), (5,), (23,), (3, 4), (7, 9), (2, 3, 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_each_member_is_written_once_and_knows_its_row(dims: tuple[int, ...], stride: int) -> None:
    """As in the tiles that are not rolled, whose rows are looked at here."""
    wide = tuple(int(np.prod(dims[k + 1 :])) * stride for k in range(len(dims)))
    out = Index("u", 0, wide)
    instruction = Instruction("reduce", 0, dims, out, segments=(Segment(1, 1.0, Index("v", 0, wide)),))

    def found(kind: type[Tiles]) -> dict[tuple[int, ...], tuple[bool, int]]:
        from macrograd.compiler.targets.scalar.sums import rows

        code = _Running()
        at = Operands(code, MACHINE, Tables())
        at.axis, at.dims = "lane", dims
        seen: dict[tuple[int, ...], tuple[bool, int]] = {}

        def body(x: Instruction, members: list[Any], vectors: list[Any]) -> None:
            lengths = [n for n in rows(out, members, MACHINE.width) for _ in range(n)]
            for member, length in zip(members, lengths, strict=True):
                place = tuple(p.factor * int(p.counter or 0) + p.offset for p in member)
                assert place not in seen
                part = at.part
                seen[place] = (len(members) <= 2, length) if part is None else (part.few, part.rows[0])

        kind(at).run(instruction, 1, body, scalar=True)
        return seen

    assert found(Rolled) == found(Tiles)
    assert len(found(Rolled)) == int(np.prod(dims))


class _Running:
    """Code whose loops run while they are written."""

    def loop(self, rounds: int, body: Callable[[int, list[str]], Any], *_: Any, **__: Any) -> list[str]:
        for i in range(rounds):
            body(i, [])
        return []

    def linear(self, constant: int, terms: list[tuple[int, Any]]) -> int:
        return constant + sum(factor * int(counter) for factor, counter in terms)


def test_an_operation_of_many_instructions_is_a_function() -> None:
    code = code_for(MACHINE.kind, strict=False, rolled=True)
    for _ in range(3):
        code.apply(mg.ops.tanh, ["%x"], 4)
    assert len(code.lines) == 3
    assert sum("define" in text for text in code.declared) == 1


def test_a_sum_in_a_loop_reads_from_memory_what_is_written_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three and four terms are a loop in rolled code, which cannot read registers."""
    monkeypatch.setenv("MACROGRAD_TIERS", "first")
    p = Value(0.37)

    def body(i: Any, s: Any) -> Any:
        return s * 0.9 + p * (0.1 * i + 0.3) * (i * 0.7 - 0.01 * i * i)

    mg.loop(1100, body, Value(0.3)).backward()
    expected, p.grad = p.grad, 0.0
    mg.compile(lambda x: mg.loop(1100, body, x, memory="sqrt"), strict=True, backend="llvm").backward(0.3)
    assert p.grad == expected
