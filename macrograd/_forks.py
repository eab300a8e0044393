"""Locks that a forked process finds free.

A child of `os.fork` has only the thread that forked. What another thread of its parent held at that moment, nobody
would ever release: the child would wait forever. What these locks guard is a cache, which is whole between two
operations of Python, or is set right where the child begins (`value.py`).
"""

from __future__ import annotations

import os
from typing import Any, TypeVar
from weakref import WeakSet

Lock = TypeVar("Lock")

_locks: WeakSet[Any] = WeakSet()


def free_in_child(lock: Lock) -> Lock:
    """The lock, which a forked child finds free unless the thread that forks holds it itself."""
    _locks.add(lock)
    return lock


def free() -> None:
    """Free all locks but those that this thread holds."""
    for lock in list(_locks):
        if not (hasattr(lock, "_is_owned") and lock._is_owned()):
            lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=free)
