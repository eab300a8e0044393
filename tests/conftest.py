"""What all tests share: Hypothesis draws the same examples in every run, and nothing opens a window."""

import os

from hypothesis import settings

os.environ.setdefault("MPLBACKEND", "Agg")

settings.register_profile("macrograd", deadline=None, derandomize=True)
settings.load_profile("macrograd")
