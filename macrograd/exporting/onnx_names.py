"""Names in an ONNX model: columns as inputs, text and dates as numbers, labels as answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd import ops
from macrograd.compiler.targets.onnx.operations import Writing, spell
from macrograd.exporting.onnx_file import SAMPLES, File, text
from macrograd.exporting.subject import Names

Array = NDArray[Any]
_TEXT = np.dtype(object)
_DAY = 86400  # seconds


class NamesInOnnx:
    """The parts of a model that deal with names."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._classes = None if names.answers in ("", "labels") else _labels(names.targets.classes)
        self._categories = {at: texts for _, texts, at in names.categories}
        self._dates = {at: (parts, since) for _, parts, since, at in names.dates}

    def columns(self) -> list[str]:
        """The names of inputs, as in the data."""
        return [name for name, _ in self._names.inputs]

    # --- inputs -------------------------------------------------------------------------------------------------------

    def inputs(self, file: File, shape: tuple[int, ...]) -> str:
        """The numbers of samples in rows: from one input, or if a column holds text or dates, from one per column."""
        names = self._names.inputs
        file.note("columns", self.columns())
        if not (self._categories or self._dates):
            told = ", ".join(self.columns())
            return file.graph.reshape(file.input("x", file.dtype, (SAMPLES, *shape), told), -1, int(np.prod(shape)))
        at, found = 0, []
        for name, width in names:
            if at in self._categories:
                found.append(self._category(file, name, self._categories[at]))
            elif at in self._dates:
                found.append(self._date(file, name, *self._dates[at]))
            else:
                found.append(file.input(name, file.dtype, (SAMPLES, 1), "a number; NaN is missing"))
            at += width
        joined: str = Writing(file.graph).Concat(*found, axis=1)
        return file.graph.shaped(joined, (-1, at))

    def _category(self, file: File, name: str, known: tuple[str, ...]) -> str:
        """The number of a text: −1 for an empty one, which is missing, and their count for an unknown one."""
        column = file.input(name, _TEXT, (SAMPLES, 1), "a text; an empty one is missing")
        keys = list(map(text, known)) + [""] * ("" not in known)
        values = [float(k) for k in range(len(known))] + [-1.0] * ("" not in known)
        return _looked_up(file, column, keys, values, float(len(known)))

    def _date(self, file: File, name: str, parts: tuple[str, ...], since: str) -> str:
        """The parts of a date; NaN for a missing one.

        Years and months are counted as in H. Hinnant's civil_from_days
        (http://howardhinnant.github.io/date_algorithms.html).
        """
        zone = " in UTC" * (name in self._names.utc)
        told = f"seconds since 1970{zone}, as in numpy.datetime64[s]; its NaT is missing"
        seconds = file.input(name, np.int64, (SAMPLES, 1), told)
        o = Writing(file.graph)
        gone = o.Equal(seconds, np.iinfo(np.int64).min)
        seconds = o.Where(gone, 0, seconds)
        days, rest = _divided(o, seconds, _DAY)
        found = []
        for part in parts:
            if part == "hour":
                number = o.Div(o.real(rest), 3600.0)
            elif part == "elapsed":
                begin = int(np.datetime64(since or 0, "s").astype(np.int64))
                whole, more = _divided(o, o.Sub(seconds, begin), _DAY)
                number = o.Add(o.real(whole), o.Div(o.real(more), float(_DAY)))
            elif part == "weekday":
                number = o.real(_divided(o, o.Add(days, 3), 7)[1])
            else:
                number = o.real(_civil(o, days)[part == "month"])
            found.append(o.Where(gone, np.nan, number))
        return str(found[0] if len(found) == 1 else o.Concat(*found, axis=1))

    def target(self, file: File) -> str:
        """The targets of samples in rows: labels as their numbers, NaN for labels unknown to training."""
        shape, graph, o = self._names.targets.shape, file.graph, Writing(file.graph)
        if self._classes is None or shape:
            return graph.reshape(file.input("y", file.dtype, (SAMPLES, *shape), "the target"), -1, *(shape or (1,)))
        kind = file.dtype if self._classes.dtype.kind == "f" else self._classes.dtype
        column = graph.reshape(file.input("y", kind, (SAMPLES,), "the label"), -1, 1)
        count = len(self._classes)
        if kind == _TEXT:
            return _looked_up(file, column, self._classes.tolist(), [float(k) for k in range(count)], np.nan)
        same = o.real(o.Equal(column, graph.constant(self._classes, kind)))
        number = o.MatMul(same, np.arange(float(count)).reshape(-1, 1))
        there = o.ReduceMax(same, np.array([1]), keepdims=1)
        return graph.shaped(o.Where(o.Equal(there, 1.0), number, np.nan), (-1, 1))

    # --- answers ------------------------------------------------------------------------------------------------------

    def answers(self, file: File, outputs: str, count: int) -> None:
        """The meaning of outputs in rows of `count` numbers."""
        names, o = self._names, Writing(file.graph)
        targets, answer = names.targets, names.answers
        if answer == "labels":
            yes = o.whole(o.Less(0.0, outputs))
            file.output("label", (SAMPLES, count), "1 for yes and 0 for no", yes, np.int64)
        elif self._classes is not None:
            file.note("classes", self._classes.tolist())
            if answer == "sign":
                which = o.whole(o.Less(0.0, o.Reshape(outputs, np.array([-1]))))
            else:
                which = o.ArgMax(outputs, axis=1, keepdims=0)
            kind = file.dtype if self._classes.dtype.kind == "f" else self._classes.dtype
            table = file.graph.constant(self._classes, kind)
            file.output("label", (SAMPLES,), "the class", o.Gather(table, which, axis=0), kind)
        if targets.loss == "cross_entropy":
            file.output("probabilities", (SAMPLES, count), "of the classes", o.Softmax(outputs, axis=1))
        elif targets.loss == "binary_cross_entropy":
            shares, width = spell(file.graph, ops.sigmoid, [outputs]), count
            if targets.kind == "two classes":
                shares, width = o.Concat(o.Sub(1.0, shares), shares, axis=1), 2
            file.output("probabilities", (SAMPLES, width), "of the classes or labels", shares)
        file.output("outputs", (SAMPLES, count), "what the net computes", outputs)


def _labels(classes: Array | None) -> Array | None:
    """Classes as types that a model can hold: texts, integers, truth values or numbers."""
    if classes is None:
        return None
    if classes.dtype.kind in "USO":
        return np.array([text(str(x)) for x in classes.tolist()], dtype=object)
    return classes.astype(np.int64) if classes.dtype.kind in "iu" else classes


def _looked_up(file: File, column: str, keys: list[str], values: list[float], other: float) -> str:
    """The numbers that stand for texts, and `other` for unknown ones."""
    graph, o = file.graph, Writing(file.graph)
    found = graph.call(
        "LabelEncoder", column, domain="ai.onnx.ml", keys_strings=tuple(keys), values_floats=tuple(values),
        default_float=other,
    )  # fmt: skip
    return graph.shaped(found if o.single else o.real(found), (-1, 1))


def _divided(o: Any, a: str, b: int) -> tuple[str, str]:
    """⌊a/b⌋ and the remainder of integers; the operator for division rounds towards 0."""
    rest = o.Mod(a, b)
    return o.Div(o.Sub(a, rest), b), rest


def _civil(o: Any, days: str) -> tuple[str, str]:
    """The year and month of a day since 1970."""
    era, day = _divided(o, o.Add(days, 719468), 146097)
    leaps = o.Sub(o.Sub(o.Div(day, 36524), o.Div(day, 1460)), o.Div(day, 146096))
    year = o.Div(o.Add(day, leaps), 365)
    of_year = o.Sub(day, o.Add(o.Mul(year, 365), o.Sub(o.Div(year, 4), o.Div(year, 100))))
    month = o.Div(o.Add(o.Mul(of_year, 5), 2), 153)
    month = o.Where(o.Less(month, 10), o.Add(month, 3), o.Sub(month, 9))
    turned = o.whole(o.LessOrEqual(month, 2))
    return o.Add(o.Add(year, o.Mul(era, 400)), turned), month
