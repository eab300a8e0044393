"""A colour means the same in the playground as in the pictures made by Python."""

from __future__ import annotations

import re
from importlib.resources import files

import macrograd as mg
from macrograd import nn


def part(name: str) -> str:
    return files("macrograd.browser").joinpath("parts", name).read_text("utf-8")


def test_weights_and_classes_have_the_colours_of_draw() -> None:
    model = nn.MLP(2, [1], seed=1)
    model.layers[0].neurons[0].w[0].data, model.layers[0].neurons[0].w[1].data = -1.0, 1.0
    negative, positive = re.findall(r'<line [^>]*stroke="(#\w+)"', mg.draw(model).svg)
    light = part("page.css").partition("@media")[0].upper()
    assert f"--LOW: {negative.upper()};" in light
    assert f"--HIGH: {positive.upper()};" in light
    assert 'w < 0 ? "var(--low)" : "var(--high)"' in part("diagram.js")
    assert re.search(r'COLOURS = \["(#\w+)", "(#\w+)"', part("state.js")).groups() == (
        negative.lower(),
        positive.lower(),
    )
