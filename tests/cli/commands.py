"""Calls of the command, and tables for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from macrograd.cli import main

ROOT = Path(__file__).parents[2]
SMALL = ["--samples", "12", "--hidden", "3", "--steps", "2"]

Capture = pytest.CaptureFixture[str]
Table = Callable[[str], str]


def process(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "macrograd", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def error(capsys: Capture, *arguments: str) -> str:
    """The one line with which the command ends."""
    capsys.readouterr()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err.removeprefix("macrograd: error: ").removesuffix("\n")


def rows(columns: int, target: Callable[[np.random.RandomState, list[float]], object], n: int = 20) -> str:
    """A table of random features, and what `target` makes of each row."""
    random = np.random.RandomState(0)
    lines = [",".join([*(f"f{i}" for i in range(columns)), "answer"])]
    for _ in range(n):
        features = (100 + 50 * random.normal(size=columns)).tolist()
        lines.append(",".join(map(str, [*features, target(random, features)])))
    return "\n".join(lines) + "\n"
