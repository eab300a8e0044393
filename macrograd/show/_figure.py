"""Shared by the matplotlib pictures: the figure, the style, the colours."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from macrograd._extras import installing
from macrograd._files import ending, write_whole

# The colours of Okabe & Ito, which people with any colour vision can tell apart; the first two are the classes of a
# two-class picture. Source: Okabe & Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK = "#1b242d"
FAINT = "#6b7884"

# A diverged run has numbers up to the largest float, around which matplotlib's tick locator overflows.
LARGEST = 1e200

# The share of the gap between panels that labels on the left may use. The panel there stays away from its end by the
# rest, since the labels of a neighbour that somebody else drew may need more.
_LEFT = 0.8

ENDINGS = (".png", ".svg", ".pdf")


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure of the given size in inches. A notebook displays it, and any of its axes, by itself.

    It is not managed by pyplot, so it opens no window and is freed like any other object.
    Raises ImportError without matplotlib.
    """
    try:
        from matplotlib.axes import Axes
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError(f"pictures need matplotlib: {installing('plot')}") from None

    class ShownAxes(Axes):
        def _repr_png_(self) -> bytes:
            return picture(self.figure, ".png")

    class ShownFigure(Figure):
        def add_subplot(self, *place: Any, **options: Any) -> Any:
            if not options.keys() & {"projection", "polar"}:
                options.setdefault("axes_class", ShownAxes)
            return super().add_subplot(*place, **options)

        def _repr_png_(self) -> bytes:
            return picture(self, ".png")

    spacing = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.04)
    return ShownFigure(figsize=(width, height), layout=spacing)


def checked_axes(ax: Any) -> Any:
    """`ax` unchanged. Raises TypeError if it is not matplotlib axes."""
    if not (callable(getattr(ax, "plot", None)) and callable(getattr(ax, "contourf", None))):
        raise TypeError(f"ax must be matplotlib axes (or None for new ones), got {ax!r} of type {type(ax).__name__}")
    return ax


class Panel:
    """The place of axes in their figure: `keep(…)` moves what was drawn there back into it.

    Labels may use the gap on the left, as any panel's do, but no scale on the right, bar or legend may reach into a
    neighbour. A figure with a layout engine makes room by itself, and nothing is moved.
    """

    def __init__(self, ax: Any) -> None:
        self.box = ax.get_position(original=True)
        # Room for labels: the margins of the figure, or their share of the gap to the next panel.
        self.left, self.top, self.right = self.box.x0, 1.0 - self.box.y1, 1.0 - self.box.x1
        spec = ax.get_subplotspec()
        if spec is not None:
            gaps = spec.get_gridspec().get_subplot_params(ax.figure)
            across = gaps.wspace * self.box.width
            self.left = _LEFT * across if spec.colspan.start else self.left
            self.right = self.right if spec.is_last_col() else (_LEFT - 1.0) * across
            self.top = 0.0 if spec.rowspan.start else self.top

    def keep(self, *drawn: Any) -> None:
        """Move and narrow the axes `drawn` together until all of it is inside."""
        figure = drawn[0].figure
        if figure.get_layout_engine() is not None:
            return
        to_figure = figure.transFigure.inverted()
        inked = [ax.get_tightbbox().transformed(to_figure) for ax in drawn]
        places = [ax.get_position() for ax in drawn]
        left, right = min(p.x0 for p in places), max(p.x1 for p in places)
        bottom, top = min(p.y0 for p in places), max(p.y1 for p in places)
        new_left = left + max(0.0, self.box.x0 - self.left - min(i.x0 for i in inked))
        new_right = right - max(0.0, max(i.x1 for i in inked) - self.box.x1 - self.right)
        new_top = top - max(0.0, max(i.y1 for i in inked) - self.box.y1 - self.top)
        if new_right <= new_left or new_top <= bottom:
            return  # a panel smaller than its labels
        across, up = (new_right - new_left) / (right - left), (new_top - bottom) / (top - bottom)
        for ax, p in zip(drawn, places, strict=True):
            x, y = new_left + (p.x0 - left) * across, bottom + (p.y0 - bottom) * up
            ax.set_position((x, y, p.width * across, p.height * up))


def plain(text: str) -> str:
    """Text escaped so that matplotlib draws it literally, not as a formula between dollar signs."""
    return text.replace("$", r"\$")


def tidy(ax: Any) -> None:
    """Remove clutter from matplotlib axes: no frame where there is no scale, thin ticks, muted colours."""
    ax.spines["top"].set_visible(False)
    ax.spines["right"].set_visible(ax.yaxis.get_label_position() == "right")
    ax.spines[["left", "bottom", "right"]].set_color(FAINT)
    ax.tick_params(which="both", colors=FAINT, labelcolor=INK, labelsize=10)
    ax.tick_params(length=3)
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set(color=INK, fontsize=11)


def picture(figure: Any, kind: str) -> bytes:
    """The figure as the content of a file with the ending `kind`; equal figures give the same bytes."""
    buffer = io.BytesIO()
    # Without the date and the random ids in an SVG, equal figures give the same file.
    metadata = {".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}}[kind]
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "macrograd"}):
        figure.savefig(buffer, format=kind[1:], dpi=150, metadata=metadata)
    return buffer.getvalue()


def save(figure: Any, path: str | os.PathLike[str]) -> Path:
    """Write a matplotlib figure (or the figure of axes) to `path`, whole or not at all, and return the path.

    The ending must be .png, .svg or .pdf. Raises ValueError for any other, TypeError if `figure` is neither a figure
    nor axes, OSError if the file cannot be written.
    """
    kind = ending(path, ENDINGS)
    figure = getattr(figure, "figure", figure)
    if not callable(getattr(figure, "savefig", None)):
        raise TypeError(f"save() takes a matplotlib figure or axes, got {figure!r} of type {type(figure).__name__}")
    return write_whole(path, picture(figure, kind))
