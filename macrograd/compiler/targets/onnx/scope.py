"""Where the numbers of a program are while its graph is written: which value of the graph holds each slot.

A value of the graph holds many slots: [slots] in space u, [samples, slots] in space v. An instruction's operand is put
together from such values: whole, in slices, or gathered by a table.
"""

from __future__ import annotations

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.targets.onnx.graph import Array, Graph
from macrograd.compiler.targets.onnx.rows import Piece, axes_of, cut, in_order, pieces_of, take
from macrograd.compiler.targets.onnx.tensor import Slots, slot_axis

_LONG = 64  # with this many slots, a few operators are cheaper than a table of their places


@dataclass(frozen=True)
class Source:
    """A value that holds slots, and its numbers if they are known."""

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
    """The slots that are known at the top level of a program; `body.Body` is the same for a loop. `shifts` say how far
    a slot moves in each round of the enclosing loops, the outermost first."""

    def __init__(self, graph: Graph, sizes: dict[str, int], samples: str) -> None:
        self.graph, self.sizes, self.samples = graph, sizes, samples
        self.sources: list[Source] = []
        self._places: dict[tuple[str, tuple[int, ...]], Places] = {}
        self._alone: dict[tuple[str, tuple[int, ...]], Places] = {}

    def define(
        self, space: str, slots: Slots, name: str, shifts: tuple[int, ...] = (), numbers: Array | None = None,
        *, alone: bool = False,
    ) -> None:  # fmt: skip
        """Record that a value holds these slots, in their order. `alone` means that another value holds them, too, but
        that this one is preferred for reads that need nothing else."""
        slots = slots.ravel()
        places = self._alone if alone else self._places
        if (space, shifts) not in places:
            places[space, shifts] = Places(self.sizes[space])
        places[space, shifts].put(slots, len(self.sources))
        self.sources.append(Source(name, len(slots), numbers))

    def holds(self, space: str, slots: Slots) -> bool:
        """Whether values hold all of these slots."""
        places = self._places.get((space, ()))
        return not len(slots) or (places is not None and bool((places.source[slots] >= 0).all()))

    def forget(self, space: str, slots: Slots) -> None:
        """Record that no value holds these slots any more."""
        for known in (self._places, self._alone):
            if (places := known.get((space, ()))) is not None:
                places.source[slots] = -1

    def write(self, space: str, slots: Slots, name: str, shifts: tuple[int, ...] = ()) -> None:
        """Record that a value holds these slots, which a step has computed."""
        self.define(space, slots, name, shifts)

    def read(self, space: str, slots: Slots, shifts: tuple[int, ...] = ()) -> str:
        """A value that holds these slots in their order, flat; in a loop, those of the current round."""
        flat = slots.ravel()
        places = self._alone.get((space, shifts))
        if places is None or (places.source[flat] < 0).any():
            places = self._places.get((space, shifts))
        if places is None or (away := places.source[flat] < 0).all():
            return self.outside(space, slots, shifts)
        if away.any():
            inside = self._together(space, flat[~away], places)
            parts = [self.outside(space, flat[away], shifts), inside]
            axis, which = slot_axis(space), [np.flatnonzero(away), np.flatnonzero(~away)]
            return self.flat(in_order(self.graph, parts, which, axis), len(flat), space)
        found = self._by_rows(space, slots, places) if len(flat) >= _LONG else None
        return found or self._together(space, flat, places)

    def _together(self, space: str, flat: Slots, places: Places) -> str:
        """A value that holds these slots, each of which is in a source."""
        parts: list[tuple[Slots, str]] = []  # positions of elements, and a value that holds them
        source = places.source[flat]
        for k in dict.fromkeys(source.tolist()):
            which, found = np.flatnonzero(source == k), self.sources[k]
            at = places.at[flat[which]]
            if found.numbers is not None:
                parts.append((which, self.graph.constant(found.numbers[at])))
            else:
                parts.append((which, self.pick(found.name, found.length, at, space)))
        names, places_of = [name for _, name in parts], [which for which, _ in parts]
        return self.flat(in_order(self.graph, names, places_of, slot_axis(space)), len(flat), space)

    def known(self, space: str, slots: Slots) -> Array | None:
        """The numbers in these slots if all are known: constants and fixed parameters."""
        places = self._places.get((space, ()))
        if places is None:
            return None
        source = places.source[slots]
        first = int(source.flat[0])
        numbers = self.sources[first].numbers if first >= 0 else None
        return None if numbers is None or (source != first).any() else np.asarray(numbers[places.at[slots]])

    def outside(self, space: str, slots: Slots, shifts: tuple[int, ...]) -> str:
        raise AssertionError(f"{space}{slots.ravel().tolist()[:5]} are read and were never written")

    def pick(self, name: str, length: int, at: Slots, space: str) -> str:
        """Elements `at` of a value of `length` elements."""
        return self.flat(take(self.graph, name, length, at, slot_axis(space)), len(at), space)

    def _by_rows(self, space: str, slots: Slots, places: Places) -> str | None:
        """A value that holds these slots, which move by a constant along an axis; None if they do not."""
        for axis in axes_of(slots):
            rows = np.moveaxis(slots, axis, 0)
            lines = rows.reshape(len(rows), -1)
            source, at = places.source[lines], places.at[lines]
            parts = pieces_of(source, at)
            if parts is None:
                continue
            cuts = [self._cut(part, space) for part in parts if not isinstance(part, int)]
            if any(found is None for found in cuts):
                continue
            graph, first, names = self.graph, slot_axis(space), []
            row = 0
            for part in parts:
                if isinstance(part, int):
                    some = lines[row : row + part]
                    name = graph.reshape(self._together(space, some.ravel(), places), *[-1] * first, *some.shape)
                    row += part
                else:
                    name = str(cuts.pop(0))
                    row += part[0].count
                names.append(name)
            joined = names[0] if len(names) == 1 else graph.call("Concat", *names, axis=first)
            joined = graph.shaped(joined, (*[-1] * first, *lines.shape))
            joined = graph.reshape(joined, *[-1] * first, *rows.shape)
            back = [*range(1, axis + 1), 0, *range(axis + 1, slots.ndim)]
            if back != [*range(slots.ndim)]:
                joined = graph.transpose(joined, (*range(first), *(k + first for k in back)))
            return graph.reshape(joined, *[-1] * first, slots.size)
        return None

    def _cut(self, pieces: list[Piece], space: str) -> str | None:
        """Some rows whose elements are all in these pieces."""
        graph, found = self.graph, []
        for piece in pieces:
            source = self.sources[piece.source]
            if source.numbers is not None:
                places = piece.at + piece.step * np.arange(piece.count)[:, None]
                found.append(graph.constant(source.numbers[places]))
                continue
            windows = piece.windows(source.length)
            if windows is None:
                return None
            found.append(cut(graph, source.name, piece, windows, space))
        return in_order(graph, found, [piece.which for piece in pieces], slot_axis(space) + 1)

    def flat(self, name: str, count: int, space: str) -> str:
        """The value, with the shape of `count` slots recorded."""
        return self.graph.shaped(name, (-1, count) if space == "v" else (count,))
