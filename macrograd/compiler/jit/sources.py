"""The digest of the source that machine code is made by: a changed source must never run an old file of the cache.

Reading some two hundred files takes longer than loading a compiled program. So the digest of what was read is kept
under a name made of the files' sizes and times, and later the files are only looked at. Their times of change (`ctime`)
cannot be set back, as times of modification are by whatever unpacks an archive. They are trusted where they tell a
change: on POSIX, if they have parts of a second, and once they are older than clocks are wrong.

A process loads its modules one after the other, and takes the digest in between. A file that somebody changes meanwhile
may be loaded as it was, and be in the digest as it is, or the other way round: a process in which that may be so must
neither keep the code that it makes nor run what others kept (`Sources.trusted`).
"""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence

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


Mark = tuple[int, int, int, int, int]


class Sources:
    """The files that code is made by, as they were when their digest was taken.

    digest   of what they contain: kept by an earlier process, or read, and then kept
    trusted  whether it is, as far as is known, that of the code that this process runs

    `began` is a time before which the process had loaded none of them.
    """

    def __init__(
        self,
        paths: Sequence[str],
        load: Callable[[str], bytes | None],
        store: Callable[[str, bytes], None],
        began: float,
    ) -> None:
        self._marks = _marks(paths)
        name = _name(self._marks)
        kept, still = None if name is None else load(name), True
        if kept is None:
            kept = _digest(paths)
            still = _marks(paths) == self._marks
            if name is not None and still:
                store(name, kept)
        self.digest = kept
        # A time in the future is of a clock that was wrong, and tells nothing.
        now = time.time()
        changed = [_changed(mark) / _SECOND for mark in self._marks.values()]
        self.trusted = still and not any(began < moment <= now for moment in changed)
        self._archive = paths[0] if len(paths) == 1 else None
        self._checked: set[str] = set()
        self._modules = 0

    def still_trusted(self) -> bool:
        """`trusted`, after a look at the modules that were loaded since this was last asked."""
        if self.trusted and len(sys.modules) != self._modules:
            self._modules = len(sys.modules)
            package = __name__.partition(".")[0] + "."
            for name in list(sys.modules):  # at once: other threads may load more
                if name.startswith(package) and name not in self._checked:
                    self._checked.add(name)
                    path = getattr(sys.modules.get(name), "__file__", None)
                    self.trusted = self.trusted and self._unchanged(self._archive or path)
        return self.trusted

    def _unchanged(self, path: str | None) -> bool:
        if path is None or path not in self._marks:
            return True
        try:
            return _mark(path) == self._marks[path]
        except OSError:
            return False


def _digest(paths: Sequence[str]) -> bytes:
    whole = hashlib.sha256()
    for path in paths:
        with open(path, "rb", 0) as file:
            content = file.readall()
        whole.update(len(content).to_bytes(8, "little") + content)
    return whole.digest()


def _marks(paths: Sequence[str]) -> dict[str, Mark]:
    return {path: _mark(path) for path in paths}


def _mark(path: str) -> Mark:
    """What changes with a file."""
    status = os.stat(path)
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, status.st_dev


def _changed(mark: Mark) -> int:
    """When a file was changed, in ns; elsewhere than on POSIX `ctime` is the time of creation."""
    return mark[2] if os.name == "posix" else mark[1]


def _name(marks: Mapping[str, Mark]) -> str | None:
    """A name for the files as they are, by sizes and times; None if those do not tell whether a file was changed."""
    if os.name != "posix":
        return None
    latest = int((time.time() - _SETTLED) * _SECOND)
    changes = list(map(_changed, marks.values()))
    if max(changes) > latest or any(changed % _SECOND == 0 for changed in changes):
        return None
    return hashlib.sha256(repr(marks).encode("utf-8", "surrogateescape")).hexdigest() + "-sources"
