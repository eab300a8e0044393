"""The error for a name that does not exist, with its counterpart here if it is the name of another library."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn


def unknown(owner: str, name: str, obj: Any, elsewhere: Mapping[str, str]) -> AttributeError:
    """The error for `owner` without an attribute `name`.

    elsewhere  what to write here, by the name of another library
    obj        the owner itself, in which Python looks for a name that is close
    """
    remedy = f": {elsewhere[name]}" if name in elsewhere else ""
    return AttributeError(f"{owner} has no attribute {name!r}{remedy}", name=name, obj=obj)


class Elsewhere:
    """An attribute that a class of another library has: asking for it raises the error with its counterpart here.

    In place of `__getattr__`, which would slow down every question for an attribute that does not exist.
    """

    def __init__(self, owner: str, name: str, remedy: str) -> None:
        self._owner, self._name, self._remedy = owner, name, remedy

    def __get__(self, obj: Any, kind: type) -> NoReturn:
        raise unknown(self._owner, self._name, obj, {self._name: self._remedy})


def elsewhere(kind: type, owner: str, remedies: Mapping[str, str]) -> None:
    """Give a class the attributes of another library's class, with what to write here."""
    for name, remedy in remedies.items():
        setattr(kind, name, Elsewhere(owner, name, remedy))
