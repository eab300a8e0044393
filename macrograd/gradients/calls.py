"""Shared by all derivatives: run a function once, on new leaves, and list the part of its graph that depends on them.

The leaves are new even for arguments that are already Values. If the arguments themselves were used, the inner
derivative of x·d/dy(x·y) at y = x would confuse the outer x with its y ("perturbation confusion"; Siskind &
Pearlmutter, *Nesting forward-mode AD in a functional framework*, 2008).
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from types import MethodType
from typing import Any

from macrograd import ops
from macrograd._dataclass import dataclass
from macrograd.copying import check_importable
from macrograd.graph import topological
from macrograd.ops import CONSTANT
from macrograd.rules import of_numbers, sweep
from macrograd.value import Value, constant, positive_zero, recording
from macrograd.vector import Vector, vector


@dataclass
class Call:
    """One run of a function.

    arguments  the arguments that are differentiated, with a leaf in place of every scalar
    leaves     these leaves, in order
    first      the index in `leaves` of the first leaf of each argument
    result     the function's result
    results    its scalars, in order
    order      the operations on paths from the leaves to the results, operands before results
    beside     the other operations that the results depend on
    numbers    whether only numbers went in, so that numbers come out
    mark       in a recorded program, how many Values were made before the leaves
    eager      what adds up derivatives as the eager engine would, in a recorded program that has to
    """

    arguments: tuple[Any, ...]
    leaves: list[Value]
    first: list[int]
    result: Any
    results: list[Any]
    order: list[Value]
    beside: list[Value]
    numbers: bool
    mark: int | None
    eager: Any

    def close(self) -> None:
        """Turn the leaves that stand for numbers into constants. An outer derivative must not mistake them for the
        caller's Values, as it would while they are leaves; an inner one, during this call, had to see them as Values.
        """
        for leaf in self.leaves:
            if leaf.op is None:
                leaf.op = CONSTANT

    def gradients(self, result: Any, *, more: Sequence[Value] = ()) -> dict[Value, Any]:
        """The gradient of a scalar with respect to the leaves that it depends on: numbers if only numbers went in, else
        Values. The scalar is one of the results, or computed from them by the operations `more`."""
        if not isinstance(result, Value):
            return {}
        order = [*self.order, *more]
        if self.numbers:
            return of_numbers(order, result, self.leaves, self.beside)
        return self._swept(result, order, more)

    def slopes(self, result: Any) -> list[Any]:
        """The gradient of a scalar with respect to each leaf, in a form that can be differentiated again."""
        found = self._swept(result, self.order) if isinstance(result, Value) else {}
        return [found.get(x, 0.0) for x in self.leaves]

    def _swept(self, result: Any, order: list[Value], more: Sequence[Value] = ()) -> dict[Value, Any]:
        if self.eager is not None:
            found: dict[Value, Any] = self.eager.gradients(result, _one(), self.leaves, more)
            return found
        return sweep(order, result, _one(), active={*self.leaves, *order})

    def order_of(self, slopes: Iterable[Any]) -> list[Value]:
        """The operations on paths from the leaves to derivatives of the results."""
        return _between(slopes, self.leaves, _made_since(self.mark))[0]

    def out(self, x: Any) -> Any:
        """A derivative as returned to the caller: a float or a Value. It is never −0.0, like the gradient that
        `backward` adds to: the sign would tell what a choice did not take from what was taken and is 0."""
        if self.numbers:
            return (x._data if isinstance(x, Value) else float(x)) + 0.0
        return positive_zero(x) if isinstance(x, Value) else constant(x + 0.0)


def _one() -> Any:
    """The derivative of a result by itself."""
    program = recording()
    return 1.0 if program is None else program.one()


def call(fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], wanted: Sequence[int]) -> Call:
    """Run `fn` with new leaves in place of the scalars of the arguments at `wanted`."""
    leaves: list[Value] = []
    numbers = True
    program = recording()
    before = None if program is None else program.count()

    def leaf(x: Any) -> Value:
        nonlocal numbers
        if isinstance(x, Value):
            numbers = False
            made: Value = ops.sum_(x)  # the sum of one term is that term, bit for bit
        elif constant(x) is None:
            raise TypeError(
                f"a gradient is taken with respect to numbers and Values, got {x!r} of type {type(x).__name__}"
            )
        else:
            made = Value(float(x))
        leaves.append(made)
        return made

    given = list(args)
    first: list[int] = []
    for k in wanted:
        first.append(len(leaves))
        given[k] = nested(args[k], leaf)
    arguments = tuple([given[k] for k in wanted])
    for k in wanted:
        given[k] = _spread(given[k])
    result = fn(*given, **kwargs)
    results: list[Any] = []
    nested(result, results.append)
    if program is not None:
        program.differentiated(results, leaves)
    mark = None if numbers else before  # where numbers went in, it matters what else the results depend on
    within = _made_since(mark)
    order, beside, foreign = _between(results, leaves, within)
    eager = None
    if program is not None and not (numbers and not foreign):
        eager = program.derivatives([x for x in results if isinstance(x, Value)], leaves, within)
    return Call(
        arguments=arguments,
        leaves=leaves,
        first=first,
        result=result,
        results=results,
        order=order,
        beside=beside,
        numbers=numbers and not foreign,
        mark=mark,
        eager=eager,
    )


def _made_since(mark: int | None) -> set[int] | None:
    """The ids of the Values that the recorded program made since then: only these can depend on leaves made since."""
    program = recording()
    return None if program is None or mark is None else set(map(id, program.since(mark)))


def _between(
    results: Iterable[Any], leaves: Sequence[Value], within: Container[int] | None
) -> tuple[list[Value], list[Value], bool]:
    """The operations on paths from `leaves` to `results` that a derivative can take, operands first; the other
    operations that the results depend on; and whether they also depend on other leaves. All as far as the Values whose
    ids are `within`, if given: a derivative inside a long program must not walk through all that came before."""
    roots = [x for x in results if isinstance(x, Value)]
    active = set(map(id, leaves))
    order: list[Value] = []
    beside: list[Value] = []
    foreign = cut = False
    for node in topological(*roots, stop=leaves, within=within):
        a, b = node._a, node._b
        if a is None:
            foreign = foreign or node.op is not CONSTANT
            continue
        foreign = foreign or node._traced  # without a number, even if it was computed from numbers alone
        if node.op is not None and node.op.derivative in _FLAT:
            depends, cut = False, True
        elif b is not None:
            depends = id(a) in active or id(b) in active
        elif a.__class__ is tuple:
            depends = any(id(x) in active for x in a)
        else:
            depends = id(a) in active
        if depends:
            active.add(id(node))
            order.append(node)
        else:
            beside.append(node)
    return _reaching(roots, order) if cut else order, beside, foreign


def _reaching(roots: Iterable[Value], order: list[Value]) -> list[Value]:
    """The operations that a derivative of the roots passes: not those of which only a detach or a comparison makes
    use, such as the steps of Newton's method before the last ones."""
    wanted = set(map(id, roots))
    found = []
    for node in reversed(order):
        if id(node) in wanted:
            found.append(node)
            wanted.update(map(id, node.inputs))
    return found[::-1]


def nested(x: Any, function: Callable[[Any], Any]) -> Any:
    """x with every scalar replaced, in order; lists and arrays become Vectors."""
    if isinstance(x, tuple):
        return tuple([nested(item, function) for item in x])
    if isinstance(x, dict):
        return {key: nested(item, function) for key, item in x.items()}
    if isinstance(x, (list, Vector)) or getattr(x, "shape", None):
        return vector([nested(item, function) for item in x])
    return function(x)


def _spread(x: Any) -> Any:
    """The argument passed to the function: tuples become Vectors too, since they would repeat and concatenate."""
    if isinstance(x, dict):
        return {key: _spread(item) for key, item in x.items()}
    if isinstance(x, Vector) and _NESTS.isdisjoint(map(type, x._items)):
        return x
    return vector([_spread(item) for item in x]) if isinstance(x, (tuple, Vector)) else x


_NESTS = {tuple, dict, Vector}
_FLAT = ((None,), (None, None))  # the rules of detach, comparisons and rounding


def positions(name: str, argnums: int | Sequence[int], count: int, named: Iterable[str] = ()) -> tuple[int, ...]:
    """`argnums` as 0-based positions among `count` positional arguments. Raises TypeError, IndexError and ValueError
    with `name` in the message."""
    wanted: list[int] = []
    if isinstance(argnums, (tuple, list)) and not argnums:
        raise ValueError(f"{name}(argnums={argnums!r}): give at least one position")
    for k in argnums if isinstance(argnums, (tuple, list)) else (argnums,):
        if not isinstance(k, int) or isinstance(k, bool):
            raise TypeError(f"{name}(argnums={argnums!r}): argnums must be a non-negative integer, or a tuple of them")
        if not -count <= k < count:
            got = f"{count} argument{'s' * (count != 1)}"
            if named:
                got += f" by position and {', '.join(named)} by name: pass what is differentiated by position"
            raise IndexError(
                f"{name}: argnums={argnums} asks for argument {k}, counted from 0, but the function got {got}"
            )
        wanted.append(k % count)
    if len(set(wanted)) < len(wanted):
        raise ValueError(f"{name}(argnums={argnums!r}) asks for the same argument twice")
    return tuple(wanted)


def check_function(name: str, fn: Any) -> None:
    """Raise TypeError for anything but a function, and for one that is already compiled."""
    if not callable(fn):
        raise TypeError(f"{name}() takes a function, got {fn!r} of type {type(fn).__name__}")
    if type(fn).__module__.startswith("macrograd.compiler"):
        raise TypeError(
            f"{name}() takes the function itself, not the compiled one: "
            f"write mg.compile(mg.{name}(fn)) instead of mg.{name}(mg.compile(fn))"
        )


def one_scalar(name: str, fn: Any, found: Call) -> Any:
    """The scalar that fn returned. Raises TypeError if it returned anything else."""
    result = found.result
    if not isinstance(result, Value) and (isinstance(result, (list, tuple, dict, Vector)) or constant(result) is None):
        kind = type(result).__name__
        remedy = "return one number, for example the sum of these, or use mg.jacobian"
        raise TypeError(
            f"{name}({named(fn)}): only one scalar has a gradient, and the function returned a {kind}: {remedy}"
        )
    return result


def checked_results(name: str, fn: Any, found: Call) -> None:
    """Raise TypeError if a leaf of the result is neither a number nor a Value."""
    for x in found.results:
        if constant(x) is None:
            raise TypeError(
                f"{name}({named(fn)}): the function must return numbers and Values, or lists, tuples and dicts of "
                f"them; got {x!r} of type {type(x).__name__}"
            )


def named(fn: Any) -> str:
    """The name of a function for messages."""
    return str(getattr(fn, "__name__", "the function"))


class Derived:
    """A derivative of a function, as returned by `grad` and the others: a picklable object, which a nested function
    would not be.

    run(fn, argnums, args, kwargs) computes it. `inspect` and `macrograd.compile` see the signature of fn.
    """

    def __init__(self, name: str, fn: Callable[..., Any], run: Callable[..., Any], argnums: Any) -> None:
        self.__name__ = f"{name}({named(fn)})"
        self.__wrapped__ = fn  # where inspect looks
        self._run, self._argnums = run, argnums

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.__wrapped__, self._argnums, args, kwargs)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind as a method, as a function would."""
        return self if instance is None else MethodType(self, instance)

    def __getstate__(self) -> dict[str, Any]:
        check_importable(self.__name__, "function", self.__wrapped__)
        return dict(vars(self))

    def __repr__(self) -> str:
        return f"<{self.__name__}>"
