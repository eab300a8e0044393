"""Compiled functions of which each rank passes the rows that it has, on a communicator of threads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pytest
from fake import on_ranks

import macrograd as mg
from macrograd import nn
from macrograd.ranks import OtherRankError, Ranks
from macrograd.ranks.own import OwnRows

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(2200, 2)), rng.normal(size=2200)


def cut(samples: int, size: int, power: float = 1.0) -> list[slice]:
    """The rows of each rank; with a large power the first have few or none."""
    ends = [round(samples * (k / size) ** power) for k in range(size + 1)]
    return [slice(a, b) for a, b in pairwise(ends)]


def square(net: nn.Module) -> Callable[..., Any]:
    return lambda x, t: (net(x) - t) ** 2


def several(net: nn.Module) -> Callable[..., Any]:
    """Results of all kinds: computed, uniform, an argument unchanged, nested."""
    first = net.parameters()[0]
    return lambda x, t: {"out": net(x), "pair": [x[0] * t, x[1]], "same": first * 2.0, "x": x}


def flat(found: Any) -> list[Any]:
    if isinstance(found, dict):
        return [part for value in found.values() for part in flat(value)]
    if isinstance(found, list):
        return [part for value in found for part in flat(value)]
    return [np.asarray(found)]


def everything(net: nn.Module, comm: Any, rows: slice, samples: int, **options: Any) -> tuple[Any, list[Any]]:
    """(what is the same on all ranks, the results of the rows)."""
    f, g = (mg.compile(fn, batch=True, comm=comm, **options) for fn in (square(net), several(net)))
    x, t = X[:samples][rows], Y[:samples][rows]
    f.explain(X[:1], Y[:1])  # traces it, so that its parameters are known
    value, gradient = f.value_and_grad(f.theta(), x, t)
    again = f.value_and_grad([p.data for p in f.parameters], x.tolist() if len(x) else x, t)
    step, results = f.bind(x, t), g.bind(x, t)
    bound = step(), step.gradient.tobytes(), step()
    per_row = [*flat(f(x, t)), *flat(g(x, t)), *flat(g.value([p.data for p in g.parameters], x, t)), *flat(results())]
    whole = value, gradient.tobytes(), again[0], again[1].tobytes(), bound, f.backward(x, t)
    return whole, per_row


SETTINGS: list[dict[str, Any]] = [{}, {"dtype": "float32", "strict": True}, {"backend": "numpy"}, {"threads": 2}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(
    ("samples", "size", "power"),
    [(1, 3, 1.0), (7, 2, 1.0), (33, 2, 1.0), (300, 1, 1.0), (300, 4, 1.0), (300, 8, 2.0), (2200, 3, 3.0)],
)
def test_the_bits_are_those_of_ranks_that_pass_the_whole_batch(
    samples: int, size: int, power: float, settings: dict[str, Any]
) -> None:
    net, parts = nn.MLP(2, [3, 1], seed=0), cut(samples, size, power)
    ((whole, rows),) = on_ranks(1, lambda comm: everything(net, comm, slice(None), samples, **settings))
    found = on_ranks(
        size, lambda comm: everything(net, comm, parts[comm.Get_rank()], samples, own_rows=True, **settings)
    )
    for (theirs, own), part in zip(found, parts, strict=True):
        assert theirs == whole
        assert [a.shape for a in own] == [a[part].shape for a in rows]
        assert [a.tobytes() for a in own] == [a[part].tobytes() for a in rows]


def test_uniform_arguments_are_the_same_and_buffers_may_be_written() -> None:
    parts = cut(300, 3)

    def work(comm: Any, rows: slice, *, own: bool) -> Any:
        f = mg.compile(lambda x, k: mg.exp(x[0]) * k, batch=True, uniform="k", comm=comm, own_rows=own)
        step = f.bind(X[:300][rows] * 0.0, 0.0)
        step.arguments[0][:] = X[:300][rows]
        step.arguments[1][...] = 2.0
        return step(), f.value_and_grad([], X[:300][rows], 2.0)[0]

    (one,) = on_ranks(1, lambda comm: work(comm, slice(None), own=False))
    assert one[0] == one[1] == pytest.approx(2.0 * np.exp(X[:300, 0]).mean(), rel=1e-13)
    assert on_ranks(3, lambda comm: work(comm, parts[comm.Get_rank()], own=True)) == [one] * 3

    def differ(comm: Any) -> Any:
        f = mg.compile(lambda x, k: x[0] * k, batch=True, uniform="k", comm=comm, own_rows=True)
        return f(X[parts[comm.Get_rank()]], float(comm.Get_rank()))

    assert all(isinstance(found, OtherRankError) for found in on_ranks(3, differ))


def test_only_rows_of_leaves_on_an_edge_are_sent() -> None:
    sent: list[int] = []

    class Counting:
        def __init__(self, comm: Any) -> None:
            self.comm = comm

        def __getattr__(self, name: str) -> Any:
            return getattr(self.comm, name)

        def Alltoallv(self, rows: Any, received: Any) -> None:  # noqa: N802 - mpi4py's name
            sent.append(len(rows[0]))
            self.comm.Alltoallv(rows, received)

    def work(comm: Any, parts: Sequence[slice]) -> Any:
        f = mg.compile(lambda x: x[0] * x[1], batch=True, comm=Counting(comm), own_rows=True)
        return f(X[:256][parts[comm.Get_rank()]]).tolist()

    whole = (X[:256, 0] * X[:256, 1]).tolist()
    for ends, rows in (([0, 64, 256], 0), ([0, 70, 256], 26), ([0, 95, 100, 256], 1 + 28)):
        sent.clear()
        parts = [slice(a, b) for a, b in pairwise(ends)]
        found = on_ranks(len(parts), lambda comm, parts=parts: work(comm, parts))
        assert list(chain(*found)) == whole
        # To where they are computed, and their results back.
        assert sum(sent) == 2 * rows


@pytest.mark.parametrize("backend", ["llvm", "numpy"])
@pytest.mark.parametrize("loops", [False, True])
def test_an_index_out_of_range_is_the_same_error_on_all_with_the_row_of_the_batch(backend: str, loops: bool) -> None:
    rows = np.arange(300) % 3
    rows[299] = 3
    table, parts = [mg.Value(float(k)) for k in range(3)], cut(300, 3)

    def fn(i: Any) -> Any:
        return mg.loop(2, lambda k, s: s + mg.take(table, i), 0.0) if loops else mg.take(table, i)

    def work(comm: Any) -> Any:
        f = mg.compile(fn, batch=True, comm=comm, own_rows=True, backend=backend)
        return f.value_and_grad([0.0, 1.0, 2.0], rows[parts[comm.Get_rank()]])

    found = on_ranks(3, work)
    assert [type(one) for one in found] == [IndexError] * 3
    assert len({str(one) for one in found}) == 1
    if not loops:
        assert "sample 299: take() index 3 is outside 0 … 2" in str(found[0])


def test_what_does_not_fit_together_is_an_error_on_all() -> None:
    net, other = nn.MLP(2, [3, 1], seed=0), nn.MLP(2, [3, 1], seed=1)

    def work(comm: Any, nets: Any, data: Any) -> Any:
        k = comm.Get_rank()
        return mg.compile(lambda x: nets[k](x) ** 2, batch=True, comm=comm, own_rows=True)(data[k])

    cases: dict[str, Any] = {
        "other parameters than rank 1": ((net, other), (X[:9], X[9:12])),
        "the arguments of rank 1 have rows of other shapes than those of rank 0": (
            (net, lambda x: x[0]), (X[:9], X[9:12, :1]),
        ),
        "the batch is empty: no rank passed a row": ((net, net), (X[:0], X[:0])),
        "rank 1 failed: TypeError: ": ((net, net), (X[:9], "rows")),
    }  # fmt: skip
    for message, case in cases.items():
        found = on_ranks(2, lambda comm, case=case: work(comm, *case))
        assert all(isinstance(one, (OtherRankError, ValueError, TypeError)) for one in found), found
        assert message in str(found[0])
    with pytest.raises(ValueError, match=r"compile\(own_rows=True\) is for ranks that share a batch: give comm"):
        mg.compile(lambda x: x, batch=True, own_rows=True)


@pytest.mark.parametrize("counts", [[0, 0, 5, 0], [40, 3, 2, 100], [31, 1, 1, 0], [1, 0, 0, 0], [64, 0, 64, 1]])
def test_rows_move_there_and_back(counts: list[int]) -> None:
    ends = np.cumsum([0, *counts]).tolist()
    rows = np.arange(ends[-1])[:, None] * [1.0, 10.0]

    def work(comm: Any) -> Any:
        k, ranks = comm.Get_rank(), Ranks(comm)
        own = OwnRows.of(ranks, counts[k], (2,), "f")
        mine = rows[ends[k] : ends[k + 1]]
        inside = own.inward(mine)
        assert inside.tolist() == rows[own.computed.start : own.computed.stop].tolist()
        assert own.outward(inside).tolist() == mine.tolist()
        return list(own.computed)

    found = on_ranks(4, work)
    if ends[-1] > 1:
        assert list(chain(*found)) == list(range(ends[-1]))
    else:
        assert found == [[0]] * 4
