"""The machine a run was made on, and how a process keeps to one core of it."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "TORCHINDUCTOR_COMPILE_THREADS",
)
PACKAGES = (
    "macrograd",
    "numpy",
    "llvmlite",
    "micrograd",
    "torch",
    "jax",
    "jaxlib",
    "scikit-learn",
    "casadi",
    "autograd",
    "onnxruntime",
    "tinygrad",
)


def workers(more: Mapping[str, str], threads: int = 1) -> dict[str, str]:
    """The environment of a worker: its number of threads in every library's own variable, and `more` added."""
    environment = dict(os.environ)
    environment.update(dict.fromkeys(THREAD_VARIABLES, str(threads)))
    # XLA's thread pool has no separate variable: it follows the process's affinity, and this flag.
    flags = f"--xla_cpu_multi_thread_eigen={'false' if threads == 1 else 'true'}"
    environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
    environment["JAX_PLATFORMS"] = "cpu"
    environment["PYTHONHASHSEED"] = "0"
    environment["MACROGRAD_CACHE"] = "off"  # set-up and first are to be what they are for a program never seen
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have theirs, and are not parsed at each start
    for name, value in more.items():
        environment[name] = f"{environment.get(name, '')} {value}".strip()
    return environment


def pin(core: int, threads: int = 1) -> bool:
    """Keep this process to one core, or to one a thread where there are as many; False where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    others = sorted(os.sched_getaffinity(0) - {core}, reverse=True)
    os.sched_setaffinity(0, {core, *others[: threads - 1]})
    return True


def last_core() -> int:
    """The core to pin to: the last one, since the system's own work prefers the first."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) - 1


QUIET = 0.15  # the most of a core that other programs may use while a case is measured


class Others:
    """How much of a core the programs that this one did not start use: from its making until it is asked."""

    def __init__(self) -> None:
        self.begun, self.before = time.monotonic(), self._seconds()

    @staticmethod
    def _seconds() -> float | None:
        """Processor time of everything but this process and its finished children; None where it is not known."""
        line = (read("/proc/stat") or "").split("\n")[0].split()
        if line[:1] != ["cpu"]:
            return None
        user, nice, system, _, _, irq, softirq, steal = map(int, line[1:9])
        everything = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        return everything - sum(os.times()[:4])

    def used(self) -> float | None:
        """In cores, on average; None where the system does not tell."""
        now = self._seconds()
        if now is None or self.before is None:
            return None
        return max(0.0, now - self.before) / max(time.monotonic() - self.begun, 1e-3)


def code() -> str:
    """A digest of macrograd's and the benchmarks' sources: figures of equal digests are of the same code."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for folder in ("macrograd", "benchmarks"):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix in (".py", ".c", ".h"):
                digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def commit() -> str | None:
    """The commit that is checked out, if this is a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two descriptions are of the same machine with the same software, whatever of macrograd's it ran."""
    keys = ("cpu", "cores", "vector_flags", "python", "c_compiler", "packages")
    return all(a.get(key) == b.get(key) for key in keys)


def resident_mb() -> float:
    """The resident memory of this process in MB; 0 if the system does not report it."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return 0.0


def peak_mb() -> float:
    """The most that this process ever held in memory, in MB."""
    # Not ru_maxrss where it can be avoided: on Linux it carries over what the parent held before the exec.
    for line in (read("/proc/self/status") or "").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def describe(core: int) -> dict[str, Any]:
    """Everything about the machine and the software that a reader of the figures needs."""
    from benchmarks import native
    from benchmarks.harness import Unavailable

    try:
        c_compiler = f"{native.version()}, {' '.join(native.FLAGS)}"
    except (Unavailable, OSError) as error:
        c_compiler = f"none: {error}"
    cpu = _cpu()
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu.get("model name", platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "pinned_to": core,
        "vector_flags": sorted(f for f in cpu.get("flags", "").split() if f.startswith(("avx", "fma", "amx", "sve"))),
        "governor": read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_at_start": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "c_compiler": c_compiler,
        "packages": {name: _version(name) for name in PACKAGES},
        "commit": commit(),
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        if package == "macrograd":
            import macrograd

            return f"{macrograd.__version__} (source tree)"
        return None


def _cpu() -> dict[str, str]:
    lines = (read("/proc/cpuinfo") or "").split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def read(path: str) -> str | None:
    """The text of a file of the system; None if there is none."""
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None
