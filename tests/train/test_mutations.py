"""Files that were changed at random: whatever is wrong with one is said in words that name it, and never by a bare
error from somewhere inside."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save as packed

import macrograd as mg
from macrograd import datasets, nn
from macrograd.cli import main
from macrograd.train import Trainer

X, Y = datasets.make_moons(20, noise=0.1, seed=3)
SEEDS = range(400)
TYPES = ["complex64", "float16", "int64", "uint8", "float32", "bool", "int8", "uint16", "float64"]
THINGS: list[Any] = [
    None, True, -1, 0, 3, 10**400, 1e308, float("nan"), float("inf"), "", "x", "\x1b[2J", [], [1], [[]], {}, {"a": []},
]  # fmt: skip


def fit(path: Path, **more: Any) -> Any:
    trainer = Trainer(nn.MLP(2, [2, 1], seed=1), engine="eager")
    return trainer.fit(X, Y, batch_size=10, validation=0.2, metrics=["accuracy"], early_stopping=9, progress=False,
                       checkpoint=path, **more)  # fmt: skip


def model_file(path: Path) -> None:
    model = nn.MLP(2, [2, 1], seed=1)
    model.layers[0].neurons[0].freeze()
    model.layers[0].neurons[1].w[1] = model.layers[0].neurons[1].w[0]
    trainer = Trainer(model)
    trainer.fit(X, np.array(["no", "yes"])[Y], steps=2, progress=False)
    mg.save(model, path)


def mutated(content: bytes, tensors: dict[str, Any], metadata: dict[str, str], seed: int) -> bytes:
    """The file with one to three things changed in it."""
    chance = random.Random(seed)
    kind = chance.choice(["bytes", "cut", *["header"] * 5, *["tensor"] * 4])
    if kind == "cut":
        return content[: chance.randrange(len(content))]
    if kind == "bytes":
        changed = bytearray(content)
        for _ in range(chance.randint(1, 3)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        return bytes(changed)
    tensors, text = dict(tensors), metadata["macrograd"]
    for _ in range(chance.randint(1, 3)):
        if kind == "header":
            text = _header(text, chance)
        elif tensors:
            _tensor(tensors, chance)
    return packed(tensors, {"macrograd": text})


def _header(text: str, chance: random.Random) -> str:
    if chance.random() < 0.1:
        return chance.choice(["", "[]", "[1]", "null", "{", "[" * 5000, '"x"', "9" * 5000, text[: len(text) // 2]])
    try:
        header = json.loads(text)
    except (ValueError, RecursionError):
        return text
    places: list[tuple[Any, Any]] = []
    stack = [header]
    while stack:
        thing = stack.pop()
        if isinstance(thing, (dict, list)):
            keys = list(thing) if isinstance(thing, dict) else list(range(len(thing)))
            places += [(thing, key) for key in keys]
            stack += [thing[key] for key in keys]
    if not places:
        return text
    holder, key = chance.choice(places)
    if chance.random() < 0.2:
        del holder[key]
    else:
        holder[key] = chance.choice(THINGS)
    return json.dumps(header)


def _tensor(tensors: dict[str, Any], chance: random.Random) -> None:
    name = chance.choice(sorted(tensors))
    tensor = tensors[name]
    what = chance.choice(["type", "shape", "drop", "rename", "number", "number", "longer", "empty"])
    if what == "type":
        with np.errstate(all="ignore"):
            tensors[name] = tensor.astype(chance.choice(TYPES))
    elif what == "shape":
        tensors[name] = np.ascontiguousarray(tensor.reshape((*tensor.shape, 1)) if tensor.ndim else tensor.reshape(1))
    elif what == "drop":
        del tensors[name]
    elif what == "rename":
        tensors[chance.choice(["x", "history.metrics.x", "frozen", "best", "layers.0"])] = tensors.pop(name)
    elif what == "longer":
        tensors[name] = np.concatenate([tensor.reshape(-1)] * 2)
    elif what == "empty":
        tensors[name] = np.empty(0, tensor.dtype)
    elif tensor.size:
        changed = np.array(tensor)
        with np.errstate(all="ignore"):
            changed.reshape(-1)[chance.randrange(tensor.size)] = (
                chance.choice([np.nan, np.inf, -1e300, 0.0, 7.0]) if tensor.dtype.kind == "f" else chance.choice([0, 9])
            )
        tensors[name] = changed


def opened(path: Path) -> tuple[bytes, dict[str, Any], dict[str, str]]:
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        tensors = {name: np.asarray(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118 - it is no dict
    return path.read_bytes(), tensors, metadata


def check(path: Path, use: Callable[[], Any]) -> bool:
    """Whether the file was refused; any error must name it."""
    said = ""
    try:
        use()
    except (ValueError, OSError) as error:
        said = str(error)
    assert not said or (str(path) in said and len(said) < 600), said
    return bool(said)


def inspected(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["inspect", str(path)])
    out, err = capsys.readouterr()
    assert "\x1b" not in out
    if code:
        assert str(path) in err


def test_mutated_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, refused = tmp_path / "m", 0
    model_file(path)
    parts = opened(path)
    table = tmp_path / "t.csv"
    table.write_text("a,b\n1,2\n", "utf-8")
    for seed in SEEDS:
        path.write_bytes(mutated(*parts, seed))
        refused += check(path, lambda: mg.load(path))
        inspected(path, capsys)
        if main(["predict", str(path), str(table)]):
            assert str(path) in capsys.readouterr().err
    assert 0.4 * len(SEEDS) < refused < len(SEEDS)


def test_mutated_checkpoints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, refused = tmp_path / "c", 0
    fit(path, steps=4)
    parts = opened(path)
    for seed in SEEDS:
        path.write_bytes(mutated(*parts, seed))
        inspected(path, capsys)
        refused += check(path, lambda: fit(path, steps=5, resume=True))
    assert 0.4 * len(SEEDS) < refused < len(SEEDS)
