"""`macrograd export`."""

from __future__ import annotations

import argparse
from pathlib import Path


def export(arguments: argparse.Namespace) -> int:
    """Write a saved net as a C file, a WebAssembly module or an ONNX model, and say how large things are; 0."""
    from macrograd.exporting import export as write  # loads the compiler
    from macrograd.optim import Adam

    try:
        exported = write(
            arguments.model,
            arguments.out,
            kind=arguments.kind,
            dtype=arguments.dtype,
            header=arguments.header,
            lanes=arguments.lanes,
            strict=arguments.strict,
            optimizer=None if arguments.lr is None else Adam(arguments.lr),
        )
    except (TypeError, LookupError) as error:  # of operations without a form there, and models that say no shapes
        raise ValueError(str(error)) from error
    print(exported)
    if Path(arguments.out).suffix == ".wasm":
        print(f"use it in a page's module script: import {{ load }} from './{exported.paths[1].name}'")
        return 0
    if Path(arguments.out).suffix == ".onnx":
        print(f"use it with: onnxruntime.InferenceSession({arguments.out!r})")
        return 0
    code = exported.code()
    if code is not None:
        print(f"about {code:,} bytes of code, by cc -Os")
    library = "" if arguments.strict else " -lm"
    print(f"check it with: cc -std=c99 -DMACROGRAD_SELFTEST {Path(arguments.out)}{library} && ./a.out")
    return 0
