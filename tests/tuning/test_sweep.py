"""`mg.sweep`: the same scores however it is run, and nothing lost when processes are killed."""

from __future__ import annotations

import gc
import importlib.util
import io
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import macrograd as mg
from macrograd import nn, optim, show
from macrograd._workers import Job, Worker
from macrograd.cli import main
from macrograd.train import TrainingWarning
from macrograd.tuning import Integers, LogUniform, Uniform
from macrograd.tuning.crew import Crew, ElsewhereError
from macrograd.tuning.parcels import Parcel, received, unpacked
from macrograd.tuning.search import Line, Sweep
from macrograd.tuning.tasks import Tasks
from tests.interrupts import interrupted

ROOT = Path(mg.__file__).parent.parent
X, y = mg.datasets.make_moons(40, noise=0.2, seed=1)
SPACE: dict[str, Any] = {"width": [2, 3], "rate": LogUniform(1e-3, 1e-1)}
OPTIONS: dict[str, Any] = {"n": 4, "folds": 2, "epochs": 4, "halving": 2, "progress": False}


def make(seed: int, width: int, rate: float, dies: str = "") -> mg.Trainer:
    """A Trainer. With a file `dies`, the process dies unless the file says that one has died already."""
    if dies and width == 3 and not os.path.exists(dies):
        Path(dies).write_text("one did")
        os.kill(os.getpid(), signal.SIGKILL)
    return mg.Trainer(nn.MLP(2, [width, 1], init="he_normal", seed=seed), optimizer=optim.Adam(rate))


calls: list[int] = []


def make_beside(seed: int, width: int, rate: float, first: int, folder: str, how: str) -> mg.Trainer:
    """A Trainer; but in a process other than `first`, unless it has happened before, the process dies (or keeps dying),
    or an error is raised. Once the first one trains, it waits for that."""
    pipe, happened = Path(folder) / "pipe", Path(folder) / "happened"
    if os.getpid() == first:
        calls.append(seed)
        if len(calls) == 2:
            reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
            select.select([reader], [], [], 600.0)
            os.close(reader)
    elif how == "keeps dying" or not happened.exists():
        if not happened.exists():
            happened.write_text("it did")
            pipe.write_text("now")
        if how != "raises":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ZeroDivisionError(f"of width {width}, with {sys.warnoptions}")
    return make(seed, width, rate)


def beside(folder: Path, how: str) -> Any:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes")
    os.mkfifo(folder / "pipe")
    calls.clear()
    return partial(make_beside, first=os.getpid(), folder=str(folder), how=how)


def make_long(seed: int, width: int, rate: float, first: int, pipe: str) -> mg.Trainer:
    """A Trainer; but in a process other than `first`, which waits for it, the first is killed and a long fit begins.

    The other process writes into a pipe what it read from its input, and keeps the pipe open."""
    if os.getpid() != first:
        end = os.open(pipe, os.O_WRONLY)
        os.write(end, b"read %r" % sys.stdin.read().encode())
        os.kill(first, signal.SIGKILL)
        signal.pause()
    calls.append(seed)
    if len(calls) == 2:
        signal.pause()
    return make(seed, width, rate)


def scores(found: mg.tuning.Sweep) -> list[tuple[dict[str, Any], float, int]]:
    return [(line.values, line.score, line.fits) for line in found.lines]


@pytest.fixture(scope="module")
def alone() -> mg.tuning.Sweep:
    return mg.sweep(make, X, y, SPACE, **OPTIONS)


def test_halving_trains_the_best_for_longer(alone: mg.tuning.Sweep) -> None:
    assert [(line.rung, line.epochs, line.fits) for line in alone.lines] == [(2, 4, 6), (1, 2, 4), (0, 1, 2), (0, 1, 2)]
    assert alone.score == alone.lines[0].score < alone.lines[2].score
    assert alone.best == alone.lines[0].values


def test_the_score_of_a_fit_is_that_of_the_fit_alone(alone: mg.tuning.Sweep) -> None:
    plain = mg.sweep(make, X, y, {"width": [2], "rate": [0.05]}, n=1, folds=1, epochs=3, progress=False)
    fold = mg.tuning.trial.folds_of(y, 1, 0)
    assert (fold == 0).sum() == 10
    assert sorted(y[fold == 0]) == [0] * 5 + [1] * 5
    trainer = make(0, 2, 0.05)
    trainer.fit(X[fold != 0], y[fold != 0], epochs=3, progress=False)
    # A sweep trains nets on lanes, which add the samples in another order.
    assert plain.score == pytest.approx(trainer.evaluate(X[fold == 0], y[fold == 0])["loss"], rel=1e-12)


def test_a_score_has_the_same_bits_for_any_number_of_workers(alone: mg.tuning.Sweep) -> None:
    pytest.importorskip("joblib")
    for workers in (2, 8):  # threads are the same pool as processes, and start at once
        assert scores(mg.sweep(make, X, y, SPACE, **OPTIONS, workers=workers, on="threading")) == scores(alone)


def test_a_score_does_not_depend_on_the_trials_beside_it() -> None:
    """Though numbers that differ between members, such as decays, are data in a program, and else constants."""

    def decayed(seed: int, width: int, rate: float) -> mg.Trainer:
        net = nn.MLP(2, [width, 1], init="he_normal", seed=seed)
        return mg.Trainer(net, "huber", optim.AdamW(0.01, weight_decay=rate), l2=0.3 * rate)

    fold, configs = mg.tuning.trial.folds_of(y, 3, 0), [{"width": 2, "rate": 0.01 * k} for k in range(1, 10)]
    for kind in (make, decayed):
        work = mg.tuning.trial.Work(kind, X, 1.0 * y if kind is decayed else y, fold, configs, "loss")
        trials = [mg.tuning.trial.Trial(k, 0, k % 3, 0, 2) for k in range(9)]
        together = [outcome.score for outcome in work(trials)]
        assert [work([trial])[0].score for trial in trials[:2]] == together[:2]
        assert [outcome.score for outcome in work(trials[::-1])] == together[::-1]


def test_tasks_take_about_a_second_and_leave_some_for_all() -> None:
    configs = [{"width": k % 2, "rate": 0.1 * k} for k in range(2000)]
    work = mg.tuning.trial.Work(make, X, y, np.zeros(40), configs, "loss")
    trials = [mg.tuning.trial.Trial(k, 0, 0, 0, 1) for k in range(2000)]
    tasks = Tasks(work, trials, 2)
    sizes, seen = [], []
    for some in tasks:
        assert len({work.configs[trial.config]["width"] for trial in some}) == 1
        tasks.done([mg.tuning.trial.Outcome(trial, 0.0, 0.01) for trial in some])
        sizes.append(len(some))
        seen += some
    assert sorted(trial.config for trial in seen) == list(range(2000))
    assert sizes[0] == 8
    assert max(sizes) == 100
    assert sizes[-2] == 8, "the last ones are shorter, so that all workers end together"
    slow = Tasks(work, trials[:20], 2)
    assert [len(slow.done([mg.tuning.trial.Outcome(t, 0.0, 9.0) for t in some])) for some in slow][1:] == [1] * 12


@pytest.mark.parametrize(("width", "together"), [(2, 2_000_000 // 9), (8_000, 2_000_000 // 32_001), (10**6, 1)])
def test_few_large_nets_are_made_at_once(width: int, together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sized = type("Sized", (nn.Module,), {"parameters": lambda self: range(4 * width + 1), "__call__": lambda *x: 0})
    work = mg.tuning.trial.Work(
        lambda seed, rate: mg.Trainer(sized(), "squared_error"), X, y, np.zeros(40), [{"rate": 0.1}] * 90, "loss"
    ).checked(1)
    assert work.together == together
    trials = [mg.tuning.trial.Trial(k, 0, 0, 0, 1) for k in range(90)]
    sizes = [len(some) for some in Tasks(work, trials, 1)]
    assert sum(sizes) == 90
    assert max(sizes) == min(8, together)


def test_a_killed_process_costs_no_result_and_no_bit(alone: mg.tuning.Sweep, tmp_path: Path) -> None:
    dies = beside(tmp_path, "dies")
    found = mg.sweep(dies, X, y, SPACE, **OPTIONS, workers=2, folder=tmp_path / "sweep")
    assert (tmp_path / "happened").exists()
    assert scores(found) == scores(alone)


def test_an_error_in_another_process_is_raised_here_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of a process with the options of this one, which its start may make print."""
    (tmp_path / "sitecustomize.py").write_text("print('from the start', flush=True)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sys, "warnoptions", [*sys.warnoptions, "ignore:a text of this test"])
    with pytest.raises(ZeroDivisionError, match=r"of width [23], with .*'ignore:a text of this test'\]") as caught:
        mg.sweep(beside(tmp_path, "raises"), X, y, SPACE, **OPTIONS, workers=2)
    assert isinstance(caught.value.__cause__, ElsewhereError)
    assert "in make_beside" in str(caught.value.__cause__)
    assert "from the start" in capfd.readouterr().err


def test_no_process_stays_behind_when_they_are_not_all_started(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Job] = []

    def pressed(worker: Worker, job: Job) -> None:
        if len(begun) == 1:
            begun.append(job)
            raise KeyboardInterrupt
        begun.append(job)
        begin(worker, job)

    begin = Worker.begin
    monkeypatch.setattr(Worker, "begin", pressed)
    with pytest.raises(KeyboardInterrupt):
        mg.sweep(make, X, y, SPACE, **OPTIONS, workers=3)
    assert [job.done for job in begun] == [True] * len(begun)


class Tens(list[list[Any]]):
    """Tasks that are done as soon as they are begun."""

    def done(self, outcomes: list[Any]) -> list[Any]:
        return outcomes


class Beside(Crew):
    """A crew whose threads do what they would give to processes. `running` has an element for each."""

    running: list[int]

    def _one(self) -> None:
        self.running.append(1)
        while (some := self._wanted()) is not None:
            self._keep(some, None, "")
        self.running.pop()


def test_no_interrupt_leaves_a_thread_that_waits_for_ever() -> None:
    """Also if it comes while the crew is closed."""
    running: list[int] = []

    def run() -> list[Any]:
        crew = Beside(cast("Any", list), 2)
        crew.running = running
        try:
            return [x for _ in range(2) for some in crew.run(cast("Any", Tens([[1], [2], [3]]))) for x in some]
        finally:
            crew.close()

    last = 0
    while interrupted(run, last, real=True):
        assert not running
        last += 1
    assert last > 50
    assert sorted(run()) == [1, 1, 2, 2, 3, 3]


def test_processes_that_keep_dying_end_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"3 processes died in a row .* use fewer than 2 workers"):
        mg.sweep(beside(tmp_path, "keeps dying"), X, y, SPACE, **OPTIONS, workers=2)


def test_a_parcel_is_unpacked_as_it_was_with_large_arrays_in_a_file() -> None:
    large, odd = np.arange(300_000.0), np.ones(1_100_001, dtype=np.int8)
    parcel, stream = Parcel((partial(make, width=2), large, odd, large[:3])), io.BytesIO()
    parcel.send(stream)
    assert len(parcel.descriptors) == (os.name == "posix")
    assert len(stream.getvalue()) < 10_000 or os.name != "posix"
    stream.seek(0)
    made, *arrays = unpacked(*received(stream))
    parcel.close()
    assert made.func is make
    for array, right in zip(arrays, (large, odd, large[:3]), strict=True):
        assert np.array_equal(array, right)
        assert array.flags.aligned
    with pytest.raises(EOFError, match="the other process ended"):
        received(io.BytesIO(b"12"))


def test_functions_without_an_importable_name_are_sent_with_their_code() -> None:
    pytest.importorskip("joblib")
    stream, factor = io.BytesIO(), 3
    parcel = Parcel(lambda x: factor * x)
    parcel.send(stream)
    stream.seek(0)
    assert unpacked(*received(stream))(2) == 6
    with pytest.raises(TypeError, match="make and the data are sent to other processes, but cannot be pickled"):
        Parcel((threading.Lock(), lambda: 0))


ORPHAN = """
import os, sys
sys.path.insert(0, {root!r})
from tests.tuning.test_sweep import *
mg.sweep(partial(make_long, first=os.getpid(), pipe={pipe!r}), X, y, SPACE, **OPTIONS, workers=2)
"""


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_a_long_fit_ends_with_the_process_that_wanted_it(tmp_path: Path) -> None:
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)
    program = ORPHAN.format(root=str(ROOT), pipe=pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT) as first:
        assert first.wait(600.0) == -signal.SIGKILL
    found = b""
    while select.select([reader], [], [], 600.0)[0] and (some := os.read(reader, 100)):
        found += some
    assert os.read(reader, 1) == b"", "the other process is still there"
    os.close(reader)
    assert found == b"read b''"


PROGRAM = """
import sys
import threading
sys.path.insert(0, {root!r})
from tests.tuning.test_sweep import *
mg.sweep(partial(make, dies={died!r}), X, y, SPACE, **OPTIONS, folder={folder!r})
"""


def test_a_killed_sweep_goes_on_from_its_folder(alone: mg.tuning.Sweep, tmp_path: Path) -> None:
    folder, died = tmp_path / "sweep", tmp_path / "died"
    program = PROGRAM.format(root=str(ROOT), died=str(died), folder=str(folder))
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == -signal.SIGKILL, run.stderr
    there = (folder / "results.jsonl").read_text().splitlines()
    assert 0 < len(there) < 14
    with open(folder / "results.jsonl", "a") as file:
        file.write('{"config": 1, "rung"')  # a line that was being written
    made = []

    def counted(seed: int, width: int, rate: float) -> mg.Trainer:
        made.append((width, rate))
        return make(seed, width, rate)

    found = mg.sweep(counted, X, y, SPACE, **OPTIONS, folder=folder)
    assert scores(found) == scores(alone)
    assert len(made) == 1 + 14 - len(there)  # one to try what it makes
    mg.sweep(counted, X, y, SPACE, **OPTIONS, folder=folder)
    assert len(made) == 1 + 14 - len(there) + 1, "nothing is left to do"
    with pytest.raises(ValueError, match="holds another sweep: its seeds was 1, now it is 2"):
        mg.sweep(make, X, y, SPACE, **OPTIONS, seeds=2, folder=folder)
    with pytest.raises(ValueError, match="holds another sweep: its data were others"):
        mg.sweep(make, 2.0 * X, y, SPACE, **OPTIONS, folder=folder)
    (folder / "results.jsonl").write_text("[]\n")
    with pytest.raises(ValueError, match="damaged in line 1"):
        mg.sweep(make, X, y, SPACE, **OPTIONS, folder=folder)


TIED = """
import os, subprocess, sys
child = "import sys, threading; from macrograd.tuning import tied; tied.LOOKS_EVERY = 0.01; "
child += "tied.Tied(lambda trials: print('at work', flush=True), int(sys.argv[1]))([]); threading.Event().wait()"
process = subprocess.Popen([sys.executable, "-c", child, str(os.getpid())])
sys.stdin.readline()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="orphans keep the number of their parent")
def test_processes_of_a_backend_end_with_the_sweep() -> None:
    with subprocess.Popen([sys.executable, "-c", TIED], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline().split() == [b"at", b"work"]
        owner.kill()
        assert owner.stdout.read() == b""  # the other holds its end as long as it lives


@pytest.mark.skipif(importlib.util.find_spec("distributed") is None, reason="needs macrograd[dask]")
@pytest.mark.filterwarnings("ignore")  # of distributed, about what it itself does
def test_a_dask_cluster_of_processes_loses_a_worker_and_nothing_else(alone: mg.tuning.Sweep, tmp_path: Path) -> None:
    import dask
    import distributed

    settings: dict[str, Any] = {"threads_per_worker": 1, "processes": True, "memory_limit": None}
    with (
        dask.config.set({f"distributed.comm.timeouts.{what}": "600s" for what in ("connect", "tcp")}),
        distributed.LocalCluster(n_workers=2, dashboard_address=None, **settings) as cluster,
        distributed.Client(cluster, timeout=600) as client,
    ):
        dies = partial(make, dies=str(tmp_path / "died"))
        found = mg.sweep(dies, X, y, SPACE, **OPTIONS, on=client)
    gc.collect()  # or what distributed leaves unclosed warns in a later test
    assert (tmp_path / "died").exists()
    assert scores(found) == scores(alone)


LEAN = """
import sys
from pathlib import Path
sys.path.insert(0, str(Path({path!r}).parent))
from test_sweep import X, y, make
from macrograd.tuning.trial import Trial, Work, folds_of
work = Work(make, X, y, folds_of(y, 2, 0), [{{"width": 2, "rate": 0.1}}], "loss")
before = set(sys.modules)
work([Trial(0, 0, 0, 0, 2)])
print(*sorted(set(sys.modules) - before))
"""


def test_a_worker_that_finds_all_code_loads_nothing_that_makes_code(tmp_path: Path) -> None:
    """Its start is most of what a short task costs."""
    environment = {**os.environ, "MACROGRAD_CACHE": str(tmp_path), "MACROGRAD_TIERS": "best"}
    command = [sys.executable, "-c", LEAN.format(path=__file__)]
    run = partial(subprocess.run, command, env=environment, capture_output=True, text=True, check=True)
    run()
    loaded = run().stdout.split()
    assert "macrograd.compiler.targets.llvm.net_steps" in loaded
    makes = ("llvmlite.binding", "macrograd.compiler.roll", "macrograd.compiler.targets.scalar.emit")
    makes += ("macrograd.compiler.targets.llvm.code", "macrograd.compiler.targets.scalar.routines")
    assert [name for name in loaded if name.startswith(makes)] == []


def test_training_loads_neither_the_readers_of_tables_nor_what_few_runs_use() -> None:
    program = "import sys, macrograd as mg, macrograd.tuning.trial; mg.Trainer; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    unused = ("tables.plan", "tables.reading", "train.schema", "train.health", "train.saving", "tuning.search")
    assert not {f"macrograd.{name}" for name in unused} & set(loaded)


def test_a_fit_that_diverges_comes_last(tmp_path: Path) -> None:
    def sgd(seed: int, rate: float) -> mg.Trainer:
        return mg.Trainer(nn.MLP(2, [2, 1], seed=seed), "squared_error", optim.SGD(rate))

    found = mg.sweep(sgd, X, 1.0 * y, {"rate": [1e200, 0.01]}, epochs=2, folds=1, progress=False, metric="r2")
    assert [line.values["rate"] for line in found.lines] == [0.01, 1e200]
    assert math.isnan(found.lines[1].score)
    assert "DivergedError" in found.lines[1].error
    assert "diverged" in str(found)
    assert found.to_csv(tmp_path / "t.csv").read_text().splitlines()[2].startswith("1e+200,,,2,1,")


def test_a_sweep_without_a_score_says_so(tmp_path: Path) -> None:
    def sgd(seed: int, rate: float) -> mg.Trainer:
        return mg.Trainer(nn.MLP(2, [2, 1], seed=seed), "squared_error", optim.SGD(rate))

    said = (
        r"none of the 2 settings has a score, since fits of each failed \(4 fits in all\); with rate=1e\+200: "
        r"DivergedError: .*\. Try smaller learning rates, or features and targets that are scaled"
    )
    with pytest.warns(TrainingWarning, match=said):
        found = mg.sweep(sgd, X, 1.0 * y, {"rate": [1e200, 1e199]}, epochs=2, folds=2, progress=False)
    assert repr(found) == "Sweep(2 settings, none with a score)"
    with pytest.raises(ValueError, match=said):
        found.best  # noqa: B018 - raises
    with pytest.raises(ValueError, match=said):
        found.score  # noqa: B018 - raises


def test_settings_with_a_score_stand_before_others_that_diverged_in_longer_fits() -> None:
    nan = math.nan
    lines = [Line({"a": 1}, nan, nan, 1, 9, 2, 0.0, "E"), Line({"a": 2}, 0.5, 0.0, 0, 3, 1, 0.0, "")]
    assert Sweep("loss", ["a"], lines).best == {"a": 2}


def test_frames_and_estimators() -> None:
    pandas, sklearn = pytest.importorskip("pandas"), pytest.importorskip("macrograd.sklearn")
    frame = pandas.DataFrame({"x": X[:, 0], "where": np.where(X[:, 1] > 0, "up", "down")})

    def estimator(seed: int, hidden: list[int]) -> Any:
        return sklearn.NetClassifier(hidden, members=1, random_state=seed)

    found = mg.sweep(estimator, frame, y, {"hidden": [[2]]}, n=1, folds=1, epochs=2, progress=False)
    assert found.metric == "score"
    assert 0.0 <= found.score <= 1.0
    with pytest.raises(ValueError, match=r"metric 'loss' is for Trainers: an estimator is evaluated by its score\(\)"):
        mg.sweep(estimator, frame, y, {"hidden": [[2]]}, metric="loss", progress=False)


def test_what_is_drawn() -> None:
    space = {"a": Uniform(-1.0, 1.0), "b": Integers(1, 3), "c": ["x", "y"]}
    found = mg.tuning.space.drawn(space, 50, seed=3)
    assert found == mg.tuning.space.drawn(space, 50, seed=3)
    assert {one["b"] for one in found} == {1, 2, 3}
    assert all(-1.0 <= one["a"] <= 1.0 for one in found)
    assert len(mg.tuning.space.drawn({"b": Integers(1, 3), "c": ["x", "y"]}, 50, seed=3)) == 6


BAD: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "no space": (TypeError, "space must be a dict", {"space": {}}),
    "a tuple": (TypeError, r"space\['rate'\] is \(1, 2\): give a list of values", {"space": {"rate": (1, 2)}}),
    "a seed": (ValueError, "space names 'seed'", {"space": {"seed": [1]}}),
    "make": (TypeError, r"make is called as make\(seed=…, w=…\), which it does not take", {"space": {"w": [1]}}),
    "no make": (TypeError, "make must be a function", {"make": 3}),
    "a net": (TypeError, "make must return a Trainer", {"make": lambda seed, width, rate: 3}),
    "n": (ValueError, "n must be an integer of at least 1, got 0", {"n": 0}),
    "halving": (ValueError, "halving must be an integer of at least 2, got 1", {"halving": 1}),
    "epochs": (ValueError, "halving needs epochs", {"epochs": None}),
    "folds": (ValueError, "40 rows cannot be cut into 41 folds", {"folds": 41}),
    "metric": (ValueError, "unknown metric 'auc': use loss, score, accuracy", {"metric": "auc"}),
    "score": (ValueError, "metric 'score' is for scikit-learn estimators", {"metric": "score"}),
    "workers": (ValueError, "workers must be an integer of 1 or more, got 0", {"workers": 0}),
    "backend": (ValueError, r"on='nowhere' is no joblib backend that works here: Invalid backend", {"on": "nowhere"}),
    "backend of lists": (ValueError, r"on='multiprocessing' hands out results when all fits are done",
        {"on": "multiprocessing", "workers": 2}),
    "on": (TypeError, r"on must be a dask\.distributed\.Client", {"on": 3}),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_bad_input_is_found_before_any_fit(what: str) -> None:
    kind, message, change = BAD[what]
    options = {"make": make, "X": X, "y": y, "space": SPACE, **OPTIONS, **change}
    with pytest.raises(kind, match=message):
        mg.sweep(**options)


@pytest.mark.parametrize("kind", [Uniform, LogUniform, Integers])
def test_bad_ends(kind: Any) -> None:
    with pytest.raises(ValueError, match="low < high"):
        kind(2, 1)
    with pytest.raises(ValueError, match=r"must be 0 < low < high|ends must be integers|both finite"):
        kind(0 if kind is LogUniform else 0.5, math.inf if kind is Uniform else 1.5)


def test_the_picture(alone: mg.tuning.Sweep, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figure = show.sweep(alone)
    assert [ax.get_xlabel() for ax in figure.axes] == ["width", "rate"]
    assert show.save(figure, tmp_path / "s.png").stat().st_size > 1000


def test_the_command(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("duckdb")
    monkeypatch.chdir(tmp_path)
    rows = [f"{a:.3f},{b:.3f},{'ab'[k]}" for (a, b), k in zip(X, y, strict=True)]
    Path("t.csv").write_text("\n".join(["p,q,kind", *rows]))
    arguments = ["tune", "t.csv", "--target", "kind", "--tries", "2", "--folds", "1", "--epochs", "2", "--quiet"]
    assert main([*arguments, "--folder", "found", "--save", "m", "--csv", "r.csv"]) == 0
    out = capsys.readouterr().out
    assert "hidden  activation" in out
    assert "on the 32 rows of the search, accuracy" in out
    assert " on 8 that it has not seen\n" in out
    assert len(Path("r.csv").read_text().splitlines()) == 3
    assert json.loads(Path("found/sweep.json").read_text())["folds"] == 1
    assert main([*arguments, "--folder", "found"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == out.splitlines()[:3]
    assert main(["predict", "m", "t.csv"]) == 0
    assert {line[-1] for line in capsys.readouterr().out.splitlines()[1:]} <= {"a", "b"}
    assert main([*arguments, "--halving", "1"]) == 2
    assert "--halving 1: the best one of N go on" in capsys.readouterr().err


def test_a_folder_of_almost_the_same_settings_is_another_sweep(tmp_path: Path) -> None:
    options: dict[str, Any] = {"folds": 1, "epochs": 1, "progress": False, "folder": tmp_path}
    mg.sweep(make, X, y, {"width": [2], "rate": [0.010001]}, **options)
    with pytest.raises(ValueError, match="holds another sweep: its settings"):
        mg.sweep(make, X, y, {"width": [2], "rate": [0.01]}, **options)


def _raises(run: Any) -> None:
    raise ZeroDivisionError("of a callback")


FIT_OPTIONS: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "rows": (ValueError, "the sweep holds out rows itself", {"rows": [0, 1]}),
    "epochs": (ValueError, "the option epochs=3, but the sweep sets the length of a fit, epochs=2", {"epochs": 3}),
    "steps": (ValueError, "the option steps=3, but the sweep sets the length", {"steps": 3}),
    "batch": (ValueError, r"with \{'width': 2, 'rate': 0\.1\}, fold 0: batch_size 500", {"batch_size": 500}),
    "together": (ZeroDivisionError, "of a callback", {"callbacks": _raises}),
    "alone": (ZeroDivisionError, "of a callback", {"callbacks": _raises, "progress": False}),
}


@pytest.mark.parametrize("what", FIT_OPTIONS)
def test_options_of_a_fit_that_a_sweep_cannot_use(what: str) -> None:
    kind, message, fit = FIT_OPTIONS[what]
    with pytest.raises(kind, match=message):
        mg.sweep(lambda **settings: (make(**settings), fit), X, y, {"width": [2], "rate": [0.1]}, folds=2, epochs=2,
                 progress=False)  # fmt: skip


def test_samples_and_targets_of_different_lengths_are_found_before_any_fit() -> None:
    with pytest.raises(ValueError, match="X has 30 samples and y 40 targets"):
        mg.sweep(make, X[:30], y, SPACE, **OPTIONS)


def test_a_model_that_make_returns_twice_is_refused() -> None:
    one = make(0, 2, 0.01)
    with pytest.raises(ValueError, match="make returned the model of an earlier fit: make a new one at every call"):
        mg.sweep(lambda seed, rate: one, X, y, {"rate": [0.1]}, n=1, folds=2, epochs=1, progress=False)
