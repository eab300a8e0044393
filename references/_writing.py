"""How a reference file is written: readable JSON with floats that read back bit for bit, whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write(name: str, about: str, cases: list[dict[str, Any]]) -> None:
    """Write `name` beside this file: what it is, and one case a line; NaN and Infinity as Python reads them."""
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    path = Path(__file__).parent / name
    unfinished = path.with_suffix(".unfinished")
    unfinished.write_text(f'{{\n "about": {json.dumps(about)},\n "cases": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    os.replace(unfinished, path)
