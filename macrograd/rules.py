"""Applies the derivative rules of the op table: in reverse and forward sweeps, on numbers and on graphs.

A row has one rule per operand: c_k(g, out, *operands) is the contribution to the gradient of operand k if g is the
gradient of the result. A rule is linear in g, and its factor is ∂out/∂x_k. All derivatives are made of these rules,
here:

    contributions   all rules of one operation
    reaches         which operands have a rule: no derivative flows through the others
    accumulate      reverse, on the numbers of a graph: `Value.backward`, `macrograd.grad` of numbers
    sweep           reverse, on the graph itself: derivatives that can be differentiated again
    ahead           forward, on numbers or on the graph: d(out) = Σ_k c_k(d(x_k), out, *operands)

The compiler differentiates whole tapes at a time (`compiler.rewrite.differentiate`): it asks `contributions` once per
operation, for values without numbers, and copies the result.

**Order.** In reverse, the last use of a value contributes first, and the left operand of a use before the right.
Everything that must give the same bits adds the contributions up in that order.

**Strong zeros.** A contribution may be None: nothing flows to an operand that a choice did not take, not even the NaN
of zero times an infinite slope.

Source: Griewank & Walther, *Evaluating Derivatives*, 2nd ed., 2008, §3.1 and §3.2.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import Any, TypeVar

from macrograd.graph import Node
from macrograd.ops import CONSTANT, Op, dot, gate, maximum, sum_, where

N = TypeVar("N", bound=Node)


# --- one operation ----------------------------------------------------------------------------------------------------


def contributions(op: Op, g: Any, out: Any, operands: Sequence[Any]) -> list[Any]:
    """The contribution to each operand's gradient; None if there is no rule or a choice did not take the operand."""
    if op.arity is None:
        return list(op.derivative(g, out, *operands))
    return [None if rule is None else rule(g, out, *operands) for rule in op.derivative]


def reaches(op: Op) -> tuple[bool, ...]:
    """Whether an operand has a rule, by its slot (see `Op.slot`)."""
    if op.arity is None:
        return tuple([gain is not None for gain in op.derivative(1.0, 0.0, *[0.0] * op.slots)])
    return tuple([rule is not None for rule in op.derivative])


# --- reverse --------------------------------------------------------------------------------------------------------


def accumulate(order: Sequence[Any], nothing: float) -> None:
    """Add the contributions of the operations in `order` to the `.grad` of their operands, the last operation first.

    `order` lists operands before results. At the start every Value in it, except the roots, holds the object `nothing`
    as its gradient; operands from outside keep what they had. A Value that still holds it at its turn has received no
    gradient and passes none on.
    """
    for node in reversed(order):
        g = node._grad
        if g is nothing:  # no choice took it, or only a comparison used it: 0 times an infinite slope would be NaN
            continue
        op, a, b = node.op, node._a, node._b
        if op.arity == 2:
            left, right = op.derivative
            x, y, out = a._data, b._data, node._data
            if a.op is not CONSTANT and left is not None and (gain := left(g, out, x, y)) is not None:
                a._grad += gain
            if b.op is not CONSTANT and right is not None and (gain := right(g, out, x, y)) is not None:
                b._grad += gain
        elif op.arity == 1:
            (rule,) = op.derivative
            if rule is not None and (gain := rule(g, node._data, a._data)) is not None:
                a._grad += gain
        else:
            inputs = node.inputs
            gains = contributions(op, g, node._data, [x._data for x in inputs])
            for operand, gain in zip(inputs, gains, strict=True):
                if gain is not None and operand.op is not CONSTANT:
                    operand._grad += gain


def of_numbers(order: Sequence[N], root: N, leaves: Sequence[N], beside: Iterable[N] = ()) -> dict[N, float]:
    """The gradient of `root` by the leaves, as numbers; leaves that it does not depend on are left out.

    `order` are the operations between them, operands before results, whose `.grad` is overwritten. The operands in
    `beside`, which depend on no leaf, get theirs back.
    """
    kept = [(x, x._grad) for x in beside]
    nothing = float("-0")  # a distinct object; added to −0.0, a number keeps its sign
    node: Any
    for node in (*leaves, *order):
        node._grad = nothing
    node = root
    node._grad = 1.0
    accumulate(order, nothing)
    for node, grad in kept:
        node._grad = grad
    return {x: x._grad for x in leaves if x._grad is not nothing}


def sweep(
    order: Iterable[N],
    root: N,
    seed: Any = 1.0,
    *,
    active: Container[N] | None = None,
) -> dict[N, Any]:
    """Gradients of `root`, times the number or Value `seed`, for every Value in `order` that root depends on.

    They are Values made by operations on the graph itself (numbers where they do not depend on it), so the result can
    be differentiated again. Only Values in `active` get gradients, by default all of `order` that are not constants.

    During a trace it is not known what a choice takes: there `taken` holds, for every Value behind a choice, a Value
    that is not 0 where it was taken, and its slopes are computed from operands that pass through `gate`.
    """
    nodes: list[Any] = list(order)
    if active is None:
        active = {x for x in nodes if x.op is not CONSTANT}
    gradients: dict[N, Any] = {root: seed}
    taken: dict[N, Any] = {}
    get = gradients.get
    for node in reversed(nodes):
        g = get(node)
        op, a, b = node.op, node._a, node._b
        if g is None or a is None:
            continue
        if g.__class__ is list:
            g = gradients[node] = added_up(g)
        if op is dot and node not in taken:
            _through_dot(node, g, active, gradients, taken)
            continue
        if op.arity != 2 or op.chooses or node in taken:
            step(node, g, active, gradients, taken)
            continue
        left, right = op.derivative
        x, y = a, b
        if a.op is CONSTANT:  # as a number it adds no operations to the rule
            x = a._data
        elif b.op is CONSTANT:
            y = b._data
        if left is not None and a in active and (gain := left(g, node, x, y)) is not None:
            gradients[a] = _more(get(a), gain)
            taken.pop(a, None)
        if right is not None and b in active and (gain := right(g, node, x, y)) is not None:
            gradients[b] = _more(get(b), gain)
            taken.pop(b, None)
    for x, g in gradients.items():
        if g.__class__ is list:
            gradients[x] = added_up(g)
    return gradients


# The uses of a value in sums of products contribute a product each. They are kept as a list of factors, and become one
# sum of products instead of as many multiplications and additions.


def _through_dot(
    node: Any,
    g: Any,
    active: Container[Any],
    gradients: dict[Any, Any],
    taken: dict[Any, Any],
) -> None:
    inputs = node.inputs
    factors = rule_operands(inputs)
    for k, x in enumerate(inputs):
        if x in active:
            old = gradients.get(x)
            if old.__class__ is list:
                old += (g, factors[k ^ 1])
            else:
                gradients[x] = [g, factors[k ^ 1]] if old is None else [old, 1.0, g, factors[k ^ 1]]
            taken.pop(x, None)


def _more(old: Any, gain: Any) -> Any:
    """The contributions with one more."""
    if old.__class__ is list:
        old += (gain, 1.0)
        return old
    return gain if old is None else old + gain


def added_up(factors: list[Any]) -> Any:
    """The sum of the products of pairs of factors."""
    return factors[0] * factors[1] if len(factors) == 2 else dot(*factors)


def rule_operands(inputs: Sequence[Any]) -> list[Any]:
    """The operands of a rule: constants as numbers, which add no operations to it."""
    return [x._data if x.op is CONSTANT else x for x in inputs]


def step(
    node: Any,
    g: Any,
    active: Container[Any],
    gradients: dict[Any, Any],
    taken: dict[Any, Any],
) -> None:
    """The step of `sweep` for any operation, including one that chooses or lies behind a choice in a trace."""
    op, mask, out = node.op, taken.get(node), node
    if op.flows is not None:  # it has several results, and knows its derivative itself
        op.flows(node, g, active, gradients, taken)
        return
    inputs = node.inputs
    given = rule_operands(inputs)
    shares: list[Any] = [1.0] * len(inputs)
    if op.chooses:
        shares = contributions(op, 1.0, out, given)
    elif mask is not None:
        out = gate(mask, out)
        given = [x if x.__class__ is float and 1e-18 <= abs(x) <= 1e18 else gate(mask, x) for x in given]
    gains = contributions(op, g, out, given)
    for x, gain, share in zip(inputs, gains, shares, strict=True):
        if gain is None or x not in active:
            continue
        way = mask
        if share.__class__ is not float:  # during a trace it is not known whether it was taken here
            way = share if mask is None else where(share, mask, 0.0)
        old = gradients.get(x)
        gradients[x] = _more(old, gain)
        reach(taken, x, way, first=old is None)


def reach(taken: dict[Any, Any], x: Any, way: Any, *, first: bool) -> None:
    """Note in `taken` that a gradient reaches `x`, the first or another one, by a way that was taken where `way` is not
    0, or anyway if that is None."""
    if first:
        if way is not None:
            taken[x] = way
    elif x in taken:
        if way is None:
            del taken[x]
        elif way is not taken[x]:
            taken[x] = maximum(taken[x], way)


# --- forward --------------------------------------------------------------------------------------------------------


def ahead(order: Iterable[N], tangents: dict[N, Any], numbers: bool) -> dict[N, Any]:
    """Add the tangents of all of `order` to those of the leaves; a Value that does not change along them gets none.

    `order` lists operands before results. With `numbers` the tangents are floats, otherwise Values that can be
    differentiated.
    """
    get = tangents.get
    node: Any
    for node in order:
        op, a, b, out = node.op, node._a, node._b, node
        if op.arity == 2:
            t, u = get(a), get(b)
            if t is None and u is None:
                continue
            left, right = op.derivative
            x, y = a, b
            if numbers:
                out, x, y = node._data, a._data, b._data
            elif a.op is CONSTANT:  # as a number it adds no operations to the rule
                x = a._data
            elif b.op is CONSTANT:
                y = b._data
            first = None if t is None or left is None else left(t, out, x, y)
            second = None if u is None or right is None else right(u, out, x, y)
            found = second if first is None else first if second is None else first + second
        else:
            inputs: Any = node.inputs
            ts = [get(x) for x in inputs]
            if not any(t is not None for t in ts):
                continue
            if op.ahead is not None:
                if (found := op.ahead(node, get)) is not None:
                    tangents[node] = found
                continue
            operands = inputs
            if numbers:
                out, operands = node._data, [x._data for x in inputs]
            found = _tangent(op, ts, out, operands)
        if found is not None:
            tangents[node] = found
    return tangents


def _tangent(op: Op, ts: list[Any], out: Any, operands: Any) -> Any:
    """The tangent of an operation that does not have exactly two operands."""
    if op.arity is not None:
        rules = zip(ts, op.derivative, strict=True)
        flows = [rule(t, out, *operands) for t, rule in rules if t is not None and rule is not None]
        gains = [gain for gain in flows if gain is not None]
        return sum_(*gains) if len(gains) > 1 else gains[0] if gains else None
    # Its one rule gives all contributions at once. Calling it for every tangent would take quadratic time, so it is
    # called once, for the factors.
    factors = contributions(op, 1.0, out, operands)
    if op.chooses and not all(factor is None or factor.__class__ is float for factor in factors):
        # During a trace it is not known which it takes, so it takes among the tangents; multiplied by 0, one not taken
        # might be NaN.
        return op(operands[0], *[0.0 if t is None else t for t in ts[1:]])
    pairs = [(t, factor) for t, factor in zip(ts, factors, strict=True) if t is not None and factor is not None]
    if all(factor.__class__ is float and factor == 1.0 for _, factor in pairs):
        return sum_(*[t for t, _ in pairs]) if pairs else None
    return dot(*[x for pair in pairs for x in pair])
