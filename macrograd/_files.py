"""Files that are written whole or not at all, and the ending that selects their format."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

OLD = 60.0  # seconds without a write, after which a temporary file counts as left behind by a killed process


def check_place(path: str | os.PathLike[str]) -> Path:
    """The path of a file to be written.

    Raises FileNotFoundError if the directory does not exist, and IsADirectoryError if `path` is a directory.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a directory; give the name of a file in it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: the directory {target.parent} does not exist; create it first")
    return target


def write_whole(
    path: str | os.PathLike[str], content: bytes | Iterable[Any], *, sync: bool = False, private: bool = False
) -> Path:
    """Write `content`, bytes or pieces of them, to a temporary file, rename it to `path`, so that no half-written file
    is ever visible, and return the path.

    With `sync` a power cut leaves the old file or the new one; `private` files are readable by their owner alone. What
    is no file, as /dev/null or a pipe, is written to: a rename would take it away from everybody. Raises as
    `check_place` does.
    """
    target = check_place(path)
    pieces: Iterable[Any] = [content] if isinstance(content, bytes) else content
    if not private and target.exists() and not target.is_file():
        with open(target, "wb") as file:
            file.writelines(pieces)
        return target
    with _written_beside(target, pieces, sync=sync, mode=0o600 if private else 0o666) as temporary:
        os.replace(temporary, target)
    if sync:
        _sync_directory(target.parent)
    return target


def write_together(files: Sequence[tuple[Path, bytes]]) -> tuple[Path, ...]:
    """Write files that belong together, as `write_whole` does: none is replaced before all others are written."""
    if any(path.exists() and not path.is_file() for path, _ in files):
        return tuple([write_whole(path, content) for path, content in files])
    targets = [check_place(path) for path, _ in files]
    with ExitStack() as held:
        made = [
            held.enter_context(_written_beside(target, [content]))
            for target, (_, content) in zip(targets, files, strict=True)
        ]
        for temporary, target in zip(made, targets, strict=True):
            os.replace(temporary, target)
    return tuple(targets)


@contextmanager
def _written_beside(target: Path, pieces: Iterable[Any], *, sync: bool = False, mode: int = 0o666) -> Iterator[Path]:
    """A temporary file with this content beside its target, for as long as it is not renamed. An error names the
    target."""
    temporary = target.parent / f".{target.name}.{os.urandom(4).hex()}"
    try:  # Ctrl-C may come as soon as the file is there
        with open(temporary, "xb", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            file.writelines(pieces)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        if error.errno is not None and error.filename is None:  # as where the disk is full
            error.filename = str(target)
        raise
    finally:
        with suppress(FileNotFoundError):
            os.unlink(temporary)


def remove_remains(path: Path) -> None:
    """Remove the temporary files that killed writes of this file left behind: those unchanged for a while."""
    import re
    import time

    pattern = re.compile(re.escape(f".{path.name}.") + "[a-z0-9_]{8}")
    with suppress(OSError), os.scandir(path.parent) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name) is None:
                continue
            with suppress(OSError):
                if entry.is_file(follow_symlinks=False) and time.time() - entry.stat().st_mtime > OLD:
                    os.unlink(entry.path)


def _sync_directory(directory: Path) -> None:
    """Make a rename survive a power cut, if directories can be synced."""
    with suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def ending(path: str | os.PathLike[str], known: tuple[str, ...]) -> str:
    """The file name's ending in lower case, with its dot. Raises ValueError if it is not one of `known`."""
    suffix = Path(path).suffix.lower()
    if suffix not in known:
        given = f"{suffix!r}" if suffix else "no ending"
        raise ValueError(
            f"cannot save {os.fspath(path)!r}: the ending selects the format and must be one of {', '.join(known)}, "
            f"got {given}"
        )
    return suffix
