"""A WebAssembly module from an object file of LLVM's: a linker's work, of which little is needed here.

An object file is almost a module: its types, functions and code stay as they are, and its instructions already hold the
right indices. It imports its memory, its stack pointer and its table of functions; here the module defines these
itself, so that it imports nothing. LLVM does not fill the memory: the object has no data, and addresses are constants
of its code.

The formats are https://webassembly.github.io/spec/core/binary/modules.html and Linking.md of the tool conventions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field

from macrograd._dataclass import dataclass
from macrograd.compiler.targets.wasm.binary import Reader, signed, unsigned
from macrograd.compiler.targets.wasm.offsets import with_offsets

_TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _GLOBAL, _EXPORT, _START, _ELEMENT, _CODE, _DATA, _DATA_COUNT = (
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
)  # fmt: skip
_SYMBOLS = 8  # the symbol table in the section "linking"
_UNDEFINED = 0x10
_I32 = 0x7F
# Relocations of the indices of functions, types, globals and tables, which do not change. None is of an address.
_KEPT_NUMBERS = {0: "function", 6: "type", 7: "global", 20: "table"}
_PAGE = 1 << 16


@dataclass(frozen=True)
class Memory:
    """The initial memory: its size in bytes, the address from which the stack grows down, and its data by address; all
    other bytes are 0. No code accesses anything below `first`."""

    size: int
    stack: int
    data: Mapping[int, bytes]
    first: int = 0


@dataclass
class _Object:
    """The parts of an object file."""

    sections: dict[int, bytes] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)
    imports: list[tuple[str, int]] = field(default_factory=list)  # (name, kind)


def module(
    image: bytes, exports: Mapping[str, str], table: Sequence[str], memory: Memory, numbers: Mapping[str, int]
) -> bytes:
    """The module.

    image    the object file, which must define all functions that it calls
    exports  the exported functions: {name outside: name in the object}
    table    the functions that are called by number; the number is the position here, counted from 1
    numbers  the exported numbers: immutable 32-bit globals by name

    A function `init` resets the memory to its initial state. Raises RuntimeError if the object has unexpected contents.
    """
    object_ = _parsed(image)
    _check(object_)
    types, type_count = _vector(object_.sections[_TYPE])
    functions, function_count = _vector(object_.sections[_FUNCTION])
    code = _code(object_.sections[_CODE], memory.first)
    init = function_count  # follows the object's functions
    pieces = [(address, some) for address, data in sorted(memory.data.items()) if (some := data.rstrip(b"\0"))]
    pages = -(-memory.size // _PAGE)
    globals_ = [b"\x7f\x01\x41" + signed(memory.stack) + b"\x0b"]
    globals_ += [b"\x7f\x00\x41" + signed(value) + b"\x0b" for value in numbers.values()]
    visible = [
        _name("memory") + b"\x02\x00",
        _name("init") + b"\x00" + unsigned(init),
        *(_name(name) + b"\x00" + unsigned(object_.functions[own]) for name, own in exports.items()),
        *(_name(name) + b"\x03" + unsigned(1 + k) for k, name in enumerate(numbers)),
    ]
    entries = b"".join(unsigned(object_.functions[name]) for name in table)
    body = _init(pieces, memory.size)
    parts = [
        (_TYPE, unsigned(type_count + 1) + types + b"\x60\x00\x00"),
        (_FUNCTION, unsigned(function_count + 1) + functions + unsigned(type_count)),
        (_TABLE, b"\x01\x70\x00" + unsigned(1 + len(table))),
        (_MEMORY, b"\x01\x00" + unsigned(pages)),
        (_GLOBAL, _list(globals_)),
        (_EXPORT, _list(visible)),
        (_START, unsigned(init)),
        (_ELEMENT, b"\x01\x00\x41\x01\x0b" + unsigned(len(table)) + entries if table else b"\x00"),
        (_DATA_COUNT, unsigned(len(pieces))),
        (_CODE, unsigned(function_count + 1) + code + unsigned(len(body)) + body),
        (_DATA, _list([b"\x01" + unsigned(len(data)) + data for _, data in pieces])),
    ]
    return b"\0asm\x01\0\0\0" + b"".join(bytes([number]) + unsigned(len(text)) + text for number, text in parts)


def _init(pieces: Sequence[tuple[int, bytes]], size: int) -> bytes:
    """The function that fills the memory: zeros, and then each piece of data at its address."""
    text = b"\x00\x41\x00\x41\x00\x41" + signed(size) + b"\xfc\x0b\x00"  # memory.fill
    for k, (address, data) in enumerate(pieces):
        text += b"\x41" + signed(address) + b"\x41\x00\x41" + signed(len(data))
        text += b"\xfc\x08" + unsigned(k) + b"\x00"  # memory.init
    return text + b"\x0b"


def _check(object_: _Object) -> None:
    """Raise RuntimeError unless the object has the expected contents."""
    if _DATA in object_.sections:
        raise RuntimeError("LLVM added constants to the object file, which has no room for data")
    functions = [name for name, kind in object_.imports if kind == 0]
    if functions:
        raise RuntimeError(f"the object file calls functions that it does not define: {', '.join(functions)}")
    globals_ = [name for name, kind in object_.imports if kind == 3]
    if globals_ not in ([], ["__stack_pointer"]):
        raise RuntimeError(f"the object file imports globals other than the stack pointer: {', '.join(globals_)}")


# --- reading ----------------------------------------------------------------------------------------------------------


def _parsed(image: bytes) -> _Object:
    object_, reader = _Object(), Reader(image)
    if reader.take(8) != b"\0asm\x01\0\0\0":
        raise RuntimeError("LLVM wrote an object file that is not WebAssembly of version 1")
    while reader:
        (number,) = reader.take(1)
        section = Reader(reader.take(reader.number()))
        if number:
            object_.sections[number] = section.text
            if number == _IMPORT:
                _read_imports(section, object_)
            continue
        name = section.name()
        if name == "linking":
            _read_symbols(section, object_)
        elif name == "reloc.CODE":
            _check_relocations(section)
    return object_


def _read_imports(section: Reader, object_: _Object) -> None:
    for _ in range(section.number()):
        section.name()
        name, (kind,) = section.name(), section.take(1)
        object_.imports.append((name, kind))
        if kind in (1, 2):  # a table has the type of its entries before its limits
            if kind == 1:
                section.take(1)
            if section.number() & 1:
                section.number()
            section.number()
        elif kind == 3:
            section.take(2)
        else:
            section.number()


def _read_symbols(section: Reader, object_: _Object) -> None:
    """Read the names of the functions."""
    section.number()  # the version of the format
    while section:
        (kind,) = section.take(1)
        part = Reader(section.take(section.number()))
        if kind != _SYMBOLS:
            continue
        for _ in range(part.number()):
            (what,) = part.take(1)
            flags = part.number()
            if what == 3:  # a section
                part.number()
                continue
            if what == 1:
                raise RuntimeError("LLVM added data to the object file, which has no room for it")
            index = part.number()
            if not flags & _UNDEFINED or flags & 0x40:  # a name follows
                name = part.name()
                if what == 0:
                    object_.functions[name] = index


def _check_relocations(section: Reader) -> None:
    section.number()
    for _ in range(section.number()):
        kind = section.number()
        if kind not in _KEPT_NUMBERS:
            raise RuntimeError(f"the object file has a relocation of kind {kind}, which is not that of a plain index")
        section.number()
        section.number()


# --- writing ----------------------------------------------------------------------------------------------------------


def _code(section: bytes, first: int) -> bytes:
    """The code of the functions, one after the other."""
    reader = Reader(section)
    bodies = [with_offsets(reader.take(reader.number()), first) for _ in range(reader.number())]
    return b"".join(unsigned(len(body)) + body for body in bodies)


def _vector(section: bytes) -> tuple[bytes, int]:
    """The entries of a list, and their number."""
    reader = Reader(section)
    count = reader.number()
    return reader.rest(), count


def _list(entries: Sequence[bytes]) -> bytes:
    return unsigned(len(entries)) + b"".join(entries)


def _name(text: str) -> bytes:
    return unsigned(len(text.encode())) + text.encode()
