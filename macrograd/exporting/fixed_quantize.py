"""From a program to one of 16-bit integers, whatever it computes: products of varying numbers, choices, loops, streams.

Every slot has a scale that covers its range on the calibration rows. Slots that one operand reads in different rounds
of a loop share theirs, so that a round is the same code as the next; the results of one sum share theirs, too. Weights
have 8 or 16 bits and a scale for each member; other constants have 16 bits. Inputs have 8 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from macrograd import ops
from macrograd.compiler.program.instruction import Index, Instruction, Loop, Operand, Segment
from macrograd.compiler.program.program import Program
from macrograd.compiler.program.stream import FUSED, Stream
from macrograd.compiler.program.walk import Kinds, Walker
from macrograd.exporting.fixed import (
    MOST,
    ONE,
    SPREAD,
    TABLE,
    ZERO,
    Choice,
    Elements,
    Fixed,
    Floats,
    Ints,
    Part,
    Quantized16,
    Records,
    Repeat,
    Source,
    Step,
    Sum,
)  # fmt: skip
from macrograd.exporting.fixed_forms import as_factor, common_factors, settings_of, table_number
from macrograd.exporting.fixed_scales import Measured, Mixed, Shared, all_slots
from macrograd.exporting.int8 import LARGEST, CannotQuantizeError, scale_of

_ROOM = 32000  # the integer of the largest number on the calibration rows, which leaves 2 % for larger ones
_CONSTANT_BITS = 4095  # of the coefficients of products of two varying numbers


def quantize16(program: Program, held: Floats, rows: Floats, measured: Measured, largest_weight: int) -> Quantized16:
    """Quantise the program of a value, without a batch, with parameters and constants `held`, for inputs like `rows`,
    on which its numbers were measured. The largest weight of a sum becomes the integer `largest_weight`.

    Raises CannotQuantizeError for an operation that has no form in integers, or whose numbers they cannot hold.
    """
    return _Quantizer(program, held, rows, measured, largest_weight).made()


class _Quantizer(Kinds[None], Walker[None]):
    def __init__(self, program: Program, held: Floats, rows: Floats, measured: Measured, largest_weight: int) -> None:
        self.program, self.held, self.mixed = program, held, sorted(Mixed(program).slots)
        self.largest_weight = largest_weight
        self.first = min([program.first_input, *self.mixed])
        labels = Shared(program).labels
        size = np.maximum(np.abs(measured.low), np.abs(measured.high))
        size[~np.isfinite(size)] = 0.0
        largest = np.zeros(program.uniform)
        np.maximum.at(largest, labels, size)
        if largest.max(initial=0.0) > LARGEST:
            raise CannotQuantizeError(
                f"export(dtype='int8'): a number reaches {largest.max():.3g} on the calibration rows, and integers "
                f"hold numbers up to {LARGEST:.0e}; use dtype='float32'"
            )
        self.scale = np.where(largest > 0, np.maximum(largest, 1.0 / LARGEST), 1.0)[labels] / _ROOM
        scales, zeros = np.zeros(program.inputs), np.zeros(program.inputs, dtype=np.int64)
        mine = labels[program.first_input : program.first_input + program.inputs]
        for label in np.unique(mine).tolist():
            columns = mine == label
            scale, zero = scale_of(rows[:, columns])
            if not rows[:, columns].any():  # a scale of any other size would spoil the weights of sums with it
                scale = 1.0 / LARGEST
            scales[columns], zeros[columns] = scale, zero
            self.scale[labels == label] = scale / SPREAD  # everything that shares it
            if (size[(labels == label)] > scale / SPREAD * MOST).any():
                raise CannotQuantizeError(
                    "export(dtype='int8'): a loop reads inputs and computed numbers by one operand, whose sizes differ "
                    f"by more than {MOST}; use dtype='float32'", "",
                )  # fmt: skip
        self.low, self.high = measured.low, measured.high
        outputs = [slot for _, slot in program.results]
        largest_out = float(size[outputs].max(initial=0.0))
        self.out = Quantized16(
            program.inputs, scales, zeros, len(outputs), (1.25 * largest_out or 1.0) / MOST,
            program.uniform - self.first, program.first_input - self.first,
        )  # fmt: skip
        self.steps: list[Any] = self.out.steps
        self.around: tuple[int, ...] = ()

    def made(self) -> Quantized16:
        with np.errstate(all="ignore"):
            self._put_constants()
            for step in self.program.steps():
                self.step(step)
            self._results()
        return self.out

    def _put_constants(self) -> None:
        """Put constants that operands read beside computed numbers into the state."""
        if self.mixed:
            slots, count = np.array(self.mixed), len(self.mixed)
            whole = np.rint(self.held[slots] / self.scale[slots]).astype(np.int64)
            out = Index("v", 0, (1,), full=(slots - self.first).reshape(-1, 1))
            self._constants((count,), out, whole[None, :, None])

    def _constants(self, dims: tuple[int, ...], out: Index, whole: Ints) -> None:
        """Integers that are known, (rounds, members, 1)."""
        settings = {n: np.full(prod(dims), v) for n, v in zip("fgstk", (2, 1, 1, 1, 1), strict=True)}
        self.steps.append(Elements("lin", dims, out, (Fixed(whole),), settings))

    # --- the walk -----------------------------------------------------------------------------------------------------

    def instruction(self, instruction: Instruction, around: tuple[int, ...]) -> None:
        self.around = around
        self.kind(instruction)

    def loop(self, loop: Loop, around: tuple[int, ...]) -> None:
        outer, self.steps = self.steps, []
        for inner in loop.body:
            self.step(inner, (*around, loop.count))
        outer.append(Repeat(loop.count, tuple(self.steps)))
        self.steps = outer

    def reduce(self, instruction: Instruction) -> None:
        raise AssertionError("a value has no sums over a batch")

    scatter = reduce

    # --- operands -----------------------------------------------------------------------------------------------------

    def _at(self, operand: Index, space: str = "v") -> Index:
        full = None if operand.full is None else operand.full - self.first
        return replace(operand, space=space, base=operand.base - self.first, full=full)

    def _held(self, operand: Operand, x: Instruction, count: int = 1) -> bool:
        """Whether it reads parameters or constants."""
        if isinstance(operand, float):
            return True
        return bool(all_slots(operand, x.dims, count, self.around).max() < self.program.first_input)

    def _numbers(self, operand: Operand, x: Instruction, count: int) -> Floats:
        """Parameters and constants, (rounds, members, terms)."""
        members = prod(x.dims)
        if isinstance(operand, float):
            return np.broadcast_to(np.float64(operand), (1, members, count))
        base = operand.slots(x.dims, count, (0,) * len(self.around))
        moved = np.zeros(1, dtype=np.int64)
        if any(operand.shifts):
            moved = np.array([operand.moved(r) for r in np.ndindex(*self.around)])
        return np.asarray(self.held[moved[:, None, None] + base])

    def _scaled(self, operand: Operand, x: Instruction, count: int) -> Floats:
        """The scales of what an operand reads, (members, terms)."""
        assert isinstance(operand, Index)
        return np.asarray(self.scale[operand.slots(x.dims, count, (0,) * len(self.around))])

    def _source(self, operand: Operand, x: Instruction, count: int = 1) -> tuple[Source, Floats]:
        """An operand as integers, and the scale of each member."""
        if not self._held(operand, x, count):
            assert isinstance(operand, Index)
            return self._at(operand), self._scaled(operand, x, count)[:, 0]
        numbers = self._finite(self._numbers(operand, x, count), x)
        scale = float(np.abs(numbers).max(initial=0.0) or 1.0) / MOST
        return Fixed(np.rint(numbers / scale).astype(np.int64)), np.full(prod(x.dims), scale)

    def _finite(self, numbers: Floats, x: Instruction) -> Floats:
        """Infinite constants as numbers beyond all that they meet."""
        if np.isnan(numbers).any():
            raise CannotQuantizeError(
                f"export(dtype='int8') cannot quantise {str(x)[:60]}: a constant is NaN, and integers have none; use "
                "dtype='float32'"
            )
        if np.isfinite(numbers).all():
            return numbers
        met = [a for a, _ in x.operands() if isinstance(a, Index) and not self._held(a, x)] + [x.out]
        largest = max(float(np.abs(self.scale[all_slots(a, x.dims, 1, self.around)]).max()) for a in met) * MOST
        return np.clip(numbers, -4 * largest, 4 * largest)

    # --- instructions -------------------------------------------------------------------------------------------------

    def map(self, x: Instruction) -> None:
        name, members = ops.TABLE[x.code].name, prod(x.dims)
        scale = self._scaled(x.out, x, 1)[:, 0]
        fixed = [self._numbers(arg, x, 1)[..., 0] if self._held(arg, x) else None for arg in x.args]
        known = [numbers for numbers in fixed if numbers is not None]
        if len(known) == len(fixed):
            result = np.asarray(ops.TABLE[x.code].array(np, *np.broadcast_arrays(*known)), dtype=np.float64)
            self._constants(x.dims, self._at(x.out), np.rint(result / scale).astype(np.int64)[..., None])
            return
        sources = [self._source(arg, x) for arg in x.args]
        made = settings_of(name, [s for _, s in sources], fixed, scale)
        if made is None:
            which = self._which(name, fixed)
            assert which is not None
            arg = x.args[which]
            assert isinstance(arg, Index)
            slots = arg.slots(x.dims, 1, (0,) * len(self.around))[:, 0]
            tables = self._tables(x, which, fixed, slots, scale)
            made, sources = (TABLE, {"k": tables}), [sources[which]]
        form, settings = made
        filled = {n: np.broadcast_to(np.asarray(settings.get(n, 1), np.int64), (members,)) for n in "fgstk"}
        self.steps.append(Elements(form, x.dims, self._at(x.out), tuple(s for s, _ in sources), filled))

    def _which(self, name: str, fixed: Sequence[Floats | None]) -> int:
        """The one operand that varies. Raises CannotQuantizeError for several, or where another changes in a loop."""
        varying = [k for k, numbers in enumerate(fixed) if numbers is None]
        if len(varying) == 1 and all(numbers is None or len(numbers) == 1 for numbers in fixed):
            return varying[0]
        raise CannotQuantizeError(
            f"export(dtype='int8') cannot quantise {name} of {len(varying)} numbers that depend on the inputs: it "
            "needs a table for each pair; write it in sums, products, quotients, comparisons and functions of one "
            "number, or use dtype='float32'",
            name,
        )

    def _tables(self, x: Instruction, which: int, fixed: Sequence[Floats | None], slots: Ints, scale: Floats) -> Ints:
        """The number of each member's table."""
        row = ops.TABLE[x.code]
        labels = {}
        found = np.zeros(len(slots), dtype=np.int64)
        low, high = self._range(x, which)
        for m, slot in enumerate(slots.tolist()):
            others = tuple(None if numbers is None else float(numbers[0, m]) for numbers in fixed)
            key = others, float(self.scale[slot]), float(scale[m]), low[m], high[m]
            if key not in labels:

                def curve(v: Floats, others: tuple[float | None, ...] = others) -> Floats:
                    columns = [v if other is None else np.full_like(v, other) for other in others]
                    return np.asarray(row.array(np, *columns), dtype=np.float64)

                labels[key] = table_number(
                    self.out.tables, row.name, curve, float(self.scale[slot]), float(scale[m]), low[m], high[m]
                )
            found[m] = labels[key]
        return found

    def _range(self, x: Instruction, which: int) -> tuple[list[float], list[float]]:
        """The least and largest number of each member's operand, in all rounds; the same for members of one scale."""
        arg = x.args[which]
        assert isinstance(arg, Index)
        base = arg.slots(x.dims, 1, (0,) * len(self.around))[:, 0]
        every = all_slots(arg, x.dims, 1, self.around)
        low, high = self.low[every].min(axis=0), self.high[every].max(axis=0)
        for scale in np.unique(self.scale[base]):
            same = self.scale[base] == scale
            low[same], high[same] = low[same].min(), high[same].max()
        return low.tolist(), high.tolist()

    def take(self, x: Instruction) -> None:
        index, index_scale = self._source(x.args[0], x)
        values, value_scale = self._source(x.args[1], x, x.count)
        f, s = as_factor(index_scale)
        g, t = as_factor(value_scale / self._scaled(x.out, x, 1)[:, 0])
        settings = {n: np.broadcast_to(v, (prod(x.dims),)) for n, v in zip("fsgt", (f, s, g, t), strict=True)}
        self.steps.append(Choice(x.dims, self._at(x.out), index, values, x.count, settings))

    def dot(self, x: Instruction) -> None:
        members = prod(x.dims)
        scale = self._scaled(x.out, x, 1)[:, 0]
        terms: list[tuple[Segment, Floats, Index, Index | None]] = []
        bias = np.zeros((1, members))
        for segment in x.segments:
            sides = [segment.left, segment.right]
            held = [self._held(side, x, segment.count) for side in sides]
            factors = np.ones((1, members, segment.count))
            for side, fixed in zip(sides, held, strict=True):
                factors = factors * (
                    self._numbers(side, x, segment.count) if fixed else self._scaled(side, x, segment.count)[None]
                )
            if all(held):
                bias = bias + factors.sum(axis=2)
                continue
            varying = [side for side, fixed in zip(sides, held, strict=True) if not fixed and isinstance(side, Index)]
            terms.append((segment, factors, varying[0], varying[1] if len(varying) == 2 else None))
        self.steps.append(self._summed(x, terms, bias, scale))

    def _summed(
        self, x: Instruction, terms: list[tuple[Segment, Floats, Index, Index | None]], bias: Floats, scale: Floats
    ) -> Sum:
        """The sum of these terms: (segment, the factor of each integer or product of integers, what it reads)."""
        size = np.maximum(np.abs(bias).max(axis=0) / 2.0**30, scale * 2.0**-16)
        products = [np.abs(factors).max(axis=(0, 2)) * 2.0**15 for _, factors, _, other in terms if other is not None]
        weights = [np.abs(factors).max(axis=(0, 2)) for _, factors, _, other in terms if other is None]
        for largest in weights:
            size = np.maximum(size, largest / self.largest_weight)
        for largest in products:
            size = np.maximum(size, largest / _CONSTANT_BITS)
        parts, bound = [], np.abs(bias).max(axis=0) / size
        for segment, factors, source, other in terms:
            real = factors * (2.0**15 if other is not None else 1.0)
            whole = np.rint(real / size[:, None]).astype(np.int64)
            parts.append(
                Part(segment.count, Fixed(whole), self._at(source), None if other is None else self._at(other))
            )
            bound = bound + np.abs(whole).sum(axis=2).max(axis=0) * MOST
        before = max(0, int(np.ceil(np.log2(max(1.0, float(bound.max()))))) - 30)
        factor, shift = as_factor(size * 2.0**before / scale)
        offset = Fixed(np.rint(bias / size).astype(np.int64)[..., None])
        return Sum(x.dims, self._at(x.out), tuple(parts), offset, factor, shift, before)

    # --- records ------------------------------------------------------------------------------------------------------

    def stream(self, stream: Stream, around: tuple[int, ...]) -> None:
        forms: list[str] = []
        rows: list[list[int]] = []

        def add(form: str, out: int, sources: Sequence[int], settings: dict[str, Any]) -> None:
            if form not in forms:
                forms.append(form)
            padded = [*sources, ZERO, ZERO, ZERO][:3]
            rows.append([forms.index(form), out, *padded, *(int(settings.get(n, 1)) for n in "fgstk")])

        for code, out, operands in stream.plain():
            for m, slot in enumerate(out.tolist()):
                self._record(code, slot, operands[:, m].tolist(), add)
        self.steps.append(Records(tuple(forms), np.array(rows, dtype=np.int64).reshape(-1, 10)))

    def _record(self, code: int, slot: int, operands: list[int], add: Callable[..., None]) -> None:
        out, scale = slot - self.first, np.array([self.scale[slot]])
        fixed = [np.array([[self.held[s]]]) if s < self.program.first_input else None for s in operands]
        scales = [np.array([self.held[s] / MOST if s < self.program.first_input else self.scale[s]]) for s in operands]
        places = [(ONE if self.held[s] else ZERO) if s < self.program.first_input else s - self.first for s in operands]
        if code == FUSED:
            f, g, s = common_factors(scales[0] * scales[1] / scale, scales[2] / scale)
            add("fused", out, places, {"f": f[0], "g": g[0], "s": s[0]})
            return
        name = ops.TABLE[code].name
        if name == "take":
            f, s = as_factor(scales[0])
            for k, (place, of_value) in enumerate(zip(places[1:], scales[1:], strict=True)):
                g, t = as_factor(of_value / scale)
                settings = {"f": f[0], "s": s[0], "g": g[0], "t": t[0], "k": k}
                if k:
                    add("pick", out, [places[0], out, place], settings)
                else:  # the one of an index that is out of range, too
                    add("lin", out, [place], {"f": g[0], "s": t[0]})
            return
        if all(numbers is not None for numbers in fixed):
            known = ops.TABLE[code].array(np, *[np.float64(self.held[s]) for s in operands])
            add("lin", out, [ONE], dict(zip("fs", as_factor(float(known) / float(scale[0]) / MOST), strict=True)))
            return
        made = settings_of(name, scales, fixed, scale)
        if made is None:
            which = self._which(name, fixed)
            source = operands[which]

            def curve(v: Floats) -> Floats:
                columns = [v if f is None else np.full_like(v, f[0, 0]) for f in fixed]
                return np.asarray(ops.TABLE[code].array(np, *columns), dtype=np.float64)

            low, high = float(self.low[source]), float(self.high[source])
            k = table_number(self.out.tables, name, curve, float(self.scale[source]), float(scale[0]), low, high)
            add(TABLE, out, [places[which]], {"k": k})
            return
        form, settings = made
        add(form, out, places, {n: np.ravel(v)[0] for n, v in settings.items()})

    # --- results ------------------------------------------------------------------------------------------------------

    def _results(self) -> None:
        """All outputs share a scale, so that they can be compared."""
        slots = np.array([slot for _, slot in self.program.results])
        at = 0
        while at < len(slots):
            held, end = slots[at] < self.program.first_input, at + 1
            while end < len(slots) and (slots[end] < self.program.first_input) == held:
                end += 1
            some = slots[at:end]
            if held:
                whole = np.clip(np.rint(self.held[some] / self.out.output_scale), -MOST, MOST).astype(np.int64)
                source: Source = Fixed(whole[None, :, None])
                reals = np.ones(len(some))
            else:
                stride = int(some[1] - some[0]) if len(some) > 1 else 0
                even = (some == some[0] + stride * np.arange(len(some))).all()
                table = None if even else some.reshape(-1, 1) - self.first
                source = Index("v", int(some[0]) - self.first, (stride,), full=table)
                reals = self.scale[some] / self.out.output_scale
            f, s = as_factor(reals)
            settings = {n: np.broadcast_to(v, (len(some),)) for n, v in zip("fsgtk", (f, s, 1, 1, 1), strict=True)}
            self.steps.append(Elements("lin", (len(some),), Index("y", at, (1,)), (source,), settings))
            at = end


__all__ = ["Step", "quantize16"]
