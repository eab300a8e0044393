"""`draw(function, by=model)`: boxes of calls, lines between operations, and what the page says."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import macrograd as mg
from macrograd import Value, losses, nn


class Page(HTMLParser):
    """The boxes of a drawing: the words of each, and the box that it is in."""

    def __init__(self, drawing: Any) -> None:
        super().__init__()
        self.words: dict[int, str] = {}
        self.parent: dict[int, int] = {}
        self.open: set[int] = set()
        self.tips: dict[int, str] = {}
        self.edges: list[list[int]] = []
        self._boxes: list[tuple[str, int]] = [("", 0)]
        self.feed(str(drawing))
        self.close()
        assert len(self._boxes) == 1  # every element was closed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if "data-edges" in found:
            self.edges = json.loads(found["data-edges"] or "")
        if "data-box" in found:
            number = int(found["data-box"] or "")
            self.parent[number], self.words[number] = self._boxes[-1][1], ""
            self.tips[number] = found.get("title") or ""
            self._boxes.append((tag, number))
            if "open" in found:
                self.open.add(number)
        elif tag == self._boxes[-1][0]:
            self._boxes.append((tag, self._boxes[-1][1]))

    def handle_endtag(self, tag: str) -> None:
        if tag == self._boxes[-1][0]:
            self._boxes.pop()

    def handle_data(self, data: str) -> None:
        if self._boxes[-1][1]:
            self.words[self._boxes[-1][1]] += data

    def path(self, number: int) -> list[str]:
        found = []
        while number:
            found.append(self.words[number].split(" ")[0])
            number = self.parent[number]
        return found[::-1]


@pytest.fixture(scope="module")
def page() -> Page:
    model = nn.MLP(2, [3, 2], seed=1)
    return Page(mg.draw(lambda: losses.squared_error(model([0.3, -0.2]), [1.0, 0.0]), by=model))


def test_every_call_is_a_box_with_what_it_computed(page: Page) -> None:
    calls = [" ".join(words.split()) for number, words in page.words.items() if page.tips[number] == "" or ":" in words]
    assert calls[0] == "MLP 8 operations, 17 parameters"
    assert "layers.0 Layer: 6 operations, 9 parameters" in calls
    assert "neurons.2 Neuron: 2 operations, 3 parameters" in calls
    relus = [number for number, words in page.words.items() if words.startswith("relu")]
    assert [page.path(number)[:3] for number in relus] == [["MLP", "layers.0", f"neurons.{k}"] for k in range(3)]
    sums = [number for number, tip in page.tips.items() if tip.startswith("dot(layers.1.neurons.1.b, 1, ")]
    assert [page.path(number)[:3] for number in sums] == [["MLP", "layers.1", "neurons.1"]]
    loss = [number for number, words in page.words.items() if words.startswith("−")]
    assert [page.parent[number] for number in loss] == [0, 0]  # outside the model


def test_lines_lead_from_operands_to_operations(page: Page) -> None:
    kind = {number: re.sub(r"[-\d.]+$", "", words) for number, words in page.words.items()}
    relus = {number for number in kind if kind[number] == "relu"}
    sums = {number for number, tip in page.tips.items() if tip.startswith("dot(layers.1.")}
    assert {(a, b) for a, b in page.edges if a in relus} == {(a, b) for a in relus for b in sums}
    assert all(a < b for a, b in page.edges)


def test_boxes_are_open_from_the_outside_while_there_is_room() -> None:
    large = nn.MLP(2, [16, 16, 1], seed=1)
    page = Page(mg.draw(lambda: large([0.3, -0.2]), by=large))
    assert {page.words[number].split(" ")[0] for number in page.open} == {"MLP"}


def test_a_module_that_is_called_again_has_a_box_for_each_call() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            self.cell = nn.Neuron(1, activation="tanh", seed=1)

        def __call__(self, x: Any) -> Any:
            return self.cell(self.cell(x))

    model = Twice()
    page = Page(mg.draw(lambda: model(0.5), by=model))
    assert [words.split(" ")[0] for words in page.words.values()].count("cell") == 2


def test_of_many_boxes_the_first_are_drawn_and_lines_lead_to_the_rest() -> None:
    wide = nn.Layer(1, 100, seed=1)
    page = Page(mg.draw(lambda: mg.sum(wide(0.5)), by=wide))
    (rest,) = (number for number, words in page.words.items() if words == "36 more")
    assert page.words[page.parent[rest]].startswith("Layer")
    last = max(page.words)
    assert [rest, last] in page.edges


def test_text_stays_text_and_the_same_graph_gives_the_same_page(tmp_path: Path) -> None:
    model = nn.Neuron(1, seed=1)
    model.w[0].label = "<script>alert(1)</script>"

    def drawn() -> str:
        drawing = mg.draw(lambda: model(0.5), by=model)
        assert repr(drawing) == "FoldedDrawing(Neuron, 2 operations)"
        return drawing.save(tmp_path / "graph.html").read_text("utf-8")

    assert "<script>alert" not in drawn()
    assert "&lt;script&gt;alert(1)" in drawn()
    assert drawn() == drawn()
    assert drawn().startswith("<!doctype html>")
    with pytest.raises(ValueError, match=r"\.html"):
        mg.draw(lambda: model(0.5), by=model).save(tmp_path / "graph.svg")


def test_gradients_are_shown_if_there_are_any() -> None:
    model = nn.Neuron(1, nonlin=False, seed=1)

    def loss() -> Value:
        found = model(0.5) ** 2
        found.backward()
        return found

    page = Page(mg.draw(loss, by=model))
    assert any(
        re.search(r"^dot\(.*, grad -?[\d.]+$", tip) and not tip.endswith("grad 0.0") for tip in page.tips.values()
    )


def test_bad_input() -> None:
    model = nn.Neuron(1, seed=1)
    with pytest.raises(TypeError, match="watches which module computes each number: give a function without arguments"):
        mg.draw(model(0.5), by=model)
    with pytest.raises(TypeError, match=r"draw\(by=\) takes the model whose modules are drawn, got 3 of type int"):
        mg.draw(lambda: model(0.5), by=3)
    with pytest.raises(TypeError, match=r"needs a function that returns a Value or a sequence of them, got 0\.5"):
        mg.draw(lambda: 0.5, by=model)


def test_modules_by_name() -> None:
    model = nn.MLP(2, [2, 1], seed=1)
    names = model.named_modules()
    assert list(names) == ["", "layers.0", "layers.0.neurons.0", "layers.0.neurons.1", "layers.1", "layers.1.neurons.0"]
    assert names[""] is model
    assert list(names.values()) == model.modules()
