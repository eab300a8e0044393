"""Streams: a program that runs as records computes what its tape says, and its records are what the module states."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from literal import Literal

import macrograd as mg
from macrograd import Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import FUSED, MORE, NAMES, SPREAD, SUM, TOTAL, Stream
from macrograd.compiler.roll import cost_model

W = [Value(v) for v in (0.5, -1.25, 2.0, 0.75)]


def mixed(x: Any) -> Any:
    """Sums with terms of every kind: alone, negative, products; a choice; operations of one, two and three operands."""
    a = mg.tanh(x[0] * W[0] - x[1] + W[1] * W[2])
    b = mg.where(x[1] > a, mg.maximum(a, x[2]), a / (1.5 + x[2] * x[2]))
    c = mg.dot([W[0], W[1], a], [x[0], x[1], b]) - W[3]
    return mg.take([a, b, c, W[2]], 2.0) * b - mg.exp(-c * c)


@pytest.fixture
def data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is code: neither loops nor large groups."""
    monkeypatch.setattr(cost_model, "FREE", 0)
    monkeypatch.setattr(cost_model, "MOST_TINY", 0)
    monkeypatch.setattr(cost_model, "MOST_LARGE", 0)


def programs(batch: bool) -> dict[str, tuple[Program, Any]]:
    source = pipeline.record(mixed, [(3,)])
    return {
        "value": (pipeline.value_program(source, batch=batch), None),
        "gradient": (pipeline.gradient_program(source, batch=batch), source),
    }


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("batch", [False, True])
def test_records_compute_what_eager_code_does(batch: bool) -> None:
    X = np.random.default_rng(0).normal(size=(5, 3))
    for name, (program, _) in programs(batch).items():
        assert program.streams(), name
        inputs = X if batch else X[0]
        found = Literal(program, [w.data for w in W], inputs).results()
        for w in W:
            w.grad = 0.0
        outputs = [mixed(row) for row in (X.tolist() if batch else X[:1].tolist())]
        mean = mg.mean(outputs)
        mean.backward()
        if name == "value":
            np.testing.assert_allclose(np.ravel(found[0]), [out.data for out in outputs], rtol=1e-13)
        else:
            np.testing.assert_allclose(found[0], mean.data, rtol=1e-13)
            order = pipeline.record(mixed, [(3,)]).parameters
            np.testing.assert_allclose(found[1:], [p.grad for p in order], rtol=1e-12, atol=1e-15)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_strict_records_have_the_same_bits_on_both_targets(dtype: str) -> None:
    """Of functions, too, which NumPy's own library rounds otherwise."""
    rows = [row for row in ops.TABLE if row.arity == 1 and row.portable] + [ops.BY_NAME["erf"]]

    def some(x: Any) -> Any:
        return [row(a) for row in rows for a in x]

    X = np.random.default_rng(0).uniform(0.1, 3.0, 50).astype(dtype)
    found = {}
    for backend in ("llvm", "numpy"):
        compiled = mg.compile(some, strict=True, backend=backend, dtype=dtype)
        found[backend] = compiled(X)
        assert "one by one" in compiled.explain()
    np.testing.assert_array_equal(found["llvm"], found["numpy"])


@pytest.mark.usefixtures("data")
def test_a_block_copies_what_is_uniform_and_sums_over_the_batch() -> None:
    program, _ = programs(batch=True)["gradient"]
    codes = {code for stream in program.streams() for code, _, _ in stream.records()}
    assert {SPREAD, TOTAL, SUM} <= codes
    for stream in program.streams():
        written = [slot for code, out, _ in stream.records() if code in (SPREAD, TOTAL) for slot in out.tolist()]
        assert len(set(written)) == len(written)


@pytest.mark.usefixtures("data")
def test_what_can_run_together_is_one_record() -> None:
    def some(x: Any) -> Any:
        sums = [x[0] - x[1], x[0] * x[1] + x[2], x[2] * W[0] - W[1], x[0] + x[1] + x[2]]
        return mg.dot([mg.tanh(s) for s in sums], [mg.exp(s) for s in sums])

    (stream,) = pipeline.value_program(pipeline.record(some, [(3,)]), batch=False).streams()
    sizes = sorted((code, len(operands), len(out)) for code, out, operands in stream.records())
    assert sizes == [(ops.exp.code, 1, 4), (ops.tanh.code, 1, 4), (SUM, 4, 3), (SUM, 6, 1), (SUM, 8, 1)]


def test_sums_one_by_one() -> None:
    words = np.array([SUM, 2, 4, 6, 7, 0, 1, 2, 3, 4, 5, 1, 0, ops.exp.code, 1, 1, 8, 6], dtype=np.int32)
    plain = [(code, out.tolist(), rows.tolist()) for code, out, rows in Stream(words, 3, block=False).plain()]
    assert plain == [
        (ops.mul.code, [6, 7], [[0, 1], [2, 3]]),
        (FUSED, [6, 7], [[4, 5], [1, 0], [6, 7]]),
        (ops.exp.code, [8], [[6]]),
    ]


def test_the_words_of_a_stream_are_its_records() -> None:
    mul = ops.mul.code
    words = np.array([SPREAD, 2, 1, 4, 5, 0, 1, mul, 2, 2, 6, 7, 4, 5, 0, 0, MORE, 1, 1, 9, 6], dtype=np.int32)
    stream = Stream(words, 3, block=True)
    records = [(code, out.tolist(), operands.tolist()) for code, out, operands in stream.records()]
    assert records == [(SPREAD, [4, 5], [[0, 1]]), (mul, [6, 7], [[4, 5], [0, 0]]), (MORE, [9], [[6]])]
    assert str(stream) == f"stream of 3 scalars: 2 {NAMES[SPREAD]}, 2 mul, 1 {NAMES[MORE]}"
    assert stream.table().tolist() == [len(words), *words.tolist()]
