"""`mg.export`: chooses the program and the file format."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd._files import write_together, write_whole
from macrograd._flags import flag
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.targets.target import narrowing
from macrograd.exporting import c, onnx
from macrograd.exporting.fixed import Reference
from macrograd.exporting.int8_c import write_int8
from macrograd.exporting.names_c import NamesInC
from macrograd.exporting.sizes_c import code_bytes
from macrograd.exporting.subject import Examples, Subject, compiled_outputs, subject_of
from macrograd.exporting.train_c import write_training
from macrograd.optim import Optimizer

KINDS = ("predict", "gradient", "train")
DTYPES = ("float64", "float32", "int8")
_SUFFIXES = (".c", ".wasm", ".onnx")
_SIDE_BY_SIDE = 64  # bytes of the numbers computed at once


@dataclass(frozen=True)
class Exported:
    """The files that `export` wrote. Sizes are in bytes: of the constant arrays, of the caller's state or a WebAssembly
    module's memory, and of a C file's arrays on the stack (`scratch`). For an int8 file, `reference` computes the same
    integers: `encode(rows)`, `run(integers)`, and `predict(rows)` in numbers."""

    paths: tuple[Path, ...]
    constants: int
    state: int
    scratch: int = 0
    reference: Reference | None = None

    def code(self, compiler: str = "cc", *flags: str) -> int | None:
        """The bytes of a C file's machine code with a compiler and -Os or these flags; None without a compiler or for
        another kind of file."""
        return code_bytes(self.paths[0], compiler, flags or ("-Os",)) if self.paths[0].suffix == ".c" else None

    def __str__(self) -> str:
        names = " and ".join(str(path) for path in self.paths)
        scratch = f", {self.scratch:,} bytes of arrays on the stack" if self.paths[0].suffix == ".c" else ""
        return f"{names}: {self.constants:,} bytes of constants, {self.state:,} bytes of state{scratch}"


def export(
    what: Any,
    path: str | os.PathLike[str],
    *args: Any,
    kind: str = "predict",
    dtype: str | None = None,
    header: bool = False,
    optimizer: Optimizer | None = None,
    lanes: int | None = None,
    strict: bool = False,
    calibration: Any = None,
) -> Exported:
    """Write a function or a trained model as a file: C99, a WebAssembly module or an ONNX model.

    what    a fitted Trainer; a model that `load` has read, or the path of its file; a Module, a function of numbers, or
            a compiled function. The file of a trained model takes raw numbers and names its answers
    path    the file, ending in .c, .wasm or .onnx; the names in a C file begin with its stem. Beside a module a script
            is written, which loads and calls it, as .js for pages and as .mjs for Node
    args    example arguments of one sample, for their shapes, if `what` does not know them
    kind    "predict": the function's values; "gradient": its one value and the gradient by all parameters; "train": one
            step of the optimiser on a batch. For the last two a function is the loss of one sample; a trained model
            brings its loss
    dtype   "float64" or "float32"; None for the Trainer's, or "float64". For a C file that predicts also "int8", which
            computes only in integers: weights of 8 bits, numbers of 8 or (beyond nets of layers) 16
    header  for a C file: also write the interface to a .h file beside it
    optimizer  for a file that trains a function or a loaded model; a Trainer's is used with its state
    lanes   for a C file that trains and for a module: samples computed side by side: 1 for the smallest state; None for
            the fastest step of small nets: 8 samples in float64 and 16 in float32, and 16 in a module's step
    calibration  for an int8 file: rows of inputs like those to be predicted, whose range the integers cover; of a model
            that was trained on a table also a table, whose rows with missing numbers are left out
    strict  for a C file and a module: the bits of compiled functions with strict=True, from every compiler on every
            machine; a C file then needs no `math.h`

    The C file keeps everything that it writes in one struct of fixed size, without allocation, recursion or global
    variables; weights are constant arrays, and loops that the compiler found stay loops. A comment at the top says how
    to call it. `-DMACROGRAD_SELFTEST` adds a main() that compares its answers with macrograd's.

    The ONNX model takes any number of samples at once, and its value, gradient or loss is the mean over them. The state
    that a training step changes is passed in and out; its initial values are in the file.

    Raises ValueError for an unknown kind, dtype or path suffix and for names that the file cannot hold, TypeError for
    anything that cannot be exported or has no known shapes, RuntimeError for a Trainer that was not fitted, LookupError
    for an operation that the format lacks, FileExistsError if the script would overwrite a file that macrograd did not
    write, ImportError for an ONNX model without the onnx package, and whatever `load` raises. Nothing is written in
    these cases.
    """
    path = Path(path)
    if kind not in KINDS:
        raise ValueError(f"export(kind={kind!r}): kind is one of {', '.join(map(repr, KINDS))}")
    if dtype is not None and dtype not in DTYPES:
        raise ValueError(f"export(dtype={dtype!r}): dtype is one of {', '.join(map(repr, DTYPES))}")
    if path.suffix not in _SUFFIXES:
        raise ValueError(f"export to {path.name!r}: the path must end in {' or '.join(_SUFFIXES)}")
    if flag("export", "header", header) and path.suffix != ".c":
        raise ValueError(f"export(header=True) to {path.name!r}: only C files have a header")
    if flag("export", "strict", strict) and path.suffix == ".onnx":
        raise ValueError(f"export(strict=True) to {path.name!r}: only .c and .wasm files can be strict")
    if kind != "train" and optimizer is not None:
        raise ValueError(f"export(kind={kind!r}) takes no optimizer: only kind='train' does")
    if lanes is not None and (not isinstance(lanes, int) or isinstance(lanes, bool) or not 1 <= lanes <= 256):
        raise ValueError(f"export(lanes={lanes!r}): lanes must be an integer from 1 to 256")
    if header and (odd := set('"\\\n\r') & set(path.stem)):
        raise ValueError(
            f"export(header=True) to {path.name!r}: C cannot include a header with {min(odd)!r} in its name; give "
            "another path"
        )
    _check_int8(path, kind, dtype, calibration)
    subject = subject_of(what, args, kind, optimizer)
    if kind == "train" and subject.optimizer is None:
        raise ValueError("export(kind='train') of a function needs an optimizer, as in optimizer=optim.Adam(1e-3)")
    if dtype == "int8":
        rows = calibration if subject.cells is None else subject.cells(calibration)
        return _export_int8(subject, path, rows, header=header)
    compiled = _traced(subject, dtype or subject.dtype or "float64", strict=strict)
    with narrowing(compiled.dtype):
        return _written(compiled, subject, kind, path, lanes, header=header)


def _written(
    compiled: Compiled, subject: Subject, kind: str, path: Path, lanes: int | None, *, header: bool
) -> Exported:
    if path.suffix == ".wasm":
        return _export_wasm(compiled, subject, kind, path, lanes)
    lanes = lanes or _SIDE_BY_SIDE // compiled.dtype.itemsize
    if path.suffix == ".onnx":
        found = onnx.write(compiled, subject, kind)
        return Exported((write_whole(path, found.data),), found.constants, found.state)
    beside, prefix = path.with_suffix(".h").name if header else None, _prefix(path)
    called = NamesInC(subject.names, prefix, "double" if compiled.dtype == np.float64 else "float")
    examples = subject.examples or _any_numbers(compiled)
    if kind == "train":
        assert subject.optimizer is not None
        written = write_training(
            compiled, subject.optimizer, subject.states, prefix, lanes, beside, subject.name, called, examples,
            compiled_outputs(compiled, subject),
        )  # fmt: skip
    else:
        written = c.write(compiled, kind, prefix, beside, subject.name, called, examples, subject.args or ())
    paths = _write_c(path, written, header=header)
    return Exported(paths, written.constants, written.state, written.scratch)


def _export_wasm(compiled: Compiled, subject: Subject, kind: str, path: Path, lanes: int | None) -> Exported:
    from macrograd.exporting.wasm_file import write_wasm  # loads LLVM

    # Web servers know .js, and Node before version 22 takes only .mjs for a module.
    scripts = path.with_suffix(".js"), path.with_suffix(".mjs")
    for beside in scripts:
        if beside.exists() and (beside.is_dir() or b"written by macrograd" not in beside.read_bytes()[:1000]):
            raise FileExistsError(
                f"export to {path} also writes {beside.name}, which exists and was not written by macrograd: move it, "
                "or give another path"
            )
    written = write_wasm(compiled, subject, kind, path.stem, lanes, _SIDE_BY_SIDE // compiled.dtype.itemsize)
    paths = write_together([(path, written.module), *((x, written.wrapper.encode("ascii")) for x in scripts)])
    return Exported(paths, written.constants, written.memory)


def _write_c(path: Path, written: c.Written, *, header: bool) -> tuple[Path, ...]:
    files = [(path, written.source), (path.with_suffix(".h"), written.interface)]
    return write_together([(name, os.fsencode(text)) for name, text in files[: 1 + header]])


def _check_int8(path: Path, kind: str, dtype: str | None, calibration: Any) -> None:
    if dtype != "int8":
        if calibration is not None:
            raise ValueError(
                "export(calibration=...) is for dtype='int8', whose integers cover the range of these rows"
            )
        return
    if kind != "predict" or path.suffix != ".c":
        raise ValueError(
            f"export(dtype='int8', kind={kind!r}) to {path.name!r}: integers of 8 bits predict, in a .c file; use "
            "dtype='float32' here"
        )


def _export_int8(subject: Subject, path: Path, calibration: Any, *, header: bool) -> Exported:
    compiled = _traced(subject, "float64", strict=False)
    beside, prefix = path.with_suffix(".h").name if header else None, _prefix(path)
    if subject.names is not None and subject.names.dates:
        raise TypeError(
            f"export(dtype='int8'): the column {subject.names.dates[0][0]!r} holds dates, whose numbers have more than "
            "256 values; use dtype='float32'"
        )
    called = NamesInC(subject.names, prefix, "int16_t")
    written, reference = write_int8(compiled, calibration, prefix, beside, subject.name, called)
    paths = _write_c(path, written, header=header)
    return Exported(paths, written.constants, written.state, reference=reference)


def _traced(subject: Subject, dtype: str, *, strict: bool) -> Compiled:
    """The function to export, traced for one sample."""
    steps = () if subject.step is None else (subject.step,)
    compiled = Compiled(
        subject.function, batch=bool(steps), dtype=dtype, backend="auto", threads=1, strict=strict, uniform=steps
    )
    args = subject.args or ()
    compiled._prepare(tuple(x if k in steps or not steps else x[None] for k, x in enumerate(args)), {})
    return compiled


def _any_numbers(compiled: Compiled) -> Examples:
    shapes = compiled._traced().shapes
    return lambda generator: [np.asarray(generator.normal(size=shape)) for shape in shapes]


def _prefix(path: Path) -> str:
    """A C identifier from the file's name."""
    name = re.sub(r"[^0-9A-Za-z_]", "_", path.stem)
    return name if re.match(r"[A-Za-z]", name) else f"net_{name}"
