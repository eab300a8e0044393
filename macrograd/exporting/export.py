"""`mg.export`: which program goes into which file."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from macrograd.compiler.compiled import Compiled
from macrograd.exporting import c
from macrograd.exporting.train_c import write_training
from macrograd.nn.module import Module
from macrograd.optim import Optimizer
from macrograd.show._files import write_whole

_KINDS = ("predict", "gradient", "train")
_DTYPES = ("float64", "float32")


@dataclass(frozen=True)
class Exported:
    """What `export` wrote. Sizes are in bytes: of the constant arrays, and of the state that the caller gives."""

    paths: tuple[Path, ...]
    constants: int
    state: int

    def __str__(self) -> str:
        names = " and ".join(str(path) for path in self.paths)
        return f"{names}: {self.constants:,} bytes of constants, {self.state:,} bytes of state"


def export(
    what: Any,
    path: str | os.PathLike[str],
    *args: Any,
    kind: str = "predict",
    dtype: str = "float64",
    header: bool = False,
    optimizer: Optimizer | None = None,
    lanes: int = 8,
) -> Exported:
    """Write a function as one C99 file that needs nothing but `math.h`.

    what    a compiled function, a function of numbers, or a Module
    path    the file, ending in .c; the names in it begin with its stem
    args    example arguments of one sample, for their shapes; a compiled function that has been called needs none
    kind    "predict": the function's values; "gradient": its one value and the gradient by all parameters; "train": one
            step of the optimiser on a batch, the function being the loss of one sample
    dtype   "float64" or "float32"
    header  write the interface to a .h file beside it, too
    optimizer, lanes  of a file that trains: the optimiser, as it starts; and how many samples it computes side by side:
            1 for the smallest state, 8 or 16 for speed

    The file has one struct of fixed size for all that is written, no allocation, no recursion and no variable that
    changes; weights are constant arrays, and loops that the compiler found stay loops. A comment at its top says how to
    call it. `-DMACROGRAD_SELFTEST` adds a main() that compares its answers with macrograd's.

    Raises ValueError for a kind, dtype or path that is not offered, TypeError for what cannot be exported or has no
    known shapes, and LookupError for an operation without a C form; nothing is written then.
    """
    path = Path(path)
    if kind not in _KINDS:
        raise ValueError(f"export(kind={kind!r}): kind is one of {', '.join(map(repr, _KINDS))}")
    if dtype not in _DTYPES:
        raise ValueError(f"export(dtype={dtype!r}): dtype is one of {', '.join(map(repr, _DTYPES))}")
    if path.suffix != ".c":
        raise ValueError(f"export to {path.name!r}: the path must end in .c")
    if (kind == "train") != (optimizer is not None):
        raise ValueError("export(kind='train') needs an optimizer, as in optimizer=optim.Adam(1e-3), and no other does")
    if not isinstance(lanes, int) or isinstance(lanes, bool) or not 1 <= lanes <= 256:
        raise ValueError(f"export(lanes={lanes!r}): lanes must be an integer from 1 to 256")
    subject = _traced(what, args, dtype)
    beside = path.with_suffix(".h").name if header else None
    if optimizer is None:
        written = c.write(subject, kind, _prefix(path), beside)
    else:
        written = write_training(subject, optimizer, _prefix(path), lanes, beside)
    paths = [write_whole(path, written.source.encode("ascii"))]
    if header:
        paths.append(write_whole(path.with_suffix(".h"), written.interface.encode("ascii")))
    return Exported(tuple(paths), written.constants, written.state)


def _traced(what: Any, args: tuple[Any, ...], dtype: str) -> Compiled:
    """What is to be exported, for one sample, compiled and traced."""
    if isinstance(what, Compiled):
        function = what.fn
        if not args:
            args = tuple(np.zeros(shape) for shape in what._traced().shapes)
    elif callable(what):
        function = what
    else:
        raise TypeError(
            f"export() takes a compiled function, a function or a Module, got {what!r} of type {type(what).__name__}"
        )
    if isinstance(what, Module) and not args:
        raise TypeError(
            f"export() of a {type(what).__name__} needs an example of its input, for the shape: "
            "export(model, 'net.c', [0.0, 0.0])"
        )
    compiled = Compiled(function, batch=False, dtype=dtype, backend="auto", threads=1, strict=False)
    compiled(*args)
    return compiled


def _prefix(path: Path) -> str:
    """A C identifier from the file's name."""
    name = re.sub(r"[^0-9A-Za-z_]", "_", path.stem)
    return name if re.match(r"[A-Za-z]", name) else f"net_{name}"
