"""Which derivatives are structurally zero, and how few sweeps find the others.

Columns of a Jacobian that share no row can be found in one sweep, along the sum of their directions: each entry of the
result belongs to exactly one of them. Such sets are the colours of a colouring in which columns that share a row
differ; a greedy colouring takes the first free colour.

Sources: Curtis, Powell & Reid, *On the estimation of sparse Jacobian matrices*, 1974; Coleman & Moré, *Estimation of
sparse Hessian matrices and graph coloring problems*, 1984; Gebremedhin, Manne & Pothen, *What color is your Jacobian?*,
SIAM Review 47, 2005, algorithms 3.1 and 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from macrograd.ops import Op
from macrograd.rules import reaches
from macrograd.value import Value


def pattern(order: Iterable[Value], leaves: Sequence[Value], results: Sequence[Any]) -> list[int]:
    """For each result, the leaves on which it may depend, as a bit set: bit j for leaf j."""
    known = {x: 1 << j for j, x in enumerate(leaves)}
    get = known.get
    reached_by: dict[Op, tuple[bool, ...]] = {}
    for node in order:
        op = node.op
        assert op is not None
        if op not in reached_by:
            reached_by[op] = reaches(op)
        reached = reached_by[op]
        bits = 0
        for k, x in enumerate(node.inputs):
            if reached[op.slot(k)]:
                bits |= get(x, 0)
        known[node] = bits
    return [get(x, 0) if isinstance(x, Value) else 0 for x in results]


def transposed(rows: Sequence[int], columns: int) -> list[int]:
    """The pattern by columns: bit i of column j where row i has bit j."""
    found = [0] * columns
    for i, bits in enumerate(rows):
        for j in members(bits):
            found[j] |= 1 << i
    return found


def colours(rows: Sequence[int], columns: int) -> list[int]:
    """The columns grouped into sets without a common row, each as a bit set; empty columns are left out."""
    if any(bits == (1 << columns) - 1 for bits in rows):  # a full row: no two columns can share a colour
        return [1 << j for j in range(columns)]
    at_row = [0] * len(rows)  # the colours that a row has already, as bits
    found: list[int] = []
    for j, column in enumerate(transposed(rows, columns)):
        taken = 0
        for i in members(column):
            taken |= at_row[i]
        if column:
            colour = _put(found, taken, j)
            for i in members(column):
                at_row[i] |= colour
    return found


def star_colours(rows: Sequence[int]) -> list[int]:
    """The columns of a symmetric pattern, grouped so that each entry or its mirror image can be read off.

    Two neighbours differ, and so do the ends of a path of three whose middle comes later or has the larger colour.
    Columns with many entries come first: they get separate colours, and the others can share.
    """
    n = len(rows)
    off_diagonal = [bits & ~(1 << j) for j, bits in enumerate(rows)]
    if all(bits == (1 << n) - 1 for bits in rows):
        return [1 << j for j in range(n)]
    around = [0] * n  # the colours of a column's neighbours, as bits
    mine = [0] * n  # a column's own colour, as one bit; 0 while it has none
    found: list[int] = []
    for j in sorted(range(n), key=lambda j: -rows[j].bit_count()):
        if not rows[j]:
            continue
        taken = 0
        for w in members(off_diagonal[j]):
            taken |= mine[w] | (around[w] & (mine[w] - 1) if mine[w] else around[w])
        mine[j] = _put(found, taken, j)
        for w in members(off_diagonal[j]):
            around[w] |= mine[j]
    return found


def _put(groups: list[int], taken: int, j: int) -> int:
    """Give column j the first colour that is not taken, and return it as a single bit."""
    colour = ~taken & (taken + 1)
    k = colour.bit_length() - 1
    if k == len(groups):
        groups.append(0)
    groups[k] |= 1 << j
    return colour


def members(bits: int) -> Iterator[int]:
    """The positions of the bits that are set, ascending."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
