"""`Vector`: a sequence of numbers or Values whose arithmetic goes element by element.

It is what an array argument is inside a function that is compiled or differentiated, and what a net, a gradient or
`softmax` returns. A list would do something else without a word: repeat where a product was meant, and join where a sum
was. Two axes are a Vector of Vectors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from macrograd import ops
from macrograd.value import Value, constant

_JOIN = "to join them write mg.concat(a, b)"


class Vector:
    """The elements of `items`, in order: numbers, Values, or further sequences, which become Vectors.

    It indexes (`x[0]`, `x[1:]`, `x[2, 0]` for two axes), iterates, unpacks and has a length, as a list does; an element
    can be set. `+ - * / **`, `%`, `//` and the comparisons `< <= > >=` go element by element, with one number or Value
    for all or with a sequence nested alike; so do `-x`, `abs(x)` and the functions and methods of one operand, such as
    `mg.tanh(x)` and `x.tanh()`. `mg.concat` joins.

    `==` asks, as for lists, whether two sequences hold the same numbers.

    Raises ValueError for sequences of different lengths, and TypeError for what is nested differently or is no number.
    """

    __slots__ = ("_items",)
    _spreads = True  # an operation of a Vector and a Value is the Vector's (macrograd.ops.Op)
    __array_priority__ = 1000.0  # NumPy leaves `array * vector` to the Vector
    __hash__ = None  # type: ignore[assignment]  # as a list: its elements can be set

    _items: list[Any]

    def __init__(self, items: Iterable[Any]) -> None:
        listed = _elements(items)
        if listed is None:
            try:
                listed = list(items)
            except TypeError:
                raise TypeError(
                    f"Vector(items) takes a sequence of numbers and Values, got {items!r} of type "
                    f"{type(items).__name__}"
                ) from None
        self._items = [x if _elements(x) is None else Vector(x) for x in listed]

    # --- a sequence -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __getitem__(self, key: Any) -> Any:
        try:
            found = self._items[key]
        except (IndexError, TypeError):
            return self._elsewhere(key)
        return found if found.__class__ is not list else vector(found)  # a slice: no element is a list

    def _elsewhere(self, key: Any) -> Any:
        """The element of several axes, or the error for what is no index."""
        items: Any = self._items
        if not isinstance(key, tuple) or not key:
            try:
                return items[key]
            except IndexError:
                raise IndexError(f"index {key} is outside a Vector of {len(self._items)}") from None
        first, *rest = key
        found = self[first]
        if not rest:
            return found
        inner = tuple(rest)
        return vector([row[inner] for row in found]) if isinstance(first, slice) else found[inner]

    def __setitem__(self, key: Any, new: Any) -> None:
        if not isinstance(key, slice):
            self._items[key] = new if _elements(new) is None else Vector(new)
            return
        found = Vector(new)._items
        if len(found) != len(self._items[key]):
            raise ValueError(f"a Vector keeps its length: {len(self._items[key])} elements cannot become {len(found)}")
        self._items[key] = found

    def __repr__(self) -> str:
        return f"Vector({self._items!r})"

    def __eq__(self, other: object) -> bool:
        others = _elements(other) if isinstance(other, (Vector, list)) else None
        if others is None:
            if getattr(other, "shape", None):  # an array compares element by element, with a list too
                return other.__eq__(self.tolist())
            if constant(other) is not None:
                _refuse_equality("a sequence was compared with one number by ==")
            return NotImplemented
        if len(others) != len(self._items):
            return False
        pairs = [(a, b) for a, b in zip(self._items, others, strict=True) if a is not b]
        if any(isinstance(x, Value) for pair in pairs for x in pair):
            _refuse_equality("sequences of Values were compared by ==, which asks whether they are the same objects")
        return all(a == b for a, b in pairs)

    def index(self, element: Any, *bounds: int) -> int:
        return self._items.index(element, *bounds)

    def count(self, element: Any) -> int:
        return self._items.count(element)

    def tolist(self) -> list[Any]:
        """The elements as (nested) lists."""
        return [x.tolist() if isinstance(x, Vector) else x for x in self._items]

    # --- element by element -----------------------------------------------------------------------------------------

    def __add__(self, other: Any) -> Any:
        return _paired("+", self, other, operator.add)

    def __radd__(self, other: Any) -> Any:
        return _paired("+", other, self, operator.add)

    def __sub__(self, other: Any) -> Any:
        return _paired("-", self, other, operator.sub)

    def __rsub__(self, other: Any) -> Any:
        return _paired("-", other, self, operator.sub)

    def __mul__(self, other: Any) -> Any:
        return _paired("*", self, other, operator.mul)

    def __rmul__(self, other: Any) -> Any:
        return _paired("*", other, self, operator.mul)

    def __truediv__(self, other: Any) -> Any:
        return _paired("/", self, other, _divided)

    def __rtruediv__(self, other: Any) -> Any:
        return _paired("/", other, self, _divided)

    def __pow__(self, other: Any) -> Any:
        return _paired("**", self, other, _powered)

    def __rpow__(self, other: Any) -> Any:
        return _paired("**", other, self, _powered)

    def __floordiv__(self, other: Any) -> Any:
        return _paired("//", self, other, operator.floordiv)

    def __rfloordiv__(self, other: Any) -> Any:
        return _paired("//", other, self, operator.floordiv)

    def __mod__(self, other: Any) -> Any:
        return _paired("%", self, other, operator.mod)

    def __rmod__(self, other: Any) -> Any:
        return _paired("%", other, self, operator.mod)

    def __neg__(self) -> Vector:
        return vector([-x for x in self._items])

    def __pos__(self) -> Vector:
        return vector([+x for x in self._items])

    def __abs__(self) -> Vector:
        return vector([abs(x) for x in self._items])

    def __lt__(self, other: Any) -> Any:
        return _compared(self, other, operator.lt)

    def __le__(self, other: Any) -> Any:
        return _compared(self, other, operator.le)

    def __gt__(self, other: Any) -> Any:
        return _compared(self, other, operator.gt)

    def __ge__(self, other: Any) -> Any:
        return _compared(self, other, operator.ge)

    def __matmul__(self, other: Any) -> NoReturn:
        raise TypeError("a Vector has no @: write mg.dot(a, b), or [mg.dot(row, x) for row in matrix]")

    __rmatmul__ = __matmul__

    @classmethod
    def _apply(cls, op: ops.Op, operands: tuple[Any, ...]) -> Vector:
        """The operation on each element; a number or Value stands for all of them."""
        if op.arity is None:
            raise TypeError(
                f"{op.name}() takes numbers and Values, and was given a sequence among them: give the elements of one"
            )
        columns = _alike(op.name, operands)
        return vector([op(*row) for row in zip(*columns, strict=True)])


class _Conditions(Vector):
    """What a comparison gives: a truth value for each element, and none for all."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError(
            "a comparison of sequences has an answer for each element: choose element by element with "
            "mg.where(condition, a, b), or ask all(condition) or any(condition)"
        )


def vector(items: list[Any]) -> Vector:
    """A Vector of this very list, whose elements are numbers, Values and Vectors already."""
    made: Vector = object.__new__(Vector)
    made._items = items
    return made


def as_argument(x: Any) -> Any:
    """An array as a (nested) Vector of Python's numbers, a scalar as it is: what a net or a loss is called with."""
    found = x.tolist() if hasattr(x, "tolist") else x
    return Vector(found) if isinstance(found, list) else found


def concat(*sequences: Any) -> Vector:
    """The elements of all sequences, one sequence after the other. Raises TypeError for what is no sequence."""
    joined: list[Any] = []
    for given in sequences:
        found = _elements(given)
        if found is None:
            raise TypeError(
                f"concat() joins sequences, got {given!r} of type {type(given).__name__}: write [x] for one"
            )
        joined += found
    return Vector(joined)


def _elements(x: Any) -> list[Any] | None:
    """The elements of a sequence; None for a scalar and for anything else."""
    if isinstance(x, Vector):
        return x._items
    if isinstance(x, (list, tuple)):
        return list(x)
    if getattr(x, "shape", None) and hasattr(x, "tolist"):
        return list(x.tolist())
    return None


def _alike(name: str, operands: Sequence[Any]) -> list[list[Any]]:
    """The elements of each operand, a scalar as often as there are elements. Raises ValueError for different lengths,
    and TypeError where one sequence holds rows and another scalars."""
    found = [_elements(x) for x in operands]
    lengths = {len(x) for x in found if x is not None}
    if len(lengths) > 1:
        raise ValueError(
            f"{name} goes element by element and takes sequences of one length, got {min(lengths)} and {max(lengths)} "
            f"elements; {_JOIN}"
        )
    (length,) = lengths
    listed = [x for x in found if x is not None]
    if len(listed) > 1:
        for row in zip(*listed, strict=True):
            nested = [_elements(x) is not None for x in row]
            if any(nested) and not all(nested):
                raise TypeError(
                    f"{name} goes element by element, and of these sequences one holds rows and another numbers: "
                    "go through the rows, as in [row * x for row in rows]"
                )
    return [[operand] * length if x is None else x for operand, x in zip(operands, found, strict=True)]


def _paired(name: str, left: Any, right: Any, function: Callable[[Any, Any], Any]) -> Any:
    """The function on each pair of elements; NotImplemented if one side is neither a sequence nor a number."""
    for x in (left, right):
        if _elements(x) is None and constant(x) is None:
            return NotImplemented
    a, b = _alike(name, (left, right))
    return vector([function(x, y) for x, y in zip(a, b, strict=True)])


def _compared(left: Any, right: Any, function: Callable[[Any, Any], Any]) -> Any:
    found = _paired("a comparison", left, right, function)
    if found is not NotImplemented:
        found.__class__ = _Conditions
    return found


def _refuse_equality(what: str) -> NoReturn:
    raise TypeError(
        f"{what}: compare numbers, as in [a.data == b.data for a, b in zip(x, y)], or write a condition with < and <=, "
        "as in abs(x - y) <= 1e-9"
    )


def _divided(a: Any, b: Any) -> Any:
    """a / b, which is an infinity for 1/0 as it is for Values."""
    return ops.div(a, b) if _is_number(a) and _is_number(b) else a / b


def _powered(a: Any, b: Any) -> Any:
    return ops.power(a, b) if _is_number(a) and _is_number(b) else a**b


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float))


def _method(op: ops.Op) -> Callable[[Vector], Vector]:
    def method(self: Vector) -> Vector:
        return self._apply(op, (self,))

    method.__doc__ = f"`mg.{op.name}` of each element."
    return method


for _op in ops.TABLE:  # all that Value has as a method
    if _op.arity == 1 and hasattr(Value, _op.name):
        setattr(Vector, _op.name, _method(_op))

Sequence.register(Vector)  # and not its base: that would cost every `isinstance` of a Vector a walk through Python
