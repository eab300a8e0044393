"""`Vector`: a sequence of numbers or Values with elementwise arithmetic.

Array arguments are Vectors inside a function that is compiled or differentiated; nets, gradients and `softmax` return
them. A list would silently do something else: `*` repeats it and `+` concatenates. An array with two axes is a Vector
of Vectors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NoReturn

from macrograd import ops
from macrograd._methods import Methods
from macrograd._names import elsewhere
from macrograd.value import Value, constant

_JOIN = "to join them write mg.concat(a, b)"


class Vector(Methods):
    """The elements of `items`, in order: numbers, Values, or nested sequences, which become Vectors.

    A Vector supports indexing (`x[0]`, `x[1:]`, `x[2, 0]` for two axes), iteration, unpacking, `len` and assignment to
    elements, as a list does. `+ - * / **`, `%`, `//` and the comparisons `< <= > >=` are elementwise; the other operand
    is one number or Value for all elements, or a sequence with the same nesting. So are `-x`, `abs(x)` and the
    functions and methods of one operand, such as `mg.tanh(x)` and `x.tanh()`. `mg.concat` concatenates.

    `==` compares whole sequences, as for lists: it is true if both hold the same numbers.

    Raises ValueError for sequences of different lengths, and TypeError for a different nesting or non-numeric elements.
    """

    __slots__ = ("_items",)
    _spreads = True  # an operation on a Vector and a Value is done by the Vector (macrograd.ops.Op)
    __array_priority__ = 1000.0  # NumPy leaves `array * vector` to the Vector
    __hash__ = None  # type: ignore[assignment]  # like a list, it is mutable

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
        """The element at an index with several axes, or the error for an invalid index."""
        items: Any = self._items
        if not isinstance(key, tuple) or not key:
            try:
                return items[key]
            except IndexError:
                raise IndexError(f"index {key} is out of range for a Vector of length {len(self._items)}") from None
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
            raise ValueError(
                f"a Vector cannot change its length: the slice has {len(self._items[key])} elements, got {len(found)}"
            )
        self._items[key] = found

    def __dir__(self) -> list[str]:
        return [name for name in object.__dir__(self) if name not in _ELSEWHERE]

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
            _refuse_equality("sequences of Values were compared by ==, which tests whether they are the same objects")
        return all(a == b for a, b in pairs)

    def index(self, element: Any, *bounds: int) -> int:
        """The position of the first such element, as for lists. Raises ValueError if there is none."""
        return self._items.index(element, *bounds)

    def count(self, element: Any) -> int:
        """How many elements are equal to `element`."""
        return self._items.count(element)

    def tolist(self) -> list[Any]:
        """The elements as (nested) lists."""
        return [x.tolist() if isinstance(x, Vector) else x for x in self._items]

    # --- elementwise arithmetic -------------------------------------------------------------------------------------

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
        raise TypeError("@ is not supported on Vector: write mg.dot(a, b), or [mg.dot(row, x) for row in matrix]")

    __rmatmul__ = __matmul__

    @classmethod
    def _apply(cls, op: ops.Op, operands: tuple[Any, ...]) -> Vector:
        """The operation on each element; a number or Value is broadcast."""
        if op.arity is None:
            raise TypeError(f"{op.name}() takes numbers and Values, got a sequence among them: pass its elements")
        columns = _alike(op.name, operands)
        return vector([op(*row) for row in zip(*columns, strict=True)])


class _Conditions(Vector):
    """The result of a comparison: a truth value for each element, and none for the sequence."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError(
            "a comparison of sequences has one result per element, not one truth value: choose elementwise with "
            "mg.where(condition, a, b), or use all(condition) or any(condition)"
        )


def vector(items: list[Any]) -> Vector:
    """A Vector that wraps this list without copying; its elements must be numbers, Values and Vectors."""
    made: Vector = object.__new__(Vector)
    made._items = items
    return made


def as_argument(x: Any) -> Any:
    """An array as a (nested) Vector of Python numbers, a scalar unchanged: the argument of a net or a loss."""
    found = x.tolist() if hasattr(x, "tolist") else x
    return Vector(found) if isinstance(found, list) else found


def concat(*sequences: Any) -> Vector:
    """Concatenate sequences into one Vector. Raises TypeError if an argument is not a sequence."""
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
    """The elements of each operand, with scalars repeated. Raises ValueError for different lengths, and TypeError if
    one sequence holds rows and another scalars."""
    found = [_elements(x) for x in operands]
    lengths = {len(x) for x in found if x is not None}
    if len(lengths) > 1:
        raise ValueError(
            f"{name} is elementwise and needs sequences of equal length, got {min(lengths)} and {max(lengths)} "
            f"elements; {_JOIN}"
        )
    (length,) = lengths
    listed = [x for x in found if x is not None]
    if len(listed) > 1:
        for row in zip(*listed, strict=True):
            nested = [_elements(x) is not None for x in row]
            if any(nested) and not all(nested):
                raise TypeError(
                    f"{name} is elementwise, but one of these sequences holds rows and another numbers: "
                    "loop over the rows, as in [row * x for row in rows]"
                )
    return [[operand] * length if x is None else x for operand, x in zip(operands, found, strict=True)]


def _paired(name: str, left: Any, right: Any, function: Callable[[Any, Any], Any]) -> Any:
    """The function of each pair of elements; NotImplemented if one side is neither a sequence nor a number."""
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
    """a / b; as for Values, 1/0 is an infinity."""
    return ops.div(a, b) if _is_number(a) and _is_number(b) else a / b


def _powered(a: Any, b: Any) -> Any:
    return ops.power(a, b) if _is_number(a) and _is_number(b) else a**b


def _is_number(x: Any) -> bool:
    return isinstance(x, (int, float))


_ELSEWHERE = {
    **{name: f"write mg.{name}(x)" for name in ("sum", "mean", "softmax", "logsumexp", "detach")},
    "backward": "a gradient is that of one number: call backward() on one Value, such as mg.mean(x) or x[0]",
    "dot": "write mg.dot(a, b)",
    "max": "write max(x) for numbers; mg.maximum(a, b) is the larger of two Values",
    "min": "write min(x) for numbers; mg.minimum(a, b) is the smaller of two Values",
    "argmax": "write x.index(max(x)), or max(range(len(x)), key=lambda i: x[i].data) for Values",
    **dict.fromkeys(("data", "numpy", "item"), "write [value.data for value in x]"),
    "grad": "write [value.grad for value in x]",
    **dict.fromkeys(("append", "extend"), "write mg.concat(a, b)"),
}
elsewhere(Vector, "a Vector", _ELSEWHERE)

Sequence.register(Vector)  # a base class would make every `isinstance` of a Vector run Python code
