"""Why a gradient is zero, huge, tiny or NaN: the operation that made it so, and the path to it.

Everything is read off one graph and its adjoints. An *edge* leads from an operation to one of its operands; its *slope*
is ∂result/∂operand, and its *gain* is slope times the gradient of the result. The gradient of a Value is the sum of the
gains of its uses, so any problem with it is a problem with one of these numbers.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from functools import cached_property
from typing import Any

from macrograd._dataclass import dataclass
from macrograd.ops import CONSTANT, Op
from macrograd.replay import Replay, at, operations
from macrograd.rules import contributions
from macrograd.value import Value

TINY, HUGE = 1e-8, 1e6  # beyond these a gradient is worth reporting
_STEEP = 1e3  # a slope that alone explains a huge gradient, and one over it a tiny one
_CANCELLED = 1e8  # contributions cancel if they are this much larger than their sum
_SHOWN = 12  # steps of a path that are printed

_ZERO = {
    "relu": "the operand is not above 0 (a dead unit)",
    "detach": "detach() stops every gradient",
    "where": "the other branch was taken",
    "maximum": "the other operand was larger",
    "minimum": "the other operand was smaller",
    "take": "the index chose another member",
    "mul": "the other factor is 0",
    "dot": "the other factor is 0",
    "div": "the numerator is 0, or the denominator infinite",
    "tanh": "it is saturated, so that the slope rounds to 0",
    "sigmoid": "it is saturated, so that the slope rounds to 0",
    "softplus": "the operand is so far below 0 that the slope rounds to 0",
    "exp": "the result underflows to 0",
    "less": "a comparison has no slope",
    "floor": "a step function has no slope",
    "ceil": "a step function has no slope",
    "round": "a step function has no slope",
    "sign": "a step function has no slope",
}


@dataclass(frozen=True)
class Step:
    """One operation on the way from a Value to the loss.

    op        the operation's name
    place     file, line and function that asked for it; "" if the graph was built before
    value     its result
    operand   the operand through which the path runs
    slope     ∂value/∂operand; None if nothing flows: the operation has no derivative, or a choice did not take it
    gradient  ∂loss/∂value; None if nothing flows
    """

    op: str
    place: str
    value: float
    operand: float
    slope: float | None
    gradient: float | None

    def __str__(self) -> str:
        slope = "no slope" if self.slope is None else f"slope {self.slope:.4g}"
        gradient = "no gradient" if self.gradient is None else f"gradient {self.gradient:.4g}"
        at = f"  {self.place}" if self.place else ""
        return f"{self.op}({self.operand:.6g}) = {self.value:.6g}: {slope}, {gradient}{at}"


@dataclass(frozen=True)
class Why:
    """The finding of `why`; `print` shows it in words.

    kind      "healthy", "unused", "cut", "cancelled", "vanishing", "exploding", "infinite" or "nan"
    gradient  ∂loss/∂target; 0.0 if nothing flows
    cause     the step that made it so; None for a gradient that is healthy or unused
    path      the steps from the target to the cause, the target's own use first
    others    further steps that cut the gradient, one for each operation and line
    text      the finding in a sentence
    """

    kind: str
    gradient: float
    cause: Step | None
    path: tuple[Step, ...]
    others: tuple[Step, ...]
    text: str

    def __str__(self) -> str:
        lines = [self.text]
        if len(self.path) > 1:
            lines.append("from the Value to the cause:")
            shown = self.path if len(self.path) <= _SHOWN else (*self.path[: _SHOWN // 2], *self.path[-_SHOWN // 2 :])
            lines += [f"  {step}" for step in shown]
            if len(shown) < len(self.path):
                lines.insert(2 + _SHOWN // 2, f"  … {len(self.path) - len(shown)} more")
        if self.others:
            lines.append("the other paths are cut, too:")
            lines += [f"  {step}" for step in self.others[:_SHOWN]]
            if len(self.others) > _SHOWN:
                lines.append(f"  … {len(self.others) - _SHOWN} more")
        return "\n".join(lines)


def why(target: Value, loss: Value | Callable[..., Any], *args: Any) -> Why:
    """Why the gradient of `loss` with respect to a Value is what it is: zero, huge, tiny or not a number.

    target  a parameter, or any Value that the loss was computed from
    loss    the loss as a Value, or a function of `args` that computes it: then source lines are known, too

    No `.grad` of the program is touched. `print(mg.why(w, loss))` says what cut the gradient (a dead relu, a saturated
    tanh, detach, a branch that was not taken, a factor of 0), blew it up, cancelled it or made it NaN, where, and with
    which numbers. A gradient counts as tiny below 1e-8 and as huge above 1e6 in magnitude.

    Raises TypeError for a target that is not a Value, and for a loss that is neither a Value nor a function that
    returns one.

        w = Value(-2.0, label="w")
        print(mg.why(w, lambda: mg.relu(w * 3.0) ** 2))
    """
    if not isinstance(target, Value):
        raise TypeError(f"mg.why(target, loss) explains the gradient of a Value, not of {type(target).__name__}")
    replay = Replay()
    result = loss
    if callable(loss) and not isinstance(loss, Value):
        result = replay.run(lambda: loss(*args))
    if not isinstance(result, Value):
        got = f"a function that returned {type(result).__name__}" if result is not loss else type(loss).__name__
        raise TypeError(f"mg.why(target, loss) takes a loss that is one Value, or a function of one; got {got}")
    return _Graph(result, target, replay).explain()


@dataclass(frozen=True)
class _Edge:
    node: Value
    operand: Value
    slope: float | None
    gain: float | None


class _Graph:
    """The loss's graph with its adjoints, seen from one target."""

    def __init__(self, result: Value, target: Value, replay: Replay) -> None:
        self.result, self.target, self.replay = result, target, replay
        self.order = operations(result)
        self.known = {id(result)} | {id(x) for node in self.order for x in node.inputs}
        self.adjoint: dict[int, float] = {id(result): 1.0}
        self.leading = {id(target)}  # Values that depend on the target
        for node in self.order:
            if any(id(x) in self.leading for x in node.inputs):
                self.leading.add(id(node))
        self.edges: dict[int, list[_Edge]] = {}  # by operation
        self.uses: dict[int, list[_Edge]] = {}  # by operand, of those that depend on the target
        self._sweep()

    def _sweep(self) -> None:
        for node in reversed(self.order):
            g, op = self.adjoint.get(id(node)), node.op
            assert op is not None
            numbers = [x.data for x in node.inputs]
            slopes = contributions(op, 1.0, node.data, numbers)
            gains = [None] * len(numbers) if g is None else contributions(op, g, node.data, numbers)
            self.edges[id(node)] = edges = [_Edge(node, *edge) for edge in zip(node.inputs, slopes, gains, strict=True)]
            for edge in edges:
                operand = id(edge.operand)
                if edge.gain is not None:
                    self.adjoint[operand] = self.adjoint.get(operand, 0.0) + edge.gain
                if operand in self.leading:
                    self.uses.setdefault(operand, []).append(edge)

    # --- what is wrong ----------------------------------------------------------------------------------------

    def explain(self) -> Why:
        if id(self.target) not in self.known:
            text = (
                f"the loss does not depend on {self._name()}: no operation of its graph used it. Was its number taken "
                "out (.data, float()), or another Value used in its place?"
            )
            return Why("unused", 0.0, None, (), (), text)
        gradient = self.adjoint.get(id(self.target), 0.0)
        if not math.isfinite(gradient) or not math.isfinite(self.result.data):
            return self._not_finite(gradient)
        if gradient == 0.0 and (found := self._cut()) is not None:
            return found
        if abs(gradient) < TINY and (found := self._cancelled(gradient)) is not None:
            return found
        if abs(gradient) < TINY:
            return self._extreme("vanishing", gradient, min)
        if abs(gradient) > HUGE:
            return self._extreme("exploding", gradient, max)
        return Why("healthy", gradient, None, (), (), f"the gradient of {self._name()} is {gradient:.6g}: all is well")

    def _cut(self) -> Why | None:
        """Find where a nonzero gradient meets a slope that is 0 or missing."""
        edges = [edge for uses in self.uses.values() for edge in uses]
        cuts = [edge for edge in edges if self.adjoint.get(id(edge.node)) and not edge.gain]
        if not cuts:
            return None
        distance = self._distances
        common = Counter(map(self._key, cuts))
        cuts.sort(key=lambda edge: (-common[self._key(edge)], distance[id(edge.operand)]))
        origins = list(map(self._origin, cuts))
        first = origins[0]
        others = {self._key(edge): self._step(edge) for edge in origins if self._key(edge) != self._key(first)}
        step = self._step(first)
        reason = self._reason(first)
        text = f"the gradient of {self._name()} is 0: {step.op}{at(step.place)} passes nothing on. {reason}"
        return Why("cut", 0.0, step, (*self._path_to(first), step), tuple(others.values()), text)

    def _origin(self, cut: _Edge) -> _Edge:
        """A slope may be 0 because of an earlier cut, as that of x² where x = relu(-1): then return that cut."""
        while cut.slope is not None and not cut.slope:
            before = self._leading_edges(cut.operand)
            if not before or any(edge.slope for edge in before):
                break
            cut = before[0]
        return cut

    def _reason(self, edge: _Edge) -> str:
        op = edge.node.op
        assert op is not None
        call = _call(edge.node)
        if edge.slope:
            small = f"slope {edge.slope:.3g} times gradient {self.adjoint[id(edge.node)]:.3g} underflows to 0"
            return f"Its {small}, at {call}"
        general = "it has no derivative there" if edge.slope is None else "its slope is 0 there"
        return f"At {call}, {_ZERO.get(op.name, general)}"

    def _cancelled(self, gradient: float) -> Why | None:
        """A sum of gains on the way to the target that nearly vanishes beside its terms."""
        for node in [self.target, *self.order]:
            if id(node) not in self.leading:
                continue
            gains = [edge.gain for edge in self.uses.get(id(node), []) if edge.gain]
            total, terms = self.adjoint.get(id(node), 0.0), math.fsum(map(abs, gains))
            if len(gains) < 2 or not terms > abs(total) * _CANCELLED:
                continue
            edge = max((e for e in self.uses[id(node)] if e.gain), key=lambda e: abs(e.gain or 0.0))
            step = self._step(edge)
            what = self._name() if node is self.target else f"{_called(node)}, on the way to {self._name()},"
            shown = " + ".join(f"({gain:.6g})" for gain in gains[:4]) + (" + …" if len(gains) > 4 else "")
            text = (
                f"the gradient of {self._name()} is {gradient:.3g}: the contributions to {what} cancel, "
                f"{shown} = {total:.3g}. The largest comes from {step.op}{at(step.place)}"
            )
            return Why("cancelled", gradient, step, (*self._path_to(edge), step), (), text)
        return None

    def _extreme(self, kind: str, gradient: float, choose: Callable[..., _Edge]) -> Why:
        """The steepest or flattest slope on the path that carries most of the gradient."""
        path = self._main_path()
        edge = choose(path, key=lambda e: abs(e.slope or 0.0))
        step, slope = self._step(edge), abs(edge.slope or 0.0)
        alone = slope > _STEEP if kind == "exploding" else slope < 1 / _STEEP
        if alone:
            reason = f"{step.op}{at(step.place)} has the slope {edge.slope:.3g} at {step.operand:.6g}"
        else:
            mean = abs(gradient) ** (1 / len(path))
            reason = (
                f"{len(path)} slopes of {mean:.3g} on average multiply up, {step.op}{at(step.place)} the most extreme"
            )
        word = "tiny" if kind == "vanishing" else "huge"
        text = f"the gradient of {self._name()} is {word}, {gradient:.3g}: {reason}"
        return Why(kind, gradient, step, tuple(map(self._step, path)), (), text)

    def _not_finite(self, gradient: float) -> Why:
        kind = "nan" if math.isnan(gradient) or math.isnan(self.result.data) else "infinite"
        for node in self.order:  # a value first: everything after it follows from it
            flows = id(node) in self.adjoint or node is self.result
            if flows and not math.isfinite(node.data):
                return self._of_value(kind, gradient, node)
        for node in reversed(self.order):
            for edge in self._leading_edges(node):
                if edge.gain is not None and not math.isfinite(edge.gain):
                    step = self._step(edge)
                    text = (
                        f"the gradient of {self._name()} is {gradient}: all values are finite, but the slope of "
                        f"{step.op}{at(step.place)} is {step.slope} at {step.operand:.6g}{_remedy(edge.node.op)}"
                    )
                    return Why(kind, gradient, step, (*self._path_to(edge), step), (), text)
        edge = max(self._main_path(), key=lambda e: abs(e.slope or 0.0))
        text = f"the gradient of {self._name()} is {gradient}: a sum of finite contributions overflows"
        return Why(kind, gradient, self._step(edge), (), (), text)

    def _of_value(self, kind: str, gradient: float, node: Value) -> Why:
        """The first non-finite value; one of its operands may be a leaf that was not finite either."""
        edges = self.edges[id(node)]
        edge = next((edge for edge in edges if not math.isfinite(edge.operand.data)), edges[0])
        step, worst = self._step(edge), edge.operand
        given = "" if math.isfinite(worst.data) else f"; {_called(worst)} was {worst.data} to begin with"
        text = (
            f"the gradient of {self._name()} is {gradient:.6g}, and the loss {self.result.data:.6g}: "
            f"{_call(node)} is {node.data}{at(step.place)}{given}{_remedy(node.op)}"
        )
        return Why(kind, gradient, step, (step,), (), text)

    # --- paths ------------------------------------------------------------------------------------------------

    def _leading_edges(self, node: Value) -> list[_Edge]:
        return [edge for edge in self.edges.get(id(node), []) if id(edge.operand) in self.leading]

    def _main_path(self) -> list[_Edge]:
        """The path from the target to the loss that always follows the use that contributes most."""
        path, node = [], self.target
        while node is not self.result:
            path.append(max(self.uses[id(node)], key=lambda edge: abs(edge.gain or 0.0)))
            node = path[-1].node
        return path

    @cached_property
    def _distances(self) -> dict[int, int]:
        """The smallest number of operations between the target and each Value that depends on it."""
        found = {id(self.target): 0}
        for node in self.order:
            if id(node) in self.leading and node is not self.target:
                found[id(node)] = 1 + min(found[id(x)] for x in node.inputs if id(x) in found)
        return found

    def _path_to(self, end: _Edge) -> list[Step]:
        """The shortest path from the target to the operand of an edge."""
        distance = self._distances
        steps, last = [], end.operand
        while last is not self.target:
            before = min((x for x in last.inputs if id(x) in distance), key=lambda x: distance[id(x)])
            edge = next(edge for edge in self.edges[id(last)] if edge.operand is before)
            steps.append(self._step(edge))
            last = before
        return steps[::-1]

    # --- words ------------------------------------------------------------------------------------------------

    def _name(self) -> str:
        return _called(self.target)

    def _step(self, edge: _Edge) -> Step:
        node = edge.node
        assert node.op is not None
        return Step(
            node.op.name, self.replay.place(node), node.data, edge.operand.data, edge.slope, self.adjoint.get(id(node))
        )

    def _key(self, edge: _Edge) -> tuple[str, str]:
        assert edge.node.op is not None
        return edge.node.op.name, self.replay.place(edge.node)


def _called(node: Value) -> str:
    if node.label:
        return f"{node.label!r}"
    if node.op is None or node.op is CONSTANT:
        return f"the Value {node.data:.6g}"
    return f"the result {node.data:.6g} of {node.op.name}"


def _call(node: Value) -> str:
    """The operation with its operands' numbers."""
    assert node.op is not None
    operands = [f"{x.data:.6g}" for x in node.inputs[:4]] + ["…"] * (len(node.inputs) > 4)
    return f"{node.op.name}({', '.join(operands)})"


def _remedy(op: Op | None) -> str:
    return f". {op.remedy}" if op is not None and op.remedy else ""
