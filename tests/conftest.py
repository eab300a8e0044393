"""Shared by all tests: Hypothesis draws the same examples in every run, nothing opens a window, and no test finds what
an earlier run or another test has left behind."""

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis.internal.conjecture import providers
from hypothesis.strategies import none

from macrograd.compiler.jit.cache import own_sources

os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or each process that tests start compiles the package again
sys.dont_write_bytecode = False  # and each run the tests

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in what a shell runs in the background: tests press Ctrl-C
    signal.signal(signal.SIGINT, signal.default_int_handler)

# LLVM's names of a processor and of its extensions (None: this one's), and the bytes of a vector. LLVM computes longer
# vectors than the processor has in parts.
PROCESSORS = {"sse2": ("x86-64", "", 16), "avx2": ("haswell", "", 32), "avx512": (None, None, 64)}

settings.register_profile("macrograd", deadline=None, derandomize=True)
settings.load_profile("macrograd")
# Nor do they depend on the constants of the modules that happen to be loaded by then, which take seconds to find.
providers.is_local_module_file = lambda path: False


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--processor", choices=PROCESSORS, help="make native code as for another processor")


def pytest_configure(config: pytest.Config) -> None:
    """Native code of this process as another processor has it: what a test or a page says is to be true there, too."""
    if (name := config.getoption("--processor")) is not None:
        from macrograd.compiler.jit import native, processor

        this, (cpu, features, size) = processor.machine(), PROCESSORS[name]
        other = processor.Processor(cpu or this.cpu, this.features if features is None else features, size)
        processor.machine = native.machine = cache(lambda: other)


def pytest_collection_finish() -> None:
    """The collector need not look again, hundreds of times, at the modules and the 9,000 tests that stay to the end.
    Hypothesis makes its random numbers in the first run of a test, and asks the collector who holds them: before it can
    no longer see."""
    given(none())(lambda _: None)()
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
