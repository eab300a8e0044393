"""`mg.linalg` against NumPy, eager and compiled, with its derivatives; and `mg.random`."""

from __future__ import annotations

import numpy as np
import pytest

import macrograd as mg
from macrograd import linalg

RNG = np.random.default_rng(2)
M = RNG.normal(size=(4, 4))
S = M @ M.T + np.eye(4)
B = RNG.normal(size=(4, 2))


def array(rows):
    return np.array([list(row) for row in rows])


def test_results_are_numpys() -> None:
    assert np.allclose(np.array(linalg.solve(M, B[:, 0])), np.linalg.solve(M, B[:, 0]))
    assert np.allclose(array(linalg.solve(M, B)), np.linalg.solve(M, B))
    assert np.allclose(array(linalg.inv(M)), np.linalg.inv(M))
    assert np.allclose(array(linalg.cholesky(S)), np.linalg.cholesky(S))
    lower = np.linalg.cholesky(S)
    assert np.allclose(np.array(linalg.triangular_solve(lower, B[:, 0])), np.linalg.solve(lower, B[:, 0]))
    assert np.allclose(array(linalg.triangular_solve(lower.T, B, lower=False)), np.linalg.solve(lower.T, B))
    for n in (1, 2, 3, 4):
        assert linalg.det(M[:n, :n]) == pytest.approx(np.linalg.det(M[:n, :n]))
    assert linalg.slogdet(M) == pytest.approx(tuple(np.linalg.slogdet(M)))
    singular = np.ones((4, 4))
    assert linalg.det(singular) == 0.0
    assert linalg.slogdet(singular) == (0.0, -np.inf)


def test_each_sample_has_its_own_pivots() -> None:
    batch = np.array([M, M[::-1], S])
    found = mg.compile(lambda m, b: linalg.solve(m, b), batch=True, backend="numpy")(batch, np.array([B[:, 0]] * 3))
    assert np.allclose(found, [np.linalg.solve(m, B[:, 0]) for m in batch])


def test_derivatives_are_the_closed_forms() -> None:
    inverse = np.linalg.inv(M).T
    slope = mg.compile(mg.grad(lambda m: linalg.slogdet(m)[1]), backend="numpy")(M)
    assert np.allclose(slope, inverse)
    assert np.allclose(array(mg.grad(linalg.det)(M)), np.linalg.det(M) * inverse)
    by_matrix = array(mg.grad(lambda m: linalg.solve(m, B[:, 0].tolist())[0])(M))
    assert np.allclose(by_matrix, -np.outer(inverse[:, 0], np.linalg.solve(M, B[:, 0])))


def test_what_has_no_solution_is_named() -> None:
    with pytest.raises(ValueError, match=r"solve\(\): the matrix is singular: pivot 1 of 2 is 0"):
        linalg.solve([[1.0, 2.0], [2.0, 4.0]], [1.0, 1.0])
    with pytest.raises(RuntimeError, match=r"inv\(\): the matrix is singular: pivot 1 of 2 is 0"):
        mg.compile(linalg.inv, backend="numpy")(np.ones((2, 2)))
    with pytest.raises(ValueError, match="not positive definite: pivot 1 of 2 is not above 0"):
        linalg.cholesky([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="pivot 0 of 1 is 0"):
        linalg.triangular_solve([[0.0]], [1.0])
    with pytest.raises(ValueError, match=r"takes a square matrix, got 1 rows of \[2\]"):
        linalg.det([[1.0, 2.0]])
    with pytest.raises(ValueError, match="has 1 rows and the right side 2"):
        linalg.solve([[1.0]], [1.0, 2.0])
    with pytest.raises(TypeError, match=r"det\(\) takes a matrix"):
        linalg.det(3.0)
    with pytest.raises(TypeError, match="'a'"):
        linalg.inv([["a"]])


def test_draws_are_functions_of_their_counters() -> None:
    numbers = np.arange(20_000.0)
    uniform = mg.compile(lambda i: mg.random.uniform(7, i), batch=True, backend="numpy")(numbers)
    normal = mg.compile(lambda i: mg.random.normal(7, i, 3), batch=True, backend="numpy")(numbers)
    assert 0.0 < uniform.min() < uniform.max() < 1.0
    assert uniform.mean() == pytest.approx(0.5, abs=0.01)
    assert uniform.var() == pytest.approx(1 / 12, abs=0.002)
    assert normal.mean() == pytest.approx(0.0, abs=0.03)
    assert normal.var() == pytest.approx(1.0, abs=0.05)
    assert abs(np.corrcoef(normal[1:], normal[:-1])[0, 1]) < 0.03
    assert mg.random.uniform(7, 12) == uniform[12]
    assert mg.random.normal(7, 12, 3) == pytest.approx(normal[12], rel=1e-14)
    assert mg.random.uniform(8, 12) != uniform[12]


def test_a_path_is_drawn_by_its_number_and_its_steps() -> None:
    sigma = mg.Value(0.2)

    def mean_price(path):
        def step(i, state):
            price, total = state
            price = price * mg.exp(sigma * 0.1 * mg.random.normal(1, path, i) - 0.005 * sigma * sigma)
            return price, total + price

        return mg.loop(100, step, (100.0, 0.0))[1] / 100.0

    f = mg.compile(mean_price, batch=True)
    value = f.backward(np.arange(64.0))
    slope, sigma.grad = sigma.grad, 0.0
    eager = mg.mean(mean_price(float(k)) for k in range(64))
    eager.backward()
    assert value == pytest.approx(eager.data, rel=1e-12)
    assert slope == pytest.approx(sigma.grad, rel=1e-9)
