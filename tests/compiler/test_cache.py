"""Compiled code on disk: whole files or none, of the owner alone, healed when damaged, bounded."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import llvmlite.binding
import pytest

import macrograd as mg
from macrograd import Value
from macrograd.compiler.jit import builtin, cache, native

W = Value(2.0)
KEY = "0" * 64


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory that does not exist yet."""
    path = tmp_path / "some" / "where"
    monkeypatch.setenv("MACROGRAD_CACHE", str(path))
    monkeypatch.setenv("MACROGRAD_TIERS", "best")  # one file for each module; the first tier's are in test_tiers
    return path


def run(scale: float = 1.0) -> float:
    return float(mg.compile(lambda x: mg.tanh(x * W) * scale, backend="llvm")(0.5))


def compiles(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts what LLVM really compiles."""
    seen: list[int] = []
    right = llvmlite.binding.parse_assembly

    def counted(text: str, *context: Any) -> Any:
        seen.append(len(text))
        return right(text, *context)

    monkeypatch.setattr(llvmlite.binding, "parse_assembly", counted)
    return seen


def test_what_is_stored_is_found(folder: Path) -> None:
    assert cache.load(KEY) is None
    assert not folder.exists()
    cache.store(KEY, b"code")
    assert cache.load(KEY) == b"code"
    assert [path.name for path in folder.iterdir()] == [f"{KEY}.o"]
    cache.store(KEY, b"other code")
    assert cache.load(KEY) == b"other code"


def test_a_second_compilation_reads_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = compiles(monkeypatch)
    first = run()
    assert len(seen) == 1
    assert run() == first
    assert len(seen) == 1
    run(scale=3.0)
    assert len(seen) == 2


def test_a_first_gradient_compiles_its_program_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes later calls quicker is compiled by these."""
    monkeypatch.setattr(builtin, "made", lambda kind: False)
    seen = compiles(monkeypatch)
    mg.compile(lambda x: mg.exp(x * W)).value_and_grad([2.0], 0.5)
    assert len(seen) == 1
    mg.compile(lambda x: mg.sin(x * W)).bind(0.5)()
    assert len(seen) == 2


@pytest.mark.parametrize("settings", [{"dtype": "float32"}, {"strict": True}, {"batch": True}])
def test_everything_that_matters_is_in_the_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object]
) -> None:
    seen = compiles(monkeypatch)
    mg.compile(lambda x: mg.exp(x * W))(0.5)
    mg.compile(lambda x: mg.exp(x * W), **settings)([0.5, 0.5] if "batch" in settings else 0.5)
    assert len(seen) == 2


def test_the_processor_and_the_versions_are_in_the_key(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = compiles(monkeypatch)
    run()
    monkeypatch.setattr(native, "makers", lambda: b"another machine")
    run()
    assert len(seen) == 2


def test_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    monkeypatch.setenv("MACROGRAD_TIERS", "best")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert cache.directory() is None
    cache.store(KEY, b"code")
    assert cache.load(KEY) is None
    seen = compiles(monkeypatch)
    run()
    run()
    assert len(seen) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have other places")
def test_the_users_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MACROGRAD_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache.directory() == tmp_path / "macrograd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache.directory() == tmp_path / ".cache" / "macrograd"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.skipif(os.name != "posix", reason="home directories of POSIX")
@pytest.mark.parametrize("chosen", ["", "~/compiled", "~nobody of that name/compiled"])
def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    import pwd

    def unknown(_: Any) -> Any:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setenv("MACROGRAD_CACHE", chosen)
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cache.directory() is None
    assert run() == pytest.approx(0.7615941559557649, rel=1e-15)


def test_only_the_owner_can_read(folder: Path) -> None:
    run()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
def test_code_of_somebody_else_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.store(KEY, b"code")
    monkeypatch.setattr(os, "getuid", lambda: (folder / f"{KEY}.o").stat().st_uid + 1)
    assert cache.load(KEY) is None


@pytest.mark.skipif(os.name != "posix", reason="owners are POSIX's")
def test_code_that_comes_after_its_owner_was_looked_at_is_not_run(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other, mine = folder / f"{KEY}.o", tmp_path / "other", os.getuid()
    cache.store(KEY, b"other code")
    os.replace(path, other)
    cache.store(KEY, b"code")

    def looked_at() -> int:
        if other.exists():
            os.replace(other, path)
        return mine

    monkeypatch.setattr(os, "getuid", looked_at)
    assert cache.load(KEY) == b"code"
    assert cache.load(KEY) == b"other code"
    path.unlink()
    os.mkfifo(path)  # nobody writes into it
    assert cache.load(KEY) is None


@pytest.mark.parametrize("damage", ["empty", "cut", "one bit", "magic", "another key's", "text"])
def test_a_damaged_file_is_made_again(folder: Path, monkeypatch: pytest.MonkeyPatch, damage: str) -> None:
    expected = run()
    (path,) = folder.glob("*.o")
    content = path.read_bytes()
    if damage == "another key's":
        image = cache.load(path.stem)
        assert image is not None
        cache.store(KEY, image)
        os.replace(folder / f"{KEY}.o", path)
    else:
        flipped = bytearray(content)
        flipped[-100] ^= 1
        path.write_bytes(
            {
                "empty": b"",
                "cut": content[: len(content) // 2],
                "one bit": bytes(flipped),
                "magic": b"X" + content[1:],
                "text": b"hello" * 100,
            }[damage]
        )
    seen = compiles(monkeypatch)
    assert run() == expected
    assert len(seen) == 1
    assert path.read_bytes() == content
    assert run() == expected
    assert len(seen) == 1


def test_a_directory_that_cannot_be_written_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path / "file" / "below"))
    assert run() == pytest.approx(0.7615941559557649)


def test_a_write_that_is_broken_off_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(KeyboardInterrupt):
        cache.store(KEY, b"code")
    assert list(folder.iterdir()) == []


def test_the_size_is_bounded_and_the_oldest_go_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 1000
    cache.store(KEY, bytes(size))
    monkeypatch.setattr(cache, "LIMIT", 5 * (folder / f"{KEY}.o").stat().st_size)
    cache.remove(KEY)
    monkeypatch.setattr(cache, "CHECK_EVERY", 1)
    keys = [f"{k:064x}" for k in range(8)]
    for age, key in enumerate(keys[:5]):
        cache.store(key, bytes(size))
        os.utime(folder / f"{key}.o", (1000 + age, 1000 + age))
    assert cache.load(keys[0]) is not None  # used just now, so no longer the oldest
    for key in keys[5:7]:
        cache.store(key, bytes(size))
    kept = {path.stem for path in folder.iterdir()}
    assert kept == {keys[k] for k in (0, 3, 4, 5, 6)}


def test_what_killed_processes_left_is_removed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "CHECK_EVERY", 1)
    left: list[tuple[Path, Path]] = []
    with monkeypatch.context() as killed:  # before it can rename the file, or remove it
        killed.setattr(os, "replace", lambda temporary, path: left.append((temporary, path)))
        killed.setattr(os, "unlink", lambda path: None)
        for k in range(2):
            cache.store(f"{k:064x}", b"code")
    (old, _), (new, path) = left
    os.utime(old, (1000, 1000))
    cache.store(KEY, b"code")
    assert not Path(old).exists()
    os.replace(new, path)  # by a process that is still writing
    assert cache.load(Path(path).stem) == b"code"


def test_many_small_files_make_room_now_and_then(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked, listed = [], os.scandir
    monkeypatch.setattr(cache, "LIMIT", 40_000)
    monkeypatch.setattr(os, "scandir", lambda path: (looked.append(path), listed(path))[1])
    for k in range(1000):
        cache.store(f"{k:064x}", b"a")
    assert 10 < len(looked) < 100
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1.5 * cache.LIMIT
    before = len(looked)
    cache.store("f" * 64, bytes(cache.LIMIT))  # larger than all that there may be
    assert len(looked) == before + 1
    assert list(folder.iterdir()) == []


def test_threads_that_write_the_same_key(folder: Path) -> None:
    images = [bytes([k]) * 200_000 for k in range(4)]
    wrong: list[object] = []

    def work(image: bytes) -> None:
        for _ in range(10):
            cache.store(KEY, image)
            found = cache.load(KEY)
            if found is not None and found not in images:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(image,)) for image in images]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.load(KEY) in images
    assert len(list(folder.iterdir())) == 1


def test_two_processes_at_once(folder: Path) -> None:
    program = (
        "import macrograd as mg\n"
        "w = mg.Value(2.0)\n"
        "for k in range(5):\n"
        "    f = mg.compile(lambda x: mg.tanh(x * w) + float(k), backend='llvm')\n"
        "    print(float(f(0.5)).hex())\n"
    )
    processes = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", program], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    assert len(outputs[0].split()) == 5
    assert all(path.suffix == ".o" for path in folder.iterdir())
    programs = list(folder.glob("*-program.o"))
    assert len(programs) == 5
    assert len([path for path in folder.glob("*.o") if len(path.stem) == 64]) == 5  # their code
