"""Names and positions of the parameters of a compiled function, which have an order different from the model's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd.value import Value


def check_names(where: str, named: Any) -> None:
    """Raise TypeError for anything but a dict of names and Values."""
    if not (isinstance(named, dict) and all(isinstance(value, Value) for value in named.values())):
        raise TypeError(f"{where}: names is a dict of names and their Values, as from model.named_parameters()")


def names(parameters: Sequence[Value], named: dict[str, Value] | None = None) -> list[str]:
    """Each parameter's name in `named`, else its label, else its place, as in "theta[3]"."""
    if named is not None:
        check_names(f"names({named!r})", named)
    known = {id(value): name for name, value in (named or {}).items()}
    return [known.get(id(p)) or p.label or f"theta[{k}]" for k, p in enumerate(parameters)]


def places(parameters: Sequence[Value], values: Iterable[Value], owner: str) -> NDArray[np.int64]:
    """The position of each of `values` among the parameters. Raises ValueError for one that is not among them."""
    at = {id(p): k for k, p in enumerate(parameters)}
    found = []
    for value in values:
        if id(value) not in at:
            raise ValueError(f"{owner} does not use {value!r}: places() takes Values that are among its parameters")
        found.append(at[id(value)])
    return np.array(found, dtype=np.int64)
