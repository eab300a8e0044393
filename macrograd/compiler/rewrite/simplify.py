"""Simplify: rewritings of the tape that keep every value, NaN, infinity and signed zero.

Each rewriting is a function from tape to tape with its equation and domain in its docstring; `simplify` runs them to a
fixed point. None of them changes the rounding of the program, except `chains` outside strict mode, which may regroup a
sum (the `reassoc` and `contract` documented in `macrograd.compile`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.rewrite.chains import chains
from macrograd.compiler.rewrite.constants import fold_constants
from macrograd.compiler.rewrite.gates import without_gates
from macrograd.compiler.rewrite.identities import identities, without_detach
from macrograd.compiler.rewrite.matching import replaced
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape import walks
from macrograd.compiler.tape.tape import Tape

_MOST_ROUNDS = 8
Bools = NDArray[np.bool_]


def simplify(
    tape: Tape,
    *,
    strict: bool = False,
    single: bool = False,
    final: bool = True,
    check: Callable[[Tape], Tape] = lambda tape: tape,
) -> Tape:
    """Fold, merge and drop until nothing changes, then chain sums of products.

    `final` means that no differentiation follows, so that `detach` is no longer needed; `single` that constants are
    folded as a float32 program would compute them.
    """
    # Gates before differentiation come from `macrograd.grad` in the function; those of `differentiate` are needed.
    cheap: list[Callable[[Tape], Tape]] = [
        partial(fold_constants, strict=strict, single=single), identities, without_detach if final else without_gates,
    ]  # fmt: skip

    def changes(rewrite: Callable[[Tape], Tape]) -> bool:
        nonlocal tape
        before, tape = tape, check(rewrite(tape))
        return tape is not before

    for k in range(_MOST_ROUNDS):
        rounds = 0
        while rounds < _MOST_ROUNDS and sum(map(changes, cheap)):
            rounds += 1
        if k and not rounds:
            break  # merging finishes in one go, and only these could create more work for it
        if not sum(map(changes, (merge_equal, drop_dead))):
            break
    for rewrite in (lambda tape: chains(tape, strict=strict), drop_dead, merge_equal, drop_dead):
        changes(rewrite)
    return tape


def merge_equal(tape: Tape) -> Tape:
    """f(x) and f(x) are one entry, and then f(g(x)) and f(g(x)); constants are compared by their bits."""
    return replaced(tape, walks.first_equals(tape.code, tape.leaf.view(np.int64), tape.start, tape.operand))


def drop_dead(tape: Tape) -> Tape:
    """Remove entries that no result depends on; parameters and inputs stay, because the caller numbers them."""
    keep = tapes.reached(tape) | tapes.given(tape)
    return tape if keep.all() else tapes.select(tape, keep)


def own_results(tape: Tape) -> Tape:
    """A result that is a leaf, or the same entry as an earlier result, becomes a separate entry, detach(x) = x."""
    first = np.empty(len(tape), dtype=np.int32)
    number = np.arange(len(tape.results), dtype=np.int32)
    first[tape.results[::-1]] = number[::-1]  # of several the first is written last and stays
    shared = first[tape.results] != number
    shared |= tape.arity[tape.results] == 0
    count = int(shared.sum())
    if not count:
        return tape
    results = tape.results.copy()
    results[shared] = len(tape) + np.arange(count)
    return tapes.make(
        np.concatenate([tape.code, np.full(count, ops.detach.code)]),
        np.concatenate([tape.start, tape.start[-1] + 1 + np.arange(count)]),
        np.concatenate([tape.operand, tape.results[shared]]),
        np.concatenate([tape.leaf, np.zeros(count)]),
        results,
    )


def takes_of_one_kind(tape: Tape, varies: Bools) -> Tape:
    """take(i, u, v) = take(i, where(v, u, u), v) for u that is the same for all samples and v that is not: then all
    values of a `take` are in one space."""
    takes = np.flatnonzero(tape.code == ops.take.code)
    mixed = {i for i in takes.tolist() if len(set(varies[tape.operands(i)[1:]].tolist())) == 2}
    if not mixed:
        return tape
    builder = tapes.TapeBuilder()
    number: list[int] = []
    for i, code in enumerate(tape.code.tolist()):
        operands = [number[k] for k in tape.operands(i)]
        if i in mixed:
            values = tape.operands(i)[1:]
            varying = number[values[varies[values]][0]]
            same = dict.fromkeys(number[v] for v in values[~varies[values]])
            lifted = {k: builder.add(ops.where.code, [varying, k, k]) for k in same}
            operands[1:] = [lifted.get(k, k) for k in operands[1:]]
        number.append(builder.add(code, operands, float(tape.leaf[i])))
    return builder.build([number[r] for r in tape.results])
