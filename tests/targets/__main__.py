"""Exported C on the compilers and machines that it is for, emulated where need be: `make targets`.

Strict files are compiled with their self-test, which asks for every bit of macrograd's own answers: the losses of 100
training steps, and values and gradients that call every function of the op table. An ATmega328P trains XOR within its
2 KB of memory, and predicts with more weights than that. A sweep compiles files of every kind and type with all
warnings. Missing tools are reported and skipped; with `--install` they are installed first, by apt-get.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import macrograd as mg
from macrograd import Value, losses, nn, ops, optim

from .avr import PROGRAMS
from .sweep import WARNINGS, swept

HERE = Path(__file__).parent
PACKAGES = [
    "clang",
    "libclang-rt-14-dev",
    "tcc",
    "musl-tools",
    "gcc-arm-none-eabi",
    "libnewlib-arm-none-eabi",
    "qemu-system-arm",
    "gcc-avr",
    "avr-libc",
    "simavr",
    "gcc-aarch64-linux-gnu",
    "libc6-dev-arm64-cross",
    "gcc-riscv64-linux-gnu",
    "libc6-dev-riscv64-cross",
    "qemu-user-static",
]
FUSING = ["-O3", "-ffp-contract=fast"]


@dataclass(frozen=True)
class Machine:
    """A compiler with its flags, the command that runs its programs, and further source files."""

    name: str
    compiler: str
    flags: Sequence[str]
    run: Sequence[str] = ()
    beside: Sequence[str] = ()

    def missing(self) -> str | None:
        """The first missing tool, or None."""
        return next((tool for tool in (self.compiler, *self.run[:1]) if shutil.which(tool) is None), None)


CORTEX = [*["-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "--specs=rdimon.specs"]]
QEMU = [
    "qemu-system-arm",
    "-M",
    "mps2-an386",
    "-nographic",
    "-monitor",
    "none",
    "-semihosting-config",
    "enable=on,target=native",
    "-kernel",
]
MACHINES = [
    *(Machine(f"gcc {flag}", "gcc", [flag]) for flag in ("-O0", "-O2")),
    Machine("gcc -O3, fusing", "gcc", [*FUSING, "-march=native"]),
    Machine("gcc -O3, fusing, without vectors", "gcc", [*FUSING, "-march=native", "-DMACROGRAD_PLAIN"]),
    Machine("gcc, sanitisers", "gcc", ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]),
    *(Machine(f"clang {flag}", "clang", [flag]) for flag in ("-O0", "-O2")),
    Machine("clang -O3, fusing", "clang", [*FUSING, "-march=native"]),
    Machine("tcc", "tcc", []),
    Machine("musl", "musl-gcc", ["-O2", "-static"]),
    Machine("aarch64, fusing", "aarch64-linux-gnu-gcc", [*FUSING, "-static"], ["qemu-aarch64-static"]),
    Machine("riscv64, fusing", "riscv64-linux-gnu-gcc", [*FUSING, "-static"], ["qemu-riscv64-static"]),
    *(
        Machine(f"Cortex-M4F {flag}", "arm-none-eabi-gcc", [*CORTEX, flag, "-ffp-contract=fast"], QEMU, ["cortex_m"])
        for flag in ("-O1", "-O3")
    ),
]


def install() -> None:
    """Install missing packages if apt-get may; say so if not."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        print("packages are installed only by root, with apt-get: what is missing is skipped")
        return
    for command in (
        ["apt-get", "update", "-qq"],
        ["apt-get", "install", "-qq", "-y", "--no-install-recommends", *PACKAGES],
    ):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
        if done.returncode:
            print(f"{' '.join(command[:2])} failed, what is missing is skipped: {done.stderr.strip()[-300:]}")
            return


def files(folder: Path) -> list[Path]:
    """The strict files to try."""
    random = np.random.default_rng(1)
    net = nn.MLP(2, [16, 16, 1], seed=1, activation="tanh")
    classifier = nn.MLP(8, [12, 4], seed=1)
    rate = [Value(w) for w in random.normal(size=3).tolist()]
    functions = [op for op in ops.TABLE if op.arity in (1, 2) and op.name not in ("polygamma", "gate")]

    def everything(x: Any) -> list[Any]:
        return [op(x) if op.arity == 1 else op(x, 0.75) for op in functions]

    def recurrence(x: Any) -> Any:
        h: Any = 0.0
        for k in range(40):
            h = mg.tanh(rate[0] * h + rate[1] * x[k]) + mg.sin(rate[2] * h)
        return h * h

    def hinge(x: Any, t: Any) -> Any:
        return losses.hinge(net(x), t)

    def entropy(x: Any, t: Any) -> Any:
        return losses.cross_entropy(classifier(x), t)

    point, sample = ([0.0, 0.0], 1.0), (np.zeros(8), 0)
    made: list[tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]] = [
        ("moons", hinge, point, {"kind": "train", "optimizer": optim.Adam(0.05)}),
        ("moons_small", hinge, point, {"kind": "train", "optimizer": optim.SGD(0.05), "lanes": 1}),
        ("classes", entropy, sample, {"kind": "train", "optimizer": optim.Adam(0.01), "lanes": 16, "dtype": "float32"}),
        ("steps", recurrence, (np.zeros(40),), {"kind": "gradient"}),
        ("functions", everything, (0.3,), {}),
        ("functions_single", everything, (0.3,), {"dtype": "float32"}),
    ]
    for name, function, args, settings in made:
        mg.export(function, folder / f"{name}.c", *args, strict=True, **settings)
    return [folder / f"{name}.c" for name, *_ in made]


def tried(machine: Machine, path: Path) -> str:
    """The fault of a file on that machine; empty if all bits agree."""
    out = path.with_suffix(".out")
    beside = [str(HERE / f"{name}.c") for name in machine.beside]
    scripts = [f"-Wl,-T,{HERE / name}.ld" for name in machine.beside]
    warnings = [] if machine.beside else WARNINGS
    command = [
        machine.compiler, "-std=c99", *warnings, *machine.flags, "-DMACROGRAD_SELFTEST", str(path), *beside, *scripts,
        "-o", str(out),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or done.stderr:
        return f"does not compile: {done.stderr.strip()[:2000]}"
    try:
        ran = subprocess.run([*machine.run, str(out)], capture_output=True, text=True, check=False, timeout=1200)
    except subprocess.TimeoutExpired:
        return "does not end"
    return (
        "" if "agree" in ran.stdout and not ran.returncode else f"{ran.stdout.strip()[:600]} {ran.stderr.strip()[:600]}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.targets", description=__doc__)
    parser.add_argument("--install", action="store_true", help="install what is missing first, by apt-get")
    parser.add_argument("--only", default="", help="machines whose name holds this")
    chosen = parser.parse_args()
    if chosen.install:
        install()
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = files(folder)
        for machine in (machine for machine in MACHINES if chosen.only in machine.name):
            tool = machine.missing()
            if tool is not None:
                print(f"{machine.name:34} skipped: {tool} is not installed", flush=True)
                continue
            faults = [f"{path.stem}: {fault}" for path in paths if (fault := tried(machine, path))]
            print(f"{machine.name:34} {'the same bits' if not faults else 'NOT THE SAME BITS'}", flush=True)
            for fault in faults:
                print(f"    {fault}", flush=True)
            wrong += bool(faults)
        for name, trial in PROGRAMS:
            if chosen.only in name:
                said = trial(folder)
                wrong += said.startswith("NOT")
                print(f"{name:34} {said}", flush=True)
        if chosen.only in "sweep":
            wrong += swept(folder)
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
