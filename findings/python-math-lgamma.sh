#!/bin/sh
# CPython's math.lgamma is not the C library's: it is Lanczos' approximation in double precision, whose error is small
# beside 1 but not beside the result. Near the zeros at 1 and 2 it is off by millions of units in the last place, where
# the C library's own lgamma (which the same process can call) is off by about one.
#
# Seen with CPython 3.11 on glibc 2.36, mpmath 1.3.0:
#     math.lgamma(1.0000001)  relative error 6.9e-09
#     libm lgamma(1.0000001)  relative error 1.0e-17
#
# Therefore macrograd's lgamma is its own formula, on floats too. Exits 1 if math.lgamma has become as good as libm's.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet mpmath==1.3.0
"$folder/venv/bin/python" - <<'PROGRAM'
import ctypes
import ctypes.util
import math
import sys

import mpmath

mpmath.mp.dps = 50
libm = ctypes.CDLL(ctypes.util.find_library("m"))
libm.lgamma.restype, libm.lgamma.argtypes = ctypes.c_double, [ctypes.c_double]
worst = {"math.lgamma": 0.0, "libm lgamma": 0.0}
for x in (1.0000001, 1.00001, 1.9999999, 2.0000001, 2.00001):
    exact = mpmath.loggamma(mpmath.mpf(x))
    for name, found in (("math.lgamma", math.lgamma(x)), ("libm lgamma", libm.lgamma(x))):
        error = float(abs((mpmath.mpf(found) - exact) / exact))
        worst[name] = max(worst[name], error)
        print(f"{name}({x!r}) relative error {error:.1e}")
print(worst)
sys.exit(0 if worst["math.lgamma"] > 1e-12 > worst["libm lgamma"] else 1)
PROGRAM
