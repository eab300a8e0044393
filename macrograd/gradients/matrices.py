"""`jacobian` and `hessian`: all first derivatives of all results, and all second derivatives of one, in as few sweeps
as the sparsity pattern allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import Any

from macrograd.gradients.calls import (
    Call,
    Derived,
    call,
    check_function,
    checked_results,
    nested,
    one_scalar,
    positions,
)
from macrograd.gradients.sparsity import colours, members, pattern, star_colours, transposed
from macrograd.ops import sum_
from macrograd.rules import ahead
from macrograd.value import Value

Entries = dict[tuple[int, int], Any]


def jacobian(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns the derivative of every scalar of fn's result with respect to every scalar of an
    argument.

    It has the nesting of fn's result, with the nesting of the argument in place of each scalar (arrays become lists):
    for m numbers computed from a list of n numbers, m lists of n. If `argnums` is a sequence, it is a tuple with one
    such result per argument. The derivatives are plain numbers if fn used only numbers.

    Rows or columns that have no entry in common share a sweep: a tridiagonal Jacobian of any size takes three. Sweeps
    run forward or in reverse, whichever needs fewer.

    Raises TypeError if fn is not a function or its result is not numeric, IndexError if there is no such argument, and
    ValueError if `argnums` is empty or names an argument twice.

    Source: Curtis, Powell & Reid, 1974; Gebremedhin, Manne & Pothen, *What color is your Jacobian?*, SIAM Review, 2005.
    """
    check_function("jacobian", fn)
    return Derived("jacobian", fn, _jacobian, argnums)


def _jacobian(fn: Callable[..., Any], argnums: int | Sequence[int], args: Any, kwargs: dict[str, Any]) -> Any:
    wanted = positions("jacobian", argnums, len(args), kwargs)
    found = call(fn, args, kwargs, wanted)
    checked_results("jacobian", fn, found)
    entries = _first(found)
    found.close()
    each = tuple([_block(found, found.result, 0, k, entries) for k in range(len(wanted))])
    return each[0] if isinstance(argnums, int) else each


def hessian(fn: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """A function that returns fn's second derivatives with respect to the arguments at `argnums`.

    fn must return one scalar. The result has the nesting of the argument, with the same nesting again in place of each
    scalar (arrays become lists): for a list of n numbers, n lists of n. If `argnums` is a sequence, it is a tuple of
    tuples, one block for each pair of arguments. The derivatives are plain numbers if fn used only numbers.

    Each forward sweep over the gradient finds all columns that can be told apart, if necessary by symmetry: a
    tridiagonal Hessian of any size takes three sweeps, an arrowhead two.

    Raises TypeError if fn is not a function or does not return one scalar, IndexError if there is no such argument, and
    ValueError if `argnums` is empty or names an argument twice.

    Source: Coleman & Moré, *Estimation of sparse Hessian matrices and graph coloring problems*, 1984.
    """
    check_function("hessian", fn)
    return Derived("hessian", fn, _hessian, argnums)


def _hessian(fn: Callable[..., Any], argnums: int | Sequence[int], args: Any, kwargs: dict[str, Any]) -> Any:
    wanted = positions("hessian", argnums, len(args), kwargs)
    found = call(fn, args, kwargs, wanted)
    entries = _second(found, one_scalar("hessian", fn, found))
    found.close()
    parts, blocks = found.arguments, range(len(wanted))
    each = tuple([tuple([_block(found, parts[k], found.first[k], m, entries) for m in blocks]) for k in blocks])
    return each[0][0] if isinstance(argnums, int) else each


def _block(found: Call, rows: Any, first_row: int, k: int, entries: Entries) -> Any:
    """The nesting of `rows`, whose scalars are numbered from first_row, with that of argument k in each scalar."""
    row = count(first_row)
    zero = entries[-1, -1]

    def one(_: Any) -> Any:
        i, j = next(row), count(found.first[k])
        return nested(found.arguments[k], lambda _: entries.get((i, next(j)), zero))

    return nested(rows, one)


def _first(found: Call) -> Entries:
    """The structurally nonzero entries of the Jacobian."""
    leaves, results = found.leaves, found.results
    rows = pattern(found.order, leaves, results)
    by_column, columns = colours(rows, len(leaves)), transposed(rows, len(leaves))
    by_row = colours(columns, len(results))
    if len(by_column) <= len(by_row):
        return _ahead(found, found.order, results, rows, by_column)
    entries: Entries = {(-1, -1): found.out(0.0)}
    for group in by_row:
        mine = [results[i] for i in members(group)]
        # Results that share no leaf: the gradient of their sum is that of the only one that depends on the leaf.
        root = mine[0] if len(mine) == 1 else sum_(*mine)
        gradients = found.gradients(root, more=[root] if len(mine) > 1 else [])
        for i in members(group):
            for j in members(rows[i]):
                entries[i, j] = found.out(gradients.get(leaves[j], 0.0))
    return entries


def _second(found: Call, result: Any) -> Entries:
    """The structurally nonzero entries of the Hessian."""
    leaves = found.leaves
    slopes = found.slopes(result)
    order = found.order_of(slopes)
    rows = pattern(order, leaves, slopes)
    # The Hessian is symmetric; the pattern found need not be: of x·detach(y), only the slope by x depends on y.
    symmetric = rows == transposed(rows, len(leaves))
    groups = colours(rows, len(leaves))
    if symmetric:
        groups = min(groups, star_colours(rows), key=len)
    entries = _ahead(found, order, slopes, rows, groups)
    for i, bits in enumerate(rows):
        for j in members(bits):
            if (i, j) not in entries:  # another column of its colour has this row; read the mirrored entry
                entries[i, j] = entries[j, i]
    return entries


def _ahead(found: Call, order: list[Value], results: list[Any], rows: list[int], groups: list[int]) -> Entries:
    """The entries that are alone in their row among the columns of their group, by one forward sweep per group."""
    entries: Entries = {(-1, -1): found.out(0.0)}
    for group in groups:
        tangents: dict[Value, Any] = {found.leaves[j]: 1.0 for j in members(group)}
        ahead(order, tangents, found.numbers)
        for i, bits in enumerate(rows):
            mine = bits & group
            if mine and not mine & (mine - 1):
                entries[i, mine.bit_length() - 1] = found.out(tangents.get(results[i], 0.0))
    return entries
