"""Runs many nets through LLVM: their buffers, and the tiles that threads share."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np

from macrograd._workers import Worker, together
from macrograd.compiler.jit import native
from macrograd.compiler.jit.buffers import address_of
from macrograd.compiler.program.nets import NetsError, Slots, over_nets, slots_of
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm.context import Context
from macrograd.compiler.targets.llvm.nets_context import NetsContext
from macrograd.compiler.targets.llvm.nets_parts import Clip, Products, products, update_fits
from macrograd.compiler.targets.nets import Array, Nets, NetsOutcome, NetSteps, Own, Rows
from macrograd.compiler.targets.scalar.machine import Machine, kind_of
from macrograd.compiler.targets.target import Request, aligned, narrowing
from macrograd.compiler.targets.training import Parts

_CACHE_BYTES = 1 << 20  # of a tile's numbers: about a core's private cache
_REASONS = ("", "non-finite", "index")


class NativeNets(Nets):
    """Nets on lanes; see `Nets`.

    request  the differentiated program of one sample, with the largest step to expect
    parts    the update
    own      the numbers that each net has for itself in the program, and `rule` those in the update

    Raises NetsError if the programs have no form with nets on the lanes, or one that is too large to pay.
    """

    def __init__(self, request: Request, parts: Parts, own: Own, rule: Own) -> None:
        self.request, self.program, self.parts = request, request.program, parts
        why = _obstacle(request, parts)
        if why:
            raise NetsError(why)
        kind, size = kind_of(request.dtype), native.machine().vector_bytes
        self.lanes = size // kind.bytes
        self.machine = Machine(kind, size, self.lanes, single=True, strict=request.strict)
        self.count, self.value = self.program.parameters, self.program.results[0][1]
        self.own_slots = np.array(own.slots, np.int64)
        with narrowing(request.dtype):
            self._own, self._hyper = own.numbers.astype(request.dtype), rule.numbers.astype(request.dtype)
        self._bytes(request.samples)
        self._gradients: dict[int, _Gradient] = {}
        clip = Clip(parts.measure, parts.clip_norm) if parts.clips else None
        self._products = None
        if request.samples == 1 and clip is None and self.lanes == self.machine.width:
            over = over_nets(self.program, 1, strict=request.strict)
            self._products = products(over, self.value + 1, self.count)
        self._gradient(request.samples)
        self._train = _train_code(
            parts.update, rule.slots, self.count, len(parts.start), self.machine, clip, self._products
        )
        nets = len(rule.numbers)
        self._theta = np.zeros((nets, self.count), request.dtype)
        self._state = np.tile(np.array(parts.start, request.dtype).reshape(-1, 1), (nets, 1, self.count))
        self._data: list[tuple[Array, ...]] = [() for _ in range(nets)]
        self._addresses = np.zeros((nets, len(request.sizes)), np.int64)
        self._packed = _Packed(self, np.empty(0, np.int64))
        self._workers: list[_Worker] = []
        self._helpers: list[Worker] = []  # threads

    def _bytes(self, samples: int) -> None:
        slots = slots_of(self.program, samples).of_sample(self.program.varying)
        size = slots * self.lanes * self.request.dtype.itemsize
        if size > _CACHE_BYTES:
            raise NetsError(
                f"{self.lanes} nets need {size >> 10} KB at {samples} samples a step, more than a core's cache"
            )

    def _gradient(self, samples: int) -> _Gradient:
        if samples not in self._gradients:
            slots = slots_of(self.program, samples)
            self._gradients[samples] = _Gradient(
                _gradient_code(self.program, slots, self.machine, self.request.sizes, self._products), slots
            )
        return self._gradients[samples]

    # --- the nets' numbers ------------------------------------------------------------------------------------------

    def set(self, net: int, theta: Array, state: Array) -> None:
        self._unpack()
        with narrowing(self.request.dtype):
            self._theta[net], self._state[net] = theta, state

    def get(self, net: int) -> tuple[Array, Array]:
        return self._packed.get(net) or (self._theta[net].copy(), self._state[net].copy())

    def set_all(self, theta: Array, state: Array) -> None:
        self._packed = _Packed(self, np.empty(0, np.int64))  # what it held is overwritten
        with narrowing(self.request.dtype):
            self._theta[:], self._state[:] = theta, state

    def get_all(self) -> tuple[Array, Array]:
        self._unpack()
        return self._theta.astype(np.float64), self._state.astype(np.float64)

    def point_all(self, data: Sequence[Array]) -> None:
        self.point(0, data)
        self._data[1:] = self._data[:1] * (len(self._data) - 1)
        self._addresses[1:] = self._addresses[0]

    def point(self, net: int, data: Sequence[Array]) -> None:
        with narrowing(self.request.dtype):
            held = tuple([np.ascontiguousarray(x, self.request.dtype) for x in data])
        self._data[net] = held  # which keeps it alive
        self._addresses[net] = [x.ctypes.data for x in held]

    def _unpack(self) -> None:
        self._packed.write(self._theta, self._state)
        self._packed = _Packed(self, np.empty(0, np.int64))

    def _pack(self, nets: Rows) -> _Packed:
        if not np.array_equal(nets, self._packed.nets):
            self._unpack()
            self._packed = _Packed(self, nets)
        return self._packed

    # --- steps ------------------------------------------------------------------------------------------------------

    def run(self, steps: Sequence[NetSteps], lengths: Rows) -> list[NetsOutcome]:
        packed = self._pack(np.array([s.net for s in steps], np.int64))
        first, *others = dict.fromkeys([self.request.samples, *lengths.tolist()])
        if len(others) > 1:
            raise ValueError(f"the steps of a run have at most two lengths, got {sorted({*lengths.tolist()})}")
        gradients = [self._gradient(first), self._gradient(others[0] if others else first)]
        call = _Call(self, packed, steps, np.ascontiguousarray(lengths, np.int64), gradients)
        begun = time.perf_counter()
        self._share(call, packed.tiles)
        self.seconds = time.perf_counter() - begun
        return call.outcomes()

    def _share(self, call: _Call, tiles: int) -> None:
        """Tiles in equal shares for the threads; each tile depends on nothing but itself."""
        count = max(1, min(self.request.threads, tiles))
        while len(self._workers) < count:
            self._workers.append(_Worker(self))
        parts = [range(tiles * w // count, tiles * (w + 1) // count) for w in range(count)]
        mine, *others = [partial(call.part, worker, tiles) for worker, tiles in zip(self._workers, parts, strict=False)]
        while len(self._helpers) < len(others):
            self._helpers.append(Worker())
        together(self._helpers[: len(others)], others, mine)


class _Gradient:
    """The code of @gradient for steps of this many rows."""

    def __init__(self, code: native.Native, slots: Slots) -> None:
        self.native, self.slots = code, slots

    @property
    def address(self) -> int:
        found = ctypes.cast(self.native.functions["gradient"], ctypes.c_void_p).value
        assert found is not None
        return found


class _Packed:
    """The numbers of some nets by tile, (tiles, numbers, lanes); the lanes after the last net repeat it."""

    def __init__(self, whole: NativeNets, nets: Rows) -> None:
        lanes = whole.lanes
        self.nets, self.lanes, self.tiles = nets, lanes, -(-len(nets) // lanes)
        self.place = {net: k for k, net in enumerate(nets.tolist())}
        self.filled = np.append(nets, np.repeat(nets[-1:], self.tiles * lanes - len(nets)))
        self.every = np.array_equal(self.filled, np.arange(len(whole._theta)))  # in their order
        if not self.tiles:
            return
        self.theta = self._tiled(whole._theta, whole)
        self.state = self._tiled(whole._state.reshape(len(whole._state), -1), whole)
        self.hyper, self.own = self._tiled(whole._hyper, whole), self._tiled(whole._own, whole)

    def _tiled(self, numbers: Array, whole: NativeNets) -> Array:
        count = numbers.shape[1]
        found = aligned(self.tiles * count * self.lanes, whole.request.dtype).reshape(self.tiles, count, self.lanes)
        rows = numbers if self.every else numbers[self.filled]
        found[:] = rows.reshape(self.tiles, self.lanes, count).transpose(0, 2, 1)
        return found

    def get(self, net: int) -> tuple[Array, Array] | None:
        if net not in self.place:
            return None
        tile, lane = divmod(self.place[net], self.lanes)
        theta = self.theta[tile, :, lane].copy()
        return theta, self.state[tile, :, lane].reshape(-1, len(theta)).copy()

    def write(self, theta: Array, state: Array) -> None:
        """Write the nets' numbers where each net has a row."""
        if not self.tiles:
            return
        for source, target in ((self.theta, theta), (self.state, state)):
            rows = source.transpose(0, 2, 1).reshape(self.tiles * self.lanes, -1)[: len(self.nets)]
            target[self.nets] = rows.reshape(len(self.nets), *target.shape[1:])


class _Call:
    """The arguments of a run of steps, and its results."""

    def __init__(
        self, whole: NativeNets, packed: _Packed, steps: Sequence[NetSteps], lengths: Rows, gradients: list[_Gradient]
    ) -> None:
        self.whole, self.packed, self.steps, self.lengths, self.gradients = whole, packed, steps, lengths, gradients
        lanes, tiles, dtype = whole.lanes, packed.tiles, whole.request.dtype
        filled = [*steps, *[steps[-1]] * (tiles * lanes - len(steps))]
        self.rows = [np.ascontiguousarray(s.rows, np.int64) for s in filled]
        self.orders = np.array([address_of(rows) for rows in self.rows], np.int64)
        self.data = whole._addresses[packed.filled]
        self.numbers = aligned(len(filled), np.int64)
        self.numbers[:] = [s.first for s in filled]
        count = len(lengths)
        self.rates, self.rates_at = self._rates([s.rates for s in filled], dtype)
        self.losses = aligned(tiles * count * lanes, dtype).reshape(tiles, count, lanes)
        self.done, self.reason = np.zeros(tiles, np.int64), np.zeros(tiles, np.int64)
        self.odd = aligned(tiles * lanes, dtype)
        self.addresses = np.array([g.address for g in gradients], np.int64)

    def _rates(self, rates: Sequence[Array], dtype: np.dtype[Any]) -> tuple[list[Array], Array]:
        """The learning rates of every step, (steps, lanes), and for each tile the address of its own. Tiles with the
        same arrays share them."""
        lanes, known = self.whole.lanes, dict[tuple[int, ...], Array]()
        at = np.zeros(self.packed.tiles, np.int64)
        for tile in range(self.packed.tiles):
            some = rates[tile * lanes : (tile + 1) * lanes]
            key = tuple(map(id, some))
            if key not in known:
                known[key] = aligned(len(self.lengths) * lanes, dtype).reshape(-1, lanes)
                with narrowing(dtype):
                    known[key][:] = some[0][:, None] if len(set(key)) == 1 else np.transpose(some)
            at[tile] = known[key].ctypes.data
        return list(known.values()), at

    def part(self, worker: _Worker, tiles: range) -> None:
        worker.run(self, tiles)

    def outcomes(self) -> list[NetsOutcome]:
        found = list[NetsOutcome]()
        losses = self.losses.transpose(0, 2, 1).astype(np.float64, copy=False)  # a view of float64
        odd = self.odd.reshape(-1, self.whole.lanes)
        for tile, (done, reason) in enumerate(zip(self.done.tolist(), self.reason.tolist(), strict=True)):
            why = _REASONS[reason]
            rows = losses[tile, :, : done + (why in ("non-finite", "index"))]
            if why != "non-finite":
                found += [NetsOutcome(row, done, why) for row in rows]
                continue
            for row, total in zip(rows, odd[tile].tolist(), strict=True):
                found.append(NetsOutcome(row[:done], done, "beside") if total == 0.0 else NetsOutcome(row, done, why))
        return found[: len(self.steps)]


class _Worker:
    """The memory of one thread."""

    def __init__(self, whole: NativeNets) -> None:
        self.whole = whole
        self.size = 0
        self.v = np.empty(0)
        self.contexts, self.nets = [Context(), Context()], NetsContext()
        self.addresses = np.array([ctypes.addressof(context) for context in self.contexts], np.int64)

    def run(self, call: _Call, tiles: range) -> None:
        whole, nets = self.whole, self.nets
        size = max(g.slots.of_sample(whole.program.varying) for g in call.gradients) * whole.lanes
        if size > self.size:
            self.size, self.v = size, aligned(size, whole.request.dtype)
            program = whole.program
            constants = self.v[: program.uniform * whole.lanes].reshape(-1, whole.lanes)
            with narrowing(whole.request.dtype):
                constants[program.parameters : program.first_uniform_input] = program.constants[:, None]
        for context, gradient in zip(self.contexts, call.gradients, strict=True):
            context.u = context.v = self.v.ctypes.data
            context.tables = gradient.native.tables.ctypes.data
        nets.v = self.v.ctypes.data
        packed = call.packed
        arrays = {
            "contexts": self.addresses, "data": call.data, "orders": call.orders, "numbers": call.numbers,
            "theta": packed.theta, "state": packed.state, "rates": call.rates_at, "hyper": packed.hyper,
            "losses": call.losses, "lengths": call.lengths, "gradients": call.addresses, "done": call.done,
            "reason": call.reason, "odd": call.odd, "own": packed.own, "own_slots": whole.own_slots,
        }  # fmt: skip
        for name, array in arrays.items():
            setattr(nets, name, array.ctypes.data)
        nets.mask, nets.steps = whole.parts.period - 1, len(call.lengths)
        nets.first, nets.last = tiles.start, tiles.stop
        nets.owns = len(whole.own_slots)
        nets.usual, nets.slot = call.gradients[0].slots.samples, whole.value
        whole._train.functions["train"](ctypes.addressof(nets))


def _obstacle(request: Request, parts: Parts) -> str:
    """Why these programs cannot run with nets on the lanes; "" if they can."""
    program = request.program
    if not program.batch or program.weight is None:
        return "a program without samples"
    if any(space != "u" for space, _ in program.results):
        return "a result for every sample"
    if not update_fits(parts.update):
        return "an update rule too long for registers"
    return ""


def _gradient_code(
    program: Program, slots: Slots, machine: Machine, sizes: tuple[int, ...], parts: Products | None
) -> native.Native:
    key = repr(("gradient of nets", program.fingerprint(), slots, machine, sizes, str(parts))).encode()

    def write() -> tuple[str, native.Table]:
        from macrograd.compiler.targets.llvm.nets import gradient_text  # only for code that is not in the cache

        return gradient_text(program, slots, machine, sizes, parts)

    return native.Native(key, ("gradient",), write)


@lru_cache(maxsize=16)
def _train_code(
    update: Program,
    own: tuple[int, ...],
    count: int,
    states: int,
    machine: Machine,
    clip: Clip | None,
    parts: Products | None,
) -> native.Native:
    told = None if clip is None else (clip.measure.fingerprint(), clip.norm)
    key = repr(("steps of nets", update.fingerprint(), own, count, states, machine, told, str(parts))).encode()

    def write() -> tuple[str, native.Table]:
        from macrograd.compiler.targets.llvm.nets_training import train_text  # only for code that is not in the cache

        return train_text(update, own, count, states, machine, clip, parts)

    return native.Native(key, ("train",), write)
