"""Programs as one WebAssembly module: the code that the LLVM target writes, and the memory that it works on.

The code is that of `targets/llvm`, for 16-byte vectors and a machine without fused multiply-add. The structures that
Python lays out for each call of native code (`LlvmState`, `AlongParameters`) are laid out here once, at addresses that
become constants of the code.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np

from macrograd._dataclass import dataclass
from macrograd.compiler.jit.tiers import BEST, emit, inside
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.llvm.code import code_for
from macrograd.compiler.targets.llvm.context import FIELDS
from macrograd.compiler.targets.llvm.kernel import kernel_text, plain, rare
from macrograd.compiler.targets.llvm.lower import lower
from macrograd.compiler.targets.scalar.machine import Machine, kind_of
from macrograd.compiler.targets.wasm.module import Memory, module

VECTOR_BYTES = 16
_TRIPLE, _FEATURES = "wasm32-unknown-unknown", "+simd128,+bulk-memory,+nontrapping-fptoint,+sign-ext"
_FIRST = 4096  # the first address used: constants of addresses up to it become part of loads and stores
_MOST = 1 << 31
_ALLOCA = re.compile(r"alloca \[(\d+) x (\w+)\]")
_SIZES = {"double": 8, "float": 4, "i64": 8, "i32": 4}
_DEFINED = re.compile(r"^define (?:internal )?[^@]*@([\w.]+)\(", re.MULTILINE)


def machine_for(dtype: Any, lanes: int, *, strict: bool, flat: bool = False) -> Machine:
    """WebAssembly's machine for blocks of at least this many lanes."""
    kind = kind_of(dtype)
    width = VECTOR_BYTES // kind.bytes
    lanes = -(-lanes // width) * width
    return Machine(kind, VECTOR_BYTES, lanes, flat, strict, flat, in_order=strict and not flat, portable=True)


# The exact remainder of a division: y is doubled until it would exceed x, and subtracted on the way back. Each of these
# differences is exact, as x < 2y. Defined in https://en.cppreference.com/w/c/numeric/math/fmod.
_FMOD = """
declare double @llvm.fabs.f64(double)
declare double @llvm.copysign.f64(double, double)
define double @fmod(double %x, double %y) {
entry:
  %size = call double @llvm.fabs.f64(double %x)
  %unit = call double @llvm.fabs.f64(double %y)
  %finite = fcmp olt double %size, 0x7FF0000000000000
  %positive = fcmp ogt double %unit, 0.0
  %good = and i1 %finite, %positive
  br i1 %good, label %up, label %bad
bad:
  ret double 0x7FF8000000000000
up:
  %step = phi double [ %unit, %entry ], [ %twice, %up ]
  %twice = fadd double %step, %step
  %more = fcmp ole double %twice, %size
  br i1 %more, label %up, label %down
down:
  %rest = phi double [ %size, %up ], [ %less, %down ]
  %part = phi double [ %step, %up ], [ %half, %down ]
  %fits = fcmp oge double %rest, %part
  %difference = fsub double %rest, %part
  %less = select i1 %fits, double %difference, double %rest
  %half = fmul double %part, 0.5
  %large = fcmp oge double %half, %unit
  %bounded = fcmp olt double %half, 0x7FF0000000000000
  %again = and i1 %large, %bounded
  br i1 %again, label %down, label %done
done:
  %found = call double @llvm.copysign.f64(double %less, double %x)
  ret double %found
}
"""


class Layout:
    """The memory layout."""

    def __init__(self) -> None:
        self.end = _FIRST
        self.data: dict[int, bytes] = {}

    def room(self, size: int) -> int:
        """The address of `size` bytes that are 0 at first, followed by room for one more vector."""
        address = self.end
        self.end += -(-(size + VECTOR_BYTES) // 64) * 64
        if self.end > _MOST:
            raise ValueError(f"the module would need more than {_MOST:,} bytes of memory")
        return address

    def put(self, content: bytes) -> int:
        """The address of these bytes."""
        address = self.room(len(content))
        self.data[address] = content
        return address


@dataclass(frozen=True)
class Placed:
    """A program whose code is in the module: the function that runs it, and the addresses of its context, its uniform
    slots, and the lists of pointers to its arguments and results."""

    program: Program
    run: str
    context: int
    u: int
    arguments: int
    out: int
    size: int  # of a number, in bytes

    def slot(self, k: int) -> int:
        """The address of a uniform slot."""
        return self.u + k * self.size

    def field(self, name: str) -> int:
        return self.context + 8 * FIELDS[name]


class Assembly:
    """A module under construction."""

    def __init__(self, dtype: np.dtype[Any], *, strict: bool) -> None:
        self.dtype, self.strict, self.kind = dtype, strict, kind_of(dtype)
        self.layout = Layout()
        self._texts: list[tuple[str, str]] = []  # the prefix of the names of a text's functions, and the text
        self._kernels: dict[tuple[Machine, bool, tuple[int, ...]], str] = {}

    def machine(self, lanes: int, *, flat: bool = False) -> Machine:
        return machine_for(self.dtype, lanes, strict=self.strict, flat=flat)

    def image(self, values: Any) -> bytes:
        """Numbers as bytes in memory."""
        return np.ascontiguousarray(values, self.dtype.newbyteorder("<")).tobytes()

    def numbers(self, values: Any) -> int:
        """The address of these numbers."""
        return self.layout.put(self.image(values))

    def place(
        self,
        name: str,
        program: Program,
        sizes: Sequence[int],
        *,
        lanes: int,
        parameters: Sequence[float] = (),
        outputs: int = 0,
        flat: bool = False,
    ) -> Placed:
        """Add a program. `sizes` are those of its arguments, each of which is an array with the samples first; `flat`
        is for update rules. Raises LookupError for an operation that has no form here."""
        machine, layout = self.machine(lanes, flat=flat), self.layout
        text, tables = lower(program, machine, sizes, outputs)
        self._texts.append((f"{name}_", text))
        size = self.dtype.itemsize
        u = layout.room(program.uniform * size)
        layout.data[u] = self.image([*parameters, *program.constants])
        arguments = layout.room(4 * max(1, len(sizes)))
        out = layout.room(4 * len(program.results)) if flat else 0
        fields: dict[str, int] = {
            "u": u,
            "v": layout.room(max(1, program.varying) * machine.lanes * size),
            "tables": layout.put(tables.astype("<i4").tobytes()),
            "samples": 1,
            "arguments": arguments,
            "out": out,
            **self._streams(program, machine),
        }
        words = bytearray(struct.pack(f"<{len(FIELDS)}Q", *(fields.get(key, 0) for key in FIELDS)))
        struct.pack_into("<d", words, 8 * FIELDS["scale"], 1.0)
        return Placed(program, f"{name}_run", layout.put(bytes(words)), u, arguments, out, size)

    def _streams(self, program: Program, machine: Machine) -> dict[str, int]:
        """The kernels of the program's streams, as numbers in the table of functions."""
        found: dict[str, int] = {}
        for block in sorted({stream.block for stream in program.streams()}):
            composed = {
                code
                for stream in program.streams()
                if stream.block == block
                for code in stream.composed
                if rare(machine, code)
            }
            key = plain(machine, block=block), block, tuple(sorted(composed))
            if key not in self._kernels:
                self._kernels[key] = prefix = f"kernel{len(self._kernels)}_"
                self._texts.append((prefix, kernel_text(*key)))
            found["stream_block" if block else "stream_uniform"] = 1 + list(self._kernels).index(key)
        return found

    def function(self, name: str, head: str, write: Callable[[Any], None]) -> None:
        """A function of the module: `head` is its type and parameters, as in "i32 (ptr %x)"."""
        code = code_for(self.kind, strict=self.strict, portable=True)
        write(code)
        returns, parameters = head.split(" ", 1)
        called = {f"declare void @{run}(ptr)" for run in re.findall(r"call void @(\w+_run)\(", "\n".join(code.lines))}
        lines = [*sorted(code.declared | called), f"define {returns} @{name}{parameters} #0 {{", "entry:", *code.lines]
        self._texts.append(("", "\n".join([*lines, "}", "attributes #0 = { nounwind }"])))

    def module(self, exports: Sequence[str], numbers: Mapping[str, int]) -> bytes:
        """The module, exporting these functions and numbers. Raises RuntimeError if LLVM cannot compile the code."""
        if any("declare double @fmod(" in text for _, text in self._texts):
            self._texts.append(("", _FMOD))
        texts = [text for _, text in self._texts]
        stack = 1024 + sum(64 + int(n) * _SIZES[kind] for text in texts for n, kind in _ALLOCA.findall(text))
        top = self.layout.room(stack) + stack & ~63
        memory = Memory(self.layout.end, top, self.layout.data, _FIRST)
        numbers = {**numbers, "heap": self.layout.end}
        table = [f"{prefix}stream" for prefix in self._kernels.values()]
        return module(_object(self._texts), {name: name for name in exports}, table, memory, numbers)


@cache
def _target() -> Any:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(_TRIPLE)
    return target.create_target_machine(cpu="mvp", features=_FEATURES, opt=BEST, reloc="static")


def _object(texts: Sequence[tuple[str, str]]) -> bytes:
    """The object file of the texts, whose functions are told apart by their prefixes."""
    with inside:
        return emit(_target(), _whole(texts))


def _whole(texts: Sequence[tuple[str, str]]) -> Any:
    context = llvm.create_context()
    whole: Any = None
    for prefix, text in texts:
        part = llvm.parse_assembly(text, context)
        part.triple, part.data_layout = _TRIPLE, str(_target().target_data)
        if prefix:
            for name in _DEFINED.findall(text):
                if not name.startswith("composed."):
                    part.get_function(name).name = prefix + name
        if whole is None:
            whole = part
        else:
            whole.link_in(part)
    whole.verify()
    return whole


def pointer(address: int) -> str:
    """A constant address in LLVM's syntax."""
    return f"inttoptr (i32 {address} to ptr)"
