"""Machine code that is put into memory without LLVM: as LLVM would, or not at all."""

from __future__ import annotations

import ctypes
import gc
import math
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from macrograd.compiler.jit import elf, native, processor, tiers

pytestmark = pytest.mark.skipif(not elf.known(), reason="LLVM links the files of this system")

# Constants in memory, a call inside, a call outside, a variable, one that begins as zeros, and a table of addresses.
TEXT = """
@kept = global double 3.0
@zeros = global [5 x double] zeroinitializer
@table = constant [2 x ptr] [ptr @twice, ptr @kept]
declare double @llvm.sin.f64(double)
define double @twice(double %x) noinline {
  %y = fmul double %x, 2.0
  ret double %y
}
define void @run(ptr %at) {
  %x = load double, ptr %at
  %a = call double @twice(double %x)
  %b = call double @llvm.sin.f64(double %a)
  %c = load double, ptr @kept
  %d = fadd double %b, %c
  store double %d, ptr @kept
  %place = getelementptr double, ptr @zeros, i64 3
  %e = load double, ptr %place
  %f = fadd double %d, %e
  %code = load ptr, ptr @table
  %g = call double %code(double %f)
  store double %g, ptr %at
  ret void
}
"""


LEVELS = tiers.BASELINE, tiers.BEST  # for distances below 2 GB, and for any


def image(level: int = tiers.BASELINE) -> bytes:
    return native.object_file(TEXT, level)


def call(address: int, x: float) -> float:
    room = ctypes.c_double(x)
    ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)(ctypes.addressof(room))
    return room.value


@pytest.mark.parametrize("level", LEVELS)
def test_it_runs_as_llvm_links_it(level: int) -> None:
    names = ("run", "kept", "zeros")
    mine = elf.Image(image(level))
    other, theirs = native.linked(image(level), names)
    for found in (mine.addresses(names), theirs):
        answer = 2.0 * (math.sin(1.5) + 3.0)
        assert call(found["run"], 0.75) == answer
        assert ctypes.c_double.from_address(found["kept"]).value == answer / 2.0
        ctypes.c_double.from_address(found["zeros"] + 24).value = 1.0
        assert call(found["run"], 0.0) == answer + 2.0
    assert other  # which holds the code
    with pytest.raises(KeyError):
        mine.addresses(["nowhere"])


def test_two_files_have_memory_of_their_own_until_nothing_holds_it() -> None:
    one, two = elf.Image(image()), elf.Image(image())
    first, second = (found.addresses(["kept"])["kept"] for found in (one, two))
    ctypes.c_double.from_address(first).value = 7.0
    assert ctypes.c_double.from_address(second).value == 3.0
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    assert call(two.addresses(["run"])["run"], 0.0) == 6.0


def test_no_memory_is_written_and_run() -> None:
    held = elf.Image(image())
    found = held.addresses(["run", "kept", "table"])
    rights = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(one, 16) for one in line.split()[0].split("-"))
        rights |= {name: line.split()[1] for name, at in found.items() if begin <= at < end}
    assert rights["run"] == "r-xp"
    assert rights["kept"] == "rw-p"
    assert "x" not in rights["table"]


def changed(kind: str, field: str, new: int) -> bytes:
    """The file with one field of its first section of a kind, or of the first entry in it, changed."""
    found = bytearray(image())
    begin, count = int.from_bytes(found[40:48], "little"), int.from_bytes(found[60:62], "little")
    sections = np.frombuffer(found, elf.SECTION, count, begin)
    numbers = {"text": elf.LOADED | elf.RUN, "data": elf.LOADED | elf.WRITTEN}
    for section in sections:
        if kind in numbers and section["size"] and int(section["use"]) & 7 == numbers[kind]:
            section[field] = new
            return bytes(found)
        if kind == "place" and section["kind"] == elf.RELOCATIONS and sections[section["info"]]["use"] & elf.RUN:
            np.frombuffer(found, elf.RELOCATION, 1, int(section["offset"]))[0][field] = new
            return bytes(found)
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "field", "new"),
    [
        ("text", "kind", 14),  # functions to be called first
        ("text", "use", 0x407),  # of each thread
        ("text", "align", 1 << 16),
        ("data", "offset", 1 << 40),
        ("place", "kind", 10),  # R_X86_64_32
        ("place", "kind", 26),  # R_X86_64_GOTPC32
        ("place", "addend", 1 << 40),  # further than a distance of 32 bits
        ("place", "offset", 1 << 20),
        ("place", "symbol", 1 << 20),
        ("place", "symbol", 0),
    ],
)
def test_what_is_not_known_is_left_to_llvm(kind: str, field: str, new: int) -> None:
    elf.Image(image())
    with pytest.raises(elf.UnknownError):
        elf.Image(changed(kind, field, new))


def test_a_function_that_this_process_lacks_is_not_known() -> None:
    text = "declare double @nowhere_at_all(double)\ndefine void @run(ptr %x) {\n"
    text += "  %y = call double @nowhere_at_all(double 1.0)\n  ret void\n}"
    with pytest.raises(elf.UnknownError, match="a symbol without an address"):
        elf.Image(native.object_file(text))


# A call, and a variable, of another library: far from a file's memory.
OUTSIDE = """
@stdout = external global ptr
declare double @llvm.sin.f64(double)
define void @run(ptr %at) {
  %x = load double, ptr %at
  %y = call double @llvm.sin.f64(double %x)
  %file = load ptr, ptr @stdout
  %there = icmp ne ptr %file, null
  %z = select i1 %there, double %y, double 0.0
  store double %z, ptr %at
  ret void
}
"""


@pytest.mark.parametrize("level", LEVELS)
def test_what_is_far_away_is_reached_through_the_table(level: int) -> None:
    held = elf.Image(native.object_file(OUTSIDE, level))
    assert call(held.addresses(["run"])["run"], 0.75) == math.sin(0.75)


def test_files_of_other_systems_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (b"", b"\xcf\xfa\xed\xfe" + bytes(60), image()[:18] + b"\xb7\x00" + image()[20:]):
        with pytest.raises(elf.UnknownError, match="another system"):
            elf.Image(wrong)
    monkeypatch.setattr(elf, "known", lambda: False)
    with pytest.raises(elf.UnknownError, match="another system"):
        elf.Image(image())


def test_where_new_code_may_not_run_llvm_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    monkeypatch.setattr(elf, "allowed", lambda *_: False)
    made = native.Native(b"may not", ("run",), lambda: (TEXT, np.zeros(1, np.int32)))
    assert call(made.address("run"), 0.0) == 6.0
    with pytest.raises(elf.UnknownError, match="a system that lets no new code run"):
        elf.Image(image())


def test_where_there_is_no_more_memory_llvm_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise OSError("Cannot allocate memory")

    monkeypatch.setattr("mmap.mmap", refused)
    with pytest.raises(RuntimeError, match="no more memory for machine code: drop"):
        elf.Image(image())


FULL = """
import ctypes, mmap, warnings
import macrograd as mg

double = mg.compile(lambda x: x * 2.0)
print(double(1.0))
# Every second page of a large piece is read: the system keeps them apart, until it keeps no more.
most = int(open("/proc/sys/vm/max_map_count").read())
system, size = ctypes.CDLL(None), ctypes.c_size_t(mmap.PAGESIZE)
system.mmap.restype = ctypes.c_void_p
none, private = 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
begin = system.mmap(None, ctypes.c_size_t(most * mmap.PAGESIZE), none, private, -1, ctypes.c_long(0))
pages = [ctypes.c_void_p(begin + k * mmap.PAGESIZE) for k in range(0, most, 2)]
for page in pages:
    if system.mprotect(page, size, mmap.PROT_READ):
        break
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    print(mg.compile(lambda x: x * 3.0)(1.0))
print(said[0].message)
for page in pages:
    system.mprotect(page, size, none)
with warnings.catch_warnings():
    warnings.simplefilter("error")
    print(mg.compile(lambda x: x * 5.0)(1.0), double(3.0))
"""


@pytest.mark.skipif(not Path("/proc/sys/vm/max_map_count").exists(), reason="counts pieces of memory as Linux does")
def test_a_process_with_as_many_pieces_of_memory_as_it_may_have_goes_on(tmp_path: Path) -> None:
    if int(Path("/proc/sys/vm/max_map_count").read_text()) > 300_000:
        pytest.skip("as many as that take too long to make")
    environment = {**os.environ, "MACROGRAD_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", FULL], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, instead, warning, after = done.stdout.splitlines()
    assert (first, instead, after) == ("2.0", "3.0", "5.0 6.0")
    assert "pieces (vm.max_map_count)" in warning
    assert "drop compiled functions" in warning
    assert "it runs on NumPy instead" in warning


# --- processes that find all their code ---------------------------------------------------------------------------

PROGRAM = """
import sys
import numpy as np
import macrograd as mg
net = mg.nn.MLP(3, [8, 8, 2], activation="tanh", seed=1)
f = mg.compile(lambda x, t: mg.losses.cross_entropy(net(x), t), batch=True)
X, y = np.linspace(-1, 1, 120).reshape(40, 3), np.arange(40) % 2
print(float(f.backward(X, y)).hex(), [float(p.grad).hex() for p in net.parameters()])
trainer = mg.Trainer(net, optimizer=mg.optim.Adam(0.01))
trainer.fit(X, y, epochs=3, batch_size=8, seed=1, progress=False)
print(trainer.predict(X).tolist(), [float(p.data).hex() for p in net.parameters()])
print(float(mg.compile(lambda x: mg.sin(x) ** 1.5)(0.7)).hex())
print("llvmlite.binding" in sys.modules, file=sys.stderr)
"""


def answer(folder: Path, before: str = "", **more: str) -> tuple[str, str]:
    environment = {**os.environ, "MACROGRAD_CACHE": str(folder), "MACROGRAD_TIERS": "best", **more}
    done = subprocess.run(
        [sys.executable, "-c", before + PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_a_process_that_finds_all_its_code_has_the_same_bits_without_llvm(tmp_path: Path) -> None:
    first, loaded = answer(tmp_path)
    assert loaded == "True\n"
    assert answer(tmp_path) == (first, "False\n")
    linked = "from macrograd.compiler.jit import elf; elf.Image = None; elf.known = lambda: False\n"
    linked += "def unknown(image): raise elf.UnknownError\nelf.Image = unknown\n"
    assert answer(tmp_path, linked) == (first, "True\n")


def test_llvm_that_no_longer_loads_is_replaced_by_numpy_and_a_warning(tmp_path: Path) -> None:
    said = "import macrograd as mg; print(mg.compile(lambda x: x * 3.0 + 1.0)(2.0))"
    environment = {**os.environ, "MACROGRAD_CACHE": str(tmp_path)}

    def run(program: str) -> Any:
        whole = [sys.executable, "-c", program]
        return subprocess.run(whole, env=environment, capture_output=True, text=True, check=True)

    assert run(said).stdout == "7.0\n"
    found = run("import sys; sys.modules['llvmlite.binding'] = None\n" + said.replace("3.0", "4.0"))
    assert found.stdout == "9.0\n"
    assert "llvmlite does not load here" in found.stderr
    assert "it runs on NumPy instead" in found.stderr


# --- the processor ------------------------------------------------------------------------------------------------


def test_the_processor_has_llvms_names_from_the_cache_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import llvmlite.binding as llvm

    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    asked = processor.machine.__wrapped__
    found = asked()
    assert (found.cpu, found.features) == (llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten())
    assert [path.name[64:] for path in tmp_path.iterdir()] == ["-processor.o"]
    with monkeypatch.context() as patch:
        patch.setattr(llvm, "get_host_cpu_name", lambda: pytest.fail("the name is kept"))
        assert asked() == found
    said = processor.said()
    assert said is not None
    assert said == processor.said()
    monkeypatch.setattr(processor, "said", lambda: said + b"more")  # another processor
    asked()
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.setattr(processor, "said", lambda: None)
    assert asked() == found
    assert len(list(tmp_path.iterdir())) == 2
