"""What one function has recorded and compiled, for another that is equal but for its parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler import pipeline
from macrograd.compiler.settings import Settings
from macrograd.compiler.specialised import Specialised
from macrograd.value import Value

Shapes = tuple[tuple[int, ...], ...]


class Recordings:
    """Programs by the shapes of the arguments, without the parameters that they were recorded from.

    entries  the length of all their tapes
    """

    def __init__(self) -> None:
        self.entries = 0
        self._known: dict[tuple[Settings, Shapes], tuple[Specialised, NDArray[np.int64]]] = {}

    def find(self, settings: Settings, shapes: Shapes, parameters: Sequence[Value]) -> Specialised | None:
        """The programs for arguments of these shapes, with other parameters; None if there are none yet."""
        known = self._known.get((settings.anonymous(), shapes))
        if known is None:
            return None
        programs, places = known
        return programs.like(settings, [parameters[k] for k in places.tolist()])

    def keep(self, special: Specialised, parameters: Sequence[Value]) -> Specialised:
        """Keep new programs, unless they hold more of the function than a tape; returns them, with the code that they
        are compiled to from now on shared. `parameters` are all that the function may use."""
        place = dict(zip(map(id, parameters), range(len(parameters)), strict=True))
        places = [*map(place.get, map(id, special.parameters))]
        if special.source.loops is not None or special.source.sections is not None or None in places:
            return special
        settings = special.settings.anonymous()
        kept = special.like(settings, [])
        self._known[settings, special.shapes] = kept, np.array(places, dtype=np.int64)
        self.entries += len(special.source.tape.code)
        return kept.like(special.settings, special.parameters)


def shareable(settings: Settings) -> bool:
    """Whether programs may be shared: not if someone looks at how they are made, or if each is also an agreement with
    other processes."""
    return settings.ranks is None and not pipeline.watched()
