"""What makes two training runs the same, so that one can go on where the other stopped."""

from __future__ import annotations

import re
import zlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from macrograd.train.fitting import Fitting


def identity(fitting: Fitting) -> dict[str, Any]:
    """What must be the same for a run to go on. The number of steps may grow."""
    part, trainer, order = fitting.part, fitting.trainer, fitting.order
    names, loss = list(trainer.model.named_parameters()), trainer._fitted().loss
    return {
        "number_of_parameters": len(names),
        "parameter_names": f"{names[0]} … {names[-1]}",
        "loss": loss if isinstance(loss, str) else getattr(loss, "__qualname__", type(loss).__name__),
        # Functions print with their address, which is another one in every process.
        "optimizer": re.sub(" at 0x[0-9a-fA-F]+", "", repr(fitting.optimizer)),
        "l2": trainer.l2,
        "engine": trainer.engine,
        "dtype": trainer.dtype,
        "clip_norm": fitting.clip_norm,
        "samples": part.samples.count,
        "shape_of_a_sample": list(part.samples.shape),
        "data": part.samples.checksum(),
        "targets": _checksum(part.targets),
        "weights": None if part.weights is None else _checksum(part.weights),
        "batch_size": order.batch_size,
        "shuffle": order.shuffle,
        "seed": order.seed,
        "metrics": [name for name, _ in fitting.metrics],
        "validation": None if fitting.held is None else fitting.held.samples.checksum(),
        "early_stopping": None if fitting.watch is None else asdict(fitting.watch.rule),
    }


def _checksum(array: NDArray[Any]) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8).data)
