"""Shared by all tests of the compiler: a separate cache, and a verifier that checks the output of every pass."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from macrograd.compiler import pipeline
from macrograd.compiler.jit import cache, processor
from macrograd.compiler.program import program
from macrograd.compiler.program.program import Program
from macrograd.compiler.tape import tape
from macrograd.compiler.tape.tape import Tape

_MOST = 1_500  # scalars of a program derived from smaller ones; longer ones are not verified
_sound: set[bytes] = set()  # digests of what was verified before: settings share most of what the passes make


def verify(stage: str, what: Tape | Program) -> None:
    """Verify what a pass made. A quarter of all tapes, chosen by what is in them, must also survive being printed and
    read again, which takes as long as all the rest."""
    if isinstance(what, Program) and stage == "stretch" and what.scalars > _MOST:
        return  # the same steps as of fewer rounds, one by one
    digest = what.fingerprint() if isinstance(what, Program) else _digest(what)
    if digest in _sound:
        return
    if isinstance(what, Program):
        program.verify(what)
    else:
        tape.verify(what)
        if len(what) < 2000 and digest[0] % 4 == 0:
            text = str(what)
            assert str(tape.parse(text)) == text, stage
    _sound.add(digest)


def _digest(what: Tape) -> bytes:
    parts = (what.code, what.start, what.operand, what.leaf, what.results)
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "little") + part.tobytes() for part in parts)).digest()


@pytest.fixture(autouse=True, scope="module")
def _every_pass_is_verified() -> Iterator[None]:
    pipeline.observer = verify
    yield
    pipeline.observer = None


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is read from or left in the user's cache directory."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("MACROGRAD_CACHE", str(folder))
        cache.sources()  # these two keep files there: tests count those in other folders
        with contextlib.suppress(ImportError):
            processor.machine()
        yield folder


@pytest.fixture(autouse=True)
def _code_as_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first code is that which programs keep, only compiled more quickly: what these tests look at. Rolled code has
    tests of its own, and is what tests elsewhere run."""
    if find_spec("llvmlite") is not None:
        monkeypatch.setattr("macrograd.compiler.targets.llvm.machine_code.MOST", 0)


@pytest.fixture(params=["llvm", "numpy"], scope="session")
def backend(request: pytest.FixtureRequest) -> str:
    """Every back end."""
    name: str = request.param
    return name
