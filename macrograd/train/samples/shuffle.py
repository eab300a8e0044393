"""Shuffled orders of samples: besides the steps themselves, the only part of training that touches every sample of
every epoch. It runs in native code if LLVM is available, and with the same result in Python otherwise.

The order of an epoch is an inside-out Fisher–Yates shuffle (Knuth, *The Art of Computer Programming* 2, 3rd ed.,
§3.4.2, algorithm P), whose random numbers depend only on the seed, the epoch and the place: SplitMix64's finaliser
(Steele, Lea & Flood, OOPSLA 2014) of a counter.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]

_SEED, _EPOCH, _PLACE = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST = 31
_MASK = (1 << 64) - 1

# Below 2³² samples, the upper half of a random number times the count, shifted back, is a fair choice.
_MOST = 1 << 32
PIECE = 1 << 21
_MUCH = 1 << 22  # samples that code compiled quickly shuffles in the time that better code takes to compile


def shuffle_into(out: Rows, first: int, seed: int, *, native: bool) -> None:
    """Fill out (epochs, samples) with the orders of the epochs starting at `first`."""
    epochs, samples = out.shape
    if samples >= _MOST:
        raise ValueError(f"{samples} samples are too many to shuffle: give fewer than {_MOST}, or shuffle=False")
    made = _native() if native else None
    if made is None:
        for k in range(epochs):
            out[k] = _one(samples, first + k, seed)
        return
    code = made.code(epochs * samples)
    # Long epochs are shuffled in pieces, so that Python can handle signals in between.
    for begin in range(0, samples, PIECE):
        end = min(begin + PIECE, samples)
        numbers = (out.ctypes.data, samples, first, epochs, _signed(seed * _SEED), begin, end)
        arguments = np.array(numbers, dtype=np.int64)
        code.functions["shuffle"](arguments.ctypes.data)


def _one(samples: int, epoch: int, seed: int) -> list[int]:
    key = np.uint64((seed * _SEED + epoch * _EPOCH) & _MASK)
    places = np.arange(samples, dtype=np.uint64)
    z = _mixed(places * np.uint64(_PLACE) + _mixed(np.array([key])))
    chosen = ((z >> np.uint64(32)) * (places + np.uint64(1))) >> np.uint64(32)
    order: list[int] = []
    for i, j in enumerate(chosen.tolist()):
        order.append(i)
        order[i], order[j] = order[j], i
    return order


def _mixed(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    for shift, factor in _MIX:
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    return z ^ (z >> np.uint64(_LAST))


def _signed(x: int) -> int:
    """The signed 64-bit integer with the same bits."""
    return (x + (1 << 63)) % (1 << 64) - (1 << 63)


@cache
def _native() -> Any:
    """The compiled shuffle; None if LLVM does not load."""
    try:
        from macrograd.compiler.jit.native import ByWork, Native
    except ImportError:
        return None
    text = _text()

    def make(quick: bool) -> Native:
        return Native(text.encode(), ("shuffle",), lambda: (text, np.empty(0, dtype=np.int32)), quick=quick)

    return ByWork(make, _MUCH)


_ARGUMENTS = {
    "out": "ptr", "samples": "i64", "first": "i64", "epochs": "i64", "seed": "i64", "from": "i64", "to": "i64",
}  # fmt: skip


def _text() -> str:
    loads = "\n  ".join(
        f"%{name}.at = getelementptr i64, ptr %arguments, i64 {k}\n  %{name} = load {kind}, ptr %{name}.at"
        for k, (name, kind) in enumerate(_ARGUMENTS.items())
    )
    return f"""
define void @shuffle(ptr %arguments) {{
entry:
  {loads}
  br label %epoch
epoch:
  %e = phi i64 [ 0, %entry ], [ %e.next, %done ]
  %rows = phi ptr [ %out, %entry ], [ %rows.next, %done ]
  %more = icmp ult i64 %e, %epochs
  br i1 %more, label %begin, label %end
begin:
  %number = add i64 %first, %e
  %weighed = mul i64 %number, {_signed(_EPOCH)}
  %start = add i64 %seed, %weighed
  {_mixing("start", "key")}
  %ahead = mul i64 %from, {_signed(_PLACE)}
  %counted = add i64 %key, %ahead
  br label %place
place:
  %i = phi i64 [ %from, %begin ], [ %i.next, %place ]
  %counter = phi i64 [ %counted, %begin ], [ %counter.next, %place ]
  {_mixing("counter", "z")}
  %i.next = add i64 %i, 1
  %upper = lshr i64 %z, 32
  %scaled = mul i64 %upper, %i.next
  %j = lshr i64 %scaled, 32
  %at.i = getelementptr i64, ptr %rows, i64 %i
  %at.j = getelementptr i64, ptr %rows, i64 %j
  store i64 %i, ptr %at.i
  %taken = load i64, ptr %at.j
  store i64 %taken, ptr %at.i
  store i64 %i, ptr %at.j
  %counter.next = add i64 %counter, {_signed(_PLACE)}
  %last = icmp eq i64 %i.next, %to
  br i1 %last, label %done, label %place
done:
  %e.next = add i64 %e, 1
  %rows.next = getelementptr i64, ptr %rows, i64 %samples
  br label %epoch
end:
  ret void
}}
"""


def _mixing(z: str, name: str) -> str:
    """The lines that mix %z into %name, as `_mixed` does."""
    lines = []
    for k, (shift, factor) in enumerate(_MIX):
        lines += [
            f"%{name}.a{k} = lshr i64 %{z}, {shift}",
            f"%{name}.b{k} = xor i64 %{z}, %{name}.a{k}",
            f"%{name}.c{k} = mul i64 %{name}.b{k}, {_signed(factor)}",
        ]
        z = f"{name}.c{k}"
    return "\n  ".join([*lines, f"%{name}.d = lshr i64 %{z}, {_LAST}", f"%{name} = xor i64 %{z}, %{name}.d"])
