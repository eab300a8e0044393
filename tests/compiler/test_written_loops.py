"""Programs with `mg.loop`, against the eager engine: values, gradients, and that few rounds suffice to derive them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd.compiler import pipeline
from macrograd.compiler.program.instruction import Loop
from macrograd.compiler.stretched import Stretched
from macrograd.compiler.trace import loops as traced

N = 130
RNG = np.random.default_rng(3)
Y, Z, TABLE = RNG.normal(size=N), RNG.normal(size=N), RNG.normal(size=(N, 3))
CLOSED = RNG.normal(size=N).tolist()
A, B = mg.Value(0.3, "a"), mg.Value(-0.2, "b")
MANY = [mg.Value(float(x)) for x in RNG.normal(size=N)]
MORE = [mg.Value(float(x)) for x in RNG.normal(size=N)]


def decay(i: Any, s: Any) -> Any:
    return s * 0.99


def kalman(y):
    def body(i, s):
        m, p, total = s
        p = p + A * A
        e, S = mg.take(y, i) - m, p + B * B
        k = p / S
        return m + k * e, (1.0 - k) * p, total + mg.log(S) + e * e / S

    return mg.loop(len(y), body, (0.0, 1.0, 0.0))[2]


def both_ends(y, z):
    def body(i, s):
        return {"h": mg.tanh(A * s["h"] + B * s["g"] + mg.take(y, i)), "g": s["h"] * mg.take(z, N - 1 - i)}

    s = mg.loop(N, body, {"h": 0.0, "g": 1.0})
    return s["h"] + s["g"]


def table(t):
    def body(i, s):
        row = mg.take(t, i)
        return [mg.tanh(s[0] * A + row[0] * row[1]), s[1] * 0.9 + row[2] * B]

    return mg.sum(mg.loop(N, body, [0.0, 0.5]))


def counted(x):
    return mg.loop(N, lambda i, s: s * 0.99 + mg.cos(i * 0.1) * x * A, 0.0)


def closed_over(x):
    return mg.loop(N, lambda i, s: mg.tanh(s * B + mg.take(CLOSED, i) * x * A), x)


def chosen(y):
    def body(i, s):
        x = mg.take(y, i)
        return mg.where(x > s, mg.exp(-s * A), s * 0.5 + x * mg.take([1.0, A, B], mg.mod(i, 3)))

    return mg.loop(N, body, 0.1)


def vectors(y):
    return mg.sum(
        mg.loop(
            N, lambda i, s: mg.tanh(s * A + mg.take(y, i) * mg.Vector([s[2], s[0], s[1]])), mg.Vector([0.1, 0.2, 0.3])
        )
    )


def smoothed(y):
    def forward(i, s):
        new = mg.tanh(A * s + mg.take(y, i))
        return new, new

    h, kept = mg.loop(N, forward, 0.0, collect=True)
    return mg.loop(N, lambda i, s: s * B + mg.take(kept, N - 1 - i) ** 2, h) + kept[0] * kept[-1]


def nested(y):
    def body(i, s):
        return mg.loop(200, lambda j, u: mg.sin(u * A + mg.take(y, i) * 0.1 + mg.take(CLOSED, i) * 0.01), s)

    return mg.loop(N, body, 0.0)


def small_inside(y):
    return mg.loop(N // 2 - 1, lambda i, s: mg.loop(2, lambda j, u: mg.sin(u * A) + mg.take(y, 2 * i + j), s), 0.0)


def slope_inside(y):
    return mg.loop(N, lambda i, s: s - 0.1 * mg.grad(lambda u: mg.sin(u * A) * mg.take(y, i) + u * u)(s), 0.2)


def used_elsewhere(y):
    logs = [mg.exp(x * 0.1) for x in y]
    return mg.loop(N - 2, lambda i, s: mg.tanh(s * A + mg.take(logs, i + 2)), 0.0) * mg.sum([x * x for x in y])


TOLD: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "kalman": (kalman, [Y]),
    "both_ends": (both_ends, [Y, Z]),
    "table": (table, [TABLE]),
    "counted": (counted, [0.7]),
    "closed_over": (closed_over, [0.7]),
    "chosen": (chosen, [Y]),
    "vectors": (vectors, [Y]),
    "smoothed": (smoothed, [Y]),
    "small_inside": (small_inside, [Y]),
    "slope_inside": (slope_inside, [Y]),
    "used_elsewhere": (used_elsewhere, [Y]),
}


@pytest.fixture
def written_out(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows when a program could not be derived from a few rounds."""
    found: list[int] = []
    original = Stretched.written_out

    def noted(self: Stretched) -> Any:
        found.append(1)
        return original(self)

    monkeypatch.setattr(Stretched, "written_out", noted)
    return found


def eager(fn: Callable[..., Any], args: list[Any]) -> list[float]:
    for p in (A, B):
        p.grad = 0.0
    value = fn(*[x.tolist() if isinstance(x, np.ndarray) else x for x in args])
    value.backward()
    return [value.data, A.grad, B.grad]


def compiled(fn: Callable[..., Any], args: list[Any], **how: Any) -> list[float]:
    f = mg.compile(fn, **how)
    for p in (A, B):
        p.grad = 0.0
    batch = how.get("batch", False)
    given = [np.array([x, x, x]) if batch else x for x in args]
    mean = f.backward(*given)
    if not batch:
        assert f(*given) == pytest.approx(mean, rel=1e-12)
    return [mean, A.grad, B.grad]


@pytest.mark.parametrize("name", TOLD)
def test_values_and_gradients_are_those_of_the_eager_engine(name: str, written_out: list[int]) -> None:
    fn, args = TOLD[name]
    expected = eager(fn, args)
    assert np.allclose(compiled(fn, args, backend="numpy"), expected, rtol=1e-9, atol=1e-12)
    assert np.allclose(compiled(fn, args, batch=True), expected, rtol=1e-9, atol=1e-12)
    assert not written_out


def test_loops_of_two_counts_nest(written_out: list[int]) -> None:
    for p in (A, B):
        p.grad = 0.0
    value = mg.compile(nested, backend="numpy").backward(Y)
    assert np.allclose([value, A.grad, B.grad], eager(nested, [Y]), rtol=1e-9, atol=1e-12)
    assert not written_out


@pytest.mark.parametrize("name", ["kalman", "smoothed", "small_inside"])
def test_strict_has_the_bits_of_a_recorded_loop(
    name: str, written_out: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def plain(count: int, body: Callable[..., Any], state: Any, *, collect: bool = False) -> Any:
        kept = []
        for i in range(count):
            state = body(i, state)
            if collect:
                state, extra = state
                kept.append(extra)
        return (state, kept) if collect else state

    fn, args = TOLD[name]
    written = compiled(fn, args, strict=True)
    monkeypatch.setattr(mg, "loop", plain)
    assert written == compiled(fn, args, strict=True)
    assert not written_out


def test_strict_arithmetic_has_the_bits_of_the_eager_engine(written_out: list[int]) -> None:
    def fn(y):
        def body(i, s):
            x = mg.take(y, i)
            return mg.maximum(s[0] * A + x * B, x / (1.0 + s[1] * s[1])), mg.where(s[0] < s[1], s[0] - 0.1 * i, 0.5 * x)

        return mg.sum(mg.loop(N, body, [0.0, 0.5]))

    assert compiled(fn, [Y], strict=True) == eager(fn, [Y])
    assert not written_out


def loops(count: int) -> tuple[int, list[int]]:
    """The number of instructions in the gradient of a loop of `count` rounds, and how often its loops run."""
    source = pipeline.record(kalman, [(count,)])
    program = pipeline.gradient_program(source, batch=False)
    return len(program.instructions()), [step.count for step in program.steps() if isinstance(step, Loop)]


def test_the_program_is_the_same_whatever_the_count() -> None:
    small, large = loops(N), loops(2_000)
    assert small[0] == large[0]
    assert [a - b for a, b in zip(large[1], small[1], strict=True)] == [2_000 - N] * 2


def test_a_written_loop_ends_as_the_same_loop_as_a_recorded_one() -> None:
    def recorded(y):
        h = 0.0
        for x in y:
            h = mg.tanh(A * h + x)
        return h

    def written(y):
        return mg.loop(len(y), lambda i, h: mg.tanh(A * h + mg.take(y, i)), 0.0)

    def loop_of(fn):
        program = pipeline.value_program(pipeline.record(fn, [(N,)]), batch=True)
        (found,) = (step for step in program.block if isinstance(step, Loop))
        return found.count, [(x.kind, x.code, x.terms, x.out.shift) for x in found.body]

    (count, body), (other, same) = loop_of(recorded), loop_of(written)
    assert body == same
    assert abs(count - other) <= 1


def test_derivatives_of_every_kind(written_out: list[int]) -> None:
    def second(p):
        return mg.loop(N, lambda i, s: mg.sin(s * p[0] + p[1] * mg.take(CLOSED, i)), 0.0)

    point = [0.3, 0.4]
    for derive in (mg.grad, mg.hessian, mg.jacobian):
        found = mg.compile(derive(second), backend="numpy")(point)
        assert np.allclose(found, np.array(derive(second)(point)), rtol=1e-8)
    along = mg.compile(lambda p, v: mg.jvp(second, (p,), (v,)), backend="numpy")(point, [1.0, 2.0])
    assert np.allclose(along, np.array(mg.jvp(second, (point,), ([1.0, 2.0],))))

    by_all = mg.compile(mg.grad(kalman), backend="numpy")(Y)  # by every element of what the loop reads
    assert np.allclose(by_all, [x.data for x in mg.grad(kalman)(Y.tolist())])
    assert not written_out


def test_what_is_kept_is_returned_whole(written_out: list[int]) -> None:
    def path(y):
        def body(i, s):
            new = mg.tanh(A * s + mg.take(y, i))
            return new, {"state": new, "both": (s, [new * new])}

        return mg.loop(N, body, 0.0, collect=True)

    last, kept = path(Y.tolist())
    got, found = mg.compile(path)(Y)
    assert got == pytest.approx(last.data, rel=1e-12)
    assert found["state"].shape == (N,)
    for a, b in (
        (found["state"], kept["state"]),
        (found["both"][0][1:], kept["both"][0][1:]),
        (found["both"][1][0], kept["both"][1][0]),
    ):
        assert np.allclose(a, [x.data for x in b])
    step = mg.compile(path, batch=True).bind(np.array([Y, Z]))
    assert np.allclose(step()[1]["state"][0], found["state"])
    assert not written_out


def test_a_loop_that_must_be_written_out_is(written_out: list[int]) -> None:
    def summed(y):
        _, kept = mg.loop(N, lambda i, s: ((n := mg.tanh(A * s + mg.take(y, i))), n), 0.0, collect=True)
        return mg.logsumexp(kept) * mg.mean(x * B for x in kept[2:9])

    assert np.allclose(compiled(summed, [Y], backend="numpy"), eager(summed, [Y]), rtol=1e-9)


@pytest.mark.parametrize("how", [{}, {"strict": True}, {"batch": True}])
def test_a_loop_that_is_written_out_may_use_parameters_in_another_order(how: Any) -> None:
    """With all rounds the last one takes another parameter first than with the few that were traced."""
    c = mg.Value(0.8)

    def turns(k):
        def body(i, s):
            read = mg.take([A, B, 0.5], mg.mod(i, 3))
            return read / (1.0 + abs(read)), mg.take([c, s[1], 0.9], k) * 0.4

        return mg.loop(200, body, (A, 1.1))[0] * 0.7 + A

    for k in (0.0, 1.0):
        assert np.allclose(compiled(turns, [k], backend="numpy", **how), eager(turns, [k]), rtol=1e-12)


def test_parameters_are_read_by_the_number_of_a_round(written_out: list[int]) -> None:
    def layers(x):
        return mg.loop(N, lambda i, s: mg.tanh(s * mg.take(MANY, i) + A) + mg.take(MORE, N - 1 - i) * B, x)

    everything = [A, B, *MANY, *MORE]
    for p in everything:
        p.grad = 0.0
    layers(0.5).backward()
    slopes = [p.grad for p in everything]
    for how in ({"backend": "numpy"}, {"batch": True}):
        for p in everything:
            p.grad = 0.0
        f = mg.compile(layers, **how)
        f.backward([0.5, 0.5] if "batch" in how else 0.5)
        assert np.allclose([p.grad for p in everything], slopes, rtol=1e-9, atol=1e-15)
        assert sorted(map(id, f.parameters)) == sorted(map(id, everything))
        _, gradient = f.value_and_grad(f.theta(), [0.5, 0.5] if "batch" in how else 0.5)
        assert np.allclose(gradient, [p.grad for p in f.parameters])
    assert not written_out


def test_a_loop_too_long_to_be_written_out_is_refused_by_its_name() -> None:
    def summed(y):
        _, kept = mg.loop(200_000, lambda i, s: ((n := mg.tanh(A * s + y)), n), 0.0, collect=True)
        return mg.logsumexp(kept)

    with pytest.raises(mg.TraceError, match=r"a loop of 200000 rounds in summed .* do anything else within the loop"):
        mg.compile(summed)(1.0)


def test_threads_training_and_the_program_on_disk() -> None:
    rows, targets = RNG.normal(size=(40, N)), RNG.normal(size=40)
    w = mg.Value(0.1)

    def predict(y):
        return mg.loop(len(y), lambda i, h: mg.tanh(w * h + mg.take(y, i)), 0.0)

    one, two = (mg.compile(predict, batch=True, threads=k)(rows) for k in (1, 2))
    assert np.array_equal(one, two)

    class Net(mg.nn.Module):
        def __init__(self) -> None:
            self.w = w

        def __call__(self, y: Any) -> Any:
            return predict(y)

    trainer = mg.Trainer(Net(), "squared_error", optimizer=mg.optim.SGD(0.01), scale="standard")
    history = trainer.fit(rows, targets, epochs=3, batch_size=20)
    assert history.losses[-1] < history.losses[0]


def test_explain_tells_the_rounds() -> None:
    text = mg.compile(kalman).explain(Y)
    assert "test_written_loops.py:" in text
    assert ": traced once, and the program of its 130 rounds told from that of " in text
    assert "rounds, one after the other" in text


def root(x):
    return mg.while_loop(lambda s: abs(s * s - x) > 1e-10, lambda s: 0.5 * (s + x / s), x * A + 1.0, most=500)


def falls(x):
    """After a sample is done, its rounds compute NaN and an invalid index."""

    def body(s):
        return mg.sqrt(s - 0.5) * A * 0.9 + mg.take([0.1, 0.2, 0.3], mg.floor(s))

    return mg.while_loop(lambda s: s > 0.5, body, x, most=9)


def rounds(x, n):
    return mg.loop(n, lambda i, s: mg.sin(s * A + 0.1 * i), x, most=200)


def either(x):
    return mg.cond(x > 0, lambda x: mg.log(x) * A, lambda x: mg.take([A * A, 2.0, A], -x) + x * B, x)


BY_THE_DATA: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "root": (root, [np.array([2.0, 3.0, 50.0])]),
    "falls": (falls, [np.array([2.0, 0.6, 0.3])]),
    "rounds": (rounds, [np.array([0.1, 0.2, 0.3]), np.array([0, 5, 200])]),
    "either": (either, [np.array([-2.0, 0.0, 5.0])]),
}


@pytest.mark.parametrize("name", BY_THE_DATA)
@pytest.mark.parametrize("how", [{}, {"backend": "numpy"}, {"strict": True}], ids=str)
def test_each_sample_has_its_own_rounds_and_branch(name: str, how: dict[str, Any], written_out: list[int]) -> None:
    fn, args = BY_THE_DATA[name]
    for p in (A, B):
        p.grad = 0.0
    expected = []
    for row in zip(*args, strict=True):
        value = fn(*[x.tolist() for x in row])
        expected.append(float(value.data) if isinstance(value, mg.Value) else value)
        if isinstance(value, mg.Value):
            (value / len(args[0])).backward()
    slopes, A.grad, B.grad = [A.grad, B.grad], 0.0, 0.0
    f = mg.compile(fn, batch=True, **how)
    assert np.allclose(f(*args), expected, rtol=1e-9)
    f.backward(*args)
    assert np.allclose([A.grad, B.grad], slopes, rtol=1e-8)
    assert not written_out


def test_too_many_rounds_are_a_named_error() -> None:
    with pytest.raises(RuntimeError, match=r"root: the while_loop of .*test_written_loops.py:\d+ did 500 rounds"):
        mg.compile(root, backend="numpy")(-1.0)
    few = mg.compile(falls, backend="numpy", batch=True)
    for number, count in ((1, 201), (2, -1), (3, 2.5)):
        with pytest.raises(
            RuntimeError, match=r"rounds: the count of the loop of .* is not an integer from 0 to most=200"
        ):
            mg.compile(rounds, backend="numpy")(0.1 * number, count)
    several = mg.compile(root, batch=True, threads=2)
    for samples in ([4.0, -1.0], [*[4.0] * 77, -2.0, -3.0]):
        wrong = samples.index(min(samples[:78]))
        with pytest.raises(RuntimeError, match=rf"root, sample {wrong}: .* The arguments are {min(samples[:78]):g}$"):
            several(samples)
    with pytest.raises(RuntimeError, match=r"rounds, sample 2: the count .* The arguments are 1, -1$"):
        mg.compile(rounds, batch=True)([1.0, 2.0, 1.0], [3, 200, -1])
    with pytest.raises(IndexError, match=r"falls, sample 1: take\(\) index 3 is outside 0 … 2"):
        few([2.0, 3.5])
    # Whichever number of the state is used.
    for at in (0, 1):
        with pytest.raises(RuntimeError, match="did 3 rounds, and its condition still holds"):
            mg.compile(
                lambda x, at=at: mg.while_loop(lambda s: s[0] < 2.0, lambda s: (s[0], s[1] + x), (x, x), most=3)[at],
                backend="numpy",
            )(1.0)
        with pytest.raises(RuntimeError, match="is not an integer from 0 to most=3"):
            mg.compile(
                lambda x, n, at=at: mg.loop(n, lambda i, s: (s[0] * x, s[1] + x), (x, x), most=3)[at], backend="numpy"
            )(1.0, 4)


def test_a_loop_too_long_for_a_section_is_named_by_its_own_body() -> None:
    def wide(*state: object) -> list[mg.Value]:
        return [mg.tanh(z) + a * 0.1 for z in state[-1] for a in (A, B)][:60]

    def outer(_: object, x: mg.Value) -> mg.Value:
        return mg.loop(90, wide, [x] * 60)[0]

    with pytest.raises(
        ValueError, match=r"the loop of .*wide\(\) at .*test_written_loops.py:\d+ is in the body of one"
    ):
        mg.compile(lambda x: mg.loop(5_000, outer, x, memory="sqrt"), backend="numpy").backward(3.0)


def shifting(n: int, x: Any, rounds: int = 150) -> Any:
    """A state of n numbers that what enters passes through one by one, with arrays that are read and values kept."""

    def step(i: Any, state: Any) -> Any:
        first = mg.tanh(A * state[-1] + mg.take(x, i) + 0.001 * i)
        new = [first, *[0.9 * a + 0.1 * mg.sin(A * b) for a, b in pairwise(state)]]
        return new, new[0] * new[-1]

    last, kept = mg.loop(rounds, step, [0.1] * n, collect=True)
    return mg.sum(last) + mg.dot(kept, kept)


@pytest.mark.parametrize("how", [{}, {"batch": True}, {"backend": "numpy"}])
def test_a_loop_whose_state_never_settles_is_one_of_single_rounds(how: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was refused, because its rounds cannot be told from a few."""
    monkeypatch.setattr(traced, "MOST_OPERATIONS", 5_000)
    X = RNG.normal(size=(2, 150))
    A.grad = 0.0
    mean = mg.sum([shifting(40, row.tolist()) for row in X]) / 2
    mean.backward()
    expected = [mean.data, A.grad]
    A.grad = 0.0
    f = mg.compile(lambda x: shifting(40, x), **how)
    found = f.backward(X) if "batch" in how else (f.backward(X[0]) + f.backward(X[1])) / 2
    slope = A.grad if "batch" in how else A.grad / 2
    A.grad = 0.0
    np.testing.assert_allclose([found, slope], expected, rtol=1e-10)


def test_explain_says_what_became_of_such_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "MOST_OPERATIONS", 5_000)
    text = str(mg.compile(lambda x: shifting(40, x), backend="numpy").explain(np.ones(150)))
    assert "whose 150 rounds cannot be told from a few, keeps the state before each" in text


def test_second_derivatives_of_such_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "MOST_OPERATIONS", 5_000)
    x = RNG.normal(size=130)

    def run(w: Any) -> Any:
        return mg.sum(mg.loop(130, lambda i, s: [mg.tanh(w * s[-1] + mg.take(x, i)), *s[:-1]], [w] * 40))

    found = mg.compile(mg.hessian(run), backend="numpy")(0.7)
    assert found == pytest.approx(mg.hessian(run)(0.7), rel=1e-10)


def test_such_a_loop_with_many_kept_values_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traced, "MOST_OPERATIONS", 140)
    with pytest.raises(mg.TraceError, match=r"a loop of 150 rounds in <lambda> .* its state holds 40 numbers"):
        mg.compile(lambda x: shifting(40, x))(np.ones(150))


def test_rounds_of_a_count_that_depends_on_an_argument_are_sections_of_their_own() -> None:
    """Long rounds in the body of another loop, each of which has its number."""

    def wide(i: mg.Value, state: list[mg.Value]) -> list[mg.Value]:
        return [mg.tanh(z) + a * 0.1 + 0.01 * i for z in state for a in (A, B)][:30]

    def outer(_: object, x: mg.Value) -> mg.Value:
        return mg.loop(mg.floor(x * x), wide, [x] * 30, most=40)[0]

    def whole(x: Any) -> Any:
        return mg.loop(3, outer, x, memory="sqrt")

    A.grad = B.grad = 0.0
    value = whole(2.5)
    value.backward()
    f = mg.compile(whole, backend="numpy")
    assert f(2.5) == pytest.approx(value.data)
    slopes = dict(zip(map(id, f.parameters), f.value_and_grad(f.theta(), 2.5)[1], strict=True))
    assert [slopes[id(p)] for p in (A, B)] == pytest.approx([A.grad, B.grad])
    A.grad = B.grad = 0.0
