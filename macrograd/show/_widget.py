"""The widget of `live`, and the callback that feeds it. Needs anywidget."""

from __future__ import annotations

import time
from importlib.resources import files
from typing import Any

import anywidget
import traitlets

from macrograd.show.frames import Frames
from macrograd.train import Callback, Run

_PAUSE = 0.1  # seconds between frames


class Live(anywidget.AnyWidget):  # type: ignore[misc]  # it is skipped
    """What the browser draws: `live.js` reads these traits.

    frame   the numbers of `Frames.frame`, and the kind of the field
    field   a byte for each point of the field, row by row from the bottom
    points  the samples, `box` the part of the plane, `side` the points of the field in each direction
    status  the run in a sentence, which screen readers announce
    """

    _esm = files("macrograd.show").joinpath("live.js").read_text("utf-8")

    frame: Any = traitlets.Dict().tag(sync=True)
    field: Any = traitlets.Bytes().tag(sync=True)
    points: Any = traitlets.List().tag(sync=True)
    box: Any = traitlets.List().tag(sync=True)
    colours: Any = traitlets.List().tag(sync=True)
    side: Any = traitlets.Int(0).tag(sync=True)
    status: Any = traitlets.Unicode("waiting for fit").tag(sync=True)


class Watcher(Callback):
    """Sends a frame up to ten times a second, for a tenth of the time at most, and one at the end of the run."""

    def __init__(self, view: Live, frames: Frames) -> None:
        self.view, self.frames = view, frames
        self._run: Run | None = None
        self._due = 0.0

    def on_pause(self, run: Run) -> None:
        if run is not self._run or time.perf_counter() >= self._due:
            self.send(run, f"step {run.step:,} of {run.steps:,}, loss {run.loss:.4g}")

    def on_end(self, run: Run) -> None:
        if len(run.history):
            why = f", stopped: {run.history.stopped}" if run.history.stopped else ""
            self.send(run, f"{len(run.history):,} steps, loss {run.loss:.4g}{why}")
        self._run = None

    def send(self, run: Run, status: str) -> None:
        """Send the numbers of a run to the browser, all in one message."""
        view, frames, start = self.view, self.frames, time.perf_counter()
        with view.hold_sync():
            if run is not self._run:
                self._run = run
                frames.begin(run)
                view.points, view.box = frames.points, frames.box
            kind, view.field = frames.field(run)
            view.frame = frames.frame(run) | {"kind": kind}
            view.status = status
        now = time.perf_counter()
        self._due = now + max(_PAUSE, 9.0 * (now - start))
