"""Files of checkpoints: none is overwritten, damaged ones are refused and kept, and intervals are what they say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from macrograd import optim
from macrograd.train import Run, files
from macrograd.train.checkpoint import Every
from tests.train.test_checkpoint import X, Y, fit

# --- files -----------------------------------------------------------------------------------------------------------


def test_a_file_that_exists_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    fit(path, steps=3)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="already exists: resume from it with resume=True, or remove it"):
        fit(path, steps=3)
    assert path.read_bytes() == before


def damaged(path: Path, how: str) -> str:
    """Damage a checkpoint in some way; the beginning of what must be said about it."""
    content = path.read_bytes()
    if how == "cut short":
        path.write_bytes(content[:-7])
        return "cannot be read as a checkpoint: it is damaged, truncated, or not a safetensors file"
    if how == "empty":
        path.write_bytes(b"")
        return "cannot be read as a checkpoint"
    if how == "text":
        path.write_text("once upon a time there was a net" * 9)
        return "cannot be read as a checkpoint"
    tensors, header = files.read(path, "checkpoint")
    if how == "foreign":
        save_file({"w": np.ones(3)}, path)
        return "is a safetensors file, but not one of macrograd's"
    if how == "a model":
        files.write(path, "model", tensors, {})
        return "holds a model, not a checkpoint"
    if how == "newer":
        save_file(tensors, path, {"macrograd": json.dumps({**header, "format": 99})})
        return "was written by a newer macrograd"
    if how == "not finite":
        tensors["parameters"][0] = np.nan
    if how == "wrong shape":
        tensors["state"] = tensors["state"][:1]
    if how == "no history":
        del tensors["history.losses.numbers"]
    if how == "short history":
        header["step"] += 1
    if how == "other parameters":
        tensors["order"] += 1
    header.pop("kind")
    files.write(path, "checkpoint", tensors, header)
    return "is from a different model" if how == "other parameters" else "is damaged"


WAYS = ["cut short", "empty", "text", "foreign", "a model", "newer", "not finite", "wrong shape", "no history",
        "short history", "other parameters"]  # fmt: skip


@pytest.mark.parametrize("how", WAYS)
def test_a_damaged_or_foreign_file_is_refused_and_kept(tmp_path: Path, how: str) -> None:
    path = tmp_path / "c.safetensors"
    fit(path, steps=3)
    message = damaged(path, how)
    before = path.read_bytes()
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        fit(path, steps=5, resume=True)
    assert str(caught.value).startswith(f"{path} {message}")
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"batch_size": 9},
            "its batch size was 8, now it is 9; resume with the same settings, or start again with another file",
        ),
        ({"seed": 5}, "its seed was 0, now it is 5"),
        ({"X": X + 1}, "its data was"),
        ({"y": 1 - Y}, "its targets was"),
        ({"optimizer": optim.SGD(0.1)}, "its optimizer was 'Adam(lr=linear(0.05, 0.01, 40), betas=(0.9, 0.999)"),
        ({"l2": 1.0}, "its l2 was 0.0, now it is 1.0"),
        ({"engine": "eager"}, "its engine was 'compiled', now it is 'eager'"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    path = tmp_path / "c.safetensors"
    fit(path, steps=3)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        fit(path, resume=True, **options)
    assert str(caught.value).startswith(f"{path} is from a different run: {message}")


def test_without_a_file_a_resumed_run_begins(tmp_path: Path) -> None:
    assert fit(tmp_path / "c.safetensors", resume=True)[0] == fit(None)[0]


def test_places_that_cannot_be_written_are_found_before_training(tmp_path: Path) -> None:
    def never(run: Run) -> None:
        raise AssertionError("trained")

    with pytest.raises(IsADirectoryError, match="it is a directory; give the name of a file in it"):
        fit(tmp_path, callbacks=never)
    with pytest.raises(FileNotFoundError, match=r"the directory .*nowhere does not exist; create it first"):
        fit(tmp_path / "nowhere" / "c.safetensors", callbacks=never)


def test_a_full_disk_is_an_error_and_keeps_the_file_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "c.safetensors"
    fit(path, steps=3)
    before = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="the disk is full"):
        fit(path, resume=True)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        (2.5, Every(seconds=2.5)),
        ("30 seconds", Every(seconds=30.0)),
        ("1 step", Every(steps=1)),
        ("2 epochs", Every(steps=14)),
        ("0.5 epochs", Every(steps=4)),
    ],
)
def test_distances(every: Any, expected: Every) -> None:
    assert Every.of(every, 7) == expected


@pytest.mark.parametrize("every", ["often", "3", None, "1..2 steps", "5 minutes"])
def test_wrong_distances(every: Any) -> None:
    with pytest.raises(ValueError, match="is not a checkpoint interval: give seconds, or a string such as"):
        Every.of(every, 7)


@pytest.mark.parametrize("every", [0, -1.0, "0 steps"])
def test_distances_of_nothing(every: Any) -> None:
    with pytest.raises(ValueError, match="the checkpoint interval must be positive"):
        Every.of(every, 7)
