"""`Scaled`: a net together with the scaling of its inputs and outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from macrograd.nn._scalars import as_list
from macrograd.nn.module import Module

Numbers = float | Sequence[float]


class Scaled(Module):
    """A net that takes and returns raw numbers: it computes net((x − middle) / unit) · output_unit + output_middle.

    net           a Module that takes one sample
    middle, unit  one number per input, or one for all
    output_middle, output_unit  one number per output, or one for all

    The scales are constants, not parameters. Raises ValueError for scales that are not finite, units that are not
    positive, and, when called, for the wrong number of inputs.
    """

    def __init__(
        self,
        net: Module,
        middle: Numbers = 0.0,
        unit: Numbers = 1.0,
        *,
        output_middle: Numbers = 0.0,
        output_unit: Numbers = 1.0,
    ) -> None:
        if not isinstance(net, Module) or not callable(net):
            raise TypeError(f"Scaled() takes a Module that can be called, got {net!r} of type {type(net).__name__}")
        self.net = net
        self.middle, self.unit = _scale("middle", middle), _scale("unit", unit)
        self.output_middle, self.output_unit = (
            _scale("output_middle", output_middle),
            _scale("output_unit", output_unit),
        )

    def __call__(self, x: Any) -> Any:
        return self._answer(self.net(self._seen(x)))

    def _seen(self, x: Any) -> list[Any]:
        inputs = as_list(x)
        if any(len(scale) not in (1, len(inputs)) for scale in (self.middle, self.unit)):
            width = max(len(self.middle), len(self.unit))
            raise ValueError(f"this Scaled takes {width} inputs, got {len(inputs)}")
        return [
            v if m == 0.0 and u == 1.0 else (v - m) / u
            for v, m, u in zip(inputs, _each(self.middle, inputs), _each(self.unit, inputs), strict=True)
        ]

    def each(self, x: Any) -> list[Any]:
        """The answers of the net's members, where it has some (see `Tabular`), else its own alone."""
        members = getattr(self.net, "each", None)
        if members is None:
            return [self(x)]
        return [self._answer(output) for output in members(self._seen(x))]

    def _answer(self, output: Any) -> Any:
        outputs = output if hasattr(output, "__len__") else [output]
        found = [
            v if m == 0.0 and u == 1.0 else v * u + m
            for v, m, u in zip(
                outputs, _each(self.output_middle, outputs), _each(self.output_unit, outputs), strict=True
            )
        ]
        return found if hasattr(output, "__len__") else found[0]

    @property
    def answers_as_they_are(self) -> bool:
        """Whether the outputs are those of the net."""
        return self.output_middle == (0.0,) and self.output_unit == (1.0,)

    def with_outputs(self, output_middle: Numbers = 0.0, output_unit: Numbers = 1.0) -> Scaled:
        """The same net, and the same scales of inputs, with other scales of outputs."""
        return Scaled(self.net, self.middle, self.unit, output_middle=output_middle, output_unit=output_unit)

    def __repr__(self) -> str:
        return f"Scaled({self.net!r})"


def _scale(name: str, given: Numbers) -> tuple[float, ...]:
    several: Any = given if hasattr(given, "__len__") else [given]
    numbers = tuple(float(x) for x in several)
    for number in numbers:
        if not math.isfinite(number) or ("unit" in name and number <= 0.0):
            must = "finite and positive" if "unit" in name else "finite"
            raise ValueError(f"Scaled() needs every {name} to be {must}, got {number}")
    if not numbers:
        raise ValueError(f"Scaled() needs at least one number in {name}, got none")
    return numbers


def _each(scale: tuple[float, ...], numbers: Sequence[Any]) -> Sequence[float]:
    return scale if len(scale) == len(numbers) else scale * len(numbers)
