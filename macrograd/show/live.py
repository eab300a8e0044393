"""The loss, the field and the gradients of a net as pictures that move while it trains.

Everything that is drawn is computed in `frames.py`; `live.js` draws it in the notebook.
"""

from __future__ import annotations

from typing import Any

from macrograd._extras import installing
from macrograd.show._figure import COLOURS
from macrograd.show.frames import SIDE, Frames


def live(trainer: Any) -> Any:
    """A widget for Jupyter that moves while `trainer.fit` runs: the loss, the norm of each layer's gradient, and, if
    samples are points in the plane, the scores between them.

    Show it in one cell, and call `fit` in the same cell or a later one; every fit of this Trainer is drawn. A second
    call takes the place of the first. The training makes the same steps with and without it.

    Raises TypeError for anything but a Trainer, ImportError without anywidget (extra "live").

        view = mg.show.live(trainer)
        display(view)
        trainer.fit(X, y)
    """
    if not hasattr(trainer, "watchers") or not hasattr(trainer, "fit"):
        raise TypeError(f"live() takes a Trainer, got {trainer!r} of type {type(trainer).__name__}")
    try:
        from macrograd.show._widget import Live, Watcher  # needs anywidget
    except ImportError:
        raise ImportError(f"live pictures need anywidget: {installing('live')}") from None
    view = Live(colours=list(COLOURS), side=SIDE)
    others = [watcher for watcher in trainer.watchers if not isinstance(watcher, Watcher)]
    trainer.watchers[:] = [*others, Watcher(view, Frames())]
    return view
