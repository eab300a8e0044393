"""Models as files: what is saved is what is loaded, and a hostile file is an error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import macrograd as mg
from macrograd import Value, nn
from macrograd.train import load_extra


class Own(nn.Module):
    def __init__(self, seed: int | None = None) -> None:
        self.embedding = [[Value(0.1 * i + j) for j in range(3)] for i in range(4)]
        self.body = {"first": nn.MLP(3, [2, 1], seed=seed)}
        self.scale = Value(2.0)


def numbers(model: nn.Module) -> list[float]:
    return [p.data for p in model.named_parameters(frozen=True).values()]


NETS = {
    "MLP": lambda: nn.MLP(3, [4, 2], activation=["gelu"], output_activation="sigmoid", seed=1),
    "deep": lambda: nn.MLP(1, [1, 1, 3], activation=["tanh", "sin"], seed=2),
    "Layer": lambda: nn.Layer(3, 2, activation="silu", seed=1),
    "Neuron": lambda: nn.Neuron(3, nonlin=False, seed=1),
    "a function by its name": lambda: nn.MLP(3, [2, 1], activation=mg.tanh, seed=1),
}


@pytest.mark.parametrize("net", NETS)
def test_nets_come_back_as_they_were(net: str, tmp_path: Path) -> None:
    model: Any = NETS[net]()
    path = mg.save(model, tmp_path / "m.safetensors")
    again = mg.load(path)
    assert type(again) is type(model)
    assert list(again.named_parameters()) == list(model.named_parameters())
    assert numbers(again) == numbers(model)
    x = [0.5] if net == "deep" else [0.5, -1.0, 2.0]
    assert str(again(x)) == str(model(x))
    assert list(tmp_path.iterdir()) == [path]


def test_float32_rounds(tmp_path: Path) -> None:
    model = nn.MLP(2, [2], seed=1)
    again = mg.load(mg.save(model, tmp_path / "m", dtype="float32"))
    assert numbers(again) == [float(np.float32(x)) for x in numbers(model)]


def test_the_file_can_be_read_by_others(tmp_path: Path) -> None:
    path = mg.save(Own(seed=1), tmp_path / "m.safetensors", extra={"classes": ["a", "b"]})
    with safe_open(path, framework="numpy") as file:
        shapes = {name: file.get_tensor(name).shape for name in sorted(file.keys())}
    assert shapes["embedding"] == (4, 3)
    assert shapes["scale"] == ()
    assert shapes["body.first.layers.0.neurons.1.w"] == (3,)
    assert load_extra(path) == {"classes": ["a", "b"]}


def test_a_model_of_ones_own_is_built_by_its_program(tmp_path: Path) -> None:
    model = Own(seed=1)
    path = mg.save(model, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"holds a 'Own', a custom Module: build it in your program, and fill it"):
        mg.load(path)
    other = Own(seed=2)
    assert mg.load(path, into=other) is other
    assert numbers(other) == numbers(model)
    with pytest.raises(ValueError, match=r"does not fit this MLP: load_parameters\(\) got .*, which this MLP does"):
        mg.load(path, into=nn.MLP(2, [1]))


def test_own_activations_need_the_program_too(tmp_path: Path) -> None:
    path = mg.save(nn.MLP(2, [2, 1], activation=lambda x: x * x, seed=1), tmp_path / "m")
    with pytest.raises(ValueError, match="build it in your program"):
        mg.load(path)


def test_frozen_and_shared_parameters_stay_so(tmp_path: Path) -> None:
    model = nn.MLP(2, [2, 2, 1], seed=1)
    model.layers[0].freeze()
    model.layers[1].neurons[1].w = model.layers[1].neurons[0].w
    again = mg.load(mg.save(model, tmp_path / "m"))
    assert numbers(again) == numbers(model)
    assert len(again.parameters()) == len(model.parameters()) == 7
    assert again.layers[1].neurons[1].w[0] is again.layers[1].neurons[0].w[0]


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"save\(\) takes a Module or a Trainer, got \[.*\] of type list"):
        mg.save([1.0], tmp_path / "m")
    with pytest.raises(ValueError, match=r"save\(\) dtype must be 'float64' or 'float32', got 'int8'"):
        mg.save(nn.Neuron(2), tmp_path / "m", dtype="int8")
    model = nn.Neuron(2)
    model.b.data = 1e300
    with pytest.raises(ValueError, match="b contains numbers that are not finite in float32: a saved model must be"):
        mg.save(model, tmp_path / "m", dtype="float32")
    with pytest.raises(FileNotFoundError, match=r"the directory .* does not exist"):
        mg.save(model, tmp_path / "nowhere" / "m")
    assert not list(tmp_path.iterdir())


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the file .*nothing does not exist"):
        mg.load(tmp_path / "nothing")
    with pytest.raises(IsADirectoryError, match="it is a directory"):
        mg.load(tmp_path)
    path = tmp_path / "m"
    path.write_bytes(b"\x80\x04\x95\x1c\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93")
    with pytest.raises(
        ValueError, match="cannot be read as a model: it is damaged, truncated, or not a safetensors file"
    ):
        mg.load(path)


GOOD = {"kind": "MLP", "sizes": [2, 1], "activations": ["relu"]}
TENSORS = {"layers.0.neurons.0.w": np.ones(2), "layers.0.neurons.0.b": np.ones(())}
HOSTILE: list[tuple[Any, dict[str, Any], str]] = [
    ({**GOOD, "kind": "os.system"}, TENSORS, "its header.architecture.kind must be 'Neuron' or 'Layer' or 'MLP'"),
    ({**GOOD, "sizes": [2, 10**12]}, TENSORS, "its header describes 3000000000000 parameters, it holds 3"),
    (
        {**GOOD, "sizes": [2, -1]},
        TENSORS,
        "its header.architecture.sizes[1] must be an integer of at least 1, it is -1",
    ),
    ({**GOOD, "sizes": "21"}, TENSORS, "its header.architecture.sizes must be a list of at least 2, it is '21'"),
    ({**GOOD, "activations": ["__import__"]}, TENSORS, "its header does not describe a net"),
    ({**GOOD, "activations": [["relu"]]}, TENSORS, "its header.architecture.activations[0] must be a string"),
    ("MLP", TENSORS, "its header.architecture must be an object, it is 'MLP'"),
    (
        GOOD,
        {**TENSORS, "layers.0.neurons.0.w": np.array([1.0, np.nan])},
        "must hold finite numbers, it holds nan at [1]",
    ),
    (GOOD, {**TENSORS, "layers.0.neurons.0.b": np.array(-np.inf)}, "must hold finite numbers, it holds -inf"),
    (
        GOOD,
        {**TENSORS, "layers.0.neurons.0.w": np.ones(2, int)},
        "must hold float64 or float32 numbers, it holds int64",
    ),
    (GOOD, {"layers.0.neurons.0.w": np.ones(2), "layers.0.neurons.0.x": np.ones(())}, "does not fit this MLP"),
    (GOOD, {"layers.0.neurons.0.w": np.ones(3)}, "does not fit this MLP"),
    (GOOD, {**TENSORS, "frozen": np.ones(9, np.uint8)}, "the list of frozen parameters does not fit"),
    (GOOD, {**TENSORS, "shared": np.array([0, 1, 7])}, "its list of shared parameters does not fit"),
]


@pytest.mark.parametrize(("architecture", "tensors", "message"), HOSTILE)
def test_a_hostile_file_is_an_error(architecture: Any, tensors: Any, message: str, tmp_path: Path) -> None:
    header = {"format": 1, "kind": "model", "model": "MLP", "architecture": architecture}
    save_file(tensors, tmp_path / "m", {"macrograd": json.dumps(header)})
    with pytest.raises(ValueError, match="m") as caught:
        mg.load(tmp_path / "m")
    assert message in str(caught.value)


def test_headers_that_are_no_headers(tmp_path: Path) -> None:
    for text in ("", "[]", "{", "{}", "[" * 100_000, '{"kind": "model", "format": "x"}'):
        save_file(TENSORS, tmp_path / "m", {"macrograd": text})
        with pytest.raises(ValueError, match="is a safetensors file, but not one of macrograd's"):
            mg.load(tmp_path / "m")
