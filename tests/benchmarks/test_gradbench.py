"""The evals of `benchmarks/gradbench` against independent formulas, on tiny inputs, and the protocol they answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from math import gamma as gamma_function
from math import pi, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from benchmarks.gradbench import protocol, session

RNG = np.random.default_rng(4)
Array = NDArray[np.float64]


def answer(module: str, function: str, given: object) -> Any:
    """The output of the second run: the first one compiles."""
    known = protocol.functions(module)[function]
    run = known(given)
    first = protocol.plain(run())
    assert protocol.plain(run()) == first
    return first


def slopes(f: Callable[[Array], float], x: ArrayLike) -> Array:
    """Central differences of the fourth order."""
    start: Array = np.asarray(x, dtype=float)
    found: Array = np.empty_like(start)
    h = 1e-3
    for k in np.ndindex(start.shape):
        at = []
        for j in (-2, -1, 1, 2):
            moved = start.copy()
            moved[k] += j * h
            at.append(f(moved))
        found[k] = (at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h)
    return found


def test_hello() -> None:
    assert answer("hello", "square", 3.0) == 9.0
    assert answer("hello", "double", 3.0) == 6.0


@pytest.mark.parametrize(("n", "s"), [(5, 2), (6, 1)])
def test_ode(n: int, s: int) -> None:
    def solution(x: Array) -> Array:
        h, y = 2.0 / s, np.zeros(n)

        def rates(y: Array) -> Array:
            return x * np.concatenate([[1.0], y[:-1]])

        for _ in range(s):
            k1 = rates(y)
            k2 = rates(y + h * k1 / 2)
            k3 = rates(y + h * k2 / 2)
            k4 = rates(y + h * k3)
            y = y + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
        return y

    given = {"x": RNG.random(n).tolist(), "s": s}
    assert np.allclose(answer("ode", "primal", given), solution(np.array(given["x"])), rtol=1e-13)
    assert np.allclose(answer("ode", "gradient", given), slopes(lambda x: solution(x)[-1], given["x"]), atol=1e-10)


def test_llsq() -> None:
    def total(x: Array) -> float:
        t = np.linspace(-1.0, 1.0, 7)
        return float(0.5 * np.sum((np.sign(t) - np.polyval(x[::-1], t)) ** 2))

    given = {"x": RNG.random(4).tolist(), "n": 7}
    assert answer("llsq", "primal", given) == pytest.approx(total(np.array(given["x"])), rel=1e-13)
    assert np.allclose(answer("llsq", "gradient", given), slopes(total, given["x"]), atol=1e-9)


def test_lse() -> None:
    given = {"x": [3.0, -800.0, 1.0, 2.5]}
    exponentials = np.exp(np.array(given["x"]))
    assert answer("lse", "primal", given) == pytest.approx(np.log(exponentials.sum()), rel=1e-14)
    assert np.allclose(answer("lse", "gradient", given), exponentials / exponentials.sum(), rtol=1e-13)


def test_det() -> None:
    matrix = RNG.random((4, 4))
    given = {"A": matrix.ravel().tolist(), "ell": 4}
    assert answer("det", "primal", given) == pytest.approx(np.linalg.det(matrix), rel=1e-12)
    adjugate = np.linalg.det(matrix) * np.linalg.inv(matrix).T
    assert np.allclose(answer("det", "gradient", given), adjugate.ravel(), rtol=1e-11)


def test_kmeans() -> None:
    points = RNG.random((9, 2))
    centroids = points[:3] + 0.01
    given = {"points": points.tolist(), "centroids": centroids.tolist()}
    squares = ((points[:, None] - centroids) ** 2).sum(-1)
    assert answer("kmeans", "cost", given) == pytest.approx(squares.min(1).sum(), rel=1e-13)
    nearest = squares.argmin(1)
    means = [points[nearest == k].mean(0) for k in range(3)]
    assert np.allclose(answer("kmeans", "dir", given), centroids - means, rtol=1e-10)


def test_gmm() -> None:
    d, k, n, m, gamma = 3, 2, 4, 1, 1.5
    parts = {"alpha": (k,), "mu": (k, d), "q": (k, d), "l": (k, d * (d - 1) // 2)}
    numbers = {name: RNG.normal(size=shape) for name, shape in parts.items()}
    x = RNG.normal(size=(n, d))
    given: dict[str, Any] = {"d": d, "k": k, "n": n, "m": m, "gamma": gamma, "x": x.tolist()}
    given |= {name: part.tolist() for name, part in numbers.items()}

    def posterior(alpha: Array, mu: Array, q: Array, low: Array) -> float:
        """By the densities as they are defined."""
        freedom, total, precisions = d + m + 1, 0.0, []
        for j in range(k):
            root = np.diag(np.exp(q[j]))
            root[[1, 2, 2], [0, 0, 1]] = low[j]
            precision = root.T @ root
            precisions.append(precision)
            gammas = pi ** (d * (d - 1) / 4) * prod(gamma_function((freedom - i) / 2) for i in range(d))
            wishart = np.linalg.det(precision) ** (m / 2) * np.exp(-(gamma**2) / 2 * np.trace(precision))
            total += np.log(wishart / (2 ** (freedom * d / 2) * gamma ** (-freedom * d) * gammas))
        weights = np.exp(alpha) / np.exp(alpha).sum()
        for row in x:
            likelihood = 0.0
            for weight, mean, precision in zip(weights, mu, precisions, strict=True):
                z = row - mean
                density = np.sqrt(np.linalg.det(precision) / (2 * pi) ** d) * np.exp(-0.5 * z @ precision @ z)
                likelihood += weight * density
            total += np.log(likelihood)
        return float(total)

    assert answer("gmm", "objective", given) == pytest.approx(posterior(*numbers.values()), rel=1e-12)
    found = answer("gmm", "jacobian", given)
    for name in numbers:
        by_differences = slopes(lambda part, name=name: posterior(*(numbers | {name: part}).values()), numbers[name])  # type: ignore[misc]
        assert np.allclose(found[name], by_differences, atol=1e-8), name


def test_messages_are_answered_one_by_one() -> None:
    asked = [
        {"kind": "start", "eval": "hello"},
        {"kind": "define", "module": "nothing"},
        {"kind": "define", "module": "hello"},
        {"kind": "evaluate", "module": "hello", "function": "cube", "input": 1.0},
        {"kind": "evaluate", "module": "lse", "function": "primal", "input": {"x": [0.0], "min_runs": 3}},
        {"kind": "analysis", "of": 4, "valid": True},
    ]
    lines = protocol.responses(json.dumps({"id": k, **message}) for k, message in enumerate(asked))
    start, unknown, known, no_function, evaluated, analysis = map(json.loads, lines)
    assert start == {"id": 0, "tool": "macrograd"}
    assert not unknown["success"]
    assert "macrograd has no eval 'nothing': it has hello, ode" in unknown["error"]
    assert known == {"id": 2, "success": True}
    assert "hello has no function 'cube': it has square, double" in no_function["error"]
    assert evaluated["output"] == 0.0
    assert len(evaluated["timings"]) == 3
    assert all(timing["name"] == "evaluate" and timing["nanoseconds"] > 0 for timing in evaluated["timings"])
    assert analysis == {"id": 5}


EVAL = """
import json, sys
def say(**message):
    print(json.dumps(message), flush=True)
    return json.loads(sys.stdin.readline())
say(id=0, kind="start")
assert say(id=1, kind="define", module="hello")["success"]
for k, x in enumerate(sys.argv[1:]):
    said = say(id=2 + 2 * k, kind="evaluate", module="hello", function="square", input=float(x), description=x)
    valid = said["output"] == 9.0
    say(id=3 + 2 * k, kind="analysis", of=2 + 2 * k, valid=valid, **({} if valid else {"error": "not 9"}))
"""
TOOL = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    timings = [{"name": "evaluate", "nanoseconds": t} for t in (9_000_000, 2_000_000, 1_000_000, 3_000_000)]
    more = {"output": message["input"] ** 2, "timings": timings} if message["kind"] == "evaluate" else {}
    print(json.dumps({"id": message["id"], "success": True, **more}), flush=True)
"""


def test_a_session_says_what_was_valid(tmp_path: Path) -> None:
    inside = tmp_path / "python" / "gradbench" / "gradbench" / "evals" / "hello"
    inside.mkdir(parents=True)
    (inside / "run.py").write_text(EVAL)
    (tmp_path / "tool.py").write_text(TOOL)
    tool = f"{sys.executable} {tmp_path / 'tool.py'}"
    good, bad = session.session(tmp_path, "hello 3 4", tool, sys.executable)
    assert (good.name, good.valid, good.first, good.usual) == ("square 3", True, 0.009, 0.002)
    assert (bad.name, bad.valid, bad.error) == ("square 4", False, "not 9")
