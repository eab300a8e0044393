"""The tape: the scalar intermediate representation that the passes hand on.

A tape is in static single assignment form: entry `i` names an operation and its operands, which are entries before it.

    tape      ::= entry* "return" operand*
    entry     ::= "%"id "=" ( leaf | operation )
    leaf      ::= "parameter" k | "input" k | "uniform" k | "constant" number
    operation ::= opname operand*          the names of macrograd.ops, or "reduce"
                | "scatter" k (operand operand)+
                | "call" k operand* | "out" operand operand
    operand   ::= "%"id

`parameter k` is the k-th leaf Value that the traced function closed over, `input k` the k-th scalar of its arguments,
`uniform k` the k-th scalar of those arguments that are the same for all samples.
`reduce` is the sum over the batch: the only operation that combines samples, except for `scatter k i₀ g₀ i₁ g₁ …`, the
sum of all g whose index i equals k, also over the batch if one of them varies over it. `call k` runs the k-th section
(`macrograd.compiler.sections`) on its operands, and `out c j` is result j of the call c, for a constant j. `sum` and
`dot` take any number of operands; the operands of `dot` are pairs (a₀ b₀ a₁ b₁ …), its value a₀·b₀ + a₁·b₁ + … from
left to right.

The tape is stored as flat arrays, so that passes are array operations. Their numbers have no more bits than needed: a
pass over a long tape takes as long as reading it from memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.tape import walks

PARAMETER, INPUT, CONSTANT, REDUCE, SCATTER, UNIFORM, CALL, OUT = -1, -2, -3, -4, -5, -6, -7, -8
_PSEUDO = {
    PARAMETER: "parameter",
    INPUT: "input",
    CONSTANT: "constant",
    REDUCE: "reduce",
    SCATTER: "scatter",
    UNIFORM: "uniform",
    CALL: "call",
    OUT: "out",
}
AT_ONCE = 1 << 14  # indices looked up together
_WITH_NUMBER = (SCATTER, CALL)
_NUMBERED = (PARAMETER, INPUT, UNIFORM)
_BY_NAME = {name: code for code, name in _PSEUDO.items()} | {
    op.name: op.code for op in ops.TABLE if op.name != "constant"
}

Ints = NDArray[np.signedinteger[Any]]
MOST = 1 << 29  # entries or operands of a tape: sums of a few of their numbers have 32 bits, too


# What float32 rounds to 0, up to the first, and to an infinity, from the second on.
SINGLE_ENDS = 2.0**-150, 2.0**128 - 2.0**103


class TapeError(ValueError):
    """A tape that breaks the grammar or an invariant: always a bug in a pass, never the user's fault."""


@dataclass(frozen=True)
class Tape:
    """Entries as arrays.

    code     (n,)   int16: the operation of each entry, an `Op.code` or one of the pseudo-codes above
    start    (n+1,) int32: operands of entry i are operand[start[i]:start[i+1]]
    operand  (m,)   int32: ids of operands
    leaf     (n,)   number of a parameter or input, value of a constant, k of a scatter or call; 0 elsewhere
    results  (r,)   int64: ids of the results
    """

    code: Ints
    start: Ints
    operand: Ints
    leaf: NDArray[np.float64]
    results: Ints

    def __len__(self) -> int:
        return len(self.code)

    def operands(self, i: int) -> Ints:
        return self.operand[self.start[i] : self.start[i + 1]]

    @property
    def arity(self) -> Ints:
        found: Ints = self.start[1:] - self.start[:-1]  # np.diff takes several times as long for a short tape
        return found

    @property
    def owner(self) -> Ints:
        """For each operand, the entry that uses it."""
        if len(self) <= AT_ONCE:
            return np.repeat(np.arange(len(self), dtype=np.int32), self.arity)
        found = np.empty(len(self.operand), dtype=np.int32)
        for begin in range(0, len(self), AT_ONCE):  # NumPy makes a copy of the counts with 64 bits
            start = self.start[begin : begin + AT_ONCE + 1]
            some = np.arange(begin, begin + len(start) - 1, dtype=np.int32)
            found[start[0] : start[-1]] = np.repeat(some, np.diff(start))
        return found

    def __str__(self) -> str:
        return "\n".join([*self._lines(), " ".join(["return", *(f"%{r}" for r in self.results)])])

    def _lines(self) -> Iterator[str]:
        operand, end = [f"%{x}" for x in self.operand.tolist()], self.start[1:].tolist()
        begin = 0
        for i, (code, leaf) in enumerate(zip(self.code.tolist(), self.leaf.tolist(), strict=True)):
            if code == CONSTANT:
                rest = f"constant {leaf!r}"
            elif code in _NUMBERED:
                rest = f"{_PSEUDO[code]} {int(leaf)}"
            else:
                number = [str(int(leaf))] if code in _WITH_NUMBER else []
                rest = " ".join([name_of(code), *number, *operand[begin : end[i]]])
            begin = end[i]
            yield f"%{i} = {rest}"


def name_of(code: int) -> str:
    return _PSEUDO[code] if code < 0 else ops.TABLE[code].name


class TapeBuilder:
    """Collects entries one by one."""

    def __init__(self) -> None:
        self.code: list[int] = []
        self.end: list[int] = [0]
        self.operand: list[int] = []
        self.leaf: list[float] = []

    def add(self, code: int, operands: Sequence[int] = (), leaf: float = 0.0) -> int:
        self.code.append(code)
        self.operand.extend(operands)
        self.end.append(len(self.operand))
        self.leaf.append(leaf)
        return len(self.code) - 1

    def build(self, results: Sequence[int]) -> Tape:
        return make(self.code, self.end, self.operand, self.leaf, results)


def make(code: Any, start: Any, operand: Any, leaf: Any, results: Any) -> Tape:
    """The tape of these columns. Raises OverflowError for one that is too long."""
    if max(len(code), len(operand)) >= MOST:
        raise OverflowError(
            f"the recorded program has {len(code):,} scalars with {len(operand):,} operands, and may have {MOST:,}: "
            "write its loops as mg.loop, whose body is recorded once"
        )
    return Tape(
        np.asarray(code, dtype=np.int16),
        np.asarray(start, dtype=np.int32),
        np.asarray(operand, dtype=np.int32),
        np.asarray(leaf, dtype=np.float64),
        np.asarray(results, dtype=np.int64),
    )


def parse(text: str) -> Tape:
    """The tape that prints as `text`. Raises TapeError, naming the line that does not fit the grammar."""
    builder = TapeBuilder()
    results: list[int] | None = None
    for number, line in enumerate(text.strip().splitlines(), 1):
        words = line.split()
        try:
            if words[0] == "return":
                results = [_reference(word) for word in words[1:]]
                continue
            if _reference(words[0]) != len(builder.code) or words[1] != "=":
                raise ValueError("entries are numbered from 0 and written %id = …")
            code = _BY_NAME[words[2]]
            if code in (*_NUMBERED, CONSTANT):
                builder.add(code, leaf=float(words[3]))
            elif code in _WITH_NUMBER:
                builder.add(code, [_reference(word) for word in words[4:]], float(words[3]))
            else:
                builder.add(code, [_reference(word) for word in words[3:]])
        except (KeyError, IndexError, ValueError) as error:
            raise TapeError(f"line {number} does not fit the tape's grammar: {line.strip()!r} ({error})") from error
    if results is None:
        raise TapeError("a tape ends with a line: return %id …")
    return builder.build(results)


def _reference(word: str) -> int:
    if not word.startswith("%"):
        raise ValueError(f"{word!r} is not an operand like %3")
    return int(word[1:])


def verify(tape: Tape) -> Tape:
    """Return the tape if it is valid: operands exist and precede their uses, arities fit, leaves have no operands,
    results exist."""
    n = len(tape)
    if len(tape.start) != n + 1 or len(tape.leaf) != n or tape.start[0] != 0 or tape.start[-1] != len(tape.operand):
        raise TapeError(f"the arrays do not match: {n} entries, {len(tape.operand)} operands")
    arity = tape.arity
    if n and arity.min() < 0:
        raise TapeError(f"entry {int(arity.argmin())} has a negative number of operands")
    wrong = np.flatnonzero((tape.operand < 0) | (tape.operand >= tape.owner))
    if len(wrong):
        entry = int(tape.owner[wrong[0]])
        raise TapeError(f"entry %{entry} uses %{tape.operand[wrong[0]]}, which does not come before it")
    for code in distinct(tape.code).tolist():
        if code not in _PSEUDO and not 0 <= code < len(ops.TABLE):
            raise TapeError(f"code {code} is not an operation")
        found = arity[tape.code == code]
        pseudo = {REDUCE: 1, SCATTER: None, CALL: None, OUT: 2}
        expected = pseudo.get(code, 0) if code < 0 else ops.TABLE[code].arity
        if expected is None:
            least, step = (2, 2) if code in (ops.dot.code, SCATTER) else (1, 1) if code != CALL else (0, 1)
            fits = (found >= least) & (found % step == 0)
        else:
            fits = found == expected
        if not fits.all():
            entry = int(np.flatnonzero(tape.code == code)[~fits][0])
            raise TapeError(f"entry %{entry} = {name_of(code)} has {arity[entry]} operands")
    if len(tape.results) and not ((tape.results >= 0) & (tape.results < n)).all():
        raise TapeError(f"a result is outside the tape's {n} entries: {tape.results.tolist()}")
    return tape


def ranges(starts: Ints, lengths: Ints) -> Ints:
    """The concatenation of start, start + 1, …, start + length - 1 over all pairs."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if len(ends) else 0
    found: Ints = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
    return found


def at(column: NDArray[Any], index: Ints) -> NDArray[Any]:
    """column[index], some thousands at a time: of indices with 32 bits NumPy makes a copy with 64."""
    if len(index) <= AT_ONCE:
        return column[index]
    found = np.empty(len(index), dtype=column.dtype)
    for begin in range(0, len(index), AT_ONCE):
        some = slice(begin, begin + AT_ONCE)
        found[some] = column[index[some]]
    return found


def put(column: NDArray[Any], index: Ints, values: NDArray[Any]) -> None:
    """column[index] = values, some thousands at a time."""
    for begin in range(0, len(index), AT_ONCE):
        some = slice(begin, begin + AT_ONCE)
        column[index[some]] = values[some]


def select(tape: Tape, keep: NDArray[np.bool_]) -> Tape:
    """The tape of the entries kept, renumbered. These must use only entries that are kept."""
    number: Ints = np.cumsum(keep, dtype=np.int32)
    number -= 1
    start, operand = walks.picked(tape.start[:-1][keep], tape.arity[keep], tape.operand, number)
    return make(tape.code[keep], start, operand, tape.leaf[keep], number[tape.results])


def reached(tape: Tape) -> NDArray[np.bool_]:
    """Which entries the results depend on."""
    return walks.reached(tape.start, tape.operand, tape.results)


def operations(tape: Tape) -> set[int]:
    """The codes that occur on the tape."""
    least = min(_PSEUDO)
    return {code + least for code in np.flatnonzero(np.bincount(tape.code - np.int16(least))).tolist()}


def distinct(x: Ints) -> Ints:
    """The distinct numbers of x, sorted. (np.unique would import numpy.ma, which takes longer than compiling most
    programs.)"""
    x = np.sort(x)
    different = np.ones(len(x), dtype=bool)
    different[1:] = x[1:] != x[:-1]
    return x[different]


def once(x: Ints, most: int) -> Ints:
    """The distinct numbers of x, all below `most`, in order of their first places."""
    first = np.empty(most, dtype=np.int32)
    for begin in reversed(range(0, len(x), AT_ONCE)):
        some = x[begin : begin + AT_ONCE]
        first[some[::-1]] = np.arange(begin, begin + len(some))[::-1]  # the first place is written last and stays
    found: Ints = x[at(first, x) == np.arange(len(x), dtype=np.int32)]
    return found


def among(x: Ints, few: Iterable[int]) -> NDArray[np.bool_]:
    """Which of the numbers x are among a few. (np.isin would import numpy.ma too.)"""
    found = np.zeros(np.shape(x), dtype=bool)
    for number in few:
        found |= x == number
    return found


def number_parameters(tape: Tape) -> tuple[Tape, Ints]:
    """The tape with its parameters numbered in order of first use, sums read from left to right, and the old number for
    each new one. Unused parameters are dropped."""
    mine = tape.code == PARAMETER
    used = tape.operand[at(mine, tape.operand)]
    ids = once(np.append(used, tape.results[mine[tape.results]].astype(np.int32)), len(tape))
    old = tape.leaf[ids].astype(np.int64)
    keep = ~mine
    keep[ids] = True
    leaf = tape.leaf.copy()
    leaf[ids] = np.arange(len(ids))
    tape = replace(tape, leaf=leaf)
    return (tape if keep.all() else select(tape, keep)), old


def given(tape: Tape) -> NDArray[np.bool_]:
    """Which entries are set by the caller and may have any value."""
    return among(tape.code, _NUMBERED)


def count_given(tape: Tape, code: int) -> int:
    """How many scalars of this kind of leaf a call gives. The last of them is on the tape, and of the others those that
    it uses: of an array that a loop reads, not all may be there."""
    mine = tape.leaf[tape.code == code]
    return int(mine.max()) + 1 if len(mine) else 0


def finite(numbers: Any) -> NDArray[np.bool_]:
    """Which numbers are finite in float32, too: programs of both types are made from one tape."""
    found: NDArray[np.bool_] = np.abs(numbers) < SINGLE_ENDS[1]
    return found


def kinds(tape: Tape, *, batch: bool) -> NDArray[np.bool_]:
    """Which entries vary over the batch: with a batch, the inputs and everything computed from them, up to `reduce`."""
    if not batch or not len(tape):
        return np.zeros(len(tape), dtype=bool)
    varying = (tape.code == INPUT).astype(np.int32)
    ends = -((tape.code < 0) & (tape.code > CALL)).astype(np.int32)  # −1 for a sum over the batch: it never varies
    return walks.longest(tape.start, tape.operand, varying, ends) > 0


def levels(tape: Tape) -> Ints:
    """The length of the longest path from the leaves to each entry; 0 for leaves."""
    computed = (tape.arity > 0).astype(np.int32)
    return walks.longest(tape.start, tape.operand, np.zeros_like(computed), computed)
