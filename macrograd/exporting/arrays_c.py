"""Constant arrays of a C file, which stay in flash memory where that is apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ctypes import c_float

_LINE = 116  # characters

FLASH = """#if !defined(__cplusplus) && !defined(_MSC_VER) && __STDC_VERSION__ < 199901L
#error "the file is C99: compile it with -std=c99 or a later standard"
#endif
/* Processors with a separate address space for flash (AVR, with -std=gnu99) keep the constants there. */
#ifndef MACROGRAD_FLASH
#if defined(__FLASH) && !defined(__STRICT_ANSI__)
#define MACROGRAD_FLASH __flash
#else
#define MACROGRAD_FLASH
#endif
#endif
#if defined(__cplusplus) || defined(_MSC_VER)
#define MACROGRAD_RESTRICT __restrict
#else
#define MACROGRAD_RESTRICT restrict
#endif
"""


def array(name: str, entries: Iterable[str], *, flash: bool = True) -> str:
    """A constant array, in flash memory where that is apart."""
    entries = list(entries) or ["0"]
    lines, line = [], "   "
    for entry in entries:
        if len(line) + len(entry) + 2 > _LINE:
            lines.append(line)
            line = "   "
        line += f" {entry},"
    where = "MACROGRAD_FLASH " if flash else ""
    return "\n".join([f"static const {where}{name}[{len(entries)}] = {{", *lines, line, "};", ""])


def literal(x: float, real: str) -> str:
    """A number, in an array or after a sign. Infinities and NaN do not use math.h's names, which strict files lack."""
    x = c_float(x).value if real == "float" else x
    if x != x:
        return f"({real})(0.0 / 0.0)"
    if abs(x) == float("inf"):
        # TCC takes a division by zero for a constant, but not the negation of an infinity.
        return f"({real})({'-' if x < 0 else ''}1.0 / 0.0)"
    return x.hex() + ("f" if real == "float" else "")


def table(name: str, columns: int, entries: Sequence[str]) -> str:
    rows = [entries[at : at + columns] for at in range(0, len(entries), columns)]
    body = ",\n".join("    {" + ", ".join(row) + "}" for row in rows)
    return f"static const {name}[{len(rows)}][{columns}] = {{\n{body}}};"


__all__ = ["FLASH", "array", "literal", "table"]
