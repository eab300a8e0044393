"""Losses of ONE sample: plain functions of scalars, on floats, Values and traced values alike.

Batching, averaging over samples and regularisation are left to the caller.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from macrograd import functions, ops
from macrograd.nn._scalars import as_list
from macrograd.value import Value, is_open

Loss = Callable[[Any, Any], Any]


def hinge(score: Any, y: Any) -> Any:
    """max(0, 1 − y·score) for a label y of −1 or +1.

    Raises ValueError for any other label and for more than one score. Source: Cortes & Vapnik, *Support-Vector
    Networks*, Machine Learning 20, 1995.
    """
    score, y = _single("hinge", "score", score), _single("hinge", "label", y)
    # Labels 0 and 1 would train badly without an error. Inputs of a compiled function have no number to check.
    if not isinstance(y, Value) and y not in (-1, 1):
        raise ValueError(f"hinge() takes a label of −1 or +1, got {y}: turn labels 0 and 1 into 2·y − 1")
    return functions.relu(1.0 - y * score)


def squared_error(p: Any, t: Any) -> Any:
    """(p − t)²; for lists, the mean over the components. Raises ValueError for lists of different lengths."""
    differences = _differences("squared_error", p, t)
    return _mean([d * d for d in differences])


def absolute_error(p: Any, t: Any) -> Any:
    """|p − t|; for lists, the mean over the components. Raises ValueError for lists of different lengths."""
    return _mean([abs(d) for d in _differences("absolute_error", p, t)])


def huber(p: Any, t: Any, delta: float = 1.0) -> Any:
    """½(p − t)² if |p − t| ≤ delta, else delta·(|p − t| − ½·delta); for lists, the mean over the components.

    Raises ValueError for lists of different lengths and if delta is not positive. Source: Huber, *Robust
    Estimation of a Location Parameter*, Annals of Mathematical Statistics 35, 1964.
    """
    if not (is_open(delta) or delta > 0.0):
        raise ValueError(f"huber() needs delta > 0, got {delta}")
    distances = [abs(d) for d in _differences("huber", p, t)]
    near = [functions.minimum(distance, delta) for distance in distances]
    # With q = min(d, delta) both branches are q·(d − q/2): no branch, and finite gradients however far p is from t.
    return _mean([q * (distance - 0.5 * q) for q, distance in zip(near, distances, strict=True)])


def binary_cross_entropy(logit: Any, target: Any) -> Any:
    """−t·log σ(z) − (1 − t)·log(1 − σ(z)) for a logit z and a target probability t in [0, 1]; for lists, the mean over
    the components, which are independent yes-or-no labels.

    Computed as t·softplus(−z) + (1 − t)·softplus(z), which neither overflows nor cancels at either end.
    Raises ValueError for a target outside [0, 1] and for lists of different lengths.
    """
    logits, targets = as_list(logit), as_list(target)
    if len(logits) != len(targets) or not logits:
        raise ValueError(
            "binary_cross_entropy() needs the same number of logits and targets, at least one, "
            f"got {len(logits)} logits and {len(targets)} targets"
        )
    terms = []
    for z, t in zip(logits, targets, strict=True):
        if not isinstance(t, Value) and not 0.0 <= t <= 1.0:
            raise ValueError(
                f"binary_cross_entropy() target must be from 0 to 1, got {t}: turn labels −1 and +1 into (y + 1)/2"
            )
        terms.append(t * functions.softplus(-z) + (1.0 - t) * functions.softplus(z))
    return _mean(terms)


def cross_entropy(logits: Any, target: Any) -> Any:
    """−Σ tᵢ·log softmax(logits)ᵢ, where the target is a class index or a list of probabilities t.

    logits  one score per class, at least two
    target  an integer from 0 to len(logits) − 1, which may be an input of a compiled function; or one probability per
            class

    Raises ValueError for fewer than two logits and for the wrong number of probabilities, IndexError for a class out
    of range, TypeError for a class that is not an integer.
    """
    scores = as_list(logits)
    if len(scores) < 2:
        raise ValueError(
            f"cross_entropy() needs at least two logits, got {len(scores)}: use binary_cross_entropy() for one"
        )
    # Shifted before anything else: logsumexp(scores) − score would cancel where all scores are large.
    scores, largest = functions._shifted("cross_entropy", scores)
    scores = [score - largest for score in scores]
    log_total = functions.log(functions.sum(functions.exp(score) for score in scores))
    if not hasattr(target, "__len__") or getattr(target, "shape", None) == ():
        return log_total - _chosen(scores, target)
    probabilities = as_list(target)
    if len(probabilities) != len(scores):
        raise ValueError(
            f"cross_entropy() needs one probability per class, got {len(probabilities)} for {len(scores)} logits"
        )
    return functions.dot(probabilities, [log_total - score for score in scores])


LOSSES: dict[str, Loss] = {
    "hinge": hinge,
    "squared_error": squared_error,
    "absolute_error": absolute_error,
    "huber": huber,
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
}


def get(loss: str | Loss) -> Loss:
    """Look up a loss by name; a function is returned unchanged. Raises ValueError for an unknown name."""
    if callable(loss):
        return loss
    if loss not in LOSSES:
        raise ValueError(
            f"unknown loss {loss!r}: use one of {', '.join(LOSSES)}, or a function (prediction, target) → scalar"
        )
    return LOSSES[loss]


def _single(loss: str, what: str, x: Any) -> Any:
    scalars = as_list(x)
    if len(scalars) != 1:
        raise ValueError(f"{loss}() takes one {what}, got {len(scalars)}")
    ops.check_operands(loss, scalars)
    return scalars[0]


def _differences(loss: str, p: Any, t: Any) -> list[Any]:
    predictions, targets = as_list(p), as_list(t)
    if len(predictions) != len(targets) or not predictions:
        raise ValueError(
            f"{loss}() needs the same number of predictions and targets, at least one, "
            f"got {len(predictions)} predictions and {len(targets)} targets"
        )
    try:
        return [a - b for a, b in zip(predictions, targets, strict=True)]
    except TypeError:
        ops.check_operands(loss, [*predictions, *targets])
        raise


def _mean(terms: list[Any]) -> Any:
    return terms[0] if len(terms) == 1 else functions.mean(terms)


def _chosen(scores: list[Any], target: Any) -> Any:
    try:
        return functions.take(scores, target)
    except IndexError:
        raise IndexError(
            f"cross_entropy() target class {target} is out of range: {len(scores)} logits have classes 0 to "
            f"{len(scores) - 1}"
        ) from None
    except TypeError:
        if isinstance(target, Value):
            raise
        raise TypeError(f"cross_entropy() target class must be an integer, got {target!r}") from None
