"""The page's modules: each net of the menu compiled, and kept on disk for the next page."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from macrograd.browser.nets import (
    FEATURES,
    Descent,
    Net,
    features,
    layers_of,
    objective,
    outlook,
    outputs_of,
    prepared,
)
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.jit import cache
from macrograd.compiler.targets.wasm.assembly import Assembly
from macrograd.exporting import c
from macrograd.exporting.names_c import NamesInC
from macrograd.exporting.wasm import predicting, training
from macrograd.value import Value

_LANES = 8
_FIRST = 2.0**40


def _traced(fn: Any, *examples: Any) -> Compiled:
    compiled = Compiled(fn, batch=False, dtype="float64", backend="auto", threads=1, strict=False)
    compiled(*examples)
    return compiled


def preparing() -> dict[str, Any]:
    """The module whose `predict` turns points into features, in the page's form."""
    assembly = Assembly(np.dtype(np.float64), strict=False)
    part = predicting(assembly, _traced(prepared, np.zeros(2), np.zeros(4)), _LANES)
    return {"wasm": packed(assembly.module(part.functions, part.numbers))}


def module_of(net: Net) -> dict[str, Any]:
    """A net in the page's form: its module, whose parameters are in the order of `Layers`, and its text in C.

    `step` trains on samples of features, target and kind; `look` computes the outputs of all neurons for features.
    """
    return {
        "widths": list(net.widths),
        "activation": net.activation,
        "outputs": net.outputs,
        "wasm": packed(_kept("module", net, _compiled)),
        "c": packed(_kept("C", net, _in_c)),
    }


def _kept(what: str, net: Net, make: Callable[[Net], bytes]) -> bytes:
    """The module of a net, from the disk cache if possible."""
    key = hashlib.sha256(cache.sources() + _own_sources() + f"{what} {net}".encode()).hexdigest()
    found = cache.load(key)
    if found is None:
        found = make(net)
        cache.store(key, found)
    return found


def _own_sources() -> bytes:
    """The files that a module depends on, besides the compiler's."""
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


def _in_c(net: Net) -> bytes:
    """The net as a C file that takes a point's two numbers, in which `@k@` stands for parameter k. After those of the
    layers come the scaling and, for nets with one output, a factor and an offset for the answer."""
    layers, scaling, unit = layers_of(net), [Value(0.0) for _ in range(4)], [Value(1.0), Value(0.0)]
    values = [*(value for rows in layers for row in rows for value in row), *scaling]
    values += unit if net.outputs == 1 else []
    for k, value in enumerate(values):
        value.data = _FIRST + k  # a number that occurs nowhere else

    def answer(x: Any) -> Any:
        outputs = outputs_of(net, layers, features(x, scaling))[-1]
        return unit[0] * outputs[0] + unit[1] if net.outputs == 1 else outputs

    compiled = _traced(answer, np.zeros(2))
    names = NamesInC(None, "net", "double")
    source = c.write(compiled, "predict", "net", None, "a net of macrograd's playground", names, _no_examples).source
    for k, value in enumerate(values):
        literal = f" {float(value.data).hex()},"
        assert source.count(literal) == 1
        source = source.replace(literal, f" @{k}@,")
    return source.partition("#ifdef MACROGRAD_SELFTEST")[0].encode("ascii")


def _no_examples(_: np.random.Generator) -> list[Any]:
    return [np.zeros(2)]


def packed(data: bytes) -> str:
    """Bytes as the page unpacks them: deflated, in base64."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(deflate.compress(data) + deflate.flush()).decode("ascii")
