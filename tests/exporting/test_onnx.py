"""ONNX models: ONNX Runtime computes with them what macrograd computes."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

import macrograd as mg
from macrograd import Value, losses, nn, ops, optim
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Index, Instruction, Loop, Program, verify
from macrograd.compiler.step import TrainingLoop
from macrograd.compiler.targets.onnx.graph import Node
from macrograd.compiler.targets.onnx.model import Port, model
from macrograd.compiler.targets.onnx.target import Onnx
from macrograd.compiler.targets.target import Request
from macrograd.exporting.onnx_file import SAMPLES
from tests.compiler.literal import Literal
from tests.compiler.random_programs import LINES, RandomProgram
from tests.exporting.test_c import recurrence
from tests.fuzz.ways import limited

TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


class Model:
    """A file run by ONNX Runtime, which must accept it unchanged."""

    def __init__(self, path: Path, *, as_it_is: bool = False) -> None:
        self.proto = onnx.load(path)
        onnx.checker.check_model(self.proto, full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3  # errors only: it warns of inputs with a default, which are not constants
        if as_it_is:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = [x.name for x in self.session.get_inputs()]
        self.outputs = [x.name for x in self.session.get_outputs()]

    def __call__(self, *arrays: Any, **more: Any) -> dict[str, Any]:
        feed = {**dict(zip(self.inputs, arrays, strict=True)), **more}
        return dict(zip(self.outputs, self.session.run(None, feed), strict=True))

    def nodes(self, graph: Any = None) -> Iterator[str]:
        """The operators, including those in the bodies of loops."""
        for node in (graph or self.proto.graph).node:
            yield node.op_type
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    yield from self.nodes(attribute.g)


def near(found: Any, right: Any, tolerance: float) -> None:
    """Equal up to the tolerance, relative to the largest."""
    found, right = np.asarray(found), np.asarray(right)
    assert found.shape == right.shape
    assert np.abs(found - right).max(initial=0.0) <= tolerance * max(1e-3, np.abs(right).max(initial=0.0))


def same_values(path: Path, f: Callable[..., Any], *arrays: Any, dtype: str = "float64") -> Model:
    """The values of a function of one sample, for a batch: the model's, which is returned, and macrograd's."""
    mg.export(f, path, *[array[0] for array in arrays], dtype=dtype)
    model = Model(path)
    found = model(*[np.asarray(array, dtype) for array in arrays])
    near(found["y"], mg.compile(f, batch=True, backend="numpy")(*arrays), TOLERANCE[dtype])
    return model


def same_gradient(path: Path, f: Callable[..., Any], *arrays: Any, dtype: str = "float64") -> Model:
    mg.export(f, path, *[array[0] for array in arrays], kind="gradient", dtype=dtype)
    model, compiled = Model(path), mg.compile(f, batch=True, backend="numpy")
    compiled(*arrays)
    value, gradient = compiled.value_and_grad(compiled.theta(), *arrays)
    found = model(*[np.asarray(array, dtype) for array in arrays])
    near(found["value"], value, TOLERANCE[dtype])
    near(found["gradient"], gradient, TOLERANCE[dtype])
    return model


# --- operations -------------------------------------------------------------------------------------------------------

POINTS = [-30, -7.3, -2.5, -1, -0.75, -1e-3, -1e-9, -0.0, 0, 1e-9, 1e-3, 0.3, 0.5, 1, 1.5, 2, 9, 19, 100, 700, 5e5]
POINTS += [np.inf, -np.inf, np.nan, 1e-310]
ROWS = [row for row in ops.TABLE if row.arity]


def test_every_operation_has_a_form() -> None:
    assert [row.name for row in ROWS if not Onnx().has(row) and row.formula is None] == []


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_operations_compute_what_they_are(tmp_path: Path, dtype: str) -> None:
    def all_(a: Any, b: Any, c: Any) -> list[Any]:
        return [row(*(a, b, c)[: row.arity]) for row in ROWS]

    mg.export(all_, tmp_path / "all.onnx", 0.0, 0.0, 0.0, dtype=dtype)
    pairs = [(a, b) for a in POINTS[::2] for b in POINTS[1::2]]
    grid = np.array([(x, x, x) for x in POINTS] + [(a, b, a) for a, b in pairs], dtype).T
    found = Model(tmp_path / "all.onnx", as_it_is=dtype == "float32")(*grid)["y"]
    tiny = 4 * np.finfo(dtype).tiny  # a subnormal number may be rounded to 0
    for row, got in zip(ROWS, found.T, strict=True):
        count = len(POINTS) if row.arity == 1 else grid.shape[1]
        operands, got = grid[: row.arity, :count], got[:count]
        with np.errstate(all="ignore"):  # infinities, and numbers that are too large for single precision
            right = np.array([row.forward(*x) for x in operands.T.astype(float).tolist()]).astype(dtype)
            good = (got == right) | (np.isnan(got) & np.isnan(right))
            good |= np.abs(got - right) <= TOLERANCE[dtype] * np.abs(right) + tiny
        wrong = np.flatnonzero(~good)
        assert not len(wrong), (row.name, operands[:, wrong[:5]], got[wrong[:5]], right[wrong[:5]])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_zeros_keep_their_sign(tmp_path: Path, dtype: str) -> None:
    """Except those that ONNX Runtime's own operators change: its Relu returns −0.0."""
    odd = [row for row in ROWS if row.arity == 1 and np.signbit(row.forward(-0.0)) and row.forward(-0.0) == 0]
    assert len(odd) >= 15
    mg.export(lambda x: [row(x) for row in odd], tmp_path / "odd.onnx", 0.0, dtype=dtype)
    found = Model(tmp_path / "odd.onnx")(np.array([-0.0, 0.0], dtype))["y"]
    wrong = [row.name for row, (low, high) in zip(odd, found.T, strict=True) if not np.signbit(low) or np.signbit(high)]
    assert wrong == []


FORMS: list[Callable[[Any, Any], Any]] = [
    lambda x, c: x + c, lambda x, c: c + x, lambda x, c: x - c, lambda x, c: x * c, lambda x, c: c * x,
    lambda x, c: x / c, lambda x, c: mg.log(x * x + c),
]  # fmt: skip


@pytest.mark.parametrize("form", range(len(FORMS)))
@pytest.mark.parametrize("c", [1e-46, -1e-310, 1.0 + 1e-9, 1.0 - 1e-12])
def test_constants_count_that_are_neutral_in_float32_alone(tmp_path: Path, form: int, c: float) -> None:
    """ONNX Runtime's optimiser would leave them out (findings/onnxruntime-double-constants.sh)."""
    compute, parameter = FORMS[form], mg.Value(c)
    X = np.array([-0.0, 0.0, 1e-310, 1e-60, 1.0, -3.0, 1e300, np.inf])
    for number in (c, parameter):
        right = mg.compile(lambda x, c=number: [-compute(abs(x), c), x], batch=True, backend="numpy", strict=True)(X)
        mg.export(lambda x, c=number: [-compute(abs(x), c), x], tmp_path / "neutral.onnx", 1.0)
        found = Model(tmp_path / "neutral.onnx")(X)["y"]
        np.testing.assert_allclose(found, right, rtol=4e-16, atol=2e-323)  # half of a subnormal number is rounded


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_zeros_keep_their_sign_beside_another_operand(tmp_path: Path, dtype: str) -> None:
    rows = [row for row in ROWS if row.arity == 2]
    mg.export(lambda a, b: [row(a, b) for row in rows], tmp_path / "pairs.onnx", 0.0, 0.0, dtype=dtype)
    a, b = np.array(list(itertools.product([-1.0, -0.0, 0.0, 1.0], repeat=2)), dtype).T
    found = Model(tmp_path / "pairs.onnx")(a, b)["y"]
    for row, got in zip(rows, found.T, strict=True):
        right = np.array([row.forward(*x) for x in zip(a.tolist(), b.tolist(), strict=True)])
        zeros = right == 0
        wrong = np.flatnonzero(zeros & (np.signbit(got) != np.signbit(right)))
        assert not len(wrong), (row.name, a[wrong], b[wrong], got[wrong])


# --- programs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_net_is_matrix_products(tmp_path: Path, dtype: str) -> None:
    X = np.random.default_rng(0).normal(size=(7, 2))
    model = same_values(tmp_path / "net.onnx", nn.MLP(2, [16, 16, 1], seed=1), X, dtype=dtype)
    assert list(model.nodes()) == ["MatMul", "Add", "Relu"] * 2 + ["MatMul", "Add", "Reshape", "Identity"]
    shape = model.session.get_inputs()[0].shape
    assert shape == ["samples", 2]


def test_a_written_sum_is_a_matrix_product_too(tmp_path: Path) -> None:
    W = [[Value(0.1 * i - 0.07 * j) for j in range(5)] for i in range(4)]

    def product(x: Any) -> list[Any]:
        return [sum((w * xi for w, xi in zip(row, x, strict=True)), Value(0.0)) for row in W]

    model = same_values(tmp_path / "w.onnx", product, np.random.default_rng(0).normal(size=(3, 5)))
    assert list(model.nodes()).count("MatMul") == 1


@pytest.mark.parametrize("gradient", [False, True])
def test_loops_stay_loops(tmp_path: Path, gradient: bool) -> None:
    sizes = []
    for rounds in (100, 1000):
        X = np.random.default_rng(0).normal(size=(3, rounds))
        model = (same_gradient if gradient else same_values)(tmp_path / "r.onnx", recurrence(rounds), X)
        nodes = list(model.nodes())
        assert nodes.count("Scan") == 1 + gradient
        sizes.append((nodes, len((tmp_path / "r.onnx").read_bytes())))
    assert sizes[0][0] == sizes[1][0]
    assert abs(sizes[0][1] - sizes[1][1]) < 100


def cell(rounds: int) -> Callable[[Any], Any]:
    """A recurrent layer of two gated units, whose gradient reads several places in every round."""
    W = [[Value(0.3 * i - 0.2 * j) for j in range(4)] for i in range(4)]

    def run(x: Any) -> Any:
        h: list[Any] = [0.0, 0.0]
        for t in range(rounds):
            z = [sum((w * v for w, v in zip(row[1:], [x[t], *h], strict=True)), row[0]) for row in W]
            h = [mg.sigmoid(z[k]) * h[k] + mg.sigmoid(-z[k]) * mg.tanh(z[2 + k]) for k in range(2)]
        return h[0] * h[0] + h[1] * h[1]

    return run


def test_the_file_does_not_grow_with_the_rounds(tmp_path: Path) -> None:
    sizes = []
    for rounds in (100, 150):
        model = same_gradient(tmp_path / "c.onnx", cell(rounds), np.random.default_rng(0).normal(size=(2, rounds)))
        sizes.append((list(model.nodes()), len((tmp_path / "c.onnx").read_bytes())))
    assert sizes[0][0] == sizes[1][0]
    assert abs(sizes[0][1] - sizes[1][1]) < 100


def test_a_loop_that_gets_nothing_is_a_loop_of_rounds(tmp_path: Path) -> None:
    rate = Value(0.9)

    def iterated(x: Any) -> Any:
        for _ in range(100):
            x = mg.tanh(rate * x) + 0.1
        return x

    nodes = list(same_values(tmp_path / "i.onnx", iterated, np.array([0.3, -2.0])).nodes())
    assert nodes.count("Loop") == 1
    assert nodes.count("Scan") == 0


def test_loops_look_back_and_stand_in_loops(tmp_path: Path) -> None:
    rate = Value(0.9)

    def delayed(x: Any) -> Any:
        h = [0.1, x[0], x[1]]
        for k in range(80):
            h.append(mg.tanh(rate * h[-1] - 0.3 * h[-3] + x[k]))
        return h[-1] * h[-2] * h[-1]

    def nested(x: Any) -> Any:
        h: Any = 0.0
        for k in range(50):
            for _ in range(20):
                h = mg.tanh(rate * h + 0.01)
            h = h + x[k]
        return h * h

    draw = np.random.default_rng(0)
    for f, width in ((delayed, 80), (nested, 50)):
        same_values(tmp_path / "v.onnx", f, draw.normal(size=(3, width)))
        same_gradient(tmp_path / "g.onnx", f, draw.normal(size=(3, width)))


def heap(rounds: int) -> Program:
    """Each round computes two numbers from one at half their position, which was made a varying number of rounds ago.
    An outer loop does so for two columns."""

    def at(base: int, *shifts: int) -> Index:
        return Index("v", base, (0,), shifts=shifts)

    def made(op: ops.Op, base: int, source: int) -> Instruction:
        return Instruction("map", op.code, (1,), at(base, 50, 2), (at(source, 50, 1),))

    first = Instruction("map", ops.tanh.code, (1,), at(2, 50), (at(0, 1),))
    loop = Loop(2, (first, Loop(rounds, (made(ops.sin, 3, 2), made(ops.cos, 4, 2)))))
    results = tuple(("v", 50 * column + k) for column in range(2) for k in range(2, 2 + 2 * rounds))
    return verify(Program((), (loop,), (), 0, 2, np.empty(0), 0, 100, results, batch=True, first_output=2))


def test_a_loop_without_a_form_is_written_out(tmp_path: Path) -> None:
    program, dtype = heap(6), np.dtype(np.float64)
    lowered = Onnx().write(Request(program, (2,), 0, dtype), "h_")
    y = lowered.rows(range(len(program.results)))
    lowered.graph.nodes.append(Node("Identity", [y], ["y"]))
    ports = [Port("h_argument0", dtype, (SAMPLES, 2))], [Port("y", dtype, (SAMPLES, len(program.results)))]
    (tmp_path / "h.onnx").write_bytes(model(lowered.graph, *ports, {}, "", {}))
    X = np.random.default_rng(0).normal(size=(3, 2))
    found = Model(tmp_path / "h.onnx")(X)["y"]
    near(found, np.stack(Literal(program, [], X).results(), axis=1), 1e-14)


def test_tables_are_looked_up(tmp_path: Path) -> None:
    table = [[Value(0.3 * i - 0.1 * j * j) for j in range(3)] for i in range(9)]
    draw = np.random.default_rng(0)

    def score(i: Any, j: Any, t: Any) -> Any:
        a, b = mg.take(table, i), mg.take([table[0][0], t, t * t], j)
        return (a[0] * a[1] - b) ** 2

    arrays = draw.integers(0, 9, 6).astype(float), draw.integers(0, 3, 6).astype(float), draw.normal(size=6)
    same_values(tmp_path / "v.onnx", score, *arrays)
    model = same_gradient(tmp_path / "g.onnx", score, *arrays)
    for odd in (9.0, -1.0, 0.5, np.nan):  # an invalid index: the runtime stops
        with pytest.raises(Exception, match=r"(?i)out of (bounds|range)"):
            model(np.full(6, odd), *arrays[1:])


def irregular(lines: int) -> Callable[..., Any]:
    """A program without a pattern, which runs as data."""
    leaves = [Value(0.3 * k - 1.0) for k in range(5)]

    def run(x: Any, i: Any) -> Any:
        draw, v = random.Random(1), [*x, *leaves]
        for _ in range(lines):
            a, b, c = (draw.choice(v[-100:]) for _ in range(3))
            makes = (
                lambda a, b, c: mg.tanh(a + b), lambda a, b, c: mg.sin(a) - b, lambda a, b, c: 0.5 * a * b,
                lambda a, b, c: mg.maximum(a, b), lambda a, b, c: mg.take([a, b, c], i), lambda a, b, c: mg.erf(a),
            )  # fmt: skip
            v.append(draw.choice(makes)(a, b, c))
        return mg.mean(v[-50:])

    return run


def test_streams_are_data(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    arrays = draw.normal(size=(4, 10)), draw.integers(0, 3, 4).astype(float)
    sizes = []
    for lines in (300, 400):
        assert pipeline.value_program(pipeline.record(irregular(lines), [(10,), ()]), batch=True).streams()
        model = same_gradient(tmp_path / "s.onnx", irregular(lines), *arrays)
        sizes.append(len(list(model.nodes())))
        with pytest.raises(Exception, match="Out of range"):
            model(arrays[0], np.full(4, 3.0))
    assert sizes[0] == sizes[1] < 300
    same_values(tmp_path / "v.onnx", irregular(300), *arrays, dtype="float32")


def test_a_stream_may_have_more_choices_than_slots(tmp_path: Path) -> None:
    with limited((0, 1 << 30)):  # everything is data
        same_values(
            tmp_path / "s.onnx", lambda x, i: mg.take(8 * [x[0], x[1], x[2]], i) * mg.where(*x),
            np.random.default_rng(0).normal(size=(4, 3)), np.array([0.0, 1.0, 23.0, 7.0]),
        )  # fmt: skip


def fixed_programs() -> list[tuple[RandomProgram, np.ndarray, np.ndarray]]:
    """Programs of many operations, with shared entries and dead code."""
    found = []
    for seed in range(3):
        draw = random.Random(seed)
        names = [*LINES, "take"]
        lines = [(draw.choice(names), *(draw.randrange(60) for _ in range(3))) for _ in range(40)]
        parameters = [Value(draw.randrange(-32, 33) / 16) for _ in range(4)]
        program = RandomProgram(lines, 3, parameters, [draw.randrange(60) for _ in range(3)])
        X = np.array([[draw.randrange(-32, 33) / 16 for _ in range(3)] for _ in range(5)])
        found.append((program, X, np.array([float(draw.randrange(2)) for _ in range(5)])))
    return found


@pytest.mark.parametrize(("program", "X", "index"), fixed_programs())
def test_random_programs_agree(tmp_path: Path, program: RandomProgram, X: Any, index: Any) -> None:
    same_values(tmp_path / "p.onnx", program, X, index)
    same_gradient(tmp_path / "g.onnx", lambda x, i: mg.sum(program(x, i)), X, index)


def test_results_and_arguments_have_their_names(tmp_path: Path) -> None:
    a = Value(2.0)

    def f(point: Any, _relu_1: Any) -> dict[str, Any]:
        return {"sums": [a * point[0] + _relu_1, point[1]], "both": {"a": a * 3.0, "x": point[1]}}

    mg.export(f, tmp_path / "f.onnx", [0.0, 0.0], 1.0)
    model = Model(tmp_path / "f.onnx")
    assert model.inputs == ["point", "_relu_1"]
    found = model(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0]))
    assert {key: x.tolist() for key, x in found.items()} == {
        "sums": [[7.0, 2.0], [12.0, 4.0]], "both_a": [6.0, 6.0], "both_x": [2.0, 4.0],
    }  # fmt: skip


def test_uniform_arguments_have_no_row_for_each_sample(tmp_path: Path) -> None:
    warm = mg.compile(lambda x, t, s: mg.exp(-x / t) * s, batch=True, uniform=("t", "s"))
    warm([0.0], 0.5, 1.0)
    mg.export(warm, tmp_path / "w.onnx")
    found = Model(tmp_path / "w.onnx")(np.array([0.0, 1.0, 2.0]), np.array(0.5), np.array(3.0))["y"]
    near(found, 3.0 * np.exp([0.0, -2.0, -4.0]), 1e-12)


def test_a_function_of_nothing(tmp_path: Path) -> None:
    a = Value(0.5)
    mg.export(lambda: [a * 2.0, mg.sin(a)], tmp_path / "c.onnx")
    near(Model(tmp_path / "c.onnx")()["y"], [1.0, np.sin(0.5)], 1e-12)


# --- training ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("optimizer", [optim.SGD(1e-1), optim.Adam(1e-2)], ids=["SGD", "Adam"])
def test_steps_are_those_of_training(tmp_path: Path, optimizer: Any, dtype: str) -> None:
    net = nn.MLP(2, [4, 1], seed=1)

    def loss(x: Any, t: Any) -> Any:
        return losses.hinge(net(x), t)

    mg.export(loss, tmp_path / "t.onnx", [0.0, 0.0], 1.0, kind="train", optimizer=optimizer, dtype=dtype)
    model, draw = Model(tmp_path / "t.onnx"), np.random.default_rng(0)
    X, y = draw.normal(size=(8, 2)).astype(dtype), draw.choice([-1.0, 1.0], 8).astype(dtype)
    loop = TrainingLoop(mg.compile(loss, batch=True, dtype=dtype), [X, y], optimizer.rule, optimizer.initial_state)
    right = loop.run(
        np.tile(np.arange(8), 10), np.full(10, 8), np.full(10, optimizer.learning_rate)
    )  # fmt: skip
    carried: dict[str, Any] = {}
    found = []
    for _ in range(10):
        answer = model(X, y, **carried)
        found.append(answer.pop("loss"))
        carried = {key.removeprefix("new_"): x for key, x in answer.items()}
    near(found, right.losses, 100 * TOLERANCE[dtype])
    near(carried["parameters"], loop.theta, 100 * TOLERANCE[dtype])
    assert carried["steps"] == 10
    before = {key: x.copy() for key, x in carried.items()}
    answer = model(np.where(X[0] == X, np.nan, X), y, **carried)
    assert np.isnan(answer["loss"])
    assert all((answer[f"new_{key}"] == x).all() for key, x in before.items())
    near(model(X, y, rate=np.array(0.0, dtype))["new_parameters"], loop_start(loss, dtype).astype(dtype), 0.0)


def loop_start(loss: Any, dtype: str) -> Any:
    compiled = mg.compile(loss, batch=True, dtype=dtype)
    compiled([[0.0, 0.0]], [1.0])
    return compiled.theta()


# --- the file ---------------------------------------------------------------------------------------------------------


def test_the_same_input_makes_the_same_bytes(tmp_path: Path) -> None:
    paths = [mg.export(recurrence(60), tmp_path / f"{k}.onnx", np.zeros(60), kind="gradient").paths[0] for k in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_what_cannot_be_exported_says_so_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, net = tmp_path / "net.onnx", nn.MLP(2, [2], seed=1)
    with pytest.raises(ValueError, match="only C files have a header"):
        mg.export(net, path, [0.0, 0.0], header=True)
    with pytest.raises(ValueError, match=r"must end in \.c or .*\.onnx"):
        mg.export(net, tmp_path / "net.onxx", [0.0, 0.0])
    with pytest.raises(TypeError, match="only one scalar has a gradient"):
        mg.export(net, path, [0.0, 0.0], kind="gradient")
    with pytest.raises(TypeError, match="closes over no Values"):
        mg.export(lambda x: x * x, path, 0.0, kind="gradient")
    monkeypatch.setattr(ops.exp, "onnx", None)
    with pytest.raises(LookupError, match="operation 'exp' has neither an ONNX form nor a formula"):
        mg.export(lambda x: mg.exp(x), path, 0.0)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "macrograd\[onnx\]"'):
        mg.export(net, path, [0.0, 0.0])
    assert list(tmp_path.iterdir()) == []


def climbs(x: Any) -> Any:
    """A number of rounds that the data decide, each of many operations."""
    rate = Value(0.35)

    def body(s: Any) -> Any:
        n, t = s
        for _ in range(15):
            t = mg.sin(t) * 0.5 + 0.1 * t * x
        return n + rate + 0.0 * t, t

    return mg.while_loop(lambda s: s[0] < 4.0, body, (x, x), most=200)[0]


def test_loops_end_when_all_samples_are_done(tmp_path: Path) -> None:
    X = np.array([1.0, 3.0, 9.0, 3.9])
    model = same_values(tmp_path / "w.onnx", climbs, X)
    assert list(model.nodes()).count("Loop") == 2  # of its rounds, and one that was found in a round
    near(model(X[2:3])["y"], X[2:3], 0.0)
    assert model(X[:0])["y"].shape == (0,)
    done: list[int] = []

    class Sin(OpRun):
        """The operator, which tells of its calls."""

        op_domain = ""

        def _run(self, x: Any) -> Any:
            done.append(1)
            return (np.sin(x),)

    evaluator = ReferenceEvaluator(model.proto, new_ops=[Sin])
    for samples, rounds in ((X[2:3], 0), (X[3:], 1), (X[1:], 3)):
        done.clear()
        (found,) = evaluator.run(None, {model.inputs[0]: samples})
        near(found, model(samples)["y"], 1e-12)
        assert len(done) == 15 * (rounds + 1)  # the last one finds that all are done
