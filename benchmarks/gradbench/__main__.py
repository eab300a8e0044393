"""`python -m benchmarks.gradbench` answers GradBench's messages on its standard streams."""

import sys

from benchmarks.gradbench.protocol import responses

for response in responses(sys.stdin):
    print(response, flush=True)
