"""Teams of threads give the bits of one thread."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Trainer, nn, optim
from macrograd.compiler.targets.llvm import execute
from macrograd.compiler.targets.scalar import emit
from tests.interrupts import interrupted

Array = np.ndarray[Any, Any]
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(150, 5)), rng.integers(0, 3, 150)


@pytest.fixture(autouse=True)
def _every_program_has_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execute, "TEAM_PRODUCTS", 0)
    monkeypatch.setattr(emit, "WORTH", 4)
    monkeypatch.setenv("MACROGRAD_CACHE", "off")


def model() -> nn.MLP:
    return nn.MLP(5, [9, 7, 3], activation="tanh", seed=3)


def loss(net: nn.MLP) -> Any:
    return lambda x, y: mg.logsumexp(net(x)) - mg.take(net(x), y)


@pytest.mark.parametrize(("samples", "strict", "threads"), [(1, False, 2), (31, True, 2), (150, False, 3)])
def test_values_and_gradients(samples: int, strict: bool, threads: int) -> None:
    net, found = model(), []
    for count in (1, threads):
        f = mg.compile(loss(net), batch=True, threads=count, strict=strict)
        values = f(X[:samples], Y[:samples])
        value, gradient = f.value_and_grad(f.theta(), X[:samples], Y[:samples])
        found.append(np.concatenate([values, [value], gradient]).tobytes())
    assert found[0] == found[1]


def trained(threads: int, **options: Any) -> tuple[Array, list[float]]:
    net = model()
    trainer = Trainer(net, "cross_entropy", optimizer=optim.Adam(1e-2), threads=threads)
    history = trainer.fit(X, Y, epochs=2, batch_size=40, progress=False, **options)
    return np.array([p.data for p in net.parameters()]), history.losses


@pytest.mark.parametrize(
    "options", [{}, {"clip_norm": 0.1, "sample_weight": rng.random(150)}], ids=["plain", "clipped and weighted"]
)
def test_training(options: dict[str, Any]) -> None:
    """The last batch of an epoch is smaller, and its team the same."""
    one, two = trained(1, **options), trained(2, **options)
    assert np.array_equal(one[0], two[0])
    assert one[1] == two[1]


def stopped(threads: int) -> tuple[str, Array]:
    net = nn.MLP(5, [9, 7, 3], seed=3)
    trainer = Trainer(net, "cross_entropy", optimizer=optim.SGD(1e200), threads=threads)
    with pytest.raises(ArithmeticError) as caught:
        trainer.fit(X, Y, epochs=2, batch_size=40, progress=False)
    return str(caught.value), np.array([p.data for p in net.parameters()])


def test_all_threads_stop_at_a_number_that_is_not_finite() -> None:
    one, two = stopped(1), stopped(2)
    assert one[0] == two[0]
    assert np.array_equal(one[1], two[1])


def test_a_bad_index_is_found() -> None:
    f = mg.compile(loss(model()), batch=True, threads=2)
    with pytest.raises(IndexError, match="5"):
        f.backward(X, np.full(len(Y), 5))
    assert f.backward(X, Y) > 0


@pytest.mark.parametrize("samples", [40, 3000])
def test_buffers_and_threads_of_earlier_sizes_go(samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once: the collector, which counts objects, takes no notice of their size."""
    monkeypatch.setattr(execute, "BLOCK_BYTES", 1 << 12)
    made: list[weakref.ref[Any]] = []
    begin = execute.LlvmState.__init__

    def remembered(self: execute.LlvmState, *args: Any) -> None:
        begin(self, *args)
        made.append(weakref.ref(self))

    monkeypatch.setattr(execute.LlvmState, "__init__", remembered)
    f = mg.compile(lambda x: mg.tanh(x[0] * x[1] - x[2]), batch=True, threads=2)
    gc.disable()
    try:
        for more in range(9):
            f(np.ones((samples - more, 3)))
        assert made[0]() is None
        state = made[-1]()
        assert state is not None
        assert state.team if samples == 40 else state.chunk < state.blocks
    finally:
        gc.enable()


def test_the_call_after_an_interrupt_has_its_own_numbers() -> None:
    """Wherever it comes, the threads that were begun meet and end: one that waited for the others would go on where it
    stood, with numbers of the earlier call, or for ever."""
    f = mg.compile(loss(model()), batch=True, threads=2)
    step = f.bind(X[:20], Y[:20])
    last, going = 0, True
    while going:
        step.arguments[0][:] = X[:20]
        going = interrupted(step, last, real=True)
        step.arguments[0][:] = X[20:40]
        found = step()
        if not last:
            right = f.bind(X[20:40], Y[:20])()
        assert found == right
        last += 1
    assert last > 15
