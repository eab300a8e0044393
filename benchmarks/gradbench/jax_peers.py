"""JAX's side of the evals that GradBench's tool for JAX does not have, as its users write them: `vmap`, `scan`,
derivatives in the direction with fewer sweeps, and everything in one `jit`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gradbench.ba import Scene
from benchmarks.gradbench.ht import FINGERS, JOINTS, Hand

Run = Callable[[], Any]


# --- ba -------------------------------------------------------------------------------------------------------------


def _rotated(angles: Any, x: Any) -> Any:
    """As in `ba.py`; both branches are computed, the unused one of a safe angle."""
    import jax.numpy as jnp

    square = angles @ angles
    turns = square > 0.0
    angle = jnp.sqrt(jnp.where(turns, square, 1.0))
    axis = angles / angle
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turned = x * cos + jnp.cross(axis, x) * sin + axis * (axis @ x) * (1.0 - cos)
    return jnp.where(turns, turned, x + jnp.cross(angles, x))


def errors(camera: Any, point: Any, weight: Any, seen: Any) -> Any:
    moved = _rotated(camera[:3], point - camera[3:6])
    plane = moved[:2] / moved[2]
    square = plane @ plane
    distortion = 1.0 + camera[9] * square + camera[10] * square * square
    return weight * (plane * distortion * camera[6] + camera[7:9] - seen)


def ba_objective(given: dict[str, Any]) -> Run:
    import jax

    scene = Scene(given)
    both = jax.jit(lambda c, x, w, seen: (jax.vmap(errors)(c, x, w, seen), 1.0 - w * w))
    return lambda: scene.told(*map(np.asarray, both(*scene.observations)))


def ba_jacobian(derivative: str) -> Callable[[dict[str, Any]], Run]:
    def prepare(given: dict[str, Any]) -> Run:
        import jax

        scene = Scene(given)
        of_errors = getattr(jax, derivative)(errors, argnums=(0, 1, 2))
        both = jax.jit(lambda c, x, w, seen: (jax.vmap(of_errors)(c, x, w, seen), -2.0 * w))

        def run() -> Any:
            parts, weights = both(*scene.observations)
            return scene.matrix([np.asarray(part) for part in parts], np.asarray(weights))

        return run

    return prepare


# --- ht -------------------------------------------------------------------------------------------------------------


def _turn(angles: Any) -> Any:
    import jax.numpy as jnp

    square = angles @ angles
    turns = square >= 1e-8
    angle = jnp.sqrt(jnp.where(turns, square, 1.0))
    x, y, z = angles / angle
    s, c = jnp.sin(angle), jnp.cos(angle)
    rest = 1.0 - c
    rows = [
        [x * x + (1.0 - x * x) * c, x * y * rest - z * s, x * z * rest + y * s],
        [x * y * rest + z * s, y * y + (1.0 - y * y) * c, y * z * rest - x * s],
        [x * z * rest - y * s, z * y * rest + x * s, z * z + (1.0 - z * z) * c],
    ]
    return jnp.where(turns, jnp.array(rows), jnp.eye(3))


def _bent(x: Any, z: Any) -> Any:
    import jax.numpy as jnp

    cx, sx, cz, sz = jnp.cos(x), jnp.sin(x), jnp.cos(z), jnp.sin(z)
    return jnp.array(
        [[cz, -sz * cx, sz * sx, 0.0], [sz, cz * cx, -cz * sx, 0.0], [0.0, sx, cx, 0.0], [0.0, 0.0, 0.0, 1.0]]
    )


def error(hand: Hand) -> Callable[..., Any]:
    """The error of one point, of theta, us, the point, and the positions and weights of its corners."""
    import jax.numpy as jnp

    relatives, inverses = np.array(hand.relatives), np.array(hand.inverses)

    def bones(theta: Any) -> Any:
        joints = {}
        for finger in range(FINGERS):
            first, bone = 6 + 4 * finger, 2 + JOINTS * finger
            joints[bone] = (theta[first], theta[first + 1])
            joints[bone + 1], joints[bone + 2] = (theta[first + 2], 0.0), (theta[first + 3], 0.0)
        absolute: list[Any] = []
        for k, parent in enumerate(hand.parents):
            here = relatives[k] @ _bent(*joints[k]) if k in joints else relatives[k]
            absolute.append(here if parent == -1 else absolute[parent] @ here)
        turn = _turn(theta[0:3]) * jnp.array([hand.mirror, 1.0, 1.0])
        return jnp.einsum("ij,bjk->bik", turn, (jnp.stack(absolute) @ inverses)[:, :3])

    def of_point(theta: Any, us: Any, point: Any, resting: Any, weights: Any) -> Any:
        shares = jnp.append(us, 1.0 - jnp.sum(us))
        return point - theta[3:6] - jnp.einsum("c,cb,bij,cj->i", shares, weights, bones(theta), resting)

    return of_point


def ht_objective(given: dict[str, Any]) -> Run:
    import jax

    hand = Hand(given)
    f = jax.jit(jax.vmap(error(hand), in_axes=(None, 0, 0, 0, 0)))
    samples = [np.asarray(x, dtype=float) for x in hand.samples()]
    return lambda: np.asarray(f(*samples)).ravel()


def ht_jacobian(given: dict[str, Any]) -> Run:
    import jax

    hand = Hand(given)
    derivative = jax.jacfwd(error(hand), argnums=(0, 1))
    f = jax.jit(jax.vmap(derivative, in_axes=(None, 0, 0, 0, 0)))
    samples = [np.asarray(x, dtype=float) for x in hand.samples()]

    def run() -> Any:
        by_pose, by_us = map(np.asarray, f(*samples))
        return np.concatenate([by_us, by_pose], axis=2).reshape(-1, by_us.shape[2] + by_pose.shape[2])

    return run


# --- lstm -----------------------------------------------------------------------------------------------------------


def lstm_loss(main: Any, extra: Any, state: Any, bits: Any) -> Any:
    import jax
    import jax.numpy as jnp

    layers = main.reshape(-1, 2, 4, extra.shape[1])  # weights and biases of four gates

    def character(state: Any, pair: Any) -> tuple[Any, Any]:
        now, following = pair
        x, new = now * extra[0], []
        for (w, b), (hidden, cell) in zip(layers, state, strict=True):
            forget, leave = jax.nn.sigmoid(x * w[0] + b[0]), jax.nn.sigmoid(x * w[2] + b[2])
            enter, change = jax.nn.sigmoid(hidden * w[1] + b[1]), jnp.tanh(hidden * w[3] + b[3])
            cell = cell * forget + enter * change
            x = leave * jnp.tanh(cell)
            new.append(jnp.stack([x, cell]))
        guess = x * extra[1] + extra[2]
        norm = jnp.log(2.0 + jnp.sum(jnp.exp(guess)))
        return jnp.stack(new), jnp.sum(following * (guess - norm))

    _, gains = jax.lax.scan(character, state.reshape(-1, 2, extra.shape[1]), (bits[:-1], bits[1:]))
    return -jnp.sum(gains) / ((len(bits) - 1) * extra.shape[1])


def _lstm(transform: Callable[[Any], Any], read: Callable[[Any], Any]) -> Callable[[dict[str, Any]], Run]:
    def prepare(given: dict[str, Any]) -> Run:
        import jax

        f = jax.jit(transform(lstm_loss))
        names = ("main_params", "extra_params", "state", "sequence")
        args = [np.array(given[name], dtype=float) for name in names]
        return lambda: read(jax.block_until_ready(f(*args)))

    return prepare


def _slopes(f: Any) -> Any:
    import jax

    return jax.grad(f, argnums=(0, 1))


FUNCTIONS: dict[tuple[str, str], dict[str, Callable[[dict[str, Any]], Run]]] = {
    ("ba", "objective"): {"vmap of JAX": ba_objective},
    ("ba", "jacobian"): {f"vmap and {name} of JAX": ba_jacobian(name) for name in ("jacrev", "jacfwd")},
    ("ht", "objective"): {"vmap of JAX": ht_objective},
    ("ht", "jacobian"): {"vmap and jacfwd of JAX": ht_jacobian},
    ("lstm", "objective"): {"scan of JAX": _lstm(lambda f: f, float)},
    ("lstm", "jacobian"): {"scan of JAX": _lstm(_slopes, lambda found: np.concatenate([x.ravel() for x in found]))},
}
