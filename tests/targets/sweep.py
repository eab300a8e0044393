"""Files of every kind and type through every compiler here: not a word with all warnings, nothing that the sanitisers
say, and self-tests that agree."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import macrograd as mg
from macrograd import Value, datasets, nn, optim
from tests.exporting.test_c import CASES
from tests.exporting.test_trained import HOSTILE
from tests.fuzz import generate, language, ways

WARNINGS = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Wdouble-promotion", "-Wshadow", "-Werror"]
SANITIZERS = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
COMPILERS = {
    "gcc": ["gcc", *WARNINGS, "-O2"],
    "gcc, sanitisers": ["gcc", *WARNINGS, *SANITIZERS],
    "clang": ["clang", *WARNINGS, "-O2"],
    "clang, sanitisers": ["clang", *WARNINGS, *SANITIZERS],
    "tcc": ["tcc", *WARNINGS],
}
RANDOM = 30


def files(folder: Path) -> Iterator[tuple[Path, bool]]:
    """The files, and whether their self-tests must agree: numbers of random programs can be as sensitive to rounding as
    they like."""
    for dtype in ("float64", "float32"):
        for k, (function, args, kind) in enumerate(CASES.values()):
            path = folder / f"case{k}_{dtype}.c"
            mg.export(function, path, *args, kind=kind, dtype=dtype, strict=k % 4 == 3)
            yield path, True
    X, y = datasets.make_moons(60, noise=0.1, seed=1)
    names = np.array(["plain", HOSTILE[0]])[y.astype(int)]
    trainer = mg.Trainer(nn.MLP(2, [6, 1], seed=1), scale="standard", optimizer=optim.Adam(0.01))
    trainer.fit(X, names, epochs=3, progress="none")
    for k, settings in enumerate(_settings()):
        path = folder / f"trained{k}.c"
        mg.export(trainer, path, **settings, **({"calibration": X} if settings.get("dtype") == "int8" else {}))
        yield path, True
    yield from _random(folder)


def _settings() -> Iterator[dict[str, Any]]:
    for dtype in ("float64", "float32"):
        for kind in ("predict", "gradient"):
            yield {"kind": kind, "dtype": dtype}
        for lanes in (1, 3, 8):
            yield {"kind": "train", "dtype": dtype, "lanes": lanes}
            yield {"kind": "train", "dtype": dtype, "lanes": lanes, "strict": True}
    yield {"dtype": "int8"}


def _random(folder: Path) -> Iterator[tuple[Path, bool]]:
    """Random programs: values, gradients and training, also as data, and in integers."""
    for k in range(RANDOM):
        case = generate.case(f"sweep:{k}")
        function = language.function(case.program.text(summed=k % 3 > 0), [Value(p) for p in case.data.parameters])
        args = [case.data.samples[0], np.array(float(case.data.indices[0]))][: len(case.program.arguments)]
        settings: dict[str, Any] = {"dtype": "float32" if k % 2 else "float64", "strict": k % 5 == 4}
        if k % 3:
            settings |= {"kind": "gradient"} if k % 3 == 1 else {"kind": "train", "optimizer": optim.Adam(0.01)}
        elif k % 6 == 0:
            settings = {"dtype": "int8", "calibration": np.array(case.data.samples)}
        path = folder / f"random{k}.c"
        with contextlib.suppress(TypeError, ValueError), ways.limited((0, 1 << 30) if k % 4 == 1 else None):
            mg.export(function, path, *args, **settings)  # refused: no parameters, or what integers do not hold
            yield path, settings["dtype"] == "int8"


def swept(folder: Path) -> int:
    """Try them all, and print what is wrong; how many compilers found something."""
    made = list(files(folder))
    wrong = 0
    for name, command in COMPILERS.items():
        if shutil.which(command[0]) is None:
            print(f"{'sweep, ' + name:34} skipped: {command[0]} is not installed", flush=True)
            continue
        faults = [f"{path.stem}: {fault}" for path, agrees in made if (fault := _fault(path, command, agrees=agrees))]
        print(f"{'sweep, ' + name:34} {len(made)} files{'' if not faults else ': NOT CLEAN'}", flush=True)
        for fault in faults[:5]:
            print(f"    {fault}", flush=True)
        wrong += bool(faults)
    return wrong


def _fault(path: Path, command: list[str], *, agrees: bool) -> str:
    out = path.with_suffix(".out")
    done = subprocess.run(
        [*command, "-DMACROGRAD_SELFTEST", str(path), "-o", str(out), "-lm"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or done.stderr or done.stdout:
        return f"does not compile: {(done.stderr + done.stdout).strip()[:600]}"
    ran = subprocess.run([str(out)], capture_output=True, text=True, check=False, timeout=1200)
    if ran.stderr or (agrees and ran.returncode):
        return f"{ran.stdout.strip()[:300]} {ran.stderr.strip()[:600]}"
    return ""
