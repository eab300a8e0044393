"""How many rounds of a loop must be written."""

from __future__ import annotations

from macrograd.compiler.trace.settling import settled


def line(length: int) -> list[int]:
    return [*(1 << (j + 1) for j in range(length - 1)), 0]


def test_a_delay_line_is_passed_forwards_and_back() -> None:
    found = settled(line(20))
    assert found is not None
    assert 40 <= found[0] < 50
    assert found[1] == 1


def test_a_state_that_mixes_at_once_needs_few() -> None:
    found = settled([(1 << 300) - 1] * 300)
    assert found is not None
    assert found[0] <= 8
    assert found[1] == 1


def test_a_rotation_needs_its_period() -> None:
    found = settled([1 << ((j + 1) % 30) for j in range(30)])
    assert found is not None
    assert found[0] >= 60
    assert found[1] == 30


def test_cycles_of_several_lengths_are_given_up() -> None:
    """Cycles of 7, 11, 13, 17 and 19 come together after 323,323 rounds."""
    state: list[int] = []
    for length in (7, 11, 13, 17, 19):
        begin = len(state)
        state += [1 << (begin + (j + 1) % length) for j in range(length)]
    assert settled(state) is None
