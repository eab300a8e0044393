"""C compiled when it is needed, with the system's compiler, into a cache directory; called through ctypes."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import Unavailable

# On Intel's processors, gcc and clang keep to vectors of 256 bits unless they are told otherwise.
_WIDEST = ("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()
FLAGS = ("-O3", "-march=native", "-ffast-math", *_WIDEST)
SOURCES = Path(__file__).parent / "floors"


def compiler() -> list[str]:
    """The C compiler's command: $CC, or the first of gcc, cc and clang that is there."""
    if os.environ.get("CC"):
        return shlex.split(os.environ["CC"])
    for name in ("gcc", "cc", "clang"):
        if shutil.which(name):
            return [name]
    raise Unavailable("no C compiler: install gcc or clang, or set CC")


def library(name: str, **defines: int) -> ctypes.CDLL:
    """floors/`name`.c as a loaded library, compiled unless the cache has it; `defines` become -D options."""
    source = SOURCES / f"{name}.c"
    command = [*compiler(), *FLAGS, *[f"-D{key}={value}" for key, value in sorted(defines.items())]]
    key = hashlib.sha256()
    for text in (shlex.join(command), version(), source.read_text(), *[h.read_text() for h in SOURCES.glob("*.h")]):
        key.update(text.encode())
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "macrograd-benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{name}-{key.hexdigest()[:20]}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            _build(command, source, Path(work) / "it.so")
            os.replace(f"{work}/it.so", target)
    return ctypes.CDLL(str(target))


def shared(source: Path, *flags: str) -> ctypes.CDLL:
    """Any C file as a loaded library, compiled beside it with these flags."""
    target = source.with_suffix(".so")
    _build([*compiler(), *flags], source, target)
    return ctypes.CDLL(str(target))


def _build(command: list[str], source: Path, target: Path) -> None:
    """Compile and link a library.

    Linking is a separate step, without -ffast-math: gcc would otherwise add start-up code that makes the whole process
    flush subnormals, and the floors must use the same arithmetic as their contenders.
    """
    made = target.with_suffix(".o")
    _run([*command, "-fPIC", "-c", str(source), "-o", str(made)])
    _run([*compiler(), "-shared", str(made), "-lm", "-o", str(target)])


def version() -> str:
    """The compiler's first line about itself, and what it takes `native` for."""
    return subprocess.run([*compiler(), "--version"], capture_output=True, text=True, check=True).stdout.split("\n")[0]


def pointer(array: object) -> ctypes.c_void_p:
    """The address of a NumPy array's numbers; it keeps the array alive."""
    address = ctypes.c_void_p(array.ctypes.data)
    address.owner = array
    return address


def aligned(array: Any) -> Any:
    """A copy of a NumPy array that begins with a line of the cache, as macrograd's buffers do. NumPy's own begin at
    multiples of 16 bytes, so that each vector of 512 bits would lie in two lines."""
    import numpy as np  # not before a floor has data

    space = np.empty(array.nbytes + 64, np.uint8)
    begin = -space.ctypes.data % 64
    found = space[begin : begin + array.nbytes].view(array.dtype).reshape(array.shape)
    found[...] = array
    return found


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Unavailable(
            f"{command[0]} failed: {done.stderr.strip().splitlines()[0] if done.stderr else done.returncode}"
        )
