"""The error for a name that does not exist, with its counterpart here if it is the name of another library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unknown(owner: str, name: str, obj: Any, elsewhere: Mapping[str, str]) -> AttributeError:
    """The error for `owner` without an attribute `name`.

    elsewhere  what to write here, by the name of another library
    obj        the owner itself, in which Python looks for a name that is close
    """
    remedy = f": {elsewhere[name]}" if name in elsewhere else ""
    return AttributeError(f"{owner} has no attribute {name!r}{remedy}", name=name, obj=obj)
