"""The argument of the functions for many nets, and how their text reads and writes it."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING

from macrograd.compiler.targets.scalar.machine import Machine

if TYPE_CHECKING:  # code that is kept runs without what writes code
    from macrograd.compiler.targets.llvm.code import Code

POINTERS = (
    "context", "contexts", "v", "data", "orders", "numbers", "theta", "state", "rates", "hyper", "losses", "lengths",
    "gradients", "done", "reason", "odd", "own", "own_slots",
)  # fmt: skip
_INTEGERS = ("mask", "steps", "first", "last", "net", "at", "number", "slot", "usual", "owns")


class NetsContext(ctypes.Structure):
    """The argument of both functions.

    context    the context of @gradient, one of the two `contexts` whose v is `v`
    data       for each net, the addresses of its arguments; `orders` of its rows; `numbers` its first step's number
    theta, state, hyper, losses, own   [tile][number or step][lane]; `hyper` are the nets' numbers in the rule, and
               `own` those in the loss, `owns` of them, for the slots `own_slots`
    rates      for each tile the address of its learning rates, [step][lane]
    lengths    the rows of each step; `gradients` the addresses of @gradient for steps of `usual` rows, and of others
    done, reason, odd   for each tile the steps done and what ended them; for each net whether that was a number of it
    mask       of the step's number, as the sample sees it
    first, last   the tiles to run
    net, at, number   the tile's first net, and the step's first row and number, for @gradient
    slot       that of the loss, which the gradient follows
    """

    _fields_ = (*((name, ctypes.c_void_p) for name in POINTERS), *((name, ctypes.c_int64) for name in _INTEGERS))


_FIELD = {name: k for k, (name, *_) in enumerate(NetsContext._fields_)}


def get(code: Code, name: str) -> str:
    kind = "ptr" if name in POINTERS else "i64"
    return code.let(f"load {kind}, ptr {code.element('%nets', str(_FIELD[name]), 'i64')}, align 8")


def put(code: Code, name: str, value: str) -> None:
    kind = "ptr" if name in POINTERS else "i64"
    code.put(f"store {kind} {value}, ptr {code.element('%nets', str(_FIELD[name]), 'i64')}, align 8")


def finished(code: Code, name: str) -> str:
    code.put("ret void")
    return "\n".join([f"define void @{name}(ptr noalias %nets) #0 {{", "entry:", *code.lines, "}", ""])


def attributes(machine: Machine) -> str:
    return f'attributes #0 = {{ nounwind "min-legal-vector-width"="{machine.vector_bytes * 8}" }}'
