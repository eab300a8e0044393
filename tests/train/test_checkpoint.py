"""Nothing is lost: a run that was killed goes on to the same bits, and Ctrl-C leaves a whole step."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import datasets, nn, optim
from macrograd.train import Callback, History, Trainer, files
from macrograd.train.checkpoint import Every, Writer
from macrograd.train.interrupt import Interrupts
from macrograd.train.progress import Silent
from tests.interrupts import interrupted

X, Y = datasets.make_moons(50, noise=0.1, seed=3)


def fit(path: Path | None, *, engine: str = "compiled", **options: Any) -> tuple[list[float], History, Trainer]:
    model = nn.MLP(2, [4, 1], activation="tanh", seed=1)
    optimizer = optim.Adam(optim.linear(0.05, 0.01, 40))
    trainer = Trainer(model, optimizer=options.pop("optimizer", optimizer), engine=engine, l2=options.pop("l2", 0.0))
    given = {"steps": 40, "batch_size": 8, "progress": False, "checkpoint": path, "every": "3 steps", **options}
    history = trainer.fit(given.pop("X", X), given.pop("y", Y), **given)
    return [p.data for p in model.parameters()], history, trainer


@pytest.mark.parametrize("engine", ["compiled", "eager"])
@pytest.mark.parametrize("at", [1, 13, 20, 39])
def test_a_run_that_broke_off_goes_on_bit_for_bit(tmp_path: Path, at: int, engine: str) -> None:
    expected, whole, _ = fit(None, engine=engine, validation=0.2, metrics=["accuracy"])
    part, _, _ = fit(tmp_path / "c.safetensors", engine=engine, validation=0.2, metrics=["accuracy"], steps=at)
    assert part != expected
    found, history, trainer = fit(
        tmp_path / "c.safetensors", engine=engine, validation=0.2, metrics=["accuracy"], resume=True
    )
    assert found == expected
    assert (history.losses, history.metrics, history.learning_rates) == (
        whole.losses, whole.metrics, whole.learning_rates,
    )  # fmt: skip
    assert len(history.seconds) == 40
    assert history.seconds == sorted(history.seconds)
    assert trainer.optimizer.steps == 40


def test_early_stopping_goes_on_too(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "validation": 0.3, "early_stopping": 4, "steps": None, "epochs": 300, "optimizer": optim.SGD(3.0),
    }  # fmt: skip
    expected, whole, _ = fit(None, **options)
    assert whole.stopped == "early stopping"
    path = tmp_path / "c.safetensors"
    options["optimizer"] = optim.SGD(3.0)
    fit(path, **{**options, "epochs": len(whole.metric_steps) - 2})
    for _ in range(2):  # the second time there is nothing left to do
        options["optimizer"] = optim.SGD(3.0)
        found, history, _ = fit(path, **options, resume=True)
        assert (found, history.losses, history.stopped) == (expected, whole.losses, "early stopping")


# The timer's signal ends the process at once, wherever it is: `after` seconds from its beginning, or from when it has
# written a checkpoint. A run that it ends would take hours.
PROGRAM = """
    import signal
    import sys

    path, steps, since, after = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
    if since == "the beginning":
        signal.setitimer(signal.ITIMER_REAL, after)

    from macrograd import datasets, nn, optim
    from macrograd.train import Trainer, files

    write = files.write

    def armed(*given):
        write(*given)
        files.write = write
        signal.setitimer(signal.ITIMER_REAL, after)

    if since == "a checkpoint":
        files.write = armed
    X, y = datasets.make_moons(50, noise=0.1, seed=3)
    model = nn.MLP(2, [4, 1], activation="tanh", seed=1)
    trainer = Trainer(model, optimizer=optim.Adam(0.01))
    history = trainer.fit(X, y, steps=steps, progress=False, checkpoint=path, every=0.02, resume=True)
    print([p.data.hex() for p in model.parameters()], hash(tuple(history.losses)), len(history))
"""
NEVER = 10**9


def program(path: Path, steps: int, since: str = "", after: float = 0.0) -> str:
    """What the program prints; nothing if it was killed."""
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), str(steps), since, str(after)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stderr == ""
    assert ended.returncode == (-signal.SIGALRM if since else 0)
    return ended.stdout


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs a timer that ends a process")
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    path, random = tmp_path / "killed.safetensors", np.random.RandomState(5)
    reached = [0]
    for number in range(5):
        program(path, NEVER, "a checkpoint" if number else "the beginning", random.uniform(0.0, 0.1))
        reached.append(files.read(path, "checkpoint")[1]["step"] if path.exists() else 0)
    assert reached == sorted(reached)
    assert reached[-1] > 0
    steps = reached[-1] + 1000
    assert program(path, steps) == program(tmp_path / "whole.safetensors", steps)


@pytest.mark.parametrize("engine", ["compiled", "eager"])
def test_ctrl_c_ends_a_run_and_leaves_a_whole_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    """A run that does not listen would take hours."""
    path, write = tmp_path / "c.safetensors", files.write

    def writes(*given: Any) -> Any:
        found = write(*given)
        if threading.current_thread() is not threading.main_thread():  # the run is under way
            press()
        return found

    monkeypatch.setattr(files, "write", writes)
    found, history, trainer = fit(path, engine=engine, steps=10**9, every=0.05)
    monkeypatch.undo()
    assert history.stopped == "interrupted"
    assert 0 < len(history) == trainer.optimizer.steps
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    again, _, _ = fit(None, engine=engine, steps=len(history))
    assert again == found
    on, more, _ = fit(path, engine=engine, steps=len(history) + 5, every=1000.0, resume=True)
    straight, _, _ = fit(None, engine=engine, steps=len(history) + 5)
    assert (on, more.stopped) == (straight, "")


def press() -> None:
    os.kill(os.getpid(), signal.SIGINT)


class Once:
    """Something that goes wrong at its n-th call, and never again."""

    def __init__(self, what: str, number: int) -> None:
        self.what, self.left = what, number

    def __call__(self, *given: Any) -> None:
        self.left -= 1
        if self.left == 0:
            if self.what == "ctrl-c":
                press()
            elif self.what == "ctrl-c twice":
                press()
                press()
            else:
                raise OSError("this went wrong")


def instrument(place: str, wrong: Once, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of `fit` with which it goes wrong there."""
    if place == "an epoch's callback":
        return {"callbacks": wrong}
    if place == "a step's callback":
        return {"callbacks": type("Steps", (Callback,), {"on_step": lambda self, run: wrong()})()}
    if place == "a metric":

        def metric(predictions: Any, targets: Any) -> float:
            wrong()
            return float(np.mean(predictions))

        return {"metrics": [metric]}
    if place == "the progress":
        show = Silent.show

        def shows(self: Any, *given: Any, **more: Any) -> None:
            wrong()
            show(self, *given, **more)

        monkeypatch.setattr(Silent, "show", shows)
    if place == "the end of the progress":
        monkeypatch.setattr(Silent, "close", wrong)
    if place == "the writing":
        write = files.write

        def writes(*given: Any) -> Any:
            if threading.current_thread() is not threading.main_thread():
                wrong()
            return write(*given)

        monkeypatch.setattr(files, "write", writes)
    if place == "the call to write":
        begin = Writer.write

        def begins(self: Any, *given: Any) -> None:
            begin(self, *given)
            wrong()

        monkeypatch.setattr(Writer, "write", begins)
    return {}


PLACES = ["an epoch's callback", "a step's callback", "a metric", "the progress", "the end of the progress",
          "the writing", "the call to write"]  # fmt: skip


@pytest.mark.parametrize("number", [1, 2, 5])
@pytest.mark.parametrize("what", ["an error", "ctrl-c", "ctrl-c twice"])
@pytest.mark.parametrize("place", PLACES)
def test_wherever_it_breaks_off_it_goes_on_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, what: str, number: int
) -> None:
    options: dict[str, Any] = {"validation": 0.2, "early_stopping": 50}
    path = tmp_path / "c.safetensors"
    with monkeypatch.context() as context:
        given = options | instrument(place, Once("never", -1), context)
        expected, whole, _ = fit(None, **given)
    model, kept = nn.MLP(2, [4, 1], activation="tanh", seed=1), None
    trainer = Trainer(model, optimizer=optim.Adam(optim.linear(0.05, 0.01, 40)))
    with monkeypatch.context() as context:
        given = options | instrument(place, Once(what, number), context)
        with contextlib.suppress(OSError, KeyboardInterrupt):
            kept = trainer.fit(X, Y, steps=40, batch_size=8, progress=False, checkpoint=path, every="3 steps", **given)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    reached = len(trainer.history)
    assert kept is None or kept is trainer.history
    assert what != "ctrl-c" or kept is not None
    assert trainer.optimizer.steps == reached
    if reached:
        again, _, _ = fit(None, steps=reached, validation=0.2)
        assert [p.data for p in model.parameters()] == again
    with monkeypatch.context() as context:
        given = options | instrument(place, Once("never", -1), context)
        found, history, _ = fit(path, resume=True, **given)
    assert found == expected
    assert history.losses == whole.losses
    assert (history.metrics, history.metric_steps) == (whole.metrics, whole.metric_steps)
    assert not list(tmp_path.glob(".*"))  # nothing half-written is left


def test_files_are_what_safetensors_reads(tmp_path: Path) -> None:
    tensors: dict[str, Any] = {
        "bytes": np.arange(3, dtype=np.uint8),
        "in pieces": [np.arange(4.0), np.empty(0), np.arange(9.0)[::3]],
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "none": [],
        "empty": np.empty((0, 4)),
        "whole": np.array([-1, 2**40]),
        "other order": np.arange(3).astype(">f8"),
    }
    path = files.write(tmp_path / "x.safetensors", "model", tensors, {"é": "ß"})
    found, metadata = files.raw(path, "model")
    assert json.loads(metadata["macrograd"])["é"] == "ß"
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        expected = np.concatenate([np.empty(0), *tensor]) if isinstance(tensor, list) else tensor
        assert np.array_equal(found[name], expected), name
        assert found[name].shape == expected.shape
    assert {name: found[name].dtype.str for name in found}["transposed"] == "<f4"


def test_checkpoints_by_seconds_stay_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("macrograd.train.checkpoint.time.perf_counter", lambda: now[0])
    spent = iter([0.0, 0.005, 1.0, 1.25])  # of the processor, before and after each
    monkeypatch.setattr("macrograd.train.checkpoint.time.thread_time", lambda: next(spent))
    writer = Writer(tmp_path / "c.safetensors", Every(seconds=1.0), {})

    def due(at: float) -> bool:
        now[0] = at
        return writer.due(5 + int(at))

    def write() -> None:
        writer.write(5 + int(now[0]), {}, History(), {})
        writer.finish()

    assert (due(0.9), due(1.0)) == (False, True)
    write()
    assert (due(1.9), due(2.0)) == (False, True)
    write()  # of this one a hundred times 0.25 s are waited for
    assert (due(26.9), due(27.0)) == (False, True)
    writer.close()


def test_no_ctrl_c_leaves_a_writer_that_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may come between any two instructions, those of Python's own locks and queues among them."""
    written: list[int] = []
    monkeypatch.setattr(files, "write", lambda path, kind, tensors, header: written.append(header["step"]))

    def two(writer: Writer) -> None:
        writer.write(1, {}, History(), {})
        writer.write(2, {}, History(), {})

    last, going = 0, True
    while going:
        written.clear()
        writer = Writer(tmp_path / "c.safetensors", Every(steps=1), {})
        going = interrupted(partial(two, writer), last)
        closing = threading.Thread(target=writer.close, daemon=True)
        closing.start()
        closing.join(60.0)
        assert not closing.is_alive()
        assert written == [1, 2][: len(written)]
        last += 1
    assert written == [1, 2]
    assert last > 100


def test_a_programs_own_way_with_ctrl_c_is_left_alone() -> None:
    def own(number: int, frame: Any) -> None:
        pass

    before = signal.signal(signal.SIGINT, own)
    try:
        with Interrupts():
            assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_training_in_a_thread_works(tmp_path: Path) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(fit(None)[0]))
    thread.start()
    thread.join()
    assert found == [fit(None)[0]]
