"""The playground's page: one file that asks for nothing, whose modules are the compiler's, and what comes back from it.

In a browser it is tried by `tests/browser/check.py` (`make browser`).
"""

from __future__ import annotations

import base64
import html.parser
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import datasets, nn, optim
from macrograd.browser import page as pages
from macrograd.browser.nets import CLASSES, FEATURES, Descent, Net, features, layers_of, menu, objective, outputs_of
from macrograd.browser.own import own_net
from macrograd.cli import main
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.step import TrainingLoop
from macrograd.tables import from_frame, plan_of

NET = Net((3, 2), "tanh", 1)
HOSTILE = {"name": "</script><b>.csv", "text": "a</script>,<!--,c\n1,2,<script>alert(1)</script>\n"}


class Parts(html.parser.HTMLParser):
    """The elements of a page, and what stands in those with an id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str | None]] = []
        self.tags: list[str] = []
        self.texts: dict[str, str] = {}
        self._at = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._at = dict(attrs).get("id") or ""

    def handle_data(self, data: str) -> None:
        self.texts[self._at] = self.texts.get(self._at, "") + data


@pytest.fixture(scope="module")
def text() -> str:
    return pages.page([NET], table=HOSTILE)


def test_the_page_asks_for_nothing_from_outside(text: str) -> None:
    parts = Parts(text)
    assert not [value for name, value in parts.attributes if name in ("src", "href")]
    assert not {"link", "img", "iframe", "object", "base"} & set(parts.tags)
    assert "default-src 'none'" in text
    assert parts.tags.count("script") == 3
    for mark in ("@STYLE@", "@CONTENT@", "@WORKER@", "@SCRIPT@"):
        assert mark not in text


def test_a_table_in_the_page_stays_a_text(text: str) -> None:
    content = Parts(text).texts["content"]
    assert not set("<>&") & set(content)
    assert json.loads(content)["table"] == HOSTILE


def test_every_control_has_a_name(text: str) -> None:
    """A label around it or for it, or a text in it."""
    parts = Parts(text)
    named = {value for name, value in parts.attributes if name in ("for", "aria-labelledby", "aria-label")}
    for chunk in text.partition("<main>")[2].partition("</main>")[0].split("<label")[1:]:
        assert any(f"<{tag}" in chunk.partition("</label>")[0] for tag in ("select", "input")) or chunk.startswith(
            " for"
        )
    assert {"data-title", "net-title", "output-title", "file"} <= named


def test_the_modules_are_those_of_the_compiler(text: str) -> None:
    """Steps of the page's module against native training by the same rule."""
    wasmtime = pytest.importorskip("wasmtime")
    (net,) = json.loads(Parts(text).texts["content"])["nets"]
    data = zlib.decompress(base64.b64decode(net["wasm"]), -zlib.MAX_WBITS)
    store = wasmtime.Store()
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, data), []).exports(store)
    draw = np.random.default_rng(1)
    seen, target = draw.normal(size=(11, len(FEATURES))), np.sign(draw.normal(size=11))
    rows = np.hstack([seen, target[:, None], np.zeros((11, 1))])
    heap, memory = exports["heap"].value(store), exports["memory"]
    memory.grow(store, 1)
    memory.write(store, rows.tobytes(), heap)
    found = [exports["step"](store, heap, 11, 0.1) for _ in range(20)]

    loss = Compiled(
        objective(NET, layers_of(NET)), batch=True, dtype="float64", backend="auto", threads=1, strict=False
    )
    rule = Descent(0.1)
    loop = TrainingLoop(loss, [seen, target, np.zeros(11)], rule.rule, rule.initial_state, batch_size=11)
    right = loop.run(np.tile(np.arange(11), 20), np.full(20, 11), np.full(20, 0.1))
    np.testing.assert_allclose(found, right.losses, rtol=1e-12)
    assert found[-1] < found[0]


def test_a_parameter_that_is_off_stays_and_penalties_pull_to_zero() -> None:
    rule = Descent(0.1).rule
    assert rule(0.5, 3.0, (0.0, 1.0, 1.0), 0.1, 1)[0] == 0.5
    assert rule(0.5, 0.0, (1.0, 0.1, 0.0), 0.1, 1)[0] == pytest.approx(0.49, rel=1e-15)
    assert rule(-0.5, 0.0, (1.0, 0.0, 0.1), 0.1, 1)[0] == pytest.approx(-0.49, rel=1e-15)


def test_the_menu_has_what_the_page_says() -> None:
    found = menu()
    assert len(set(found)) == len(found)
    assert {len(net.widths) for net in found if net.outputs == 1} == {1, 2, 3}
    assert Net((16, 16), "relu", 1) in found
    assert {net.outputs for net in found} == {1, CLASSES}


# --- what comes back --------------------------------------------------------------------------------------------------


def weights(**change: Any) -> dict[str, Any]:
    """As the page writes it: a net of two features, three neurons and one output."""
    return {
        "format": "macrograd playground 1",
        "activation": "tanh",
        "features": [True, False, False, False, True, False, False],
        "layers": [[[0.5, -1.0, 0.25], [1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], [[1.0, -2.0, 0.5, 0.125]]],
        "steps": 100,
        "scaling": [1.0, 2.0, 0.5, 0.25],
        "columns": ["a", "b"],
        "target": "kind",
        "classes": ["no", "yes"],
        "unit": [0.0, 1.0],
        **change,
    }


def test_a_net_comes_back_from_the_page(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(weights()))
    net = mg.from_playground(path)
    a, b = (3.0 - 1.0) * 0.5, (4.0 - 2.0) * 0.25
    hidden = [np.tanh(w * a + v * (a * b) + c) for w, v, c in weights()["layers"][0]]
    right = np.dot([1.0, -2.0, 0.5], hidden) + 0.125
    assert float(net([3.0, 4.0]).data) == pytest.approx(right, rel=1e-14)
    assert net.answer([3.0, 4.0]) == ("yes" if right > 0 else "no")
    assert isinstance(net, nn.Module)
    assert len(net.parameters()) == 13
    assert mg.export(net, tmp_path / "net.c", [0.0, 0.0]).paths[0].exists()


def test_numbers_come_back_in_their_own_unit() -> None:
    one, other = (mg.from_playground(weights(classes=[], unit=unit)) for unit in ([0.0, 1.0], [10.0, 4.0]))
    assert other.answer([1.0, 1.0]) == pytest.approx(10.0 + 4.0 * float(one.answer([1.0, 1.0])))


def test_several_classes_come_back_with_their_names() -> None:
    layers = [[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, -1.0, 0.0]]]
    net = mg.from_playground(weights(layers=layers, classes=["u", "v", "w"]))
    assert [net.answer(x) for x in ([9.0, 2.0], [-9.0, -9.0], [-9.0, 2.0])] == ["u", "v", "w"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "other"}, "not what the playground writes"),
        ({"activation": "step"}, "'step' is none of tanh, relu, sigmoid"),
        ({"activation": []}, "is none of tanh"),
        ({"features": [1, 0]}, "features, scaling and unit"),
        ({"scaling": [0.0, 0.0, 1.0, float("nan")]}, "features, scaling and unit"),
        ({"layers": [[[1.0, 2.0]]]}, "every neuron of layer 1 needs 2 finite weights and a bias"),
        ({"layers": []}, "a list of layers"),
        ({"classes": ["a", "b", "c"]}, "1 outputs do not fit"),
        ({"steps": "x"}, "steps an integer"),
    ],
)
def test_what_is_no_net_is_an_error(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        mg.from_playground(weights(**change))


@pytest.mark.parametrize("content", ["", "[1, 2", '{"format": 3}', "[" * 100_000])
def test_files_that_are_no_nets(tmp_path: Path, content: str) -> None:
    path = tmp_path / "net.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"net\.json"):
        mg.from_playground(path)


def test_bad_input_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "latin.csv").write_bytes(b"gr\xf6\xdfe,b\n")
    for arguments, said in (
        (["-o", str(tmp_path / "page.txt")], "must end in .html"),
        ([str(tmp_path / "latin.csv"), "-o", str(tmp_path / "page.html")], "is not UTF-8 text"),
        ([str(tmp_path / "none.csv"), "-o", str(tmp_path / "page.html")], "No such file"),
    ):
        assert main(["playground", *arguments]) == 2
        assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["latin.csv"]


def test_a_trainer_brings_its_net_along() -> None:
    """Its module's step is that of native training, from where the Trainer stopped."""
    wasmtime = pytest.importorskip("wasmtime")
    X, y = datasets.make_moons(40, noise=0.1, seed=1)
    labels = np.where(y > 0, "in </script>", "out")
    trainer = mg.Trainer(nn.MLP(2, [4, 1], seed=1), scale="standard", optimizer=optim.SGD(0.1, momentum=0.9))
    trainer.fit(X, labels, epochs=2, batch_size=40, shuffle=False, progress="none")
    own = own_net(trainer, X, labels)
    assert own["classes"] == ["in </script>", "out"]
    assert "</script" not in pages.in_page(own)
    assert len(own["parameters"]) == len(trainer.model.parameters())
    store = wasmtime.Store()
    data = zlib.decompress(base64.b64decode(own["wasm"]), -zlib.MAX_WBITS)
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, data), []).exports(store)
    heap, memory = exports["heap"].value(store), exports["memory"]
    memory.grow(store, 1)
    memory.write(store, np.array(own["rows"]).tobytes(), heap)
    found = [exports["step"](store, heap, 40, 0.1) for _ in range(5)]
    right = trainer.fit(X, labels, epochs=5, batch_size=40, shuffle=False, progress="none")
    np.testing.assert_allclose(found, right.losses, rtol=1e-12)


def test_texts_dates_and_missing_numbers_come_along() -> None:
    wasmtime = pytest.importorskip("wasmtime")
    draw = np.random.default_rng(0)
    colours, days = draw.choice(["red", "blue", "</script>"], 40), draw.integers(0, 300, 40)
    table = {
        "size": np.where(np.arange(40) == 3, np.nan, draw.normal(5.0, 2.0, 40)),
        "colour": colours.astype(object),
        "bought": np.datetime64("2024-01-01", "s") + days * np.timedelta64(86400, "s"),
    }
    width = len(plan_of(from_frame(table)).names)
    trainer = mg.Trainer(nn.MLP(width, [3, 1], activation="tanh", seed=1), scale="standard", optimizer=optim.SGD(0.1))
    options: dict[str, Any] = {"batch_size": 40, "shuffle": False, "progress": "none"}
    y = np.where(draw.random(40) > 0.5, "keep", "sell")
    trainer.fit(table, y, steps=0, **options)
    own = own_net(trainer, table, y)
    assert own["inputs"][:2] == ["size", "colour"]
    assert all(name.startswith("bought[") for name in own["inputs"][2:])
    assert own["categories"] == {1: ["</script>", "blue", "red"]}
    assert [own["categories"][1][int(row[1])] for row in own["rows"]] == colours.tolist()
    assert own["rows"][3][0] is None
    assert "</script" not in pages.in_page(own)
    store = wasmtime.Store()
    data = zlib.decompress(base64.b64decode(own["wasm"]), -zlib.MAX_WBITS)
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, data), []).exports(store)
    heap, memory = exports["heap"].value(store), exports["memory"]
    memory.grow(store, 1)
    memory.write(store, np.array(own["rows"], dtype=np.float64).tobytes(), heap)
    found = [exports["step"](store, heap, 40, 0.1) for _ in range(5)]
    np.testing.assert_allclose(found, trainer.fit(table, y, steps=5, **options).losses, rtol=1e-12)


@pytest.mark.parametrize(
    ("X", "y", "said"),
    [
        (np.zeros((4, 3)), ["a"] * 4, "every sample needs 2 numbers and one target"),
        (np.zeros((4, 2)), ["a"] * 3, "every sample needs 2 numbers and one target"),
        (np.zeros((4, 2)), ["a", "b", "a", "c"], "y has 'c', which is none of"),
        (np.full((4, 2), np.nan), ["a", "b", "a", "b"], "must be finite"),
        (np.zeros((20_000, 2)), ["a"] * 20_000, "a page takes at most 20,000"),
    ],
)
def test_samples_that_do_not_fit_the_trainer(tmp_path: Path, X: Any, y: Any, said: str) -> None:
    trainer = mg.Trainer(nn.MLP(2, [1], seed=1))
    trainer.fit(np.eye(2), ["a", "b"], epochs=1, progress="none")
    with pytest.raises(ValueError, match=said):
        mg.playground(trainer, X, y, path=tmp_path / "page.html")
    with pytest.raises(TypeError, match="needs samples to train on"):
        mg.playground(trainer, path=tmp_path / "page.html")
    with pytest.raises(TypeError, match="takes X and y with a Trainer"):
        mg.playground(None, X, y, path=tmp_path / "page.html")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pages.nets, "menu", lambda: [NET])
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n", "utf-8")
    assert main(["playground", str(tmp_path / "t.csv"), "-o", str(tmp_path / "page.html")]) == 0
    assert "kB; open it in a browser" in capsys.readouterr().out
    found = Parts((tmp_path / "page.html").read_text("utf-8"))
    assert json.loads(found.texts["content"])["table"] == {"name": "t.csv", "text": "a,b,c\n1,2,3\n"}


def test_python_and_the_page_mean_the_same_by_features() -> None:
    values = outputs_of(NET, layers_of(NET), [0.0] * len(FEATURES))
    assert [len(outputs) for outputs in values] == [3, 2, 1]
    assert len(features([0.5, 1.0], [0.0, 0.0, 1.0, 1.0])) == len(FEATURES)


def test_a_strict_page_makes_the_published_run() -> None:
    """The losses in micrograd's notebook, with its falling rate, from the page's module."""
    wasmtime = pytest.importorskip("wasmtime")
    X, y = datasets.make_moons(100, noise=0.1, seed=1337)

    def strict() -> mg.Trainer:
        rate = optim.linear(1.0, 0.1, 100)
        return mg.Trainer(nn.MLP(2, [16, 16, 1], seed=1337), "hinge", optim.SGD(rate), l2=1e-4, strict=True)

    options: dict[str, Any] = {"batch_size": None, "shuffle": False, "progress": "none"}
    trainer, other = strict(), strict()
    trainer.fit(X, y, steps=0, **options)
    own = own_net(trainer, X, y)
    assert own["strict"]
    assert own["rates"][:100] == [1.0 - 0.9 * k / 100 for k in range(100)]
    assert own["rates"][100:] == own["rates"][100:101]  # the same from then on
    store = wasmtime.Store()
    data = zlib.decompress(base64.b64decode(own["wasm"]), -zlib.MAX_WBITS)
    exports = wasmtime.Instance(store, wasmtime.Module(store.engine, data), []).exports(store)
    heap, memory = exports["heap"].value(store), exports["memory"]
    memory.grow(store, 1)
    memory.write(store, np.array(own["rows"]).tobytes(), heap)
    found = [exports["step"](store, heap, 100, rate) for rate in own["rates"][:100]]
    assert found == other.fit(X, y, steps=100, **options).losses  # the same bits as here
    shown = [f"{loss:.12g}" for loss in (*found[:3], *found[-2:])]
    assert shown == ["0.895844102868", "1.7235905337", "0.742900631385", "0.0109788883329", "0.0109783701355"]
