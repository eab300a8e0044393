#!/usr/bin/env bash
# JAX 0.10.2, jax_cpu_enable_async_dispatch: JAX's options are read from environment variables of the same name, as
# JAX_ENABLE_X64=1 is. JAX_CPU_ENABLE_ASYNC_DISPATCH=false is not: the option stays True, without a warning, and a
# call of a jitted function still returns before its result is there (0.1 ms for work of 180 ms). Only
# jax.config.update("jax_cpu_enable_async_dispatch", False) is heard. Who stops a clock when the call returns, with
# this variable set, measures the dispatch.
#
#     jax_enable_x64 by environment:                True  (default False)
#     jax_cpu_enable_async_dispatch by environment: True  (asked for False)
#     after config.update:                          False
#
# Exits 1 if that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check jax==0.10.2 jaxlib==0.10.2
JAX_PLATFORMS=cpu JAX_ENABLE_X64=1 JAX_CPU_ENABLE_ASYNC_DISPATCH=false "$folder/venv/bin/python" - <<'PYTHON'
import sys

import jax

jax.numpy.zeros(1)  # all options are declared once the backend is there
wide, waits = jax.config.values["jax_enable_x64"], jax.config.values["jax_cpu_enable_async_dispatch"]
jax.config.update("jax_cpu_enable_async_dispatch", False)
updated = jax.config.values["jax_cpu_enable_async_dispatch"]
print("jax_enable_x64 by environment:               ", wide)
print("jax_cpu_enable_async_dispatch by environment:", waits)
print("after config.update:                         ", updated)
sys.exit(0 if (wide, waits, updated) == (True, True, False) else 1)
PYTHON
