"""How derivative rules are applied: back and ahead, on numbers, on the graph and on a tape, they are the same rules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, ops
from macrograd.gradients.calls import call
from macrograd.gradients.sparsity import pattern
from macrograd.graph import topological
from macrograd.ops import CONSTANT, TABLE, Op
from macrograd.rules import accumulate, ahead, contributions, of_numbers, reaches, sweep

ROWS = [op for op in TABLE if op is not CONSTANT]


def operands(op: Op) -> list[float]:
    """Operands at which every row is smooth; of one for any number of operands, three terms."""
    count = op.arity if op.arity is not None else op.first + 3 * op.term
    if op is ops.take:
        return [2.0, 0.3, 0.4, 0.5]
    if op is ops.onehot:
        return [1.0, 1.0, 0.7]
    return [0.3 + 0.15 * k for k in range(count)]


def applied(op: Op) -> tuple[Value, list[Value]]:
    leaves = [Value(x) for x in operands(op)]
    return op(*leaves), leaves


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_every_way_back_gives_the_same_derivatives(op: Op) -> None:
    out, leaves = applied(op)
    out.backward()
    wanted = [x.grad for x in leaves]
    out, leaves = applied(op)
    numbers = of_numbers([out], out, leaves)
    assert [numbers.get(x, 0.0) for x in leaves] == wanted
    graph = [sweep(topological(out), out).get(x, 0.0) for x in leaves]
    assert [g.data if isinstance(g, Value) else g for g in graph] == wanted
    gains = contributions(op, 1.0, out.data, [x.data for x in leaves])
    assert [0.0 if gain is None else gain for gain in gains] == wanted
    compiled = mg.compile(lambda *x: mg.grad(op, argnums=tuple(range(len(x))))(*x), backend="numpy")
    np.testing.assert_allclose(np.ravel(compiled(*operands(op))), wanted, rtol=1e-14, atol=0)
    made = mg.compile(lambda: op(*leaves), backend="numpy")
    if made.parameters:
        gradient = dict(zip(map(id, made.parameters), made.value_and_grad(made.theta())[1], strict=True))
        np.testing.assert_allclose([gradient.get(id(x), 0.0) for x in leaves], wanted, rtol=1e-14, atol=0)


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_ahead_has_the_factors_of_back(op: Op) -> None:
    out, leaves = applied(op)
    back = of_numbers([out], out, leaves)
    for numbers in (True, False):
        for x in leaves:
            found: Any = ahead([out], {x: 2.0}, numbers).get(out, 0.0)
            found = found.data if isinstance(found, Value) else found
            assert found == pytest.approx(2.0 * back.get(x, 0.0), rel=1e-15, abs=0)


@pytest.mark.parametrize("op", ROWS, ids=lambda op: op.name)
def test_a_derivative_flows_where_a_slot_has_a_rule(op: Op) -> None:
    out, leaves = applied(op)
    reached = reaches(op)
    assert len(reached) == op.slots
    flows = [reached[op.slot(k)] for k in range(len(leaves))]
    (bits,) = pattern([out], leaves, [out])
    assert [bool(bits >> k & 1) for k in range(len(leaves))] == flows
    gains = contributions(op, 1.0, out.data, [x.data for x in leaves])
    assert all(flow or gain is None for flow, gain in zip(flows, gains, strict=True))
    assert np.array_equal(op.slot(np.arange(len(leaves))), [op.slot(k) for k in range(len(leaves))])


def test_the_slots_of_terms() -> None:
    assert [ops.sum_.slot(k) for k in range(4)] == [0, 0, 0, 0]
    assert [ops.dot.slot(k) for k in range(6)] == [0, 1, 0, 1, 0, 1]
    assert [ops.take.slot(k) for k in range(4)] == [0, 1, 1, 1]
    assert [ops.where.slot(k) for k in range(3)] == [0, 1, 2]
    assert reaches(ops.take) == (False, True)


@pytest.mark.parametrize(("factors", "wanted"), [((1.0, 1e16, -1e16), 1.0), ((1e16, -1e16, 1.0), 0.0)])
def test_the_last_use_contributes_first(factors: tuple[float, ...], wanted: float) -> None:
    """1e16 swallows a 1 that is added to it: the other order gives the other sum."""
    a, b, c = factors

    def f(x: Any) -> Any:
        return (x * a + x * b) + x * c

    x = Value(1.0)
    out = f(x)
    order = topological(out)
    assert sweep(order, out)[x] == wanted  # a number: the factors are
    assert of_numbers([node for node in order if node.inputs], out, [x])[x] == wanted
    out.backward()
    assert x.grad == wanted
    assert mg.compile(lambda: f(x), strict=True, backend="numpy").value_and_grad([1.0])[1].tolist() == [wanted]


def test_a_sweep_keeps_to_what_depends_on_the_arguments() -> None:
    """The weights of a net get no contributions in a gradient by its inputs alone."""
    w = [Value(float(k)) for k in range(3)]
    x = Value(2.0)
    y = mg.dot(w, [x, x * x, 1.0])
    assert set(sweep([y.inputs[3], y], y, active={x, y.inputs[3], y})) == {x, y.inputs[3], y}


def test_a_gradient_of_numbers_leaves_no_trace_in_other_values() -> None:
    kept: list[Value] = []
    mg.grad(lambda x: kept.append(mg.exp(x)) or x)(1.0)
    (beside,) = kept  # computed from what is a constant by now
    beside.grad = 7.0
    assert mg.grad(lambda x: x * beside)(2.0) == beside.data
    assert beside.grad == 7.0


def test_a_gradient_is_never_minus_zero() -> None:
    """It begins with 0.0, as what `backward` adds to; strict programs could not tell −0.0 from what was not taken."""
    for x in (2.0, Value(2.0)):
        found = mg.grad(lambda x: x * -0.0)(x)
        assert math.copysign(1.0, found.data if isinstance(found, Value) else found) == 1.0
    x = Value(2.0)
    (x * -0.0).backward()
    assert math.copysign(1.0, x.grad) == 1.0


def test_what_a_choice_did_not_take_gets_nothing_but_zero_times_infinity_shows() -> None:
    x = Value(0.0)
    root = mg.sqrt(x)
    for out, wanted in ((mg.where(1.0, x, root), 1.0), (x + 0.0 * root, math.nan)):
        order = [node for node in topological(out) if node.inputs]
        for found in (of_numbers(order, out, [x])[x], sweep(topological(out), out)[x]):
            number = found.data if isinstance(found, Value) else found
            assert number == wanted or (number != number and wanted != wanted)


def test_accumulate_adds_to_what_the_leaves_have() -> None:
    x = Value(3.0)
    y = x * x
    x.grad, y.grad = 100.0, 1.0
    accumulate([y], float("0"))
    assert x.grad == 106.0


def test_the_uses_of_a_value_in_sums_of_products_become_one_sum() -> None:
    """The gradient of a matrix's product with a vector is the transposed matrix's: one operation for each number."""
    rows, x = [[Value(3.0 * i - j) for j in range(4)] for i in range(5)], [Value(0.5 * k) for k in range(4)]
    weights = [Value(1.0 + k) for k in range(5)]
    out = mg.dot(weights, [mg.dot(row, x) for row in rows])
    found = sweep(topological(out), out)
    for k, value in enumerate(x):
        assert found[value].op is ops.dot
        assert found[value].data == sum((1.0 + i) * rows[i][k].data for i in range(5))
        assert [i.op for i in found[value].inputs[:2]] == [ops.mul, None]


def test_other_uses_join_the_sums_of_products_in_their_order() -> None:
    a, b, c = Value(1e16), Value(3.0), Value(1.0)
    out = mg.dot([a, c], [b, b]) + b + mg.dot([c, c], [b, a]) - b * c
    out.backward()
    assert sweep(topological(out), out)[b].data == b.grad
    at = mg.compile(mg.grad(lambda x: mg.dot([1e16, 1.0], [x, x]) + x - 1e16 * x), strict=True)(3.0)
    assert at == mg.grad(lambda x: mg.dot([1e16, 1.0], [x, x]) + x - 1e16 * x)(3.0)


def test_what_lies_before_a_detached_value_is_not_swept() -> None:
    def fn(x: Value) -> Value:
        return x * mg.detach(mg.exp(x)) + mg.floor(mg.cos(x)) * mg.sin(x) * ops.less(mg.tanh(x), 1.0)

    found = call(fn, [0.7], {}, [0])
    assert not {"detach", "floor", "less"} & {node.op.name for node in found.order}
    assert {node.op.name for node in found.beside} == {"detach", "floor", "less"}
    assert found.numbers
    assert mg.grad(lambda x: x * mg.detach(mg.exp(x)))(0.7) == math.exp(0.7)
