"""Scaling of time and memory with the batch, the width, the depth, the number of scalars and the threads.

`python -m benchmarks.scaling [figures.json]` measures macrograd alone, in a minute, and adds the curves to the file. A
slope is that of the straight line through the logarithms: 1 is linear.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks import data, machine, report
from benchmarks.files import write

# name: the quantity that grows, its values, and which of (batch, width, depth, threads) it is
CURVES: dict[str, tuple[str, tuple[int, ...]]] = {
    "batch": ("batch size, net 16-32-32-1", (8, 32, 128, 512, 2048)),
    "width": ("width of two hidden layers, batch 32", (8, 16, 32, 64)),
    "depth": ("hidden layers of 16, batch 32", (1, 2, 4, 8)),
    "scalars": ("recorded scalars, net 64-H-1 of one sample", (1_000, 10_000, 100_000)),
    "threads": ("threads, net 16-32-32-1, batch 2048", tuple(t for t in (1, 2, 4, 8) if t <= (os.cpu_count() or 1))),
}


def net(batch: int = 32, width: int = 32, depth: int = 2, threads: int = 1) -> dict[str, float]:
    """A mean squared score of a ReLU net of 16 inputs: seconds until ready, seconds a gradient, MB."""
    import macrograd as mg
    from benchmarks import ours

    before = machine.resident_mb()
    layers = ours.values(data.layers((16, *[width] * depth, 1), seed=1))
    x = np.random.default_rng(0).normal(size=(batch, 16))
    started = perf_counter()

    def loss(row: Any) -> Any:
        score = ours.net(layers, row)[0]
        return score * score

    f = mg.compile(loss, batch=True, threads=threads)
    step = f.bind(x)
    step()
    return measured(step, started, before)


def scalars(count: int) -> dict[str, float]:
    import macrograd as mg
    from benchmarks.ready import INPUTS, Problem

    before = machine.resident_mb()
    problem = Problem("net-1000")
    problem.hidden = max(1, count // (2 * INPUTS + 3))
    start = np.random.default_rng(0).uniform(-0.1, 0.1, problem.hidden * (INPUTS + 2))
    variables = [mg.Value(v) for v in start.tolist()]
    started = perf_counter()
    f = mg.compile(lambda: problem.value(variables, mg))
    f()
    theta = np.asarray(f.theta())
    f.value_and_grad(theta)
    return measured(lambda: f.value_and_grad(theta), started, before)


def measured(run: Any, started: float, before: float) -> dict[str, float]:
    from macrograd.compiler.jit import tiers

    ready, times = perf_counter() - started, []
    tiers.finish()  # times are those of the optimised code, as in the jobs
    calls = 1
    while len(times) < 9:
        begun = perf_counter()
        for _ in range(calls):
            run()
        spent = perf_counter() - begun
        if spent < 0.005:
            calls = max(calls + 1, int(calls * 0.01 / max(spent, 1e-7)))
            continue
        times.append(spent / calls)
    return {"ready": ready, "time": median(times), "memory": machine.peak_mb() - before}


def slope(xs: list[float], ys: list[float]) -> float:
    """Of the line through the logarithms, by least squares."""
    return float(np.polyfit(np.log(xs), np.log(ys), 1)[0])


def curves() -> list[dict[str, Any]]:
    """Every point in a separate process, to measure its memory."""
    found = []
    for name, (what, values) in CURVES.items():
        points = []
        for value in values:
            command = [sys.executable, "-m", "benchmarks.scaling", "--point", name, str(value)]
            done = subprocess.run(command, capture_output=True, text=True, env=machine.workers({}))
            if done.returncode == 0:
                points.append({"at": value, **json.loads(done.stdout.splitlines()[-1])})
            else:
                points.append({"at": value, "failed": (done.stderr.strip().splitlines() or ["no message"])[-1]})
        found.append({"name": name, "what": what, "points": points})
    return found


def section(found: list[dict[str, Any]]) -> str:
    """The curves as tables, with their slopes."""
    parts = [
        "## Scaling\n",
        "macrograd alone, float64: the time of one gradient, the time until the first, and the memory beyond the "
        "imports'. A slope is that of a straight line through the logarithms; 1 is linear, and less at the small end "
        "is the cost of a call.\n",
    ]
    for curve in found:
        points = [p for p in curve["points"] if "time" in p]
        parts.append(f"| {curve['what']} | " + " | ".join(f"{p['at']:,}" for p in curve["points"]) + " | slope |")
        parts.append("|---|" + "--:|" * (len(curve["points"]) + 1))
        rows = (("a gradient", "time"), ("until the first", "ready"), ("memory", "memory"))
        for label, key in rows:
            cells = []
            for p in curve["points"]:
                if "failed" in p:
                    cells.append(p["failed"])
                else:
                    cells.append(f"{p[key]:,.0f} MB" if key == "memory" else report.duration(p[key]))
            xs, ys = [float(p["at"]) for p in points], [max(p[key], 1e-9) for p in points]
            cells.append(f"{slope(xs, ys):.2f}" if len(points) > 1 else "–")
            parts.append(f"| {label} | " + " | ".join(cells) + " |")
        parts.append("")
    return "\n".join(parts)


def main(argv: list[str]) -> None:
    if argv[:1] == ["--point"]:
        name, value = argv[1], int(argv[2])
        # Memory without that of the imports.
        import llvmlite.binding  # noqa: F401 - see above

        import macrograd.compiler  # noqa: F401 - see above

        print(json.dumps(scalars(value) if name == "scalars" else net(**grown(name, value))))
        return
    path = Path(argv[0]) if argv else None
    if path is not None and not path.is_file():
        raise SystemExit(f"{path} is not a file of figures: python -m benchmarks --json {path} makes one")
    found = curves()
    print(section(found))
    if path is not None:
        write(path, json.dumps({**json.loads(path.read_text()), "scaling": found}, indent=1))


def grown(name: str, value: int) -> dict[str, int]:
    """The settings of a point of that curve."""
    return {"threads": value, "batch": 2048} if name == "threads" else {name: value}


if __name__ == "__main__":
    main(sys.argv[1:])
