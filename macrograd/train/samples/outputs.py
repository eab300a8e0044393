"""The meaning of a classifier's outputs: the predicted class, and the probabilities of all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
_BLOCK = 1024  # rows


def answered(outputs: Callable[[Any], Array], rows: Array, answer: Callable[[Array], Array]) -> Array:
    """What `answer` makes of the outputs for rows (n, …), a block at a time: those for thousands of classes fill the
    memory."""
    return np.concatenate([answer(outputs(rows[k : k + _BLOCK])) for k in range(0, max(1, len(rows)), _BLOCK)])


def predicted(outputs: Array) -> NDArray[np.int64]:
    """(n,) the index of each sample's class: that of the largest of its outputs (n, k); for one output (n,), whether it
    is above 0, the midpoint for every loss: between the targets −1 and +1, and the logit of ½."""
    return outputs.argmax(axis=1) if outputs.ndim == 2 else (outputs > 0).astype(np.int64)


def softmax(logits: Array) -> Array:
    """exp(logit) / Σ exp(logit) in each row, (n, k)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))
