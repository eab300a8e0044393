"""`mg.linalg` against NumPy, eager and compiled, with its derivatives; and `mg.random`."""

from __future__ import annotations

import re
from typing import Any

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


def array_of(nested):
    """The numbers of nested lists and Vectors."""
    if hasattr(nested, "__len__"):
        return np.array([array_of(x) for x in nested])
    return float(nested)


def nested_bits(nested, sample=None):
    """The numbers in order, each as its bits."""
    if isinstance(nested, tuple):
        return [bit for x in nested for bit in nested_bits(x, sample)]
    numbers = np.asarray(array_of(nested), dtype=float)
    numbers = numbers if sample is None else numbers[sample]
    return [x.hex() for x in numbers.ravel().tolist()]


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


def test_derivatives_of_any_order_are_right_eager_and_compiled() -> None:
    def f(m):
        (x, y, z), low = linalg.solve(m, [1.0, 2.0, 3.0]), linalg.cholesky(m)
        return x * y + z + linalg.det([*[[*row, 1.0] for row in m], [1.0, 2.0, 3.0, 4.0]]) + low[2][1] * low[1][0]

    point = S[:3, :3]
    hessian = array_of(mg.hessian(f)(point))
    compiled = mg.compile(mg.hessian(f), backend="numpy")(point)
    assert np.allclose(compiled, hessian, rtol=1e-11)
    step, h = RNG.normal(size=(3, 3)), 1e-4
    ends = [array_of(mg.grad(f)(point + t * step)) for t in (-2 * h, -h, h, 2 * h)]
    by_differences = (ends[0] - 8 * ends[1] + 8 * ends[2] - ends[3]) / (12 * h)
    assert np.allclose(np.einsum("ijkl,kl->ij", hessian, step), by_differences, rtol=1e-7, atol=1e-7)


def test_strict_has_the_bits_of_the_eager_engine() -> None:
    def f(m, b):
        return linalg.solve(m, b), linalg.slogdet(m), linalg.cholesky(m), linalg.eigh(m)

    eager = nested_bits(f(S, B[:, 0]))
    assert nested_bits(mg.compile(f, strict=True)(S, B[:, 0])) == eager
    assert nested_bits(mg.compile(f, strict=True, batch=True)([S, S], [B[:, 0]] * 2), 0) == eager


def test_the_derivative_of_a_singular_matrix_is_its_adjugate_if_the_last_pivot_is_0() -> None:
    singular = M.copy()
    singular[3] = singular[0] - 2.0 * singular[1] + 0.5 * singular[2]
    singular = np.round(singular * 8) / 8  # so that the zero is exact
    singular[3] = singular[0] - 2.0 * singular[1] + singular[2]
    minors = [[np.delete(np.delete(singular, i, 0), j, 1) for j in range(4)] for i in range(4)]
    cofactors = np.linalg.det(minors) * [[(-1) ** (i + j) for j in range(4)] for i in range(4)]
    assert np.allclose(array_of(mg.grad(linalg.det)(singular)), cofactors, rtol=1e-10)
    assert np.allclose(mg.compile(mg.grad(linalg.det))(singular), cofactors, rtol=1e-10)


@pytest.mark.parametrize("n", [5, 12])
def test_the_operations_grow_with_the_square_of_the_rows(n: int) -> None:
    def f(m, b):
        return mg.sum(linalg.solve(m, b)) + linalg.slogdet(m)[1]

    matrix = RNG.normal(size=(n, n))
    compiled = mg.compile(mg.value_and_grad(f), backend="numpy")
    found = re.search(r"recorded ([\d,]+) operations", compiled.explain(matrix, matrix[0]))
    assert found
    assert int(found[1].replace(",", "")) < 75 * n * n
    value, slopes = compiled(matrix, matrix[0])
    inverse = np.linalg.inv(matrix)
    assert value == pytest.approx((inverse @ matrix[0]).sum() + np.linalg.slogdet(matrix)[1])
    assert np.allclose(slopes, inverse.T - np.outer(inverse.sum(0), inverse @ matrix[0]))


def test_eigenvalues_and_vectors_are_numpys() -> None:
    for n in (1, 2, 4):
        values, vectors = linalg.eigh(S[:n, :n])
        assert np.allclose(np.array(values), np.linalg.eigvalsh(S[:n, :n]), rtol=1e-13)
        assert np.allclose(array(vectors) * np.array(values) @ array(vectors).T, S[:n, :n], rtol=1e-12)
    same_values, same_vectors = mg.compile(linalg.eigh, batch=True, backend="numpy")([S, 2.0 * S])
    assert np.allclose(same_values, [np.array(values), 2.0 * np.array(values)], rtol=1e-13)
    assert np.allclose(same_vectors[1], array(vectors), rtol=1e-10)


def test_eigenvalues_and_vectors_have_two_derivatives() -> None:
    def f(m):
        values, vectors = linalg.eigh(m)
        return mg.exp(0.1 * values[0]) * vectors[2][1] + values[2] * vectors[0][0]

    point, h = S[:3, :3], 1e-3
    step = np.tril(RNG.normal(size=(3, 3)))
    at = [float(f(point + t * h * step)) for t in (-2, -1, 0, 1, 2)]
    slope = np.sum(array_of(mg.grad(f)(point)) * step)
    assert slope == pytest.approx((at[0] - 8 * at[1] + 8 * at[3] - at[4]) / (12 * h), rel=1e-8)
    bend = np.einsum("ijkl,ij,kl", mg.compile(mg.hessian(f), backend="numpy")(point), step, step)
    assert bend == pytest.approx((-at[0] + 16 * at[1] - 30 * at[2] + 16 * at[3] - at[4]) / (12 * h * h), rel=1e-6)


def test_eigenvalues_and_vectors_have_higher_derivatives() -> None:
    """The third and fourth, beside the formula for two rows."""

    def by_rotations(t):
        values, vectors = linalg.eigh([[1.0 + t, 0.0], [0.5 - t * t, mg.sin(t)]])
        return values[0] + 2.0 * vectors[0][0]

    def by_formula(t):
        a, b, c = 1.0 + t, 0.5 - t * t, mg.sin(t)
        value = (a + c) / 2 - mg.sqrt(((a - c) / 2) ** 2 + b * b)
        return value + 2.0 * (value - c) / mg.sqrt((value - c) ** 2 + b * b)

    third = mg.grad(mg.grad(mg.grad(by_rotations)))
    found, expected = (mg.value_and_grad(f)(0.3) for f in (third, mg.grad(mg.grad(mg.grad(by_formula)))))
    assert [float(x) for x in found] == pytest.approx([float(x) for x in expected], rel=1e-9)


def test_what_does_not_depend_on_the_choice_of_vectors_has_a_derivative_at_repeated_eigenvalues() -> None:
    turn = np.linalg.qr(M)[0]
    matrix = turn @ np.diag([1.0, 2.0, 2.0, 5.0]) @ turn.T

    def projected(m):
        """An element of the projection on the plane of the two equal ones, and the sum of their exponentials."""
        values, vectors = linalg.eigh(m)
        return mg.exp(values[1]) + mg.exp(values[2]) + sum(vectors[0][k] * vectors[3][k] for k in (1, 2))

    slopes = np.tril(array_of(mg.grad(projected)(matrix)))
    step = np.tril(RNG.normal(size=(4, 4)))
    h = 1e-4
    ends = [float(projected(matrix + t * h * step)) for t in (-1, 1)]
    assert np.sum(slopes * step) == pytest.approx((ends[1] - ends[0]) / (2 * h), rel=1e-5)


def test_eigenvalues_are_repeated_where_only_rounding_tells_them_apart() -> None:
    def fn(matrix: Any) -> Any:
        low, high, last = linalg.eigh(matrix)[0]
        return low + high + last + (low + high) * last

    derivative = mg.compile(mg.grad(fn), dtype="float32", backend="numpy")
    for seed in range(20):
        q = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
        slopes = np.array(derivative(q @ np.diag([1.0, 1.0, 3.0]) @ q.T), dtype=float)
        want = q @ np.diag([4.0, 4.0, 3.0]) @ q.T
        np.testing.assert_allclose((slopes + slopes.T) / 2.0, want, rtol=0, atol=1e-5)


def test_what_has_no_solution_is_named() -> None:
    with pytest.raises(ValueError, match=r"solve\(\): the matrix is singular: pivot 1 of 2 is 0"):
        linalg.solve([[1.0, 2.0], [2.0, 4.0]], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"test_linalg.py:\d+ in test_what.*; its column 1 is a sum of multiples"):
        linalg.solve([[1.0, 2.0], [2.0, 4.0]], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"eigh\(\): the rotations .* of 2 rows did not converge in 10 sweeps"):
        linalg.eigh([[float("nan"), 1.0], [1.0, 2.0]])
    with pytest.raises(RuntimeError, match=r"eigh\(\): the rotations .*; look for NaN or infinity"):
        mg.compile(linalg.eigh, backend="numpy")([[float("inf"), 1.0], [1.0, 2.0]])
    with pytest.raises(RuntimeError, match=r"inv\(\): the matrix is singular: pivot 1 of 2 is 0, at .*test_linalg.py"):
        mg.compile(linalg.inv, backend="numpy")(np.ones((2, 2)))
    with pytest.raises(ValueError, match="not positive definite: pivot 1 of 2 is not above 0"):
        linalg.cholesky([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match=r"pivot 0 of 2 is 0, at .*; its column 0 is all zeros: leave it out"):
        linalg.solve([[0.0, 1.0], [0.0, 2.0]], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"number 0 of the 2 on its diagonal is 0, at .*; leave out that row and col"):
        linalg.triangular_solve([[0.0, 0.0], [1.0, 1.0]], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"takes a square matrix, and got 1 row of 2 numbers"):
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
