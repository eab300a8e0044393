"""An ATmega328P, in simavr: 2,048 bytes of RAM and 32 KB of flash, in which the constants stay."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import macrograd as mg
from macrograd import nn, optim

HERE = Path(__file__).parent
ROWS = 8


def _ran(folder: Path, main: str) -> str:
    """The output of a program, whose last word is whether it did what it should."""
    if shutil.which("avr-gcc") is None or shutil.which("simavr") is None:
        return "skipped: avr-gcc or simavr is not installed"
    out = str(folder / f"{main}.elf")
    # GNU's C, which knows __flash.
    command = ["avr-gcc", "-std=gnu99", "-Wall", "-Wextra", "-Werror", "-mmcu=atmega328p", "-DF_CPU=16000000UL", "-Os"]
    done = subprocess.run(
        [*command, f"-I{folder}", str(HERE / f"{main}.c"), "-o", out, "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return f"NOT COMPILED: {done.stderr.strip()[:600]}"
    simulated = ["simavr", "-m", "atmega328p", "-f", "16000000", out]
    said = subprocess.run(simulated, capture_output=True, text=True, timeout=1200, check=False)
    lines = [line for line in (said.stdout + said.stderr).splitlines() if "bytes of RAM" in line]
    text = lines[-1].strip().removeprefix("\x1b[32m").rstrip(".") if lines else f"nothing: {said.stderr[-300:]}"
    return text if text.endswith(("; trained", "; agreed")) else f"NOT RIGHT: {text}"


def training(folder: Path) -> str:
    """XOR, learned by a 2-4-1 net."""
    net = nn.MLP(2, [4, 1], seed=3, activation="tanh")
    mg.export(
        lambda x, t: (net(x) - t) ** 2, folder / "xor.c", [0.0, 0.0], 1.0, kind="train", optimizer=optim.Adam(0.1),
        lanes=1, dtype="float32",
    )  # fmt: skip
    return _ran(folder, "avr")


def _predicting(folder: Path, dtype: str) -> str:
    """A 64-24-10 net, whose weights take more than the RAM."""
    X = np.random.default_rng(0).normal(size=(300, 64))
    trainer = mg.Trainer(nn.MLP(64, [24, 10], seed=1), "cross_entropy", scale="standard", dtype="float32")
    trainer.fit(X, np.arange(300) % 10, epochs=2, progress="none")
    settings: dict[str, Any] = {"calibration": X} if dtype == "int8" else {}
    exported = mg.export(trainer, folder / "net.c", dtype=dtype, **settings)
    assert exported.constants > 2048
    reference = exported.reference
    if reference is None:
        kinds, far, rows = ("float", "float"), "1e-3f", X[:ROWS]
        wanted = trainer.outputs(rows)
    else:
        kinds, far, rows = ("int8_t", "int16_t"), "0.0f", reference.encode(X[:ROWS])
        wanted = reference.run(rows)
    suffix = "" if reference is not None else "f"
    given, right = (", ".join(f"{x!r}{suffix}" for x in np.ravel(array).tolist()) for array in (rows, wanted))
    (folder / "rows.h").write_text(
        f"#define INPUT {kinds[0]}\n#define OUTPUT {kinds[1]}\n#define ROWS {ROWS}\n#define FAR {far}\n"
        f"static const MACROGRAD_FLASH INPUT rows[] = {{{given}}};\n"
        f"static const MACROGRAD_FLASH OUTPUT wanted[] = {{{right}}};\n"
    )
    return f"{exported.constants:,} bytes of constants; {_ran(folder, 'avr_predict')}"


PROGRAMS: list[tuple[str, Callable[[Path], str]]] = [
    ("ATmega328P, training", training),
    ("ATmega328P, float32", lambda folder: _predicting(folder, "float32")),
    ("ATmega328P, int8", lambda folder: _predicting(folder, "int8")),
]
