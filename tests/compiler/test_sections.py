"""Loops with memory=: their rounds are computed again for the derivative, with the same results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd.compiler import pipeline
from macrograd.compiler.program.program import verify
from macrograd.compiler.targets.numpy import calls
from macrograd.compiler.trace import sections
from macrograd.compiler.trace.rounds import Rounds
from macrograd.compiler.trace.sections import planned

N = 1_007
RNG = np.random.default_rng(3)
Y, Z, TABLE = RNG.normal(size=N), RNG.normal(size=N + 5), RNG.normal(size=(N, 3))
LONG = RNG.normal(size=3_000)
CLOSED = RNG.normal(size=N).tolist()
A, B = mg.Value(0.3, "a"), mg.Value(-0.2, "b")
MANY = [mg.Value(float(x) * 0.3) for x in RNG.normal(size=N + 3)]
Loop = Callable[..., Any]


def kalman(loop: Loop, y: Any) -> Any:
    def body(i: Any, s: Any) -> Any:
        m, p, total = s
        p = p + A * A
        e, spread = mg.take(y, i) - m, p + B * B
        k = p / spread
        return m + k * e, (1.0 - k) * p, total + mg.log(spread) + e * e / spread

    return loop(len(y), body, (0.0, 1.0, 0.0))[2]


def both_ends(loop: Loop, y: Any, z: Any) -> Any:
    def body(i: Any, s: Any) -> Any:
        return {"h": mg.tanh(A * s["h"] + B * s["g"] + mg.take(y, i)), "g": s["h"] * mg.take(z, N + 4 - i)}

    s = loop(N, body, {"h": 0.0, "g": 1.0})
    return mg.sin(s["h"]) * s["g"] + s["g"] * s["g"] + A * A


def rows(loop: Loop, t: Any) -> Any:
    def body(i: Any, s: Any) -> Any:
        row = mg.take(t, i)
        return [mg.tanh(s[0] * A + row[0] * row[1]), s[1] * 0.9 + row[2] * B + 0.001 * i]

    return mg.sum(loop(N, body, [0.0, 0.5]))


def numbers_and_weights(loop: Loop, x: Any) -> Any:
    def body(i: Any, s: Any) -> Any:
        return mg.tanh(s * mg.take(MANY, i) + A * mg.take(CLOSED, N - 1 - i)) + mg.take(MANY, i + 3) * B * x

    return loop(N, body, x)


def ring(loop: Loop, y: Any) -> Any:
    """A number comes back after 12 rounds: only rounds that differ by 12 are alike."""
    return loop(N, lambda i, s: (*s[1:], A * mg.take(y, i) + s[0] * 0.1), (0.0,) * 12)[0]


def two(loop: Loop, y: Any) -> Any:
    first = loop(N, lambda i, s: mg.tanh(s * A + mg.take(y, i)), 0.0)
    second = loop(N - 1, lambda i, s: mg.sin(s * B + first * 0.1 + mg.take(y, i + 1)), first)
    beside = loop(N, lambda i, s: mg.cos(s * A), 0.5)
    return first * second + beside


def nested(loop: Loop, y: Any) -> Any:
    def body(i: Any, s: Any) -> Any:
        slope = mg.grad(lambda u: mg.sin(u * A) * B + u * u)(s)
        return mg.loop(2, lambda j, u: mg.sin(u * A) + mg.take(y, 2 * i + j), s) - 0.1 * slope

    return loop(len(y) // 2 - 2, body, 0.0)


def not_taken(loop: Loop, x: Any) -> Any:
    """The loop's slopes are infinite and NaN where it is not chosen."""
    return mg.where(x > 10.0, loop(N, lambda i, s: mg.sqrt(s * A) * B * x, -1.0), x * A)


@pytest.fixture(autouse=True)
def not_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verifying a program runs through all of its rounds: one test does."""
    monkeypatch.setattr(pipeline, "observer", None)


CASES: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "kalman": (kalman, [Y]),
    "both_ends": (both_ends, [Y, Z]),
    "rows": (rows, [TABLE]),
    "numbers_and_weights": (numbers_and_weights, [0.5]),
    "ring": (ring, [Y]),
    "two": (two, [Y]),
    "nested": (nested, [np.tile(Y, 2)]),
    "not_taken": (not_taken, [0.7]),
}


def keeping(count: int, body: Any, state: Any, **more: Any) -> Any:
    return mg.loop(count, body, state, **more)


def again(count: int, body: Any, state: Any, **more: Any) -> Any:
    return mg.loop(count, body, state, memory="sqrt", **more)


def found(fn: Callable[..., Any], loop: Loop, args: list[Any], **how: Any) -> list[Any]:
    """The value, the mean, and the derivatives by parameter."""
    f = mg.compile(lambda *given: fn(loop, *given), **how)
    given = [np.stack([x, x * 0.9]) if how.get("batch") else x for x in map(np.asarray, args)]
    value = f(*given)
    mean, gradient = f.value_and_grad(f.theta(), *given)
    order = np.argsort([id(p) for p in f.parameters])
    return [*np.ravel(value), mean, *gradient[order]]


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_are_those_of_a_loop_that_keeps_everything(name: str) -> None:
    fn, args = CASES[name]
    how = {"batch": name in ("numbers_and_weights", "not_taken", "nested", "both_ends")}
    expected = found(fn, keeping, args, **how)
    assert np.allclose(found(fn, again, args, **how), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loop", [keeping, again])
def test_rounds_that_are_alike_after_a_period_are_told_from_whole_periods(loop: Loop) -> None:
    assert mg.compile(lambda y: ring(loop, y))(Y) == pytest.approx(ring(keeping, Y.tolist()).data, rel=1e-12)


@pytest.mark.parametrize("name", ["kalman", "rows"])
def test_strict_has_the_same_bits(name: str) -> None:
    fn, args = CASES[name]
    assert found(fn, again, args, strict=True) == found(fn, keeping, args, strict=True)


def apart(loop: Loop, x: Any) -> Any:
    """Two numbers that do not depend on each other: the derivative by A is added up for all rounds of one first."""
    return mg.sum(loop(N, lambda i, s: (mg.sin(s[0] * A), mg.cos(s[1] * A)), (x, x)))


def slope_of_a_sum(loop: Loop, x: Any) -> Any:
    def value(z: Any) -> Any:
        return mg.sum(loop(N, lambda i, s: (s + 0.01 * mg.sin(s * A), s * B), z, collect=True)[1])

    return mg.grad(value)(x)


def in_a_loop(loop: Loop, x: Any) -> Any:
    return mg.loop(2, lambda i, s: loop(N, lambda j, u: mg.sin(u * A) + u * 0.9, s), x)


@pytest.mark.parametrize("fn", [apart, slope_of_a_sum, in_a_loop], ids=lambda f: f.__name__)
def test_strict_keeps_everything_where_sections_would_add_up_in_another_order(fn: Callable[..., Any]) -> None:
    how = {"strict": True}
    assert found(fn, again, [0.4], **how) == found(fn, keeping, [0.4], **how)
    if fn is in_a_loop:
        told = mg.compile(lambda x: fn(again, x), **how).explain(0.4)
        assert "loops with memory= keep everything" in told


@pytest.mark.parametrize("count", [N, 300])
def test_values_kept_without_memory_are_read(count: int) -> None:
    def fn(loop: Loop, x: Any) -> Any:
        last, row = mg.loop(count, lambda i, s: (mg.sin(s * A + 0.01 * i), s), x, collect=True)
        return loop(count, lambda i, s: s * 0.9 + mg.take(row, i) * B, last)

    expected = found(fn, keeping, [0.4], backend="numpy")
    assert found(fn, again, [0.4], backend="numpy") == pytest.approx(expected, rel=1e-12)


def test_sections_read_across_arguments_and_backwards() -> None:
    """Of two arguments, one is the same for all samples."""

    def fn(xs: Any, ts: Any) -> Any:
        joined, half = [*xs, *ts], N // 2

        def body(i: Any, s: Any) -> Any:
            return mg.sin(s * A + mg.take(joined, i)) + mg.take(joined, N - 1 - i) * xs[half - 1]

        return again(N, body, 0.1) if isinstance(xs, mg.vector.Vector) else keeping(N, body, 0.1)

    X, T = RNG.normal(size=(2, N // 2)), RNG.normal(size=N - N // 2)
    f = mg.compile(fn, batch=True, uniform="ts", backend="numpy")
    assert f(X, T) == pytest.approx([fn(x, T.tolist()).data for x in X.tolist()], rel=1e-12)


def test_numpy_threads_and_float32() -> None:
    expected = found(kalman, keeping, [Y])
    assert np.allclose(found(kalman, again, [Y], backend="numpy"), expected, rtol=1e-9)
    assert np.allclose(found(both_ends, again, [Y, Z], dtype="float32"), found(both_ends, keeping, [Y, Z]), rtol=1e-3)
    f = {k: mg.compile(lambda y: both_ends(again, y, Z), batch=True, threads=k) for k in (1, 2)}
    batch = RNG.normal(size=(70, N))
    one, two = (f[k].backward(batch) for k in (1, 2))
    assert one == two


@pytest.mark.parametrize("batch", [False, True])
def test_the_program_is_valid_and_does_not_grow_with_the_count(batch: bool) -> None:
    def held(count: int) -> int:
        source = pipeline.record(lambda x: again(count, lambda i, s: mg.tanh(s * A + 0.1 * i) + x * B, 0.0), [()])
        program = pipeline.gradient_program(source, batch=batch)
        if batch and count < 1_100:  # running through all rounds takes its time
            verify(program)
        return program.uniform + program.varying

    small, large = held(1_000), held(100_000)
    assert large < 12 * small  # √100, and not 100
    assert held(10_000_000) * 8 < 1_000_000


def test_sections_and_what_is_left_over_make_all_rounds() -> None:
    for count in (1_000, 1_001, 4_999, 50_000, 10_000_019):
        plan = planned(count, 3, 20, "sqrt", 16, Rounds(), "here")
        assert plan is not None
        assert plan.head + plan.rounds * plan.count + plan.tail == count
        assert plan.tail < 16 + 64


def test_a_state_that_no_round_reads_needs_no_sections() -> None:
    def fn(loop: Loop, x: Any) -> Any:
        return loop(N, lambda i, s: (mg.tanh(B * 0.5), mg.cos(x * A)), (1.0, 2.0))[0] * A

    for how in ({}, {"strict": True}):
        assert found(fn, again, [0.3], **how) == pytest.approx(found(fn, keeping, [0.3], **how), rel=1e-12)


@pytest.mark.parametrize("count", [0, 1, 97])
def test_a_short_loop_keeps_everything(count: int) -> None:
    def fn(loop: Loop, x: Any) -> Any:
        return loop(count, lambda i, s: mg.sin(s * A + 0.01 * i), x) * A

    assert found(fn, again, [1.0]) == found(fn, keeping, [1.0])


def test_a_number_of_bytes_is_kept_to() -> None:
    def fn(memory: Any) -> Any:
        return mg.compile(lambda x: mg.loop(20_000, lambda i, s: mg.sin(s * A + x), 0.1, memory=memory))

    all_kept, again = fn(100_000_000).backward(0.3), fn(50_000).backward(0.3)
    assert all_kept == pytest.approx(again, rel=1e-12)
    with pytest.raises(ValueError, match=r"memory=1000 bytes is too little .* 20000 rounds need about [\d,]+ bytes"):
        fn(1000)(0.3)
    with pytest.raises(ValueError, match="too little"):
        mg.compile(lambda x: mg.loop(500, lambda i, s: mg.sin(s * A), x, memory=100))(0.3)


@pytest.mark.parametrize(
    ("memory", "times", "how"), [(13_800, "twice", {"batch": True, "backend": "numpy"}), (13_000, "3 times", {})]
)
def test_fewer_bytes_take_groups_of_sections(
    memory: int, times: str, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sections, "SHORTEST", 32)

    def fn(loop: Loop, x: Any) -> Any:
        def body(i: Any, s: Any) -> Any:
            return mg.sin(s[0] * A + x * mg.take(LONG, i)), s[1] * 0.9 + mg.take(LONG, 2_999 - i) * s[0] * B

        return mg.sum(loop(3_000, body, (x, 0.0)))

    def few(count: int, body: Any, state: Any) -> Any:
        return mg.loop(count, body, state, memory=memory)

    assert found(fn, few, [0.3], **how) == pytest.approx(found(fn, again, [0.3], **how), rel=1e-12)
    if not how:
        assert f"computes its rounds again {times}" in mg.compile(lambda x: fn(few, x)).explain(0.3)


def test_slots_that_are_used_again_are_explained() -> None:
    q, r = mg.Value(0.1), mg.Value(0.5)

    def body(i: Any, s: Any) -> Any:
        p = s[1] + q
        e, spread = mg.sin(0.1 * i) - s[0], p + r
        k = p / spread
        return s[0] + k * e, (1.0 - k) * p, s[2] + mg.log(spread) + e * e / spread

    told = mg.compile(lambda: again(N, body, (0.0, 1.0, 0.0))[2]).explain()
    assert "in 15 sections of 65 rounds, keeps the state before 15 of these; a derivative computes" in told


def test_what_groups_of_sections_cannot_do_is_refused() -> None:
    def few(x: Any) -> Any:
        return mg.loop(20_000, lambda i, s: mg.sin(s * A + x), x, memory=9_000)

    assert mg.compile(mg.grad(few))(0.3) == pytest.approx(
        mg.compile(mg.grad(lambda x: again(20_000, lambda i, s: mg.sin(s * A + x), x)))(0.3), rel=1e-12
    )
    refused(mg.hessian(few), "too few bytes of memory= for more than its first derivatives")
    refused(lambda x: mg.loop(3, lambda i, s: few(s), x), "memory=9000 bytes is too little")


def test_training_and_the_program_on_disk(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MACROGRAD_CACHE", str(tmp_path))
    samples, targets = RNG.normal(size=(20, N)), RNG.normal(size=20)

    def trained(loop: Loop) -> list[float]:
        class Net(mg.nn.Module):
            def __init__(self) -> None:
                self.w = mg.Value(0.1)

            def __call__(self, y: Any) -> Any:
                return loop(len(y), lambda i, h: mg.tanh(self.w * h + mg.take(y, i)), 0.0)

        trainer = mg.Trainer(Net(), "squared_error", optimizer=mg.optim.SGD(0.01), scale="standard")
        return trainer.fit(samples, targets, epochs=2, batch_size=10).losses

    expected = trained(keeping)
    for _ in range(2):  # once from the tape, once from the disk
        assert trained(again) == pytest.approx(expected, rel=1e-9)


def grows(x: Any) -> Any:
    """Stops after about 1/x rounds."""

    def body(s: Any) -> Any:
        return s[0] + x, mg.sin(s[1] * A + B) + 0.1 * s[0]

    return mg.while_loop(lambda s: s[0] < 1.0, body, (0.0, 0.5), most=2_000)[1]


@pytest.mark.parametrize("how", [{}, {"backend": "numpy"}], ids=str)
def test_a_while_loop_stops_after_the_section_of_its_last_round(
    how: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    original = calls.guarded_rounds

    def counted(count: int, steps: Any, guard: Any, *arrays: Any) -> None:
        (first, part), *others = steps

        def noted(*mine: Any) -> Any:
            done.append(1)
            return first(*mine)

        original(count, [(noted, part), *others], guard, *arrays)

    monkeypatch.setattr(calls, "guarded_rounds", counted)
    one, several = mg.compile(grows, **how), mg.compile(grows, batch=True, **how)
    for rounds in (1_200.5, 3.5, 300.5):  # buffers hold what an earlier call left
        for f, steps in ((one, [1.0 / rounds]), (several, [1.0 / rounds, 0.9, 1.5 / rounds])):
            A.grad = B.grad = 0.0
            total = mg.sum([grows(x) for x in steps]) / len(steps)
            total.backward()
            expected = [total.data, A.grad, B.grad]
            A.grad = B.grad = 0.0
            done.clear()
            mean = f.backward(np.array(steps)) if f is several else f.backward(*steps)
            assert [mean, A.grad, B.grad] == pytest.approx(expected, rel=1e-9)
            assert not how or max(0, rounds / 96 - 1) <= len(done) / 2 <= rounds / 64 + 1


def rising(x: Any) -> Any:
    """NaN below 0.5."""
    s = mg.sqrt(x - 0.5)
    for k in range(30):
        s = mg.log(s + 1.0) * A + mg.tanh(MANY[k] * MANY[k] * s) + 0.3 * mg.sqrt(s)
    return s


def waving(x: Any) -> Any:
    s = x
    for k in range(30):
        s = mg.sin(s * A + MANY[k]) + mg.exp(-s * s) * B
    return s


def branches(x: Any) -> Any:
    chosen = mg.cond(x > 1.0, lambda: {"a": rising(x), "b": [x * A]}, lambda: {"a": waving(x), "b": [B]})
    return chosen["a"] * chosen["b"][0] + x


@pytest.mark.parametrize("how", [{}, {"backend": "numpy"}], ids=str)
@pytest.mark.parametrize("batch", [False, True])
def test_only_the_branch_that_is_taken_is_computed_and_differentiated(
    how: dict[str, Any], batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[int] = []
    original = calls.guarded_rounds

    def counted(count: int, steps: Any, guard: Any, *arrays: Any) -> None:
        ran.append(sum(bool(guard[k].any()) for k in range(count)))
        original(count, steps, guard, *arrays)

    monkeypatch.setattr(calls, "guarded_rounds", counted)
    f = mg.compile(branches, batch=batch, **how)
    parameters = [A, B, *MANY[:30]]
    for samples in ([0.3, 0.4], [2.5, 3.5], [0.3, 2.5]):
        some = samples if batch else samples[:1]
        for p in parameters:
            p.grad = 0.0
        total = mg.sum([branches(x) for x in some]) / len(some)
        total.backward()
        expected = [total.data, *(p.grad for p in parameters)]
        for p in parameters:
            p.grad = 0.0
        ran.clear()
        mean = f.backward(np.array(some) if batch else some[0])
        assert [mean, *(p.grad for p in parameters)] == pytest.approx(expected, rel=1e-9, abs=1e-12)
        if how:  # forwards and backwards, of two branches
            assert sum(ran) == (4 if batch and samples == [0.3, 2.5] else 2)
            assert len(ran) == 4


def picks(name: str, x: Any) -> Any:
    """Elements of a table that is the same for all samples, at places that differ between them."""
    table = MANY[:9] if name != "made" else [A * m for m in MANY[:9]]
    place = mg.floor(x * 2.0)
    if name == "loop":
        return again(N, lambda i, s: mg.sin(s * A + mg.take(table, place)), x)
    if name == "while":
        return mg.while_loop(lambda s: s < 9.0, lambda s: s + 0.1 + mg.take(table, place) ** 2, x, most=200)
    return mg.cond(x > 1.0, lambda x: waving(x) * mg.take(table, place), waving, x)


@pytest.mark.parametrize("how", [{}, {"backend": "numpy"}], ids=str)
@pytest.mark.parametrize("name", ["cond", "made", "while", "loop"])
def test_each_sample_adds_once_to_the_table_it_takes_from(name: str, how: dict[str, Any]) -> None:
    samples = [0.3, 2.5, 1.7, 4.2]
    for p in (A, B, *MANY[:30]):
        p.grad = 0.0
    total = mg.sum([picks(name, x) for x in samples]) / len(samples)
    total.backward()
    expected = [total.data, *(p.grad for p in (A, B, *MANY[:30]))]
    for p in (A, B, *MANY[:30]):
        p.grad = 0.0
    mean = mg.compile(lambda x: picks(name, x), batch=True, **how).backward(samples)
    assert [mean, *(p.grad for p in (A, B, *MANY[:30]))] == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_while_loop_runs_beside_and_inside_what_sections_cannot_do() -> None:
    def root(x: Any) -> Any:
        return mg.while_loop(lambda s: abs(s * s - x) > 1e-10, lambda s: 0.5 * (s + x / s), x * A, most=400)

    def long(x: Any) -> Any:
        return mg.loop(N, lambda i, s: mg.sin(s * A + 0.1 * i), x)

    def inside(x: Any) -> Any:
        return mg.loop(3, lambda i, s: root(s + x), x)

    assert float(mg.compile(mg.grad(root))(2.0)) == pytest.approx(0.5 / 2.0**0.5, rel=1e-6)

    def beside(x: Any) -> Any:
        return mg.cond(x > 1.0, rising, waving, x) + long(x)

    def nested(x: Any) -> Any:
        return mg.cond(x > 1.0, lambda x: mg.cond(x > 1.5, rising, waving, x) + rising(x), waving, x)

    for fn in (
        beside,
        nested,
        lambda x: mg.cond(x > 1.0, lambda x: mg.loop(199, lambda i, s: waving(s) * 0.1, x), waving, x),
        lambda x: root(x) + long(x),
        lambda x: root(x) + again(N, lambda i, s: mg.sin(s * A), x),
        inside,
    ):
        assert mg.compile(fn)(2.0) == pytest.approx(fn(2.0).data, rel=1e-9)
    with pytest.raises(RuntimeError, match=r"while_loop of .* did 300 rounds"):
        mg.compile(lambda x: mg.while_loop(lambda s: s > 0, lambda s: s + 1.0, x, most=300))(1.0)


def slope(loop: Loop, x: Any) -> Any:
    """A loss with a penalty on the derivative of a loop, by its first state, by what it reads and by a number."""

    def value(z: Any, ys: Any) -> Any:
        return loop(N, lambda i, s: mg.tanh(s * A + z * B + mg.take(ys, i)), z * 0.5)

    by_z, by_y = mg.grad(value, (0, 1))(x, CLOSED)
    return value(x, CLOSED) + by_z * by_z + mg.sum([g * g for g in by_y])


def third(loop: Loop, x: Any) -> Any:
    def value(z: Any) -> Any:
        return loop(N, lambda i, s: mg.tanh(s * A + z * B + 0.1), z * 0.5)

    return mg.grad(mg.grad(value))(x)


def not_taken_by_a_slope(loop: Loop, x: Any) -> Any:
    return mg.grad(lambda z: not_taken(loop, z))(x)


def collected(loop: Loop, x: Any) -> Any:
    """What rounds keep, returned, added up, and read by another loop."""

    def body(i: Any, s: Any) -> Any:
        return mg.tanh(s * A + mg.take(CLOSED, i)), {"a": s * B, "b": [s * s * x]}

    last, kept = loop(N, body, x, collect=True)
    read = loop(N, lambda i, s: mg.sin(s * A + mg.take(kept["a"], N - 1 - i)), last)
    return read + mg.sum(kept["a"]) * 0.01 + mg.sum([k * k for k in kept["b"][0]])


def in_each_other(loop: Loop, x: Any) -> Any:
    def body(i: Any, s: Any) -> Any:
        return loop(1_000, lambda j, u: mg.tanh(u * A + 0.001 * j), s + B * mg.take(CLOSED, i))

    return mg.loop(2, body, x)


def chosen_in_rounds(loop: Loop, x: Any) -> Any:
    """A branch in every round of a long loop."""

    def up(s: Any) -> Any:
        for _ in range(30):
            s = mg.sin(s * A + B)
        return s

    def down(s: Any) -> Any:
        for _ in range(30):
            s = mg.tanh(s * A - B) + s * 0.1
        return s

    def body(i: Any, s: Any) -> Any:
        s = s * 1.1 - 0.05 * mg.sin(0.3 * i)
        return mg.cond(s > 0.0, up, down, s) * A + x * 0.3

    return mg.loop(120, body, x)


INSIDE = {
    f.__name__: f for f in (slope, third, not_taken_by_a_slope, collected, in_each_other, chosen_in_rounds)
}  # fmt: skip


@pytest.mark.parametrize("name", INSIDE)
def test_sections_inside_derivatives_and_each_other(name: str) -> None:
    """The value and the derivatives are those of the eager engine."""
    batch = name not in ("third", "in_each_other")
    fn, samples = INSIDE[name], [0.3, 0.7] if batch else [0.3]
    f = mg.compile(lambda x: fn(again, x), batch=batch)
    given = np.array(samples) if batch else samples[0]
    f(given)
    mean, slopes = f.value_and_grad(f.theta(), given)
    gradient = dict(zip(map(id, f.parameters), slopes, strict=True))
    for p in f.parameters:
        p.grad = 0.0
    total = mg.sum([fn(keeping, x) for x in samples]) / len(samples)
    total.backward()
    assert mean == pytest.approx(total.data, rel=1e-9)
    for p in f.parameters:
        assert gradient[id(p)] == pytest.approx(p.grad, rel=1e-8, abs=1e-11)


def test_a_second_derivative_of_a_branch_is_that_of_the_branch_taken() -> None:
    f = mg.compile(mg.hessian(lambda x: mg.cond(x > 1.0, rising, waving, x)))
    assert f(2.0) == pytest.approx(mg.compile(mg.hessian(rising))(2.0), rel=1e-9)


def long(x: Any, y: Any) -> Any:
    """As many operations as a branch needs to be left out."""
    for _ in range(30):
        x = 0.9 * x + 0.1 * x * y
    return x


def twice_behind_branches(x: Any) -> Any:
    root = mg.sqrt(x[0])
    first = mg.cond(x[0] > 0.0, lambda: long(root, x[1]), lambda: x[1])
    return first + mg.cond(x[0] > 0.0, lambda: long(x[1], root), lambda: 0.0)


def slopes_behind_a_branch(x: Any) -> Any:
    slopes = mg.grad(lambda x: mg.cond(x[0] > 0.0, lambda: long(mg.sqrt(x[0]), x[1]), lambda: x[1]))(x)
    return slopes[0] + slopes[1] ** 2


@pytest.mark.parametrize("fn", [twice_behind_branches, slopes_behind_a_branch])
def test_no_derivative_of_any_order_comes_from_a_branch_that_was_not_taken(fn: Callable[..., Any]) -> None:
    X = np.array([[1.5, 2.0], [0.0, 0.5], [0.0, -0.5]])
    want = [mg.grad(fn)(x) for x in X.tolist()]
    assert np.isfinite(want).all()
    np.testing.assert_allclose(mg.compile(mg.grad(fn), batch=True, backend="numpy")(X), want, rtol=1e-12)


def refused(fn: Callable[..., Any], match: str, kind: type[Exception] = ValueError, **how: Any) -> None:
    with pytest.raises(kind, match=match):
        mg.compile(fn, **how)(0.5)


def test_what_memory_cannot_do_is_refused_by_name() -> None:
    def step(i: Any, s: Any) -> Any:
        return mg.sin(s * A)

    def chosen(x: Any) -> Any:
        return again(N, lambda i, s: mg.sin(s * A) + mg.take([s] * N, i), x)

    refused(lambda x: mg.loop(N, step, x, memory="cube"), "None, \"sqrt\" or a positive number of bytes, got 'cube'")
    refused(lambda x: mg.loop(N, step, x, memory=0), "positive number of bytes, got 0")
    refused(lambda x: mg.loop(N, step, x, memory=1.5), "positive number of bytes, got 1.5", TypeError)
    refused(chosen, "from values that its body made")
    with pytest.raises(ValueError, match=r"strict=True, batch=True and memory= .* the same for all samples"):
        mg.compile(lambda y: kalman(again, y), batch=True, strict=True).backward(np.stack([Y, Z[:N]]))


def _settled(x: Any) -> Any:
    """A loop that stops, among choices: the order of its sums shows only in traces of more than the fewest rounds."""
    for _ in range(2):
        x = mg.where(x > 0.0, 0.75 * x, mg.relu(A * x))

    def body(state: Any) -> Any:
        left, b, c = state
        return left * 0.5, mg.leaky_relu(c) + b * 0.5, b * 0.25 + mg.relu(c + x) * 0.5

    return mg.while_loop(lambda s: s[0] > 1e-3, body, (mg.relu(x), x, x * A), most=210)[1]


def test_strict_loops_that_more_rounds_show_to_be_no_sections() -> None:
    f = mg.compile(_settled, strict=True, backend="numpy")
    for x in (0.7, -0.4):
        A.grad = 0.0
        found = _settled(x)
        found.backward()
        value, gradient = f.value_and_grad([A.data], x)
        assert (value, gradient.tolist()) == (found.data, [A.grad])
