"""Long loops: the parameters that they read have the places that all rounds would give them."""

from __future__ import annotations

from typing import Any

import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler import pipeline
from macrograd.compiler.probes import Order, Probes
from macrograd.compiler.program.stretch import Uneven


def values(count: int) -> list[Value]:
    return [Value(float(k)) for k in range(count)]


def test_every_parameter_has_one_place() -> None:
    a, b, c = values(3)
    order = Order(3)
    for p, place in ((c, 0), (a, 2), (b, 1), (a, 2)):
        order.put(p, place)
    assert order.complete() == [c, b, a]
    for place in (-1, 1, 3):  # outside, and that of another one
        with pytest.raises(Uneven, match="the same place"):
            order.put(Value(0.0), place)
    with pytest.raises(Uneven, match="has no place"):
        Order(1).complete()


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("backwards", [False, True])
def test_arrays_are_placed_by_the_few_that_are_read(step: int, backwards: bool) -> None:
    array = values(100)
    rows = [[5 + step * k if k < read else -1 for k in range(100)] for read in (16, 17, 18)]
    if backwards:
        rows = [row[::-1] for row in rows]
    probes = Probes([[100]], 16, 1)
    order = Order(5 + step * 100)
    order.array(array, rows, probes.whole)
    first, last = (array[-1], array[0]) if backwards else (array[0], array[-1])
    for parameter, place in ((first, 5), (last, 5 + step * 99)):
        order.put(parameter, place)
        with pytest.raises(Uneven):
            order.put(Value(0.0), place)


def test_arrays_that_are_read_in_another_order_are_uneven() -> None:
    probes = Probes([[100]], 16, 1)
    jumping = [[k * k if k < read else -1 for k in range(100)] for read in (16, 17, 18)]
    with pytest.raises(Uneven, match="do not follow each other evenly"):
        Order(10_000).array(values(100), jumping, probes.whole)
    gaps = [[-1 if k == 3 or k >= read else k for k in range(100)] for read in (16, 17, 18)]
    with pytest.raises(Uneven, match="in another order than its own"):
        Order(100).array(values(100), gaps, probes.whole)


def test_probes_write_as_many_rounds_as_lines_need() -> None:
    probes = Probes([[200, 203], [1000]], 16, 2)
    assert probes.begin == [16, 16]
    assert probes.wanted == (92, 492)
    plans = probes.plans()
    assert plans[0] == {200: 16, 203: 19, 1000: 16}
    assert {(plan[200], plan[203] - plan[200], plan[1000]) for plan in plans} == {
        (16 + 2 * a, 3, 16 + 2 * b) for a, b in probes.at
    }
    assert probes.whole([3 + 2 * a + 5 * b + a * b for a, b in probes.at]) == 3 + 184 + 2460 + 92 * 492


def test_a_recorded_loop_knows_all_its_operations_and_results() -> None:
    weights = values(150)

    def f(x: Any) -> Any:
        state, kept = mg.loop(150, lambda i, s: (mg.tanh(s * mg.take(weights, i) + x),) * 2, x, collect=True)
        return {"end": state, "all": kept}

    source = pipeline.record(f, [()])
    assert source.loops is not None
    assert source.recorded == 3 * 150
    assert source.parameters == weights
    assert source.structure == {"end": 0, "all": [*range(1, 151)]}
