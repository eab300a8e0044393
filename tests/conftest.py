"""Shared by all tests: Hypothesis draws the same examples in every run, nothing opens a window, and no test finds what
an earlier run or another test has left behind."""

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings

from macrograd.compiler.jit.cache import own_sources

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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A process whose source changes keeps no compiled code: tests of what is kept fail then, and say why."""
    report = yield
    if report.failed and not own_sources().trusted:
        report.sections.append(("the source", "macrograd's files were changed while the tests ran: run them again"))
    return report


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is read from or left in the user's cache directory, so that it does not matter what is there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MACROGRAD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _nothing_goes_on_in_the_background(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The better code that a test has asked for is made while its patches are there, and none of the next test's, which
    asks for none of the code that earlier tests have left behind."""
    if (tiers := sys.modules.get("macrograd.compiler.jit.tiers")) is not None:
        tiers.watches.clear()
    yield
    if (tiers := sys.modules.get("macrograd.compiler.jit.tiers")) is not None:
        tiers.wait()
