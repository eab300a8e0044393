"""Numbers computed from parameters alone while a function is traced."""

from __future__ import annotations

import pytest

import macrograd as mg
from macrograd import Value, value
from macrograd.compiler import pipeline
from macrograd.compiler.trace import linearise


def test_a_simulation_of_parameters_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every observation asks for a later state of it; the walk to the first one must not be made again."""
    walked = 0
    walk = linearise.topological

    def counted(*roots, **options):
        nonlocal walked
        found = walk(*roots, **options)
        walked += len(found)
        return found

    monkeypatch.setattr(linearise, "topological", counted)
    rate = Value(0.5)
    states = [rate]
    for _ in range(200):
        states.append(states[-1] * 0.99 + rate)

    def loss(observed):
        return mg.sum([(state - y) ** 2 for state, y in zip(states[1:], observed, strict=True)])

    assert pipeline.record(loss, [(200,)]).recorded == 200 * 4 + 1
    assert 400 <= walked < 1000


def test_the_order_of_first_use_and_the_numbers_stay() -> None:
    a, b, c = Value(2.0, "a"), Value(3.0, "b"), Value(5.0, "c")

    def f(x):
        shared = a * b
        return (shared + c) * x[0] + (shared - a) * x[1] + b * x[2]

    compiled = mg.compile(f)
    assert compiled([1.0, 10.0, 100.0]) == f([1.0, 10.0, 100.0]).data
    assert {p.label for p in compiled.parameters} == {"a", "b", "c"}
    compiled.backward([1.0, 10.0, 100.0])
    assert (a.grad, b.grad, c.grad) == (3 * 1 + (3 - 1) * 10, 2 * 1 + 2 * 10 + 100, 1.0)


@pytest.mark.parametrize("inner", [lambda y: y * 2.0, lambda y: [][1]])
def test_a_trace_within_a_trace_leaves_the_outer_one_as_it_was(inner) -> None:
    w = Value(0.5, "w")

    def f(x):
        scaled = x * w
        try:
            number = float(mg.compile(inner)(2.0))
        except IndexError:
            number = 4.0
        return scaled * number * Value(3.0, "made within")

    compiled = mg.compile(f)
    assert compiled(2.0) == 12.0
    assert [p.label for p in compiled.parameters] == ["w"]
    assert value.recording() is None
