"""Which models compute the same with other numbers: a description of all that a program is recorded from.

Two objects with equal descriptions differ only in the numbers of their parameters, so that a program recorded from one
is that of the other. Functions are described by their code and what they have closed over. Anything unknown is
described by its identity: it equals nothing else, and costs only speed.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import field
from functools import cached_property, partial
from operator import attrgetter
from types import BuiltinFunctionType, CellType, FunctionType, MethodType
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd.nn import Module
from macrograd.ops import TABLE
from macrograd.optim import Optimizer
from macrograd.train.objective import Smoothed
from macrograd.value import Value
from macrograd.vector import Vector

_PLAIN = (bool, int, float, str, bytes, type(None), complex)
_ZEROS = ("0.0", "-0.0")
_op = attrgetter("op")
# The state of an optimiser and its rates, which each net has for itself.
_OWN = frozenset({"schedule", "steps", "state", "_parameters"})


class Key:
    """A long tuple as a key, whose hash is computed once."""

    __slots__ = ("_hash", "items")

    def __init__(self, items: tuple[Any, ...]) -> None:
        self.items, self._hash = items, hash(items)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Key) and self._hash == other._hash and self.items == other.items)


class Description:
    """The description of some objects: `key`, and `alike`, which says of a float only whether it is 0, since that of
    others seldom changes which operations there are; and the parameters found in them, in order, each once.

    lasting  whether it will always describe what these objects compute: whether all their code is of this package.
             Functions and methods of others may read global names, whose meaning changes
    """

    def __init__(self, *things: Any) -> None:
        self.lasting = True
        self.parameters: list[Value] = []
        self._key: list[Any] = []
        self._places: dict[int, int] = {}  # of parameters and of whatever may contain itself
        self._held: list[Any] = []  # so that no id is used twice
        stack: list[Any] = list(reversed(things))
        while stack:
            stack.extend(reversed(self._described(stack.pop())))
        self.key = Key(tuple(self._key))

    @cached_property
    def alike(self) -> Key:
        """The key without the numbers that are not 0."""
        return Key(tuple([(x[0], x[1] in _ZEROS) if type(x) is tuple and x[0] is float else x for x in self._key]))

    def of(self, parameters: list[Value]) -> Description:
        """The same description with other parameters."""
        found = object.__new__(Description)
        found.__dict__.update(self.__dict__, parameters=parameters, alike=self.alike)
        return found

    def _described(self, thing: Any) -> list[Any]:
        """Add an object to the key; returns its parts."""
        put = self._key.append
        kind = type(thing)
        if kind in _PLAIN:
            put((kind, repr(thing)) if kind is float else thing if kind is str else (kind, thing))
            return []
        if kind is list and self._values(thing):
            return []
        place = self._places.get(id(thing))
        if place is not None:
            put(("again", place))
            return []
        self._places[id(thing)] = len(self._places)
        self._held.append(thing)
        if isinstance(thing, Value):
            if thing.op is None:
                self.parameters.append(thing)
                put(Value)
            else:  # frozen: its number is part of the program. Computed: as unknown as its operands
                put((Value, repr(thing.data)) if not thing.inputs else id(thing))
                self.lasting = self.lasting and not thing.inputs
            return []
        if isinstance(thing, (Module, Optimizer, Smoothed)):
            self.lasting = self.lasting and _ours(kind)
            left = _OWN if isinstance(thing, Optimizer) else ("_signature",)
            items = [(name, x) for name, x in vars(thing).items() if name not in left]
            put((kind, tuple(name for name, _ in items)))
            return [x for _, x in items]
        if kind in (list, tuple) or isinstance(thing, Vector):
            put((kind, len(thing)))
            return list(thing)
        if kind is dict:
            put((kind, len(thing)))
            return [x for item in thing.items() for x in item]
        return self._other(thing)

    def _values(self, things: list[Any]) -> bool:
        """Add a list of parameters that were not met before, which most lists of a model are, in one go."""
        if not things or type(things[0]) is not Value:
            return False
        ids = [*map(id, things)]
        if (
            set(map(type, things)) != {Value}
            or any(map(_op, things))
            or id(things) in self._places
            or len(set(ids)) < len(ids)
            or not self._places.keys().isdisjoint(ids)
        ):
            return False
        first = len(self._places)
        self._places[id(things)] = first
        self._places.update(zip(ids, range(first + 1, first + 1 + len(ids)), strict=True))
        self._held.append(things)
        self.parameters.extend(things)
        self._key += [(list, len(things)), *[Value] * len(things)]
        return True

    def _other(self, thing: Any) -> list[Any]:
        put, kind = self._key.append, type(thing)
        if kind is np.ndarray and thing.dtype.kind in "biuf":
            put((kind, thing.dtype.str, thing.shape, thing.tobytes()))
            return []
        if kind is FunctionType:
            cells = [*map(_content, thing.__closure__ or ())]
            self.lasting = self.lasting and _ours(thing)
            put((kind, thing.__code__, id(thing.__globals__), len(cells)))
            return [thing.__defaults__, thing.__kwdefaults__, dict(vars(thing)), *cells]
        if kind is MethodType:
            put(kind)
            return [thing.__func__, thing.__self__]
        if isinstance(thing, partial):
            put((kind, len(thing.args), tuple(thing.keywords)))
            return [thing.func, *thing.args, *thing.keywords.values()]
        if isinstance(thing, (type, BuiltinFunctionType)):
            self.lasting = self.lasting and (_ours(thing) or thing.__module__ == "builtins")
            put(thing)
            return []
        self.lasting = self.lasting and any(thing is op for op in TABLE)
        put((kind, id(thing)))
        return []


def _ours(thing: Any) -> bool:
    """Whether the code of a function or a class is this package's. A function belongs where its globals are, whatever a
    decorator has copied to its `__module__`; methods of a class, also those it inherits, may have been replaced."""
    if type(thing) is FunctionType:
        return _written_here(thing)
    if not (thing.__module__ or "").startswith("macrograd."):
        return False
    members = [x for base in getattr(thing, "__mro__", ())[:-1] for x in vars(base).values()]
    functions = [getattr(x, "fget", None) or getattr(x, "__func__", x) for x in members]
    return all(_written_here(f) for f in functions if type(f) is FunctionType)


def _written_here(function: FunctionType) -> bool:
    """Whether a function is this package's or, as what `dataclass` makes may be, the standard library's."""
    name = str(function.__globals__.get("__name__"))
    return name.startswith("macrograd.") or name.partition(".")[0] in sys.stdlib_module_names


def _content(cell: CellType) -> Any:
    """What a function has closed over; the cell itself while that is not yet defined."""
    try:
        return cell.cell_contents
    except ValueError:
        return cell


class Twins:
    """Finds models that are equal to one but for their parameters, in a fraction of the time of a description.

    The model's modules and lists are noted in the order of a walk; another model is walked beside them. A model with
    anything but modules, lists, plain values and tuples of these in it has no twins: a description of each must tell
    then.
    """

    def __init__(self, model: Module) -> None:
        self.model = model
        self._nodes: list[_Node] = []
        # What is in each module and list of the model itself, and the kinds of its modules.
        self._inside: list[tuple[Any, list[str], list[Any]]] = []
        self._modules: list[Module] = []
        self._known = True
        leaves: list[Any] = []
        stack: list[Any] = [model]
        while stack and self._known:
            thing = stack.pop()
            node = self._noted(thing)
            self._nodes.append(node)
            if type(thing) is list:
                self._inside.append((thing, [], list(thing)))
            elif isinstance(thing, Module):
                self._inside.append((vars(thing), list(vars(thing)), list(vars(thing).values())))
                self._modules.append(thing)
            parts = node.parts_of(thing)
            if node.leaf:
                leaves += parts
            else:
                stack.extend(reversed(parts))
        self._known = self._known and _apart(leaves)
        self.leaves = tuple(leaves)
        self._kinds = list(map(type, self._modules))
        self._ids = [list(map(id, things)) for _, _, things in self._inside]

    def unchanged(self) -> bool:
        """Whether the model itself still has the same objects in it, which is quicker to tell than of a twin."""
        if not self._known or list(map(type, self._modules)) != self._kinds or any(map(_op, self.leaves)):
            return False
        for (thing, names, _), ids in zip(self._inside, self._ids, strict=True):
            if type(thing) is list:
                if list(map(id, thing)) != ids:
                    return False
            elif list(map(id, thing.values())) != ids or list(thing) != names:
                return False
        return True

    def _noted(self, thing: Any) -> _Node:
        kind = type(thing)
        if kind is Value:
            return _Node(kind, leaf=True)
        if kind is list:
            return _Node(kind, count=len(thing), leaf=bool(thing) and set(map(type, thing)) == {Value})
        if not isinstance(thing, Module):
            self._known = kind in _PLAIN
            return _Node(kind, equal={"": thing})
        items = _items(thing)
        parts = tuple(name for name, x in items.items() if type(x) in (Value, list) or isinstance(x, Module))
        equal = {name: x for name, x in items.items() if name not in parts}
        if any(isinstance(x, (dict, tuple, Vector)) and not _plain(x) for x in equal.values()):  # may hold parameters
            self._known = False
        return _Node(kind, names=tuple(items), parts=parts, equal=equal)

    def of(self, other: Module) -> list[Value] | None:
        """The parameters of the other model in the order of a description; None if it is no twin."""
        if not self._known:
            return None
        leaves: list[Any] = []
        stack: list[Any] = [other]
        for node in self._nodes:
            thing = stack.pop()
            if not node.fits(thing):
                return None
            parts = node.parts_of(thing)
            if node.leaf:
                leaves += parts
            else:
                stack.extend(reversed(parts))
        return leaves if _apart(leaves) else None


@dataclass(frozen=True)
class _Node:
    """A parameter, a list of `count` things, a plain value, or a module of a `kind`: the `names` of its attributes,
    which of them are `parts` to walk on through, and those that a twin has `equal`. The parts of a `leaf` are
    parameters."""

    kind: type
    count: int = -1
    names: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    equal: dict[str, Any] = field(default_factory=dict)
    leaf: bool = False

    def fits(self, thing: Any) -> bool:
        kind: type = type(thing)  # not `type(thing) is`, which would narrow Any to object
        if kind is not self.kind:
            return False
        if self.kind is Value or self.kind is list:
            return self.count < 0 or len(thing) == self.count
        items = _items(thing) if self.names else {"": thing}
        if self.names and tuple(items) != self.names:
            return False
        for name, mine in self.equal.items():
            theirs = items[name]
            if theirs is not mine and not (
                type(theirs) is type(mine) and _plain(theirs) and _plain(mine) and repr(theirs) == repr(mine)
            ):
                return False
        return True

    def parts_of(self, thing: Any) -> Sequence[Any]:
        if self.kind is Value:
            return (thing,)
        if self.kind is list:
            return thing  # type: ignore[no-any-return]  # a list, by its kind
        return [vars(thing)[name] for name in self.parts]


def _plain(thing: Any) -> bool:
    """Whether it is a plain value, or a tuple of such: the same for ever, and nothing but what it prints."""
    return type(thing) in _PLAIN or (type(thing) is tuple and all(map(_plain, thing)))


def _apart(leaves: list[Any]) -> bool:
    """Whether all are parameters, neither frozen nor computed, and each is there once."""
    return set(map(type, leaves)) <= {Value} and not any(map(_op, leaves)) and len(set(map(id, leaves))) == len(leaves)


def _items(module: Module) -> dict[str, Any]:
    found = vars(module)
    return {name: x for name, x in found.items() if name != "_signature"} if "_signature" in found else found
