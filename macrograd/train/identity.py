"""The identity of a training run, which decides whether another run may resume it."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.train.callbacks import EarlyStopping
from macrograd.train.samples.order import Order
from macrograd.train.samples.split import Part
from macrograd.train.setup import Setup
from macrograd.train.signature import named


def identity(
    setup: Setup,
    part: Part,
    held: Part | None,
    order: Order,
    *,
    clip_norm: float | None,
    metrics: Sequence[str],
    early_stopping: EarlyStopping | None,
) -> dict[str, Any]:
    """The settings, besides its programs, that must be the same to resume a run. The number of steps may grow."""
    names = list(setup.model.named_parameters())
    return {
        "number_of_parameters": len(names),
        "parameter_names": f"{names[0]} … {names[-1]}",
        "loss": named(setup.fitted().loss),
        "penalty": None if setup.penalty is None else named(setup.penalty),
        # Functions print with their address, which differs in every process.
        "optimizer": re.sub(" at 0x[0-9a-fA-F]+", "", repr(setup.optimizer)),
        "l2": setup.l2,
        "engine": setup.engine,
        "dtype": setup.dtype,
        "clip_norm": clip_norm,
        "samples": part.samples.count,
        "shape_of_a_sample": list(part.samples.shape),
        "data": part.samples.checksum(),
        "targets": _checksum(part.targets),
        "weights": None if part.weights is None else _checksum(part.weights),
        "batch_size": order.batch_size,
        "shuffle": order.shuffle,
        "seed": order.seed,
        "metrics": list(metrics),
        "validation": None if held is None else held.samples.checksum(),
        "early_stopping": None if early_stopping is None else asdict(early_stopping),
    }


def _checksum(array: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data)
