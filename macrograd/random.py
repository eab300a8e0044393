"""Random numbers inside programs: uniform and normal, drawn by counters.

Each is a function of its integers alone (Salmon et al., *Parallel Random Numbers: As Easy as 1, 2, 3*, SC 2011;
`macrograd.ops.random`). The same seed and counters give the same number in every engine and target, in any order and on
any thread. A simulation draws by the numbers of the path and of the step:

    shock = mg.random.normal(seed, path, i)

Counters may be arguments or the round number of a loop. Gradients flow through everything computed from the draws; a
draw itself has none.
"""

from __future__ import annotations

import math
from typing import Any

from macrograd import ops
from macrograd.callees import Writing

_HALF = 2.0**-25  # half of the distance between two draws: none is 0 or 1
_SINE = [(-1) ** k * math.pi ** (2 * k + 1) / math.factorial(2 * k + 1) for k in range(11)]  # sin(πx) by x²


def uniform(seed: Any, i: Any = 0.0, j: Any = 0.0) -> Any:
    """A number in (0, 1), one of 2²⁴ at equal distances, for integers `seed`, `i` and `j` below 2⁵³, or 2²⁴ if they are
    arguments or computed in a float32 program, which holds no odd numbers beyond.

    Raises TypeError for what is not numeric.
    """
    with Writing("random.uniform()"):
        return _uniform(seed, i, j)


def normal(seed: Any, i: Any = 0.0, j: Any = 0.0) -> Any:
    """A number from the standard normal distribution, for integers `seed`, `i` and `j` below 2⁵² in size, or
    2²³ if they are arguments or computed in a float32 program.

    The draws lie between −5.9 and 5.9. Raises TypeError for arguments that are not numeric. Source: Box & Muller, *A
    Note on the Generation of Random Normal Deviates*, 1958. Of their two variates this is the one with the sine, of an
    angle between −π/2 and π/2: the other half of the circle has the same sines, and a polynomial suffices.
    """
    with Writing("random.normal()"):
        return _normal(seed, i, j)


def _uniform(seed: Any, i: Any, j: Any) -> Any:
    return ops.random(seed, i, j) + _HALF


def _normal(seed: Any, i: Any, j: Any) -> Any:
    radius = ops.sqrt(-2.0 * ops.log(_uniform(seed, i, 2.0 * j)))
    turn = _uniform(seed, i, 2.0 * j + 1.0) - 0.5
    square = turn * turn
    sine: Any = _SINE[-1]
    for coefficient in _SINE[-2::-1]:
        sine = sine * square + coefficient
    return radius * (sine * turn)


__all__ = ["normal", "uniform"]
