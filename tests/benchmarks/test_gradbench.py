"""The evals of `benchmarks/gradbench` against independent formulas, on tiny inputs, and the protocol they answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from itertools import pairwise
from math import gamma as gamma_function
from math import pi, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

import macrograd as mg
from benchmarks.gradbench import particle, protocol, saddle, session, turns

RNG = np.random.default_rng(4)
Array = NDArray[np.float64]


def answer(module: str, function: str, given: object) -> Any:
    """The output of the second run: the first one compiles."""
    run = protocol.functions(module)[function](given)
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
        by_differences = slopes(lambda part, name=name: posterior(*(numbers | {name: part}).values()), numbers[name])
        assert np.allclose(found[name], by_differences, atol=1e-8), name


def test_lstm() -> None:
    layers, width, characters = 2, 2, 4
    shapes = {"main_params": (2 * layers, 4 * width), "extra_params": (3, width), "state": (2 * layers, width)}
    given = {name: RNG.random(shape).tolist() for name, shape in shapes.items()}
    given["sequence"] = RNG.integers(0, 2, (characters, width)).astype(float).tolist()

    def loss(numbers: Array) -> float:
        main, extra = np.split(numbers, [8 * layers * width])
        gates = main.reshape(layers, 2, 4, width)
        scale, out_scale, out_shift = extra.reshape(3, width)
        state, bits, total = np.array(given["state"]), np.array(given["sequence"]), 0.0
        for now, following in pairwise(bits):
            x = now * scale
            for k, (weights, biases) in enumerate(gates):
                hidden, cell = state[2 * k], state[2 * k + 1]
                into = np.array([x, hidden, x, hidden]) * weights + biases
                forget, enter, leave = 1.0 / (1.0 + np.exp(-into[:3]))
                cell = cell * forget + enter * np.tanh(into[3])
                x = leave * np.tanh(cell)
                state[2 * k], state[2 * k + 1] = x, cell
            y = x * out_scale + out_shift
            total += following @ (y - np.log(2.0 + np.exp(y).sum()))
        return float(-total / ((characters - 1) * width))

    numbers = np.concatenate([np.ravel(given["main_params"]), np.ravel(given["extra_params"])])
    assert answer("lstm", "objective", given) == pytest.approx(loss(numbers), rel=1e-13)
    assert np.allclose(answer("lstm", "jacobian", given), slopes(loss, numbers), atol=1e-10)


def test_saddle_and_particle() -> None:
    assert answer("saddle", "fr", {"start": [1.0, 1.0]}) == pytest.approx([0.0] * 4, abs=1e-5)
    x, step = [0.5, 2.0], [1.0, 0.0]
    top = saddle.summit(x, [1.0, 1.0], "f")
    assert [float(y) for y in top] == pytest.approx([0.0, 0.0], abs=1e-5)
    assert mg.jvp(lambda x: saddle.height(x, saddle.summit(x, [1.0, 1.0], "f")), x, step)[1] == pytest.approx(1.0)

    def miss(w: float) -> float:
        at, speed = np.array([0.0, 8.0]), np.array([0.75, 0.0])
        while (moved := at + 0.1 * speed)[1] > 0.0:
            apart = at - np.array([[10.0, 10.0 - w], [10.0, 0.0]])
            at, speed = moved, speed + 0.1 * (apart / np.linalg.norm(apart, axis=1, keepdims=True) ** 3).sum(0)
        return float((at - at[1] / speed[1] * speed)[0] ** 2)

    assert particle.squared_miss([0.3], "f") == pytest.approx(miss(0.3), rel=1e-9)
    slope = mg.jvp(lambda w: particle.squared_miss(w, "r"), [0.3], [1.0])[1]
    assert slope == pytest.approx((miss(0.3 + 1e-6) - miss(0.3 - 1e-6)) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("angle", [0.7, 0.0])
def test_ba(angle: float) -> None:
    camera = [angle, -angle, 0.5 * angle, 0.1, 0.2, -3.0, 400.0, 5.0, -8.0, 0.09, 0.003]
    given = {"n": 2, "m": 2, "p": 3, "cam": camera, "x": [0.7, 0.1, 3.0], "w": 0.4, "feat": [27.0, 83.0]}

    def errors(numbers: Array) -> Array:
        axis, centre, (focus, *middle), radial = numbers[:3], numbers[3:6], numbers[6:9], numbers[9:11]
        size, x = np.linalg.norm(axis), numbers[11:14] - centre
        if size:
            across = np.cross(axis / size, np.eye(3)).T
            x = x + np.sin(size) * across @ x + (1 - np.cos(size)) * across @ across @ x
        flat = x[:2] / x[2]
        square = flat @ flat
        flat = flat * (1 + radial[0] * square + radial[1] * square**2)
        return numbers[14] * (flat * focus + middle - np.array(given["feat"]))

    numbers = np.array([*camera, *given["x"], given["w"]])
    found = answer("ba", "objective", given)
    assert found["reproj_error"] == {"elements": pytest.approx(errors(numbers)), "repeated": 3}
    assert found["w_err"] == {"element": pytest.approx(1 - 0.4**2), "repeated": 3}
    jacobian = answer("ba", "jacobian", given)
    assert jacobian["rows"] == [*range(0, 91, 15), 91, 92, 93, 93]  # the last once more
    assert jacobian["cols"][:15] == [*range(11), 22, 23, 24, 28]
    assert jacobian["cols"][-1] == 30
    if angle:  # without a rotation, differences around it take the other formula
        for k in range(2):
            row = jacobian["vals"][15 * k : 15 * k + 15]
            assert np.allclose(row, slopes(lambda x, k=k: errors(x)[k], numbers), rtol=1e-8, atol=1e-8)
    assert jacobian["vals"][-1] == pytest.approx(-0.8)


@pytest.mark.parametrize("mixed", [True, False])
def test_ht(mixed: bool) -> None:
    parents, points = [-1, 0, 1, 2], RNG.normal(size=(2, 3))
    relatives, inverses = RNG.normal(size=(2, 4, 4, 4))
    relatives[:, 3], inverses[:, 3] = [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]
    positions = np.column_stack([RNG.normal(size=(3, 3)), np.ones(3)])
    weights = RNG.random((3, 4))
    theta = RNG.normal(size=26)
    us = RNG.random((2, 2)) if mixed else np.empty((0, 2))
    model = {"parents": parents, "base_relatives": relatives.tolist(), "inverse_base_absolutes": inverses.tolist()}
    model |= {"base_positions": positions.tolist(), "weights": weights.tolist(), "is_mirrored": True}
    model |= {"triangles": [[0, 1, 2], [2, 0, 1]]}
    data = {"model": model, "correspondences": [1, 0], "points": points.tolist()}
    given = {"theta": theta.tolist(), "us": us.tolist(), "data": data}

    def turned(axis: int, angle: float) -> Array:
        c, s = np.cos(angle), np.sin(angle)
        found: Array = np.eye(4)
        i, j = [(1, 2), (2, 0), (0, 1)][axis]
        found[[i, i, j, j], [i, j, i, j]] = c, -s, s, c
        return found

    def errors(theta: Array, us: Array) -> Array:
        bends = {2: turned(2, theta[7]) @ turned(0, theta[6]), 3: turned(0, theta[8])}
        absolute: list[Array] = []
        for k, parent in enumerate(parents):
            here = relatives[k] @ bends.get(k, np.eye(4))
            absolute.append(here if parent < 0 else absolute[parent] @ here)
        skin = sum(weights[:, k, None] * (positions @ (a @ inverses[k]).T) for k, a in enumerate(absolute))
        size = np.linalg.norm(theta[:3])
        across = np.cross(theta[:3] / size, np.eye(3)).T
        turn = np.eye(3) + np.sin(size) * across + (1 - np.cos(size)) * across @ across
        placed = (skin[:, :3] * [-1.0, 1.0, 1.0]) @ turn.T + theta[3:6]
        if not mixed:
            return (points - placed[[1, 0]]).ravel()
        shares = np.column_stack([us, 1 - us.sum(1)])
        corners = np.array(model["triangles"])[[1, 0]]
        return (points - np.einsum("pk,pkx->px", shares, placed[corners])).ravel()

    assert np.allclose(answer("ht", "objective", given), errors(theta, us), rtol=1e-11)
    if not mixed:  # its Jacobian is the same program without two columns
        return
    found = np.array(answer("ht", "jacobian", given))
    for row in (0, 5):
        by_pose = slopes(lambda t, row=row: errors(t, us)[row], theta)
        by_us = slopes(lambda u, row=row: errors(theta, u)[row], us)
        assert np.allclose(found[row], [*by_us[row // 3 : row // 3 + 1].ravel(), *by_pose], atol=1e-7)


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


def test_contenders_have_turns_and_the_slow_ones_a_single_one(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("benchmarks.gradbench.turns.time.process_time", lambda: clock[0])

    def taking(seconds: float) -> Callable[[], None]:
        def run() -> None:
            clock[0] += seconds

        return run

    fast, slow = (turns.Contender(name, taking(x), 0.0, None) for name, x in (("fast", 0.25), ("slow", 2.0)))
    turns.measure([fast, slow], turns=3, seconds=1.0, patience=1.0)
    assert (fast.turns, slow.turns, clock[0]) == ([0.25] * 3, [2.0] * 3, 3 * 1.0 + 2.0)


def test_answers_are_compared_by_their_largest_number() -> None:
    assert turns.distance({"a": [1.0, 4.0], "b": 2.0}, {"b": 2.0, "a": [1.0, 5.0]}) == 0.25
    assert turns.distance(0.0, 1e-14) == 1e-14
    assert turns.distance([1.0], [1.0, 2.0]) == float("inf")
