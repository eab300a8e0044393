"""import: what `import macrograd` takes in a fresh interpreter, beside other libraries; and what is installed for it.

The time is that of a whole process that imports the library and ends, minus nothing: `python` is the process that
imports nothing. Sizes are those of the installed files of the distribution and of everything that it requires.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys

import numpy as np

from benchmarks.harness import Job, Prepared, Unavailable

JOB = Job(
    "import",
    what="a fresh Python process that imports the library and ends",
    unit="process",
    cases=("process",),
    tolerance=1e-12,
    baseline="python",
)


@JOB.reference
def reference(case: str) -> np.ndarray:
    return np.array([0.0])


def size_mb(distribution: str) -> float | None:
    """Megabytes of the installed files of a distribution and its requirements (without extras)."""
    wanted, seen, total = [distribution], set(), 0
    while wanted:
        name = re.sub(r"[-_.]+", "-", wanted.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            continue
        total += sum(p.stat().st_size for f in found.files or () if (p := found.locate_file(f)).is_file())
        for requirement in found.requires or ():
            if "extra ==" not in requirement:
                match = re.match(r"[\w.-]+", requirement)
                wanted += [match[0]] if match else []
    return total / 1e6 if total else None


def process(code: str, distribution: str = "") -> Prepared:
    command = [sys.executable, "-c", code]

    def run() -> int:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1]
            raise Unavailable(f"not installed: {last}" if "ModuleNotFoundError" in last else last)
        return done.returncode

    size = size_mb(distribution) if distribution else None
    return Prepared(run, lambda: [run()], extra={"installed": f"{size:,.0f} MB with requirements"} if size else {})


def register(name: str, module: str, distribution: str, note: str = "") -> None:
    @JOB.contender(name, note=note)
    def adapter(case: str) -> Prepared:
        return process(f"import {module}" if module else "", distribution)


register("python", "", "", "the interpreter alone")
register("macrograd", "macrograd", "macrograd")
register("macrograd-compiler", "macrograd.compiler", "", "with the compiler, llvmlite and NumPy")
register("numpy", "numpy", "numpy")
register("micrograd", "micrograd.nn", "micrograd")
register("tinygrad", "tinygrad", "tinygrad")
register("jax", "jax", "jax")
register("sklearn", "sklearn.neural_network", "scikit-learn")
register("torch", "torch", "torch")
