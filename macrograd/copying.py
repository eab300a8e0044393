"""Pickling and copying of Values and of objects that hold functions.

A graph may be a chain of a million operations, which pickle would follow operand by operand, one level of recursion
each. A Value is therefore written as an empty object, and the first one of a graph brings a list: all the others, also
empty, and then the contents of each. By then pickle knows every object, so it recurses no further, and cycles (a
gradient that is a Value refers back to its own) do no harm. `copy.deepcopy` works the same way.

No file is a pickle: `save` and `load` have a format that runs no code. Only the processes of a sweep send each other
pickles.
"""

from __future__ import annotations

import copyreg
import sys
import threading
from collections.abc import Iterator
from types import FunctionType
from typing import Any

# Per thread: the ids of the Values in the list being written.
_new: Any = copyreg.__newobj__  # type: ignore[attr-defined]  # where object.__reduce_ex__ finds it, too
_here = threading.local()
_FIELDS = 7  # per Value in the list


def reduced(value: Any) -> tuple[Any, ...]:
    """The result of `Value.__reduce__`."""
    cls, grad = value.__class__, value.grad
    if id(value) in being_pickled():
        return _new, (cls,)
    if value._a is None and not hasattr(grad, "_a") and not hasattr(value, "__dict__"):
        return leaf, (cls, value.data, grad, value.op, value.label)
    return _new, (cls,), _Graph(value)


def leaf(cls: type[Any], data: float, grad: float, op: Any, label: str) -> Any:
    """A Value without operands."""
    made = object.__new__(cls)
    made.data, made.grad, made.op, made.label = data, grad, op, label
    made._a = made._b = None
    return made


def fill(items: list[Any]) -> None:
    """Fill a graph from its list, for `Value.__setstate__`."""
    count = items[0]
    fields = iter(items[1 + count :])
    for node, *more in zip(items[1 : 1 + count], *[fields] * _FIELDS, strict=True):
        node.data, node.grad, node.op, node._a, node._b, node.label, others = more
        if others:
            node.__dict__.update(others)


class _Graph:
    """Stands for the list of a graph: pickle asks for its items one by one while it writes them."""

    def __init__(self, root: Any) -> None:
        self.root = root

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (), None, self._items()

    def _items(self) -> Iterator[Any]:
        nodes = _reachable(self.root)
        brought = being_pickled()
        mine = {id(node) for node in nodes} - brought
        brought |= mine
        try:
            yield len(nodes)
            yield from nodes
            for x in nodes:
                yield from (x.data, x.grad, x.op, x._a, x._b, x.label, getattr(x, "__dict__", None))
        finally:  # also if pickling fails: the generator is closed then
            brought -= mine


def being_pickled() -> set[int]:
    found: set[int] = _here.__dict__.setdefault("brought", set())
    return found


def _reachable(root: Any) -> list[Any]:
    """The Values that the root and the gradients along the way were computed from."""
    found: list[Any] = []
    seen: set[int] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        found.append(node)
        stack.extend(node.inputs)
        if hasattr(node.grad, "_a"):
            stack.append(node.grad)
    return found


def checked_state(owner: Any, *left_out: str) -> dict[str, Any]:
    """The attributes of `owner` except those `left_out`, for its `__getstate__`.

    Raises TypeError if one is a function that pickle cannot find again, and says which and what to do.
    """
    state = {name: thing for name, thing in vars(owner).items() if name not in left_out}
    for name, thing in state.items():
        if isinstance(thing, FunctionType):
            check_importable(f"this {type(owner).__name__}", name.lstrip("_"), thing)
    return state


def check_importable(owner: str, what: str, function: Any) -> None:
    """Raise TypeError for a lambda or a local function, which pickle cannot write: it stores a function as its name in
    its module. `copy`, and picklers that store the code of functions, may have them."""
    if not isinstance(function, FunctionType):
        return
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    if found is function or _whole():
        return
    code = function.__code__
    kind = "a lambda" if function.__name__ == "<lambda>" else f"the local function {function.__name__}"
    raise TypeError(
        f"{owner} cannot be pickled: its {what} is {kind} ({code.co_filename}:{code.co_firstlineno}), and pickle "
        "stores a function as its name in a module. Define it with def at the top level of a module"
    )


def _whole() -> bool:
    """Whether the caller stores the code of functions: copy, cloudpickle (joblib and dask bundle it) or dill."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name == "copy" or "cloudpickle" in name or name.partition(".")[0] == "dill":
            return True
        frame = frame.f_back
    return False
