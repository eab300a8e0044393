"""An ONNX model: a function's values, its value and gradient, or a step of its training, for any number of samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd._extras import installing
from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.program import Program
from macrograd.compiler.specialised import Specialised
from macrograd.compiler.step import measure_program, recorded_update
from macrograd.compiler.targets.onnx.lower import Given, Lowered
from macrograd.compiler.targets.onnx.operations import Writing
from macrograd.compiler.targets.onnx.target import Onnx
from macrograd.compiler.targets.target import Request
from macrograd.exporting.onnx_file import SAMPLES, File
from macrograd.exporting.onnx_names import NamesInOnnx
from macrograd.exporting.subject import Subject, kept_states, no_gradient, steps_done
from macrograd.nn.dropout import PERIOD
from macrograd.value import numbers_of

# The inputs of a model with Dropout, besides those of a sample; one that trains counts the steps itself.
_DRAWN = (
    ("number", "the number of the sample in its data, from 0, by which Dropout draws"),
    ("step", "the number of the step, from 1"),
)


@dataclass(frozen=True)
class Written:
    """The bytes of a model; the number of bytes of its constants, and of the state that the caller carries from step to
    step."""

    data: bytes
    constants: int
    state: int


def write(compiled: Compiled, subject: Subject, kind: str) -> Written:
    """The model of a function that has been traced.

    Raises TypeError if it has no gradient where one is wanted, LookupError for an operation that has no form in ONNX,
    ValueError for names that are not valid text, and ImportError without the onnx package.
    """
    if (error := Onnx().missing()) is not None:
        raise ImportError(f"export to ONNX needs the onnx package: {installing('onnx')}") from error
    special = compiled._traced()
    if subject.uniform:
        special = Specialised(replace(compiled.settings, batch=True, uniform=subject.uniform), special.shapes)
    if kind != "predict":
        special.check_scalar()
        if not special.parameters:
            raise TypeError(no_gradient(compiled.__name__))
    model = _Model(compiled, special, subject)
    state = {"predict": model.predict, "gradient": model.gradient, "train": model.train}[kind]()
    return Written(model.file.data(f"{subject.name}, written by macrograd"), model.file.constants(), state)


class _Model:
    """The model under construction."""

    def __init__(self, compiled: Compiled, special: Specialised, subject: Subject) -> None:
        self.special, self.subject, self.source = special, subject, special.source
        self.dtype = compiled.dtype
        self.named = None if subject.names is None else NamesInOnnx(subject.names)
        self.leaves = list(_leaves(special.nesting, ""))
        signature = compiled.settings.signature
        known = list(signature.parameters) if signature is not None else []
        self.called = [known[k] if k < len(known) else f"x{k + 1}" for k in range(len(special.shapes))]
        outside = [*self.called, *(name for name, _ in self.leaves), *(self.named.columns() if self.named else ())]
        self.file = File(self.dtype, outside)
        self.theta = np.array(numbers_of(special.parameters), dtype=self.dtype)

    # --- inputs -------------------------------------------------------------------------------------------------------

    def _given(self, parameters: str = "", step: str = "") -> Given:
        """The arguments as inputs of the model, a row for each sample; `step` is the number of the step, counted by the
        model."""
        special, file = self.special, self.file
        if self.named is not None:
            x = self.named.inputs(file, special.shapes[0])
            target = (self.named.target(file),) if len(special.sizes) > 1 else ()
            names = _DRAWN[: max(0, len(special.sizes) - 2)]
            drawn = [file.input(name, self.dtype, (SAMPLES,), told) for name, told in names]
            return Given(parameters, step, (x, *target, *(file.graph.reshape(name, -1, 1) for name in drawn)))
        rows, same = [], []
        for k, (name, shape) in enumerate(zip(self.called, special.shapes, strict=True)):
            size = int(np.prod(shape, dtype=int))
            if k in self.subject.uniform:
                same.append(file.graph.reshape(file.input(name, self.dtype, shape, "the same for all samples"), size))
            else:
                rows.append(file.graph.reshape(file.input(name, self.dtype, (SAMPLES, *shape)), -1, size))
        o = Writing(file.graph)
        return Given(parameters, o.Concat(*same, axis=0) if len(same) > 1 else "".join(same), tuple(rows))

    def _parameters(self) -> str:
        told = "the parameters; by default those in the file"
        return self.file.input("parameters", self.dtype, self.theta.shape, told, self.theta)

    def _lowered(self, program: Program, given: Given, *, fixed: bool) -> Lowered:
        sizes = tuple(self.special.sizes)
        request = Request(program, sizes, 0, self.dtype)
        return Onnx(self.file.graph, given, self.theta if fixed else None).write(request, "")

    @property
    def _batch(self) -> bool:
        return bool(self.special.sizes)

    # --- what is computed ---------------------------------------------------------------------------------------------

    def predict(self) -> int:
        """The function's values."""
        file, program = self.file, pipeline.value_program(self.source, batch=self._batch)
        found = self._lowered(program, self._given(), fixed=True)
        if self.named is not None:
            self.named.answers(file, found.rows(range(len(program.results))), len(program.results))
            return 0
        for name, which in self.leaves:
            if self._batch:
                value, shape = found.rows(which.ravel().tolist()), (SAMPLES, *which.shape)
            else:
                value, shape = found.uniform(which.ravel().tolist()), which.shape
            file.output(name, shape, "", file.graph.reshape(value, *(-1 if n == SAMPLES else int(n) for n in shape)))
        return 0

    def _mean(self, parameters: str, step: str = "") -> tuple[str, str]:
        """The mean value over the samples, and its gradient."""
        program = pipeline.gradient_program(self.source, batch=self._batch)
        found = self._lowered(program, self._given(parameters, step), fixed=False)
        value = found.graph.reshape(found.uniform([0]))
        return value, found.uniform(range(1, 1 + program.parameters))

    def gradient(self) -> int:
        """Value and gradient."""
        value, gradient = self._mean(self._parameters())
        self.file.output("value", (), "the mean over the samples", value)
        self.file.output("gradient", self.theta.shape, "its derivative by each parameter", gradient)
        return 0

    def train(self) -> int:
        """A step of the optimiser."""
        file, dtype, count = self.file, self.dtype, len(self.theta)
        optimizer, o = self.subject.optimizer, Writing(self.file.graph)
        assert optimizer is not None
        states = len(optimizer.initial_state)
        kept = kept_states(optimizer, self.subject.states, self.special.parameters)
        begun = np.repeat(np.array(optimizer.initial_state), count) if kept is None else np.array(kept)
        done = steps_done(optimizer, self.subject.states, self.special.parameters)
        theta = self._parameters()
        told = "the optimiser's state for each parameter"
        state = file.input("state", dtype, (states, count), told, begun) if states else ""
        rate = file.input("rate", dtype, (), "the learning rate", optimizer.learning_rate)
        told = "the number of steps done before"
        steps = file.input("steps", np.int64, (), told, done)
        following = o.Add(steps, 1)
        number = "" if self.subject.step is None else o.Reshape(o.real(o.Mod(following, PERIOD)), np.array([1]))
        loss, gradient = self._mean(theta, number)

        measured = self._along(measure_program(strict=False), [gradient], [loss, o.number(np.inf)], None)
        good = o.Equal(measured.uniform([0]), 0.0)
        update = recorded_update(optimizer.rule, states, strict=False)
        rows = [o.Gather(state, k, axis=0) for k in range(states)]
        given = [rate, o.real(following)]
        moved = self._along(update.program, [theta, gradient, *rows], given, np.array(update.numbers))
        new, *others = (file.graph.reshape(moved.rows([k]), count) for k in range(1 + states))
        told = "the mean loss before the step; NaN, and nothing is changed, if it or its gradient is not finite"
        file.output("loss", (), told, file.graph.reshape(o.Where(good, loss, np.nan)))
        file.output("new_parameters", (count,), "to be given to the next step", o.Where(good, new, theta))
        if states:
            rows = o.Concat(*[file.graph.reshape(row, 1, count) for row in others], axis=0)
            file.output("new_state", (states, count), "to be given to the next step", o.Where(good, rows, state))
        steps = file.graph.reshape(o.Where(good, following, steps))
        file.output("new_steps", (), "to be given to the next step", steps, np.int64)
        return dtype.itemsize * (1 + states) * count + 8

    def _along(self, program: Program, rows: list[str], given: list[str], fixed: Any) -> Lowered:
        """A program that runs along the parameters, each of which is a sample; `given` are its uniform inputs."""
        graph, o, count = self.file.graph, Writing(self.file.graph), len(self.theta)
        arguments = tuple(graph.shaped(graph.reshape(row, count, 1), (-1, 1)) for row in rows)
        same = o.Concat(*[graph.reshape(x, 1) for x in given], axis=0)
        request = Request(program, (1,) * len(rows), 0, self.dtype)
        fixed = np.empty(0) if fixed is None else fixed
        return Onnx(graph, Given("", same, arguments), fixed).write(request, "")


def _leaves(nesting: Any, name: str) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """The arrays that a function returns: the name of each, and the results that it holds."""
    if isinstance(nesting, np.ndarray):
        yield name or "y", nesting
        return
    items = nesting.items() if isinstance(nesting, dict) else enumerate(nesting, 1)
    for key, item in items:
        yield from _leaves(item, f"{name}_{key}" if name else key if isinstance(key, str) else f"y{key}")
