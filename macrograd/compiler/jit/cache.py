"""Compiled code on disk, in the user's cache directory.

`MACROGRAD_CACHE` is a directory to use instead, or `off`. Files are readable by their owner alone, written under a
temporary name and renamed, and carry a checksum: a file that does not match is removed and made again. The directory is
limited to about `LIMIT` bytes by removing the least recently used files.
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
import zlib
from contextlib import suppress
from functools import cache, partial
from pathlib import Path

from macrograd import ops
from macrograd._began import BEGAN
from macrograd._files import OLD, write_whole
from macrograd.compiler.jit.sources import Sources, found
from macrograd.rows.in_c import described

LIMIT = 256 * 1024 * 1024
# Listing thousands of files takes longer than compiling a small program, so only one in this many stores makes room,
# chosen by a digest of the key so that processes that store a single file count too. Large files always do.
CHECK_EVERY = 32
_MAGIC = b"macrograd object 1\n"
_DIGEST = 32


def sources() -> bytes:
    """A digest of everything that the compiler depends on: its own source, and operations defined elsewhere."""
    rows = [row for row in ops.TABLE if not row.module.startswith("macrograd.")]
    return (
        hashlib.sha256(own_sources().digest + b"".join(map(_described, rows))).digest()
        if rows
        else own_sources().digest
    )


def files() -> list[Path]:
    """The files whose change makes other code: of the compiler, and of all that it imports."""
    return [Path(path) for path in _files()]


def _files() -> list[str]:
    return found(os.path.dirname(ops.__file__), ("rows", "formulas", "ranks", "compiler"))


@cache
def own_sources() -> Sources:
    """The files whose change makes other code, of this package."""
    folder = directory()
    if folder is None:
        return Sources(_files(), lambda _: None, lambda _, image: None, BEGAN)
    return Sources(_files(), partial(_load, folder), partial(_store, folder), BEGAN)


@cache
def _described(row: ops.Op) -> bytes:
    return described(row).encode()


def directory() -> Path | None:
    """The directory of compiled code; None if there is none."""
    try:
        return _directory()
    except RuntimeError:  # a user without a home, as in a container, or `~name` of nobody
        return None


def _directory() -> Path | None:
    chosen = os.environ.get("MACROGRAD_CACHE", "")
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA")
    elif sys.platform == "darwin":
        base = str(Path.home() / "Library" / "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "macrograd" if base else None


def load(key: str) -> bytes | None:
    """The image stored under a key, or None; a damaged file is removed. None if the source was changed while this
    process loaded it: what is kept may be made by other code than this process runs. Without a directory what is
    compiled has no key, but "": a key takes reading all of the source."""
    folder = directory() if key else None
    return _load(folder, key) if folder is not None and own_sources().trusted else None


def _load(folder: Path, key: str) -> bytes | None:
    path = folder / f"{key}.o"
    try:
        with open(path, "rb", opener=_opened) as file:
            # Of the file that is open: another one may take its name at any time.
            if os.name == "posix" and os.fstat(file.fileno()).st_uid != os.getuid():
                return None  # never run code written by another user
            content = file.read()
    except OSError:
        return None
    head, image = content[: len(_MAGIC) + _DIGEST], content[len(_MAGIC) + _DIGEST :]
    if head != _MAGIC + hashlib.sha256(key.encode() + image).digest():
        with suppress(OSError):
            path.unlink()
        return None
    with suppress(OSError):
        os.utime(path)
    return image


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # a pipe under that name is empty, and waits for nobody


def store(key: str, image: bytes) -> None:
    """Store an image under a key. A directory that is not writable is not an error: the code is compiled again next
    time. Nothing is stored if the source was changed while this process loaded it."""
    folder = directory() if key else None
    if folder is not None and own_sources().still_trusted():
        _store(folder, key, image)


def _store(folder: Path, key: str, image: bytes) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = _MAGIC + hashlib.sha256(key.encode() + image).digest() + image
        write_whole(folder / f"{key}.o", content, private=True)
        if len(image) > LIMIT >> 10 or zlib.crc32(key.encode()) % CHECK_EVERY == 0:
            _bound(folder)
    except OSError:
        return


def remove(key: str) -> None:
    """Remove what is stored under a key."""
    folder = directory() if key else None
    if folder is not None:
        with suppress(OSError):
            (folder / f"{key}.o").unlink()


def _bound(folder: Path) -> None:
    """Remove what killed processes left behind, and the least recently used files until the directory is within its
    limit."""
    found, now = [], time.time()
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(OSError):
                status = entry.stat()
                if entry.name.endswith(".o"):
                    found.append((status.st_mtime, status.st_size, entry.path))
                elif entry.name.startswith(".") and ".o." in entry.name and now - status.st_mtime > OLD:
                    os.unlink(entry.path)
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found) if total > LIMIT else ():
        if total <= LIMIT:
            break
        with suppress(OSError):
            os.unlink(path)
            total -= size
