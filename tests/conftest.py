"""Shared by all tests: Hypothesis draws the same examples in every run, and nothing opens a window."""

import gc
import os
import signal

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process that tests start compiles the package again

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in what a shell runs in the background: tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("macrograd", deadline=None, derandomize=True)
settings.load_profile("macrograd")


def pytest_collection_finish() -> None:
    """The collector need not look again, hundreds of times, at the modules and the 9,000 tests that stay to the end."""
    gc.collect()
    gc.freeze()
