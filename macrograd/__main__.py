"""`python -m macrograd` is the command `macrograd`."""

import sys

from macrograd.cli import main

if __name__ == "__main__":
    sys.exit(main())
