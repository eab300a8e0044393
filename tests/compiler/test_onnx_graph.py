"""The graph of an ONNX model: equal nodes once, what no round changes before the loop, and nothing that is not read."""

from __future__ import annotations

import numpy as np

from macrograd.compiler.targets.onnx.graph import Graph, Node
from macrograd.compiler.targets.onnx.rows import axes_of, pieces_of, take

F64 = np.dtype(np.float64)


def test_equal_nodes_and_constants_are_made_once() -> None:
    graph = Graph(F64, "net_")
    x, two = "x", graph.constant(2.0)
    assert graph.constant(2.0) == two
    assert graph.constant(-0.0) != graph.constant(0.0)
    assert graph.constant(2.0, np.float32) != two
    doubled = graph.call("Mul", x, two)
    assert graph.call("Mul", x, two) == doubled
    assert graph.call("Mul", two, x) != doubled
    assert graph.call("Gather", x, two, axis=0) != graph.call("Gather", x, two, axis=1)
    assert doubled.startswith("net_mul_")


def test_what_no_round_changes_is_computed_outside() -> None:
    graph = Graph(F64)
    body = Graph(F64, around=graph)
    state = body.name("state")
    outside = body.call("Exp", "x")
    inside = body.call("Mul", state, outside)
    deeper = Graph(F64, around=body)
    deeper.call("Neg", inside)
    assert [node.op for node in graph.nodes] == ["Exp"]
    assert [node.op for node in body.nodes] == ["Mul", "Neg"]
    assert deeper.nodes == []
    branch = Graph(F64, around=graph, lazy=True)  # of an If: run only if it is taken
    branch.call("Log", "x")
    assert [node.op for node in branch.nodes] == ["Log"]
    assert body.constant(3.0) in graph.constants


def test_shapes_are_folded() -> None:
    graph = Graph(F64)
    x = graph.shaped("x", (-1, 6))
    once = graph.reshape(x, -1, 2, 3)
    assert graph.reshape(once, -1, 6) == x
    again = graph.reshape(once, -1, 3, 2)
    assert graph.nodes[-1].inputs[0] == x  # from the original, not by way of the other shape
    assert graph.root.shapes[graph.transpose(again, (1, 0, 2))] == (3, -1, 2)
    table = graph.transpose(graph.constant(np.arange(6.0).reshape(2, 3)), (1, 0))
    np.testing.assert_array_equal(graph.constants[table], np.arange(6.0).reshape(2, 3).T)


def test_what_nothing_reads_is_removed() -> None:
    graph = Graph(F64)
    body = Graph(F64, around=graph)
    state, item, unused = (body.name(what) for what in ("state", "item", "unused"))
    body.inputs = [(state, F64), (item, F64), (unused, F64)]
    after, seen = body.call("Add", state, item), body.call("Exp", unused)
    body.outputs = [after, seen]
    scan = Node("Scan", ["zero", "items", "others"], ["end", "all"], bodies={"body": body}, states=1)
    graph.nodes = [scan, Node("Neg", ["end"], ["out"]), Node("Neg", ["all"], ["nowhere"])]
    graph.constant(7.0)
    graph.outputs = ["out"]
    graph.prune()
    assert [node.outputs for node in graph.nodes] == [["end"], ["out"]]
    assert [node.op for node in body.nodes] == ["Add"]
    assert scan.inputs == ["zero", "items"]
    assert [name for name, _ in body.inputs] == [state, item]
    assert graph.constants == {}


def test_places_that_move_evenly_are_rows() -> None:
    slots = 10 * np.arange(20)[:, None] + np.array([3, 0, 7])
    assert [*axes_of(slots)] == [0]
    (piece,) = (pieces_of(np.zeros_like(slots), slots) or [[]])[0]
    assert (piece.step, piece.count) == (10, 20)
    ((which, start),) = piece.windows(200) or []
    assert (which.tolist(), start) == ([0, 1, 2], 0)
    assert piece.windows(197) is None  # the last row would reach beyond the source
    bent = slots.copy()
    bent[11:] += 1
    assert [*axes_of(bent)] == []
    graph = Graph(F64)
    assert take(graph, "x", 3, np.arange(3), 0) == "x"
    take(graph, "x", 9, np.array([1, 3, 5]), 0)
    take(graph, "x", 9, np.array([1, 3, 4]), 0)
    assert [node.op for node in graph.nodes] == ["Slice", "Gather"]
