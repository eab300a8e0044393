"""The machine a run was made on, and how a process keeps to one core of it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
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


def single_threaded(more: Mapping[str, str]) -> dict[str, str]:
    """The environment of a worker: one thread in every library that has a variable for it, and `more` added."""
    environment = dict(os.environ)
    environment.update(dict.fromkeys(THREAD_VARIABLES, "1"))
    # XLA's thread pool has no separate variable: it follows the process's affinity, and this flag.
    flags = "--xla_cpu_multi_thread_eigen=false"
    environment["XLA_FLAGS"] = f"{environment.get('XLA_FLAGS', '')} {flags}".strip()
    environment["JAX_PLATFORMS"] = "cpu"
    environment["PYTHONHASHSEED"] = "0"
    environment["MACROGRAD_CACHE"] = "off"  # set-up and first are to be what they are for a program never seen
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # installed packages have theirs, and are not parsed at each start
    for name, value in more.items():
        environment[name] = f"{environment.get(name, '')} {value}".strip()
    return environment


def pin(core: int) -> bool:
    """Keep this process to one core; False where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {core})
    return True


def last_core() -> int:
    """The core to pin to: the last one, since the system's own work prefers the first."""
    return max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1) - 1


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
    for line in (_read("/proc/self/status") or "").splitlines():
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
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "load_at_start": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "system": platform.platform(),
        "python": sys.version.split()[0],
        "c_compiler": c_compiler,
        "packages": {name: _version(name) for name in PACKAGES},
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
    lines = (_read("/proc/cpuinfo") or "").split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _read(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.read().strip()
    except OSError:
        return None
