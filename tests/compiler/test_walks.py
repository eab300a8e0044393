"""The walks as loops of native code and of Python: the same, on random tapes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from macrograd.compiler.tape import walks

Ints = walks.Ints


def tape(n: int, seed: int) -> tuple[Ints, Ints]:
    """Operands of n entries, up to five each, all before their users."""
    random = np.random.default_rng(seed)
    arity = random.integers(0, 6, n)
    arity[0] = 0
    owner = np.repeat(np.arange(n), arity)
    return np.append(0, np.cumsum(arity)), random.integers(0, owner)


@pytest.fixture(params=["native", "better", "python"])
def long(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What is long enough for native code: every tape, or none; and for better native code."""
    monkeypatch.setattr(walks, "SHORT", 1 << 40 if request.param == "python" else 0)
    monkeypatch.setattr(walks, "MANY", 1 << 40)
    monkeypatch.setattr(walks, "MUCH", -1 if request.param == "better" else 1 << 40)
    walks.compiled.cache_clear()
    yield
    walks.compiled.cache_clear()


@pytest.mark.parametrize("n", [1, 2, 50, 3000])
def test_longest(long: None, n: int) -> None:
    start, operand = tape(n, n)
    random = np.random.default_rng(1)
    own, step = random.integers(-3, 4, n), random.integers(-2, 3, n)
    expected: list[int] = []
    for i in range(n):
        used = operand[start[i] : start[i + 1]]
        through = [max(expected[k] for k in used) + step[i]] if len(used) else []
        expected.append(max([own[i], *through]))
    assert walks.longest(start, operand, own, step).tolist() == expected


@pytest.mark.parametrize("n", [1, 2, 50, 3000])
def test_reached(long: None, n: int) -> None:
    start, operand = tape(n, n)
    roots = np.array([n - 1, n // 2])
    expected, waiting = set(), roots.tolist()
    while waiting:
        i = waiting.pop()
        if i not in expected:
            expected.add(i)
            waiting += operand[start[i] : start[i + 1]].tolist()
    assert np.flatnonzero(walks.reached(start, operand, roots)).tolist() == sorted(expected)


def test_nothing_is_reached_from_nowhere(long: None) -> None:
    start, operand = tape(20, 0)
    assert not walks.reached(start, operand, np.empty(0, dtype=np.int64)).any()
    assert walks.longest(np.zeros(1, dtype=np.int64), operand[:0], operand[:0], operand[:0]).tolist() == []


@pytest.mark.parametrize("n", [1, 2, 50, 3000])
def test_first_equals(long: None, n: int) -> None:
    """Few codes and few operands, so that many entries are equal, some only because their operands turned out to be."""
    start, operand = tape(n, n)
    random = np.random.default_rng(2)
    operand = np.minimum(operand, random.integers(0, 4, len(operand)))
    code, bits = random.integers(-3, 3, n), random.integers(0, 2, n) * (1 << 62)
    expected: list[int] = []
    known: dict[tuple[int, ...], int] = {}
    for i in range(n):
        used = [expected[k] for k in operand[start[i] : start[i + 1]].tolist()]
        expected.append(known.setdefault((int(code[i]), int(bits[i]), *used), i))
    assert walks.first_equals(code, bits, start, operand).tolist() == expected
    assert n < 3000 or len(set(expected)) < n - 400


def test_arrays_that_do_not_lie_in_one_piece(long: None) -> None:
    start, operand = tape(50, 0)
    apart = np.repeat(operand, 2)[::2]
    assert not apart.flags.c_contiguous
    assert (walks.reached(start, apart, start[:0]) == walks.reached(start, operand, start[:0])).all()
    ones = np.ones(100, dtype=np.int64)[::2]
    assert walks.longest(start, apart, ones, ones).tolist() == walks.longest(start, operand, +ones, +ones).tolist()


@pytest.mark.parametrize("n", [1, 2, 50, 3000])
def test_in_rounds(long: None, n: int) -> None:
    start, operand = tape(n, n)
    random = np.random.default_rng(2)
    step = (np.diff(start) > 0).astype(np.int64)
    held, opens = (random.integers(0, 2, n) & step for _ in range(2))
    expected: list[int] = []
    floor = 0
    for i in range(n):
        if opens[i]:
            floor = max(expected, default=0) + 1
        through = max((expected[k] for k in operand[start[i] : start[i + 1]]), default=0) + int(step[i])
        expected.append(max(through, floor if held[i] else 0))
    assert walks.in_rounds(start, operand, step, held, opens).tolist() == expected


@pytest.mark.parametrize("n", [1, 2, 50, 3000])
def test_picked(long: None, n: int) -> None:
    start, operand = tape(n, n)
    random = np.random.default_rng(3)
    for which in (np.arange(n), random.permutation(n)[: n // 2], np.empty(0, dtype=np.int64)):
        number = random.permutation(n)
        starts, found = walks.picked(start[which], np.diff(start)[which], operand, number)
        assert starts[0] == 0
        for k, i in enumerate(which.tolist()):
            assert found[starts[k] : starts[k + 1]].tolist() == number[operand[start[i] : start[i + 1]]].tolist()
        assert starts[-1] == len(found)


@pytest.mark.parametrize("n", [0, 1, 3000])
def test_counted(long: None, n: int) -> None:
    numbers = np.random.default_rng(0).integers(0, 50, n)
    assert walks.counted(numbers, 60).tolist() == [numbers.tolist().count(k) for k in range(60)]


def test_short_tapes_are_walked_natively_once_they_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(walks, "compiled", lambda: asked.append(True))
    monkeypatch.setattr(walks, "walked", 0)
    start, operand = tape(500, 0)
    for _ in range(walks.MANY // 500 - 1):
        walks.reached(start, operand, np.array([499]))
    assert not asked
    found = walks.reached(start, operand, np.array([499]))
    assert asked  # and where there is none, Python goes on
    assert found[499]
