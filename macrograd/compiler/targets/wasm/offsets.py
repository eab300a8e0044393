"""A pass over WebAssembly code: constants of addresses move into the instructions that access memory.

A load or store adds a constant of its own to its address, without wrapping round at 2³². LLVM leaves most constants
outside, because the addition before could wrap, and then every access costs that addition. Where nothing below an
address `first` is ever accessed, and the constants of an access add up to `first` at most, the addition does not wrap:
the address that it adds to cannot be negative.

The instructions are those of https://webassembly.github.io/spec/core/binary/instructions.html.
"""

from __future__ import annotations

from collections.abc import Iterable

from macrograd.compiler.targets.wasm.binary import Reader, unsigned

_CONSTANT, _ADD, _VECTORS, _MORE = 0x41, 0x6A, 0xFD, 0xFC
_Instruction = int | tuple[int, int]  # a byte, or a prefix and a number


def with_offsets(body: bytes, first: int) -> bytes:
    """The code of a function, its local variables included; unchanged if it has an instruction not listed here."""
    reader = after_variables(body)
    variables = body[: reader.at]
    try:
        return variables + b"".join(Moved(reader, first).instructions())
    except KeyError:
        return body


def after_variables(body: bytes) -> Reader:
    """The code of a function from its first instruction on."""
    reader = Reader(body)
    for _ in range(reader.number()):
        reader.number()
        reader.take(1)
    return reader


# What follows an instruction, by a letter each: n an integer, b a byte, 4, 8 and h (16) so many bytes, t a table of
# branches. An access to memory has two integers, its alignment and its constant.
_LOADS: set[_Instruction] = {*range(0x28, 0x36), *((_VECTORS, k) for k in (*range(11), 92, 93))}
_STORES: set[_Instruction] = {*range(0x36, 0x3F), (_VECTORS, 11)}
_KNOWN: dict[_Instruction, tuple[str, int, int]] = {}  # what follows, operands and results


def _known(found: Iterable[int], operands: int, results: int, follows: str = "", prefix: int = 0) -> None:
    for k in found:
        _KNOWN[(prefix, k) if prefix else k] = follows, operands, results


_known([0x1A], 1, 0)  # drop
_known([0x1B], 3, 1)  # select
_known([0x20, 0x23], 0, 1, "n")  # variables
_known([0x21, 0x24], 1, 0, "n")
_known([0x22], 1, 1, "n")
_known([_CONSTANT, 0x42], 0, 1, "n")
_known([0x43], 0, 1, "4")
_known([0x44], 0, 1, "8")
_known(range(0x46, 0xA7), 2, 1)  # comparisons and arithmetic of two numbers, and of one:
_known([0x45, 0x50, *range(0x67, 0x6A), *range(0x79, 0x7C), *range(0x8B, 0x92), *range(0x99, 0xA0)], 1, 1)
_known(range(0xA7, 0xC5), 1, 1)  # conversions
_known(range(8), 1, 1, prefix=_MORE)
_known([8], 3, 0, "nb", _MORE)  # of memory
_known([10], 3, 0, "bb", _MORE)
_known([11], 3, 0, "b", _MORE)
_known(range(14, 256), 2, 1, prefix=_VECTORS)  # two vectors, one number in all elements, and one vector:
_known([*range(15, 21), 77, 83, 94, 95, *range(96, 101), *range(103, 107), 116, 117, 122], 1, 1, prefix=_VECTORS)
_known([*range(124, 130), 131, 132, *range(135, 139), 148, 160, 161, 163, 164, *range(167, 171)], 1, 1, prefix=_VECTORS)
_known([192, 193, 195, 196, *range(199, 203), 224, 225, 227, 236, 237, 239], 1, 1, prefix=_VECTORS)
_known(range(248, 256), 1, 1, prefix=_VECTORS)
_known([12], 0, 1, "h", _VECTORS)  # a constant
_known([13], 2, 1, "h", _VECTORS)  # a shuffle
_known([82], 3, 1, prefix=_VECTORS)  # a choice by bits
_known([21, 22, 24, 25, 27, 29, 31, 33], 1, 1, "b", _VECTORS)  # an element
_known([23, 26, 28, 30, 32, 34], 2, 1, "b", _VECTORS)
_known(range(84, 88), 2, 1, "nnb", _VECTORS)  # one in memory
_known(range(88, 92), 2, 0, "nnb", _VECTORS)
# Where code branches or calls, what is known of the operands is forgotten.
_BRANCHES = {
    **dict.fromkeys([0x00, 0x01, 0x05, 0x0B, 0x0F], ""), **dict.fromkeys([0x02, 0x03, 0x04, 0x0C, 0x0D, 0x10], "n"),
    0x0E: "t", 0x11: "nn",
}  # fmt: skip


class Moved:
    """The instructions; KeyError for one not listed. `stack` has the last operands: where the constant of a sum is, and
    that constant; or None."""

    def __init__(self, reader: Reader, first: int) -> None:
        self.reader, self.first = reader, first
        self.out: list[bytes] = []
        self.stack: list[tuple[int, int] | None] = []

    def instructions(self) -> list[bytes]:
        constant: tuple[int, int] | None = None  # of the instruction before
        while self.reader:
            begin = self.reader.at
            what = self._read()
            before, constant = constant, None
            if what in _LOADS or what in _STORES:
                self._access(begin, stores=what in _STORES)
                continue
            if what == _CONSTANT:
                constant = len(self.out), self.reader.signed()
                self._operands(0, [None])
            elif what == _ADD:
                self._operands(2, [before])
            elif what in _BRANCHES:
                self._skip(_BRANCHES[what])
                self.stack.clear()
            else:
                follows, operands, results = _KNOWN[what]
                self._skip(follows)
                self._operands(operands, [None] * results)
            self.out.append(self.reader.text[begin : self.reader.at])
        return self.out

    def _read(self) -> _Instruction:
        (byte,) = self.reader.take(1)
        return (byte, self.reader.number()) if byte in (_VECTORS, _MORE) else byte

    def _skip(self, follows: str) -> None:
        for letter in follows:
            if letter == "n":
                self.reader.number()
            elif letter == "t":
                for _ in range(self.reader.number() + 1):
                    self.reader.number()
            else:
                self.reader.take({"b": 1, "4": 4, "8": 8, "h": 16}[letter])

    def _operands(self, taken: int, given: list[tuple[int, int] | None]) -> list[tuple[int, int] | None]:
        """What an instruction takes from the stack, in exchange for its results."""
        some = [self.stack.pop() if self.stack else None for _ in range(taken)]
        self.stack += given
        return some[::-1]

    def _access(self, begin: int, *, stores: bool) -> None:
        """A load or store, with the constant of its address if that is a sum with one."""
        head = self.reader.text[begin : self.reader.at]
        alignment, offset = self.reader.number(), self.reader.number()
        address = self._operands(2 if stores else 1, [] if stores else [None])[0]
        if address is not None and address[1] >= 0 and address[1] + offset <= self.first:
            place, more = address
            offset += more
            self.out[place : place + 2] = b"", b""
        self.out.append(head + unsigned(alignment) + unsigned(offset))
