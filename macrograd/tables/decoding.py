"""The text of a file as UTF-8: compressed files, encodings, and refusing what is not a table in text."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from macrograd import _memory

# More columns than any net of single scalars has; DuckDB takes minutes for ten times as many.
MOST_COLUMNS = 10_000
# For text from a compressed file: a few kilobytes can expand to any number of gigabytes.
MOST_BYTES = 4 << 30
PIECE = 1 << 20
SAMPLE = 20_480  # lines that DuckDB's sniffer examines, its own default
# It takes gigabytes for wide lines of many widths.
WIDE, MOST_WIDTHS = 1000, 32
LONGEST_LINE = 2 << 20  # of DuckDB
# Of memory that a cell takes: a string, and its place in a column. Smaller files than that are not counted.
CELL_BYTES, COUNTED = 64, 256 << 20
_QUOTED = re.compile(r'"[^"]*"')
_END = "\x1a"  # DOS writes it behind the last line


def copied(source: Path, plain: Path) -> str:
    """Write a file's text as UTF-8 to `plain`; returns its original encoding."""
    with opened(source) as file:
        head = file.read(PIECE)
        encoding = _encoding(head)
        try:
            _decode(head, file, encoding or "utf-8", plain)
            return {"utf-8-sig": "UTF-8", None: "UTF-8"}.get(encoding, str(encoding).upper())
        except UnicodeDecodeError:
            if encoding is not None:
                raise ValueError(
                    f"{source.name} begins as {encoding.upper()} and continues in another encoding"
                ) from None
    # Every byte is a character in Latin-1; Windows-1252 has letters where Latin-1 has control characters.
    for guess in ("cp1252", "latin-1"):
        with opened(source) as file, contextlib.suppress(UnicodeDecodeError):
            _decode(b"", file, guess, plain)
            return {"cp1252": "Latin-1 (cp1252)"}.get(guess, "Latin-1")
    raise AssertionError("every byte is a character in Latin-1")


def _decode(head: bytes, file: IO[bytes], encoding: str, plain: Path) -> None:
    decoder = codecs.getincrementaldecoder(encoding)()
    size, reversed_ends = 0, False
    with open(plain, "w", encoding="utf-8", newline="") as out:
        piece = head or file.read(PIECE)
        held = ""
        while piece:
            size += len(piece)
            if size > MOST_BYTES:
                raise ValueError(f"the text is larger than {MOST_BYTES >> 30} GiB: cut the table into smaller ones")
            text = decoder.decode(piece)
            reversed_ends = reversed_ends if size > len(piece) else _reversed_ends(text)
            text = held + (text.replace("\r", "") if reversed_ends else text)
            kept = text.rstrip(_END)
            held = text[len(kept) :]
            out.write(kept)
            piece = file.read(PIECE)
        out.write((held + decoder.decode(b"", final=True)).rstrip(_END))


def _reversed_ends(text: str) -> bool:
    """Whether all lines end with a line feed and then a carriage return, which no reader takes for one end."""
    ends = text.count("\n\r")
    return ends > 0 and ends == text.count("\r") == text.count("\n") - text.endswith("\n")


def _encoding(head: bytes) -> str | None:
    """By the byte order mark, or by the zeros of UTF-16 in Western text; None: UTF-8 if possible."""
    if head.startswith(codecs.BOM_UTF8):
        return "utf-8-sig"
    if head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)) and len(head) % 4 == 0:
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    some = np.frombuffer(head[: 1 << 12], dtype=np.uint8)
    if len(some) >= 4:
        even, odd = np.mean(some[::2] == 0), np.mean(some[1::2] == 0)
        if odd > 0.6 and even < 0.1:
            return "utf-16-le"
        if even > 0.6 and odd < 0.1:
            return "utf-16-be"
    return None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """A file's bytes, decompressed from gzip or from the only file in a zip. Raises ValueError for archives that are
    damaged or hold several tables."""
    with open(path, "rb") as file:
        magic = file.read(4)
        file.seek(0)
        try:
            if magic[:2] == b"\x1f\x8b":
                with gzip.open(file) as inner:
                    yield inner  # type: ignore[misc]  # a GzipFile reads bytes as any file does
            elif magic == b"PK\x03\x04":
                with zipfile.ZipFile(file) as archive:
                    names = [n for n in archive.namelist() if not n.endswith("/") and not n.startswith("__MACOSX")]
                    if len(names) != 1:
                        shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
                        raise ValueError(f"{path.name} holds {len(names)} files ({shown}): take out the one to read")
                    with archive.open(names[0]) as inner:
                        yield inner
            else:
                yield file
        except (gzip.BadGzipFile, zipfile.BadZipFile, EOFError) as error:
            raise ValueError(f"{path.name} is damaged: {error}") from None


def check_memory(name: str, plain: Path, columns: int) -> None:
    """Refuse a table in text that takes more memory than the machine has, before reading its cells."""
    if plain.stat().st_size < COUNTED:
        return
    with open(plain, "rb") as file:
        lines = sum(piece.count(b"\n") for piece in iter(lambda: file.read(PIECE), b""))
    check_cells(name, lines, columns, "take a part of the rows or columns, or Parquet")


def check_cells(name: str, lines: int, columns: int, remedy: str) -> None:
    """Raise ValueError if so many cells take more memory than the machine has."""
    _memory.check(f"{name} has {lines:,} lines of {columns} cells", lines * columns * CELL_BYTES, remedy)


def check_text(path: Path, plain: Path) -> None:
    """Refuse binary files, and tables with more columns than can be learned from, before parsing."""
    with open(plain, encoding="utf-8", newline="") as file:
        head = file.read(PIECE)
    if not head.strip():
        raise ValueError(
            f"{path.name} is empty: it needs a header line with the names of the columns, and rows below it"
        )
    if re.match(r"\ufeff?\s*(<!doctype\s+html|<html\b)", head, re.IGNORECASE):
        raise ValueError(
            f"{path.name} is a web page, not a table: download the table itself, where a link says 'raw' or 'download'"
        )
    control = sum(1 for c in head[:65536] if ord(c) < 32 and c not in "\t\n\r\f")
    if control > len(head[:65536]) / 50:
        raise ValueError(
            f"{path.name} is not a table in text: {control} of its first characters are control characters"
        )
    lines = re.split(r"\r\n|\n|\r", head)
    widest = max(map(_width, lines[:10]))
    if widest > MOST_COLUMNS:
        raise ValueError(
            f"{path.name} has {widest:,} columns{'' if len(lines) > 1 else ' or more'}, and {MOST_COLUMNS:,} are the "
            "most that can be read: copy those that matter into a smaller table"
        )
    widths: set[int] = set()
    for number, line in _long_lines(plain):
        if len(line) > LONGEST_LINE:
            raise ValueError(f"{path.name} has a line of more than 2 MB: that is not a table in text")
        if (width := _width(_QUOTED.sub("", line))) > MOST_COLUMNS:
            raise ValueError(
                f"{path.name}, line {number:,} has {width:,} cells, and {MOST_COLUMNS:,} are the most that can be "
                "read: correct the line"
            )
        widths.add(width)
        if len(widths) > MOST_WIDTHS and max(widths) > WIDE:
            raise ValueError(
                f"{path.name} has lines of {min(widths):,} to {max(widths):,} cells up to line {number:,}: that is not "
                "a table in text"
            )


def _width(line: str) -> int:
    return max(line.count(mark) for mark in ",;\t|") + 1


def _long_lines(plain: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of lines with more bytes than a table may have columns, up to the first one that is too long; and
    of the first few thousand that are shorter, and have a thousand."""
    with open(plain, "rb") as file:
        number, seen, held = 1, 0, b""
        while piece := file.read(PIECE):
            piece, at = held + piece, 0
            found = np.frombuffer(piece, dtype=np.uint8)
            ends = np.flatnonzero((found == ord("\n")) | (found == ord("\r")))
            starts = np.concatenate([[0], ends + 1])
            lengths = np.diff(starts)
            wanted = np.flatnonzero(lengths > (WIDE if seen < SAMPLE else MOST_COLUMNS)).tolist()
            seen += len(wanted)
            for k in wanted:
                number, at = number + _ends(piece[at : starts[k]]), int(starts[k])
                yield number, piece[at : ends[k]].decode("utf-8", "replace")
            last = int(starts[-1])
            number, held = number + _ends(piece[at:last]), piece[last:]
            if len(held) > 4 * LONGEST_LINE:  # the bytes of a character
                break
        if len(held) > MOST_COLUMNS:
            yield number, held.decode("utf-8", "replace")


def _ends(piece: bytes) -> int:
    return piece.count(b"\n") or piece.count(b"\r")
