"""Compact: a loop writes again, in every round, the slots that only the same round or the next ones read.

A tape has every value once, and so a rolled loop of n rounds has n slots for each of its values. A derivative reads
them all on its way back. A program of values alone needs those of the latest rounds, and whatever is read after the
loop: the other slots are replaced by a *window*, the same for all rounds, so that memory does not grow with the rounds
and stays in the cache.

    before the loop   what the first rounds read from before it is copied into the window
    in the loop       operands have the same places in the window in every round; at the end of a round, values that the
                      next ones read move on by one
    after the loop    what is read of the last round is copied to where it would be

Slots that nothing touches any more are removed. Operands keep their form, so that whatever is read as an array is one.
"""

from __future__ import annotations

from dataclasses import field, replace

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.program.copies import copies
from macrograd.compiler.program.folds import in_columns
from macrograd.compiler.program.gaps import without_gaps
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Step
from macrograd.compiler.program.program import Program, counted
from macrograd.compiler.program.stripes import in_stripes
from macrograd.compiler.program.touches import MOST_SLOTS, Touch, Touches, touched
from macrograd.compiler.program.walk import loops_of
from macrograd.compiler.tape.tape import Ints, distinct

LEAST = 4096  # slots that a window must save
_MOST_LAGS = 4  # rounds that a value may move on
_NEAR = 1024  # slots between two that one copy may span
_ROOM = 4  # times the slots in use that a window may take

Place = tuple[str, int]
Family = tuple[str, int]  # a space, and the slots that an operand moves per round


def with_few_slots(program: Program, least: int = LEAST) -> Program:
    """The program in stripes (`stripes.py`), its folds in columns (`folds.py`), and then compact; once it is, it stays
    as it is."""
    return program if program.reused else compact(in_columns(in_stripes(program)), least)


def compact(program: Program, least: int = LEAST) -> Program:
    """The program with windows in place of slots wherever that saves at least `least` of them."""
    if program.streams() or any(_guarded(step) for step in program.steps()):
        return program
    loops = [loop for step in program.steps() for loop in loops_of(step)]
    if not any(loop.count > 2 * _MOST_LAGS for loop in loops):
        return program
    size = {"u": program.uniform, "v": program.varying}
    reused = list(program.reused)
    outside = Touches(program)
    phases: dict[str, tuple[Step, ...]] = {}
    for name, steps in program.phases():
        found: list[Step] = []
        for step in steps:
            loop = next(iter(loops_of(step)), None)
            windows = None if loop is None else _Windows(loop, name, outside, least)
            if windows is None or not windows.chosen:
                found.append(step)
                continue
            found += windows.steps(size)
            reused += windows.reused
        phases[name] = tuple(found)
    if len(reused) == len(program.reused):
        return program
    made = replace(
        program,
        before=phases["before"],
        block=phases["block"],
        after=phases["after"],
        uniform=size["u"],
        varying=size["v"],
        reused=tuple(reused),
    )
    return without_gaps(made)


def _guarded(step: Step) -> bool:
    loops = list(loops_of(step))
    for loop in loops:
        loops += [inner for x in loop.body for inner in loops_of(x)]
    return any(loop.guard is not None for loop in loops)


# --- the windows of a loop -------------------------------------------------------------------------------------------


@dataclass
class _Family:
    """Operands of one space that move alike: the slots of each in the first round, and those that are written."""

    reads: list[Ints] = field(default_factory=list)
    writes: list[Ints] = field(default_factory=list)


class _Windows:
    """The windows for one of the outermost loops of a program. `chosen` are their offsets from the slots of the first
    round."""

    def __init__(self, loop: Loop, phase: str, outside: Touches, least: int) -> None:
        self.loop, self.phase = loop, phase
        self.chosen: dict[tuple[str, int, int], int] = {}  # by space, shift and slot: the window's number
        self.windows: list[tuple[str, int, int, int]] = []  # space, shift, first slot, length
        self.lags: dict[tuple[str, int], dict[int, int]] = {}  # of each slot that is written, the most rounds later
        self.last: dict[tuple[str, int], set[int]] = {}  # slots of which the last round is read after the loop
        self.reused: list[tuple[str, int, int]] = []
        self._offset: list[int] = []
        if loop.count <= 2 * _MOST_LAGS:
            return
        families = self._families()
        if families is None:
            return
        inside = [
            (x.space, x.shifts[0], Touch.of(x, instruction.dims, count, rounds))
            for instruction, rounds in counted(loop)
            for x, count in (*instruction.operands(), (instruction.out, 1))
            if isinstance(x, Index)
        ]
        for (space, shift), family in families.items():
            if shift and family.writes and (space == "v" or phase != "block"):
                others = [touch for where, moves, touch in inside if where == space and moves != shift]
                self._choose((space, shift), family, [*others, *outside.of(loop, space)], others, least)

    def _families(self) -> dict[Family, _Family] | None:
        found: dict[Family, _Family] = {}
        total = 0
        for instruction, rounds in counted(self.loop):
            for x, count in (*instruction.operands(), (instruction.out, 1)):
                if not isinstance(x, Index):
                    continue
                touch = Touch.of(x, instruction.dims, count, (1, *rounds[1:]))
                total += touch.size()
                if total > MOST_SLOTS:
                    return None
                family = found.setdefault((x.space, x.shifts[0]), _Family())
                (family.writes if x is instruction.out else family.reads).append(distinct(touch.all().ravel()))
        return found

    def _choose(self, key: Family, family: _Family, touches: list[Touch], inside: list[Touch], least: int) -> None:
        shift, count = key[1], self.loop.count
        columns = distinct(np.concatenate(family.writes))
        before, last = touched(touches, columns, shift, count)
        in_body, in_last = touched(inside, columns, shift, count)
        kept = before | in_body | in_last
        lags = np.zeros(len(columns), dtype=np.int64)
        operands: list[tuple[Ints, bool]] = [(np.searchsorted(columns, slots), True) for slots in family.writes]
        places = [*family.writes]
        for slots in family.reads:
            which, lag = np.full(len(slots), -1), np.zeros(len(slots), dtype=np.int64)
            for k in range(_MOST_LAGS, -1, -1):
                at = np.minimum(np.searchsorted(columns, slots + k * shift), len(columns) - 1)
                hit = columns[at] == slots + k * shift
                which[hit], lag[hit] = at[hit], k
            own = which >= 0
            # A slot that is written more rounds before it is read.
            far = touched([Touch(slots[~own], ((shift, count),))], columns, shift, count) if (~own).any() else None
            if far is not None:
                kept |= far[0] | far[1]
            if own.any():
                np.maximum.at(lags, which[own], lag[own])
                operands.append((which[own], bool(own.all())))
                places.append(slots)
        while True:  # an operand is in a window, or not, as a whole
            more = kept.copy()
            for which, whole in operands:
                if not whole or more[which].any():
                    more[which] = True
            if (more == kept).all():
                break
            kept = more
        self._cluster(key, columns, ~kept, [which for which, _ in operands], places)
        mine = {
            int(c): int(k) for c, k, x in zip(columns, lags, ~kept, strict=True) if x and (*key, int(c)) in self.chosen
        }
        if len(mine) * (count - 1) < least:
            self.chosen = {slot: k for slot, k in self.chosen.items() if slot[:2] != key}
            return
        self.lags[key] = mine
        self.last[key] = {int(c) for c, there in zip(columns, last, strict=True) if there and int(c) in mine}

    def _cluster(self, key: Family, columns: Ints, free: Ints, operands: list[Ints], places: list[Ints]) -> None:
        """Group the columns by the operands that touch several of them, and give each group a window."""
        leader = np.arange(len(columns))
        while True:
            found = leader.copy()
            for which in operands:
                np.minimum.at(found, leader[which], found[which].min())
            found = found[found]
            for which in operands:
                found[which] = found[which].min()
            if (found == leader).all():
                break
            leader = found
        low, high, used = columns.copy(), columns.copy(), np.zeros(len(columns), dtype=np.int64)
        for which, slots in zip(operands, places, strict=True):
            k = leader[which[0]]
            low[k], high[k] = min(low[k], slots.min()), max(high[k], slots.max())
        np.minimum.at(low, leader, columns)
        np.maximum.at(high, leader, columns)
        np.add.at(used, leader, 1)
        for k in np.flatnonzero((leader == np.arange(len(columns))) & free).tolist():
            length = int(high[k] - low[k]) + 1
            if length > 64 + _ROOM * (int(used[k]) + abs(key[1])):
                continue
            for column in columns[leader == k].tolist():
                self.chosen[(*key, column)] = len(self.windows)
            self.windows.append((*key, int(low[k]), length))

    # --- the steps ---------------------------------------------------------------------------------------------------

    def steps(self, size: dict[str, int]) -> list[Step]:
        """The loop with its windows, which are new slots, and the copies around it."""
        for space, _, first, length in self.windows:
            self._offset.append(size[space] - first)
            self.reused.append((space, size[space], size[space] + length))
            size[space] += length
        begun: list[tuple[Place, Place]] = []
        moved: dict[int, list[tuple[Place, Place]]] = {}
        ended: list[tuple[Place, Place]] = []
        for (space, shift), lags in self.lags.items():
            for column, lag in lags.items():
                by = self._offset[self.chosen[space, shift, column]]
                for k in range(1, lag + 1):
                    slot = column - k * shift
                    begun.append(((space, slot + by), (space, slot)))
                    moved.setdefault(k, []).append(((space, slot + by), (space, slot + shift + by)))
                if column in self.last[space, shift]:
                    last = column + by - (shift if lag else 0)  # a value that moved on is there, too
                    ended.append(((space, column + shift * (self.loop.count - 1)), (space, last)))
        body = [self._inside(step) for step in self.loop.body]
        for k in sorted(moved, reverse=True):
            shifts = (0,) if self.phase != "block" else (0, 0)
            some = _copied(moved[k], shifts)
            # In a block, a loop keeps instructions before it and in it in order.
            body += some if self.phase != "block" else [Loop(1, tuple(some))]
        return [*_copied(begun), replace(self.loop, body=tuple(body)), *_copied(ended)]

    def _inside(self, step: Instruction | Loop) -> Instruction | Loop:
        if isinstance(step, Loop):
            return replace(step, body=tuple([self._inside(x) for x in step.body]))
        return step.mapped(lambda x, count: self._index(x, step.dims, count))

    def _index(self, x: Index, dims: tuple[int, ...], count: int) -> Index:
        key = x.space, x.shifts[0]
        lags = self.lags.get(key)
        if lags is None:
            return x
        slot = int(x.slots(dims, count).ravel()[0])
        for k in range(_MOST_LAGS + 1):
            if slot + k * key[1] in lags:
                by = self._offset[self.chosen[(*key, slot + k * key[1])]]
                return replace(x.displaced(by), shifts=(0, *x.shifts[1:]))
        return x


def _copied(pairs: list[tuple[Place, Place]], shifts: tuple[int, ...] = ()) -> list[Instruction]:
    """Copies to places from others; none of them spans arrays that lie apart."""
    found: list[Instruction] = []
    near: list[tuple[Place, Place]] = []
    for out, source in sorted(pairs):
        if near and max(abs(out[1] - near[-1][0][1]), abs(source[1] - near[-1][1][1])) > _NEAR:
            found += _near(near, shifts)
            near = []
        near.append((out, source))
    return found + _near(near, shifts)


def _near(pairs: list[tuple[Place, Place]], shifts: tuple[int, ...]) -> list[Instruction]:
    rows = [[Index(space, slot, (0,), shifts=shifts) for space, slot in pair] for pair in pairs]
    return copies([out for out, _ in rows], [source for _, source in rows])
