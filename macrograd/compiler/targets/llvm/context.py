"""The struct that compiled code works on."""

from __future__ import annotations

import ctypes
from typing import Any

from macrograd.compiler.jit.text import Code


class Context(ctypes.Structure):
    """The argument of a compiled function, in the order of `FIELDS`; `held` is what its pointers lead to, so that a
    call that has the context has all that it works on."""

    held: Any = ()

    _fields_ = (
        ("u", ctypes.c_void_p),
        ("v", ctypes.c_void_p),
        ("tables", ctypes.c_void_p),
        ("samples", ctypes.c_int64),
        ("arguments", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("scale", ctypes.c_double),
        ("flag", ctypes.c_int64),
        ("out", ctypes.c_void_p),
        ("first", ctypes.c_int64),
        ("last", ctypes.c_int64),
        ("stream_uniform", ctypes.c_void_p),
        ("stream_block", ctypes.c_void_p),
        ("valid", ctypes.c_int64),  # lanes of the current block that stand for a sample
        ("rank", ctypes.c_int64),  # in a team of so many ranks
        ("ranks", ctypes.c_int64),
        ("meeting", ctypes.c_void_p),
        ("give_way", ctypes.c_void_p),
        ("stop", ctypes.c_int64),  # not 0 if long loops shall end (`stopping.py`)
        ("support", ctypes.c_void_p),  # the addresses of the functions that rolled code calls
    )


SUPPORT = ("fill", "dot", "outer", "clean")  # in this order
FIELDS = {name: k for k, (name, *_) in enumerate(Context._fields_)}


def field_address(code: Code, number: int) -> str:
    return code.element("%context", str(number), "i64")


def field(code: Code, number: int, kind: str) -> str:
    return code.let(f"load {kind}, ptr {field_address(code, number)}, align 8")
