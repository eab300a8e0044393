"""Layers, losses and update rules on values that have no number: nothing in them may look at one.

The compiler records a program by running it on such values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from macrograd import Value, functions, losses, nn, ops, optim
from macrograd.ops import Op


class Numberless(Value):
    """A Value that remembers its operation and refuses everything that would need its number."""

    __slots__ = ("made_by", "of")

    _traced = True

    def __init__(self, op: Op | None = None, operands: tuple[Any, ...] = ()) -> None:
        self.made_by, self.of = op, operands

    @classmethod
    def _apply(cls, op: Op, operands: tuple[Any, ...]) -> Numberless:
        return cls(op, operands)

    def _refuse(self, *_: Any) -> NoReturn:
        raise AssertionError("the number of a value that has none was asked for")

    data = property(_refuse)
    __float__ = __int__ = __bool__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__ = _refuse
    __hash__ = object.__hash__

    def __neg__(self) -> Any:
        return ops.neg(self)

    def __abs__(self) -> Any:
        return ops.absolute(self)


for name, op in (("add", ops.add), ("sub", ops.sub), ("mul", ops.mul), ("truediv", ops.div), ("pow", ops.power)):
    setattr(Numberless, f"__{name}__", lambda self, other, op=op: op(self, other))
    setattr(Numberless, f"__r{name}__", lambda self, other, op=op: op(other, self))


@pytest.mark.parametrize("name", nn.activations.ACTIVATIONS)
def test_a_net(name: str) -> None:
    model = nn.MLP(2, [4, 3], activation=name, output_activation=name)
    out = model([Numberless(), Numberless()])
    assert [type(x) for x in out] == [Numberless] * 3


@pytest.mark.parametrize(
    ("loss", "prediction", "target"),
    [
        (losses.hinge, 1, 1),
        (losses.squared_error, 3, 3),
        (losses.absolute_error, 3, 3),
        (losses.huber, 3, 3),
        (losses.binary_cross_entropy, 1, 1),
        (losses.cross_entropy, 3, 3),
        (losses.cross_entropy, 3, None),
    ],
)
def test_losses(loss: Callable[[Any, Any], Any], prediction: int, target: int | None) -> None:
    p = [Numberless() for _ in range(prediction)]
    t = Numberless() if target is None else [Numberless() for _ in range(target)]
    assert type(loss(p, t)) is Numberless


@pytest.mark.parametrize(
    "optimizer",
    [
        optim.SGD(0.1, 0.9, nesterov=True, weight_decay=0.1),
        optim.RMSProp(momentum=0.9, centered=True, weight_decay=0.1),
        optim.Adam(weight_decay=0.1),
        optim.AdamW(),
        optim.Rule(lambda p, g, state, rate, step: (p - rate * functions.sign(g), ())),
    ],
    ids=repr,
)
def test_update_rules(optimizer: optim.Optimizer) -> None:
    state = tuple(Numberless() for _ in optimizer.initial_state)
    new, new_state = optimizer.rule(Numberless(), Numberless(), state, Numberless(), Numberless())
    assert [type(x) for x in (new, *new_state)] == [Numberless] * (1 + len(state))
