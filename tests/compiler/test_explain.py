"""`explain` says what is there: the words are compared, for nets and for programs that no net made."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, losses, nn
from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.explain.explain import scalar_operations
from macrograd.compiler.explain.words import common


def net(*sizes: int, **options: Any) -> tuple[nn.MLP, Compiled]:
    model = nn.MLP(sizes[0], sizes[1:], seed=1, **options)

    def loss(x: Any, t: Any) -> Any:
        return losses.hinge(model(x), t)

    return model, mg.compile(loss, batch=True)


def explained(fn: Callable[..., Any], *shapes: tuple[int, ...], batch: bool = False) -> list[str]:
    compiled = mg.compile(fn, batch=batch)
    arrays = [np.zeros((2, *shape) if batch else shape) for shape in shapes]
    compiled(*arrays)
    return compiled.explain().splitlines()


def only(lines: list[str], start: str) -> str:
    """The one line that begins so, stripped."""
    found = [line.strip() for line in lines if line.strip().startswith(start)]
    assert len(found) == 1, (start, lines)
    return found[0]


def test_the_moons_net_word_for_word() -> None:
    _, compiled = net(2, 16, 16, 1)
    found = compiled.explain(np.zeros((32, 2)), np.ones(32))
    assert found == MOONS


def test_parameters_have_the_names_that_are_given() -> None:
    model, compiled = net(2, 16, 16, 1)
    lines = compiled.explain(np.zeros((32, 2)), np.ones(32), names=model.named_parameters()).splitlines()
    assert only(lines, "(1)").endswith(
        "matrix product layers.0.neurons.w[16×2]·x[2] + layers.0.neurons.b[16], then relu = (2)"
    )
    assert "dot product layers.2.neurons.0.w[16]·(4)[16] + layers.2.neurons.0.b, then" in only(lines, "(5)")
    assert only(lines, "(20)").startswith("(20) gradient of layers.1.neurons.w[16×16]: outer product ")
    assert only(lines, "(19)").startswith("(19) gradient of layers.1.neurons.b[16]: ")


MOONS = """\
loss(x[2], t) of one sample: 337 parameters, float64

recorded 68 operations; written out on pairs of numbers, 643 a sample
values: 8 array instructions
values and gradient: 22 array instructions instead of 1,833 scalar operations a sample

(k) is the result of line k; brackets are shapes, rows × columns; a dot picks an element.

The values
  for each block of samples, all samples of the block side by side:
    (1) n samples × 16 neurons: sums of 2 products = matrix product W1[16×2]·x[2] + b1[16], then relu = (2)
    (3) n samples × 16 neurons: sums of 16 products = matrix product W2[16×16]·(2)[16] + b2[16], then relu = (4)
    (5) n samples × 1 neuron: a sum of 16 products = dot product w1[16]·(4)[16] + b3, then t · it = (6)
    (7) 1 − (6), then relu = (8): the value

The gradient, with the values above computed on the way
  for each block of samples, all samples of the block side by side:
    (9) weight where (8) is not 0, else 0, then it · -1 = (10), then it · t = (11)
    (12) (11) · w1[16], then it where (4)[16] is not 0, else 0 = (13)
    (14) n samples × 16 sums of 16 products = matrix product W2[16×16]ᵀ·(13)[16], \
then it where (2)[16] is not 0, else 0 = (15)
    (16) the mean value: weight · (8), summed over the batch
    (17) gradient of b3: (11), summed over the batch
    (18) gradient of w1[16]: (4)[16] · (11), summed over the batch
    (19) gradient of b2[16]: (13)[16], summed over the batch
    (20) gradient of W2[16×16]: outer product (13)[16] ⊗ (2)[16], summed over the batch
    (21) gradient of b1[16]: (15)[16], summed over the batch
    (22) gradient of W1[16×2]: outer product (15)[16] ⊗ x[2], summed over the batch

What did not roll
  (6)–(11) are single numbers: at their depth nothing else has the same operation on the same kinds of operands"""


def test_a_net_written_by_hand_reads_the_same() -> None:
    """Nested lists and sum(): other names, the same matrices."""
    draw = random.Random(0)
    sizes = [2, 5, 3, 1]
    weights = [[[Value(draw.random()) for _ in range(m)] for _ in range(n)] for m, n in itertools.pairwise(sizes)]
    biases = [[Value(draw.random()) for _ in range(n)] for n in sizes[1:]]

    def loss(x: Any, t: Any) -> Any:
        for k, (W, b) in enumerate(zip(weights, biases, strict=True)):
            x = [sum((w * v for w, v in zip(row, x, strict=True)), b[i]) for i, row in enumerate(W)]
            x = [v.relu() for v in x] if k < 2 else x
        return mg.maximum(1 - t * x[0], 0.0)

    lines = explained(loss, (2,), (), batch=True)
    assert only(lines, "(1)").endswith(
        "5 neurons: sums of 2 products = matrix product W1[5×2]·x[2] + b1[5], then relu = (2)"
    )
    assert "3 neurons: sums of 5 products = matrix product W2[3×5]·(2)[5] + b2[3], then relu" in only(lines, "(3)")
    text = "\n".join(lines)
    assert "= matrix product W2[3×5]ᵀ·" in text
    assert "gradient of W2[3×5]: outer product" in text
    assert "gradient of W1[5×2]: outer product" in text
    assert "gradient of b1[5]: " in text


def test_labels_name_parameters() -> None:
    weights = [Value(0.5, label=f"w{i}") for i in range(3)]
    lines = explained(lambda x: mg.tanh(mg.dot(weights, x)), (3,), batch=True)
    assert only(lines, "(1)").endswith(
        "1 neuron: a sum of 3 products = dot product w[3]·x[3], then tanh = (2): the value"
    )
    assert any("gradient of w[3]: x[3] · (" in line for line in lines)


def test_matrix_times_matrix_and_transposed() -> None:
    def times(A: Any, B: Any) -> Any:
        return [[mg.dot(row, [b[j] for b in B]) for j in range(4)] for row in A]

    lines = explained(times, (2, 3), (3, 4))
    assert only(lines, "(1)") == "(1) 2×4 sums of 3 products = matrix product A[2×3]·B[3×4]: 8 results"
    assert "The result is not one scalar, so it has no gradient." in lines
    assert lines[-1] == "Everything rolled: every line is an array whose places follow its counters."

    def times_transposed(A: Any, B: Any) -> Any:
        return [[mg.dot(row, other) for other in B] for row in A]

    lines = explained(times_transposed, (2, 3), (4, 3))
    assert only(lines, "(1)") == "(1) 2×4 sums of 3 products = matrix product A[2×3]·B[4×3]ᵀ: 8 results"

    def vector_times(A: Any, x: Any) -> Any:
        return [mg.dot([row[j] for row in A], x) for j in range(4)]

    lines = explained(vector_times, (3, 4), (3,))
    assert only(lines, "(1)") == "(1) 4 sums of 3 products = matrix product A[3×4]ᵀ·x[3]: 4 results"


def test_products_of_rows_and_elements() -> None:
    lines = explained(lambda A, B: [mg.dot(a, b) for a, b in zip(A, B, strict=True)], (4, 3), (4, 3))
    assert only(lines, "(1)") == "(1) 4 sums of 3 products = dot products of rows A[4×3]·B[4×3]: 4 results"
    lines = explained(lambda a, b: [x * y for x, y in zip(a, b, strict=True)], (5,), (5,))
    assert only(lines, "(1)") == "(1) a[5] ∘ b[5]: 5 results"
    lines = explained(lambda a, b: [[x * y for y in b] for x in a], (3,), (2,))
    assert only(lines, "(1)") == "(1) a[3] ⊗ b[2]: 6 results"
    lines = explained(lambda a, s: [x * s for x in a], (3,), ())
    assert only(lines, "(1)") == "(1) a[3] · s: 3 results"


def test_a_convolution_and_its_gradient() -> None:
    kernel = [Value(0.1, label=f"k{i}") for i in range(3)]

    def slide(x: Any) -> Any:
        return mg.sum(mg.tanh(mg.dot(kernel, x[i : i + 3])) for i in range(8))

    lines = explained(slide, (10,), batch=True)
    assert "8 sums of 3 products = convolution k[3] over windows[8×3] of x, then tanh" in only(lines, "(1)")
    assert any("gradient of k[3]: convolution (" in line and "over windows[3×8] of x" in line for line in lines)


def test_choices_by_index() -> None:
    model = nn.MLP(3, [4], seed=1)
    lines = explained(lambda x, t: losses.cross_entropy(model(x), t), (3,), (), batch=True)
    assert any("one of the 4 numbers (" in line and "chosen by t" in line for line in lines)
    assert any("where t is {0, 1, 2, 3}, else 0" in line for line in lines)


def test_a_recurrence_is_told_in_rounds() -> None:
    rate = Value(0.9, label="rate")

    def run(x: Any) -> Any:
        h = 0.0
        for i in range(40):
            h = mg.tanh(rate * h + x[i])
        return h

    lines = explained(run, (40,), batch=True)
    text = "\n".join(lines)
    assert "rounds, one after the other, the first from the results of the lines above:" in text
    assert "tanh of (3) of the round before" in only(lines, "(2)")
    assert only(lines, "(3)") == "(3) rate · (2) + x.1–38 (the next in each round)"
    assert "round by round from the last" in text
    assert len([line for line in lines if line.strip().startswith("(")]) < 30


def test_equal_layers_are_told_in_rounds_with_one_name() -> None:
    model, compiled = net(2, *[6] * 9, 1)
    text = compiled.explain(np.zeros((2, 2)), np.ones(2), names=model.named_parameters())
    assert "matrix product layers.neurons.w[6×6] (the next in each round)·" in text
    assert "gradient of layers.neurons.w[6×6] (the next in each round): outer product" in text


def test_what_did_not_roll_is_said_with_the_reason() -> None:
    places = random.Random(3).sample(range(40), 40)
    lines = explained(lambda x: [mg.exp(x[i]) * x[places[i]] for i in range(40)], (40,))
    assert "What did not roll" in lines
    assert lines[-1].endswith("through a table of places: no affine map of three counters or fewer fits")
    assert "reads x[40]" in lines[-1]
    lines = explained(lambda x: mg.exp(mg.sin(x)), ())
    assert lines[-1].strip().startswith("(1), (2) are single numbers: at their depth nothing else has the same")


def test_long_programs_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("macrograd.compiler.roll.cost_model.MOST_TINY", 10**9)  # instructions, not a stream of them
    monkeypatch.setattr("macrograd.compiler.roll.cost_model.FREE", 10**9)
    draw = random.Random(1)

    def tangle(x: Any) -> Any:
        values = list(x)
        for _ in range(400):
            a, b = draw.choice(values[-9:]), draw.choice(values[-9:])
            values.append(
                draw.choice([lambda a, b: a * b, mg.maximum, lambda a, b: mg.exp(a), lambda a, b: a / b])(a, b)
            )
        return values[-1]

    lines = explained(tangle, (9,), batch=True)
    assert any("more lines; in all " in line for line in lines)
    assert len(lines) < 130


def test_what_runs_as_data_is_counted() -> None:
    draw = random.Random(1)

    def tangle(x: Any) -> Any:
        values = list(x)
        for _ in range(3000):
            a, b = draw.choice(values[-9:]), draw.choice(values[-9:])
            values.append(
                draw.choice([lambda a, b: a * b, mg.maximum, lambda a, b: mg.sin(a), lambda a, b: a + b])(a, b)
            )
        return values[-1]

    lines = explained(tangle, (9,), batch=True)
    assert re.search(r"and \d streams? of scalars$", only(lines, "values: "))
    told = [line for line in lines if " scalars one by one: " in line]
    assert told
    assert " sin" in told[0]
    rule = next(k for k, line in enumerate(lines) if "data, for a kernel that knows every operation" in line)
    scalars, may = re.search(r"a program of ([\d,]+) scalars may have (\d+) groups", lines[rule + 1]).groups()
    assert int(may) == 192 + int(scalars.replace(",", "")) // 256
    assert len(lines) < 60


def test_a_value_that_was_told_is_not_told_again() -> None:
    lines = explained(lambda x, y: mg.exp(x) * y, (), ())
    assert len([line for line in lines if "exp" in line and line.strip().startswith("(")]) == 1


def test_a_function_without_arguments() -> None:
    x = [Value(float(i), label=f"x{i}") for i in range(6)]
    lines = explained(lambda: mg.sum(v * v for v in x))
    assert lines[0] == "<lambda>(): 6 parameters, float64"
    assert not any("batch" in line for line in lines)
    assert only(lines, "(1)") == "(1) a sum of 6 products = dot product x[6]·x[6]: the value"
    assert only(lines, "(2)") == "(2) the value: (1)"
    assert only(lines, "(3)") == "(3) gradient of x[6]: 6 sums: 2 · x[6]"


def test_it_compiles_no_native_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("explain() made native code")

    monkeypatch.setattr("macrograd.compiler.pipeline.prepare", refuse)
    assert "8 array instructions" in net(2, 16, 16, 1)[1].explain(np.zeros((1, 2)), np.ones(1))


def test_scalar_operations_are_counted_on_pairs() -> None:
    def count(fn: Callable[..., Any], *shapes: tuple[int, ...]) -> int:
        return scalar_operations(pipeline.value_program(pipeline.record(fn, shapes), batch=False))

    assert count(lambda a, b: mg.dot(a, b), (7,), (7,)) == 7 + 6
    assert count(lambda a: mg.sum(a), (7,)) == 6
    assert count(lambda a, b: a - b, (), ()) == 1
    assert count(lambda a: [mg.exp(x) for x in a], (5,)) == 5


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["bias"], "bias"),
        (["w0", "w1", "w2"], "w"),
        (["layers.0.neurons.0.w.0", "layers.0.neurons.3.w.1"], "layers.0.neurons.w"),
        (["W[0][1]", "W[1][0]"], "W"),
        (["a", "b", "c"], "{a, b, c}"),
        (list("abcdefgh"), None),
        (["0", "1"], None),
    ],
)
def test_names_that_differ_in_numbers_have_one_name(names: list[str], expected: str | None) -> None:
    assert common(names) == expected


def test_every_stage_can_be_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("MACROGRAD_DEBUG", "passes")
    w = Value(0.5)
    mg.compile(lambda x: mg.tanh(w * x), batch=True).backward([1.0, 2.0])
    out, err = capsys.readouterr()
    assert out == ""
    stages = [line.removeprefix("--- ") for line in err.splitlines() if line.startswith("--- ")]
    assert stages == ["trace", "simplify", "differentiate", "simplify", "roll"]
    assert "%2 = mul %1 %0" in err
    assert "block:\n  v[" in err
    assert err.rstrip().splitlines()[-1].startswith("return u[")


@pytest.mark.parametrize("function", [lambda x: x, lambda x: [x, 2.0], lambda x: 3.0])
def test_where_nothing_is_computed(function: Any) -> None:
    lines = explained(function, ())
    assert "  Nothing is computed: the results are arguments, parameters and constants." in lines
    assert not any("rolled" in line for line in lines)
