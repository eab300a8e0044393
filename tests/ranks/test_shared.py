"""Compiled functions and training whose batches several ranks share, on a communicator of threads."""

from __future__ import annotations

import os
import pickle
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from fake import Comm, Group, on_ranks

import macrograd as mg
from macrograd import nn, optim
from macrograd.ranks import OtherRankError, Ranks
from macrograd.train import DivergedError, TrainingWarning
from macrograd.train.callbacks import Callback, Run

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(300, 2)), rng.normal(size=300)


def square(net: nn.Module) -> Callable[..., Any]:
    return lambda x, t: (net(x) - t) ** 2


# --- compiled functions ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"dtype": "float32", "strict": True}, {"backend": "numpy"}], ids=str)
def test_the_same_bits_for_any_number_of_ranks(settings: dict[str, Any]) -> None:
    net = nn.MLP(2, [3, 1], seed=0)
    more: dict[str, Any] = {"batch": True, **settings}

    def work(comm: Any) -> list[Any]:
        f, g = (mg.compile(fn, comm=comm, **more) for fn in (square(net), net.__call__))
        found: list[Any] = []
        for n in (7, 300):
            values = f(X[:n], Y[:n])
            value, gradient = f.value_and_grad(f.theta(), X[:n], Y[:n])
            found += [value, gradient.tobytes(), values.tobytes(), g(X[:n]).tobytes()]
        return found

    (one,) = on_ranks(1, work)
    for size in (3, 8):
        assert on_ranks(size, work) == [one] * size
    plain = mg.compile(square(net), **more)
    values = plain(X, Y)
    value, gradient = plain.value_and_grad(plain.theta(), X, Y)
    rtol = 1e-5 if "dtype" in settings else 1e-13
    assert np.allclose(one[4], value, rtol=rtol)
    assert np.allclose(np.frombuffer(one[5], gradient.dtype), gradient, rtol=100 * rtol, atol=rtol)
    assert np.allclose(np.frombuffer(one[6], values.dtype), values, rtol=rtol)


def test_threads_change_no_bit() -> None:
    net = nn.MLP(2, [5, 1], seed=0)

    def work(comm: Any, threads: int = 1) -> bytes:
        f = mg.compile(square(net), batch=True, comm=comm, threads=threads)
        f(X, Y)
        return f.value_and_grad(f.theta(), X, Y)[1].tobytes()

    assert on_ranks(2, work) == on_ranks(2, lambda comm: work(comm, threads=3))


def test_each_rank_computes_its_part_alone() -> None:
    def work(comm: Any) -> Any:
        f = mg.compile(lambda x: mg.exp(x[0]), batch=True, comm=comm).bind(X)
        f.arguments[0][:] = np.nan  # all rows but its own are read nowhere
        rows = slice(0, 160) if comm.Get_rank() == 0 else slice(160, 300)
        f.arguments[0][rows] = X[rows]
        return np.array(f())

    for found in on_ranks(2, work):
        assert np.isclose(found, np.exp(X[:, 0]).mean(), rtol=1e-13)


def test_other_data_parameters_or_programs_are_refused() -> None:
    net, other = nn.MLP(2, [3, 1], seed=0), nn.MLP(2, [3, 1], seed=1)

    def work(comm: Any, nets: Any, data: Any, power: Any = (2, 2)) -> Any:
        k = comm.Get_rank()
        return mg.compile(lambda x, t: (nets[k](x) - t) ** power[k], batch=True, comm=comm)(data[k], Y[: len(data[k])])

    cases = {
        "other parameters than rank 1": ((net, other), (X, X)),
        "other data than rank 1": ((net, net), (X, X[::-1])),
        "a batch of 300 samples and rank 1 of 200": ((net, net), (X, X[:200])),
        "another program than rank 1": ((net, net), (X, X), (2, 4)),
    }
    for message, case in cases.items():
        for found in on_ranks(2, lambda comm, case=case: work(comm, *case)):
            assert isinstance(found, OtherRankError), found
            assert f"rank 0 was given {message}" in str(found)


def test_an_index_out_of_range_on_one_rank_is_an_error_on_all() -> None:
    rows = np.arange(300) % 3
    rows[299] = 3
    table = [mg.Value(float(k)) for k in range(3)]

    def work(comm: Any) -> Any:
        f = mg.compile(lambda i: mg.take(table, i), batch=True, comm=comm)
        return f.value_and_grad([0.0, 1.0, 2.0], rows)

    for found in on_ranks(2, work):
        assert isinstance(found, IndexError)
        assert "sample 299: take() index 3 is outside 0 … 2" in str(found)


def test_settings_that_do_not_go_together() -> None:
    comm = Comm(Group(1), 0)
    with pytest.raises(ValueError, match="needs batch=True"):
        mg.compile(lambda x: x, comm=comm)
    with pytest.raises(TypeError, match='comm must be "world" or a communicator of mpi4py'):
        mg.compile(lambda x: x, batch=True, comm=4)
    with pytest.raises(ValueError, match="only the compiled engine"):
        mg.Trainer(nn.MLP(2, [1]), engine="eager", comm=comm)
    with pytest.raises(ValueError, match="member 0 was made with comm="):
        mg.train_many([mg.Trainer(nn.MLP(2, [1]), comm=comm)], X, Y)
    f = mg.compile(os.fspath, batch=True, comm=comm)
    with pytest.raises(TypeError, match="without comm"):
        pickle.dumps(f)
    trainer = pickle.loads(pickle.dumps(mg.Trainer(nn.MLP(2, [1]), comm=comm)))  # noqa: S301 - made here
    assert trainer.setup.ranks is None


def test_without_mpi4py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(ImportError, match=r'pip install "macrograd\[mpi\]"'):
        mg.Trainer(nn.MLP(2, [1]), comm="world")


class _NoLibrary:
    """mpi4py where no MPI library is."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("cannot load MPI library\nlibmpi.so: no such file")


def test_an_mpi4py_without_a_library_or_of_another_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mpi4py", _NoLibrary())
    with pytest.raises(ImportError, match=r"finds no MPI library \(cannot load MPI library\): pip install mpich"):
        Ranks("world")
    world = SimpleNamespace(MPI=SimpleNamespace(COMM_WORLD=Comm(Group(1), 0)))
    monkeypatch.setitem(sys.modules, "mpi4py", world)
    monkeypatch.setenv("PMI_SIZE", "4")
    with pytest.warns(UserWarning, match="4 processes were launched, but each is alone in its communicator"):
        assert Ranks("world").size == 1


# --- training -------------------------------------------------------------------------------------------------------


def trained(comm: Any, folder: Path | None = None, **options: Any) -> tuple[Any, ...]:
    model = nn.MLP(2, [4, 1], seed=0)
    trainer = mg.Trainer(model, "squared_error", optim.Adam(1e-2), comm=comm)
    settings = {"epochs": 2, "batch_size": 50, "validation": 0.2, "metrics": ["r2"], "progress": False, **options}
    data = (X, Y)
    if folder is not None:  # each rank reads from a file
        np.save(folder / "x.npy", X)
        data = (np.load(folder / "x.npy", mmap_mode="r"), Y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TrainingWarning)  # two epochs are too few to learn
        history = trainer.fit(*data, **settings)
    return [p.data for p in model.parameters()], history.losses, dict(history.metrics), history.stopped


@pytest.fixture(scope="module")
def alone() -> tuple[Any, ...]:
    return on_ranks(1, trained)[0]


@pytest.mark.parametrize("size", [2, 8])
def test_training_has_the_same_bits_for_any_number_of_ranks(size: int, alone: tuple[Any, ...]) -> None:
    assert on_ranks(size, trained) == [alone] * size
    plain = trained(None)
    assert np.allclose(alone[0], plain[0], rtol=1e-9)
    assert np.allclose(alone[2]["validation_loss"], plain[2]["validation_loss"], rtol=1e-12)


def test_which_units_are_dropped_does_not_depend_on_the_ranks() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.first, self.drop, self.last = nn.MLP(2, [5], seed=0), nn.Dropout(0.5), nn.MLP(5, [1], seed=1)

        def __call__(self, x: Any) -> Any:
            return self.last(self.drop(self.first(x)))

    def work(comm: Any) -> Any:
        trainer = mg.Trainer(Net(), "squared_error", optim.SGD(1e-2), comm=comm)
        return trainer.fit(X, Y, steps=7, batch_size=50, seed=3, progress=False).losses

    (one,) = on_ranks(1, work)
    assert on_ranks(3, work) == [one] * 3
    assert np.allclose(one, work(None), rtol=1e-12)


def test_data_in_a_file_are_read_by_the_rank_that_needs_them(tmp_path: Path) -> None:
    def work(comm: Any) -> Any:
        return trained(comm, tmp_path, validation=(X[:50], Y[:50]))

    (one,) = on_ranks(1, lambda comm: trained(comm, validation=(X[:50], Y[:50])))
    assert on_ranks(3, work) == [one] * 3


def test_rank_0_writes_the_checkpoint_and_all_resume_from_it(tmp_path: Path, alone: tuple[Any, ...]) -> None:
    def work(comm: Any, **options: Any) -> Any:
        name = "run" if comm.Get_rank() == 0 else "nowhere"  # the others have another disk
        return trained(comm, checkpoint=tmp_path / name, **options)

    on_ranks(2, lambda comm: work(comm, epochs=1))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert on_ranks(4, lambda comm: work(comm, resume=True)) == [alone] * 4
    refused = on_ranks(2, work)
    assert isinstance(refused[0], FileExistsError)
    assert isinstance(refused[1], OtherRankError)
    assert "rank 0 failed: FileExistsError: the checkpoint" in str(refused[1])


class _On(Callback):
    """Does something after a step of one rank."""

    def __init__(self, comm: Any, rank: int, act: Callable[[Run], None], step: int = 3) -> None:
        self.mine, self.act, self.step = comm.Get_rank() == rank, act, step

    def on_step(self, run: Run) -> None:
        if self.mine and run.step == self.step:
            self.act(run)


def _broken(run: Run) -> None:
    raise ValueError("the disk is full")


def _pressed(run: Run) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("step", [3, 10], ids=["in the middle", "at the end"])
def test_an_error_on_one_rank_ends_all_with_its_message(step: int) -> None:
    found = on_ranks(3, lambda comm: trained(comm, callbacks=_On(comm, 1, _broken, step)))
    assert isinstance(found[1], ValueError)
    for other in (found[0], found[2]):
        assert isinstance(other, OtherRankError)
        assert str(other) == "rank 1 failed: ValueError: the disk is full"


def test_an_error_before_the_first_step_ends_all() -> None:
    found = on_ranks(2, lambda comm: trained(comm, batch_size=50 if comm.Get_rank() else 5000))
    assert isinstance(found[0], ValueError)
    assert "rank 0 failed: ValueError: batch_size 5000 is larger than" in str(found[1])


@pytest.mark.parametrize(
    ("act", "step"),
    [(lambda run: run.stop("enough"), 3), (lambda run: run.stop("early stopping"), 3), (_pressed, 3), (_pressed, 10)],
    ids=["stop", "stop with a word of ours", "interrupt", "interrupt at the end"],
)
def test_a_rank_that_stops_stops_all_after_the_same_step(act: Any, step: int) -> None:
    found = on_ranks(3, lambda comm: trained(comm, callbacks=_On(comm, 2, act, step)))
    parameters, losses = found[0][:2]
    assert len(losses) == step
    assert all(other[0] == parameters and other[1] == losses for other in found)
    assert found[2][3] in ("enough", "early stopping", "interrupted")


def test_a_loss_that_is_not_finite_ends_all_with_the_same_error() -> None:
    def work(comm: Any) -> Any:
        model = nn.MLP(2, [4, 1], seed=0)
        trainer = mg.Trainer(model, "squared_error", optim.SGD(1e200), comm=comm)
        return trainer.fit(X, Y, epochs=2, progress=False)

    found = on_ranks(2, work)
    assert isinstance(found[0], DivergedError)
    assert str(found[0]) == str(found[1])


def test_runs_that_differ_are_refused() -> None:
    for option in ({"seed": 1}, {"epochs": 3}, {"validation": 0.3}):
        found = on_ranks(2, lambda comm, option=option: trained(comm, **(option if comm.Get_rank() else {})))
        assert all(isinstance(one, OtherRankError) for one in found), found


# --- errors that nobody catches -------------------------------------------------------------------------------------


def test_an_error_that_nobody_catches_aborts(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[Any] = []
    group = Group(2)
    monkeypatch.setattr(sys, "excepthook", lambda *error: said.append(error[1]))
    monkeypatch.setattr("macrograd.ranks.ranks.ending", [])
    monkeypatch.setattr("macrograd.ranks.ranks.PATIENCE", 0.0)
    Ranks(Comm(group, 0))
    assert not group.aborted
    for error in (ValueError("lost"), OtherRankError("rank 1 failed")):
        group.aborted = False
        sys.excepthook(type(error), error, None)
        assert group.aborted
    assert [str(error) for error in said] == ["lost", "rank 1 failed"]
