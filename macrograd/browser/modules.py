"""The page's modules: each net of the menu compiled, and kept on disk for the next page."""

from __future__ import annotations

import base64
import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from macrograd.browser.nets import FEATURES, Descent, Net, layers_of, objective, outlook, prepared
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.jit import cache
from macrograd.compiler.targets.wasm.assembly import Assembly
from macrograd.exporting.wasm import predicting, training

_LANES = 8


def _traced(fn: Any, *examples: Any) -> Compiled:
    compiled = Compiled(fn, batch=False, dtype="float64", backend="auto", threads=1, strict=False)
    compiled(*examples)
    return compiled


def preparing() -> dict[str, Any]:
    """The module whose `predict` makes features of points, as the page has it."""
    assembly = Assembly(np.dtype(np.float64), strict=False)
    part = predicting(assembly, _traced(prepared, np.zeros(2), np.zeros(4)), _LANES)
    return {"wasm": packed(assembly.module(part.functions, part.numbers))}


def module_of(net: Net) -> dict[str, Any]:
    """A net as the page has it: its module, whose parameters stand in the order of `Layers`.

    `step` trains on samples of features, target and kind; `look` tells what all neurons make of features.
    """
    key = hashlib.sha256(cache.sources() + _own_sources() + repr(net).encode()).hexdigest()
    found = cache.load(key)
    if found is None:
        found = _compiled(net)
        cache.store(key, found)
    return {
        "widths": list(net.widths), "activation": net.activation, "outputs": net.outputs, "wasm": packed(found),
    }  # fmt: skip


def _own_sources() -> bytes:
    """The files beside the compiler's that a module depends on."""
    package = Path(__file__).parents[1]
    return b"".join(
        path.read_bytes()
        for folder in ("browser", "exporting", "optim", "nn")
        for path in sorted((package / folder).glob("*.py"))
    )


def _compiled(net: Net) -> bytes:
    layers = layers_of(net)
    assembly, seen = Assembly(np.dtype(np.float64), strict=False), np.zeros(len(FEATURES))
    loss = _traced(objective(net, layers), seen, 0.0, 0.0)
    train = training(assembly, loss, Descent(0.1), {}, _LANES)
    look = predicting(assembly, _traced(outlook(net, layers), seen), _LANES, train.trained, "look")
    in_order = [value for rows in layers for row in rows for value in row]
    assert all(a is b for a, b in zip(loss._traced().parameters, in_order, strict=True))
    return assembly.module(train.functions + look.functions, train.numbers)


def packed(data: bytes) -> str:
    """Bytes as the page unpacks them: deflated, in base64."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(deflate.compress(data) + deflate.flush()).decode("ascii")
