"""The digest of the source that machine code is made by: a changed source must never run an old file of the cache.

Reading some two hundred files takes longer than loading a compiled program. So the digest of what was read is kept
under a name made of the files' sizes and times, and later the files are only looked at. Their times of change (`ctime`)
cannot be set back, as times of modification are by whatever unpacks an archive. They are trusted where they tell a
change: on POSIX, if they have parts of a second, and once they are older than clocks are wrong.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence

_SETTLED = 60.0  # seconds after which a further change has another time, whatever the clock of a file server says
_SECOND = 1_000_000_000


def found(root: str, folders: Sequence[str]) -> list[str]:
    """The paths of the Python files in a folder, and of all in some folders below it, in order; or the path of the
    archive that the folder is in."""
    if not os.path.isdir(root):
        while not os.path.exists(root):
            root = os.path.dirname(root)
        return [root]
    files, left = [], [os.path.join(root, folder) for folder in folders]
    with os.scandir(root) as entries:
        files += [entry.path for entry in entries if entry.name.endswith(".py")]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                if entry.name.endswith(".py"):
                    files.append(entry.path)
                elif entry.is_dir() and entry.name != "__pycache__":
                    left.append(entry.path)
    return sorted(files)


def digest(paths: Sequence[str], load: Callable[[str], bytes | None], store: Callable[[str, bytes], None]) -> bytes:
    """A digest of what the files contain: kept by an earlier process, or read, and then kept."""
    name = _name(paths)
    if name is not None and (kept := load(name)) is not None:
        return kept
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb", 0) as file:
            content = file.readall()
        whole.update(len(content).to_bytes(8, "little") + content)
    made = whole.digest()
    if name is not None and name == _name(paths):  # nothing changed meanwhile
        store(name, made)
    return made


def _name(paths: Sequence[str]) -> str | None:
    """A name for the files as they are, by sizes and times; None if those do not tell whether a file was changed."""
    if os.name != "posix":  # elsewhere `ctime` is the time of creation
        return None
    marks: list[object] = []
    latest = int((time.time() - _SETTLED) * _SECOND)
    for path in paths:
        status = os.stat(path)
        changed = status.st_ctime_ns
        if changed % _SECOND == 0 or changed > latest:
            return None
        marks += [path, status.st_size, status.st_mtime_ns, changed, status.st_ino, status.st_dev]
    return hashlib.sha256(repr(marks).encode("utf-8", "surrogateescape")).hexdigest() + "-sources"
