"""GradBench's tool for JAX, made to wait for its results: `python waiting_jax.py PATH/tools/jax/run.py`.

The tool stops its clock when a call returns, and JAX returns before the result is there: a gradient that takes 30
milliseconds is reported with 12 microseconds.
"""

import runpy
import sys
from pathlib import Path

import jax
from gradbench import wrap

timed = wrap.multiple_runs


def waiting(**options):
    decorated = timed(**options)
    return lambda function: decorated(lambda given: jax.block_until_ready(function(given)))


wrap.multiple_runs = waiting
path = sys.argv.pop(1)
sys.path[0] = str(Path(path).parent)
runpy.run_path(path, run_name="__main__")
