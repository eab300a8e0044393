"""Sums of products as operators: products of matrices, of single elements, and sums along axes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.targets.onnx.graph import Graph
from macrograd.compiler.targets.onnx.operations import Writing

_SAMPLES, _TERMS = "samples", "terms"  # axes beside the counters of the members, which are numbers
Axis = str | int


@dataclass(frozen=True)
class Part:
    """A value with an axis for each axis of `shape`, and the samples in front if it varies. `number` is its number if
    that is the same everywhere."""

    name: str
    shape: tuple[int, ...]
    varies: bool
    number: float | None = None


def together(parts: Sequence[Part]) -> tuple[int, ...]:
    """The shape that all of these broadcast to."""
    return tuple(map(max, zip(*(part.shape for part in parts), strict=True)))


@dataclass(frozen=True)
class Sums:
    """Sums over the terms, which are the last axis, and over the samples if `over` names their number."""

    graph: Graph
    over: str

    def added(self, products: Sequence[tuple[float, Part]]) -> Part:
        """The sum of products with their signs; positive ones come first."""
        o = Writing(self.graph)
        (sign, first), *rest = sorted(products, key=lambda product: -product[0])
        name, parts = first.name if sign > 0 else o.Neg(first.name), [first]
        for sign, part in rest:
            name = (o.Add if sign > 0 else o.Sub)(name, part.name)
            parts.append(part)
        return Part(name, together(parts), any(part.varies for part in parts))

    def product(self, left: Part, right: Part, count: int) -> tuple[float, Part]:
        """A sign, and the sum of left·right over `count` terms."""
        if right.number is not None and abs(right.number) == 1.0:
            left, right = right, left
        sign = left.number if left.number is not None and abs(left.number) == 1.0 else None
        terms = left.shape[-1] > 1 and right.shape[-1] > 1
        samples = bool(self.over) and left.varies and right.varies
        times = count if left.shape[-1] == right.shape[-1] == 1 else 1
        everywhere = bool(self.over) and not (left.varies or right.varies)
        # An axis along which only one side moves is summed on that side first.
        left, right = (
            self._summed(part, terms=not terms, samples=bool(self.over) and not samples) for part in (left, right)
        )
        found = right if sign is not None else self._contracted(left, right, terms=terms, samples=samples)
        o, name = Writing(self.graph), found.name
        if times > 1:
            name = o.Mul(name, float(times))
        if everywhere:
            name = o.Mul(name, o.real(self.over))
        return sign or 1.0, self._as(name, found.shape[:-1], varies=found.varies)

    def _as(self, name: str, shape: tuple[int, ...], *, varies: bool) -> Part:
        return Part(self.graph.reshape(name, *[-1] * varies, *shape), shape, varies)

    def _summed(self, part: Part, *, terms: bool, samples: bool) -> Part:
        """A part summed over the terms, over the samples, or both; the axis of the terms stays, with length 1."""
        terms, samples = terms and part.shape[-1] > 1, samples and part.varies
        if not (terms or samples):
            return part
        axes = [0] * samples + [len(part.shape) - 1 + part.varies] * terms
        name = Writing(self.graph).ReduceSum(part.name, np.array(axes), keepdims=0)
        varies = part.varies and not samples
        self._shaped(name, part.shape[:-1] if terms else part.shape, varies=varies)
        return self._as(name, (*part.shape[:-1], 1 if terms else part.shape[-1]), varies=varies)

    def _shaped(self, name: str, shape: tuple[int, ...], *, varies: bool) -> str:
        return self.graph.shaped(name, (*[-1] * varies, *shape))

    def _contracted(self, left: Part, right: Part, *, terms: bool, samples: bool) -> Part:
        """The sum of products over the axes to be summed, all of which both sides have."""
        o = Writing(self.graph)
        sides = [_axes(left), _axes(right)]
        over: list[Axis] = [*[_SAMPLES] * samples, *[_TERMS] * terms]
        both = [a for a in sides[0] if a in sides[1] and a not in over]
        rows, columns = ([a for a in side if a not in both and a not in over] for side in sides)
        if _SAMPLES in columns:
            left, right, rows, columns = right, left, columns, rows
        shape = (*together([left, right])[:-1], 1)
        varies = (left.varies or right.varies) and not samples
        if not over:
            one, two = (self._as(part.name, part.shape[:-1], varies=part.varies) for part in (left, right))
            return Part(self._shaped(o.Mul(one.name, two.name), shape[:-1], varies=varies), shape, varies)
        if not rows and not columns:
            name = o.Mul(left.name, right.name)
            varies = left.varies or right.varies
            return self._summed(Part(name, together([left, right]), varies), terms=terms, samples=samples)
        found = o.MatMul(self._matrix(left, both, rows, over), self._matrix(right, both, over, columns))
        axes = [*both, *rows, *columns]
        lengths: dict[Axis, int] = {_SAMPLES: -1, **dict(enumerate(shape))}
        groups: list[list[Axis]] = [*([a] for a in both), rows, columns]
        self.graph.shaped(found, tuple(-1 if _SAMPLES in g else prod(lengths[a] for a in g) for g in groups))
        order = sorted(axes, key=lambda axis: -1 if isinstance(axis, str) else axis)
        found = self.graph.reshape(found, *[lengths[a] for a in axes])
        if order != axes:
            found = self.graph.transpose(found, tuple(axes.index(a) for a in order))
        return self._as(found, shape, varies=varies)

    def _matrix(self, part: Part, *groups: Sequence[Axis]) -> str:
        """A part as [repeated..., rows, columns], each of which is a group of axes."""
        axes = _axes(part)
        lengths: dict[Axis, int] = {_SAMPLES: -1, _TERMS: part.shape[-1], **dict(enumerate(part.shape[:-1]))}
        order = [axis for group in groups for axis in group]
        name = self.graph.reshape(part.name, *[lengths[a] for a in axes])
        if order != axes:
            name = self.graph.transpose(name, tuple(axes.index(a) for a in order))
        repeated, *matrix = groups
        shape = [-1 if _SAMPLES in group else prod(lengths[a] for a in group) for group in matrix]
        return self.graph.reshape(name, *[lengths[a] for a in repeated], *shape)


def _axes(part: Part) -> list[Axis]:
    """The axes along which a part moves, in order."""
    found: list[Axis] = [_SAMPLES] * part.varies
    found += [k for k, n in enumerate(part.shape[:-1]) if n > 1]
    return found + [_TERMS] * (part.shape[-1] > 1)
