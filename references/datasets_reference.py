"""What scikit-learn's data set functions answer: `datasets.npz`, one array a case. Needs `scikit-learn`.

NumPy computes sines and cosines with the vector unit it finds, and their last bit depends on it. `probe` holds some
of them, so that a test knows whether it stands on a machine where the bits can be compared at all.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets

# Each case: the function, macrograd's arguments; scikit-learn calls the seed random_state.
CASES: list[tuple[str, dict[str, Any]]] = [
    ("make_moons", {"n_samples": 100, "noise": 0.1, "seed": 1337}),
    ("make_moons", {"n_samples": 31, "seed": 5}),
    ("make_moons", {"n_samples": [7, 12], "noise": 0.25, "seed": 2}),
    ("make_moons", {"n_samples": 20, "noise": 0.3, "seed": 3, "shuffle": False}),
    ("make_circles", {"n_samples": 50, "noise": 0.05, "seed": 1}),
    ("make_circles", {"n_samples": 33, "factor": 0.3, "seed": 4}),
    ("make_circles", {"n_samples": [5, 9], "noise": 0.1, "factor": 0.5, "seed": 9, "shuffle": False}),
    ("make_blobs", {"n_samples": 50, "seed": 0}),
    ("make_blobs", {"n_samples": 32, "n_features": 3, "centers": 5, "cluster_std": 0.5, "seed": 7}),
    ("make_blobs", {"n_samples": [4, 9, 2], "cluster_std": [0.1, 1.0, 3.0], "center_box": [0.0, 1.0], "seed": 8}),
    ("make_blobs", {"n_samples": 20, "centers": [[0.0, 0.0], [4.0, -1.0]], "seed": 11, "shuffle": False}),
]


def main() -> None:
    arrays: dict[str, np.ndarray] = {"probe": np.stack([f(np.linspace(0, 2 * np.pi, 500)) for f in (np.sin, np.cos)])}
    for i, (name, arguments) in enumerate(CASES):
        theirs = {("random_state" if k == "seed" else k): v for k, v in arguments.items()}
        for key in ("n_samples", "center_box"):  # scikit-learn wants tuples here, JSON has lists only
            if isinstance(theirs.get(key), list):
                theirs[key] = tuple(theirs[key])
        arrays[f"X{i}"], arrays[f"y{i}"] = getattr(datasets, name)(**theirs)
    arrays["cases"] = np.array([json.dumps(case) for case in CASES])
    np.savez_compressed(Path(__file__).with_name("datasets.npz"), allow_pickle=False, **arrays)


if __name__ == "__main__":
    main()
