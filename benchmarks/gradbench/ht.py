"""ht: hand tracking, the distances of measured points from the skin of a hand with 22 bones, and their Jacobian.

A sample is one measured point, with what it needs of the hand: the resting positions and weights of the three corners
of its triangle. What only the pose decides, the transformations of the bones, is the same for all samples.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

import macrograd as mg

THETA = 26  # 3 angles and 3 shifts of the hand, then 4 angles for each of 5 fingers
FINGERS, JOINTS = 5, 4

Matrix = list[list[Any]]


def product(a: Matrix, b: Any) -> Matrix:
    columns = list(zip(*b, strict=True))
    return [[mg.dot(row, list(column)) for column in columns] for row in a]


def turned(angles: Any) -> Matrix:
    """The rotation by an axis times an angle; none for a very small angle."""

    def turn(angles: Any) -> Any:
        angle = mg.sqrt(mg.dot(angles, angles))
        x, y, z = (a / angle for a in angles)
        s, c = mg.sin(angle), mg.cos(angle)
        rest = 1.0 - c
        return [
            [x * x + (1.0 - x * x) * c, x * y * rest - z * s, x * z * rest + y * s],
            [x * y * rest + z * s, y * y + (1.0 - y * y) * c, y * z * rest - x * s],
            [x * z * rest - y * s, z * y * rest + x * s, z * z + (1.0 - z * z) * c],
        ]

    def still(angles: Any) -> Any:
        return [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]

    found: Matrix = mg.cond(mg.dot(angles, angles) >= 1e-8, turn, still, list(angles))
    return found


def bent(x: Any, z: Any) -> Matrix:
    """The 4 × 4 rotation of a joint: about the first axis by x, then about the third by z."""
    cx, sx, cz, sz = mg.cos(x), mg.sin(x), mg.cos(z), mg.sin(z)
    return [[cz, -sz * cx, sz * sx, 0.0], [sz, cz * cx, -cz * sx, 0.0], [0.0, sx, cx, 0.0], [0.0, 0.0, 0.0, 1.0]]


class Hand:
    """The model and the measured points of one input."""

    def __init__(self, given: dict[str, Any]) -> None:
        model = given["data"]["model"]
        self.theta = [float(x) for x in given["theta"]]
        self.us = np.array(given["us"], dtype=float)
        self.parents: list[int] = model["parents"]
        self.relatives: list[Matrix] = model["base_relatives"]
        self.inverses: list[Matrix] = model["inverse_base_absolutes"]
        self.mirror = -1.0 if model["is_mirrored"] else 1.0
        places = np.array(given["data"]["correspondences"], dtype=np.int64)
        corners = np.array(model["triangles"])[places] if self.us.size else places[:, None]
        positions, weights = np.array(model["base_positions"], dtype=float), np.array(model["weights"], dtype=float)
        self.points = np.array(given["data"]["points"], dtype=float)
        self.resting, self.weights = positions[corners], weights[corners]
        if not self.us.size:
            self.us = np.empty((len(places), 0))

    def samples(self) -> tuple[Any, ...]:
        return self.theta, self.us, self.points, self.resting, self.weights

    def bones(self, theta: Any) -> Any:
        """How each bone has moved, and the hand with them: 3 × 4 matrices."""
        joints: dict[int, tuple[Any, Any]] = {}
        for finger in range(FINGERS):
            first = 6 + 4 * finger
            bone = 2 + JOINTS * finger
            joints[bone] = (theta[first], theta[first + 1])
            joints[bone + 1], joints[bone + 2] = (theta[first + 2], 0.0), (theta[first + 3], 0.0)
        absolute: list[Matrix] = []
        for k, (relative, parent) in enumerate(zip(self.relatives, self.parents, strict=True)):
            here = product(relative, bent(*joints[k])) if k in joints else [list(row) for row in relative]
            absolute.append(here if parent == -1 else product(absolute[parent], here))
        turn = turned(theta[0:3])
        turn[0:3] = [[row[0] * self.mirror, *row[1:]] for row in turn]
        moved = []
        for here, inverse in zip(absolute, self.inverses, strict=True):
            moved.append(product(turn, product(here, inverse)[:3]))
        return moved, theta[3:6]

    def error(self, theta: Any, us: Any, point: Any, resting: Any, weights: Any) -> list[Any]:
        """The measured point less the point of the skin, which is a corner, or `us` mixes three."""
        bones, shift = self.bones(theta)
        shares = [*us, 1.0 - mg.sum(us)] if len(us) else [1.0]
        found = []
        for axis in range(3):
            at = shift[axis]
            for share, corner, by_bone in zip(shares, resting, weights, strict=True):
                at = at + share * mg.dot(by_bone, [mg.dot(bone[axis], corner) for bone in bones])
            found.append(point[axis] - at)
        return found

    def slopes(self, theta: Any, us: Any, *sample: Any) -> list[Any]:
        """The derivative of the error along each of `us` and the pose, forward: the movements of the bones along the
        pose are the same for all samples."""
        n = len(us)
        found = []
        for k in range(n + THETA):
            along = [float(j == k) for j in range(n + THETA)]
            moved = mg.jvp(
                lambda theta, us: self.error(theta, us, *sample), (list(theta), list(us)), (along[n:], along[:n])
            )
            found.append(moved[1])
        return [list(row) for row in zip(*found, strict=True)]


def objective(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    hand = Hand(given)
    f = mg.compile(hand.error, batch=True, uniform="theta")
    return lambda: np.asarray(f(*hand.samples())).ravel()


def jacobian(given: dict[str, Any]) -> Callable[[], NDArray[np.float64]]:
    hand = Hand(given)
    width = hand.us.shape[1] + THETA

    def slopes(theta: Any, us: Any, point: Any, resting: Any, weights: Any) -> list[Any]:
        return hand.slopes(theta, us, point, resting, weights)

    f = mg.compile(slopes, batch=True, uniform="theta")
    return lambda: np.asarray(f(*hand.samples())).reshape(-1, width)


FUNCTIONS = {"objective": objective, "jacobian": jacobian}
