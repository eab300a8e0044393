"""Shared by the matplotlib pictures: the figure, the style, the colours."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

from macrograd._files import ending, write_whole

# The colours of Okabe & Ito, which people with any colour vision can tell apart; the first two are the classes of a
# two-class picture. Source: Okabe & Ito, "Color Universal Design", 2008, https://jfly.uni-koeln.de/color/.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
INK = "#1b242d"
FAINT = "#6b7884"

# A diverged run has numbers up to the largest float, around which matplotlib's tick locator overflows.
LARGEST = 1e200

ENDINGS = (".png", ".svg", ".pdf")


def new_figure(width: float, height: float) -> Any:
    """An empty matplotlib figure of the given size in inches, which a notebook displays on its own.

    It is not managed by pyplot, so it opens no window and is freed like any other object.
    Raises ImportError without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise ImportError('pictures need matplotlib: pip install "macrograd[plot]"') from None

    class ShownFigure(Figure):
        def _repr_png_(self) -> bytes:
            return picture(self, ".png")

    spacing = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, wspace=0.04)
    return ShownFigure(figsize=(width, height), layout=spacing)


def checked_axes(ax: Any) -> Any:
    """`ax` unchanged. Raises TypeError if it is not matplotlib axes."""
    if not (callable(getattr(ax, "plot", None)) and callable(getattr(ax, "contourf", None))):
        raise TypeError(f"ax must be matplotlib axes (or None for new ones), got {ax!r} of type {type(ax).__name__}")
    return ax


def plain(text: str) -> str:
    """Text escaped so that matplotlib draws it literally, not as a formula between dollar signs."""
    return text.replace("$", r"\$")


def tidy(ax: Any) -> None:
    """Remove clutter from the axes: no frame where there is no scale, thin ticks, muted colours."""
    ax.spines["top"].set_visible(False)
    ax.spines["right"].set_visible(ax.yaxis.get_label_position() == "right")
    ax.spines[["left", "bottom", "right"]].set_color(FAINT)
    ax.tick_params(colors=FAINT, labelcolor=INK, labelsize=10, length=3)
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
