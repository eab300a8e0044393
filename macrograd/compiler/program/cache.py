"""The program cache on disk, keyed by a digest of the tape: a tape is differentiated and rolled only once.

A program is a tree of a few dataclasses, tuples, numbers, strings and arrays; it is written as JSON, followed by the
bytes of the arrays. Reading builds those dataclasses and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter
from typing import Any

import numpy as np

from macrograd.compiler.jit import cache
from macrograd.compiler.program.program import Index, Instruction, Loop, Program, Segment
from macrograd.compiler.program.results import Results
from macrograd.compiler.program.stream import Stream
from macrograd.compiler.tape.tape import Tape

_PARTS = {part.__name__: part for part in (Program, Instruction, Segment, Index, Loop, Stream, Results)}
_FIELDS = {name: [field.name for field in fields(part)] for name, part in _PARTS.items()}
_VALUES = {name: attrgetter(*names) for name, names in _FIELDS.items()}
_PLAIN = frozenset((int, float, str, bool, type(None)))
_KINDS = {"int64": np.int64, "int32": np.int32, "float64": np.float64, "bool": np.bool_}


def cached(
    tape: Tape, how: tuple[Any, ...], make: Callable[[], Program], keep: Callable[[], bool] = lambda: True
) -> Program:
    """The program of this tape made in this way: from the cache, or `make()`, which is then stored if `keep()` says
    that it depends on nothing else."""
    if cache.directory() is None:
        return make()
    digest = hashlib.sha256(cache.sources() + repr(how).encode())
    for array in (tape.code, tape.start, tape.operand, tape.leaf, tape.results):
        digest.update(len(array).to_bytes(8, "little") + array.tobytes())
    name = f"{digest.hexdigest()}-program"
    if found := cache.load(name):
        return unpacked(found)
    program = make()
    if keep():
        cache.store(name, packed(program))
    return program


def packed(program: Program) -> bytes:
    arrays: list[Any] = []

    def tree(x: Any) -> Any:
        if isinstance(x, tuple):
            return [item if item.__class__ in _PLAIN else tree(item) for item in x]
        if isinstance(x, np.ndarray):
            arrays.append(np.ascontiguousarray(x))
            return {"array": len(arrays) - 1}
        name = type(x).__name__
        if name in _PARTS:
            return {"part": name, "of": tree(_VALUES[name](x))}
        return x.item() if isinstance(x, np.generic) else x

    whole = tree(program)
    described = [(array.dtype.name, array.shape) for array in arrays]
    text = json.dumps([described, whole]).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *(array.tobytes() for array in arrays)])


def unpacked(content: bytes) -> Program:
    size = int.from_bytes(content[:8], "little")
    described, whole = json.loads(content[8 : 8 + size])
    arrays, at = [], 8 + size
    for name, shape in described:
        array = np.frombuffer(content, _KINDS[name], int(np.prod(shape, dtype=int)), at).reshape(shape)
        arrays.append(array)
        at += array.nbytes

    def grown(x: Any) -> Any:
        if isinstance(x, list):
            return tuple([grown(item) for item in x])
        if isinstance(x, dict):
            return arrays[x["array"]] if "array" in x else _PARTS[x["part"]](*[grown(item) for item in x["of"]])
        return x

    program = grown(whole)
    assert isinstance(program, Program)
    return program
