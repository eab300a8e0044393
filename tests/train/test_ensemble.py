"""`Ensemble`: the mean, the spread and the votes of its members, and its one file."""

from __future__ import annotations

import copy
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Ensemble, nn, optim
from tests.exporting.test_c import needs_cc, selftest

RNG = np.random.default_rng(0)
X = RNG.random((24, 3))
Y = {
    "cross_entropy": np.array(["low", "mid", "top"])[(X[:, 0] * 3).astype(int)],
    "binary_cross_entropy": X[:, 0] > 0.5,
    "hinge": (X[:, 0] > 0.5).astype(int),
    "squared_error": X @ [1.0, 2.0, 3.0] + 5.0,
}


def members(loss: str) -> list[mg.Trainer]:
    found = []
    for k in range(3):
        net = nn.MLP(3, [2 + k % 2, 3 if loss == "cross_entropy" else 1], seed=k)
        found.append(
            mg.Trainer(
                net, loss, optim.SGD(0.3), scale="standard", scale_target=loss == "squared_error", engine="eager"
            )
        )
        found[-1].fit(X, Y[loss], steps=3, progress="none", seed=k)
    return found


@pytest.fixture(scope="module")
def trained() -> dict[str, list[mg.Trainer]]:
    return {loss: members(loss) for loss in Y}


@pytest.mark.parametrize("loss", Y)
def test_an_ensemble_answers_with_the_mean_of_its_members(trained: dict[str, list[mg.Trainer]], loss: str) -> None:
    trainers = trained[loss]
    ensemble = Ensemble(trainers)
    shares = loss in ("cross_entropy", "binary_cross_entropy")
    each = np.stack([t.probabilities(X) if shares else t.outputs(X) for t in trainers])
    assert np.allclose(ensemble.answers(X), each, rtol=1e-13)
    assert np.allclose(ensemble.mean(X), each.mean(axis=0), rtol=1e-13)
    assert np.allclose(ensemble.spread(X), each.std(axis=0), rtol=1e-12)
    whole = mg.Trainer(ensemble)  # a model like others
    assert np.allclose(whole.probabilities(X) if shares else whole.outputs(X), each.mean(axis=0), rtol=1e-12)
    assert np.array_equal(whole.predict(X), ensemble.predict(X))
    if loss == "squared_error":
        with pytest.raises(ValueError, match="predict classes: use mean"):
            ensemble.vote(X)
        return
    labels = np.unique(Y[loss])
    votes = np.stack([np.mean([t.predict(X) == label for t in trainers], axis=0) for label in labels], axis=1)
    assert np.array_equal(ensemble.vote(X), votes)


@pytest.mark.parametrize("loss", Y)
def test_one_file_keeps_it(trained: dict[str, list[mg.Trainer]], loss: str, tmp_path: Path) -> None:
    ensemble = Ensemble(trained[loss])
    path = mg.save(ensemble, tmp_path / "ensemble.safetensors", extra={"by": "us"})
    found = mg.load(path)
    assert type(found) is Ensemble
    assert repr(found) == repr(ensemble)
    assert np.array_equal(found.mean(X), ensemble.mean(X))
    assert mg.train.load_extra(path) == {"by": "us"}
    other = copy.deepcopy(ensemble)
    for parameter in other.parameters():
        parameter.data = 0.0
    assert np.array_equal(mg.load(path, into=other).mean(X), ensemble.mean(X))


def rewritten(path: Path, change: Any) -> Path:
    """The file with another header."""
    content = path.read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    outer = json.loads(content[8 : 8 + size])
    header = json.loads(outer["__metadata__"]["macrograd"])
    change(header)
    outer["__metadata__"]["macrograd"] = json.dumps(header)
    text = json.dumps(outer).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + size :])
    return path


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda h: h["nets"][0]["members"].append(7), "its members do not fit its tensors"),
        (lambda h: h["nets"].pop(), "its members do not fit its tensors"),
        (lambda h: h["nets"][0]["architecture"].update(sizes=[3, 10**9, 3]), "its header describes .* parameters"),
        (lambda h: h["nets"][0].update(architecture=None), "a custom Module: build it"),
        (lambda h: h["signature"].update(classes=None), "its classes are missing"),
        (lambda h: h.update(scales=[]), "its header.*scales"),
    ],
)
def test_a_damaged_file_is_refused(
    trained: dict[str, list[mg.Trainer]], tmp_path: Path, change: Any, error: str
) -> None:
    path = rewritten(mg.save(Ensemble(trained["cross_entropy"]), tmp_path / "e.safetensors"), change)
    with pytest.raises(ValueError, match=error):
        mg.load(path)


def test_members_must_fit_each_other(trained: dict[str, list[mg.Trainer]], tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"members 0 and 1 were trained for different tasks: .*cross_entropy, and .*hinge"
    ):
        Ensemble([trained["cross_entropy"][0], trained["hinge"][0]])
    with pytest.raises(ValueError, match="at least one member that did not diverge, got none"):
        Ensemble([])
    with pytest.raises(TypeError, match="takes a list of Trainers or models, got one Trainer"):
        Ensemble(trained["hinge"][0])
    with pytest.raises(TypeError, match=r"is a Trainer or a model, got . of type int"):
        Ensemble([3])
    with pytest.raises(ValueError, match="never fitted, others were"):
        Ensemble([trained["hinge"][0], nn.MLP(3, [1])])
    with pytest.raises(ValueError, match="never fitted, so that it is not known what they take"):
        Ensemble([nn.MLP(3, [1])]).mean(X)
    with pytest.raises(ValueError, match="holds an Ensemble of 3 members"):
        mg.load(mg.save(Ensemble(trained["hinge"]), tmp_path / "e.safetensors"), into=nn.MLP(3, [1]))
    frozen = copy.deepcopy(trained["hinge"][0].model)
    frozen.freeze()
    with pytest.raises(ValueError, match="member 0 has frozen or shared parameters"):
        mg.save(Ensemble([frozen]), tmp_path / "f.safetensors")


@needs_cc
def test_one_file_of_c_has_all_members(trained: dict[str, list[mg.Trainer]], tmp_path: Path) -> None:
    mg.export(Ensemble(trained["cross_entropy"]), tmp_path / "e.c")
    text = (tmp_path / "e.c").read_text("utf-8")
    assert all(f'"{name}"' in text for name in ("low", "mid", "top"))
    assert selftest(tmp_path / "e.c").returncode == 0
