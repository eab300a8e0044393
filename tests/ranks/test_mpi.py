"""Training and compiled functions on real processes, started by mpiexec; skipped where mpi4py or an MPI is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake import on_ranks

import macrograd as mg
from macrograd import nn, optim

MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))


def bits(comm: Any, checkpoint: str | None = None) -> str:
    """What training and one compiled function find, to the last bit."""
    X, y = mg.datasets.make_moons(200, noise=0.1, seed=0)
    model = nn.MLP(2, [4, 1], seed=0)
    trainer = mg.Trainer(model, "binary_cross_entropy", optim.Adam(0.05), comm=comm, own_rows=True)
    rows = trainer.setup.ranks.share(200)
    mine = slice(rows.start, rows.stop)
    trainer.fit(X[mine], y[mine], epochs=10, batch_size=100, validation=0.5, progress=False, checkpoint=checkpoint)
    f = mg.compile(lambda x: model(x) ** 2, batch=True, comm=comm)
    value, gradient = (f(X), f.value_and_grad(f.theta(), X))[1]
    g = mg.compile(lambda x, t: (model(x) - t) ** 2, batch=True, comm=comm, own_rows=True)
    cut = slice(rows.start and rows.start - 7, rows.stop - 7 if rows.stop < 200 else 200)  # not where leaves begin
    own, (mean, slope) = (g(X[cut], y[cut]), g.value_and_grad(g.theta(), X[cut], y[cut]))
    assert np.array_equal(own, mg.compile(g.fn, batch=True, comm=comm)(X, y)[cut])
    numbers = [*(p.data for p in model.parameters()), *trainer.history.losses, value, *gradient, mean, *slope]
    return np.array(numbers).tobytes().hex()


if __name__ == "__main__":  # answers go to files: of what is printed, mpiexec loses what it has not read at the end
    found = bits("world", sys.argv[1])
    from mpi4py import MPI

    if len(set(MPI.COMM_WORLD.allgather(found))) == 1 and MPI.COMM_WORLD.rank == 0:
        Path(sys.argv[2]).write_text(found)
    MPI.COMM_WORLD.Barrier()
    if MPI.COMM_WORLD.rank == MPI.COMM_WORLD.size - 1:
        sys.stderr = open(sys.argv[3], "w")  # noqa: SIM115 - the process ends with it
        raise ValueError("the last rank has had enough")
    MPI.COMM_WORLD.Barrier()  # would wait for ever


@pytest.mark.skipif(MPIEXEC is None or find_spec("mpi4py") is None, reason="no mpi4py, or no mpiexec")
def test_real_processes_find_the_same_bits_and_an_error_ends_them(tmp_path: Path) -> None:
    (alone,) = on_ranks(1, bits)
    (tmp_path / "checkpoints").mkdir()
    checkpoint, answer, error = tmp_path / "checkpoints" / "run", tmp_path / "answer", tmp_path / "error"
    ranks = os.environ.get("MACROGRAD_TEST_RANKS", "2")
    command = [str(MPIEXEC), "-n", ranks, sys.executable, __file__, str(checkpoint), str(answer), str(error)]
    paths = [str(Path(mg.__file__).parents[1]), str(Path(__file__).parent)]
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=600, env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    )
    assert answer.exists(), ran.stderr
    assert answer.read_text() == alone
    assert ran.returncode != 0
    assert "ValueError: the last rank has had enough" in error.read_text()
    assert [path.name for path in checkpoint.parent.iterdir()] == ["run"]
