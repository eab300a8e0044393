"""The text of a file as UTF-8: compressed files, encodings, and refusing what is not a table in text."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

# More columns than any net of single scalars has; DuckDB takes minutes for ten times as many.
MOST_COLUMNS = 10_000
# For text from a compressed file: a few kilobytes can expand to any number of gigabytes.
MOST_BYTES = 4 << 30
PIECE = 1 << 20
# Of memory that a cell takes: a string, and its place in a column. Smaller files than that are not counted.
CELL_BYTES, COUNTED = 64, 256 << 20
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
    size = 0
    with open(plain, "w", encoding="utf-8", newline="") as out:
        piece = head or file.read(PIECE)
        held = ""
        while piece:
            size += len(piece)
            if size > MOST_BYTES:
                raise ValueError(f"the text is larger than {MOST_BYTES >> 30} GiB: cut the table into smaller ones")
            text = held + decoder.decode(piece)
            kept = text.rstrip(_END)
            held = text[len(kept) :]
            out.write(kept)
            piece = file.read(PIECE)
        out.write((held + decoder.decode(b"", final=True)).rstrip(_END))


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
    if plain.stat().st_size < COUNTED or not hasattr(os, "sysconf"):
        return
    with open(plain, "rb") as file:
        lines = sum(piece.count(b"\n") for piece in iter(lambda: file.read(PIECE), b""))
    needed, there = lines * columns * CELL_BYTES, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(
            f"{name} has {lines:,} lines of {columns} cells, which take some {needed / 2**30:,.1f} GiB of memory, and "
            f"the machine has {there / 2**30:,.1f}: take a part of the rows or columns, or Parquet"
        )


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
    widest = max(max(line.count(mark) for mark in ",;\t|") for line in lines[:10]) + 1
    if widest > MOST_COLUMNS:
        raise ValueError(
            f"{path.name} has {widest:,} columns{'' if len(lines) > 1 else ' or more'}, and {MOST_COLUMNS:,} are the "
            "most that can be read: copy those that matter into a smaller table"
        )
