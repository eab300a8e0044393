"""ba: bundle adjustment, the errors of projected points, and their sparse Jacobian. A sample is one observation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg

CAMERA, POINT = 11, 3  # numbers of each


def rotated(angles: Any, x: Any) -> list[Any]:
    """x turned around an axis, by an angle that is its length (Rodrigues' formula)."""

    def turn(angles: Any, x: Any) -> list[Any]:
        angle = mg.sqrt(mg.dot(angles, angles))
        axis = [a / angle for a in angles]
        cos, sin = mg.cos(angle), mg.sin(angle)
        along = mg.dot(axis, x) * (1.0 - cos)
        return [p * cos + c * sin + a * along for p, c, a in zip(x, _cross(axis, x), axis, strict=True)]

    def small(angles: Any, x: Any) -> list[Any]:
        return [p + c for p, c in zip(x, _cross(angles, x), strict=True)]

    return list(mg.cond(mg.dot(angles, angles) > 0.0, turn, small, list(angles), list(x)))


def _cross(a: Any, b: Any) -> list[Any]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]


def errors(camera: Any, point: Any, weight: Any, seen: Any) -> list[Any]:
    """The two weighted errors of a point's projection."""
    centred = [a - b for a, b in zip(point, camera[3:6], strict=True)]
    x, y, z = rotated(camera[:3], centred)
    plane = [x / z, y / z]
    square = mg.dot(plane, plane)
    distortion = 1.0 + camera[9] * square + camera[10] * square * square
    return [
        weight * (p * distortion * camera[6] + centre - where)
        for p, centre, where in zip(plane, camera[7:9], seen, strict=True)
    ]


def weight_error(weight: Any) -> Any:
    return 1.0 - weight * weight


class Scene:
    """All observations of one input, whose cameras and points are copies of one."""

    def __init__(self, given: dict[str, Any]) -> None:
        self.n, self.m, self.p = given["n"], given["m"], given["p"]
        cameras, points = np.tile(given["cam"], (self.n, 1)), np.tile(given["x"], (self.m, 1))
        self.camera, self.point = np.arange(self.p) % self.n, np.arange(self.p) % self.m
        self.weights = np.full(self.p, given["w"])
        seen = np.tile(given["feat"], (self.p, 1))
        self.observations = (cameras[self.camera], points[self.point], self.weights, seen)

    def told(self, projected: NDArray[np.float64], weighted: NDArray[np.float64]) -> dict[str, Any]:
        """What the eval reads of the errors of projections and weights."""
        return {
            "reproj_error": {"elements": projected.ravel()[:2], "repeated": len(projected)},
            "w_err": {"element": float(weighted[0]), "repeated": len(weighted)},
        }

    def matrix(self, parts: list[NDArray[np.float64]], weights: NDArray[np.float64]) -> dict[str, Any]:
        """What the eval reads of the sparse matrix with the derivatives of projections by camera, point and weight, and
        of the error of the weight: where each row begins, and the columns and values of its entries."""
        width, at = CAMERA + POINT + 1, np.arange(self.p)
        cameras = CAMERA * self.camera[:, None] + np.arange(CAMERA)
        points = CAMERA * self.n + POINT * self.point[:, None] + np.arange(POINT)
        own = CAMERA * self.n + POINT * self.m + at
        rows = np.concatenate([np.arange(0, 2 * width * self.p + 1, width), 2 * width * self.p + 1 + at])
        places = _entries([cameras[:, None], points[:, None], own[:, None]], own)
        values = _entries(parts, weights)
        return {
            name: [*part[: 2 * width].tolist(), part[-1].item()]
            for name, part in (("rows", rows), ("cols", places), ("vals", values))
        }


def _entries(parts: list[NDArray[Any]], last: NDArray[Any]) -> NDArray[Any]:
    """Two rows of each observation from what its camera, its point and its weight have there; then the last rows. They
    are written in place: joined by NumPy, all numbers would be copied twice."""
    width, count = CAMERA + POINT + 1, len(last)
    entries = np.empty((2 * width + 1) * count, dtype=last.dtype)
    block = entries[: 2 * width * count].reshape(count, 2, width)
    for part, (start, end) in zip(parts, ((0, CAMERA), (CAMERA, CAMERA + POINT), (CAMERA + POINT, width)), strict=True):
        block[:, :, start:end] = part if part.ndim == 3 else part[:, :, None]
    entries[2 * width * count :] = last
    return entries


def objective(given: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    scene = Scene(given)
    projections, weights = mg.compile(errors, batch=True), mg.compile(weight_error, batch=True)

    def run() -> dict[str, Any]:
        return scene.told(np.asarray(projections(*scene.observations)), np.asarray(weights(scene.weights)))

    return run


def jacobian(given: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    scene = Scene(given)
    projections = mg.compile(mg.jacobian(errors, argnums=(0, 1, 2)), batch=True)
    weights = mg.compile(mg.grad(weight_error), batch=True)

    def run() -> dict[str, Any]:
        parts = [np.asarray(part) for part in projections(*scene.observations)]
        return scene.matrix(parts, np.asarray(weights(scene.weights)))

    return run


FUNCTIONS = {"objective": objective, "jacobian": jacobian}
