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

FORMAT = 2
QUOTES = "'\""
# The names of NumPy's types in a safetensors header.
_TYPES = {"float64": "F64", "float32": "F32", "int64": "I64", "uint8": "U8"}

Tensor = NDArray[Any] | Sequence[NDArray[Any]]


def write(path: str | os.PathLike[str], kind: str, tensors: Mapping[str, Tensor], header: dict[str, Any]) -> Path:
    """Write tensors and a JSON header to a temporary file that is synced and renamed; returns the path.

    A list of arrays (n,) stands for their concatenation. `kind` is the kind of file ("model", "checkpoint"). After a
    power cut there is either the old file or the new one.
    """
    content = _content(tensors, {"macrograd": json.dumps({"format": FORMAT, "kind": kind, **header})})
    return write_whole(path, content, sync=True)


def _content(tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> list[Any]:
    """The pieces of a safetensors file. Numbers are written without copying: safetensors' own `save` copies them three
    times, and the history of a long run has millions.

    Source of the layout: https://huggingface.co/docs/safetensors
    """
    entries: dict[str, Any] = {"__metadata__": metadata}
    parts: list[Any] = []
    at = 0
    pieces = {name: [t] if isinstance(t, np.ndarray) else list(t) or [np.empty(0)] for name, t in tensors.items()}
    # Largest item sizes first, so that all tensors are aligned.
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
    """(tensors, header) of a file of one of these kinds that `write` made; the header's "kind" says which. The result
    satisfies `schema`. Raises FileNotFoundError, and ValueError for any other or a damaged file; nothing in it is ever
    executed."""
    source = Path(path)
    if source.is_dir():
        raise IsADirectoryError(f"cannot read {source}: it is a directory")
    from macrograd.train import schema  # most processes read no file

    if not source.exists():
        raise FileNotFoundError(f"the file {source} does not exist")
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
            f"{source} was written by an older macrograd (format {version}), and does not record what it computed: "
            "start the run again"
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
            # Checked first: NumPy lacks some of the types that a file can name.
            for name in file.keys():  # noqa: SIM118 - it is not a dict
                given = file.get_slice(name).get_dtype()
                if given not in _TYPES.values():
                    raise ValueError(f"the tensor {name!r} has the type {given}, and not one of {', '.join(_TYPES)}")
            return {name: np.asarray(file.get_tensor(name)) for name in file.keys()}, metadata  # noqa: SIM118 - as above
    except (SafetensorError, TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{source} cannot be read as a {kind}: it is damaged, truncated, or not a safetensors file ({error})"
        ) from None
