"""Which call of which module computed each Value: a tree of calls, recorded while a function runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import field
from types import FrameType
from typing import Any

from macrograd._dataclass import dataclass
from macrograd.interpreter import Interpreter
from macrograd.nn import Module
from macrograd.ops import CONSTANT
from macrograd.value import Value, interpret


@dataclass
class Call:
    """A call of a module, with what it computed.

    path      the module's path in the model; "" for the model and for everything
    module    the module; None for everything
    children  calls and Values in the order in which they were first computed
    """

    path: str
    module: Module | None
    children: list[Call | Value] = field(default_factory=list)


class Calls(Interpreter):
    """The interpreter that notes the calls in which each Value is made: those of the `__call__`s of a model's modules
    that are running then."""

    def __init__(self, model: Module) -> None:
        paths = model.named_modules()
        self._paths = {id(module): path for path, module in paths.items()}
        self._made: dict[int, tuple[FrameType, ...]] = {}  # by the id of a Value, from the outermost call
        self._codes = {type(module).__call__.__code__ for module in paths.values() if callable(module)}
        self._values: list[Value] = []  # kept, so that their ids are not reused

    def run(self, make: Callable[[], Any]) -> Any:
        """Call `make()` and return its result."""
        return interpret(self, make)

    def new(self, kind: Any) -> Any:
        node = object.__new__(kind)
        found: list[FrameType] = []
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code is not Calls.run.__code__:
            if frame.f_code in self._codes and id(_self(frame)) in self._paths:
                found.append(frame)
            frame = frame.f_back
        self._made[id(node)] = tuple(reversed(found))
        self._values.append(node)
        return node

    def tree(self, order: Iterable[Value]) -> Call:
        """The calls that made these Values, with those that are results of operations."""
        root, calls = Call("", None), dict[FrameType, Call]()
        there = {id(node) for node in order}
        for node in self._values:
            if id(node) not in there or node.op is None or node.op is CONSTANT:
                continue
            parent = root
            for frame in self._made[id(node)]:
                module = _self(frame)
                if parent.module is module:  # a method of a base class, called by that of the class
                    continue
                if frame not in calls:
                    calls[frame] = Call(self._paths[id(module)], module)
                    parent.children.append(calls[frame])
                parent = calls[frame]
            parent.children.append(node)
        self._made.clear()  # frames lead to this object, and must not keep each other alive
        return root


def _self(frame: FrameType) -> Any:
    names = frame.f_code.co_varnames
    return frame.f_locals.get(names[0]) if names else None
