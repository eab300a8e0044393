"""The picture of a net: a circle for each neuron, a line for each weight."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

import macrograd as mg
from macrograd import nn

SVG = "{http://www.w3.org/2000/svg}"


def drawn(model: Any) -> ET.Element:
    return ET.fromstring(mg.draw(model).svg)


def tips(picture: ET.Element, kind: str) -> list[str]:
    return [part.findtext(f"{SVG}title", "") for part in picture.iter(f"{SVG}{kind}")]


def texts(picture: ET.Element) -> list[str]:
    return [part.text or "" for part in picture.iter(f"{SVG}text")]


def test_a_circle_for_each_neuron_and_a_line_for_each_weight() -> None:
    model = nn.MLP(2, [16, 16, 1], seed=1337)
    model.layers[1].neurons[3].w[5].grad = 0.25
    picture = drawn(model)
    lines = tips(picture, "line")
    assert len(lines) == 2 * 16 + 16 * 16 + 16
    named = model.named_parameters()
    assert {line.partition(" = ")[0] for line in lines} == {name for name in named if ".w." in name}
    assert f"layers.1.neurons.3.w.5 = {named['layers.1.neurons.3.w.5'].data!r}, grad 0.25" in lines
    circles = tips(picture, "circle")
    assert len(circles) == 2 + 16 + 16 + 1
    assert circles[:2] == ["input 0", "input 1"]
    assert circles[-1] == "neuron 0 of layers.2, bias layers.2.neurons.0.b = 0.0, grad 0.0"
    assert texts(picture)[-9:-1] == [
        "2 inputs",
        "",
        "16 relu",
        "layers.0",
        "16 relu",
        "layers.1",
        "1 linear",
        "layers.2",
    ]


def test_the_wider_the_line_the_larger_the_weight_and_the_colour_is_its_sign() -> None:
    model = nn.MLP(1, [3], seed=0)
    for neuron, number in zip(model.layers[0].neurons, (0.5, -1.0, math.nan), strict=True):
        neuron.w[0].data = number
    half, whole, lost = drawn(model).iter(f"{SVG}line")
    assert float(half.attrib["stroke-width"]) < float(whole.attrib["stroke-width"]) == 4.4
    assert len({line.attrib["stroke"] for line in (half, whole, lost)}) == 3


def test_few_weights_have_their_numbers_and_labels_on_the_lines() -> None:
    model = nn.MLP(2, [2, 1], seed=1)
    model.layers[0].neurons[0].w[0].label = "w<0>"
    model.layers[0].neurons[0].w[0].data = 0.125
    picture = drawn(model)
    assert "w<0> = 0.12" in texts(picture)
    assert "layers.0.neurons.0.w.0 (w<0>) = 0.125, grad 0.0" in tips(picture, "line")
    assert len(texts(picture)) == 6 + 6 + 1
    assert not any(text.startswith("0.") for text in texts(drawn(nn.MLP(5, [5], seed=1))))


def test_of_a_wide_layer_the_first_and_the_last_are_drawn() -> None:
    picture = drawn(nn.MLP(64, [128, 10], seed=1))
    circles = tips(picture, "circle")
    assert len(circles) == 15 + 15 + 10
    assert circles[7:9] == ["input 7", "input 57"]
    assert {"⋮ 49 more", "⋮ 113 more", "128 relu"} <= set(texts(picture))
    # The picture is as high as 16 circles, however wide the net.
    assert picture.attrib["height"] == drawn(nn.MLP(1000, [16], seed=1)).attrib["height"]


def test_layers_trainers_and_modules_of_layers() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            self.first, self.second = nn.Layer(3, 4, seed=1), nn.Layer(4, 2, activation="tanh", seed=2)

    two = Two()
    assert {"first", "second", "2 tanh"} <= set(texts(drawn(two)))
    assert mg.draw(mg.Trainer(nn.MLP(2, [1], seed=1))).svg == mg.draw(nn.MLP(2, [1], seed=1)).svg
    assert len(tips(drawn(nn.Neuron(3, seed=1)), "line")) == 3
    two.first.freeze()  # frozen weights are shown, too
    assert len(tips(drawn(two), "line")) == 20


def test_what_is_no_chain_of_layers() -> None:
    class Side(nn.Module):
        def __init__(self) -> None:
            self.left, self.right = nn.Layer(3, 4), nn.Layer(3, 4)

    for model in (Side(), nn.Dropout()):
        with pytest.raises(TypeError, match=r"has none: draw\(model\(x\)\) draws the operations for one sample"):
            mg.draw(model)


def test_a_notebook_shows_it_and_it_is_saved(tmp_path: Path) -> None:
    drawing = mg.draw(nn.MLP(2, [3, 1], seed=1))
    assert repr(drawing) == "NetDrawing(MLP, 13 parameters)"
    assert drawing._repr_svg_() == drawing.save(tmp_path / "x.svg").read_text("utf-8")
    assert drawing.save(tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ValueError, match=r"must be one of \.svg, \.png, got '\.dot'"):
        drawing.save(tmp_path / "x.dot")
