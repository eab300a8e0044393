"""Make every reference file of the tests anew: runs the scripts beside it whose names end in `_reference.py`.

The files hold what other programs answer (PyTorch, scikit-learn, micrograd), so that the tests need none of these
installed. The scripts run in an environment of their own, made from `requirements.txt`; `make references` does both.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main() -> None:
    for script in sorted(Path(__file__).parent.glob("*_reference.py")):
        print(script.name, flush=True)
        subprocess.run([sys.executable, str(script)], check=True)


if __name__ == "__main__":
    main()
