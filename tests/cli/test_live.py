"""`macrograd train --live`: lines in the terminal, and no byte of them in a pipe."""

from __future__ import annotations

import io
import math
import re
from pathlib import Path
from typing import Any

import pytest

from macrograd.cli import main
from macrograd.cli.live import Drawn, Screen, chart

SMALL = ["train", "moons", "--samples", "30", "--hidden", "4", "--steps", "12"]
BRAILLE = re.compile("[\u2801-\u28ff]")


def picture(values: list[float], width: int = 4, height: int = 2, steps: list[float] | None = None) -> list[str]:
    rows, _, _ = chart([(steps or range(len(values)), values)], width, height)
    return ["".join(character for character, _ in row) for row in rows]


def test_a_line_that_rises() -> None:
    assert picture([0.0, 7.0]) == ["  ⡠⠊", "⡠⠊  "]


def test_many_numbers_are_averaged_and_a_step_is_a_line() -> None:
    assert picture([1.0] * 800) == ["    ", "⣀⣀⣀⣀"]
    assert picture([0.0] * 400 + [7.0] * 400) == ["  ⡏⠉", "⣀⣀⠇ "]


def test_the_scale_is_logarithmic_for_numbers_that_span_much() -> None:
    falling = [10.0**-k for k in range(8)]
    assert picture(falling) == picture([7.0 - k for k in range(8)])
    assert chart([(range(8), falling)], 4, 2)[1:] == (1.0, 1e-7)


def test_numbers_that_are_not_finite_are_left_out() -> None:
    assert picture([0.0, math.nan, math.inf, 7.0]) == picture([0.0, 7.0])
    rows, high, low = chart([([1, 2], [math.nan, math.nan])], 4, 2)
    assert all(character == " " for row in rows for character, _ in row)
    assert math.isnan(high)
    assert math.isnan(low)


def test_the_later_curve_lies_above() -> None:
    rows, _, _ = chart([([0, 1], [0.0, 1.0]), ([0, 1], [0.0, 0.0])], 4, 2)
    assert [curve for _, curve in rows[-1]] == [1, 1, 1, 1]
    assert [curve for _, curve in rows[0]] == [-1, -1, 0, 0]


class Terminal(io.StringIO):
    def __init__(self, encoding: str) -> None:
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self) -> str:
        return self._encoding

    def isatty(self) -> bool:
        return True


def in_a_terminal(arguments: list[str], monkeypatch: pytest.MonkeyPatch, encoding: str = "utf-8") -> str:
    """What the command writes to a terminal of 80 columns."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    terminal = Terminal(encoding)
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(arguments) == 0
    return terminal.getvalue()


def test_in_a_terminal_lines_move(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = in_a_terminal([*SMALL, "--live"], monkeypatch)
    assert BRAILLE.search(shown)
    assert "training 0." in shown
    assert "accuracy" in shown
    assert "step 12" in shown
    assert "step 0 loss" not in shown  # the picture is there in place of these lines
    assert shown.endswith("new ones\n")
    assert "\x1b[?25h" in shown  # the cursor is back
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    assert max(map(len, plain.splitlines()[-18:-1])) <= 80


def test_of_a_table_the_held_out_loss_is_drawn_too(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Path(__file__).parents[2] / "examples" / "flowers.csv"
    arguments = ["train", str(table), "--target", "species", "--hidden", "4", "--epochs", "3", "--live"]
    shown = in_a_terminal(arguments, monkeypatch)
    assert re.search(r"training \d.*held out \d", shown)
    assert "epoch 1" not in shown


def test_a_terminal_without_these_characters_gets_lines_of_text(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "step 0 loss" in in_a_terminal([*SMALL, "--live"], monkeypatch, "latin-1")


def test_in_a_pipe_it_adds_no_byte(capsys: pytest.CaptureFixture[str]) -> None:
    def out(*more: str) -> str:
        assert main([*SMALL, *more]) == 0
        return re.sub(r"in \d+\.\d\d s", "", capsys.readouterr().out)

    assert out("--live") == out()


def test_quiet_and_live_contradict_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*SMALL, "--live", "--quiet"]) == 2
    assert "--live draws the progress that --quiet leaves out: give one of them" in capsys.readouterr().err


def test_the_metric_takes_a_tenth_of_the_time_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("macrograd.cli.live.time.perf_counter", lambda: clock[0])
    calls: list[float] = []

    def metric() -> float:
        calls.append(clock[0])
        clock[0] += 1.0
        return 0.5

    class Nothing(Screen):
        def __init__(self) -> None: ...

        def draw(self, panels: Any) -> None: ...

    class History:
        losses, metrics, metric_steps = [1.0], {}, []

        def __len__(self) -> int:
            return int(clock[0] * 10) + 1

        def first_losses(self, count: int) -> list[float]:
            return self.losses

    run: Any = type("Run", (), {"history": History()})
    drawn = Drawn(Nothing(), ("accuracy", metric))
    for _ in range(1000):
        clock[0] += 0.1
        drawn.on_pause(run)
    assert len(calls) == pytest.approx(1 + clock[0] / 10, abs=1.0)  # the first, which compiles, is free
