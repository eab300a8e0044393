"""A program in 8-bit integers: its quantised numbers and weights, and a reference that computes with them.

A number x is stored as q with x ≈ scale·(q − zero). The scale of a computed number covers its range on the calibration
rows; in sums of products each member has its own scale of weights ("per channel"). A function of a single number
becomes a table of 256 entries, whatever its operations; an affine one is merged into the weights that follow.

Scheme: B. Jacob et al., *Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference*,
CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.compiler.program.program import Index, Instruction, Operand, Program
from macrograd.exporting.fixed import Floats, Ints, Reference

LEVELS = np.arange(-128, 128)
_AFFINE = 1e-9  # relative: of the steps between the entries of a table that is a straight line
_MOST = 2**31 - 1
LARGEST = 1e30  # numbers beyond it, or below 1 / it, make no sense in 8 bits


@dataclass(frozen=True)
class Sums:
    """Members from `at`: Σ weights·q + bias, times factor·2^−shift, plus zero; 16-bit results if `wide`."""

    at: int
    sources: Ints
    weights: Ints
    bias: Ints
    factor: Ints
    shift: Ints
    zero: int
    wide: bool


@dataclass(frozen=True)
class Lookups:
    """Members from `at`: the entry of table `which` for the number at `sources`."""

    at: int
    sources: Ints
    which: Ints
    tables: Ints
    wide: bool


@dataclass
class Quantized(Reference):
    """The steps, and the scales of inputs and outputs. `numbers` counts the 8-bit numbers, inputs included."""

    steps: list[Sums | Lookups] = field(default_factory=list)
    numbers: int = 0

    @property
    def state(self) -> int:
        return self.numbers

    def run(self, q: Ints) -> Ints:
        numbers = np.zeros((len(q), self.numbers), dtype=np.int64)
        numbers[:, : self.inputs] = q
        found = np.zeros((len(q), self.outputs), dtype=np.int64)
        for step in self.steps:
            target = found if step.wide else numbers
            least, most = (-32768, 32767) if step.wide else (-128, 127)
            taken = numbers[:, step.sources]
            if isinstance(step, Sums):
                total = (taken * step.weights).sum(axis=-1) + step.bias
                scaled = (total * step.factor + (np.int64(1) << (step.shift - 1))) >> step.shift
                made = np.clip(scaled + step.zero, least, most)
            else:
                made = step.tables[step.which, taken + 128]
            target[:, step.at : step.at + made.shape[1]] = made
        return found


class CannotQuantizeError(TypeError):
    """The program has something that cannot be computed in integers here; `op` is the operation, if it is one."""

    def __init__(self, message: str, op: str = "") -> None:
        super().__init__(message)
        self.op = op


def quantize(program: Program, held: Floats, rows: Floats) -> Quantized:
    """Quantise the program of a value, without a batch, with parameters and constants `held`, for inputs like `rows`.

    Raises CannotQuantizeError for a program that cannot be quantised, ValueError for rows that are not finite.
    """
    return _Quantizer(program, held, rows).made()


def scale_of(values: Floats) -> tuple[float, int]:
    """Scale and zero for these numbers. Integers in a small range are represented exactly."""
    low, high = min(0.0, float(values.min(initial=0.0))), max(0.0, float(values.max(initial=0.0)))
    if (values == np.rint(values)).all() and 0 < high - low <= 255:
        parts = int(255 // (high - low))
        return 1.0 / parts, int(-128 - low * parts)
    scale = (high - low) / 255 if high - low > 1 / LARGEST else 1.0
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def _levels(scale: float, zero: int) -> Floats:
    """The numbers that the levels stand for."""
    parts = round(1 / scale) if scale else 0
    whole = parts and 1.0 / parts == scale
    return np.asarray((LEVELS - zero) / parts if whole else (LEVELS - zero) * scale, dtype=np.float64)


class _Quantizer:
    """For every slot, `known` is its number, or NaN if it depends on inputs. Then `place` is the 8-bit number that it
    depends on, and `curve` its value for each of the 256 levels of that number."""

    def __init__(self, program: Program, held: Floats, rows: Floats) -> None:
        self.program = program
        self.values = np.zeros((len(rows), program.uniform))
        self.known = np.full(program.uniform, np.nan)
        self.values[:, : len(held)] = self.known[: len(held)] = held
        first, n = program.first_input, program.inputs
        self.values[:, first : first + n] = rows
        ranges = [scale_of(column) for column in rows.T]
        self.scales, self.zeros = [scale for scale, _ in ranges], [zero for _, zero in ranges]
        self.place = np.full(program.uniform, -1)
        self.curve: dict[int, Floats] = {}
        for k in range(n):
            if (len(rows) > 1 or not rows[0, k]) and (rows[:, k] == rows[0, k]).all():
                self.known[first + k] = rows[0, k]  # constant in calibration: a scale would be a guess
                continue
            self.place[first + k] = k
            self.curve[first + k] = _levels(self.scales[k], self.zeros[k])
        self.numbers = n
        self.waiting: dict[int, tuple[Ints, Floats, Floats, Ints]] = {}  # sums not needed so far, by place
        self.begun: set[int] = set()
        self.tabled: dict[int, int] = {}  # slots computed by a table, and the 8-bit number with the result
        wanted = [slot for _, slot in program.results]
        largest = float(np.abs(self.values).max(initial=0.0))
        self.out = Quantized(n, np.array(self.scales), np.array(self.zeros), len(wanted), largest)

    def made(self) -> Quantized:
        with np.errstate(all="ignore"):
            for step in self.program.steps():
                if not isinstance(step, Instruction):
                    what = "a loop" if hasattr(step, "body") else "numbers without a pattern"
                    raise CannotQuantizeError(
                        f"export(dtype='int8') cannot quantise {what} ({str(step).splitlines()[0][:60]}): "
                        "it does nets of sums of products and functions of one number; use dtype='float32'"
                    )
                self._instruction(step)
            self._results()
        made = [step.at + len(step.sources) for step in self.out.steps if not step.wide]
        self.out.numbers = max([self.out.inputs, *made])
        return self.out

    # --- instructions ---------------------------------------------------------------------------------------------

    def _slots(self, x: Operand, dims: tuple[int, ...], count: int) -> tuple[Any, Ints | None]:
        """A constant, or the slots of an operand: members by terms."""
        if isinstance(x, float):
            return x, None
        members = int(np.prod(dims))
        return None, np.broadcast_to(np.asarray(x.slots(dims, count)).reshape(-1, count), (members, count))

    def _instruction(self, x: Instruction) -> None:
        out = np.asarray(x.out.slots(x.dims, 1)).reshape(-1)
        if x.kind == "dot":
            parts = [
                (s, self._slots(s.left, x.dims, s.count), self._slots(s.right, x.dims, s.count)) for s in x.segments
            ]
            shape = len(out), sum(s.count for s in x.segments)
            left, right = np.full(shape, -1), np.full(shape, -1)
            factors = np.ones(shape)
            at = 0
            for s, *sides in parts:
                columns = slice(at, at + s.count)
                for side, (number, slots) in zip((left, right), sides, strict=True):
                    if slots is None:
                        factors[:, columns] *= number
                    else:
                        side[:, columns] = slots
                at += s.count
            self._sum(x, out, left, right, factors)
        elif x.kind == "map":
            self._map(x, out)
        else:
            raise CannotQuantizeError(f"export(dtype='int8') cannot quantise a choice by index ({str(x)[:60]})")

    def _map(self, x: Instruction, out: Ints) -> None:
        row = ops.TABLE[x.code]
        operands = [self._slots(arg, x.dims, 1) for arg in x.args]
        columns = [number if slots is None else self.values[:, slots[:, 0]] for number, slots in operands]
        self.values[:, out] = row.array(np, *np.broadcast_arrays(*columns, self.values[:, out])[: len(columns)])
        for k, slot in enumerate(out.tolist()):
            mine = [None if slots is None else int(slots[k, 0]) for _, slots in operands]
            varying = [s for s in mine if s is not None and np.isnan(self.known[s])]
            places = {int(self.place[s]) for s in varying}
            if len(places) > 1:
                raise CannotQuantizeError(
                    f"export(dtype='int8') cannot quantise {row.name} of two numbers that both depend on the inputs: "
                    "it does sums of products with parameters, and functions of one number; use dtype='float32'"
                )
            xs = [
                number if s is None else self.curve[s] if s in varying else self.known[s]
                for s, (number, _) in zip(mine, operands, strict=True)
            ]
            found = row.array(np, *[np.broadcast_to(np.asarray(v, dtype=np.float64), (256,)) for v in xs])
            self._set(slot, places, np.asarray(found, dtype=np.float64))

    def _set(self, slot: int, places: set[int], curve: Floats) -> None:
        if places:
            self.place[slot], self.curve[slot] = places.pop(), curve
        else:
            self.known[slot] = curve[0]

    def _sum(self, x: Instruction, out: Ints, left: Ints, right: Ints, factors: Floats) -> None:
        def number(slots: Ints) -> Floats:
            found: Floats = np.where(slots < 0, 1.0, self.known[np.maximum(slots, 0)])
            return found

        ones = [np.where(side < 0, 1.0, self.values[:, np.maximum(side, 0)]) for side in (left, right)]
        self.values[:, out] = (factors * ones[0] * ones[1]).sum(axis=-1)
        a, b = number(left), number(right)
        if (np.isnan(a) & np.isnan(b)).any():
            raise CannotQuantizeError(
                "export(dtype='int8') cannot quantise a product of two numbers that both depend on the inputs "
                f"({str(x)[:60]}): it does sums of products with parameters; use dtype='float32'"
            )
        varying = np.isnan(a) | np.isnan(b)
        source = np.where(np.isnan(a), left, right)
        factors = factors * np.where(np.isnan(a), 1.0, a) * np.where(np.isnan(b), 1.0, b)
        bias = np.where(varying, 0.0, factors).sum(axis=1)
        factors, source = np.where(varying, factors, 0.0), np.where(varying, source, -1)
        if all(len({int(self.place[s]) for s in row if s >= 0}) <= 1 for row in source):
            for slot, row, f, c in zip(out.tolist(), source, factors, bias, strict=True):
                curve = c + sum((f[t] * self.curve[s] for t, s in enumerate(row.tolist()) if s >= 0), np.zeros(256))
                self._set(slot, {int(self.place[s]) for s in row if s >= 0}, curve)
            return
        self._new_sums(out, source, factors, bias)

    def _new_sums(self, out: Ints, source: Ints, factors: Floats, bias: Floats) -> None:
        """Sums that become 8-bit numbers once they are needed."""
        used = np.unique(source[source >= 0])
        slope, rest, place = np.zeros(self.program.uniform), np.zeros(self.program.uniform), self.place.copy()
        bent = [int(s) for s in used if self._line(int(s)) is None and int(s) not in self.tabled]
        if bent:
            self._table(bent)
        for s in used.tolist():
            if s in self.tabled:
                place[s] = p = self.tabled[s]
                slope[s] = self.scales[p]
            else:
                p = int(self.place[s])
                a, c = self._line(s) or (0.0, 0.0)
                slope[s], rest[s] = a, c + a * self.zeros[p]
            self._begin(int(place[s]))
        at = np.maximum(source, 0)
        real = np.where(source >= 0, factors * slope[at], 0.0)
        bias = bias + np.where(source >= 0, factors * rest[at], 0.0).sum(axis=1)
        scale, zero = scale_of(self.values[:, out])
        first, self.numbers = self.numbers, self.numbers + len(out)
        entry = np.where(source >= 0, place[at], place[used[0]]), real, bias, out
        for k, slot in enumerate(out.tolist()):
            self.waiting[first + k] = entry
            self.place[slot], self.curve[slot] = first + k, _levels(scale, zero)
        self.scales += [scale] * len(out)
        self.zeros += [zero] * len(out)

    # --- numbers of 8 bits ----------------------------------------------------------------------------------------

    def _line(self, slot: int) -> tuple[float, float] | None:
        """Slope and value at 0 of a slot that is affine in its level, else None."""
        curve = self.curve[slot]
        steps, largest = np.diff(curve), np.abs(curve).max(initial=1e-300)
        if not np.isfinite(curve).all() or np.abs(steps - steps.mean()).max() > _AFFINE * largest:
            return None
        a = float(curve[-1] - curve[0]) / 255
        return a, float(curve[0]) + 128 * a

    def _begin(self, place: int) -> None:
        """Make sure that an 8-bit number is computed."""
        entry = self.waiting.get(place)
        if entry is None or place in self.begun:
            return
        sources, real, bias, out = entry
        first = min(p for p, e in self.waiting.items() if e is entry)
        self.begun.update(range(first, first + len(out)))
        self.out.steps.append(self._sums(first, sources, real, bias, self.scales[first], self.zeros[first], wide=False))

    def _sums(self, at: int, sources: Ints, real: Floats, bias: Floats, scale: float, zero: int, *, wide: bool) -> Sums:
        size = np.maximum(np.abs(real).max(axis=1) / 127, np.maximum(np.abs(bias) / 2.0**30, scale * 2.0**-20))
        weights = np.rint(real / size[:, None]).astype(np.int64)
        zeros = np.asarray(self.zeros, dtype=np.int64)[sources]
        whole = np.rint(bias / size).astype(np.int64) - (weights * zeros).sum(axis=1)
        if (np.abs(whole) + 128 * np.abs(weights).sum(axis=1) > _MOST).any():
            raise CannotQuantizeError(
                f"export(dtype='int8'): a sum of {real.shape[1]:,} products may exceed 32 bits; use dtype='float32'"
            )
        m, e = np.frexp(size / scale)
        factor, shift = np.minimum(np.rint(m * 2.0**31), _MOST).astype(np.int64), 31 - e.astype(np.int64)
        return Sums(at, sources, weights, whole, factor, np.clip(shift, 1, 62), zero, wide)

    def _table(self, slots: list[int]) -> None:
        """Tables for slots that are not affine: 8-bit numbers that share a scale."""
        for slot in slots:
            self._begin(int(self.place[slot]))
        scale, zero = scale_of(self.values[:, slots])
        first, self.numbers = self.numbers, self.numbers + len(slots)
        self.out.steps.append(self._lookups(first, slots, scale, zero, wide=False))
        self.tabled.update({slot: first + k for k, slot in enumerate(slots)})
        self.scales += [scale] * len(slots)
        self.zeros += [zero] * len(slots)

    def _lookups(self, at: int, slots: Sequence[int], scale: float, zero: int, *, wide: bool) -> Lookups:
        least, most = (-32768, 32767) if wide else (-128, 127)
        tables = [
            np.clip(np.rint(np.nan_to_num(self.curve[s]) / scale + zero), least, most).astype(np.int64) for s in slots
        ]
        _, first, which = np.unique(np.array(tables), axis=0, return_index=True, return_inverse=True)
        return Lookups(at, self.place[list(slots)].astype(np.int64), which.reshape(-1), np.array(tables)[first], wide)

    def _results(self) -> None:
        """All outputs share a scale, so that they can be compared."""
        slots = [slot for _, slot in self.program.results]
        largest = float(np.abs(self.values[:, slots]).max(initial=0.0))
        scale = self.out.output_scale = (1.25 * largest or 1.0) / 32767  # room for rows that were not shown
        for k, slot in enumerate(slots):
            if not np.isnan(self.known[slot]):
                self.place[slot], self.curve[slot] = 0, np.full(256, self.known[slot])
            entry = self.waiting.get(int(self.place[slot]))
            if entry is not None and slot in entry[3]:
                sources, real, bias, out = entry
                j = np.flatnonzero(out == slot)[:1]
                step: Sums | Lookups = self._sums(k, sources[j], real[j], bias[j], scale, 0, wide=True)
            else:
                self._begin(int(self.place[slot]))
                step = self._lookups(k, [slot], scale, 0, wide=True)
            self._join(step)

    def _join(self, step: Sums | Lookups) -> None:
        """Merge steps whose results are side by side."""
        last = self.out.steps[-1] if self.out.steps else None
        alike = isinstance(last, Sums) and isinstance(step, Sums) and last.sources.shape[1] == step.sources.shape[1]
        if alike and last is not None and last.wide:
            names = ("sources", "weights", "bias", "factor", "shift")
            both: Any = {name: np.concatenate([getattr(last, name), getattr(step, name)]) for name in names}
            self.out.steps[-1] = replace(last, **both)
        else:
            self.out.steps.append(step)


__all__ = ["CannotQuantizeError", "Index", "Lookups", "Quantized", "Sums", "quantize"]
