"""Fits that share programs: a net like one that this process trained before is neither traced nor compiled again.

In a cross-validation all nets but the first are of that kind. Only nets and losses of this package share: functions of
others may read global names, whose meaning may have changed since they were recorded.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from macrograd._forks import free_in_child
from macrograd.optim import Optimizer
from macrograd.train.alike import Description

if TYPE_CHECKING:
    from macrograd.compiler.compiled import Compiled
    from macrograd.compiler.recordings import Recordings
    from macrograd.compiler.step import RecordedUpdate

# What is kept, the latest first: this many programs, of this many scalar operations in all, but always the latest.
_MOST, _MOST_ENTRIES = 48, 2_000_000

_known: OrderedDict[Any, Recordings] = OrderedDict()
_updates: dict[Any, RecordedUpdate] = {}
_lock = free_in_child(threading.Lock())


def shared(compiled: Compiled, *things: Any) -> Compiled:
    """The compiled function, which takes what others of the same description have recorded; `things` are all that it is
    made of."""
    from macrograd.compiler.recordings import Recordings

    described = Description(*things)
    if described.lasting:
        with _lock:
            found = _known.setdefault(described.key, Recordings())
            _known.move_to_end(described.key)
            while len(_known) > 1 and (len(_known) > _MOST or sum(r.entries for r in _known.values()) > _MOST_ENTRIES):
                _known.popitem(last=False)
        compiled.share(found, described.parameters)
    return compiled


def update(optimizer: Optimizer, *, strict: bool, clips: bool) -> Any:
    """The rule of an optimiser for a training loop: recorded, if that need not be done for each optimiser of its kind.
    Its rates and its state are its own."""
    from macrograd.compiler import pipeline
    from macrograd.compiler.step import recorded_update

    described = Description(optimizer)
    if not described.lasting or described.parameters or pipeline.watched():
        return optimizer.rule
    key = described.key, strict, clips
    found = _updates.get(key)
    if found is None:
        found = recorded_update(optimizer.rule, len(optimizer.initial_state), strict=strict, clips=clips)
        with _lock:
            while len(_updates) >= _MOST:
                _updates.pop(next(iter(_updates)))
            _updates[key] = found
    return found


def forget() -> None:
    """Forget all programs."""
    with _lock:
        _known.clear()
        _updates.clear()
