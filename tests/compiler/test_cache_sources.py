"""The digest of the compiler's source: as fast as looking at the files, and never that of an older source."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import macrograd as mg
from macrograd.compiler.jit import sources

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


def digest(package: Path) -> bytes:
    return sources.digest(sources.found(str(package), ["room"]), kept.get, kept.__setitem__)


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

    sources.digest(sources.found(str(package), ["room"]), load, kept.__setitem__)
    assert not kept


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
