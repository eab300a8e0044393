"""Files written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def write_with(path: Path, save: Callable[[str], object]) -> None:
    """Let `save` write to a temporary file, and move it to `path` once it is complete."""
    handle, name = tempfile.mkstemp(dir=path.parent)
    os.close(handle)
    try:
        save(name)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def write(path: Path, text: str) -> None:
    write_with(path, lambda name: Path(name).write_text(text, encoding="utf-8"))
