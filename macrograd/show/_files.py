"""Writing a file whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write `content` to a temporary file, rename it to `path`, so that no half-written file is ever visible, and
    return the path.

    Raises FileNotFoundError if the directory does not exist, and IsADirectoryError if `path` is a directory.
    """
    target = Path(path)
    if target.is_dir():
        raise IsADirectoryError(f"cannot write {target}: it is a directory; give the name of a file in it")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"cannot write {target}: the directory {target.parent} does not exist; create it first")
    handle, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        # mkstemp makes files that only the owner can read; a picture should be readable like any other file.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    return target


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
