"""Data to learn from: five small made ones. Everything comes as NumPy arrays.

`make_moons`, `make_circles` and `make_blobs` give the same bits as scikit-learn's functions of these names do for the
same arguments and seed; `make_spirals` and `make_xor` are macrograd's own. Tables from files are `macrograd.tables`.
"""

from __future__ import annotations

from macrograd.datasets.synthetic import make_blobs, make_circles, make_moons, make_spirals, make_xor

__all__ = ["make_blobs", "make_circles", "make_moons", "make_spirals", "make_xor"]
