"""A net as a picture: its layers as columns of circles, its weights as lines.

The picture is written as SVG directly: places are given by layer and number, so that no layout is needed.
"""

from __future__ import annotations

import html
import itertools
from collections.abc import Iterator
from typing import Any

from macrograd._dataclass import dataclass
from macrograd.nn import Layer, Module, Neuron
from macrograd.nn.activations import name_of
from macrograd.show._figure import COLOURS, FAINT, INK
from macrograd.value import Value

# Of a wider layer only the first and last neurons are drawn, so that circles stay apart and a picture fits a screen.
_MOST = 16
# With more lines than this, numbers on them would cover each other.
_WRITTEN = 24

_ACROSS, _RADIUS, _MARGIN, _HEAD, _FOOT = 170.0, 8.0, 60.0, 50.0, 34.0
_STEP, _STEP_WRITTEN = 26.0, 60.0
_WIDEST = 4.0


@dataclass(frozen=True)
class LayerColumn:
    """The circles of a layer.

    name     its path in the net, "" for the inputs
    text     what it is, in words
    neurons  one for each circle; None for an input
    rows     the row of each circle that is drawn, by its number
    """

    name: str
    text: str
    neurons: list[Neuron | None]
    rows: dict[int, int]


def net_picture(model: Module) -> str:
    """The SVG of a net. Raises TypeError for a Module that is not a chain of layers."""
    layers = _chain(model)
    names = {id(p): name for name, p in model.named_parameters(frozen=True).items()}
    paths = [names[id(neurons[0].w[0])].rpartition(".neurons")[0] for neurons in layers]
    width = len(layers[0][0].w)
    columns = [_column("", f"{width} input{'s' * (width != 1)}", [None] * width)]
    for path, neurons in zip(paths, layers, strict=True):
        columns.append(_column(path, f"{len(neurons)} {name_of(neurons[0].activation)}", list(neurons)))
    written = sum(len(a.rows) * len(b.rows) for a, b in itertools.pairwise(columns)) <= _WRITTEN
    step = _STEP_WRITTEN if written else _STEP
    height = step * max(_height(c) for c in columns)
    places = [
        {i: _HEAD + (height - step * _height(c)) / 2 + step * (row + 0.5) for i, row in c.rows.items()} for c in columns
    ]
    size = (2 * _MARGIN + _ACROSS * len(layers), _HEAD + height + _FOOT)
    count = len(model.parameters())
    parts = [
        # In points, which `_graphviz.png` turns into pixels.
        f'<svg font-family="DejaVu Sans,Helvetica,Arial,sans-serif" width="{size[0]:g}pt" height="{size[1]:g}pt" '
        f'viewBox="0 0 {size[0]:g} {size[1]:g}" style="max-width:100%;height:auto" role="img" '
        f'xmlns="http://www.w3.org/2000/svg">\n<title>{_text(f"a net with {count:,} parameters")}</title>\n'
        f'<rect width="100%" height="100%" fill="white"/>\n'
    ]
    for k, after in enumerate(columns[1:]):
        parts += _weights(_x(k), places[k], _x(k + 1), places[k + 1], after, names, written=written)
    for k, column in enumerate(columns):
        parts += _circles(_x(k), places[k], column, names)
    note = "orange: positive weights, blue: negative ones; the wider a line, the larger the weight"
    parts.append(_label(size[0] / 2, size[1] - 10.0, note, 9, FAINT))
    return "".join(parts) + "</svg>\n"


def _chain(model: Module) -> list[list[Neuron]]:
    """The neurons of each layer, from the inputs to the outputs."""
    modules = model.modules()
    layers = [list(m.neurons) for m in modules if isinstance(m, Layer)]
    if not layers:
        layers = [[m] for m in modules if isinstance(m, Neuron)]
    widths = [len(neurons) for neurons in layers]
    if not layers or any(len(layer[0].w) != width for layer, width in zip(layers[1:], widths, strict=False)):
        raise TypeError(
            f"draw() shows a net as layers that feed each other, as in nn.MLP, and {type(model).__name__} has none: "
            "draw(model(x)) draws the operations for one sample"
        )
    return layers


def _column(name: str, text: str, neurons: list[Any]) -> LayerColumn:
    n = len(neurons)
    shown = range(n) if n <= _MOST else [*range(_MOST // 2), *range(n - _MOST // 2 + 1, n)]
    return LayerColumn(name, text, neurons, {i: i if i < _MOST // 2 or n <= _MOST else i - n + _MOST for i in shown})


def _height(column: LayerColumn) -> int:
    return max(column.rows.values()) + 1


def _x(k: int) -> float:
    return _MARGIN + _ACROSS * k


def _weights(
    x0: float,
    before: dict[int, float],
    x1: float,
    after: dict[int, float],
    column: LayerColumn,
    names: dict[int, str],
    *,
    written: bool,
) -> Iterator[str]:
    """The lines between two columns, with numbers if there are only a few."""
    numbers = [abs(p.data) for j in after for p in _neuron(column, j).w]
    largest = max((x for x in numbers if x < float("inf")), default=0.0) or 1.0
    for j, y1 in after.items():
        for i, y0 in before.items():
            p = _neuron(column, j).w[i]
            share = min(1.0, abs(p.data) / largest) if p.data == p.data else 1.0
            colour = COLOURS[1] if p.data > 0 else COLOURS[0] if p.data <= 0 else INK
            yield (
                f'<line x1="{x0:g}" y1="{y0:g}" x2="{x1:g}" y2="{y1:g}" stroke="{colour}" '
                f'stroke-width="{0.4 + _WIDEST * share:.3g}" stroke-opacity="{0.25 + 0.6 * share:.3g}">'
                f"<title>{_text(_tip(p, names))}</title></line>\n"
            )
            if written:
                # At varying distances, because lines cross.
                at = 0.2 + 0.6 * (i * len(after) + j + 0.5) / (len(before) * len(after))
                text = f"{p.label} = {p.data:.2g}" if p.label else f"{p.data:.2g}"
                yield _label(x0 + at * (x1 - x0), y0 + at * (y1 - y0) - 3.0, text, 8, INK, halo=True)


def _circles(x: float, places: dict[int, float], column: LayerColumn, names: dict[int, str]) -> Iterator[str]:
    yield _label(x, 20.0, column.text, 12, INK)
    yield _label(x, 35.0, column.name, 9, FAINT)
    previous = -1
    for i, y in places.items():
        if i != previous + 1:
            yield _label(x, y - _STEP + 3.0, f"⋮ {i - previous - 1:,} more", 9, INK, halo=True)
        previous = i
        neuron = column.neurons[i]
        tip = f"input {i}" if neuron is None else f"neuron {i} of {column.name}, bias {_tip(neuron.b, names)}"
        fill = "#dcebf7" if neuron is None else "#fbe6c5"
        yield (
            f'<circle cx="{x:g}" cy="{y:g}" r="{_RADIUS:g}" fill="{fill}" stroke="{INK}">'
            f"<title>{_text(tip)}</title></circle>\n"
        )


def _neuron(column: LayerColumn, j: int) -> Neuron:
    neuron = column.neurons[j]
    assert neuron is not None
    return neuron


def _tip(p: Value, names: dict[int, str]) -> str:
    label = f" ({p.label})" if p.label else ""
    return f"{names[id(p)]}{label} = {p.data!r}, grad {float(p.grad)!r}"


def _label(x: float, y: float, text: str, size: int, colour: str, halo: bool = False) -> str:
    around = ' stroke="white" stroke-width="3" paint-order="stroke"' if halo else ""
    return (
        f'<text x="{x:g}" y="{y:g}" text-anchor="middle" font-size="{size}" fill="{colour}"{around}>'
        f"{_text(text)}</text>\n"
    )


def _text(text: str) -> str:
    return html.escape("".join(c for c in text if c.isprintable()))
