"""`macrograd._dataclass` against Python's own, on the same classes."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

import macrograd as mg
from macrograd import _dataclass
from macrograd._dataclass import dataclass as ours


def classes(dataclass: Any) -> SimpleNamespace:
    """Classes of every kind that the package has."""

    @dataclass(frozen=True)
    class Frozen:
        a: int
        b: str = "x"
        c: list[int] = field(default_factory=list)
        kind: ClassVar[int] = 3

    @dataclass
    class Open:
        a: int = 1
        hidden: Any = field(default=None, repr=False, compare=False)

    @dataclass(frozen=True, eq=False)
    class Apart:
        a: int

    @dataclass(frozen=True)
    class Derived(Frozen):
        d: float = 0.5
        named: int = field(kw_only=True)

    @dataclass(frozen=True)
    class Prepared:
        a: int
        twice: int = field(init=False)
        label: str = field(init=False, default="none")

        def __post_init__(self) -> None:
            object.__setattr__(self, "twice", 2 * self.a)

    @dataclass(frozen=True)
    class Own:
        a: int

        def __eq__(self, other: object) -> bool:
            return isinstance(other, Own)

        def __repr__(self) -> str:
            return "own"

    class Plain(Frozen):
        pass

    @dataclass(frozen=True)
    class Empty:
        pass

    return SimpleNamespace(**{name: made for name, made in locals().items() if inspect.isclass(made)})


PAIR = {"ours": classes(ours), "theirs": classes(dataclasses.dataclass)}


def told(use: Callable[[SimpleNamespace], Any]) -> list[str]:
    """What a use of the classes gives with each decorator, in words."""
    found = []
    for made in PAIR.values():
        try:
            found.append(f"{use(made)!r}")
        except (TypeError, AttributeError) as error:
            found.append(f"{type(error).__name__}: {error}")
    return [re.sub(r"0x\w+", "", text) for text in found]


USES: dict[str, Callable[[SimpleNamespace], Any]] = {
    "made": lambda k: [k.Frozen(1), k.Frozen(1, "y", [2]), k.Frozen(c=[], a=2), k.Open(), k.Open(2, 3), k.Plain(1)],
    "derived": lambda k: [k.Derived(1, named=2), k.Derived(1, "b", [3], 4.0, named=5)],
    "prepared": lambda k: [k.Prepared(2), k.Prepared(2) == k.Prepared(2)],
    "empty": lambda k: [k.Empty(), k.Empty() == k.Empty(), hash(k.Empty())],
    "own methods": lambda k: [k.Own(1), k.Own(1) == k.Own(2), hash(k.Own(1)) == hash(k.Own(1))],
    "nested": lambda k: k.Open(k.Open(k.Frozen(1))),
    "equal": lambda k: [k.Frozen(1) == k.Frozen(1), k.Frozen(1) == k.Frozen(2), k.Open() == k.Open(1, 9)],
    "equal to others": lambda k: [k.Frozen(1) == k.Plain(1), k.Frozen(1) == 1, k.Apart(1) == k.Apart(1)],
    "hashed": lambda k: hash(k.Frozen(1, "x", ())),
    "not hashed": lambda k: hash(k.Open()),
    "no default is shared": lambda k: k.Frozen(1).c is k.Frozen(1).c,
    "too few": lambda k: k.Frozen(),
    "too many": lambda k: k.Apart(1, 2),
    "unknown": lambda k: k.Open(b=1),
    "not by position": lambda k: k.Derived(1, "b", [], 1.0, 2),
    "fields": lambda k: [field.name for field in dataclasses.fields(k.Derived)],
    "replaced": lambda k: dataclasses.replace(k.Derived(1, named=2), b="z"),
    "as a dict": lambda k: dataclasses.asdict(k.Open(k.Frozen(1))),
    "copied": lambda k: [copy.deepcopy(k.Frozen(1, "x", [1])), copy.copy(k.Open(2))],
    "matched": lambda k: k.Derived.__match_args__,
    "constant": lambda k: [k.Frozen.kind, k.Frozen(1).kind],
    "signature": lambda k: [str(inspect.signature(one)) for one in (k.Frozen, k.Open, k.Derived, k.Prepared)],
    "assigned": lambda k: setattr(k.Frozen(1), "a", 2),
    "assigned anew": lambda k: setattr(k.Frozen(1), "z", 2),
    "assigned in a subclass": lambda k: setattr(k.Plain(1), "b", 2),
    "deleted": lambda k: delattr(k.Frozen(1), "a"),
    "open": lambda k: setattr(k.Open(1), "a", 2),
    "names": lambda k: [k.Frozen.__init__.__qualname__.rpartition(".")[0] == k.Frozen.__qualname__],
}


@pytest.mark.parametrize("few", [0, 1, _dataclass.FEW])
@pytest.mark.parametrize("use", USES)
def test_a_dataclass_is_as_pythons_own(use: str, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_dataclass, "FEW", few)  # objects that are made before a method is compiled for the others
    monkeypatch.setitem(PAIR, "ours", classes(ours))
    for _ in range(2):  # the other methods are compiled by the first call
        mine, theirs = told(USES[use])
        assert mine == theirs


def test_a_plain_subclass_may_have_more_attributes_and_another_init() -> None:
    class Sub(PAIR["ours"].Frozen):
        def __init__(self, z: int) -> None:
            super().__init__(z)
            self.more = z

    assert (Sub(3).more, Sub(3).a, str(inspect.signature(Sub))) == (3, 3, "(z: 'int') -> 'None'")


@ours(frozen=True)
class Sent:
    """An object that is compared and hashed before its class has made one."""

    a: int
    b: tuple[int, ...] = ()


def test_an_unpickled_object_is_whole_before_its_class_has_made_one() -> None:
    message = pickle.dumps(object.__new__(Sent))
    one, other = (pickle.loads(message) for _ in range(2))  # noqa: S301 - made here
    for it in (one, other):
        it.__dict__.update(a=1, b=(2,))
    assert (one == other, {one: 3}[other], repr(one)) == (True, 3, "Sent(a=1, b=(2,))")


def test_the_package_makes_all_its_dataclasses_like_this() -> None:
    root = Path(mg.__file__).parent
    for path in root.rglob("*.py"):
        source = path.read_text("utf-8")
        if path.name != "_dataclass.py" and re.search(
            r"^from dataclasses import .*\bdataclass\b", source, re.MULTILINE
        ):
            assert re.findall(r"@dataclass.*", source) == ["@dataclass(slots=True)"], path


def _two_fields() -> Any:
    @ours
    class Two:
        """Without a docstring its fields are found at once."""

        a: int = 0
        b: str = "x"

    return Two


def test_another_thread_never_finds_a_class_without_its_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it finds while they are being made lets it wait for them."""
    made, there = dataclasses.dataclass, list[bool]()

    def watched(**options: Any) -> Callable[[type], type]:
        def make(cls: type) -> type:
            there.append({"__dataclass_fields__", "__dataclass_params__", "__match_args__"} <= vars(cls).keys())
            return made(**options)(cls)

        return make

    cls = _two_fields()
    monkeypatch.setattr(dataclasses, "dataclass", watched)
    assert [x.name for x in dataclasses.fields(cls)] == ["a", "b"]
    assert there == [True]
    assert cls.__match_args__ == ("a", "b")


def test_objects_that_two_threads_make_first_have_what_they_were_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both find the fields of the class: here one does while the other is about to."""
    cls, fields, first = _two_fields(), dataclasses.fields, [True]

    def interrupted(of: Any) -> Any:
        if first.pop() if first else False:
            assert cls(1, "z").b == "z"
        return fields(of)

    monkeypatch.setattr(_dataclass.dataclasses, "fields", interrupted)
    assert [(x.a, x.b) for x in (cls(1, "y"), cls(2, "w"))] == [(1, "y"), (2, "w")]
