"""The compiled engine without LLVM: the same training, to rounding, as with Values."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import datasets, nn, optim
from macrograd.compiler.compiled import Compiled
from macrograd.train import DivergedError, Trainer

X, Y = datasets.make_moons(50, noise=0.1, seed=3)


@pytest.fixture(autouse=True)
def without_llvm(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Compiled.__init__

    def numpy_only(self: Any, fn: Any, **settings: Any) -> None:
        before(self, fn, **(settings | {"backend": "numpy"}))

    monkeypatch.setattr(Compiled, "__init__", numpy_only)


class Drops(nn.Module):
    def __init__(self) -> None:
        self.net, self.drop = nn.MLP(2, [6, 1], activation="tanh", seed=1), nn.Dropout(0.25)

    def __call__(self, x: Any) -> Any:
        return self.net(self.drop(x))


def own_rule(p: Any, g: Any, state: Any, rate: Any, step: Any) -> Any:
    return p - rate * g / mg.sqrt(1.0 * step), (state[0] + g * g,)


CASES: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"optimizer": lambda: optim.SGD(0.3)},
    "momentum, a schedule": {"optimizer": lambda: optim.SGD(optim.cosine(0.1, 0.0, 30), 0.9, nesterov=True)},
    "adamw": {"optimizer": lambda: optim.AdamW(0.05)},
    "a rule of one's own": {"optimizer": lambda: optim.Rule(own_rule, (0.0,), 0.2)},
    "dropout": {"model": Drops},
    "l2 and clipping": {"l2": 0.01, "clip_norm": 0.2},
    "weights": {"sample_weight": np.linspace(0.0, 2.0, 50)},
    "float32": {"dtype": "float32"},
    "validation": {"validation": 0.2, "metrics": "accuracy"},
    "a batch of all": {"batch_size": None},
}


def fit(engine: str, **case: Any) -> tuple[Any, Trainer]:
    model = case.pop("model", lambda: nn.MLP(2, [6, 1], activation="tanh", seed=1))()
    optimizer = case.pop("optimizer", lambda: optim.Adam(0.02))()
    made = {name: case.pop(name) for name in ("l2", "dtype") if name in case}
    trainer = Trainer(model, optimizer=optimizer, engine=engine, **made)
    return trainer.fit(X, Y, **({"steps": 30, "batch_size": 16, "progress": False} | case)), trainer


@pytest.mark.parametrize("case", CASES)
def test_it_agrees_with_values(case: str) -> None:
    rounding = 1e-4 if CASES[case].get("dtype") == "float32" else 1e-12
    (ours, trainer), (theirs, eager) = (fit(engine, **dict(CASES[case])) for engine in ("compiled", "eager"))
    ((_, engine),) = (kept for key, kept in trainer.setup.kept.items() if key[0] == "engine")
    assert not engine.native
    assert ours.losses == pytest.approx(theirs.losses, rel=rounding)
    assert ours.losses[0] != ours.losses[-1]
    for p, q in zip(trainer.model.parameters(), eager.model.parameters(), strict=True):
        assert p.data == pytest.approx(q.data, rel=rounding, abs=rounding)
    for mine, other in zip(trainer.optimizer.state, eager.optimizer.state, strict=True):
        assert mine == pytest.approx(other, rel=rounding, abs=rounding)
    assert ours.metrics.keys() == theirs.metrics.keys()


def test_a_run_that_broke_off_goes_on_bit_for_bit(tmp_path: Path) -> None:
    whole, trainer = fit("compiled")
    fit("compiled", steps=13, checkpoint=tmp_path / "c")
    found, again = fit("compiled", checkpoint=tmp_path / "c", resume=True)
    assert found.losses == whole.losses
    assert [p.data for p in again.model.parameters()] == [p.data for p in trainer.model.parameters()]


def test_what_diverges_is_not_applied_and_explained() -> None:
    def loss(prediction: Any, target: Any) -> Any:
        return mg.log(prediction) - target

    model = nn.MLP(2, [1], seed=1)
    before = [p.data for p in model.parameters()]
    with pytest.raises(DivergedError, match=r"nan at step 0 .*: log gave nan at .*test_fallback"):
        Trainer(model, loss).fit(X, Y.astype(float), progress=False)
    assert [p.data for p in model.parameters()] == before


def test_an_index_out_of_range() -> None:
    def loss(prediction: Any, target: Any) -> Any:
        return mg.take([prediction, prediction * 2.0], target)

    with pytest.raises(IndexError):
        Trainer(nn.MLP(2, [1], seed=1), loss).fit(X, np.full(len(X), 2.0), progress=False)


def test_a_machine_that_has_no_llvmlite() -> None:
    program = "import sys; sys.modules['llvmlite'] = None; from macrograd.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "train", "moons"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in found.stdout.splitlines() if line.startswith("step 99 "))
    assert math.isclose(float(line.split("loss ")[1].split(",")[0]), 0.010978370135492717, rel_tol=1e-7)
