"""What a process waits for when it ends, and what it does not free: LLVM and code that threads are inside of."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import macrograd as mg
from macrograd.compiler.jit import native, tiers
from macrograd.compiler.targets.wasm import assembly

ENDS = """
import atexit
import ctypes
import threading
import time

{before}
from macrograd.compiler.jit import tiers

building = threading.Event()


def build():
    building.set()
    threading.main_thread().join()
    time.sleep(0.2)  # in which a process that does not wait would end
    print("built", flush=True)


atexit.register(print, "ended", flush=True)
watch = tiers.TierUp(build, 0.0, lambda: 0.0)
ask = ctypes.CFUNCTYPE(None)(watch.address)
{asked}
"""


def ends(asked: str, before: str = "") -> str:
    """What a process says that ends when native code has asked for better code."""
    program = ENDS.format(asked=asked, before=before)
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return ran.stdout


def test_a_process_waits_for_the_module_that_is_being_made() -> None:
    """If it ended inside LLVM, it would crash."""
    assert ends("ask(), ask(), building.wait()") == "built\nended\n"


def test_a_process_that_ends_begins_no_other_module() -> None:
    after = "atexit.register(lambda: (tiers.builder.submit(build), tiers.builder.wait()))"
    assert ends("", after) == "ended\n"


def test_ctrl_c_does_not_end_a_process_inside_of_llvm() -> None:
    class Slow(tiers.Builder):
        def wait(self) -> None:
            left.append(0)
            if len(left) < 3:
                raise KeyboardInterrupt
            go_on.set()
            super().wait()

    left: list[int] = []
    builder, building, built, go_on = Slow(), threading.Event(), threading.Event(), threading.Event()

    def build() -> None:
        building.set()
        go_on.wait(60.0)
        built.set()

    builder.submit(build)
    building.wait(60.0)
    builder.end()
    assert built.is_set()
    other = threading.Event()
    builder.submit(other.set)
    super(Slow, builder).wait()
    assert not other.is_set()


INSIDE = """
import atexit
import threading
import time

inside, ending, refused = threading.Event(), threading.Event(), threading.Event()


def last():  # registered first, this is called after all others
    with tiers.inside:  # who ends the process may go in
        refused.wait()
    print("last", flush=True)


atexit.register(last)
from macrograd.compiler.jit import tiers

atexit.register(ending.set)


def work():
    with tiers.inside:
        inside.set()
        ending.wait()
        time.sleep(0.2)  # in which a process that does not wait would end
        print("out", flush=True)
    try:
        while True:
            with tiers.inside:
                time.sleep(0.0)
    except SystemExit as error:
        print(error, flush=True)
        raise  # which Python does not print
    finally:
        refused.set()


threading.Thread(target=work, daemon=True).start()
inside.wait()
"""


def test_a_process_waits_for_daemons_that_compile() -> None:
    """If it ended while they are inside LLVM, it would crash."""
    ran = subprocess.run([sys.executable, "-c", INSIDE], capture_output=True, text=True, check=True)
    assert (ran.stdout, ran.stderr) == ("out\nthe process is ending\nlast\n", "")


def exported() -> None:
    twice = mg.compile(lambda x: x * 2.0)
    twice(1.0)
    mg.export(twice, "twice.wasm")


ENTRIES: dict[str, tuple[Any, Callable[[], object]]] = {
    "compiling": (native, lambda: native.object_file("")),
    "linking": (native, lambda: native.linked(native.object_file(""), [])),
    "WebAssembly": (assembly, exported),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_nobody_enters_llvm_when_another_thread_ends_the_process(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    module, enter = ENTRIES[name]
    monkeypatch.setattr(module, "inside", tiers.Inside())
    enter()
    ender = threading.Thread(target=module.inside.end)
    ender.start()
    ender.join()
    with pytest.raises(SystemExit):
        enter()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def work() -> None:
        with tiers.inside:
            inside.set()
            go_on.wait(60.0)

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait(60.0)
    child = os.fork()
    if not child:
        tiers.inside.end()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    go_on.set()
    thread.join()


SHARED = """
import os

from macrograd.compiler.jit import native


class Code:
    def __del__(self, write=os.write):
        write(1, b"freed ")


{before}
shared = native.Shared(Code)
shared()
linker = native.never_freed(Code())
"""


def test_what_daemons_may_be_running_is_not_freed_when_the_process_ends() -> None:
    """They run on in native code, until the process is gone."""
    for before, said in (("", b""), ("native.never_freed = lambda x: x", b"freed freed ")):
        program = SHARED.format(before=before)
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
        assert (ran.stdout, ran.stderr) == (said, b"")


# The module's code would be freed with the function, and the daemon that runs it would have none.
RUNS = """
import builtins
import ctypes
import threading
import time

import numpy as np

from macrograd.compiler.jit import native

TEXT = '''define void @loop(ptr %running) {
entry:
  store atomic i64 1, ptr %running release, align 8
  br label %again
again:
  store atomic i64 2, ptr %running release, align 8
  br label %again
}'''


class Late:
    def __del__(self, sleep=time.sleep, say=print, number=ctypes.c_int64(0)):
        number = self.running
        number.value = 0
        while number.value != 2:  # it runs yet
            sleep(0.01)
        say("ended", flush=True)


builtins.late = late = Late()  # which Python frees after all modules
late.running = ctypes.c_int64(0)
code = native.Native(b"a loop without an end", ("loop",), lambda: (TEXT, np.zeros(1, dtype=np.int32)))
address = code.address("loop")
threading.Thread(
    target=ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address), args=(ctypes.addressof(late.running),), daemon=True
).start()
while late.running.value != 2:
    time.sleep(0.01)
"""


def test_code_that_a_daemon_runs_stays_until_the_process_is_gone() -> None:
    """Also code that a module holds, which Python frees when it ends."""
    ran = subprocess.run([sys.executable, "-c", RUNS], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "ended\n", "")
