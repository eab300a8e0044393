"""The checked settings of a compiled function, and warnings about them that are shown once."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from macrograd._dataclass import dataclass
from macrograd._flags import flag
from macrograd.ranks.ranks import Ranks

_DTYPES = {"float64": np.float64, "float32": np.float32}
_BACKENDS = ("auto", "llvm", "numpy")
said: set[str] = set()  # warnings already shown


class CompileWarning(UserWarning):
    """Something was done in a slower way."""


@dataclass(frozen=True)
class Settings:
    """The arguments of `compile`: the function and how to run it. Made by `settings_of`, which checks them."""

    fn: Callable[..., Any]
    name: str
    batch: bool
    dtype: np.dtype[Any]
    backend: str
    threads: int
    strict: bool
    signature: inspect.Signature | None
    uniform: frozenset[int] = frozenset()  # positions of the arguments that are the same for all samples
    ranks: Ranks | None = None  # the processes that share every batch
    own_rows: bool = False  # whether each of them passes its own rows of it

    def anonymous(self) -> Settings:
        """These settings without the function, which leads to its parameters."""
        return replace(self, fn=_recorded, signature=None)

    def argument(self, k: int) -> str:
        """The name of argument k in messages."""
        names = list(self.signature.parameters) if self.signature is not None else []
        return f"argument {names[k]!r}" if k < len(names) else f"argument {k + 1}"


def settings_of(
    fn: Callable[..., Any],
    *,
    batch: bool,
    dtype: Any,
    backend: str,
    threads: int,
    strict: bool,
    uniform: Any = (),
    comm: Any = None,
    own_rows: bool = False,
) -> Settings:
    """The checked settings. Raises ValueError for an unsupported setting and TypeError if fn is not callable."""
    name = dtype if isinstance(dtype, str) else _name(dtype)
    if name not in _DTYPES:
        raise ValueError(f"compile(dtype={dtype!r}): dtype must be one of {', '.join(map(repr, _DTYPES))}")
    if backend not in _BACKENDS:
        raise ValueError(f"compile(backend={backend!r}): backend must be one of {', '.join(map(repr, _BACKENDS))}")
    batch, strict = flag("compile", "batch", batch), flag("compile", "strict", strict)
    own_rows = flag("compile", "own_rows", own_rows)
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"compile(threads={threads!r}): threads must be a positive integer")
    if not callable(fn):
        raise TypeError(f"compile() takes a function, got {fn!r} of type {type(fn).__name__}")
    if comm is not None and not batch:
        raise ValueError("compile(comm=...) needs batch=True: it is the samples of a batch that ranks share")
    if own_rows and comm is None:
        raise ValueError("compile(own_rows=True) is for ranks that share a batch: give comm")
    signature = _signature(fn)
    return Settings(
        fn=fn,
        name=getattr(fn, "__name__", type(fn).__name__),
        batch=batch,
        dtype=np.dtype(_DTYPES[name]),
        backend=backend,
        threads=threads,
        strict=strict,
        signature=signature,
        uniform=_uniform(uniform, signature, batch=bool(batch)),
        ranks=Ranks.of(comm),
        own_rows=own_rows,
    )


def _uniform(given: Any, signature: inspect.Signature | None, *, batch: bool) -> frozenset[int]:
    """The positions of the arguments that `compile(uniform=...)` names."""
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [given]
    names = list(signature.parameters) if signature is not None else []
    many = any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values()) if signature is not None else True
    found = set()
    for one in listed:
        if isinstance(one, str) and one in names:
            found.add(names.index(one))
        elif isinstance(one, int) and not isinstance(one, bool) and one >= 0 and (many or one < len(names)):
            found.add(one)
        else:
            known = f"; its arguments are {', '.join(names)}" if names else ""
            raise ValueError(f"compile(uniform={given!r}): {one!r} is not the name or position of an argument{known}")
    if found and not batch:
        raise ValueError(f"compile(uniform={given!r}) needs batch=True: without a batch there is only one sample")
    return frozenset(found)


def _recorded() -> None:
    """Stands for a function that has been recorded."""


def say_once(text: str, stacklevel: int = 7) -> None:
    if text not in said:
        said.add(text)
        warnings.warn(text, CompileWarning, stacklevel=stacklevel)


def _name(dtype: Any) -> str:
    """The name of a NumPy type, '' for anything else."""
    try:
        return str(np.dtype(dtype).name) if dtype is not None else ""  # which NumPy takes to mean float64
    except TypeError:
        return ""


def _signature(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(fn)
    except (TypeError, ValueError):
        return None
