"""`python -m tests.fuzz.faults`: put back faults that macrograd once had, one at a time, and count.

Each fault is a change to the text of one module, made while a new process imports it. Counted are the programs until
one fails that does not fail without the fault, for several seeds.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

_ROOT = Path(__file__).resolve().parents[2]  # of the repository, where `tests.fuzz` is found


@dataclass(frozen=True)
class Fault:
    """In `module`, `right` becomes `wrong`."""

    name: str
    what: str
    module: str
    right: str
    wrong: str


FAULTS = [
    Fault(
        "shared code",
        "a batch whose result does not depend on the sample ran in the frame of programs without a batch",
        "macrograd.compiler.targets.llvm.machine_code",
        "    if program.batch or len(program.steps()) != 1:",
        "    if len(program.steps()) != 1 or not program.before:",
    ),
    Fault(
        "first vector",
        "what a map leaves for later readers was stored for the first vector of lanes alone",
        "macrograd.compiler.targets.scalar.maps",
        "                    self._chain(rest, member, vector)\n",
        "                    if leader.kind == 'map':\n"
        "                        self.at.result(self._value(leader, member, vector), leader, member, vector)\n"
        "                    self._chain(rest[leader.kind == 'map' :], member, vector)\n",
    ),
    Fault(
        "empty lanes",
        "lanes without a sample took part in sums over the batch: 0·∞ made NaN of an infinite mean",
        "macrograd.compiler.targets.scalar.emit",
        "            for operand, found in slots:\n",
        "            for operand, found in slots[:0]:\n",
    ),
    Fault(
        "no gradient",
        "backward() multiplied the gradient 0 of what only a comparison used with infinite slopes",
        "macrograd.rules",
        "        if g is nothing:",
        "        if False:",
    ),
    Fault(
        "infinite factors",
        "an infinite factor that is the same for all samples met the 0 in lanes without a sample",
        "macrograd.compiler.roll.layout",
        "& (uses[inner] == 1) & ~harmful[inner]",
        "& (uses[inner] == 1)",
    ),
    Fault(
        "numpy root",
        "NumPy's x ** 0.5 was NaN at −∞ and −0.0 at −0.0",
        "macrograd.rows.arrays",
        "np.where((b == 0.5) & ((a == 0.0) | (a == -INF)), np.abs(a), np.power(a, b))",
        "np.power(a, b)",
    ),
    Fault(
        "mixed takes",
        "a take among values some of which are the same for all samples read the wrong ones",
        "macrograd.compiler.roll.roll",
        "    given, tape = tape, takes_of_one_kind(tape, varies)\n",
        "    given = tape\n",
    ),
    Fault(
        "zero below the line",
        "the slope of a division by the constant 0 behind what a choice did not take was NaN",
        "macrograd.compiler.rewrite.derivatives",
        "some = np.flatnonzero(gated & ~moderate)",
        "some = np.flatnonzero(gated & (tape.code[found] != CONSTANT))",
    ),
    Fault(
        "no rounds",
        "native loops whose number of rounds is known at run time did one round where they should do none",
        "macrograd.compiler.jit.text",
        "            self.put(f\"br i1 {self.let(f'icmp sgt i64 {count}, 0', 'b')}, label %{head}, label %{after}\")",
        '            self.put(f"br label %{head}")',
    ),
    Fault(
        "negative zero",
        "tanh made 0.0 of −0.0",
        "macrograd.compiler.targets.scalar.routines",
        'return code.intrinsic("copysign", width, found, a)',
        'negative = code.compare("olt", a, code.splat(0.0, width), width)\n'
        '    positive = code.intrinsic("fabs", width, found)\n'
        '    return code.select(negative, code.intrinsic("copysign", width, found, a), positive, width)',
    ),
    Fault(
        "branch of parameters",
        "a comparison of two parameters kept the answer of the first call",
        "macrograd.value",
        "    if (by := _observer()) and (by.depends(left) or by.depends(right)):",
        "    if False:",
    ),
    Fault(
        "branch not taken",
        "the infinite slope of what a choice did not take made the compiled gradient NaN",
        "macrograd.compiler.rewrite.choices",
        "        self.gated = candidates & (slopes",
        "        self.gated = (candidates & False) & (slopes",
    ),
    Fault(
        "strict zeros",
        "strict gradients were -0.0 where the eager engine's are 0.0",
        "macrograd.compiler.rewrite.differentiate",
        "    if strict:",
        "    if False:",
    ),
]  # fmt: skip
BY_NAME = {fault.name: fault for fault in FAULTS}


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module with the fault in its text."""

    fault: Fault

    def get_code(self, fullname: str) -> Any:
        return compile(changed(self.fault, Path(self.path).read_text(encoding="utf-8")), self.path, "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, fault: Fault) -> None:
        self.fault = fault

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> Any:
        if name != self.fault.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Changed(name, spec.origin)
        spec.loader.fault = self.fault
        return spec


def changed(fault: Fault, text: str) -> str:
    """The module's text with the fault. Raises ValueError if what was right is not there any more."""
    if fault.right not in text:
        raise ValueError(
            f"{fault.module} does not have the text that keeps the fault {fault.name!r} out:\n{fault.right}\n"
            "Its place has moved: say in tests/fuzz/faults.py where it is now"
        )
    return text.replace(fault.right, fault.wrong)


def source(fault: Fault) -> str:
    spec = find_spec(fault.module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text(encoding="utf-8")


# --- one process with one fault -------------------------------------------------------------------------------------


def search(name: str, seed: int, first: int, programs: int) -> int:
    """The number of the first program that fails, -1 if none does."""
    if name:
        assert not any(module == "macrograd" or module.startswith("macrograd.") for module in sys.modules)
        sys.meta_path.insert(0, _Finder(BY_NAME[name]))
        import_module(BY_NAME[name].module)
    from . import session

    tally = session.run(seed, programs, first=first)
    return int(tally.failures[0].seed.split(":")[1]) if tally.failures else -1


def _in_a_process(name: str, seed: int, first: int, programs: int) -> int:
    command = [sys.executable, "-m", "tests.fuzz.faults", "--one", name, f"--seed={seed}", f"--first={first}"]
    done = subprocess.run([*command, f"--programs={programs}"], cwd=_ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the process with the fault {name!r} ended with {done.returncode}:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def programs_until_found(fault: Fault, seed: int, most: int) -> int | None:
    """The number of programs that it takes to find the fault; None if more than `most`."""
    first = 0
    while first < most:
        found = _in_a_process(fault.name, seed, first, most - first)
        if found < 0:
            return None
        if _in_a_process("", seed, found, 1) < 0:
            return found + 1
        first = found + 1  # it fails without the fault, too
    return None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz.faults", description=__doc__.partition("\n")[0])
    parser.add_argument("--programs", type=int, default=3000, metavar="N", help="give up after so many")
    parser.add_argument("--seeds", type=int, default=3, metavar="K", help="how many seeds to take the median of")
    parser.add_argument("--only", choices=BY_NAME, metavar="FAULT", help=", ".join(BY_NAME))
    parser.add_argument("--one", choices=["", *BY_NAME], help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--first", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one is not None:
        print(search(given.one, given.seed, given.first, given.programs))
        return 0
    for number in ("programs", "seeds"):
        if getattr(given, number) < 1:
            parser.error(f"--{number} must be 1 or more, got {getattr(given, number)}")
    missed = 0
    print("| fault | found after programs (median) | of each seed |\n|---|---|---|")
    for fault in [BY_NAME[given.only]] if given.only else FAULTS:
        counts = [programs_until_found(fault, seed, given.programs) for seed in range(given.seeds)]
        known = [given.programs if count is None else count for count in counts]
        missed += None in counts
        each = ", ".join("not found" if count is None else f"{count:,}" for count in counts)
        print(f"| {fault.what} | {statistics.median(known):,.0f} | {each} |", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
