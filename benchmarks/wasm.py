"""The time of a training step as WebAssembly in Node, relative to native code: `python -m benchmarks.wasm`.

Both sides take turns of a few thousand steps, and each ratio is between neighbouring turns; the output is the median of
the ratios and the shortest time of either side. Times are CPU times, so that other work on the machine matters little.
Needs node on the path.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import macrograd as mg
from macrograd import datasets, losses, nn, optim
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.step import TrainingLoop

SAMPLES, STEPS, RATE = 32, 10_000, 1e-4

_SCRIPT = """
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
const rows = JSON.parse(process.argv[2]), steps = Number(process.argv[3]), rate = Number(process.argv[4]);
const nets = process.argv.slice(5).map((file) => {
  const made = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(file))).exports, at = made.heap.value;
  made.memory.grow(1);
  new Float64Array(made.memory.buffer, at, rows.length).set(rows);
  return { step: made.step, at, samples: rows.length / made.inputs.value };
});
for await (const line of createInterface({ input: process.stdin })) {
  const { step, at, samples } = nets[Number(line)], begin = process.cpuUsage();
  for (let k = 0; k < steps; ++k) step(at, samples, rate);
  const { user, system } = process.cpuUsage(begin);
  console.log((user + system) / steps);
}
"""


def native(loss: Callable[..., Any], X: Any, y: Any) -> Callable[[], float]:
    """A function that trains natively and returns the microseconds per step."""
    compiled = Compiled(loss, batch=True, dtype="float64", backend="llvm", threads=1, strict=False)
    rule = optim.SGD(RATE)
    loop = TrainingLoop(compiled, [X, y], rule.rule, rule.initial_state, batch_size=SAMPLES)
    order, lengths = np.tile(np.arange(SAMPLES), STEPS), np.full(STEPS, SAMPLES)

    def run() -> float:
        begin = time.process_time()
        loop.run(order, lengths, np.full(STEPS, RATE))
        return (time.process_time() - begin) / STEPS * 1e6

    return run


def main() -> int:
    """Print a line for each number of lanes; 1 where there is no node."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.wasm", description=__doc__)
    parser.add_argument("--lanes", type=int, nargs="+", default=[8, 16, 32], metavar="N", help="samples side by side")
    parser.add_argument("--rounds", type=int, default=40, metavar="N", help="turns of either side (40)")
    arguments = parser.parse_args()
    if shutil.which("node") is None:
        print("benchmarks.wasm needs node, and there is none on the path", file=sys.stderr)
        return 1
    model = nn.MLP(2, [16, 16, 1], seed=1337)

    def loss(x: Any, t: Any) -> Any:
        return losses.hinge(model(x), t)

    X, y = datasets.make_moons(SAMPLES, noise=0.1, seed=1)
    rows = np.hstack([X, y[:, None]]).ravel().tolist()
    with tempfile.TemporaryDirectory() as folder:
        paths, sizes = [], []
        for lanes in arguments.lanes:
            path = Path(folder) / f"lanes{lanes}.wasm"
            made = mg.export(loss, path, [0.0, 0.0], 1.0, kind="train", optimizer=optim.SGD(RATE), lanes=lanes)
            paths.append(str(path))
            sizes.append((path.stat().st_size, made.state))
        script = Path(folder) / "steps.mjs"
        script.write_text(_SCRIPT, "utf-8")
        command = ["node", str(script), str(rows), str(STEPS), str(RATE), *paths]
        run = native(loss, X, y)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
            assert node.stdin is not None
            assert node.stdout is not None
            times: list[list[tuple[float, float]]] = [[] for _ in paths]
            for turn in range(3 + arguments.rounds):
                for k, found in enumerate(times):
                    ours = run()
                    node.stdin.write(f"{k}\n")
                    node.stdin.flush()
                    theirs = float(node.stdout.readline())
                    if turn >= 3:  # both run their optimised code
                        found.append((theirs, ours))
            node.stdin.close()
    print(f"2-16-16-1, hinge, SGD, {SAMPLES} samples, float64, in Node")
    for lanes, (size, memory), found in zip(arguments.lanes, sizes, times, strict=True):
        ratio = statistics.median(a / b for a, b in found if b)
        least, least_native = (min(column) for column in zip(*found, strict=True))
        print(
            f"{lanes:3} lanes: {ratio:.2f} × native (least {least:.2f} µs, native {least_native:.2f} µs), "
            f"{size:,} bytes of module, {memory:,} of memory"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
