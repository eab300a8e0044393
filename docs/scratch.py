"""For the cells of pages that run the command: a new folder with the repository's examples in it."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def enter() -> None:
    """Make a folder, go there, and find the command of this environment."""
    os.chdir(tempfile.mkdtemp(prefix="macrograd-docs-"))
    Path("examples").symlink_to(Path(__file__).parent.parent / "examples")
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # a kernel sets them, and the site shows no escape codes
        os.environ.pop(name, None)
    os.environ["COLUMNS"] = "100"
