"""Columns that alone tell the target are named, and no others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd import tables
from macrograd.cli import main

N = 300
NUMBERS = np.random.default_rng(0).permutation(N) * 1.5 + 2.0
KINDS = np.random.default_rng(1).choice(["ant", "bee", "cat"], N)


def named(target: Any, **columns: Any) -> list[str]:
    table = tables.from_frame({**columns, "target": target}, "t.csv")
    learned = tables.target_of(table, "target")
    plan = tables.plan_of(table, "target", rows=learned.rows)
    X, _ = plan.numbers(table.rows(learned.rows))
    return [note.split("'")[1] for note in tables.telling_notes(plan, X, learned)]


@pytest.mark.parametrize("told", [np.log(NUMBERS), -NUMBERS, 3.0 * NUMBERS + 1.0, NUMBERS.round(3)])
def test_a_column_with_the_order_of_the_target(told: Any) -> None:
    assert named(NUMBERS, told=told, other=np.sin(NUMBERS)) == ["told"]


@pytest.mark.parametrize("wrong", [0, 7, 299])
def test_one_row_that_differs_is_enough(wrong: int) -> None:
    told, kinds = NUMBERS.copy(), np.array([f"{kind} of all" for kind in KINDS], dtype=object)
    told[wrong] = -5.0 if told[wrong] > NUMBERS.min() else 1000.0
    kinds[wrong] = "dog of all"
    assert named(NUMBERS, told=told) == []
    assert named(KINDS, told=kinds) == []


@pytest.mark.parametrize("code", [{"ant": 3, "bee": 1, "cat": 7}, {"ant": "A", "bee": "B", "cat": "C"}])
def test_a_column_with_other_names_of_the_classes(code: dict[str, Any]) -> None:
    told = [code[kind] for kind in KINDS.tolist()]
    assert named(KINDS, told=told, number=NUMBERS, half=[x < 150 for x in NUMBERS]) == ["told"]


def test_the_opposite_of_a_yes_or_no_target() -> None:
    yes = NUMBERS > 200
    assert named(yes.astype(int), told=(~yes).astype(int), number=NUMBERS) == ["told"]


def test_a_few_rows_and_a_few_numbers_say_nothing() -> None:
    assert named(NUMBERS[:19], a=NUMBERS[:19]) == []
    assert named(NUMBERS // 100 + 0.25, a=NUMBERS // 100 + 0.5) == []


def test_missing_numbers_and_several_parts_are_not_compared() -> None:
    gone = [None if k == 5 else x for k, x in enumerate(NUMBERS.tolist())]
    assert named(NUMBERS, gone=gone, day=[f"2020-{1 + k % 12:02}-{1 + k % 28:02}" for k in range(N)]) == []


def test_the_columns_after_one_that_becomes_several_are_found() -> None:
    assert named(NUMBERS, kind=KINDS, gone=[None, *NUMBERS[1:].tolist()], told=2.0 * NUMBERS) == ["told"]


def test_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    lines = [f"{x},{np.sin(x)},{2 * x}" for x in NUMBERS[:40].tolist()]
    path.write_text("\n".join(["answer,other,twice", *lines]), encoding="utf-8")
    command = ["train", str(path), "--target", "answer", "--epochs", "1"]
    assert main(command) == 0
    assert "note: 'twice' alone tells 'answer' in every row: if" in capsys.readouterr().out
    assert main([*command, "--drop", "twice"]) == 0
    assert "alone tells" not in capsys.readouterr().out
