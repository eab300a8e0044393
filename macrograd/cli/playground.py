"""`macrograd playground`."""

from __future__ import annotations

import argparse
import sys


def playground(arguments: argparse.Namespace) -> int:
    """Write the page, and say where it is; 0."""
    from macrograd.browser import playground as write  # loads the compiler

    if sys.stderr.isatty():
        print("compiling the nets of the page: up to half a minute the first time", file=sys.stderr)
    path = write(arguments.table, path=arguments.out)
    print(f"{path}: {path.stat().st_size / 1000:,.0f} kB; open it in a browser")
    return 0
