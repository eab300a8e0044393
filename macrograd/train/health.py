"""The health of a net in training: dead and saturated units, gradients and updates, layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._warn import warn
from macrograd.gradients import grad
from macrograd.nn import Module, Scaled, inside
from macrograd.train.engines import Engine
from macrograd.train.graphs import no_collection, plain
from macrograd.train.history import HEALTH, History
from macrograd.train.objective import takes_model
from macrograd.train.samples.split import Part
from macrograd.train.setup import Setup
from macrograd.train.verdict import TrainingWarning
from macrograd.vector import as_argument

Array = NDArray[Any]

_ROWS, _ROWS_EAGERLY = 256, 32  # samples on which units are judged
_FLAT = 0.05  # a slope below this share of the activation's steepest counts as saturated
_FAR = 30.0  # where a bounded activation is flat, on both sides

# Shares and sizes that are worth a warning.
_DEAD = 0.2  # share of a layer's units
_SATURATED = 0.5  # share of a layer's units and samples
_VANISHED = 1e-4  # a layer's gradient, by that of the layer with the largest, per parameter
_LARGE_STEP = 0.3  # an update, by the parameters


class Slopes:
    """The slope of every activation of a model for one sample, as a function to be compiled.

    layers, units       of each activation: its layer and its neuron
    steepest, bounded   its largest slope, and whether it is flat on both sides

    All are known after the first call. Linear activations are left out.
    """

    def __init__(self, model: Module) -> None:
        self._model = model
        self.layers: list[str] = []
        self.units: list[tuple[int, int]] = []
        self.steepest, self.bounded = np.empty(0), np.empty(0, dtype=bool)
        self._shapes: dict[Callable[[Any], Any], tuple[float, bool]] = {}

    def __call__(self, x: Any) -> list[Any]:
        with inside.firings(self._model) as found:
            self._model(x)  # type: ignore[operator]  # the trainer made sure of it
        bent = [firing for firing in found if _name(firing.activation) != "linear"]
        self.layers, self.units = [f.layer for f in bent], [f.unit for f in bent]
        for f in bent:
            if f.activation not in self._shapes:
                self._shapes[f.activation] = _shape(f.activation)
        self.steepest = np.array([self._shapes[f.activation][0] for f in bent])
        self.bounded = np.array([self._shapes[f.activation][1] for f in bent], dtype=bool)
        return [grad(f.activation)(f.before) for f in bent]

    __name__ = "the slopes of the activations"


def _name(activation: Callable[[Any], Any]) -> str:
    return getattr(activation, "__name__", "")


def _shape(activation: Callable[[Any], Any]) -> tuple[float, bool]:
    """(the largest slope of an activation near 0, whether it is flat on both sides)."""
    slope = grad(activation)
    steepest = max(abs(float(slope(x / 4.0))) for x in range(-32, 33)) or 1.0
    return steepest, max(abs(float(slope(x))) for x in (-_FAR, _FAR)) < 1e-3 * steepest


class Health:
    """Measures what `fit(watch="health")` records after every epoch, and warns.

    Numbers of units come from up to 256 training samples (32 for the eager engine), evenly spaced; those of gradients
    and updates from the last step of the epoch. Units are left out if the loss calls the model itself, since its
    arguments are not known.
    """

    def __init__(self, setup: Setup, part: Part) -> None:
        self._setup = setup
        most = _ROWS if setup.engine == "compiled" else _ROWS_EAGERLY
        self._rows = part.samples.rows(part.samples.spread(most))
        model = setup.model
        self._net = model.net if isinstance(model, Scaled) and setup.apart else model
        self._slopes = Slopes(self._net)
        if not (callable(setup.loss) and takes_model(setup.loss)):
            self._slopes(as_argument(self._rows[0]))
        self._groups = {name: {id(p) for p in found} for name, found in inside.layers(setup.model).items()}
        self._prefix = "net." if self._net is not model else ""
        self._compiled: Callable[[Array], Any] | None = None
        self._theta: Array | None = None
        self._warned: set[tuple[str, str]] = set()

    def before(self, engine: Engine) -> None:
        """Note the parameters before a run of steps, of which the last before an epoch's end is a single step."""
        self._theta = np.array(engine.theta, dtype=np.float64)

    def after(self, engine: Engine, history: History) -> None:
        """Measure, add the numbers to the history, and warn of what is new."""
        found: dict[str, dict[str, float]] = {}
        for layer, dead, saturated, units in self._of_units():
            found[layer] = {"units": units, "dead": dead} | ({} if math.isnan(saturated) else {"saturated": saturated})
        for layer, gradient, update in self._of_parameters(engine):
            found.setdefault(layer, {}).update(gradient=gradient, update=update)
        history.measured(
            {
                f"{HEALTH}{layer}.{name}": value
                for layer, numbers in found.items()
                for name, value in numbers.items()
                if name != "units"
            }
        )
        ill = dict(findings(found, {layer: len(ids) for layer, ids in self._groups.items()}))
        said = [text for key, text in ill.items() if key not in self._warned]
        self._warned.update(ill)
        if said:
            after = f"after {len(history)} step{'s' * (len(history) != 1)}"
            warn(f"{after}: {'; '.join(said)}", TrainingWarning)

    def _of_units(self) -> Iterator[tuple[str, float, float, float]]:
        """(layer, dead units, the saturated share or NaN, units) of every layer with activations."""
        if not self._slopes.units:
            return
        slopes = np.abs(self._computed())
        units: dict[str, dict[tuple[int, int], list[int]]] = {}
        for k, (layer, unit) in enumerate(zip(self._slopes.layers, self._slopes.units, strict=True)):
            units.setdefault(layer, {}).setdefault(unit, []).append(k)
        steepest, bounded = self._slopes.steepest, self._slopes.bounded
        for layer, places in units.items():
            dead = sum(not (slopes[:, of_unit] > 0.0).any() for of_unit in places.values())
            all_of_them = [k for of_unit in places.values() for k in of_unit if bounded[k]]
            flat = slopes[:, all_of_them] < _FLAT * steepest[all_of_them]
            yield self._prefix + layer, float(dead), float(flat.mean()) if all_of_them else math.nan, float(len(places))

    def _computed(self) -> Array:
        """The slopes, (samples, activations)."""
        with no_collection():
            if self._setup.engine != "compiled":
                found = np.array([[float(plain(s)) for s in self._slopes(row)] for row in as_argument(self._rows)])
                return found.reshape(len(self._rows), -1)
            if self._compiled is None:
                from macrograd.compiler import compile as compiled

                self._compiled = compiled(self._slopes, batch=True, dtype=self._setup.dtype)
            return np.asarray(self._compiled(self._rows)).reshape(len(self._rows), -1)

    def _of_parameters(self, engine: Engine) -> Iterator[tuple[str, float, float]]:
        """(layer, norm of the gradient, norm of the update by that of the parameters) of every layer."""
        ids = [id(p) for p in engine.parameters]
        theta = np.asarray(engine.theta, dtype=np.float64)
        gradient = np.asarray(engine.gradient, dtype=np.float64)
        for layer, members in self._groups.items():
            at = [k for k, known in enumerate(ids) if known in members]
            if not at:
                continue
            if self._theta is None:  # resumed at the end of an epoch
                yield layer, math.nan, math.nan
                continue
            size = float(np.linalg.norm(self._theta[at]))
            step = float(np.linalg.norm(theta[at] - self._theta[at]))
            yield layer, float(np.linalg.norm(gradient[at])), step / size if size else math.nan


Finding = tuple[tuple[str, str], str]  # (layer, kind), and what is wrong in words


def findings(found: dict[str, dict[str, float]], sizes: dict[str, int]) -> Iterator[Finding]:
    """Faults and remedies, from the numbers of each layer; `sizes` are numbers of parameters."""
    of_units = [finding for layer, numbers in found.items() for finding in _units_of(layer, numbers)]
    yield from of_units
    if not any(kind == "dead" for (_, kind), _ in of_units):  # behind dead units gradients vanish, too
        yield from _vanishing(found, sizes)
    for layer, numbers in found.items():
        if numbers.get("update", 0.0) > _LARGE_STEP:
            change = f"{100 * numbers['update']:.0f}%"
            yield (layer, "large step"), f"a step changes {layer} by {change} of its size: lower the learning rate"


def _units_of(layer: str, numbers: dict[str, float]) -> Iterator[Finding]:
    units, dead, saturated = (numbers.get(name, 0.0) for name in ("units", "dead", "saturated"))
    if dead > _DEAD * units:
        text = f"{dead:.0f} of {units:.0f} units of {layer} are dead (no sample has a gradient through them)"
        yield (layer, "dead"), f"{text}: lower the learning rate, start from smaller weights, or take leaky_relu"
    if saturated > _SATURATED:
        text = f"{layer} is saturated for {100 * saturated:.0f}% of units and samples (its activation is flat there)"
        yield (layer, "saturated"), f"{text}: scale the inputs, or start from smaller weights"


def _vanishing(found: dict[str, dict[str, float]], sizes: dict[str, int]) -> Iterator[Finding]:
    gradients = {layer: numbers.get("gradient", math.nan) for layer, numbers in found.items()}
    means = {layer: g / math.sqrt(sizes[layer]) for layer, g in gradients.items() if not math.isnan(g)}
    if not means:
        return
    least, largest = (choose(means, key=lambda layer: means[layer]) for choose in (min, max))
    if means[least] < _VANISHED * means[largest]:
        text = (
            f"the gradient vanishes on its way to {least}: {means[least]:.2g} per parameter, and {means[largest]:.2g} "
            f"in {largest}"
        )
        yield ("", "vanishing"), f"{text}: take fewer layers, another activation or init='he_normal'"
