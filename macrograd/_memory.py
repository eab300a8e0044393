"""The memory that there is, for refusing what would fill it before any work is done."""

from __future__ import annotations

import os
from pathlib import Path

# The limits of a container, where there are any: the kernel's second and first interface.
_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
# Less than this is never looked at: asking the system takes longer than making a small net.
COUNTED = 256 << 20


def there() -> int | None:
    """The bytes of the machine, or of the container if that may have fewer; None if the system does not tell."""
    found = []
    if hasattr(os, "sysconf"):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit in map(Path, _LIMITS):
        try:
            text = limit.read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            found.append(int(text))
    return min(found, default=None)


def check(what: str, needed: int, remedy: str) -> None:
    """Raise ValueError if what takes `needed` bytes does not fit: "`what` which take some … GiB of memory"."""
    if needed < COUNTED:
        return
    most = there()
    if most is not None and needed > most:
        raise ValueError(
            f"{what}, which take some {needed / 2**30:,.1f} GiB of memory, and the machine has {most / 2**30:,.1f}: "
            f"{remedy}"
        )
