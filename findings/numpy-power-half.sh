#!/usr/bin/env bash
# NumPy 2.4.6, np.power(x, 0.5): for one exponent (a number, or an array that is broadcast) it takes the square root,
# for an array of exponents C's pow. The two differ where C's standard (F.10.4.4) fixes the answer:
#
#     np.power([-inf, -0.0], 0.5)         [nan, -0.0]
#     np.power([-inf, -0.0], [0.5, 0.5])  [inf,  0.0]        as math.pow
#
# So the value of an element depends on the shape of the other operand. Exits 1 if that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import math
import sys

import numpy as np

x = np.array([-np.inf, -0.0])
one, many = np.power(x, 0.5), np.power(x, np.full(2, 0.5))
print("one exponent: ", one)
print("one for each: ", many)
print("C's pow:      ", [math.pow(a, 0.5) for a in x])
seen = np.isnan(one[0]) and np.signbit(one[1]) and many[0] == np.inf and many[1] == 0.0 and not np.signbit(many[1])
sys.exit(0 if seen else 1)
PYTHON
