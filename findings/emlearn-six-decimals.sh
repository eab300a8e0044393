#!/usr/bin/env bash
# emlearn 0.23.2 writes the weights of a net as text with six digits behind the point, whatever their size ("%f"): a weight
# below 5e-7 becomes 0. A net for inputs of the size of 1e7 (pascals, hertz, counts) has such weights in its first layer;
# all of them are gone from the file, whose answer then depends on no input.
#
# Seen, for one net and its twin with inputs × 2²³ and first weights ÷ 2²³, whose answers are equal in scikit-learn:
#     weights of the first layer that are 0 in C: 0 of 16, twin 16 of 16
#     largest difference of the twins' answers in scikit-learn: 0.0
#
# It also leaves tmp/mynet.c, .h and .o in the folder where it is called, as convert() compiles a copy for itself.
#
#     left in the folder: [mynet, mynet.c, mynet.h, mynet.o]
#
# So a comparison gives it scaled inputs and a folder, and macrograd writes numbers in hexadecimal. Exits 1 if that changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check emlearn==0.23.2 scikit-learn==1.9.1
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import copy
import os
import re
import sys

import emlearn
import numpy as np
from sklearn.datasets import make_moons
from sklearn.neural_network import MLPClassifier

X, y = make_moons(200, noise=0.1, random_state=0)
net = MLPClassifier((8,), max_iter=300, random_state=0).fit(X, y)
twin = copy.deepcopy(net)
twin.coefs_[0] = net.coefs_[0] / 2.0**23
large = X * 2.0**23
difference = float(np.abs(twin.predict_proba(large) - net.predict_proba(X)).max())


def zeros(model, name):
    emlearn.convert(model, method="inline").save(name=name, file=f"{name}.h")
    listed = re.search(rf"{name}_layer_0_weights\[\d+\] = \{{([^}}]*)\}}", open(f"{name}.h").read())[1]
    numbers = [float(x.strip().rstrip("f")) for x in listed.split(",")]
    return sum(x == 0 for x in numbers), len(numbers)


(a, n), (b, _) = zeros(net, "plain"), zeros(twin, "twin")
print(f"weights of the first layer that are 0 in C: {a} of {n}, twin {b} of {n}")
print(f"largest difference of the twins' answers in scikit-learn: {difference}")
print("left in the folder:", sorted(os.listdir("tmp")) if os.path.isdir("tmp") else [])
sys.exit((a, b, difference) != (0, n, 0.0) or not os.path.exists("tmp/mynet.c"))
PYTHON
