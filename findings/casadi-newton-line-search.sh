#!/usr/bin/env bash
# CasADi 3.8.2, rootfinder("newton"): with its defaults it fails on two equations on which Newton's method without any
# safeguard converges. Its line search (line_search, on by default) is meant to make it more robust. The equations are
# one step of the implicit Euler method of Robertson's reaction, with the second row scaled to the size of the first:
#
#     default options:      failed: rootfinder process failed
#     line_search = False:  [0.9531, 2.87e-05], residual 1e-7 where the terms are of size 1e4
#
# Exits 1 if that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check casadi==3.8.2
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import casadi

y, old = casadi.SX.sym("y", 2), casadi.DM([0.972578181, 3.17362292e-05])
step = 0.7901941466842
first = -0.04 * y[0] + 1e4 * y[1] * (1 - y[0] - y[1])
change = casadi.vertcat(first, -first - 3e7 * y[1] ** 2)
residual = casadi.DM([1.0, 1e5]) * (y - old - step * change)
error = casadi.Function("error", [y], [residual])


def solved(**options):
    solver = casadi.rootfinder("solver", "newton", {"x": y, "g": residual}, options)
    try:
        found = solver(x0=old)["x"]
    except RuntimeError as failure:
        return None, str(failure).strip().splitlines()[-1]
    return found, float(casadi.norm_inf(error(found)))


plain, careful = solved(line_search=False), solved()
print("default options:    ", careful)
print("line_search = False:", plain)
sys.exit(0 if careful[0] is None and plain[0] is not None and plain[1] < 1e-6 else 1)
PYTHON
