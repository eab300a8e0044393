"""Numbers in WebAssembly's binary format, which is LEB128: seven bits a byte.

https://webassembly.github.io/spec/core/binary/values.html
"""

from __future__ import annotations


class Reader:
    """Reads bytes in sequence."""

    def __init__(self, text: bytes) -> None:
        self.text, self.at = text, 0

    def __bool__(self) -> bool:
        return self.at < len(self.text)

    def number(self) -> int:
        """An unsigned LEB128."""
        total = shift = 0
        while True:
            byte = self.text[self.at]
            self.at += 1
            total |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return total

    def signed(self) -> int:
        """A signed LEB128."""
        begin = self.at
        total, bits = self.number(), 7 * (self.at - begin)
        return total - (1 << bits) if total >> (bits - 1) else total

    def take(self, count: int) -> bytes:
        self.at += count
        return self.text[self.at - count : self.at]

    def name(self) -> str:
        return self.take(self.number()).decode()

    def rest(self) -> bytes:
        return self.text[self.at :]


def unsigned(value: int) -> bytes:
    """As unsigned LEB128."""
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def signed(value: int) -> bytes:
    """As signed LEB128."""
    found = bytearray()
    while not -0x40 <= value < 0x40:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value & 0x7F])
