"""A WebAssembly file and the JavaScript file beside it."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.targets.wasm.assembly import Assembly
from macrograd.exporting.names_c import harmless
from macrograd.exporting.subject import Names, Subject, compiled_outputs
from macrograd.exporting.wasm import Part, differentiating, predicting, training

_STEP_LANES = 16
_USES = {
    "predict": "   net.predict([[1, 2], [3, 4]]);     // the outputs of two samples, one after the other",
    "gradient": "   net.gradient([1, 2]);              // { value, gradient }, of one sample",
    "train": "   net.step(batch, rate);             // a step of the optimiser; the mean loss before it",
}


@dataclass(frozen=True)
class WasmFile:
    """The bytes of the module and the text of its wrapper, and the sizes of its constants and its memory in bytes."""

    module: bytes
    wrapper: str
    constants: int
    memory: int


def write_wasm(
    compiled: Compiled, subject: Subject, kind: str, stem: str, lanes: int | None, side_by_side: int
) -> WasmFile:
    """The files of a traced function, with so many lanes; None for those of small nets that are fastest: a step's, and
    `side_by_side` for predictions, which are often of one sample.

    Raises TypeError if a gradient is wanted and it has none, and LookupError for an operation without a form in
    WebAssembly.
    """
    assembly = Assembly(np.dtype(compiled.dtype), strict=compiled.strict)
    about = described(compiled, subject, kind, stem)
    if kind == "predict":
        part = predicting(assembly, compiled, lanes or side_by_side)
    elif kind == "gradient":
        part = differentiating(assembly, compiled)
    else:
        assert subject.optimizer is not None
        part = training(assembly, compiled, subject.optimizer, subject.states, lanes or _STEP_LANES)
        about |= {"memory": len(subject.optimizer.initial_state), "rate": subject.optimizer.learning_rate}
        if (outputs := compiled_outputs(compiled, subject)) is not None:
            part = _both(part, predicting(assembly, outputs, lanes or side_by_side, part.trained))
    numbers = part.numbers
    about |= {"parameters_count": numbers["parameter_count"]}
    about |= {"outputs": numbers["outputs"]} if "outputs" in numbers else {}
    module = assembly.module(part.functions, numbers)
    text = wrapper(about, f"{subject.name}, to {kind}", stem, kind)
    constants = sum(map(len, assembly.layout.data.values()))
    return WasmFile(module, text, constants, assembly.layout.end)


def _both(train: Part, predict: Part) -> Part:
    """Training, and prediction by the trained parameters."""
    numbers = {**predict.numbers, **train.numbers}
    return Part(train.functions + predict.functions, numbers)


def described(compiled: Compiled, subject: Subject, kind: str, stem: str) -> dict[str, Any]:
    """The facts about the net in the wrapper."""
    special, names = compiled._traced(), subject.names
    sizes = [int(size) for size in special.sizes]
    inputs = [[compiled.argument(k), size] for k, size in enumerate(sizes)]
    target = sum(sizes[1:]) if names is not None and kind == "train" else 0
    return {
        "kind": kind,
        "name": subject.name,
        "url": f"./{_in_url(stem)}.wasm",
        "real": compiled.dtype.name,
        "strict": compiled.strict,
        "inputs": [list(x) for x in names.inputs] if names is not None else inputs,
        "inputs_count": sum(sizes) - target,
        "sample_count": sum(sizes),
        "memory": 0,
        "answers": names.answers if names is not None else "",
        "classes": names.classes if names is not None else [],
        "categories": _categories(names),
        "dates": _dates(names),
    }


def _in_url(text: str) -> str:
    """The text with everything but letters, digits and three signs escaped."""
    plain = b"-_.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return "".join(chr(b) if b in plain else f"%{b:02X}" for b in text.encode("utf-8", "surrogateescape"))


def _categories(names: Names | None) -> list[dict[str, Any]]:
    return [{"at": at, "texts": list(texts)} for _, texts, at in names.categories] if names is not None else []


def _dates(names: Names | None) -> list[dict[str, Any]]:
    found = []
    for _, parts, since, at in names.dates if names is not None else ():
        moment = np.datetime64(since or 0, "s")
        day = moment.astype("datetime64[D]")
        hour = float((moment - day).astype(np.int64)) / 3600.0
        found.append({"at": at, "parts": list(parts), "day": int(day.astype(np.int64)), "hour": hour})
    return found


def wrapper(about: dict[str, Any], title: str, stem: str, kind: str) -> str:
    """The JavaScript file. Names from the data occur in it only as strings that cannot end a comment, string or
    script."""
    text = files("macrograd.exporting").joinpath("wrapper.js").read_text("utf-8")
    use = _USES[kind] + (f"\n{_USES['predict']}" if kind == "train" and "outputs" in about else "")
    for mark, content in (
        ("@TITLE@", harmless(title)), ("@FILE@", harmless(stem)), ("@USE@", use), ("@ABOUT@", script_json(about)),
    ):  # fmt: skip
        text = text.replace(mark, content)
    return text


def script_json(content: Any) -> str:
    """JSON in ASCII that is safe inside a script inside a page."""
    text = json.dumps(content, ensure_ascii=True, indent=2, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
