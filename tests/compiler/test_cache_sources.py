"""The digest of the compiler's source: as fast as looking at the files, and never that of an older source."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import macrograd as mg
from macrograd.compiler.jit import cache, processor, sources
from macrograd.compiler.jit.sources import Sources

kept: dict[str, bytes] = {}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with some sources, which are older than a minute as far as the digest can tell."""
    kept.clear()
    (tmp_path / "room" / "deeper" / "__pycache__").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in (
        "b.py",
        "a.py",
        "room/c.py",
        "room/deeper/d.py",
        "other/e.py",
        "a.txt",
        "room/deeper/__pycache__/f.py",
    ):
        (tmp_path / name).write_text(f"x = {name!r}")
    monkeypatch.setattr(sources, "_SETTLED", -1.0)
    return tmp_path


def later(path: Path) -> None:
    """Wait until files that are changed now have another time than this one: clocks of file systems go in steps."""
    probe = path.with_suffix(".probe")
    probe.write_text("")
    while probe.stat().st_ctime_ns == path.stat().st_ctime_ns:
        probe.write_text("")


def made(package: Path, began: float = 2e10) -> Sources:
    return Sources(sources.found(str(package), ["room"]), kept.get, kept.__setitem__, began)


def digest(package: Path) -> bytes:
    return made(package).digest


def test_the_files_of_a_package_are_found_in_order(package: Path) -> None:
    paths = [str(package / name) for name in ("a.py", "b.py", "room/c.py", "room/deeper/d.py")]
    assert sources.found(str(package), ["room"]) == sorted(paths)


@pytest.mark.skipif(os.name != "posix", reason="has no times of change")
def test_files_that_did_not_change_are_not_read(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = digest(package)
    assert len(kept) == 1
    monkeypatch.setattr("builtins.open", None)
    assert digest(package) == first


def test_a_changed_file_of_the_same_size_and_time_has_another_digest(package: Path) -> None:
    first, path = digest(package), package / "room" / "c.py"
    was = path.stat()
    later(path)
    path.write_text("y = 'room/c.py'")
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (was.st_size, was.st_mtime_ns)
    second = digest(package)
    assert second != first
    other = package / "room" / "other.py"  # put in its place, as an installer does
    other.write_text("z = 'room/c.py'")
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(path)
    assert digest(package) not in (first, second)


def test_what_stands_in_which_file_is_part_of_the_digest(package: Path) -> None:
    first = digest(package)
    (package / "a.py").write_text("x = 'a.py'x = 'b.py'")
    (package / "b.py").write_text("")
    assert digest(package) != first


def test_the_digest_does_not_depend_on_the_times(package: Path) -> None:
    first = digest(package)
    os.utime(package / "a.py", (1.0, 1.0))
    assert digest(package) == first


def test_a_file_that_changes_while_it_is_read_is_not_kept(package: Path) -> None:
    def load(name: str) -> None:
        (package / "a.py").write_text("changed")

    found = Sources(sources.found(str(package), ["room"]), load, kept.__setitem__, 2e10)
    assert not kept
    assert not found.trusted


def test_times_that_tell_nothing_are_not_trusted(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that may have changed once more since, and of file systems that count in seconds."""
    with monkeypatch.context() as patch:
        patch.setattr(sources, "_SETTLED", 60.0)
        digest(package)
        assert not kept
    with monkeypatch.context() as patch:
        patch.setattr(sources, "_SECOND", 1)  # every time is a whole number of these
        digest(package)
        assert not kept


def test_an_archive_is_a_source(tmp_path: Path) -> None:
    """A program in a zip file has the digest of that file."""
    package, archive = Path(mg.__file__).parent, tmp_path / "program.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in package.rglob("*.py"):
            file.write(path, path.relative_to(package.parent))
    program = "from macrograd.compiler.jit import cache; print(*cache.files(), len(cache.sources()))"
    environment = {**os.environ, "PYTHONPATH": str(archive)}
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert found.stdout.split() == [str(archive), "32"]


# --- files that change while a process loads them --------------------------------------------------------------------


def test_files_that_changed_since_the_process_began_are_not_what_it_runs(package: Path) -> None:
    assert made(package).still_trusted()
    assert not made(package, began=(package / "a.py").stat().st_ctime - 1.0).trusted


def test_times_in_the_future_tell_nothing(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a clock was set back since."""
    first = min(path.stat().st_ctime for path in (package / "a.py", package / "b.py", package / "room" / "c.py"))
    monkeypatch.setattr("macrograd.compiler.jit.sources.time.time", lambda: first - 10.0)
    assert made(package, began=first - 20.0).trusted


@pytest.mark.parametrize("change", [lambda path: path.write_text("x = 'new'"), Path.unlink], ids=["written", "removed"])
def test_a_module_that_changed_between_the_digest_and_its_loading_is_not_trusted(
    package: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, path = made(package), package / "room" / "c.py"
    monkeypatch.setitem(sys.modules, "macrograd.loaded_before", SimpleNamespace(__file__=str(package / "a.py")))
    monkeypatch.setitem(sys.modules, "macrograd.elsewhere", SimpleNamespace(__file__=str(package / "other" / "e.py")))
    assert found.still_trusted()
    for changed in (package / "a.py", package / "other" / "e.py"):  # the first is loaded, the other none of the sources
        changed.write_text("later")
    monkeypatch.setitem(sys.modules, "macrograd.loaded_unchanged", SimpleNamespace(__file__=str(package / "b.py")))
    assert found.still_trusted()
    change(path)
    monkeypatch.setitem(sys.modules, "macrograd.loaded_after", SimpleNamespace(__file__=str(path)))
    assert not found.still_trusted()
    assert not found.trusted


def test_an_archive_that_changed_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "program.zip"
    archive.write_bytes(b"1")
    found = Sources([str(archive)], kept.get, kept.__setitem__, 2e10)
    assert found.still_trusted()
    archive.write_bytes(b"22")
    monkeypatch.setitem(sys.modules, "macrograd.loaded", SimpleNamespace(__file__=str(archive / "macrograd" / "a.py")))
    assert not found.still_trusted()


def test_a_process_that_is_not_trusted_neither_keeps_code_nor_runs_kept_code(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path / "cache"))
    cache.store("a" * 64, b"code")
    assert cache.load("a" * 64) == b"code"
    untrusted = made(package, began=0.0)
    monkeypatch.setattr(cache, "own_sources", lambda: untrusted)
    cache.store("b" * 64, b"code")
    assert [path.name for path in (tmp_path / "cache").glob("[ab]*.o")] == ["a" * 64 + ".o"]
    assert cache.load("a" * 64) is None


CHANGED = """
import sys, time
now = time.time
time.time = lambda: now() - float(sys.argv[1])
import macrograd as mg
time.time = now
mg.compile(lambda x: x * 2.0 + 1.0)(3.0)
"""


@pytest.mark.parametrize(("before", "keeps"), [("0", True), ("1e9", False)])
def test_nothing_is_kept_of_a_process_whose_files_are_younger(before: str, keeps: bool, tmp_path: Path) -> None:
    environment = {**os.environ, "MACROGRAD_CACHE": str(tmp_path)}
    subprocess.run([sys.executable, "-c", CHANGED, before], check=True, env=environment)
    # The digest of the sources is theirs in any case.
    assert any(not path.name.endswith("-sources.o") for path in tmp_path.iterdir()) is keeps


def test_what_is_kept_of_the_processor_is_that_of_this_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if processor.said() is None:
        pytest.skip("the processor is not asked here")
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    names = []
    for digest in (b"1" * 32, b"2" * 32, b"1" * 32):
        monkeypatch.setattr(cache, "sources", lambda digest=digest: digest)
        assert processor.machine.__wrapped__() == processor.machine()
        names.append({path.name for path in tmp_path.glob("*-processor.o")})
    assert [len(found) for found in names] == [1, 2, 2]
