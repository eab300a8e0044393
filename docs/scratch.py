"""For the cells of pages that run the command: a new folder with the repository's examples in it."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from IPython import get_ipython


def enter() -> None:
    """Make a folder, go there, find the command of this environment, and let `%%sh` print a cell's output whole.

    (IPython's version sends it in pieces, and the page would have line breaks between them.)
    """
    folder = tempfile.mkdtemp(prefix="macrograd-docs-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.chdir(folder)
    Path("examples").symlink_to(Path(__file__).parent.parent / "examples")
    os.environ["PATH"] = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    for name in ("FORCE_COLOR", "CLICOLOR_FORCE"):  # a kernel sets them, and the site shows no escape codes
        os.environ.pop(name, None)
    os.environ["COLUMNS"] = "88"
    get_ipython().register_magic_function(_sh, "cell", "sh")


def _sh(line: str, cell: str) -> None:
    ran = subprocess.run(["sh", "-e"], input=cell, capture_output=True, text=True, check=False)
    print(ran.stdout + ran.stderr, end="")
    if ran.returncode:
        raise RuntimeError(f"the shell ended with status {ran.returncode}")
