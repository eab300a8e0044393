"""A process ends while daemons of its user compile, or run what was compiled."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

pytest.importorskip("llvmlite")
from macrograd.compiler.jit import gate

_COMPILES = """
import atexit
import threading
import time
{before}
from macrograd.compiler.jit import gate

entered, again, go_on = threading.Event(), threading.Event(), threading.Event()


@gate.leaves_at_exit
def compile(name):
    print(name, flush=True)


@gate.leaves_at_exit
def slow():
    entered.set()
    go_on.wait()
    time.sleep(0.2)  # in which a process that does not wait would end
    print("left", flush=True)


def user():
    slow()
    try:
        compile("entered again")
    finally:
        again.set()


atexit.register(go_on.set)
threading.Thread(target=user, daemon=True).start()
entered.wait()
"""


def _ends(program: str) -> str:
    """What a process prints that must end well."""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_a_process_waits_for_a_daemon_inside_of_llvm() -> None:
    """Were it inside when the C library's exit handlers run, it would crash."""
    assert _ends(_COMPILES.format(before="atexit.register(print, 'ended', flush=True)")) == "left\nended\n"


def test_a_process_that_ends_lets_no_daemon_enter_llvm() -> None:
    """The thread that ends it still may, as in another exit handler."""
    after = "atexit.register(lambda: (again.wait(), compile('the last')))"
    assert _ends(_COMPILES.format(before=after)) == "left\nthe last\n"


# The module's code would be freed with the function, and the daemon that runs it would have none.
_RUNS = """
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


def test_code_that_a_daemon_runs_stays_until_the_process_ends() -> None:
    assert _ends(_RUNS) == "ended\n"


def test_ctrl_c_does_not_end_the_wait() -> None:
    class Interrupted(gate.Gate):
        def wait(self, lock: threading.Lock) -> None:
            came.append(0)
            if len(came) < 3:
                raise KeyboardInterrupt
            go_on.set()
            super().wait(lock)

    def slow() -> None:
        entered.set()
        go_on.wait(60.0)
        left.set()

    came: list[int] = []
    way, entered, go_on, left = Interrupted(), threading.Event(), threading.Event(), threading.Event()
    thread = threading.Thread(target=way.through, args=(slow,))
    thread.start()
    entered.wait(60.0)
    way.close()
    assert left.is_set()
    thread.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_waits_for_no_thread_of_its_parent() -> None:
    way, entered, go_on = gate.Gate(), threading.Event(), threading.Event()
    thread = threading.Thread(target=way.through, args=(lambda: (entered.set(), go_on.wait(60.0)),))
    thread.start()
    entered.wait(60.0)
    child = os.fork()
    if not child:
        way.close()
        os._exit(0)
    go_on.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
