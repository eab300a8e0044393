"""The pipeline: the order of the passes, which target runs a program, and what happens when one fails."""

from __future__ import annotations

import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import CompileWarning, Value, ops
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import Program
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape
from macrograd.compiler.targets.numpy.target import Numpy
from macrograd.ops import Op

W = Value(2.0, label="w")


# --- the passes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Tape | Program]]:
    """What the observer was shown."""
    seen: list[tuple[str, Tape | Program]] = []
    monkeypatch.setattr(pipeline, "observer", lambda stage, what: seen.append((stage, what)))
    return seen


def names(stages: list[tuple[str, Tape | Program]]) -> list[str]:
    return [name for name, _ in stages]


def squared(x: Any) -> Any:
    return (W * x) ** 2


def test_the_passes_run_in_one_order(stages: list[tuple[str, Tape | Program]]) -> None:
    source = pipeline.record(squared, [()])
    recorded = len(stages)
    assert names(stages)[0] == "trace"
    assert "simplify" in names(stages)
    pipeline.value_program(source, batch=True)
    assert names(stages)[recorded:] == ["simplify", "roll"]
    del stages[:]
    program = pipeline.gradient_program(source, batch=True)
    assert names(stages) == ["differentiate", "simplify", "roll"]
    assert stages[-1][1] is program
    assert (program.weight, len(program.results)) == (program.inputs - 1, 2)  # of a mean: the value, and one derivative


def net_and_sums(x: Any) -> list[Any]:
    """Operations of all kinds: products that sums share, products of one use, powers, divisions, choices, takes, equal
    results, and results that are leaves."""
    hidden = [mg.tanh(W * x[i] + x[i + 1] * x[i] - x[i + 2] / 4.0) for i in range(6)]
    total = sum(hidden[k] * x[k] - hidden[5 - k] for k in range(6))
    chosen = ops.where(ops.less(total, x[0]), total**2, -total)
    taken = ops.take(x[7], *hidden)
    return [chosen * taken + total, total, total, x[3], W]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_passes_over_a_few_entries_at_a_time_make_the_same_program(
    stages: list[tuple[str, Tape | Program]], monkeypatch: pytest.MonkeyPatch, *, batch: bool, strict: bool
) -> None:
    def made() -> list[str]:
        del stages[:]
        source = pipeline.record(net_and_sums, [(8,)], strict=strict)
        pipeline.value_program(source, batch=batch, strict=strict)
        one = pipeline.record(lambda x: sum(net_and_sums(x)), [(8,)], strict=strict)
        pipeline.gradient_program(one, batch=batch, strict=strict)
        return [f"{name}\n{what}" for name, what in stages]

    at_once = made()
    monkeypatch.setattr(tapes, "AT_ONCE", 3)
    assert made() == at_once


def test_a_tape_that_was_written_is_rolled_at_once(stages: list[tuple[str, Tape | Program]]) -> None:
    program = pipeline.batch_program(tapes.parse("%0 = input 0\n%1 = mul %0 %0\nreturn %1"))
    assert names(stages) == ["roll"]
    assert (program.batch, program.inputs, program.weight) == (True, 1, None)


def test_results_have_entries_to_themselves_if_they_are_asked_for() -> None:
    source = pipeline.record(lambda x: [x, 2 * x, 2 * x], [()])
    shared, own = (pipeline.value_program(source, batch=True, own=own) for own in (False, True))
    assert len({slot for _, slot in shared.results}) == 2
    assert [slot - own.first_output for _, slot in own.results] == [0, 1, 2]


def test_parameters_are_numbered_in_the_order_of_their_use() -> None:
    first, second, third = Value(1.0), Value(2.0), Value(3.0)
    source = pipeline.record(lambda x: third * x + first * mg.exp(x) + 0.0 * second, [()])
    assert source.parameters[:2] == [third, first]


def test_each_stage_is_printed_on_request(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(pipeline, "observer", None)
    monkeypatch.setenv("MACROGRAD_DEBUG", "passes")
    pipeline.value_program(pipeline.record(squared, [()]), batch=True)
    shown = capsys.readouterr().err
    assert [line for line in shown.splitlines() if line.startswith("--- ")][-2:] == ["--- simplify", "--- roll"]
    monkeypatch.delenv("MACROGRAD_DEBUG")
    pipeline.value_program(pipeline.record(squared, [()]), batch=False)
    assert capsys.readouterr().err == ""


# --- the choice of a target ------------------------------------------------------------------------------------------


class Poor(Numpy):
    """A target without exponentials."""

    name, needs = "llvm", "nothing"

    def has(self, row: Op) -> bool:
        return row.name != "exp"


class Broken(Numpy):
    name, needs = "llvm", "a compiler"

    def missing(self) -> ImportError:
        return ImportError("no compiler")


def test_a_target_that_lacks_an_operation_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    poor, ran = Poor(), []
    for made in (poor, pipeline.FALLBACK):
        prepare = made.prepare
        monkeypatch.setattr(
            made, "prepare", lambda *a, made=made, prepare=prepare, **k: (ran.append(made), prepare(*a, **k))[1]
        )
    monkeypatch.setattr(pipeline, "TARGETS", (poor, pipeline.FALLBACK))
    assert mg.compile(lambda x: mg.tanh(x) + W)(0.0) == 2.0
    assert mg.compile(lambda x: mg.exp(x) + W)(0.0) == 3.0
    assert ran == [poor, pipeline.FALLBACK]
    with pytest.raises(LookupError, match=r"backend='llvm' has neither a form of exp nor a formula .* another backend"):
        mg.compile(lambda x: mg.exp(x) * W, backend="llvm")(0.0)


def test_a_named_target_that_is_not_there_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "TARGETS", (Broken(), pipeline.FALLBACK))
    with pytest.raises(ImportError, match=r"backend='llvm' needs a compiler, .* \(no compiler\); install it, or use"):
        mg.compile(lambda x: x * W, backend="llvm")(1.0)


def test_a_failure_of_the_last_target_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of threads")

    monkeypatch.setattr(pipeline.FALLBACK, "prepare", fail)
    with pytest.raises(RuntimeError, match="out of threads"):
        mg.compile(lambda x: x * W, backend="numpy")(1.0)


# --- when LLVM fails -------------------------------------------------------------------------------------------------


def _fail(*_: Any) -> Any:
    raise RuntimeError("LLVM ERROR: Cannot select")


def test_llvm_that_fails_gives_numpy_and_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    from macrograd.compiler.jit import native

    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    monkeypatch.setattr(native, "object_file", _fail)
    w = Value(2.0)
    f = mg.compile(lambda x: x * w, batch=True)
    with pytest.warns(CompileWarning, match=r"LLVM failed on <lambda> \(LLVM ERROR: Cannot select\); it runs on NumPy"):
        np.testing.assert_array_equal(f([1.0, 2.0]), [2.0, 4.0])
    with pytest.warns(CompileWarning, match="LLVM failed on"):
        assert f.backward([1.0, 2.0]) == 3.0
    assert w.grad == 1.5


def test_llvm_that_fails_for_a_later_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    from macrograd.compiler.jit import native

    monkeypatch.setenv("MACROGRAD_CACHE", "off")
    w = Value(2.0)
    f = mg.compile(lambda x: x * w, batch=True)
    np.testing.assert_array_equal(f(np.ones(4)), np.full(4, 2.0))
    monkeypatch.setattr(native, "object_file", _fail)
    with pytest.warns(CompileWarning, match="LLVM failed on <lambda>"):
        np.testing.assert_array_equal(f(np.ones(500)), np.full(500, 2.0))
    np.testing.assert_array_equal(f(np.ones(500)), np.full(500, 2.0))


def test_without_llvmlite_it_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "macrograd.compiler.targets.llvm.execute", None)
    monkeypatch.setattr("macrograd.compiler.settings.said", set[str]())
    with pytest.warns(CompileWarning, match="llvmlite does not load here .*: programs run on NumPy, which is slower"):
        assert mg.compile(lambda x: x * W)(1.0) == 2.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mg.compile(lambda x: x + W)(1.0) == 3.0
        assert mg.compile(lambda x: x + W, backend="numpy")(1.0) == 3.0
    with pytest.raises(ImportError, match="backend='llvm' needs llvmlite, which does not load here"):
        mg.compile(lambda x: x * W, backend="llvm")(1.0)


def test_numpy_alone_does_not_load_llvmlite() -> None:
    program = (
        "import sys, macrograd as mg\n"
        "assert mg.compile(lambda x: x * mg.Value(2.0) + x, backend='numpy')(1.5) == 4.5\n"
        "assert 'llvmlite' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
