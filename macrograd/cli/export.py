"""`macrograd export`."""

from __future__ import annotations

import argparse
from pathlib import Path


def export(chosen: argparse.Namespace) -> int:
    """Write a saved net as a C file, and say how large things are; 0."""
    from macrograd.exporting import export as write  # loads the compiler
    from macrograd.optim import Adam

    try:
        exported = write(
            chosen.model,
            chosen.out,
            kind=chosen.kind,
            dtype=chosen.dtype,
            header=chosen.header,
            lanes=chosen.lanes,
            optimizer=None if chosen.lr is None else Adam(chosen.lr),
        )
    except (TypeError, LookupError) as error:  # of operations that have no form in C, and models that say no shapes
        raise ValueError(str(error)) from error
    print(exported)
    print(f"check it with: cc -std=c99 -DMACROGRAD_SELFTEST {Path(chosen.out)} -lm && ./a.out")
    return 0
