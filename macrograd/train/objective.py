"""The training objective: the loss of one sample, and penalties that depend only on the parameters."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from macrograd import functions
from macrograd.nn import Module, losses
from macrograd.nn.dropout import Draws, drawing
from macrograd.value import Value

Scalar = Any


def takes_model(loss: Callable[..., Any]) -> bool:
    """Whether a loss function takes (model, x, y) rather than (prediction, target).

    Raises TypeError for any other number of arguments.
    """
    if any(loss is named for named in losses.LOSSES.values()):
        return False  # the signature of a function takes long to find
    try:
        arguments = inspect.signature(loss).parameters.values()
    except (TypeError, ValueError):
        return False
    positional = [a for a in arguments if a.kind in (a.POSITIONAL_ONLY, a.POSITIONAL_OR_KEYWORD)]
    needed = [a for a in positional if a.default is a.empty]
    if any(a.kind is a.VAR_POSITIONAL for a in arguments) and len(needed) <= 2:
        return False
    if len(needed) not in (2, 3) and not len(needed) < 2 <= len(positional):
        raise TypeError(
            f"a loss must be a function of (prediction, target) or of (model, x, y), got {_name(loss)} "
            f"with {len(needed)} arguments"
        )
    return len(needed) == 3


class Smoothed:
    """A loss for classes with smoothed labels: its mean over a label that is right with probability 1 − ε and otherwise
    any of the classes."""

    def __init__(self, loss: Callable[..., Scalar], smoothing: float) -> None:
        self._loss, self._smoothing = loss, smoothing
        self.__name__ = f"{_name(loss)} with label smoothing {smoothing:g}"

    def __call__(self, prediction: Any, target: Any) -> Scalar:
        share = self._smoothing
        if self._loss is losses.cross_entropy:
            uniform = losses.cross_entropy(prediction, [1.0 / len(prediction)] * len(prediction))
            return (1.0 - share) * losses.cross_entropy(prediction, target) + share * uniform
        other = 1.0 - target if self._loss is losses.binary_cross_entropy else -target
        return (1.0 - 0.5 * share) * self._loss(prediction, target) + 0.5 * share * self._loss(prediction, other)


class Objective:
    """The mean over a batch of `sample(x, y)`, times the sample's weight where there are weights, plus `penalty()`.

    model       the model to train
    loss        (prediction, target) → scalar, or (model, x, y) → scalar
    parameters  the trained parameters, for l2
    l2          adds l2·Σ parameter²
    penalty     (model) → scalar, added unchanged; None for none
    weighted    whether each sample comes with a weight, as a third argument
    seed        of the model's random numbers (`nn.Dropout`), or None if it draws none; if it does, each sample comes
                with its number and that of the step, as last arguments. `keys` may stand for it (see `Draws`)
    """

    def __init__(
        self,
        model: Module,
        loss: Callable[..., Scalar],
        parameters: Sequence[Value],
        *,
        l2: float = 0.0,
        penalty: Callable[[Module], Scalar] | None = None,
        weighted: bool = False,
        seed: int | None = None,
    ) -> None:
        self.model, self.loss, self.parameters = model, loss, list(parameters)
        # A model of several members is trained by the mean of their losses, each on its own outputs.
        self._each = getattr(model, "each", None)
        self.l2, self.extra, self.weighted = l2, penalty, weighted
        self._whole = takes_model(loss)
        self.seed = seed
        self.keys: Sequence[Any] | None = None

    @property
    def draws(self) -> bool:
        """Whether samples come with their numbers, from which random numbers are drawn."""
        return self.seed is not None

    def parts(self) -> tuple[Any, ...]:
        """All that `__call__` computes with, for a description."""
        squared = self.parameters if self.l2 else []
        return self.model, self.loss, squared, self.l2, self.extra, self.weighted, self.seed

    @property
    def uniform(self) -> tuple[int, ...]:
        """The positions of the arguments that are the same for all samples of a step."""
        return (3 + self.weighted,) if self.draws else ()

    @property
    def has_penalty(self) -> bool:
        return bool(self.l2) or self.extra is not None

    def sample(self, x: Any, y: Any, *more: Any) -> Scalar:
        """One sample's loss, times its weight, without penalties."""
        if self.seed is None:
            loss = self._loss(x, y)
        else:
            with drawing(Draws(more[-1], more[-2], self.seed, self.keys)):
                loss = self._loss(x, y)
        if not isinstance(loss, Value) and not isinstance(loss, (int, float)):
            raise TypeError(
                f"the loss {_name(self.loss)} must return one scalar for one sample, but returned a "
                f"{type(loss).__name__}{f' of {len(loss)}' if hasattr(loss, '__len__') else ''}: "
                "return its sum or mean"
            )
        return more[0] * loss if self.weighted else loss

    def count_draws(self, x: Any, y: Any) -> int:
        """How many random numbers a sample takes."""
        with drawing(Draws(0.0, 0.0)) as draws:
            self._loss(x, y)
        return draws.count

    def _loss(self, x: Any, y: Any) -> Scalar:
        if self._whole:
            return self.loss(self.model, x, y)
        if self._each is None:
            return self.loss(self.model(x), y)  # type: ignore[operator]  # checked by the Trainer
        found = [self.loss(outputs, y) for outputs in self._each(x)]
        return found[0] if len(found) == 1 else functions.mean(found)

    def penalty(self) -> Scalar:
        """The penalty, added once per batch; 0.0 without one."""
        total: Scalar = self.l2 * functions.dot(self.parameters, self.parameters) if self.l2 else 0.0
        return total + self.extra(self.model) if self.extra is not None else total

    def __call__(self, x: Any, y: Any, *more: Any) -> Scalar:
        """One sample's share of the objective; this is the function that is compiled."""
        loss = self.sample(x, y, *more)
        return loss + self.penalty() if self.has_penalty else loss

    __name__ = "the training loss"


class Keyed:
    """An objective with the keys of its random numbers as one more argument, the same for all samples: so runs of other
    seeds are computed by the same program."""

    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self.uniform = (*objective.uniform, 4 + objective.weighted)
        self.__name__ = objective.__name__

    def __call__(self, x: Any, y: Any, *more: Any) -> Scalar:
        *others, self._objective.keys = more
        try:
            return self._objective(x, y, *others)
        finally:
            self._objective.keys = None


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)
