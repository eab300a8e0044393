"""A file is written whole or not at all."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from macrograd._files import ending, write_together, write_whole


def test_it_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "x.svg"
    assert write_whole(path, b"one") == path
    assert write_whole(str(path), b"two") == path
    assert path.read_bytes() == b"two"
    assert [p.name for p in tmp_path.iterdir()] == ["x.svg"]


@pytest.mark.skipif(os.name != "posix", reason="POSIX permissions")
def test_the_file_is_readable_like_any_other(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    assert write_whole(tmp_path / "x", b"").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_what_is_no_file_is_written_to_and_stays(tmp_path: Path) -> None:
    """As /dev/null, which root would take away from the whole machine."""
    os.mkfifo(path := tmp_path / "pipe")
    (link := tmp_path / "link").symlink_to(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        for name in (path, link):
            assert write_whole(name, [b"o", b"ne"], sync=True) == name
            assert os.read(reader, 100) == b"one"
    finally:
        os.close(reader)
    assert path.is_fifo()
    assert link.is_symlink()
    assert len([*tmp_path.iterdir()]) == 2


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_whole(tmp_path / "x.svg", b"old")

    def fail(*args: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.svg"]


def test_an_interrupt_at_any_moment_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any) -> int:
        os.close(right(*given))  # the file is there, and nobody has been told yet
        raise KeyboardInterrupt

    right = os.open
    monkeypatch.setattr(os, "open", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "x.svg", b"new")
    assert not [*tmp_path.iterdir()]


def test_what_all_threads_share_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two calls of `os.umask` the files of other threads would be open to all."""
    monkeypatch.delattr(os, "umask")
    assert write_whole(tmp_path / "x.svg", b"new").read_bytes() == b"new"


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"cannot write .*x\.svg: the directory .*no does not exist; create it first"
    ):
        write_whole(tmp_path / "no" / "x.svg", b"")


def test_a_directory_in_place_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="it is a directory; give the name of a file in it"):
        write_whole(tmp_path, b"")


def test_endings() -> None:
    assert ending("a/b.PNG", (".png", ".svg")) == ".png"
    with pytest.raises(ValueError, match=r"cannot save 'x': the ending selects the format and must be one of \.png"):
        ending("x", (".png",))
    with pytest.raises(ValueError, match=r"cannot save 'x\.gif': .* must be one of \.png, \.svg, got '\.gif'"):
        ending("x.gif", (".png", ".svg"))


def test_files_that_belong_together_are_written_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert write_together([(one, b"old"), (two, b"old")]) == (one, two)
    opened: list[str] = []
    real = os.open

    def full(path: str | os.PathLike[str], *args: int) -> int:
        opened.append(os.fspath(path))
        if len(opened) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, *args)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", full)
        with pytest.raises(OSError, match=r"No space left on device: '.*two'"):
            write_together([(one, b"new"), (two, b"new")])
    assert sorted(tmp_path.iterdir()) == [one, two]
    assert one.read_bytes() == two.read_bytes() == b"old"
