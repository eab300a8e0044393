"""Five small synthetic data sets, returned as NumPy arrays, and sequences packed into rows.

`make_moons`, `make_circles` and `make_blobs` return the same bits as scikit-learn's functions of the same names for
the same arguments and seed; `make_spirals` and `make_xor` exist only here. For tables from files see
`macrograd.tables`.
"""

from __future__ import annotations

from macrograd.datasets.packing import Packed, packed
from macrograd.datasets.synthetic import make_blobs, make_circles, make_moons, make_spirals, make_xor

__all__ = ["Packed", "make_blobs", "make_circles", "make_moons", "make_spirals", "make_xor", "packed"]
