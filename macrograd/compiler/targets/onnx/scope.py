"""Where the numbers of a program are while its graph is written: which value of the graph holds each slot.

A value of the graph holds many slots: [slots] in space u, [samples, slots] in space v. What an instruction reads is put
together from such values: as they are, in slices, or gathered by a table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.targets.onnx.graph import Array, Graph

Slots = NDArray[Any]  # integers
_LONG = 64  # slots, from which a table of their places is worth a few operators


@dataclass(frozen=True)
class Source:
    """A value that holds slots; its numbers, if they are known."""

    name: str
    length: int
    numbers: Array | None = None


class Places:
    """Which source holds each slot of a space, and where in it."""

    def __init__(self, size: int) -> None:
        self.source = np.full(size, -1, dtype=np.int32)
        self.at = np.zeros(size, dtype=np.int64)

    def put(self, slots: Slots, source: int) -> None:
        """The slots lie side by side in the source."""
        self.source[slots] = source
        self.at[slots] = np.arange(len(slots))


class Scope:
    """The slots that are known at the top of a program; `body.Body` is the same for a loop. `shifts` say how a slot
    moves with the rounds of the loops around, the outermost first."""

    def __init__(self, graph: Graph, sizes: dict[str, int], samples: str) -> None:
        self.graph, self.sizes, self.samples = graph, sizes, samples
        self.sources: list[Source] = []
        self._places: dict[tuple[str, tuple[int, ...]], Places] = {}
        self._alone: dict[tuple[str, tuple[int, ...]], Places] = {}

    def define(
        self, space: str, slots: Slots, name: str, shifts: tuple[int, ...] = (), numbers: Array | None = None,
        *, alone: bool = False,
    ) -> None:  # fmt: skip
        """A value holds these slots, in their order. `alone` are those that another holds, too, but which are better
        read here where all are."""
        slots = slots.ravel()
        places = self._alone if alone else self._places
        if (space, shifts) not in places:
            places[space, shifts] = Places(self.sizes[space])
        places[space, shifts].put(slots, len(self.sources))
        self.sources.append(Source(name, len(slots), numbers))

    def write(self, space: str, slots: Slots, name: str, shifts: tuple[int, ...] = ()) -> None:
        """A value holds these slots, which a step has computed."""
        self.define(space, slots, name, shifts)

    def read(self, space: str, slots: Slots, shifts: tuple[int, ...] = ()) -> str:
        """A value that holds these slots in their order, flat; in loops, those of the present round."""
        flat = slots.ravel()
        places = self._alone.get((space, shifts))
        if places is None or (places.source[flat] < 0).any():
            places = self._places.get((space, shifts))
        if places is None or (away := places.source[flat] < 0).all():
            return self.outside(space, flat, shifts)
        parts: list[tuple[Slots, str]] = []  # which of the elements, and a value that holds them
        if away.any():
            parts.append((np.flatnonzero(away), self.outside(space, flat[away], shifts)))
        source = places.source[flat]
        for k in dict.fromkeys(source[~away].tolist()):
            which, found = np.flatnonzero(source == k), self.sources[k]
            at = places.at[flat[which]]
            if found.numbers is not None:
                parts.append((which, self.graph.constant(found.numbers[at])))
            else:
                parts.append((which, self.pick(found.name, found.length, at, space)))
        if len(parts) == 1:
            return parts[0][1]
        parts.sort(key=lambda part: int(part[0][0]))
        joined = self.graph.call("Concat", *[name for _, name in parts], axis=slot_axis(space))
        order = np.concatenate([which for which, _ in parts])
        return self.pick(self.flat(joined, len(order), space), len(order), np.argsort(order), space)

    def known(self, space: str, slots: Slots) -> Array | None:
        """The numbers in these slots, if all are known: parameters that are fixed, and constants."""
        places = self._places.get((space, ()))
        if places is None:
            return None
        source = places.source[slots]
        first = int(source.flat[0])
        numbers = self.sources[first].numbers if first >= 0 else None
        return None if numbers is None or (source != first).any() else np.asarray(numbers[places.at[slots]])

    def outside(self, space: str, flat: Slots, shifts: tuple[int, ...]) -> str:
        raise AssertionError(f"{space}{flat.tolist()[:5]} are read and were never written")

    def pick(self, name: str, length: int, at: Slots, space: str) -> str:
        """These elements of a value of that many."""
        graph, axis, n = self.graph, slot_axis(space), len(at)
        if n == length and (at == np.arange(n)).all():
            return name
        step = int(at[1] - at[0]) if n > 1 else 1
        if step and (at == at[0] + step * np.arange(n)).all():
            found = self._slice(name, int(at[0]), int(at[-1]), step, axis)
        elif n >= _LONG and (grid := _grid(at, length)) is not None:
            found = self._from_grid(name, space, *grid)
        else:
            found = graph.call("Gather", name, graph.constant(at, np.int64), axis=axis)
        return self.flat(found, n, space)

    def _slice(self, name: str, first: int, last: int, step: int, axis: int) -> str:
        end = last + 1 if step > 0 else last - 1 if last else np.iinfo(np.int64).min
        return self.graph.call("Slice", name, *map(self.graph.integers, (first, end, axis, step)))

    def _from_grid(self, name: str, space: str, first: Slots, start: int, width: int, up: bool) -> str:
        """Rows of `width` elements, of each the same ones, by slices that do not grow with the rows."""
        graph, axis = self.graph, slot_axis(space)
        rows, each = first.shape
        lead = [-1] * axis
        name = self._slice(name, start, start + rows * width - 1, 1, axis)
        name = graph.reshape(name, *lead, rows, width)
        if not up:
            name = self._slice(name, rows - 1, 0, -1, axis)
        row = first[0] - (start + (0 if up else (rows - 1) * width))
        step = int(row[1] - row[0]) if each > 1 else 1
        name = self._slice(name, int(row[0]), int(row[-1]), step, axis + 1)
        return graph.reshape(name, *lead, rows * each)

    def flat(self, name: str, count: int, space: str) -> str:
        """A value that holds that many slots."""
        return self.graph.shaped(name, (-1, count) if space == "v" else (count,))


def _grid(at: Slots, length: int) -> tuple[Slots, int, int, bool] | None:
    """Places as rows that lie in equal distances, each of elements in equal distances: the places by rows, where the
    first row begins, how long a row is, and whether the rows go up. None for others."""
    steps = np.diff(at)
    each = int(np.argmax(steps != steps[0])) + 1
    if len(at) % each or len(at) == each:
        return None
    rows = at.reshape(-1, each)
    width = int(rows[1, 0] - rows[0, 0])
    if not width or (rows != rows[0] + width * np.arange(len(rows))[:, None]).any():
        return None
    low, high = int(rows.min(axis=1)[0 if width > 0 else -1]), int(rows.max(axis=1)[0 if width > 0 else -1])
    up, width = width > 0, abs(width)
    start = max(0, min(low, length - len(rows) * width))
    fits = start + len(rows) * width <= length and start <= low and high < start + width
    return (rows, start, width, up) if fits else None


def slot_axis(space: str) -> int:
    return 1 if space == "v" else 0
