"""A graph by module as HTML: boxes within boxes, which fold and unfold, with lines between those that are visible."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from macrograd._files import ending, write_whole
from macrograd.graph import topological
from macrograd.nn import Module
from macrograd.ops import CONSTANT
from macrograd.show.calls import Call, Calls
from macrograd.value import Value
from macrograd.vector import Vector

# Of more children than this the first are drawn: thousands of boxes make a page slow, and nobody reads them.
_MOST = 64
# Calls are unfolded from the outside, as long as no more boxes than this are visible.
_VISIBLE = 24


class FoldedDrawing:
    """A graph by module. A notebook displays it, `str(drawing)` is the HTML, and `save` writes a page."""

    def __init__(self, content: str, summary: str) -> None:
        self._content, self._summary = content, summary

    @property
    def html(self) -> str:
        """The drawing as an element for a page, with its style and script."""
        style, script = (
            files("macrograd.show").joinpath(f"folded.{kind}").read_text("utf-8") for kind in ("css", "js")
        )
        return f"<style>{style}</style>{self._content}<script>{script}</script>"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the drawing as a page, whole or not at all, and return the path, which must end in .html.

        Raises ValueError for any other ending, OSError if the file cannot be written.
        """
        ending(path, (".html",))
        page = (
            '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{_text(self._summary)}</title>\n<body>\n{self.html}\n</body>\n</html>\n"
        )
        return write_whole(path, page.encode("utf-8"))

    def _repr_html_(self) -> str:
        return self.html

    def __str__(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._summary})"


def by_module(make: Callable[[], Any], model: Module) -> FoldedDrawing:
    """The graph that `make` computes, by the modules of `model`. Raises TypeError if it returns no Value."""
    calls = Calls(model)
    result = calls.run(make)
    roots = [result] if isinstance(result, Value) else list(result) if isinstance(result, (list, tuple, Vector)) else []
    if not roots or not all(isinstance(root, Value) for root in roots):
        raise TypeError(
            f"draw(function, by=model) needs a function that returns a Value or a sequence of them, got {result!r}"
        )
    order = topological(*roots)
    tree = calls.tree(order)
    labels = {id(p): p.label or path for path, p in model.named_parameters(frozen=True).items()}
    operations = sum(node.op is not None and node.op is not CONSTANT for node in order)
    summary = f"{type(model).__name__}, {operations:,} operations"
    return FoldedDrawing(_Writer(tree, labels).write(summary), summary)


class _Writer:
    """Writes a tree of calls as HTML."""

    def __init__(self, tree: Call, labels: dict[int, str]) -> None:
        self._tree, self._labels = tree, labels
        self._number: dict[int, int] = {}  # of the box that shows a Value or a call, by id
        self._count = 0
        self._open = self._unfolded()

    def _unfolded(self) -> set[int]:
        """The ids of the calls that are unfolded at first: level by level, while there is room."""
        found, visible, level = {id(self._tree)}, len(self._tree.children), [self._tree]
        while level:
            level = [child for call in level for child in call.children if isinstance(child, Call)]
            visible += sum(min(len(call.children), _MOST) for call in level)
            if visible > _VISIBLE:
                break
            found.update(map(id, level))
        return found

    def write(self, title: str) -> str:
        parts: list[str] = []
        # (finished text, a call or an operation; the path of the call that it is in)
        stack: list[tuple[Any, str]] = [(self._tree, "")]
        while stack:
            thing, within = stack.pop()
            if isinstance(thing, str):
                parts.append(thing)
            elif isinstance(thing, Call):
                stack.extend((part, thing.path) for part in reversed(self._call(thing, within)))
            else:
                parts.append(self._operation(thing))
        edges = json.dumps(self._edges(), separators=(",", ":"))
        return (
            f'<div class="mg-folded" role="group" aria-label="{_text(title)}" data-edges="{edges}">'
            f'<div><svg aria-hidden="true"></svg>{"".join(parts)}</div></div>'
        )

    def _box(self, *shown: Any) -> int:
        """The number of a new box, which stands for these Values or calls in the lines between boxes."""
        self._count += 1
        for thing in shown:
            self._number[id(thing)] = self._count
        return self._count

    def _call(self, call: Call, within: str) -> list[Any]:
        """The parts of a call: text, and children that are still to be written."""
        number = self._box(*_values(call))  # first: boxes inside take its Values over
        inside = self._inside(call)
        if call.module is None:
            return inside
        kind = type(call.module).__name__
        name = call.path.removeprefix(f"{within}.") or kind
        counted = len(_values(call))
        words = f"{counted:,} operation{'s' * (counted != 1)}"
        if parameters := len(call.module.parameters()):
            words += f", {parameters:,} parameter{'s' * (parameters != 1)}"
        unfolded = " open" if id(call) in self._open else ""
        head = (
            f'<details data-box="{number}"{unfolded}><summary title="{_text(call.path)}"><b>{_text(name)}</b> '
            f'<span class="kind">{_text(f"{kind}: " * (name != kind))}{words}</span></summary>'
        )
        return [head, *inside, "</details>"]

    def _inside(self, call: Call) -> list[Any]:
        inside: list[Any] = ['<div class="columns">']
        left = _MOST
        for column in _columns(call):
            inside.append('<div class="column">')
            inside += column[:left]
            hidden = column[left:]
            left = max(0, left - len(column))
            if hidden:
                number = self._box(*[value for thing in hidden for value in _values(thing)])
                inside.append(f'<span class="more" data-box="{number}">{len(hidden):,} more</span>')
            inside.append("</div>")
        inside.append("</div>")
        return inside

    def _operation(self, node: Value) -> str:
        assert node.op is not None
        label = f"{node.label} = " if node.label else ""
        operands = [self._labels.get(id(x)) or x.label or f"{x.data:.6g}" for x in node.inputs[:12]]
        operands += ["…"] * (len(node.inputs) > 12)
        tip = f"{node.op.name}({', '.join(operands)}) = {node.data!r}, grad {float(node.grad)!r}"
        number = self._box(node)
        return (
            f'<span class="operation" data-box="{number}" title="{_text(tip)}"><b>{_text(node.op.symbol)}</b>'
            f"<br>{_text(label)}{node.data:.4g}</span>"
        )

    def _edges(self) -> list[list[int]]:
        """[box of an operand, box of the operation], each once."""
        found: dict[tuple[int, int], None] = {}
        for node in _values(self._tree):
            for x in node.inputs:
                if id(x) in self._number and id(node) in self._number:
                    found[self._number[id(x)], self._number[id(node)]] = None
        return [[a, b] for a, b in found if a != b]


def _values(thing: Call | Value) -> list[Value]:
    """The Values of a call, those of the calls in it included."""
    found: list[Value] = []
    stack: list[Call | Value] = [thing]
    while stack:
        item = stack.pop()
        if isinstance(item, Call):
            stack.extend(reversed(item.children))
        else:
            found.append(item)
    return found


def _columns(call: Call) -> list[list[Call | Value]]:
    """The children of a call by their longest path from the first ones, so that lines lead to the right."""
    child_of = {id(value): k for k, child in enumerate(call.children) for value in _values(child)}
    levels: list[int] = []
    for k, child in enumerate(call.children):
        before = {child_of.get(id(x), k) for value in _values(child) for x in value.inputs}
        levels.append(max((levels[j] + 1 for j in before if j < k), default=0))
    columns: list[list[Call | Value]] = [[] for _ in range(max(levels, default=-1) + 1)]
    for child, level in zip(call.children, levels, strict=True):
        columns[level].append(child)
    return columns


def _text(text: str) -> str:
    return html.escape("".join(c for c in text if c.isprintable()))
