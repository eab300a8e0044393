"""Where results are, as arrays: they behave like tuples of pairs."""

from __future__ import annotations

import numpy as np

from macrograd.compiler.program import results
from macrograd.compiler.program.results import Results


def test_results_are_a_sequence_of_places() -> None:
    random = np.random.default_rng(0)
    found = Results(random.integers(0, 2, 5000).astype(bool), random.integers(0, 90, 5000))
    pairs = [("v" if v else "u", s) for v, s in zip(found.varies.tolist(), found.slots.tolist(), strict=True)]
    assert [*found] == pairs
    assert [found[k] for k in (0, 17, -1)] == [pairs[k] for k in (0, 17, -1)]
    assert found[3:4200:2] == tuple(pairs[3:4200:2])
    assert found != tuple(pairs[:-1])
    for made in (found, tuple(pairs)):
        assert results.slots(made).tolist() == [s for _, s in pairs]
        assert results.varies(made).tolist() == [v == "v" for v, _ in pairs]
        assert results.spaces(made) == "".join(v for v, _ in pairs)
