"""The compiler: from a plain Python function of Values to array programs in native code.

Read it in execution order: `pipeline.py` lists the stages, and each stage is a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, overload

from macrograd.compiler.bound import Bound, BoundResults
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.settings import CompileWarning
from macrograd.compiler.trace.refusals import TraceError

_NOTHING: Any = object()  # used as a decorator with settings: waits for the function


@overload
def compile(  # noqa: A001 - the field's name for it
    fn: Callable[..., Any],
    *,
    batch: bool = ...,
    dtype: str = ...,
    backend: str = ...,
    threads: int = ...,
    strict: bool = ...,
    uniform: str | int | Iterable[str | int] = ...,
    comm: Any = ...,
    own_rows: bool = ...,
) -> Compiled: ...


@overload
def compile(  # noqa: A001 - the field's name for it
    *,
    batch: bool = ...,
    dtype: str = ...,
    backend: str = ...,
    threads: int = ...,
    strict: bool = ...,
    uniform: str | int | Iterable[str | int] = ...,
    comm: Any = ...,
    own_rows: bool = ...,
) -> Callable[[Callable[..., Any]], Compiled]: ...


def compile(  # noqa: A001 - the contract's name; users write mg.compile
    fn: Callable[..., Any] = _NOTHING,
    *,
    batch: bool = False,
    dtype: str = "float64",
    backend: str = "auto",
    threads: int = 1,
    strict: bool = False,
    uniform: str | int | Iterable[str | int] = (),
    comm: Any = None,
    own_rows: bool = False,
) -> Compiled | Callable[[Callable[..., Any]], Compiled]:
    """Trace the function `fn` of numbers and Values once and run it as native code.

    fn        any Python function that computes with the operations of this package. It is called once for each new
              shape of its arguments, with values that have no numbers; arrays are (nested) Vectors of them. The leaf
              Values that it closes over become parameters, whose `.data` the compiled code reads at every call: turning
              one into a number or branching on it while fn is traced is an error; use `mg.static(p)` for a number that
              never changes
    batch     fn describes one sample: every argument gains a leading axis, and so does every result
    dtype     "float64" or "float32", in which constants, arguments and parameters beyond ±3.4e38 are infinite
    backend   "llvm", "numpy" or "auto": LLVM if llvmlite can be imported, otherwise NumPy
    threads   the number of threads that share the blocks of a large batch; the result does not depend on it
    strict    the same bits on every machine: + − × ÷, √, negation, abs, relu, maximum, minimum and where round as in
              the eager engine, exp, tanh and their like are formulas of these (within 2 ulp of its), and
              a batch is added up sample by sample; otherwise sums may be regrouped, multiplications fused with
              additions, and both depend on the processor
    uniform   with batch, the arguments that are the same for all samples, such as a temperature: one or several names
              or positions. They have no batch axis, and anything computed only from them and from parameters is
              computed once per batch
    comm      with batch, an mpi4py communicator whose ranks share every batch, or "world" for all processes started by
              mpiexec: every rank makes the same calls with the same arguments, computes a part of the samples and gets
              the whole result. Sums over the batch are added in a fixed tree, so that the result has the same bits on
              any number of ranks (but not those of a function without comm). Calls raise `OtherRankError`, a
              RuntimeError, on all ranks if these do not compute the same thing
    own_rows  with comm, whether each rank passes only the rows of the batch that it has, any number of them, also none,
              and gets the results of these. Together they are one batch, the rows of rank 0 first: means and gradients
              have the bits that they would have if every rank had passed all of it. Uniform arguments are the same on
              all ranks

    Raises TraceError if fn branches on a value or asks for its number, ValueError and TypeError for invalid arguments,
    IndexError if the index of a `take` is out of range.

    Without fn it is a decorator with these settings: `@mg.compile(batch=True)`.
    """
    if fn is _NOTHING:
        return partial(
            compile,
            batch=batch,
            dtype=dtype,
            backend=backend,
            threads=threads,
            strict=strict,
            uniform=uniform,
            comm=comm,
            own_rows=own_rows,
        )
    return Compiled(
        fn, batch=batch, dtype=dtype, backend=backend, threads=threads, strict=strict, uniform=uniform, comm=comm,
        own_rows=own_rows,
    )  # fmt: skip


__all__ = ["Bound", "BoundResults", "CompileWarning", "Compiled", "TraceError", "compile"]
