"""Ctrl-C between any two instructions of the main thread."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import macrograd as mg

# Not in callbacks of weak references and of the garbage collector, whose errors Python only prints.
_WATCHED = (str(Path(mg.__file__).parent), *(f"{name}.py" for name in ("threading", "queue", "thread", "_base")))


def interrupted(run: Callable[[], object], number: int) -> bool:
    """Run with KeyboardInterrupt before an instruction, counted from 0, of macrograd or of Python's threads and queues.
    False if it was over before."""
    instructions = itertools.count()

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        path = frame.f_code.co_filename
        if (not path.startswith(_WATCHED[0]) and Path(path).name not in _WATCHED) or frame.f_code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and next(instructions) == number:
            raise KeyboardInterrupt
        return watch

    before = sys.gettrace()
    sys.settrace(watch)
    try:
        run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
