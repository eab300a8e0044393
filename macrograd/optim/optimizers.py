"""Optimisers: each has an update rule and keeps the state of the parameters that it updates.

The **update rule** is a scalar function of one parameter:

    rule(parameter, gradient, state, learning_rate, step) → (new parameter, new state)

`state` is a tuple of scalars; `step` counts from 1. A rule uses only arithmetic and `macrograd.functions` and never
branches on a value (it may branch on hyperparameters), so the same rule runs on floats here and can be traced and
compiled for all parameters at once. Defaults and formulas are PyTorch's; a test compares them with PyTorch.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Self

from macrograd import functions
from macrograd._flags import flag
from macrograd._names import unknown
from macrograd.copying import checked_state
from macrograd.optim.schedules import NOT_PARAMETERS, as_schedule
from macrograd.slips import GradientWarning
from macrograd.value import Value, parameter_writes

State = tuple[Any, ...]
UpdateRule = Callable[[Any, Any, State, Any, Any], tuple[Any, State]]


_ELSEWHERE = {
    "zero_grad": "an optimiser holds no parameters: model.zero_grad()",
    "param_groups": "an optimiser holds no parameters, and its rate is `learning_rate`",
    "lr": "it is `learning_rate`, of the next step",
}


class Optimizer:
    """The base class: a learning rate, the state of each parameter, and the step that applies the rule.

    schedule       maps the step, counted from 0, to the learning rate; made from `lr`, a schedule or a number
    steps          the number of steps made so far
    initial_state  the state of a parameter before its first step, a tuple of floats
    state          the state of every parameter, in the order in which `step` receives them
    """

    initial_state: tuple[float, ...] = ()

    def __new__(cls, *given: Any, **named: Any) -> Self:
        if given and isinstance(given[0], (list, tuple, Iterator)):  # PyTorch's way, before it fails in other words
            raise TypeError(NOT_PARAMETERS)
        return super().__new__(cls)

    def __init__(self, lr: float | Callable[[int], float]) -> None:
        self.schedule = as_schedule(lr)
        self.steps = 0
        self.state: list[tuple[float, ...]] = []
        self._parameters: list[Value] = []

    def rule(self, parameter: Any, gradient: Any, state: State, learning_rate: Any, step: Any) -> tuple[Any, State]:
        """The update of one parameter: (parameter, gradient, state, learning rate, step) → (new parameter, new state).

        Scalars in, scalars out: numbers, Values or traced values. `step` counts from 1. Raises NotImplementedError in
        the base class.
        """
        raise NotImplementedError(f"{type(self).__name__} has no update rule: define rule()")

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.schedule(self.steps)

    def step(self, parameters: Iterable[Value]) -> None:
        """Update every parameter from its `.grad`: all of them, or none if anything fails.

        A gradient of 0 is not special: weight decay and momentum still move the parameter. (`Trainer` leaves out
        parameters that the loss does not depend on.)

        Warns if every gradient of the first step is 0. Raises TypeError for anything but Values, and ValueError if the
        parameters are not those of earlier steps, since the state would then belong to other parameters.
        """
        chosen = self._checked(parameters)
        before = self.state or [self.initial_state] * len(chosen)
        rate, count = self.learning_rate, self.steps + 1
        data, after = [], []
        for parameter, state in zip(chosen, before, strict=True):
            new, new_state = self.rule(parameter.data, float(parameter.grad), state, rate, count)
            data.append(float(new))
            after.append(tuple(map(float, new_state)))
        for parameter, number in zip(chosen, data, strict=True):
            parameter.data = number
        parameter_writes[0] += 1
        self.state, self.steps, self._parameters = after, count, chosen
        if count == 1 and not any(parameter.grad for parameter in chosen):
            warnings.warn(
                f"{type(self).__name__}.step(): every gradient is 0, so no step can be made: call "
                "loss.backward() before step(), and zero_grad() before backward(), not after it",
                GradientWarning,
                stacklevel=2,
            )

    def state_dict(self) -> dict[str, Any]:
        """The state that a checkpoint needs to resume, as plain numbers: `steps` and each parameter's `state`."""
        return {"steps": self.steps, "state": list(self.state)}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Resume from a `state_dict()`; the next `step` must receive the same parameters in the same order.

        Raises TypeError for what is no state, ValueError for that of a different kind of optimiser.
        """
        if not isinstance(saved, Mapping) or not {"steps", "state"} <= saved.keys():
            raise TypeError(f"load_state_dict() takes what state_dict() returned, steps and state, got {saved!r:.80}")
        steps, wanted = saved["steps"], len(self.initial_state)
        if isinstance(steps, bool) or not hasattr(steps, "__index__") or steps < 0:
            raise ValueError(f"load_state_dict(): steps must be an integer of at least 0, got {steps!r}")
        try:
            state = [tuple(map(float, entry)) if entry or wanted else () for entry in saved["state"]]
        except (TypeError, ValueError) as error:
            raise TypeError(
                f"load_state_dict(): state must hold {wanted} numbers for each parameter: {error}"
            ) from None
        for entry in state:
            if len(entry) != wanted:
                raise ValueError(
                    f"{self!r} keeps {wanted} numbers for each parameter, but the saved state has {len(entry)}: "
                    "load it into the kind of optimiser that saved it"
                )
        self.state, self.steps, self._parameters = state, int(steps), []

    def __getattr__(self, name: str) -> Any:
        raise unknown(type(self).__name__, name, self, _ELSEWHERE)

    def __getstate__(self) -> dict[str, Any]:
        return checked_state(self)

    def _checked(self, parameters: Iterable[Value]) -> list[Value]:
        name = type(self).__name__
        if not isinstance(parameters, Iterable) or isinstance(parameters, Value):
            raise TypeError(f"{name}.step() takes the parameters, as in step(model.parameters()), got {parameters!r}")
        chosen = list(parameters)
        for parameter in chosen:
            if not isinstance(parameter, Value):
                raise TypeError(f"{name}.step() takes Values, got {parameter!r} of type {type(parameter).__name__}")
            if parameter.grad is None:
                raise TypeError(
                    f"{name}.step() found a gradient of None: p.grad = 0.0, or model.zero_grad(), sets it to 0"
                )
        if not self.state:
            return chosen
        if len(chosen) != len(self.state):
            raise ValueError(
                f"{name} holds the state of {len(self.state)} parameters, but step() received {len(chosen)}: "
                "use one optimiser for each set of parameters"
            )
        if self._parameters and any(a is not b for a, b in zip(chosen, self._parameters, strict=True)):
            raise ValueError(
                f"{name} holds the state of different parameters: use one optimiser for each set of parameters, "
                "always in the same order"
            )
        return chosen

    def _describe(self, **settings: Any) -> str:
        shown = "".join(f", {name}={value}" for name, value in settings.items() if value)
        return f"{type(self).__name__}(lr={self.schedule!r}{shown})"

    def __repr__(self) -> str:
        return self._describe()


class SGD(Optimizer):
    """Stochastic gradient descent, with optional momentum or Nesterov momentum.

    momentum      fraction of the previous direction that is kept; 0 for none
    nesterov      use Nesterov momentum; requires momentum > 0
    weight_decay  adds weight_decay·parameter to the gradient (an L2 penalty of half that strength)

    Raises ValueError for a negative momentum or decay, TypeError for a learning rate that is neither a number nor a
    schedule.

    Source: Sutskever, Martens, Dahl & Hinton, *On the importance of initialization and momentum in deep learning*, ICML
    2013, in PyTorch's form, where the learning rate multiplies the velocity.
    """

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        self.momentum = _at_least_zero("SGD", "momentum", momentum)
        self.weight_decay = _at_least_zero("SGD", "weight_decay", weight_decay)
        self.nesterov = flag("SGD", "nesterov", nesterov)
        if nesterov and not momentum:
            raise ValueError(
                "SGD with nesterov=True needs a momentum above 0, as in SGD(0.1, momentum=0.9, nesterov=True)"
            )
        self.initial_state = (0.0,) if momentum else ()

    def rule(self, parameter: Any, gradient: Any, state: State, learning_rate: Any, step: Any) -> tuple[Any, State]:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        if not self.momentum:
            return parameter - learning_rate * gradient, ()
        (velocity,) = state
        velocity = self.momentum * velocity + gradient
        direction = gradient + self.momentum * velocity if self.nesterov else velocity
        return parameter - learning_rate * direction, (velocity,)

    def __repr__(self) -> str:
        return self._describe(momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay)


class RMSProp(Optimizer):
    """The gradient divided by the root of its running mean square.

    alpha         smoothing constant: the fraction of the old mean square kept at each step
    eps           added to the root
    weight_decay  adds weight_decay·parameter to the gradient
    momentum      fraction of the previous direction that is kept
    centered      use the variance instead of the mean square

    Raises ValueError for numbers out of range, TypeError for a learning rate that is neither a number nor a schedule.

    Sources: Tieleman & Hinton, Coursera lecture 6.5, 2012; centered: Graves, arXiv:1308.0850, eq. 38–45.
    """

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(lr)
        self.alpha = _share("RMSProp", "alpha", alpha)
        self.eps = _above_zero("RMSProp", "eps", eps)
        self.weight_decay = _at_least_zero("RMSProp", "weight_decay", weight_decay)
        self.momentum = _at_least_zero("RMSProp", "momentum", momentum)
        self.centered = flag("RMSProp", "centered", centered)
        self.initial_state = (0.0,) * (1 + bool(momentum) + self.centered)

    def rule(self, parameter: Any, gradient: Any, state: State, learning_rate: Any, step: Any) -> tuple[Any, State]:
        square, *rest = state
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        square = self.alpha * square + (1.0 - self.alpha) * (gradient * gradient)
        new = [square]
        spread = square
        if self.centered:
            mean = self.alpha * rest.pop(0) + (1.0 - self.alpha) * gradient
            # Rounding can make the variance slightly negative where the gradient hardly changes.
            spread = functions.maximum(square - mean * mean, 0.0)
            new.append(mean)
        direction = gradient / (functions.sqrt(spread) + self.eps)
        if self.momentum:
            direction = self.momentum * rest.pop(0) + direction
            new.append(direction)
        return parameter - learning_rate * direction, tuple(new)

    def __repr__(self) -> str:
        return self._describe(
            alpha=self.alpha,
            eps=self.eps,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            centered=self.centered,
        )


class Adam(Optimizer):
    """Running means of the gradient and of its square, both with bias correction.

    betas         fractions of the two old means that are kept at each step
    eps           added to the root of the mean square
    weight_decay  adds weight_decay·parameter to the gradient

    Raises ValueError for numbers out of range, TypeError for a learning rate that is neither a number nor a schedule.

    Source: Kingma & Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, algorithm 1.
    """

    initial_state = (0.0, 0.0)

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(lr)
        name = type(self).__name__
        try:
            beta1, beta2 = betas
        except (TypeError, ValueError):
            raise ValueError(f"{name} betas must be two numbers, as in (0.9, 0.999), got {betas!r}") from None
        self.betas = (_share(name, "betas[0]", beta1), _share(name, "betas[1]", beta2))
        self.eps = _above_zero(name, "eps", eps)
        self.weight_decay = _at_least_zero(name, "weight_decay", weight_decay)

    def rule(self, parameter: Any, gradient: Any, state: State, learning_rate: Any, step: Any) -> tuple[Any, State]:
        if self.weight_decay:
            gradient = gradient + self.weight_decay * parameter
        return self._move(parameter, gradient, state, learning_rate, step)

    def _move(self, parameter: Any, gradient: Any, state: State, learning_rate: Any, step: Any) -> tuple[Any, State]:
        (beta1, beta2), (mean, square) = self.betas, state
        mean = beta1 * mean + (1.0 - beta1) * gradient
        square = beta2 * square + (1.0 - beta2) * (gradient * gradient)
        rate = learning_rate / (1.0 - beta1**step)
        root = functions.sqrt(square) * (1.0 / functions.sqrt(1.0 - beta2**step))
        return parameter - rate * (mean / (root + self.eps)), (mean, square)

    def __repr__(self) -> str:
        return self._describe(betas=self.betas, eps=self.eps, weight_decay=self.weight_decay)


class AdamW(Adam):
    """Adam with decoupled weight decay: it shrinks the parameter itself and does not enter the two means.

    The arguments and the errors are those of `Adam`.

    Source: Loshchilov & Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, algorithm 2, in PyTorch's form,
    where the learning rate multiplies the decay.
    """

    def __init__(
        self,
        lr: float | Callable[[int], float] = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(lr, betas, eps, weight_decay)

    def rule(self, parameter: Any, gradient: Any, state: State, learning_rate: Any, step: Any) -> tuple[Any, State]:
        decayed = parameter * (1.0 - learning_rate * self.weight_decay)
        return self._move(decayed, gradient, state, learning_rate, step)


class Rule(Optimizer):
    """A custom optimiser: any function with the arguments and results of an update rule.

    rule   (parameter, gradient, state, learning_rate, step) → (new parameter, new state)
    state  the state before the first step, a tuple of numbers

    Raises TypeError if `rule` is not callable.
    """

    def __init__(
        self, rule: UpdateRule, state: Sequence[float] = (), lr: float | Callable[[int], float] = 1e-3
    ) -> None:
        super().__init__(lr)
        if not callable(rule):
            raise TypeError(
                "Rule() takes a function (parameter, gradient, state, learning_rate, step) → "
                f"(new parameter, new state), got {rule!r}"
            )
        self._rule = rule
        self.initial_state = tuple(map(float, state))

    def rule(self, parameter: Any, gradient: Any, state: State, learning_rate: Any, step: Any) -> tuple[Any, State]:
        new, new_state = self._rule(parameter, gradient, state, learning_rate, step)
        if len(new_state) != len(self.initial_state):
            raise ValueError(
                f"the update rule returned a state of {len(new_state)} numbers, but began with "
                f"{len(self.initial_state)}"
            )
        return new, tuple(new_state)


def _at_least_zero(optimiser: str, name: str, number: float) -> float:
    if not 0.0 <= number < math.inf:
        raise ValueError(f"{optimiser} {name} must be finite and not negative, got {number}")
    return number


def _above_zero(optimiser: str, name: str, number: float) -> float:
    if not 0.0 < number < math.inf:
        raise ValueError(f"{optimiser} {name} must be finite and positive, got {number}")
    return number


def _share(optimiser: str, name: str, number: float) -> float:
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{optimiser} {name} must be at least 0 and less than 1, got {number}")
    return number
