"""Levels: entries wait for their like, as long as nobody needs them and the program gets shorter."""

from __future__ import annotations

import random

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.roll import levels
from macrograd.compiler.tape import tape


def positions(count: int, width: int = 12) -> mg.compiler.Compiled:
    """Causal: position k looks at the k + 1 inputs up to its own, and then all positions do the same."""
    draw = random.Random(0)
    weights = [[Value(draw.gauss(0, 1)) for _ in range(width)] for _ in range(width)]

    def loss(xs):
        total = 0.0
        for k in range(1, count):
            largest = xs[0]
            for x in xs[1 : k + 1]:
                largest = mg.maximum(largest, x)
            hidden = [mg.tanh(row[0] * largest) for row in weights]
            hidden = [mg.tanh(mg.dot(row, hidden)) for row in weights]
            total = total + mg.sum(hidden)
        return total

    return mg.compile(loss, batch=True)


def instructions(f: mg.compiler.Compiled, shape: tuple[int, ...]) -> list[object]:
    source = pipeline.record(f.fn, [shape])
    return list(pipeline.gradient_program(source, batch=True).instructions())


def test_positions_of_different_depth_share_their_matrix_products(monkeypatch: pytest.MonkeyPatch) -> None:
    f = positions(12)
    together = instructions(f, (12,))
    monkeypatch.setattr(levels, "GAIN", 0.0)
    apart = instructions(f, (12,))
    assert len(together) < len(apart) / 2


def test_entries_that_waited_compute_the_same() -> None:
    f = positions(12)
    X = np.random.default_rng(0).normal(size=(5, 12))
    loss = f.backward(X)
    gradient = [p.grad for p in f.parameters]
    for p in f.parameters:
        p.grad = 0.0
    eager = mg.mean(f.fn(row) for row in X.tolist())
    eager.backward()
    assert loss == pytest.approx(eager.data, rel=1e-13)
    np.testing.assert_allclose(gradient, [p.grad for p in f.parameters], rtol=1e-11, atol=1e-13)


def test_levels_are_above_those_of_the_operands() -> None:
    source = pipeline.record(positions(12).fn, [(12,)])
    t = source.tape
    first = tape.levels(t)
    last = np.full(len(t), int(first.max()))
    for _ in range(2):
        latest = levels.latest(t, last, first)
        waited = levels.gathered(t, latest, t.code)
        computed = t.arity > 0
        assert (waited[computed] >= first[computed]).all()
        assert (waited[computed] <= latest[computed]).all()
        assert (waited[t.owner] > waited[t.operand]).all()
        assert (waited[~computed] == 0).all()
        last = levels.earlier(waited, first, t.code)
        assert (last <= waited).all()
        assert (last >= first).all()


@pytest.mark.parametrize("at_once", [7, 1 << 14])
def test_groups_are_counted_by_phase_level_and_kind(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "AT_ONCE", at_once)
    t = pipeline.record(positions(12).fn, [(12,)]).tape
    draw, n = np.random.default_rng(0), len(t)
    phase, level = draw.integers(0, 4, n).astype(np.int8), draw.integers(0, 9, n).astype(np.int32)
    kind = draw.choice(draw.integers(-(1 << 63), 1 << 63, 5), n)
    monkeypatch.setattr(levels, "candidates", lambda sequence: {})
    found = {(p, x, k) for p, x, k, a in zip(phase, level, kind, t.arity, strict=True) if a}
    assert levels.count_groups(t, level, kind, phase) == len(found)


def test_a_smaller_group_joins_the_larger_one_right_before_it_if_it_can() -> None:
    kind = np.array([1, 1, 1, 2, 1, 1, 2, 2])
    level = np.array([3, 3, 4, 4, 5, 7, 5, 5])
    soonest = np.array([1, 1, 3, 1, 1, 1, 1, 1])
    assert levels.earlier(level, soonest, kind).tolist() == [3, 3, 3, 4, 5, 7, 5, 5]
    soonest[2] = 4
    assert levels.earlier(level, soonest, kind).tolist() == level.tolist()


def test_a_recurrence_keeps_its_rounds() -> None:
    draw = random.Random(0)
    weights = [[Value(draw.gauss(0, 0.3)) for _ in range(4)] for _ in range(4)]

    def final(xs):
        h = [0.0] * 4
        for x in xs:
            h = [mg.tanh(mg.dot(row, h) + x) for row in weights]
        return mg.sum(h)

    short, long = (len(instructions(mg.compile(final, batch=True), (n,))) for n in (30, 60))
    assert short == long < 60


def test_members_in_no_order_at_all_are_one_table() -> None:
    """Every run among them has two members; looking ahead for longer ones must not look ahead again."""
    draw = random.Random(0)
    pairs = [(draw.randrange(1000), draw.randrange(1000)) for _ in range(3000)]
    source = pipeline.record(lambda x: mg.sum(mg.maximum(x[i], x[j]) for i, j in pairs), [(1000,)])
    assert len(list(pipeline.value_program(source, batch=True).instructions())) < 5
