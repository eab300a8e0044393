"""Targets: the kind of target that `y` is, the loss that fits it, and the meaning of a prediction."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd._numbers import check_unmasked, is_number
from macrograd.nn import losses
from macrograd.train.samples.outputs import predicted, softmax
from macrograd.value import Value

Array = NDArray[Any]

NUMBERS = ("squared_error", "absolute_error", "huber")

# The default loss of each kind of target. (Two classes with two outputs: cross-entropy.)
DEFAULT = {"two classes": "binary_cross_entropy", "classes": "cross_entropy", "numbers": NUMBERS[0]}

# The kinds of targets in words.
_KINDS = {
    "two classes": "two classes",
    "classes": "classes",
    "labels": "several yes-or-no labels",
    "probabilities": "probabilities",
    "numbers": "numbers",
    "own": "values for a custom loss",
}


@dataclass(frozen=True)
class Targets:
    """The encoding of targets for the loss, and the decoding of predictions.

    kind     "two classes", "classes", "labels" (several yes-or-no labels), "probabilities", "numbers", or "own" for a
             custom loss, which gets y unchanged
    loss     the loss, a name of `nn.losses` or a function
    classes  the sorted labels, as in y; None if the targets are not classes
    outputs  the number of outputs that the model needs; 0 if any number will do
    shape    the shape of one target
    """

    kind: str
    loss: str | Callable[..., Any]
    classes: Array | None
    outputs: int
    shape: tuple[int, ...]

    # --- from labels to numbers ---------------------------------------------------------------------------------

    def encode(self, y: Any, name: str = "y") -> Array:
        """The targets encoded for the loss, one per row. Raises ValueError for labels unknown to training and for
        another shape."""
        array = _checked(y, name)
        if array.shape[1:] != self.shape:
            raise ValueError(
                f"{name} has targets of shape {array.shape[1:]}, but the model was trained with "
                f"{self.shape or 'one per row'}"
            )
        if self.kind in ("two classes", "classes") and not self.shape:
            index = self._index(array, name)
            if self.loss == "hinge":
                return 2.0 * index - 1.0
            return index.astype(np.float64) if self.loss == "binary_cross_entropy" else index
        if self.kind in ("labels", "probabilities", "classes"):
            _check_shares(array, self, name)
        return array.astype(np.float64) if array.dtype.kind in "bf" else array

    def _index(self, array: Array, name: str) -> Array:
        assert self.classes is not None
        if array.dtype.kind in "US" and self.classes.dtype.kind not in "US":
            array = array.astype(object)
        order = np.argsort(self.classes)  # the classes of a file may be in another order: "9" before "10"
        there = np.zeros(len(array), int)
        if array.dtype.kind != "O":
            there = np.searchsorted(self.classes, array, sorter=order)
        place = order[np.minimum(there, len(self.classes) - 1)]
        unseen = np.flatnonzero(self.classes[place] != array)
        if len(unseen):
            row = int(unseen[0])
            raise ValueError(
                f"{name} has the label {array[row].item() if hasattr(array[row], 'item') else array[row]!r} in row "
                f"{row}, which training did not see: known are {_few(self.classes)}"
            )
        return place.astype(np.int64)

    # --- from outputs to answers --------------------------------------------------------------------------------

    def decode(self, outputs: Array) -> Array:
        """Decode the model's outputs (n,) or (n, k): labels, 0 or 1 for each yes-or-no label, or numbers unchanged."""
        if self.kind == "labels":
            return (outputs > 0).astype(np.int64)
        if self.classes is None or self.kind == "own":
            return outputs
        found: Array = self.classes[predicted(outputs)]
        return found

    def probabilities(self, outputs: Array) -> Array:
        """(n, k): the probability of each class or label. Raises ValueError for losses whose outputs are not
        probabilities."""
        if self.loss == "cross_entropy":
            return softmax(outputs)
        if self.loss == "binary_cross_entropy":
            from macrograd import ops

            share = np.asarray(ops.sigmoid.array(np, outputs))
            return np.stack([1.0 - share, share], axis=1) if self.kind == "two classes" else share
        raise ValueError(
            f"the outputs of a model trained with {_name(self.loss)} are not probabilities: train with "
            "'cross_entropy' or 'binary_cross_entropy'"
        )

    @property
    def counted(self) -> Array | None:
        """The labels that can have weights; None if there are none."""
        return self.classes if self.kind in ("two classes", "classes", "own") and not self.shape else None


def of(y: Any, loss: str | Callable[..., Any] | None, outputs: int) -> Targets:
    """The kind of `y`, and the loss that fits it unless one is given.

    y        (n,) or (n, k): labels (integers, bools or strings) are classes, other numbers are numbers; k columns of 0
             and 1 are yes-or-no labels, or classes if each row has exactly one 1; if `loss` is a loss for numbers, all
             numbers are numbers, integers too
    outputs  of the model; 0 if unknown

    Raises ValueError if y, loss and outputs do not match.
    """
    array = _checked(y, "y")
    # A function of nn.losses is treated like its name, which tells more than a custom function.
    loss = next((name for name, function in losses.LOSSES.items() if function is loss), loss)
    if callable(loss):
        return _own(array, loss)
    if loss is not None:
        losses.get(loss)
    found = (_one_a_row if array.ndim == 1 else _several)(array, loss, outputs)
    if outputs and found.outputs and found.outputs != outputs:
        raise ValueError(_misfit(found, outputs, loss is None and _whole(array)))
    return found


def _own(array: Array, loss: Callable[..., Any]) -> Targets:
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"y holds {array.dtype} and the loss is a custom function, which needs numbers: encode the labels, or "
            "name a loss, as in loss='cross_entropy'"
        )
    classes = distinct(array) if array.dtype.kind in "biu" and array.ndim == 1 else None
    return Targets("own", loss, classes, 0, array.shape[1:])


def _one_a_row(array: Array, loss: str | None, outputs: int) -> Targets:
    labels = array.dtype.kind in "biuUSO" or (loss is None and _codes(array, outputs))
    if loss in NUMBERS or (loss is None and not labels):
        if array.dtype.kind not in "biuf":
            raise ValueError(
                f"y holds strings such as {str(array[0])!r}, which {loss} cannot learn: use 'cross_entropy'"
            )
        return Targets("numbers", loss or DEFAULT["numbers"], None, 1, ())
    if not labels and not np.array_equal(array, np.floor(array)):
        if loss != "binary_cross_entropy":
            raise ValueError(
                f"y holds numbers such as {array[array != np.floor(array)][0]}, but {loss} is a loss for classes: use "
                f"one of {', '.join(NUMBERS)} for numbers"
            )
        shares = Targets("probabilities", loss, None, 1, ())
        _check_shares(array, shares, "y")
        return shares
    classes = distinct(array)
    k = len(classes)
    if k < 2:
        raise ValueError(
            f"all targets are {classes[0].item() if hasattr(classes[0], 'item') else classes[0]!r}: there is nothing "
            "to tell apart (for numbers give y as floats, or loss='squared_error')"
        )
    if k > 2:
        if loss in ("hinge", "binary_cross_entropy"):
            raise ValueError(f"{loss} is for two classes, but y has {k}: use 'cross_entropy' with {k} outputs")
        return Targets("classes", "cross_entropy", classes, k, ())
    name = loss or ("cross_entropy" if outputs == 2 else DEFAULT["two classes"])
    return Targets("two classes", name, classes, 2 if name == "cross_entropy" else 1, ())


def distinct(array: Array) -> Array:
    """The distinct numbers or labels, sorted. (np.unique and np.isin would import numpy.ma, which takes half as long as
    everything else that a fit of a small net begins with.)"""
    ordered = np.sort(array, axis=None)
    different = np.ones(len(ordered), dtype=bool)
    different[1:] = ordered[1:] != ordered[:-1]
    return ordered[different]


def _whole(array: Array) -> bool:
    return array.dtype.kind == "f" and np.array_equal(array, np.floor(array))


def _codes(array: Array, outputs: int) -> bool:
    """Whether floats are labels that a file or an encoder converted: integral, with as many distinct values as the
    model has outputs, or two for no and yes if it has one."""
    if not outputs or not _whole(array):
        return False
    values = distinct(array[:4096])
    if len(values) > max(2, outputs):
        return False
    values = distinct(array)
    if outputs == 1:
        return values.tolist() in ([0.0, 1.0], [-1.0, 1.0], [1.0, 2.0])
    return len(values) == outputs


def again(known: Targets, y: Any, outputs: int) -> Targets | None:
    """The targets of a model that was trained before, if `y` is of their kind: then its outputs keep their meaning.
    None if `y` is of another kind.

    Raises ValueError for labels unknown to the model, whose outputs already stand for others.
    """
    if known.kind not in ("two classes", "classes", "numbers") or known.shape:
        return None
    array = _checked(y, "y")
    if array.ndim != 1:
        return None
    if known.kind == "numbers":
        return known if array.dtype.kind in "biuf" else None
    assert known.classes is not None
    labels = distinct(array)
    if (labels.dtype.kind in "US") == (known.classes.dtype.kind in "US"):
        new = np.array(sorted({*labels.tolist()} - {*known.classes.tolist()}))
    else:
        new = labels
    if len(new):
        raise ValueError(
            f"y has the label {new[0].item()!r}, and the classes of this model are {_few(known.classes)}: its outputs "
            "keep their meaning; use a new model, or name all classes before the first fit, with classes=[…]"
        )
    return known


def _several(array: Array, loss: str | None, outputs: int) -> Targets:
    k = array.shape[1]
    if array.dtype.kind not in "biuf":
        raise ValueError(
            f"y has {k} columns of strings: give one column of labels, such as y[:, 0], to learn its classes; several "
            "columns must hold numbers: 0 and 1 for yes-or-no labels, or numbers to predict"
        )
    marks = bool(((array == 0) | (array == 1)).all())
    single = marks and k > 1 and bool((array.sum(axis=1) == 1).all())
    if array.dtype.kind == "f":  # encoders write one 1 per row; other floats may be numbers
        marks = single
    if loss == "hinge":
        raise ValueError(f"hinge takes one label per row, y has {k} columns: use 'binary_cross_entropy' for labels")
    if loss in NUMBERS or (loss is None and not marks):
        return Targets("numbers", loss or DEFAULT["numbers"], None, k, (k,))
    if loss == "cross_entropy" or (loss is None and single):
        found = Targets("classes", "cross_entropy", np.arange(k), k, (k,))
    else:
        found = Targets("labels", "binary_cross_entropy", None, k, (k,))
    _check_shares(array, found, "y")
    return found


def _check_shares(array: Array, targets: Targets, name: str) -> None:
    """Check probabilities: from 0 to 1, and with the sum 1 for classes."""
    if targets.kind not in ("labels", "probabilities", "classes"):
        return
    outside = np.argwhere((array < 0) | (array > 1))
    if len(outside):
        place = tuple(outside[0].tolist())
        raise ValueError(
            f"{name} has {array[place]} in row {place[0]}: {targets.loss} takes probabilities from 0 to 1 there"
        )
    if targets.kind == "classes":
        sums = array.sum(axis=1)
        wrong = np.flatnonzero(np.abs(sums - 1.0) > 1e-6)
        if len(wrong):
            raise ValueError(
                f"row {wrong[0]} of {name} has the sum {sums[wrong[0]]:.6g}: the probabilities of the classes must "
                "have the sum 1 in every row"
            )


def _checked(y: Any, name: str) -> Array:
    """y as an array of shape (n,) or (n, k), of finite numbers or of labels."""
    check_unmasked(name, y)
    try:
        array = np.asarray(y)
    except ValueError:
        raise ValueError(f"{name} is ragged: every row must have the same number of targets") from None
    if array.dtype.kind == "U" and not isinstance(y, np.ndarray):
        array = np.asarray(y, dtype=object)  # NumPy turns numbers next to a string into strings
    if array.dtype.kind == "O":
        array = _of_objects(array, name)
    if array.dtype.kind not in "biufUSO":
        raise TypeError(f"{name} must hold numbers or labels, got dtype {array.dtype}")
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]  # a column of a table
    if array.ndim not in (1, 2):
        raise ValueError(f"{name} must be of shape (n,) or (n, outputs), got {array.shape}")
    if not array.size:
        raise ValueError(f"{name} is empty (shape {array.shape}): give one target for each sample")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        place = tuple(np.argwhere(~np.isfinite(array))[0].tolist())
        column = f", column {place[1]}" if len(place) > 1 else ""
        raise ValueError(f"{name} is {array[place]} in row {place[0]}{column}: targets must be finite")
    return array


def _of_objects(array: Array, name: str) -> Array:
    """An array of objects, as from pandas or mixed lists: strings as strings, numbers as numbers."""
    items = array.reshape(-1).tolist()
    width = max(1, len(items) // max(1, len(array))) if array.ndim else 1
    for i, x in enumerate(items):
        if _is_missing(x):
            raise ValueError(f"{name} has no target in row {i // width}: {x!r}")
        if isinstance(x, Value) or not (isinstance(x, (Number, str, bytes)) or is_number(x)):
            remedy = "give value.data, the plain number" if isinstance(x, Value) else "make labels strings or integers"
            raise TypeError(f"{name} holds {x!r} in row {i // width}, which is no number and no label: {remedy}")
    texts = [isinstance(x, str) for x in items]
    if any(texts) and not all(texts):
        raise ValueError(f"{name} mixes strings and numbers: make all labels strings, or all numbers")
    found = array.astype(str) if any(texts) else np.array(array.tolist())
    if found.dtype.kind != "O":
        return found
    for i, x in enumerate(items):
        if isinstance(x, int) and not -(2**63) <= x < 2**64:
            raise ValueError(
                f"{name} holds an integer beyond 64 bits in row {i // width}: write it as a float to predict it, or as "
                "a string if it is a label"
            )
    return found.astype(np.float64)  # fractions and decimals


def _is_missing(x: Any) -> bool:
    """Whether an object stands for a missing number: None, NaN, NaT, or pandas' NA, which does not say that it differs
    from itself."""
    different = x != x
    return x is None or (bool(different) if isinstance(different, (bool, np.bool_)) else different is x)


def _misfit(targets: Targets, outputs: int, perhaps_labels: bool) -> str:
    """The message for a model with the wrong number of outputs.

    `perhaps_labels` tells that numbers to predict may be labels that a file or an encoder converted to floats.
    """
    have = f"the model has {outputs} output{'s' * (outputs != 1)}"
    width = f"make its last layer {targets.outputs} wide"
    if targets.kind == "classes" and not targets.shape:
        assert targets.classes is not None
        text = f"y has {targets.outputs} classes ({_few(targets.classes)}) and {have}: {width}"
        if targets.classes.dtype.kind in "iu":
            text += "; if y is a number to predict, give loss='squared_error'"
        return text
    if targets.kind == "two classes":
        takes = f"{targets.outputs} output{'s' * (targets.outputs != 1)}"
        return f"y has two classes, {targets.loss} takes {takes} and {have}: {width}"
    single = targets.kind == "numbers" and not targets.shape
    kind = _KINDS[targets.kind].removeprefix("several ")
    what = "a number" if single else f"{targets.outputs} {kind}"
    if single and perhaps_labels:
        return (
            f"y has floats, which are numbers to predict, and {have}: if they are class labels, give "
            f"loss='cross_entropy'; else {width}"
        )
    return f"y has {what} per row and {have}: {width}"


def _few(classes: Array) -> str:
    shown = [str(c) for c in classes[:6].tolist()]
    return ", ".join(shown) + (", …" if len(classes) > 6 else "")


def _name(loss: Any) -> str:
    return loss if isinstance(loss, str) else getattr(loss, "__name__", "a custom loss")
