"""The fuzzer is tested: it takes every operation, repeats itself for a seed, finds what is broken, and shrinks."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import ops

from . import __main__ as command
from . import faults, generate, reference, session, ways
from .check import Verdict, check
from .data import Data
from .generate import Case
from .language import Line, Program, Repeat, flat, function
from .shrink import shrink
from .ways import Way

VALUES = Way("values", batch=True, rows=(0, 1, 0))


def programs(count: int) -> list[Case]:
    return [generate.case(f"7:{k}") for k in range(count)]


def test_every_row_of_the_table_is_called() -> None:
    text = "\n".join(case.program.text() for case in programs(150))
    for op in ops.TABLE:
        if op not in (ops.CONSTANT, ops.gate):
            calls = generate.VARIADIC[op.name] if op.arity is None else [generate.spelled(op)]
            assert any(call.partition("(")[0] + "(" in text for call in calls), op.name


def test_a_variadic_row_needs_a_spelling() -> None:
    assert set(generate.VARIADIC) == {op.name for op in ops.TABLE if op.arity is None}


def test_the_same_seed_is_the_same_program() -> None:
    assert [case.program.text() for case in programs(20)] == [case.program.text() for case in programs(20)]
    assert len({case.program.text() for case in programs(20)}) > 18


def test_moderate_programs_stay_moderate() -> None:
    for case in programs(60):
        if not {"wild", "odd one"} & case.program.features:
            f = function(case.program.text(), case.data.parameters)
            arguments = [case.data.samples[0], float(case.data.indices[0])][: len(case.program.arguments)]
            assert np.isfinite(np.array(flat(f(*arguments)), dtype=float)).all()


# --- the check can fail ---------------------------------------------------------------------------------------------


def simple(call: str, samples: list[list[float]]) -> Case:
    lines = [
        Line("v0", "{0} + {1}", ["x[0]", "P[0]"]),
        Line("v1", call, ["v0"]),
        Line("v2", "{0} * {1}", ["v1", "P[0]"]),
    ]
    program = Program(list(lines), ["x"], "v2", ["v2"])
    return Case(program, Data([1.5], samples, [0] * len(samples)))


@pytest.mark.parametrize("what", ["values", "backward", "value_and_grad", "bind", "inputs", "second"])
@pytest.mark.parametrize("backend", ["llvm", "numpy"])
def test_right_programs_pass(what: str, backend: str) -> None:
    case = simple("mg.tanh({0})", [[0.25], [-0.5]])
    with session.compiling():
        outcome = check(case, Way(what, batch=True, rows=(0, 1, 1), backend=backend))
    assert outcome == Verdict("", outcome.compared)
    assert outcome.compared


@pytest.mark.parametrize("what", ["values", "backward", "inputs", "second"])
@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-13), ("float32", 1e-4)])
def test_a_small_error_is_seen(what: str, dtype: str, error: float, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ways.run
    monkeypatch.setattr(ways, "run", lambda *given: [part * (1 + error) for part in run(*given)])
    failure = check(simple("mg.tanh({0})", [[0.25], [-0.5]]), Way(what, batch=True, rows=(0, 1), dtype=dtype)).failure
    assert "eager" in failure


def test_strict_sees_the_sign_of_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    case = simple("{0} * 0.0", [[1.0]])
    way = Way("values", batch=True, rows=(0,), backend="numpy", strict=True)
    assert check(case, way) == Verdict("", 1, 0, 1)
    monkeypatch.setattr(ways, "run", lambda *_: [np.array([[-0.0]])])
    assert "strict" in check(case, way).failure


def test_ties_of_rounded_numbers_are_undecidable_and_exact_ones_are_not() -> None:
    program = Program([Line("v1", "ops.less({0} * {1}, {1} * {0})", ["x[0]", "P[0]"])], ["x"], "v1", ["v1"])
    way = Way("values", batch=True, rows=(0,), backend="numpy")
    assert check(Case(program, Data([0.1], [[0.3]], [0])), way).undecidable == 1
    assert check(Case(program, Data([0.5], [[0.25]], [0])), way).undecidable == 0


# --- what the check leaves out is no more than it says ------------------------------------------------------------


def judged(case: Case, way: Way, change: Callable[[Any], Any] = lambda found: found) -> Verdict:
    """The check of a compiled program whose answers are changed."""
    with session.compiling(), pytest.MonkeyPatch.context() as patch:
        run = ways.run
        patch.setattr(ways, "run", lambda *given: [change(part) for part in run(*given)])
        return check(case, way)


def lines(*calls: str, parameters: Sequence[float], samples: Sequence[Sequence[float]]) -> Case:
    body: list[Any] = [Line(f"v{k}", call, []) for k, call in enumerate(calls)]
    result = body[-1].target
    return Case(
        Program(body, ["x"], result, [result]), Data(list(parameters), [list(x) for x in samples], [0] * len(samples))
    )


# The slope of √P at 0 is infinite and the same for all samples: the compiled program multiplies the sum 1 + 0 with it.
SHARED = lines("ops.sqrt(P[0])", "v0 * x[0]", parameters=[0.0], samples=[[1.0], [0.0]])


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
@pytest.mark.parametrize("what", ["backward", "value_and_grad", "bind"])
def test_sums_over_the_batch_come_before_infinite_slopes(what: str, backend: str) -> None:
    way = Way(what, batch=True, rows=(0, 1, 0), backend=backend)
    assert judged(SHARED, way) == Verdict("", 2)
    for wrong in (math.nan, -math.inf, 1.0):  # the first is what the samples' derivatives add up to
        failure = judged(SHARED, way, lambda x, wrong=wrong: np.where(np.isinf(x), wrong, x)).failure
        assert failure.startswith("gradient"), wrong


def test_a_nan_of_every_sample_stays_one() -> None:
    case = lines("ops.sqrt(P[0])", "v0 * x[0]", parameters=[0.0], samples=[[0.0], [-0.0]])
    way = Way("backward", batch=True, rows=(0, 1), backend="numpy")
    assert judged(case, way) == Verdict("", 2)
    assert judged(case, way, lambda x: np.where(np.isnan(x), np.inf, x)).failure


@pytest.mark.parametrize("strict", [False, True])
def test_derivatives_of_infinite_data_are_judged_but_behind_clamps(strict: bool) -> None:
    way = Way("inputs", batch=True, rows=(0,), backend="numpy", strict=strict)

    def poisoned(call: str) -> Verdict:
        case = lines(call, "v0 * P[0]", parameters=[2.0], samples=[[math.inf, 1.0]])
        return judged(case, way, lambda x: np.full_like(x, np.nan))

    assert "nan" in poisoned("ops.tanh(x[1]) + x[0]").failure
    assert "nan" in poisoned("mg.where(ops.less(x[1], 3.0), x[0], 1.0)").failure
    for clamp in ("mg.relu(x[0])", "mg.where(ops.less(x[0], 3.0), x[0], 1.0)"):
        verdict = poisoned(clamp)
        assert (verdict.failure, verdict.undecidable) == ("", 2), clamp


@pytest.mark.parametrize("strict", [False, True])
def test_means_that_overflow_in_one_order_alone_are_undecidable(strict: bool) -> None:
    """−1e308 · 2 · 1 is infinite, and −1e308 · 2 · (1/2) is not."""
    case = lines("P[0] * P[0]", "v0 + v0", parameters=[-1e308], samples=[[0.0], [1.0]])
    verdict = judged(case, Way("backward", batch=True, rows=(0, 1), backend="numpy", strict=strict))
    assert not verdict.failure
    assert verdict.undecidable


def test_training_on_numbers_beyond_float32_is_undecidable() -> None:
    """The eager engine trains in float64, where tanh(1e50) has the slope 0, which is NaN if the 1e50 is infinite."""
    case = lines("ops.exp(P[0])", "ops.power(x[0], v0)", "ops.tanh(v1)", parameters=[5.0], samples=[[3.0], [3.0]])
    for dtype, undecidable in (("float32", 1), ("float64", 0)):
        way = Way("training", batch=True, rows=(0, 1), dtype=dtype)
        assert judged(case, way) == Verdict("", 1, undecidable)


def test_means_of_subnormal_numbers_have_room() -> None:
    """−1e-310 / 7, rounded, is another seventh than a mean's."""
    case = lines("mg.where(P[0], x[0], 1.0)", parameters=[1.0], samples=[[-1e-310]])
    for rows in (7, 49):
        assert not judged(case, Way("backward", batch=True, rows=(0,) * rows, backend="numpy")).failure
    assert judged(case, Way("backward", batch=True, rows=(0,) * 7, backend="numpy"), lambda x: x * 1.01).failure


def test_what_cancels_in_a_batch_is_rounded_though_the_samples_are_exact() -> None:
    """A third of a number is none of the grid whose sums are exact, also of samples that are all alike."""
    case = lines("P[0] * x[0]", "v0 * P[1] - v0", parameters=[3.0, 1.0], samples=[[1.0]])
    for rows, wrong in ((3, False), (4, True)):
        way = Way("backward", batch=True, rows=(0,) * rows, backend="numpy")
        assert bool(judged(case, way, lambda x: np.where((x == 0.0) & (len(x) > 1), 1e-16, x)).failure) == wrong


def test_uses_of_a_parameter_that_cancel_are_summed_over_the_batch_one_by_one() -> None:
    """Each use adds up 24 shares of 1/24; the difference of the sums is a rounding, and nothing more."""
    case = lines("P[1] - P[1]", "v0 + x[0] * P[0]", parameters=[0.5, 3.0], samples=[[0.25], [1.0], [-0.5]])
    way = Way("backward", batch=True, rows=tuple(range(3)) * 8, backend="numpy")

    def off(by: float, of: int) -> Callable[[Any], Any]:
        return lambda x: x + by * (np.arange(len(x)) == of) if len(x) > 1 else x

    assert not judged(case, way).failure
    for rounding in (2.0**-53, -(2.0**-52)):
        assert not judged(case, way, off(rounding, of=1)).failure
    for wrong in (off(1e-13, of=1), off(1e-13, of=0), off(-1.0 / 24.0, of=1), lambda x: x * (1.0 + 1e-13)):
        assert judged(case, way, wrong).failure


@pytest.mark.parametrize("last", ["v0 + P[1]", "mg.dot([v0, P[1]], [1.0, P[2]])", "P[1] - (-v0)"])
def test_sums_of_exact_sums_may_be_added_in_any_order(last: str) -> None:
    """(−1 + 1) + 1e-17 is 1e-17, and −1 + (1 + 1e-17) is 0."""
    case = lines("P[0] + x[0]", last, parameters=[-1.0, 1e-17, 1.0], samples=[[1.0]])
    way = Way("values", batch=True, rows=(0,), backend="numpy")
    assert not judged(case, way, lambda x: x * 0.0).failure
    assert judged(case, way, lambda x: x + 1e-13).failure


def test_derivatives_of_results_that_are_not_finite_are_judged_but_behind_choices() -> None:
    way = Way("backward", batch=True, rows=(0,), backend="numpy")

    def poisoned(call: str) -> Verdict:
        case = lines("mg.log(P[0])", call, parameters=[-0.25], samples=[[1.0]])
        return judged(case, way, lambda x: np.full_like(x, np.nan))

    assert "gradient" in poisoned("v0 + P[0] * 2.0").failure
    assert not poisoned("v0 + ops.onehot(1.0, P[0], mg.sigmoid(v0))").failure


def test_signs_of_zero_are_judged_where_nothing_is_summed() -> None:
    way = Way("values", batch=True, rows=(0,), backend="numpy")
    product = lines("P[0] * x[0]", "ops.tanh(v0)", parameters=[-1.0], samples=[[0.0]])
    assert judged(product, way) == Verdict("", 1)
    assert "zero" in judged(product, way, np.abs).failure
    added = lines("P[0] * x[0] + x[0] * P[0]", parameters=[-1.0], samples=[[0.0]])
    assert not judged(added, way, np.abs).failure  # a matrix product begins with 0.0


@pytest.mark.parametrize("what", ["values", "backward"])
def test_a_reference_that_is_not_the_eager_engine_is_a_failure(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case = lines("mg.where(ops.less(x[0], P[0]), x[0], P[0])", parameters=[1.5], samples=[[0.25], [2.0]])
    way = Way(what, batch=True, rows=(0, 1))
    assert not judged(case, way).failure
    monkeypatch.setattr(ops.less, "array", lambda np, a, b: np.where(a > b, 1.0, 0.0))
    assert ", reference" in judged(case, way).failure


def test_without_noise_a_program_is_the_eager_engine() -> None:
    """Bit by bit: NumPy's tanh of an array is another than `math`'s, and −0.0 + 0.0 is 0.0."""
    for case in programs(40):
        answer = reference.values(case.program, case.data, "float64")
        first, eager = answer.replicas[0], answer.eager
        same = (first == eager) & (np.signbit(first) == np.signbit(eager))
        assert (same | (np.isnan(first) & np.isnan(eager))).all(), case.program.text()


# --- what a failure is made of --------------------------------------------------------------------------------------


def test_a_failure_is_shrunk_to_the_line_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops.sin, "forward", lambda a: a)
    monkeypatch.setattr(ops.sin, "array", lambda np, a: a)
    body: list[Any] = [Line("v1", "mg.tanh({0})", ["x[0]"]), Line("v2", "{0} + {1}", ["v1", "P[0]"])]
    body.append(Repeat("t", 6, [Line("v2", "{0} * 0.5 + {1}", ["v2", "x[t % 2]"]), Line("v3", "ops.sin({0})", ["v2"])]))
    body.append(Line("v4", "{0} - {1}", ["v3", "v1"]))
    case = Case(Program(body, ["x", "i"], "[v4, v2]", ["v4", "v2"]), Data([1.5], [[0.7, 1.1], [0.2, 0.3]], [0, 1]))
    way = Way("values", batch=True, rows=(0, 1, 0, 1), backend="llvm", strict=True, moved=True)
    assert check(case, way).failure
    small, plain = shrink(case, way, seconds=float("inf"))
    assert re.fullmatch(r"def f\(x\):\n    v3 = ops\.sin\((x\[0\]|P\[0\])\)\n    return v3", small.program.text())
    assert plain == Way("values", batch=False, rows=(0,), backend="llvm")


def test_a_failure_is_written_as_a_test_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ops.tanh, "forward", lambda a: math.tanh(a) * 1.001)
    monkeypatch.setattr(ops.tanh, "array", lambda np, a: np.tanh(a) * 1.001)
    arguments = ["fuzz", "--seed", "6", "--programs", "200", "--out", str(tmp_path)]
    monkeypatch.setattr("sys.argv", arguments)
    assert command.main() == 1
    said = capsys.readouterr().out
    assert said.startswith("seed 6\n")
    assert "--seed 6 --first " in said
    (path,) = tmp_path.glob("test_found_6_*.py")
    names: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), names)  # noqa: S102 - the test that was just written
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    with pytest.raises(AssertionError):
        test()
    monkeypatch.undo()
    test()


def test_what_cannot_be_run_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fuzz", "--programs", "0"])
    with pytest.raises(SystemExit):
        command.main()
    assert "--programs must be more than 0, got 0" in capsys.readouterr().err


def test_settings_are_put_back() -> None:
    from macrograd.compiler import pipeline
    from macrograd.compiler.roll import cost_model

    before = pipeline.observer, cost_model.FREE, cost_model.LEAST
    session.run(random.Random(0).randrange(100), 2)
    assert (pipeline.observer, cost_model.FREE, cost_model.LEAST) == before


# --- the search itself ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_random_programs_of_fixed_seeds(seed: int) -> None:
    """150 in all. A failure prints the program; `python -m tests.fuzz` shrinks it and makes a test of it."""
    tally = session.run(seed, 50, most=3)
    said = [f"{f.seed}, {f.way}: {f.outcome.failure}\n{f.case.program.text()}\n{f.case.data}" for f in tally.failures]
    assert not said, "\n\n".join([f"python -m tests.fuzz --seed {seed} --programs 50", *said])
    assert tally.programs == 50
    assert tally.undecidable < 0.25 * tally.compared
    assert tally.exact


# --- faults put back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", faults.FAULTS, ids=lambda fault: fault.name)
def test_every_known_fault_can_be_put_back(fault: faults.Fault) -> None:
    """Where the line that keeps it out has moved, tests/fuzz/faults.py must say where it is now."""
    compile(faults.changed(fault, faults.source(fault)), fault.module, "exec")


def test_a_fault_is_found_and_its_program_is_right_without_it() -> None:
    assert faults.programs_until_found(faults.BY_NAME["shared code"], seed=2, most=200)


def test_a_fault_whose_place_has_moved_is_named() -> None:
    with pytest.raises(ValueError, match=r"does not have the text that keeps the fault 'first vector' out"):
        faults.changed(faults.BY_NAME["first vector"], "pass\n")
