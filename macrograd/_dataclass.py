"""`dataclass`, as Python's own, but made in a tenth of the time.

Python's compiles the text of up to six methods for each class, and half of the time that `import macrograd.train` took
went there. Here a method is compiled when it is first called, and `__init__` when it has been called a few times: a
process uses few of the classes that it imports, and many of these for a few objects. The fields of a class are found
when they are first asked for, too.
"""

from __future__ import annotations

import dataclasses
import inspect
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

FEW = 16  # objects that are made without a compiled `__init__`: compiling one takes as long as making thirty

if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, eq: bool = True) -> Any:
        """What `dataclasses.dataclass` does; its other options are not there, nor is `InitVar`."""
        return _made(cls, frozen, eq) if cls is not None else lambda cls: _made(cls, frozen, eq)


def _made(cls: type, frozen: bool, eq: bool) -> type:
    if any(isinstance(value, dataclasses.Field) for value in vars(cls).values()) or not cls.__doc__:
        dataclasses.dataclass(init=False, repr=False, eq=False)(cls)  # the fields alone
    else:  # whose defaults the class has already
        _Later.of(cls)
    methods: dict[str, Any] = {
        "__init__": _init_later(cls, frozen),
        "__repr__": _compiled_later(cls, "__repr__", lambda: _repr(cls)),
        "__signature__": _Signature(cls),
    }
    if eq:
        methods["__eq__"] = _compiled_later(cls, "__eq__", lambda: _eq(cls))
        methods["__hash__"] = _compiled_later(cls, "__hash__", lambda: _hash(cls)) if frozen else None
    for name, method in methods.items():
        # Python writes `__hash__ = None` into a class that has an `__eq__` of its own.
        if name not in cls.__dict__ or (name == "__hash__" and cls.__dict__[name] is None):
            setattr(cls, name, method)
    if frozen:
        _freeze(cls)
    return cls


_LATER = ("__dataclass_fields__", "__dataclass_params__", "__match_args__")
_lock = threading.RLock()


class _Later:
    """What Python's decorator puts into a class, made when one of it is first looked at."""

    def __init__(self, cls: Any, name: str) -> None:
        self._cls, self._name = cls, name

    @classmethod
    def of(cls, made: type) -> None:
        for name in _LATER:
            if name not in vars(made):
                setattr(made, name, cls(made, name))

    def __get__(self, _: object, owner: type) -> Any:
        with _lock:
            if any(type(vars(self._cls).get(name)) is _Later for name in _LATER):
                # In their places, since another thread may look for one at any time.
                dataclasses.dataclass(init=False, repr=False, eq=False)(self._cls)
                if type(vars(self._cls).get("__match_args__")) is _Later:
                    fields = dataclasses.fields(self._cls)
                    names = tuple([x.name for x in fields if x.init and not x.kw_only])
                    type.__setattr__(self._cls, "__match_args__", names)
        return getattr(owner, self._name)


def _compiled_later(cls: type, name: str, compiled: Callable[[], Callable[..., Any]]) -> Callable[..., Any]:
    """A method that puts a compiled one in its own place. Two threads may do so at once: they are alike."""

    def method(self: Any, /, *given: Any, **named: Any) -> Any:
        made = compiled()
        setattr(cls, name, made)
        return made(self, *given, **named)

    return method


def _init_later(cls: type, frozen: bool) -> Callable[..., None]:
    """The same for `__init__`, whose first calls set the fields one by one."""
    later = _compiled_later(cls, "__init__", lambda: _init(cls, frozen))
    fields: tuple[dataclasses.Field[Any], ...] = ()
    made = 0

    def __init__(self: Any, /, *given: Any, **named: Any) -> None:  # noqa: N807 - a method in the making
        nonlocal made, fields
        made += 1
        if made > FEW:
            later(self, *given, **named)
            return
        if not fields:
            fields = dataclasses.fields(cls)
        values = _values(fields, given, named)
        if values is None:  # what is wrong is said by the compiled one
            later(self, *given, **named)
            return
        for name, value in values:
            (object.__setattr__ if frozen else setattr)(self, name, value)
        if hasattr(cls, "__post_init__"):
            self.__post_init__()

    __init__.__qualname__, __init__.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return __init__


def _values(fields: tuple[Any, ...], given: tuple[Any, ...], named: dict[str, Any]) -> list[tuple[str, Any]] | None:
    """The fields that an `__init__` with these arguments sets, in order; None if they do not fit."""
    left, used, found = list(reversed(given)), 0, []
    for field in fields:
        value = field.default
        if field.init and left and not field.kw_only:
            if field.name in named:
                return None
            value = left.pop()
        elif field.init and field.name in named:
            value, used = named[field.name], used + 1
        elif field.default_factory is not dataclasses.MISSING:
            value = field.default_factory()
        elif not field.init:
            continue  # of the class, or made by __post_init__
        elif value is dataclasses.MISSING:
            return None
        found.append((field.name, value))
    return None if left or used < len(named) else found


def _compiled(cls: type, name: str, head: str, lines: list[str], known: dict[str, Any]) -> Callable[..., Any]:
    body = "".join(f"\n    {line}" for line in lines)
    exec(f"def {name}({head}):{body}", known)  # noqa: S102 - names of fields, and nothing else
    made: Callable[..., Any] = known[name]
    made.__qualname__, made.__module__ = f"{cls.__qualname__}.{name}", cls.__module__
    return made


class _Factory:
    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


def _init(cls: type, frozen: bool) -> Callable[..., None]:
    known: dict[str, Any] = {"_factory": _FACTORY, "_set": object.__setattr__}
    arguments = ["self"]
    lines: list[str] = []
    named: list[str] = []
    for field in dataclasses.fields(cls):
        name, value, default = field.name, field.name, ""
        if field.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"] = field.default_factory
            value = f"_make_{name}()"
            if field.init:
                default, value = "=_factory", f"{value} if {name} is _factory else {name}"
        elif field.default is not dataclasses.MISSING:
            known[f"_default_{name}"], default = field.default, f"=_default_{name}"
        if field.init:
            (named if field.kw_only else arguments).append(name + default)
        elif field.default_factory is dataclasses.MISSING:
            continue  # of the class, or made by __post_init__
        lines.append(f"_set(self, {name!r}, {value})" if frozen else f"self.{name} = {value}")
    if hasattr(cls, "__post_init__"):
        lines.append("self.__post_init__()")
    head = ", ".join([*arguments, *(["*", *named] if named else [])])
    return _compiled(cls, "__init__", head, lines or ["pass"], known)


def _repr(cls: type) -> Callable[..., str]:
    told = ", ".join([f"{name}={{self.{name}!r}}" for name in _names(cls, "repr")])
    return _compiled(cls, "__repr__", "self", [f"return f'{{self.__class__.__qualname__}}({told})'"], {})


def _eq(cls: type) -> Callable[..., bool]:
    lines = [
        "if other.__class__ is not self.__class__:",
        "    return NotImplemented",
        f"return {_tuple('self', cls)} == {_tuple('other', cls)}",
    ]
    return _compiled(cls, "__eq__", "self, other", lines, {})


def _hash(cls: type) -> Callable[..., int]:
    return _compiled(cls, "__hash__", "self", [f"return hash({_tuple('self', cls)})"], {})


def _tuple(one: str, cls: type) -> str:
    return "(" + "".join([f"{one}.{name}, " for name in _names(cls, "compare")]) + ")"


def _names(cls: Any, use: str) -> list[str]:
    return [field.name for field in dataclasses.fields(cls) if getattr(field, use)]


def _freeze(cls: Any) -> None:
    def assign(self: Any, name: str, value: Any) -> None:
        if type(self) is cls or _is_field(cls, name):
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete(self: Any, name: str) -> None:
        if type(self) is cls or _is_field(cls, name):
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    cls.__setattr__, cls.__delattr__ = assign, delete


def _is_field(cls: Any, name: str) -> bool:
    return any(field.name == name for field in dataclasses.fields(cls))


class _Signature:
    """What `inspect.signature` reads of a class, made when it is looked at."""

    def __init__(self, cls: type) -> None:
        self._cls = cls

    def __get__(self, _: object, cls: Any) -> inspect.Signature:
        if cls is not self._cls:  # a class made from it, which may have its own __init__
            raise AttributeError("__signature__")
        signature = inspect.signature(_init(cls, frozen=False))
        types = {field.name: field.type for field in dataclasses.fields(cls)}
        found = [one.replace(annotation=types.get(one.name)) for one in signature.parameters.values()]
        return signature.replace(parameters=found[1:], return_annotation=None)
