"""The memory that a C file needs: constants, state, arrays on the stack, and code."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

_ARRAY = re.compile(r"^ *(double|float) \w+\[(\d+)\]", re.MULTILINE)
_CONSTANT = re.compile(r"^ *static const (?:MACROGRAD_FLASH )?(double|float|int32_t) \w+\[(\d+)\]", re.MULTILINE)
_BYTES = {"double": 8, "float": 4, "int32_t": 4}


def constant_bytes(parts: Iterable[str]) -> int:
    """The bytes of the constant arrays of numbers in these parts of a file."""
    return sum(_BYTES[kind] * int(n) for text in parts for kind, n in _CONSTANT.findall(text))


def scratch_bytes(functions: Iterable[str]) -> int:
    """The bytes of the arrays that the function with most of them keeps on the stack."""
    return max((sum(_BYTES[real] * int(n) for real, n in _ARRAY.findall(text)) for text in functions), default=0)


def stated(constants: int, state: int, scratch: int) -> str:
    """The line about sizes in a file's comment."""
    return f"   {constants:,} bytes of constants, {state:,} bytes of state, {scratch:,} bytes of arrays on the stack.\n"


def code_bytes(path: Path, compiler: str = "cc", flags: Iterable[str] = ("-Os",)) -> int | None:
    """The bytes of a file's machine code with this compiler; None if it or the tool `size` is missing or fails."""
    size = compiler.removesuffix("gcc") + "size" if compiler.endswith("-gcc") else "size"
    if shutil.which(compiler) is None or shutil.which(size) is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "file.o")
        command = [compiler, "-std=c99", *flags, "-c", str(path), "-o", out]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            return None
        listed = subprocess.run([size, "-A", out], capture_output=True, text=True, check=False).stdout
    found = [int(n) for n in re.findall(r"^\.text\S*\s+(\d+)", listed, re.MULTILINE)]
    return sum(found) if found else None
