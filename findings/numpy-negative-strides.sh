#!/usr/bin/env bash
# NumPy 2.4.6, np.negative with an `out` array, where the operand's elements are 64 bytes apart (float64; 16 bytes for
# float32) and the result's not side by side: it reads neighbours instead, on a processor with AVX-512.
#
#     a = np.arange(1.0, 61.0); np.negative(a[2:11:8], out=a[40:43:2])      [-3, -4] instead of [-3, -11]
#
# No other function of one operand does: absolute, sqrt, floor, exp and tanh are tried beside it. Exits 1 if that has
# changed, or the processor has no AVX-512.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np


def computed(function, dtype, step):
    a = np.arange(1.0, 61.0).astype(dtype)
    x, out = a[2 : 3 + step : step], a[40:43:2]
    function(x, out=out)
    return out.tolist(), function(x.copy()).tolist()


seen = True
for dtype, step in ((np.float64, 8), (np.float32, 4)):
    found, right = computed(np.negative, dtype, step)
    print(dtype.__name__, "negative:", found, "should be", right)
    seen &= found != right
    for function in (np.absolute, np.sqrt, np.floor, np.exp, np.tanh):
        found, right = computed(function, dtype, step)
        seen &= bool(np.allclose(found, right))
sys.exit(0 if seen else 1)
PYTHON
