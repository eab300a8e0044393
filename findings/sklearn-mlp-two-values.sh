#!/usr/bin/env bash
# scikit-learn 1.9.1: type_of_target calls several columns of any two integers a "multilabel-indicator", not only columns
# of 0 and 1. MLPClassifier takes them without an error or a warning, and then answers 1 for every label of every sample:
# its loss, made for 0 and 1, falls to almost nothing on −1 and +1 as on 1 and 2. RandomForestClassifier learns the same
# columns as two classes each, and is right. Seen, on 300 samples whose labels are signs of two features:
#
#     labels −1 and 1: multilabel-indicator; MLPClassifier predicts [1], score 0.21; RandomForestClassifier [-1 1], 1.0
#     labels  1 and 2: multilabel-indicator; MLPClassifier predicts [1], score 0.28; RandomForestClassifier [1 2], 1.0
#     labels  0 and 1: multilabel-indicator; MLPClassifier predicts [0 1], score 0.97 or more
#
# Exits 1 if that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check scikit-learn==1.9.1
cat >"$folder/try.py" <<'PYTHON'
import warnings

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.utils.multiclass import type_of_target

warnings.simplefilter("error")
X = np.random.default_rng(0).normal(size=(300, 3))
found = {}
for low, high in ((-1, 1), (1, 2), (0, 1)):
    y = np.where(X[:, :2] > 0, high, low)
    net = MLPClassifier(max_iter=2000, random_state=0).fit(X, y)
    forest = RandomForestClassifier(random_state=0).fit(X, y)
    answers, score = np.unique(net.predict(X)), net.score(X, y)
    print(f"labels {low} and {high}: {type_of_target(y)}; MLPClassifier predicts {answers}, score {score:.2f}; "
          f"RandomForestClassifier {np.unique(forest.predict(X))}, {forest.score(X, y):.2f}")
    found[low] = type_of_target(y) == "multilabel-indicator" and answers.tolist() == [1] and score < 0.5
    assert forest.score(X, y) == 1.0
raise SystemExit(not (found[-1] and found[1] and not found[0]))
PYTHON
"$folder/venv/bin/python" "$folder/try.py"
