"""A process may fork while its other threads trace and compile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from macrograd._forks import free, free_in_child

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="systems that fork")

# A thread stands in a trace, and in the first call of `f`, while the main thread forks; the child then uses both, and
# Python's garbage collector, which the trace is without. It is ended by an alarm if it waits for what only the thread
# could give it.
_CHILD = """
import gc, os, signal, threading
import macrograd as mg

w = mg.Value(2.0)
inside, go = threading.Event(), threading.Event()

def slow(x):
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        go.wait()
    return x * w

f = mg.compile(slow)
thread = threading.Thread(target=f, args=(1.0,))
thread.start()
inside.wait()
child = os.fork()
if not child:
    signal.alarm(500)
    product = w * 3.0
    right = product.data == 6.0 and type(product) is mg.Value and gc.isenabled()
    right = right and mg.compile(lambda x: mg.tanh(x * w))(0.0) == 0.0 and f(2.0) == 4.0
    os._exit(0 if right else 1)
go.set()
thread.join()
assert f(3.0) == 6.0
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""

# Hooks run before a fork in the order of their registration reversed: this one after macrograd's.
_LLVM = """
import os
import llvmlite.binding as llvm
held = []
os.register_at_fork(before=lambda: held.append(llvm.ffi.lib._lock._lock._is_owned()))
import macrograd as mg
mg.compile(lambda x: mg.tanh(x) * mg.sin(x), backend="llvm")(0.5)
child = os.fork()
owned = llvm.ffi.lib._lock._lock._is_owned()
if not child:
    os._exit(owned)
print(held, owned, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def _printed(program: str, tmp_path: Path) -> str:
    environment = {**os.environ, "MACROGRAD_CACHE": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert not done.returncode, done.stderr
    return done.stdout


def test_a_child_waits_for_no_thread_of_its_parent(tmp_path: Path) -> None:
    assert _printed(_CHILD, tmp_path) == "child 0\n"


def test_no_thread_is_inside_llvm_while_another_forks(tmp_path: Path) -> None:
    assert _printed(_LLVM, tmp_path) == "[True] False 0\n"


def test_what_the_thread_that_forks_holds_it_keeps() -> None:
    mine, others = free_in_child(threading.RLock()), free_in_child(threading.Lock())
    others.acquire()
    with mine:  # which raises RuntimeError at its end if it is free then
        free()
    assert not others.locked()
