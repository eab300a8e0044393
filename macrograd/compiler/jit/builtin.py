"""Native code as built-in functions of Python's: calls without ctypes, which prepares every call, and without a
copy in Python of every array.

A built-in function is a C function and an object, which it gets as its first argument. Here the C functions are the
same for all programs, and the object is `bytes` that hold addresses: of the code, of its context, of a number that it
computes, and of Python's function that makes a float of it. A function that takes arrays reads their C structures, as
compiled extensions do: it goes on only if each is exactly what was described, and else returns None. Where any of this
is in another place than CPython and NumPy have it, `available` says so.

Python's lock is kept, so these are for programs of microseconds, and their buffers need no other lock.
"""

from __future__ import annotations

import ctypes
import struct
import sys
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.compiler.jit import native
from macrograd.compiler.jit.buffers import GIVEN, OBJECTS, RESULT, Buffer
from macrograd.compiler.jit.text import DOUBLE, Code, Counter, Float

_NO_ARGUMENTS, _POSITIONAL = 0x04, 0x80  # METH_NOARGS, METH_FASTCALL
_HEAD = object.__basicsize__  # of any object: a count of references, and last its type
# An array: its memory, number of axes, lengths of the axes, strides, base, type of numbers, flags.
_DATA, _AXES, _SHAPE, _DTYPE, _FLAGS = (_HEAD + 8 * k for k in (0, 1, 2, 5, 6))
_IN_ORDER = 0x101  # C-contiguous and aligned
_MOST_AXES, _WIDTH = 4, 8
# The words of the object, and then of each array.
_WORDS = (
    "code",
    "context",
    "number",
    "float",
    "flag",
    "none",
    "keep",
    "array",
    "dtype",
    "addresses",
    "one",
    "real",
    "place",
    "count",
)
_OF_ARRAY = "memory", "numbers", "role", "axes", "shape"


class _Method(ctypes.Structure):
    """PyMethodDef, of which built-in functions are made."""

    _fields_ = (("name", ctypes.c_char_p), ("code", ctypes.c_void_p), ("flags", ctypes.c_int), ("doc", ctypes.c_char_p))


@cache
def available() -> bool:
    """Whether Python's objects and NumPy's arrays are where these functions expect them."""
    if sys.implementation.name != "cpython" or not hasattr(ctypes, "pythonapi") or ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    if not getattr(sys, "_is_gil_enabled", lambda: True)() or not 0 < _inside() < 256:
        return False
    if ctypes.c_double.from_address(id(number := 1.5) + _HEAD).value != number:
        return False
    whole = np.arange(30, dtype=np.float32).reshape(5, 6)
    return all(_as_expected(array) for array in (whole, whole[1:, 2:], whole.T, np.zeros(3), np.zeros(())))


def _as_expected(array: NDArray[Any]) -> bool:
    def word(place: int, kind: Any = ctypes.c_size_t) -> Any:
        return kind.from_address(id(array) + place).value

    if word(_DATA) != array.ctypes.data or word(_AXES, ctypes.c_int) != array.ndim or word(_DTYPE) != id(array.dtype):
        return False
    flags = array.flags.c_contiguous | array.flags.aligned << 8
    if word(_HEAD - 8) != id(np.ndarray) or word(_FLAGS, ctypes.c_int) & _IN_ORDER != flags:
        return False
    return not array.ndim or tuple((ctypes.c_int64 * array.ndim).from_address(word(_SHAPE))) == array.shape


def builtin(
    code: int,
    context: int,
    number: int,
    kind: Float,
    hold: Any,
    flag: int = 0,
    buffers: Sequence[Buffer] | None = None,
    place: int = 0,
) -> Callable[..., Any]:
    """A function that runs the code at an address on a context, and returns the number at another.

    With `buffers` it takes arrays of their shapes and type, or floats for single float64 numbers, and copies each to
    its buffer; from it, if it is a RESULT; and for OBJECTS, the float at a place of each of these. It returns None for
    others, and if the code raises the flag at an address. `hold` lives as long as the function.
    """
    api = ctypes.pythonapi
    one = id(float) if kind is DOUBLE else 0
    dtype = np.dtype(np.float64 if kind is DOUBLE else np.float32)
    words = [
        code,
        context,
        number,
        _address(api.PyFloat_FromDouble),
        flag,
        id(None),
        _address(api.Py_IncRef),
        id(np.ndarray),
        id(dtype),
        id(np.dtype(np.int64)),
        one,
        id(float),
        place,
        len(buffers or ()),
    ]
    for array, role in buffers or ():
        words += [array.ctypes.data, array.size, role, array.ndim, *array.shape, *[0] * (_MOST_AXES - array.ndim)]
    entry = enter(kind).functions["run" if buffers is None else "call"]
    method = _Method(b"run", _address(entry), _NO_ARGUMENTS if buffers is None else _POSITIONAL, None)
    make = api.PyCFunction_NewEx
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    found: Callable[..., Any] = make(
        ctypes.addressof(method), struct.pack(f"{len(words)}Q", *words), (method, hold, dtype, buffers)
    )
    return found


def describes(array: NDArray[Any]) -> bool:
    """Whether such arrays can be arguments."""
    return array.ndim <= _MOST_AXES and array.flags.c_contiguous


def made(kind: Float) -> bool:
    """Whether a further function costs nothing: the first one in a process takes milliseconds without a cache."""
    return (kind,) in enter.made


@native.Shared
def enter(kind: Float) -> native.Native:
    """The C functions: @run(object, nothing), and @call(object, arguments, count)."""

    def write() -> tuple[str, Any]:
        functions = []
        for name, head, body in (
            ("run", "ptr %object, ptr %nothing", _run),
            ("call", "ptr %object, ptr %arguments, i64 %given", _call),
        ):
            code = Code(kind)
            code.put(f"%words = getelementptr i8, ptr %object, i64 {_inside()}")
            body(code)
            functions.append("\n".join([f"define ptr @{name}({head}) {{", "entry:", *code.lines, "}"]))
        return "\n".join(functions), np.zeros(1, dtype=np.int32)

    return native.Native(f"built-in functions {kind.name} {_inside()} {_HEAD}".encode(), ("run", "call"), write)


def _word(code: Code, name: str, kind: str = "ptr") -> str:
    address = code.element("%words", str(_WORDS.index(name)), "i64")
    return code.let(f"load {kind}, ptr {address}, align 1")


def _at(code: Code, base: str, place: int, kind: str = "ptr") -> str:
    """What is `place` bytes after an address."""
    return code.let(f"load {kind}, ptr {code.element(base, str(place), 'i8')}, align 1")


def _run(code: Code) -> None:
    code.put(f"call void {_word(code, 'code')}(ptr {_word(code, 'context')})")
    _return(code)


def _return(code: Code) -> None:
    value = code.load(_word(code, "number"), 1)
    if code.kind is not DOUBLE:
        value = code.let(f"fpext {code.kind.name} {value} to double")
    to_float = _word(code, "float")
    code.put(f"ret ptr {code.let(f'call ptr {to_float}(double {value})')}")


def _call(code: Code) -> None:
    """Look at all arguments, copy them, run, and copy the results."""
    count = _word(code, "count", "i64")
    _go_on_if(code, code.let(f"icmp eq i64 %given, {count}"))

    def look(k: Counter, _: list[str]) -> list[str]:
        _check(code, *_argument(code, k))
        return []

    def copy(k: Counter, *, results: bool) -> None:
        x, record = _argument(code, k)
        role = _field(code, record, "role")
        mine = code.let(f"icmp eq i64 {role}, {RESULT if results else GIVEN}")
        single = code.let(f"icmp eq ptr {_at(code, x, _HEAD - 8)}, {_word(code, 'one')}")
        inside = code.element(x, str(_HEAD), "i8")
        data = code.let(f"select i1 {single}, ptr {inside}, ptr {_at(code, x, _DATA)}")
        memory = code.let(f"inttoptr i64 {_field(code, record, 'memory')} to ptr")
        count = _field(code, record, "numbers")
        code.when(mine, lambda: _copy(code, *((data, memory) if results else (memory, data)), count))
        if not results:
            objects = code.let(f"icmp eq i64 {role}, {OBJECTS}")
            code.when(objects, lambda: _copy_floats(code, memory, data, count))

    def into(k: Counter, _: list[str]) -> list[str]:
        copy(k, results=False)
        return []

    def out(k: Counter, _: list[str]) -> list[str]:
        copy(k, results=True)
        return []

    code.loop(count, look)
    code.loop(count, into)
    code.put(f"call void {_word(code, 'code')}(ptr {_word(code, 'context')})")
    flag = _word(code, "flag")
    raised = code.let(f"load i64, ptr {flag}, align 8")
    code.put(f"store i64 0, ptr {flag}, align 8")
    _go_on_if(code, code.let(f"icmp eq i64 {raised}, 0"))
    code.loop(count, out)
    _return(code)
    code.label("refuse")
    none = _word(code, "none")
    code.put(f"call void {_word(code, 'keep')}(ptr {none})")
    code.put(f"ret ptr {none}")


def _argument(code: Code, k: Counter) -> tuple[str, str]:
    """An argument, and the words that describe it."""
    x = code.let(f"load ptr, ptr {code.element('%arguments', str(k), 'ptr')}, align 8")
    size = len(_OF_ARRAY) - 1 + _MOST_AXES
    return x, code.element("%words", code.linear(len(_WORDS), [(size, k)]), "i64")


def _field(code: Code, record: str, name: str) -> str:
    return code.let(f"load i64, ptr {code.element(record, str(_OF_ARRAY.index(name)), 'i64')}, align 1")


def _go_on_if(code: Code, good: str) -> None:
    code.count += 1
    following = f"good{code.count}"
    code.put(f"br i1 {good}, label %{following}, label %refuse")
    code.label(following)


def _check(code: Code, x: str, record: str) -> None:
    """Go on if an argument is as described."""
    kind, axes = _at(code, x, _HEAD - 8), _field(code, record, "axes")
    is_array = code.let(f"icmp eq ptr {kind}, {_word(code, 'array')}")
    is_one = code.let(f"icmp eq ptr {kind}, {_word(code, 'one')}")
    role = _field(code, record, "role")
    whole = code.let(f"or i64 {axes}, {role}")
    is_one = code.both(is_one, code.let(f"icmp eq i64 {whole}, 0"))
    _go_on_if(code, code.let(f"or i1 {is_array}, {is_one}"))

    def array() -> None:
        objects = code.let(f"icmp eq i64 {role}, {OBJECTS}")
        dtype = code.let(f"select i1 {objects}, ptr {_word(code, 'addresses')}, ptr {_word(code, 'dtype')}")
        same = code.let(f"icmp eq ptr {_at(code, x, _DTYPE)}, {dtype}")
        flags = code.let(f"and i32 {_at(code, x, _FLAGS, 'i32')}, {_IN_ORDER}")
        good = code.both(same, code.let(f"icmp eq i32 {flags}, {_IN_ORDER}"))
        count = code.let(f"zext i32 {_at(code, x, _AXES, 'i32')} to i64")
        _go_on_if(code, code.both(good, code.let(f"icmp eq i64 {count}, {axes}")))
        lengths = _at(code, x, _SHAPE)
        first = code.element(record, str(_OF_ARRAY.index("shape")), "i64")

        def axis(k: Counter, _: list[str]) -> list[str]:
            have, want = (
                code.let(f"load i64, ptr {code.element(of, str(k), 'i64')}, align 1") for of in (lengths, first)
            )
            _go_on_if(code, code.let(f"icmp eq i64 {have}, {want}"))
            return []

        code.loop(axes, axis)

    code.when(is_array, array)


def _copy(code: Code, target: str, source: str, count: str) -> None:
    wide = code.let(f"udiv i64 {count}, {_WIDTH}")
    done = code.let(f"mul i64 {wide}, {_WIDTH}")

    def part(i: str, width: int) -> None:
        code.store(code.load(code.element(source, i), width), code.element(target, i), width)

    def some(i: Counter, _: list[str]) -> list[str]:
        part(code.linear(0, [(_WIDTH, i)]), _WIDTH)
        return []

    def one(i: Counter, _: list[str]) -> list[str]:
        part(code.linear(0, [(1, done), (1, i)]), 1)
        return []

    code.loop(wide, some)
    code.loop(code.let(f"sub i64 {count}, {done}"), one)


def _copy_floats(code: Code, target: str, addresses: str, count: str) -> None:
    """The float that each object holds."""
    place, real = _word(code, "place", "i64"), _word(code, "real")

    def one(i: Counter, _: list[str]) -> list[str]:
        address = code.let(f"load i64, ptr {code.element(addresses, str(i), 'i64')}, align 8")
        x = code.let(f"inttoptr i64 {address} to ptr")
        number = code.let(f"load ptr, ptr {code.element(x, place, 'i8')}, align 8")
        _go_on_if(code, code.let(f"icmp ne ptr {number}, null"))
        _go_on_if(code, code.let(f"icmp eq ptr {_at(code, number, _HEAD - 8)}, {real}"))
        value = _at(code, number, _HEAD, "double")
        if code.kind is not DOUBLE:
            value = code.let(f"fptrunc double {value} to {code.kind.name}")
        code.store(value, code.element(target, str(i)), 1)
        return []

    code.loop(count, one)


def _inside() -> int:
    """The place of the contents of bytes, from the beginning of the object."""
    some = bytes(range(64))
    return _address(ctypes.c_char_p(some)) - id(some)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
