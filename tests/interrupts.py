"""Ctrl-C between any two instructions of the main thread."""

from __future__ import annotations

import dis
import itertools
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import macrograd as mg

# Not in callbacks of weak references and of the garbage collector, whose errors Python only prints.
_WATCHED = (str(Path(mg.__file__).parent), *(f"{name}.py" for name in ("threading", "queue", "thread", "_base")))


def interrupted(run: Callable[[], object], number: int, *, real: bool = False) -> bool:
    """Run with KeyboardInterrupt before an instruction, counted from 0, of macrograd or of Python's threads and queues.
    False if it was over before. With `real` only those count before which Python looks for signals: it does not between
    taking a lock and the body of its `with`, and what is raised after a call in a body is raised in the body."""
    instructions = itertools.count()
    latest: dict[FrameType, int] = {}

    def watch(frame: FrameType, event: str, _: Any) -> Any:
        path = frame.f_code.co_filename
        if (not path.startswith(_WATCHED[0]) and Path(path).name not in _WATCHED) or frame.f_code.co_name == "__del__":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before, here = latest.get(frame), frame.f_lasti
            latest[frame] = here
            if (not real or _looks(frame.f_code, before, here)) and next(instructions) == number:
                raise KeyboardInterrupt
        elif event == "return":
            latest.pop(frame, None)
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


@cache
def _looks(code: CodeType, before: int | None, here: int) -> bool:
    """Whether Python looks for signals between these instructions, and raises what their handler raises in the same
    `try` or `with` as an error of the second one: after calls and jumps backwards, and where functions begin."""
    if before is None:
        return False
    name = dis.opname[code.co_code[before]]
    if not name.startswith("CALL") and name not in ("RESUME", "JUMP_BACKWARD"):
        return False
    return _handler(code, before) == _handler(code, here)


def _handler(code: CodeType, offset: int) -> int | None:
    whole: Any = dis.Bytecode(code)
    return next((entry.target for entry in whole.exception_entries if entry.start <= offset < entry.end), None)
