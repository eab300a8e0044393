"""Trace: run a function once on values without numbers, and record its operations.

A `Traced` is a Value that has an operation and operands but no number, so the function cannot read the number of one
sample: branching on it, or calling `float()` or `math.exp`, raises `TraceError` instead of baking it in. The Values
that the function closes over are ordinary ones: their leaves become the program's parameters. They have numbers, but
only of this moment, and each call reads them again; so a `Recording` guards them during the trace, in the thread that
traces. Constants, and anything computed from constants alone, may be read.
"""

from __future__ import annotations

import gc
import math
import sys
import threading
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat, tee
from operator import length_hint
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from macrograd import ops, value
from macrograd._numbers import not_mine
from macrograd.compiler.tape.tape import Tape
from macrograd.compiler.trace.counting import Counting
from macrograd.compiler.trace.eager_order import as_eager_walks
from macrograd.compiler.trace.guard import guarded_calls
from macrograd.compiler.trace.linearise import tape_of
from macrograd.compiler.trace.loops import Loops
from macrograd.compiler.trace.rounds import Kept, Rounds
from macrograd.interpreter import Interpreter
from macrograd.ops import CONSTANT, Op
from macrograd.value import Value
from macrograd.vector import Vector, vector

_PACKAGE = str(Path(__file__).resolve().parents[2])
_WAY_OUT = (
    "the compiled program must be the same for every sample. Choose between values with mg.where(condition, a, b), "
    "mg.maximum and mg.minimum, by an index with mg.take, and use mg.exp, mg.tanh … instead of math's and NumPy's"
)
_WAY_OUT_OF_PARAMETERS = (
    "the program reads parameters at every call, and anything computed from today's number would never change. "
    "Choose between values with mg.where(condition, a, b), mg.maximum and mg.minimum, by an index with mg.take, "
    "use mg.exp, mg.tanh … instead of math's and NumPy's, and mg.detach(p) for its number without a gradient; "
    "a number that shapes the program must be an argument of the function that makes it, or, if it never changes, "
    "mg.static(p)"
)


_WAY_OUT_OF_GRADIENTS = (
    "that would happen only once, not at every call. Inside the function take derivatives with mg.grad or "
    "mg.value_and_grad; pass what an earlier backward() gave as an argument, and set gradients to 0 outside"
)
FIRST_CHECK = -1000  # the index of a take by which a program says that its first check failed; then come -1001 …
_OF_A_BRANCH = """. In place of `if` and `while` write
    y = mg.cond(test, then, otherwise, x)                    the function then(x) or otherwise(x), by a test
    state = mg.while_loop(condition, body, state, most=100)  rounds until condition(state) fails
    state = mg.loop(count, body, state)                      a count of rounds of state = body(i, state)"""


class TraceError(TypeError):
    """The traced function did something that depends on the numbers of one call."""


def _user_line() -> str:
    """File and line of the innermost frame outside this package."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(Path(frame.f_code.co_filename)).startswith(_PACKAGE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"


def refuse(what: str, way_out: str = _WAY_OUT) -> NoReturn:
    """Raise TraceError, with the line of the user's program."""
    raise TraceError(f"{what} while the function is traced, at {_user_line()}: {way_out}")


class Recording(Interpreter):
    """The interpreter of a trace: it lists the Values that are made, and guards the numbers of those that the traced
    function closed over, in the thread that traces.

    new   makes a Value and lists it; pure C, because it is called for every operation
    made  the leaves that the function made itself: these are constants
    checks  what the program says where a check fails

    With `as_eager` the sign of zero is that of the eager engine.
    """

    def __init__(self, rounds: Rounds | None = None, *, as_eager: bool = False) -> None:
        self._as_eager = as_eager
        self.comparisons: list[Value] = []
        self._compared: set[int] = set()
        self._thread = threading.get_ident()
        self.loops = Loops(rounds or Rounds(), _leaf, _counter, record, self)
        self.made: set[Value] = set()
        self.checks: list[str] = []
        self._guards: list[Any] = []
        self.begin = 0  # how many Values are arguments
        # Answers so far: a chain whose every state is inspected must not be walked again each time.
        self.found_open: set[Value] = set()
        self.found_constant: set[Value] = set()
        self._left = repeat(Value, sys.maxsize)
        listed, self._listed = tee(map(object.__new__, self._left))
        self.new = partial(next, listed)

    def values(self) -> list[Value]:
        """The Values made so far, in order: those that depend on an argument and those computed from parameters
        alone."""
        found = self.since(self.begin)
        bodies = self.loops.bodies
        return [x for x in found if id(x) not in bodies] if bodies else found

    def count(self) -> int:
        """How many Values have been made."""
        return sys.maxsize - length_hint(self._left)

    def since(self, mark: int) -> list[Value]:
        """The Values made since there were this many."""
        return list(islice(copy(self._listed), mark, self.count()))

    def records(self) -> bool:
        return threading.get_ident() == self._thread

    def loop(self, count: int, body: Callable[[Any, Any], Any], state: Any, collect: bool) -> Any:
        return self.loops.loop(count, body, state, collect)

    def take(self, values: Any, index: Any) -> Any:
        return self.loops.take(values, index, self._guards[-1] if self._guards else None)

    def one(self) -> Any:
        return self.loops.one()

    def differentiated(self, results: Sequence[Any], leaves: Sequence[Any]) -> None:
        if self.loops.passed(results, leaves):
            self.refuse(
                "a derivative taken in the body of a loop through mg.take() by the loop's round number",
                "take the derivative of the whole loop, or choose the element with mg.where",
            )

    @contextmanager
    def guard(self, test: Any) -> Iterator[None]:
        self._guards.append(test if not self._guards else ops.where(self._guards[-1], test, 0.0))
        try:
            yield
        finally:
            self._guards.pop()

    def checked(self, x: Any, wrong: Any, message: str) -> Any:
        if self._guards:
            wrong = ops.where(self._guards[-1], wrong, 0.0)
        if not value.is_open(wrong):
            if wrong._data if isinstance(wrong, Value) else wrong:
                raise RuntimeError(message)
            return x
        if message not in self.checks:
            self.checks.append(message)
        return ops.take(ops.where(wrong, float(FIRST_CHECK - self.checks.index(message)), 0.0), x)

    def refuse(self, what: str, way_out: str) -> NoReturn:
        refuse(what, way_out)

    def leaf(self, value: Value) -> None:
        self.made.add(value)

    def known(self, value: Value) -> float | None:
        return value._data if value.op is CONSTANT else None

    def compared(self, value: Value) -> None:
        if self._as_eager:
            self.comparisons.append(value)
            self._compared.add(id(value))

    def copied(self, original: Value, made: Value) -> None:
        """A round of a loop has a copy of what its body made."""
        if id(original) in self._compared:
            self.compared(made)

    def signed_zero(self, value: Value) -> bool:
        return self._as_eager and (value.op is not CONSTANT or value._data == 0.0)

    def depends(self, value: Value) -> bool:
        """Whether the number depends on a parameter or an argument; always False in other threads."""
        if threading.get_ident() != self._thread:
            return False
        stack, seen = [value], set()
        while stack:
            node = stack.pop()
            if node in seen or node in self.found_constant:
                continue
            is_parameter = node._a is None and node.op is None and node not in self.made
            if is_parameter or node._traced or node in self.found_open:
                self.found_open.add(value)
                return True
            seen.add(node)
            stack.extend(node.inputs)
        self.found_constant |= seen
        return False

    def look(self, value: Value, what: str) -> None:
        """Raise TraceError if the Value has no number yet."""
        if self.depends(value):
            branch = _OF_A_BRANCH if what.startswith("a branch") else ""
            refuse(what.format(_described(value)), _WAY_OUT_OF_PARAMETERS + branch)

    def gradient(self, value: Value, what: str) -> None:
        if self.depends(value):
            refuse(what.format(_described(value)), _WAY_OUT_OF_GRADIENTS)

    def write(self, value: Value) -> None:
        if threading.get_ident() == self._thread:
            what = "the number of a Value (value.data = …) was set"
            refuse(what, "it would happen only once, not at every call. Set it outside, or compute a new Value")


def _described(value: Value) -> str:
    named = f" {value.label!r}" if value.label else ""
    return f"a parameter{named}" if value._a is None else f"a value{named} computed from parameters"


class Traced(Value):
    """A Value without a number: an argument of the traced function, or computed from one."""

    __slots__ = ()

    _traced = True

    @property
    def data(self) -> float:
        refuse("the number of a traced value (.data) was asked for")

    @data.setter
    def data(self, number: float) -> None:
        refuse("the number of a traced value (.data) was set")

    @property
    def grad(self) -> float:
        refuse("the gradient of a traced value (.grad) was asked for", _WAY_OUT_OF_GRADIENTS)

    @grad.setter
    def grad(self, gradient: Any) -> None:
        refuse("the gradient of a traced value (.grad) was set", _WAY_OUT_OF_GRADIENTS)

    @classmethod
    def _apply(cls, op: Op, operands: tuple[Any, ...]) -> Traced:
        return record(op, tuple([value.required(op, x) for x in operands]))

    def backward(self, create_graph: bool = False) -> None:
        refuse("backward() of a traced value, in place of mg.grad or mg.value_and_grad,")

    def _known(self) -> None:
        return None

    def __neg__(self) -> Traced:
        return record(ops.neg, (self,))

    def __abs__(self) -> Traced:
        return record(ops.absolute, (self,))

    def __float__(self) -> float:
        refuse("float() of a traced value")

    def __int__(self) -> int:
        refuse("int() of a traced value")

    def __index__(self) -> int:
        refuse("a traced value as an index (take(values, index) chooses by one)")

    def __bool__(self) -> bool:
        refuse("a branch on a traced value (if, while, and, or, not, max, min, sorted)", _WAY_OUT + _OF_A_BRANCH)

    def __format__(self, spec: str) -> str:
        if spec:
            refuse(f"a traced value was formatted with {spec!r}")
        return str(self)

    def __round__(self, ndigits: int | None = None) -> int:
        refuse("round() of a traced value")

    def __lt__(self, other: Any) -> Any:
        return value.compared(ops.less, self, other)

    def __le__(self, other: Any) -> Any:
        return value.compared(ops.less_equal, self, other)

    def __gt__(self, other: Any) -> Any:
        return value.compared(ops.less, other, self)

    def __ge__(self, other: Any) -> Any:
        return value.compared(ops.less_equal, other, self)

    def __eq__(self, other: object) -> bool:
        if other is self or isinstance(other, Value) or value.constant(other) is None:
            return other is self
        refuse("a traced value was compared with == or !=")

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        made = "input" if self.op is None else f"of {self.op.name}"
        return f"Traced({made}{f', label={self.label!r}' if self.label else ''})"

    __str__ = __repr__


class RoundNumber(Counting, Traced):
    """The round number of a loop, in its body."""

    __slots__ = ()

    def _deny(self, what: str, way_out: str) -> NoReturn:
        refuse(what, way_out)


_numbers: dict[float, Value] = {}
_new: Callable[[Any], Any] = object.__new__  # in a trace, makes and lists Values


def record(op: Op | None, inputs: tuple[Value, ...]) -> Traced:
    node: Traced = _new(Value)
    node.__class__ = Traced
    node.op = op
    node.inputs = inputs
    node.label = ""
    return node


def _leaf() -> Traced:
    """`record` for what has no operands."""
    node: Traced = _new(Value)
    node.__class__ = Traced
    node.op = node._a = node._b = None
    node.label = ""
    return node


def _counter() -> Traced:
    node = _leaf()
    node.__class__ = RoundNumber
    return node


def _record_two(op: Op, a: Any, b: Any) -> Traced:
    """`record` for two operands, where a trace spends most of its time."""
    node: Traced = _new(Value)
    node.__class__ = Traced
    node.op = op
    node._a = a
    node._b = b
    node.label = ""
    return node


def _operand(x: Any) -> Any:
    """`x` as a Value, or None; equal numbers of a trace are one constant."""
    kind = x.__class__
    if kind is float or kind is int:
        key = x or math.copysign(1.0, x) * math.inf  # 0.0 and −0.0 are equal, but not the same number
        found = _numbers.get(key) if x - x == 0 else None
        if found is None:
            found = value.constant(x)
            if x - x == 0:
                _numbers[key] = found
        return found
    return value.constant(x)


def _binary(op: Op) -> tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]:
    def forwards(self: Traced, other: Any) -> Any:
        if other.__class__ is not Traced and other.__class__ is not Value:
            given, other = other, _operand(other)
            if other is None:
                return not_mine(given)
        return _record_two(op, self, other)

    def backwards(self: Traced, other: Any) -> Any:
        if other.__class__ is not Traced and other.__class__ is not Value:
            given, other = other, _operand(other)
            if other is None:
                return not_mine(given)
        return _record_two(op, other, self)

    return forwards, backwards


for _name, _op in (("add", ops.add), ("sub", ops.sub), ("mul", ops.mul), ("truediv", ops.div), ("pow", ops.power)):
    _forwards, _backwards = _binary(_op)
    setattr(Traced, f"__{_name}__", _forwards)
    setattr(Traced, f"__r{_name}__", _backwards)


@dataclass(frozen=True)
class Trace:
    """The record of one run: the tape, the leaves that the function closed over, and the nesting of its result.

    held       the numbers of the first uniform inputs, which the program holds, for all rounds of its loops
    arguments  what the function was called with, for another trace
    checks     what the program says where the index of a take is the number of one of them
    arrays     what loops read parameters from, by the number of a round
    one        the uniform input with which a derivative begins, if not with a constant
    """

    tape: Tape
    parameters: list[Value]
    structure: Any  # the function's result with each scalar replaced by its position in tape.results
    held: NDArray[np.float64]
    arguments: Arguments
    one: int | None
    checks: list[str]
    arrays: list[Sequence[Any]]


class Arguments:
    """The arguments of a trace: new traced values of these shapes, which several traces may share.

    inputs  the scalars; `same` says which of them are the same for all samples
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], uniform: Container[int] = ()) -> None:
        self.inputs: list[Traced] = []
        self.arguments: list[Any] = []
        self.same: list[bool] = []
        self._number: dict[int, int] = {}
        for k, shape in enumerate(shapes):
            self.arguments.append(_argument(shape, self.inputs))
            self.same += [k in uniform] * (len(self.inputs) - len(self.same))

    def number(self) -> dict[int, int]:
        """The places of the scalars among `inputs`, by their ids."""
        if not self._number:
            self._number = dict(zip(map(id, self.inputs), range(len(self.inputs)), strict=True))
        return self._number


class Span(list[int]):
    """The positions of the values kept by a loop of this many rounds, as far as its rounds are traced."""

    def __init__(self, positions: Iterable[int], rounds: int) -> None:
        super().__init__(positions)
        self.rounds = rounds


def trace(
    fn: Callable[..., Any],
    shapes: Sequence[tuple[int, ...]],
    *,
    as_eager: bool = False,
    uniform: Container[int] = (),
    rounds: Rounds | None = None,
    given: Arguments | None = None,
) -> Trace:
    """Run `fn` on (nested) Vectors of traced values, of the given shapes, and record its operations. The arguments at
    the positions `uniform` are the same for all samples. `rounds` says how many rounds of its loops are written;
    `given` is what an earlier trace made of the arguments.

    The tape lists the operations in the order of execution; with `as_eager` in the order in which the eager engine's
    `backward` walks them, on which its roundings depend. Raises TraceError if the function reads a number, TypeError if
    its result holds anything but numbers and Values, and Unrolled for a loop that must be written out.
    """
    global _new, _numbers
    recording = Recording(rounds, as_eager=as_eager)
    with value.interpreted(recording), guarded_calls(refuse):
        around = _new, _numbers  # of an enclosing trace
        _new, _numbers = recording.new, {}
        collecting = gc.isenabled()
        gc.disable()  # a trace makes only live, acyclic objects, which collections would merely count
        try:
            given = given or Arguments(shapes, uniform)
            recording.begin = recording.count()
            recording.loops.arguments.update(map(id, given.arguments))
            try:
                result = fn(*given.arguments)
            except (TypeError, ValueError) as error:
                if isinstance(error.__cause__, TraceError):  # NumPy wraps it where it fails to make an array
                    raise error.__cause__ from None
                if "__array_ufunc__" not in str(error):  # NumPy's name for the protocol that a Value refuses
                    raise
                what = "a NumPy function was called on a Value while the function is traced"
                raise TraceError(f"{what}: {_WAY_OUT}") from error
            except IndexError as error:
                if "only integers, slices" not in str(error):  # NumPy's words for an index that it cannot use
                    raise
                what = "a NumPy array was indexed by a value that has no number while the function is traced"
                raise TraceError(f"{what}, with the message {str(error)!r}: write mg.take(array, i)") from error
            structure, results = _flatten(result)
            constants = set(map(id, recording.made))
            values = recording.values()
            leaves = recording.loops.leaves(values, results, given)
            inputs, same = leaves.nodes, leaves.same
            try:
                tape, parameters = tape_of(values, results, inputs, constants, (), same)
            except AttributeError:  # one that another thread is just making, not part of this trace
                values = [x for x in values if hasattr(x, "label")]
                tape, parameters = tape_of(values, results, inputs, constants, (), same)
            if as_eager:
                order = as_eager_walks(results, recording.comparisons)
                tape, parameters = tape_of(order, results, inputs, constants, parameters, same)
            if foreign := [p for p in parameters if isinstance(p, Traced)]:
                if id(foreign[0]) in recording.loops.bodies:
                    raise TraceError(
                        "a value that the body of a loop made was used outside of the loop: return it as part of the "
                        "state, or as what is kept of the round (collect=True)"
                    )
                raise TraceError("a traced value of another trace was used: keep none between calls")
            tape, numbers = leaves.numbered(tape), leaves.held
        finally:
            _new, _numbers = around
            if collecting:
                gc.enable()
    return Trace(
        tape, parameters, structure, numbers, given, leaves.one, recording.checks, [*recording.loops.arrays.values()]
    )


def _argument(shape: tuple[int, ...], inputs: list[Traced]) -> Any:
    """New traced values as (nested) Vectors, numbered in row-major order."""
    if len(shape) == 1:
        row = [_leaf() for _ in range(shape[0])]
        inputs += row
        return vector([*row])
    if not shape:
        inputs.append(_leaf())
        return inputs[-1]
    return vector([_argument(shape[1:], inputs) for _ in range(shape[0])])


def _flatten(result: Any) -> tuple[Any, list[Value]]:
    """The result's nesting with positions in place of scalars, and the scalars."""
    scalars: list[Value] = []

    def walk(x: Any) -> Any:
        if isinstance(x, Value):
            scalars.append(x)
            return len(scalars) - 1
        if isinstance(x, Kept):
            return Span([walk(item) for item in x.elements], len(x))
        if isinstance(x, tuple):
            return tuple(walk(item) for item in x)
        if isinstance(x, dict):
            return {key: walk(item) for key, item in x.items()}
        if isinstance(x, (list, Vector)) or bool(getattr(x, "shape", None)):
            return [walk(item) for item in x]
        lifted = value.constant(x)
        if lifted is None:
            raise TypeError(
                f"a compiled function returns Values, numbers, or lists, tuples and dicts of them; "
                f"got {x!r} of type {type(x).__name__}"
            )
        scalars.append(lifted)
        return len(scalars) - 1

    return walk(result), scalars
