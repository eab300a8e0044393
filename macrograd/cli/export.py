"""`macrograd export`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any


def export(arguments: argparse.Namespace) -> int:
    """Write a saved net as a C file, a WebAssembly module or an ONNX model, and say how large things are; 0."""
    from macrograd.exporting import export as write  # loads the compiler
    from macrograd.optim import Adam

    rows = _rows(arguments)
    try:
        exported = write(
            arguments.model,
            arguments.out,
            kind=arguments.kind,
            dtype=arguments.dtype,
            header=arguments.header,
            lanes=arguments.lanes,
            strict=arguments.strict,
            calibration=rows,
            optimizer=None if arguments.lr is None else Adam(arguments.lr),
        )
    except (TypeError, LookupError) as error:  # of operations without a form there, and models that say no shapes
        raise ValueError(str(error)) from error
    print(exported)
    if Path(arguments.out).suffix == ".wasm":
        print(f"use it in a page's module script: import {{ load }} from './{exported.paths[1].name}'")
        print(f"and in Node of any version: import {{ load }} from './{exported.paths[2].name}'")
        return 0
    if Path(arguments.out).suffix == ".onnx":
        print(f"use it with: onnxruntime.InferenceSession({arguments.out!r})")
        return 0
    code = exported.code()
    if code is not None:
        print(f"about {code:,} bytes of code, by cc -Os")
    library = "" if arguments.strict or arguments.dtype == "int8" else " -lm"
    print(f"check it with: cc -std=c99 -DMACROGRAD_SELFTEST {Path(arguments.out)}{library} && ./a.out")
    return 0


def _rows(arguments: argparse.Namespace) -> Any:
    """The table of --calibrate, None without it. Raises ValueError if it is missing or superfluous."""
    if arguments.calibrate is None:
        if arguments.dtype == "int8":
            raise ValueError(
                "--dtype int8 needs rows like those to be predicted, whose range the integers cover: give a table "
                "with --calibrate, such as the one that the net was trained on"
            )
        return None
    if arguments.dtype != "int8":
        raise ValueError(f"--calibrate is for --dtype int8: {arguments.dtype} needs no rows")
    from macrograd.cli import data  # loads the tables

    table = data.read(arguments.calibrate, arguments)
    for note in table.notes:
        print(f"macrograd: note: {note}", file=sys.stderr)
    return table
