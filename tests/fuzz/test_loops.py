"""A few programs of the loop fuzzer, and that it notices faults."""

from __future__ import annotations

import pytest

import macrograd as mg

from . import loops


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 6, 7, 12, 21])  # the quickest of the first
def test_random_loops_are_those_of_the_eager_engine(seed: int) -> None:
    how = [{"backend": "numpy"}, {"backend": "numpy", "batch": True}, {"backend": "numpy", "strict": True}][seed % 3]
    assert not loops.differs(loops.case(seed), **how)


def test_a_round_too_few_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [loops.case(seed) for seed in (6, 7)]
    compiled = mg.compile

    def shorter(fn, **how):
        def run(*args):
            loop = mg.loop
            monkeypatch.setattr(
                mg,
                "loop",
                lambda n, body, state, **more: loop(n - (n > 90 if isinstance(n, int) else 0), body, state, **more),
            )
            found = fn(*args)
            monkeypatch.setattr(mg, "loop", loop)
            return found

        return compiled(run, **how)

    monkeypatch.setattr(mg, "compile", shorter)
    assert any(loops.differs(case, backend="numpy") for case in cases)
