"""Safetensors files: written whole and synced, or not at all; read with every check before any use."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._files import write_whole
from macrograd.train import schema

FORMAT = 2
QUOTES = "'\""
# What a safetensors header calls NumPy's types.
_TYPES = {"float64": "F64", "float32": "F32", "int64": "I64", "uint8": "U8"}

Tensor = NDArray[Any] | Sequence[NDArray[Any]]


def write(path: str | os.PathLike[str], kind: str, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> Path:
    """Write tensors and a JSON header, under a temporary name that is synced and renamed; the path.

    A list of arrays (n,) stands for one array, end to end. `kind` is what the file is ("model", "checkpoint"). After a
    power cut there is the old file or the new one.
    """
    content = _content(tensors, {"macrograd": json.dumps({"format": FORMAT, "kind": kind, **header})})
    return write_whole(path, content, sync=True)


def _content(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> list[Any]:
    """The pieces of a safetensors file. Numbers are written from where they are: safetensors' own `save` copies all of
    them three times, and the history of a long run has millions.

    Source of the layout: https://huggingface.co/docs/safetensors
    """
    entries: dict[str, Any] = {"__metadata__": metadata}
    parts: list[Any] = []
    at = 0
    pieces = {name: [t] if isinstance(t, np.ndarray) else list(t) or [np.empty(0)] for name, t in tensors.items()}
    # The largest numbers first, so that all stand at multiples of their size.
    for name, arrays in sorted(pieces.items(), key=lambda item: -item[1][0].itemsize):
        dtype = arrays[0].dtype
        whole = [np.asarray(array, dtype=dtype.newbyteorder("<"), order="C") for array in arrays]
        shape = whole[0].shape if len(whole) == 1 else (sum(map(len, whole)),)
        end = at + sum(array.nbytes for array in whole)
        entries[name] = {"dtype": _TYPES[dtype.name], "shape": list(shape), "data_offsets": [at, end]}
        parts += [array.reshape(-1).view(np.uint8).data for array in whole if array.size]
        at = end
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return [len(header).to_bytes(8, "little"), header, *parts]


def read(path: str | os.PathLike[str], kind: str, *others: str) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """(tensors, header) of a file of one of these kinds that `write` made; the header's "kind" says which. All that
    `schema` says of such files holds of what is returned. Raises FileNotFoundError, and ValueError for any other file
    and for one that is damaged; nothing in it is ever executed."""
    source = Path(path)
    if source.is_dir():
        raise IsADirectoryError(f"cannot read {source}: it is a directory")
    if not source.exists():
        raise FileNotFoundError(f"there is no file {source}")
    tensors, metadata = raw(source, kind)
    try:
        header = json.loads(metadata["macrograd"])
        found, version = str(header["kind"]), int(header["format"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError):
        raise ValueError(f"{source} is a safetensors file, but not one of macrograd's") from None
    if found not in (kind, *others):
        raise ValueError(f"{source} holds a {schema.shown(found).strip(QUOTES)}, not a {kind}")
    if version > FORMAT:
        raise ValueError(f"{source} was written by a newer macrograd (format {version}): update macrograd to read it")
    if version < FORMAT and found == "checkpoint":
        raise ValueError(
            f"{source} was written by an older macrograd (format {version}), and does not say what it computed: start "
            "the run again"
        )
    fault = next(schema.SCHEMAS[found].faults(tensors, header), None)
    if fault is not None:
        raise ValueError(f"{source} is damaged: {fault}")
    return tensors, header


def raw(source: Path, kind: str) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """(tensors, metadata) of any safetensors file of the number types that `write` knows, without further checks."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(source, framework="numpy") as file:
            metadata = file.metadata() or {}
            # Asked for first: NumPy has no type for some of those that a file can name.
            for name in file.keys():  # noqa: SIM118 - it is no dict
                given = file.get_slice(name).get_dtype()
                if given not in _TYPES.values():
                    raise ValueError(f"the tensor {name!r} has the type {given}, and not one of {', '.join(_TYPES)}")
            return {name: np.asarray(file.get_tensor(name)) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{source} cannot be read as a {kind}: it is damaged, cut short, or no safetensors file ({error})"
        ) from None
