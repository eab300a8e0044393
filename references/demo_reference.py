"""The 100 losses of micrograd's published demo run, from micrograd itself: `demo.json`.

Needs `micrograd` and `scikit-learn`. The run is that of the notebook `demo.ipynb` of github.com/karpathy/micrograd:
two moons, an MLP 2-16-16-1, the hinge loss over all samples, 1e-4 times the sum of squared parameters, and SGD with the
learning rate 1 − 0.9·k/100. A loss is taken before the update of its step.

micrograd walks Python sets, whose order depends on addresses, so the last bits of its gradients change from run to run;
`spread` is the largest relative difference of a loss over the runs made here.
"""

from __future__ import annotations

import gc
import json
import random
from pathlib import Path

import numpy as np
from micrograd.engine import Value
from micrograd.nn import MLP
from sklearn.datasets import make_moons

RUNS = 2


def run() -> dict[str, list[float] | int]:
    np.random.seed(1337)
    random.seed(1337)
    X, y = make_moons(n_samples=100, noise=0.1)
    y = y * 2 - 1
    model = MLP(2, [16, 16, 1])
    losses, accuracies = [], []
    for k in range(100):
        scores = [model([Value(v) for v in row]) for row in X]
        hinges = [(1 + -yi * score).relu() for yi, score in zip(y, scores, strict=True)]
        total = sum(hinges) * (1.0 / len(hinges)) + 1e-4 * sum(p * p for p in model.parameters())
        losses.append(float(total.data))
        hits = [(yi > 0) == (score.data > 0) for yi, score in zip(y, scores, strict=True)]
        accuracies.append(sum(hits) / len(hits))
        model.zero_grad()
        total.backward()
        rate = 1.0 - 0.9 * k / 100
        for p in model.parameters():
            p.data -= rate * p.grad
        del scores, hinges, total
        if k % 10 == 9:
            gc.collect()
    return {"parameters": len(model.parameters()), "losses": losses, "accuracies": accuracies}


def main() -> None:
    gc.disable()  # micrograd's graphs are cycles: collecting every tenth step is much faster than all the time
    runs = [run() for _ in range(RUNS)]
    columns = zip(*(r["losses"] for r in runs), strict=True)
    spread = max((max(c) - min(c)) / min(c) for c in columns)
    target = Path(__file__).with_name("demo.json")
    target.write_text(json.dumps({**runs[0], "spread": spread}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
