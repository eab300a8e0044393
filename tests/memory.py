"""What macrograd's own code holds of memory, and cycles: the test runner's threads allocate, too, at any moment."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import macrograd as mg

_OURS = [tracemalloc.Filter(True, f"{folder}/*") for folder in (Path(mg.__file__).parent, Path(__file__).parent)]
_OURS_BUT_THIS = [*_OURS, tracemalloc.Filter(False, __file__)]


def held() -> int:
    """The bytes that code of macrograd and of its tests has allocated since `tracemalloc.start`, and not freed."""
    return sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces(_OURS_BUT_THIS).traces)


def leaves_cycles(run: Callable[[], object]) -> bool:
    """Whether each run leaves something to the garbage collector."""
    run()  # what is made once
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            run()
            if not gc.collect():  # whatever another thread may have left at other times
                return False
        return True
    finally:
        gc.enable()
