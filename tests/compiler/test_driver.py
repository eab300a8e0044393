"""The native loop over training steps, around programs written in Python: what each is given, and where it ends."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from macrograd.compiler.jit.text import DOUBLE, SINGLE, Float
from macrograd.compiler.targets.llvm.context import Context
from macrograd.compiler.targets.llvm.driver import TrainContext, driver

pytest.importorskip("llvmlite")

RUN = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
SLOTS = ("value", "number", "loss_in", "odd", "factor", "rate_in", "step_in", "factor_in")


@dataclass
class Steps:
    """Three programs that note what they were given. A step's loss is 10 plus the number of its samples; the step `odd`
    is not finite, and in the step `index` an index is invalid."""

    kind: Float = DOUBLE
    odd: int = -1
    index: int = -1
    mask: int = -1
    seen: list[Any] = field(default_factory=list)
    on_gradient: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.cell = {name: np.zeros(1, np.float64 if self.kind is DOUBLE else np.float32) for name in SLOTS}
        self.contexts = {name: Context() for name in ("gradient", "measure", "update")}
        self.runs = {name: RUN(getattr(self, name)) for name in self.contexts}

    def gradient(self, _: int) -> None:
        self.on_gradient()
        context, k = self.contexts["gradient"], sum(name == "gradient" for name, *_ in self.seen)
        rows = (ctypes.c_int64 * context.samples).from_address(context.order)
        self.seen.append(("gradient", list(rows), context.scale, float(self.cell["number"][0])))
        self.cell["value"][0] = 10.0 + context.samples
        self.cell["odd"][0] = math.nan if k == self.odd else 0.0
        context.flag = int(k == self.index)

    def measure(self, _: int) -> None:
        self.seen.append(("measure", float(self.cell["loss_in"][0])))
        self.cell["factor"][0] = 0.5

    def update(self, _: int) -> None:
        self.seen.append(("update", *(float(self.cell[name][0]) for name in ("rate_in", "step_in", "factor_in"))))

    def run(
        self,
        order: list[int],
        lengths: list[int],
        rates: list[float],
        first: int = 0,
        rows: Sequence[tuple[int, int]] = (),
    ) -> tuple[int, int, Any]:
        """Steps done, the reason of the end, and the losses; `rows` has the first row and the size of one for each
        argument of a program of one sample."""
        table = np.array(rows, np.int64)
        losses = np.full(len(lengths), -1.0)
        arrays = (np.array(order, np.int64), np.array(lengths, np.int64), np.array(rates, np.float64), losses)
        train = TrainContext(
            **{f"{name}_run": ctypes.cast(run, ctypes.c_void_p).value for name, run in self.runs.items()},
            **{f"{name}_context": ctypes.addressof(context) for name, context in self.contexts.items()},
            **{name: cell.ctypes.data for name, cell in self.cell.items()},
            **{
                name: array.ctypes.data
                for name, array in zip(("order", "lengths", "rates", "losses"), arrays, strict=True)
            },
            mask=self.mask,
            step=first,
            steps=len(lengths),
            first_rows=table.ctypes.data,
            arguments=len(rows),
        )
        driver(self.kind).code(1).functions["train"](ctypes.addressof(train))
        return train.done, train.reason, losses


@pytest.mark.parametrize("kind", [DOUBLE, SINGLE], ids=["double", "float"])
def test_each_step_has_its_rows_its_rate_and_its_number(kind: Float) -> None:
    steps = Steps(kind)
    done, reason, losses = steps.run([4, 0, 3, 1, 2], [2, 2, 1], [0.5, 0.25, 0.125], first=7)
    assert (done, reason, losses.tolist()) == (3, 0, [12.0, 12.0, 11.0])
    assert steps.seen == [
        ("gradient", [4, 0], 0.5, 7.0), ("measure", 12.0), ("update", 0.5, 7.0, 0.5),
        ("gradient", [3, 1], 0.5, 8.0), ("measure", 12.0), ("update", 0.25, 8.0, 0.5),
        ("gradient", [2], 1.0, 9.0), ("measure", 11.0), ("update", 0.125, 9.0, 0.5),
    ]  # fmt: skip


def test_a_sample_reads_the_number_modulo_a_period() -> None:
    steps = Steps(mask=3)
    steps.run([0] * 6, [1] * 6, [1.0] * 6, first=2)
    assert [number for name, *_, number in steps.seen if name == "gradient"] == [2, 3, 0, 1, 2, 3]
    assert [step for name, *rest in steps.seen if name == "update" for step in rest[1:2]] == [2, 3, 4, 5, 6, 7]


def names(steps: Steps) -> list[str]:
    return [name for name, *_ in steps.seen]


@pytest.mark.parametrize("bad", [0, 2])
def test_a_step_that_is_not_finite_is_measured_but_changes_nothing(bad: int) -> None:
    steps = Steps(odd=bad)
    done, reason, losses = steps.run([0] * 4, [1] * 4, [1.0] * 4)
    assert (done, reason) == (bad, 1)
    assert names(steps) == ["gradient", "measure", "update"] * bad + ["gradient", "measure"]
    assert losses.tolist() == [11.0] * (bad + 1) + [-1.0] * (3 - bad)


@pytest.mark.parametrize("bad", [0, 2])
def test_an_invalid_index_ends_before_the_measure(bad: int) -> None:
    steps = Steps(index=bad)
    assert steps.run([0] * 4, [1] * 4, [1.0] * 4)[:2] == (bad, 2)
    assert names(steps) == ["gradient", "measure", "update"] * bad + ["gradient"]


def test_no_steps_call_nothing() -> None:
    steps = Steps()
    assert steps.run([], [], [])[:2] == (0, 0)
    assert steps.seen == []


def test_arguments_of_one_sample_are_led_to_its_row() -> None:
    steps, pointers = Steps(), (ctypes.c_void_p * 2)()
    steps.contexts["gradient"].arguments = ctypes.addressof(pointers)
    led: list[Any] = []
    steps.on_gradient = lambda: led.append(list(pointers))
    steps.run([4, 0, 3], [1] * 3, [1.0] * 3, rows=[(1000, 8), (2000, 24)])
    assert led == [[1032, 2096], [1000, 2000], [1024, 2072]]


def test_one_loop_serves_all_programs() -> None:
    found: Callable[[Float], Any] = driver
    assert found(DOUBLE) is found(DOUBLE)
    assert found(DOUBLE) is not found(SINGLE)
