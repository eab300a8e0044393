"""Packages whose names are loaded when they are first used (PEP 562): importing one costs what is used of it.

Such a package says where its names are once for Python, in the table that it gives to `lazy`, and once for type
checkers, as imports that they alone see; a test compares the two. No module in it may have the name of something else
that the package offers: importing the module would put it in that place.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from macrograd._names import unknown


def lazy(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """The `__getattr__` and `__dir__` of a package.

    modules  for modules of the package the names that they have, as an import lists them: "Plan, of as plan_of"
    """
    here = sys.modules[package]
    places: dict[str, tuple[str, str]] = {}
    for module, names in modules.items():
        for name in names.split(", "):
            there, _, called = name.partition(" as ")
            places[called or there] = module, there

    def load(name: str) -> Any:
        if name in places:
            module, there = places[name]
            found = getattr(import_module(f"{package}.{module}"), there)
        else:
            found = _module(package, name)
            if found is None:
                raise unknown(f"module {package!r}", name, here, {})
        setattr(here, name, found)
        return found

    return load, lambda: sorted({*vars(here), *places})


def _module(package: str, name: str) -> Any:
    """A module of the package by its name, which Python alone only knows once it is imported; None if there is none."""
    whole = f"{package}.{name}"
    if name.startswith("_") or not name.isidentifier():
        return None
    try:
        return import_module(whole)
    except ModuleNotFoundError as error:
        if error.name != whole:
            raise
        return None
