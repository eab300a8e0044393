"""A graph as an ONNX model, through the `onnx` package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.targets.onnx.graph import OWN, Array, Function, Graph, Node, ordered

OPSET, IR = 18, 8
SAMPLES = "samples"  # the length of the axis of samples


@dataclass(frozen=True)
class Port:
    """An input or output of a model: its type, and its shape, in which a text names a length that varies."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str, ...]
    told: str = ""  # what it is, in words


def model(
    graph: Graph, inputs: Sequence[Port], outputs: Sequence[Port], defaults: Mapping[str, Array], told: str,
    notes: Mapping[str, str],
) -> bytes:  # fmt: skip
    """The bytes of the model; the same graph always gives the same bytes. `defaults` are the numbers of optional
    inputs; `told` and `notes` describe the model."""
    from onnx import checker, helper

    graph.outputs = [port.name for port in outputs]
    graph.prune()
    made = helper.make_graph(
        [_node(node) for node in graph.nodes],
        "macrograd",
        [_value(port) for port in inputs],
        [_value(port) for port in outputs],
        [_tensor(name, array) for name, array in (*graph.constants.items(), *defaults.items())],
    )
    functions = [_function(f) for f in ordered(graph.functions.values())]
    domains = {"": OPSET, **({"ai.onnx.ml": 3} if _tables(graph) else {}), **({OWN: 1} if functions else {})}
    found = helper.make_model(
        made,
        opset_imports=[helper.make_opsetid(domain, version) for domain, version in domains.items()],
        functions=functions,
        ir_version=IR,
        producer_name="macrograd",
        doc_string=told,
    )
    for key, text in notes.items():
        found.metadata_props.add(key=key, value=text)
    checker.check_model(found, full_check=True)
    return bytes(found.SerializeToString(deterministic=True))


def _tables(graph: Graph) -> bool:
    return any(node.domain == "ai.onnx.ml" for node in graph.nodes)


def _tensor(name: str, array: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(array, name)


def _kind(dtype: np.dtype[Any]) -> int:
    from onnx import helper

    return 8 if dtype.kind == "O" else int(helper.np_dtype_to_tensor_dtype(dtype))


def _value(port: Port) -> Any:
    from onnx import helper

    return helper.make_tensor_value_info(port.name, _kind(port.dtype), port.shape, port.told)


def _node(node: Node) -> Any:
    from onnx import helper

    attributes = dict(node.attributes)
    if node.op == "Constant":
        attributes = {"value": _tensor(node.outputs[0], attributes["value"])}
    for name, body in node.bodies.items():
        attributes[name] = _body(body, 1 if node.op == "Loop" else 0)
    if node.op == "Scan":
        attributes["num_scan_inputs"] = len(node.inputs) - node.states
    return helper.make_node(node.op, node.inputs, node.outputs, domain=node.domain or None, **attributes)


def _body(body: Graph, conditions: int) -> Any:
    """A graph inside a node; its first `conditions` results are conditions."""
    from onnx import helper

    def value(name: str, dtype: np.dtype[Any]) -> Any:
        shape = [SAMPLES if n == -1 else n for n in body.root.shapes[name]]
        return helper.make_tensor_value_info(name, _kind(dtype), shape)

    kinds = [np.dtype(np.bool_)] * conditions + [body.dtype] * len(body.outputs)
    return helper.make_graph(
        [_node(node) for node in body.nodes],
        "body",
        [value(name, dtype) for name, dtype in body.inputs],
        [value(name, dtype) for name, dtype in zip(body.outputs, kinds, strict=False)],
    )


def _function(function: Function) -> Any:
    from onnx import helper

    return helper.make_function(
        OWN, function.name, function.inputs, [function.output], [_node(node) for node in function.nodes],
        [helper.make_opsetid("", OPSET)],
    )  # fmt: skip
