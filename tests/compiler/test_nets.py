"""Programs over nets: every net has the numbers of its run alone, to the bit where the program is strict."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import Value, losses, nn, optim
from macrograd.compiler import pipeline
from macrograd.compiler.many import Different, NetsError, NetSteps, TrainingNets
from macrograd.compiler.program.instruction import Index, Instruction, Loop
from macrograd.compiler.program.nets import over_nets, slots_of
from macrograd.compiler.step import TrainingLoop

NETS, PERIOD = 5, 1 << 24


def hinge() -> Callable[..., Any]:
    net = nn.MLP(2, [3, 1], seed=1)
    return lambda x, y: losses.hinge(net(x), y)


def classes() -> Callable[..., Any]:
    """With a take, index tables, exponentials, and a penalty, which is computed before the samples."""
    net = nn.MLP(2, [4, 3], seed=1)
    return lambda x, y: losses.cross_entropy(net(x), y + 1.0) + 0.01 * sum(p * p for p in net.parameters())


def recurrence() -> Callable[..., Any]:
    """With a loop over rounds."""
    a, b = Value(0.3), Value(0.2)

    def loss(x: Any, y: Any) -> Any:
        state = x[0]
        for _ in range(40):
            state = (a * state + b * x[1]).tanh()
        return (state - y) ** 2

    return loss


def chosen() -> Callable[..., Any]:
    """With a row of a table, whose gradient is scattered."""
    table = [[Value(0.01 * i * j - 0.3) for j in range(2)] for i in range(60)]
    return lambda x, y: (mg.dot(mg.take(table, x[0]), [0.5, x[1]]) - y) ** 2


def long_rows() -> Callable[..., Any]:
    """With rows that are read in squares of sixteen and of eight, and number by number."""
    net = nn.MLP(INPUTS[long_rows], [2, 1], seed=1)
    return lambda x, y: losses.hinge(net(x), y)


INPUTS = {long_rows: 16 + 8 + 3}  # two elsewhere


def nets(sample: Any, arrays: list[Any], optimizer: Any, count: int = NETS, **options: Any) -> TrainingNets:
    """Nets that differ in no constants."""
    return TrainingNets(
        [sample], [0] * count, [optimizer.rule], [0] * count, arrays, optimizer.initial_state, period=PERIOD, **options
    )


def neighbours(many: TrainingNets, net: int) -> list[int]:
    """The nets that share a vector with one, and itself: processors have vectors of several lengths."""
    lanes = many.nets.lanes
    return [k for k in range(NETS) if k // lanes == net // lanes]


RULES = {"sgd": optim.SGD(0.01, weight_decay=0.1), "adam": optim.Adam(0.01)}


@pytest.mark.parametrize(
    ("make", "rule", "size", "dtype"),
    [
        (hinge, "adam", 1, "float64"),
        (classes, "sgd", 3, "float32"),
        (recurrence, "adam", 3, "float64"),
        (chosen, "sgd", 4, "float32"),
        (hinge, "adam", 10, "float64"),  # in parts of five samples
        (classes, "sgd", 16, "float32"),
        (recurrence, "sgd", 12, "float64"),
        (chosen, "sgd", 24, "float32"),
        (long_rows, "sgd", 4, "float32"),
        (long_rows, "sgd", 3, "float64"),
    ],
)
def test_every_net_has_the_bits_of_its_run_alone(make: Any, rule: str, size: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(10, INPUTS.get(make, 2))).astype(dtype), rng.choice([-1.0, 1.0], 10).astype(dtype)
    if make is chosen:
        X[:, 0] = [3, 59, 0, 3, 3, 7, 59, 21, 22, 0]
    optimizer = RULES[rule]
    sample = mg.compile(make(), batch=True, strict=True, dtype=dtype)
    initial = optimizer.initial_state
    alone = TrainingLoop(sample, [X, y], optimizer.rule, initial, batch_size=size)
    many = nets(sample, [X, y], optimizer, batch_size=size, threads=2)
    assert many.parameters == [alone.parameters]
    lengths = np.array([size, size, max(1, size - 1)] * 4)  # as if three steps were an epoch
    starts = rng.normal(size=(NETS, len(alone.theta))) * 0.5
    steps = []
    for k, theta in enumerate(starts):
        many.nets.point(k, [X, y])
        many.nets.set(k, theta, np.tile(np.array(initial).reshape(-1, 1), (1, len(theta))))
        steps.append(NetSteps(k, rng.integers(0, 10, lengths.sum()), rng.uniform(0.01, 0.1, len(lengths)), 1 + k))
    found = many.nets.run(steps, lengths)
    for k, (step, outcome) in enumerate(zip(steps, found, strict=True)):
        alone.theta[:], alone.state[:] = starts[k], np.array(initial).reshape(-1, 1)
        wanted = alone.run(step.rows, lengths, step.rates, step.first)
        theta, state = many.nets.get(k)
        assert (outcome.done, outcome.why) == (len(lengths), "")
        assert outcome.losses.tolist() == wanted.losses.tolist()
        assert theta.tolist() == alone.theta.tolist()
        assert state.tolist() == alone.state.tolist()


def test_a_net_that_diverges_stops_its_neighbours_at_the_same_step_and_they_go_on() -> None:
    a = Value(1.0)
    X = np.ones(1)
    many = nets(mg.compile(lambda x: (a * x) ** 2, batch=True), [X], optim.SGD(0.1), batch_size=1)
    count = 400
    rates = [2.0 if k == 3 else 0.1 for k in range(NETS)]  # 1 − 2·rate is the factor of a step
    for k in range(NETS):
        many.nets.point(k, [X])
        many.nets.set(k, np.array([1e150 if k == 3 else 1.0]), np.empty((0, 1)))
    lengths = np.ones(count, dtype=np.int64)
    steps = [NetSteps(k, np.zeros(count, dtype=np.int64), np.full(count, rates[k]), 1) for k in range(NETS)]
    found = many.nets.run(steps, lengths)
    done, near = found[3].done, neighbours(many, 3)
    assert [found[k].why for k in near] == ["non-finite" if k == 3 else "beside" for k in near]
    assert {found[k].done for k in near} == {done}
    assert {(found[k].done, found[k].why) for k in range(NETS) if k not in near} <= {(count, "")}
    assert 0 < done < count
    assert len(found[3].losses) == done + 1
    assert not np.isfinite(found[3].losses[-1])
    others = [NetSteps(s.net, s.rows[done:], s.rates[done:], 1 + done) for s in steps if s.net in near and s.net != 3]
    assert {outcome.why for outcome in many.nets.run(others, lengths[done:])} == {""}
    assert many.nets.get(0)[0][0] == pytest.approx(0.8**count, rel=1e-12)
    assert many.nets.get(3)[0][0] == pytest.approx(1e150 * (-3.0) ** done)  # as before the step that failed


def test_gradients_of_one_sample_are_products_computed_where_they_are_used() -> None:
    from macrograd.compiler import pipeline
    from macrograd.compiler.targets.llvm.nets_parts import products

    def parts(loss: Any, *shapes: tuple[int, ...]) -> Any:
        program = pipeline.gradient_program(pipeline.record(loss, shapes), batch=True)
        return products(over_nets(program, 1, strict=False), program.results[0][1] + 1, program.parameters)

    a, b = Value(1e-5), Value(1.0)
    found = parts(hinge(), (2,), ())
    assert sum(gradient.members for gradient in found.gradients) == 13
    assert all(step not in found.gradients for step in found.steps)
    assert parts(lambda x: a * x + 0.1 * (a * a), ()) is None  # a gradient that reads a parameter
    # A loss that is finite, whose gradient is not: the step is not made.
    many = nets(
        mg.compile(lambda x, y: a * x * 1e10 + b * y, batch=True), [np.ones(2)] * 2, optim.SGD(0.1), batch_size=1
    )
    X, y = np.array([1.0, 1e300]), np.array([2.0, 3.0])
    for k in range(NETS):
        many.nets.point(k, [X, y])
        many.nets.set(k, np.array([1e-5, 1.0]), np.empty((0, 2)))
    steps = [NetSteps(k, np.array([0, 0, k // 4, 0]), np.zeros(4), 1) for k in range(NETS)]
    outcomes = many.nets.run(steps, np.ones(4, dtype=np.int64))
    near = neighbours(many, 4)
    for k, outcome in enumerate(outcomes):
        expected = (2, "non-finite") if k == 4 else (2, "beside") if k in near else (4, "")
        assert (outcome.done, outcome.why) == expected
    assert np.isfinite(outcomes[4].losses[2])


def test_gradients_whose_bound_is_infinite_are_looked_at_one_by_one() -> None:
    """The sum of two inputs is infinite, no product of one is; then one is."""
    a, b = Value(1e-5), Value(1e-5)
    rows = [[1.0, 1.0], [1.5e308, 1.5e308], [1e308, 1e300], [1.0, 1.5e308]]

    def loss(row: list[Value]) -> Value:
        return a * row[0] * 1.5 + b * row[1] * 1.5

    many = nets(mg.compile(loss, batch=True), [np.array(rows)], optim.SGD(0.1), batch_size=1)
    for k in range(NETS):
        many.nets.point(k, [np.array(rows)])
        many.nets.set(k, np.array([1e-5, 1e-5]), np.empty((0, 2)))
    order = np.array([0, 2, 3, 0, 1])  # 1.5·1e308 + 1.5·1e300 is finite, 1.5·1.5e308 is not
    outcomes = many.nets.run([NetSteps(k, order, np.zeros(5), 1) for k in range(NETS)], np.ones(5, dtype=np.int64))
    assert {(outcome.done, outcome.why) for outcome in outcomes} == {(2, "non-finite")}
    many = nets(
        mg.compile(lambda row: a * row[0] + b * row[1], batch=True), [np.array(rows)], optim.SGD(0.1), batch_size=1
    )
    for k in range(NETS):
        many.nets.point(k, [np.array(rows)])
        many.nets.set(k, np.array([1e-5, 1e-5]), np.empty((0, 2)))
    outcomes = many.nets.run([NetSteps(k, order, np.zeros(5), 1) for k in range(NETS)], np.ones(5, dtype=np.int64))
    assert {(outcome.done, outcome.why) for outcome in outcomes} == {(5, "")}


def test_programs_without_a_form_over_nets_say_which_part() -> None:
    table = [Value(0.1 * k) for k in range(100)]
    rule = optim.SGD(0.1)
    twice = mg.compile(lambda x: mg.take(table, x) * mg.take(table, x + 1.0), batch=True)
    with pytest.raises(NetsError, match="several indices of a sample choose"):
        nets(twice, [np.zeros(2)], rule, batch_size=1)
    sample = mg.compile(lambda x: (table[0] * x) ** 2, batch=True, backend="numpy")
    with pytest.raises(NetsError, match="one net at a time"):
        nets(sample, [np.zeros(2)], rule, batch_size=1)


def test_a_program_over_nets_reads_and_writes_the_slots_of_every_sample() -> None:
    program = pipeline.gradient_program(pipeline.record(hinge(), [(2,), ()]), batch=True)
    over, slots = over_nets(program, 4, strict=False), slots_of(program, 4)
    written = np.zeros(over.varying, dtype=int)
    written[: program.held] = 1
    for slot in range(program.inputs):
        written[[slots.of_sample(slot, k) for k in range(4)]] = 1
    for instruction in over.instructions():
        for operand, count in instruction.operands():
            if not isinstance(operand, float):
                assert written[operand.slots(instruction.dims, count)].all(), f"{instruction} reads too early"
        written[instruction.out.slots(instruction.dims).ravel()] += 1
    assert written.max() == 1  # nothing is written twice
    assert [slot for _, slot in over.results] == [slot for _, slot in program.results]


@pytest.mark.parametrize(("samples", "parts", "size"), [(24, 3, 8), (10, 2, 5), (8, 0, 0), (13, 0, 0)])
def test_steps_of_many_samples_follow_each_other_for_a_few_at_a_time(samples: int, parts: int, size: int) -> None:
    program = pipeline.gradient_program(pipeline.record(hinge(), [(2,), ()]), batch=True)
    over = over_nets(program, samples, strict=False)
    loops = [step for step in over.block if isinstance(step, Loop)]
    assert [loop.count for loop in loops] == ([parts] if parts else [])
    first = slots_of(program, samples).first
    each = [step for loop in loops for step in loop.body if step.out.base >= first]  # without sums
    assert {step.dims[0] for step in each} == ({size} if parts else set())


def test_a_round_has_as_many_samples_as_stay_in_the_nearest_cache() -> None:
    def rounds(sizes: list[int]) -> tuple[int, bool]:
        net = nn.MLP(2, sizes, seed=1)
        sample = pipeline.record(lambda x, y: losses.hinge(net(x), y), [(2,), ()])
        program = pipeline.gradient_program(sample, batch=True)
        loop = next(step for step in over_nets(program, 32, strict=False).block if isinstance(step, Loop))
        return loop.count, any(step.out.base < program.uniform for step in loop.body if isinstance(step, Instruction))

    assert rounds([4, 1]) == (4, True)  # of eight samples, and with sums
    assert rounds([16, 16, 1]) == (8, True)  # of four
    assert rounds([40, 20, 1]) == (4, False)  # whose parameters alone do not stay there


def test_sums_with_few_results_are_added_up_round_by_round_and_what_only_rounds_read_stays_in_place() -> None:
    net = nn.MLP(2, [8, 8, 1], seed=1)
    program = pipeline.gradient_program(pipeline.record(lambda x, y: losses.hinge(net(x), y), [(2,), ()]), batch=True)
    over = over_nets(program, 16, strict=False)
    loop = next(step for step in over.block if isinstance(step, Loop))
    first = slots_of(program, 16).first
    added = [step for step in loop.body if step.out.base < first]
    assert sorted(step.members for step in added) == [1, 1, 8, 8, 8, 16]  # not the 64 of the layer between layers
    assert all(step.out.shifts == (0,) and step.segments[0].right is step.out for step in added)
    outer = next(step for step in over.block if isinstance(step, Instruction) and step.members == 64)
    later = {x.base for x, _ in outer.operands() if isinstance(x, Index)}
    moving = {step.out.base for step in loop.body if step.out.shift}
    assert later == moving  # the two layers that the outer product reads after the loop


@pytest.mark.parametrize("seed", range(8))
def test_random_nets_of_any_shape_have_the_bits_of_their_runs_alone(seed: int) -> None:
    rng = np.random.default_rng(seed)
    dtype = ["float64", "float32"][seed % 2]
    size = int(rng.choice([4, 5, 8, 12, 16, 24, 32]))
    X, y = rng.normal(size=(10, 3)).astype(dtype), rng.choice([-1.0, 1.0], 10).astype(dtype)
    sample = mg.compile(random_loss(rng), batch=True, strict=True, dtype=dtype)
    rule = optim.SGD(0.1)
    alone = TrainingLoop(sample, [X, y], rule.rule, (), batch_size=size)
    many = nets(sample, [X, y], rule, count=2, batch_size=size)
    lengths, rates, rows = np.full(3, size), np.full(3, 1e-3), rng.integers(0, 10, (2, 3 * size))
    starts = rng.normal(size=(2, len(alone.theta))) * 0.25
    many.nets.point_all([X, y])
    many.nets.set_all(starts.astype(dtype), np.empty((0, len(alone.theta))))
    found = many.nets.run([NetSteps(k, rows[k], rates, 1) for k in range(2)], lengths)
    for k, outcome in enumerate(found):
        alone.theta[:] = starts[k]
        wanted = alone.run(rows[k], lengths, rates, 1)
        assert outcome.losses.tolist() == wanted.losses.tolist()
        assert many.nets.get(k)[0].tolist() == alone.theta.tolist()


def random_loss(rng: np.random.Generator) -> Callable[..., Any]:
    """A net of random layers, each of which reads the one before or an earlier one."""
    widths = [3, *rng.integers(1, 18, rng.integers(1, 4)).tolist()]
    layers = []
    for k, width in enumerate(widths[1:]):
        before = int(rng.integers(max(0, k - 1), k + 1))
        weights = [[Value(0.1) for _ in range(widths[before])] for _ in range(width)]
        act = [mg.relu, mg.tanh, lambda v: v * v, lambda v: v][int(rng.integers(4))]
        layers.append((before, weights, [Value(0.0) for _ in range(width)] if rng.random() < 0.7 else None, act))
    last = [Value(0.1) for _ in range(widths[-1])]
    both, penalty = rng.random() < 0.3, rng.random() < 0.3

    def loss(x: Any, y: Any) -> Any:
        made = [list(x)]
        for before, weights, biases, act in layers:
            sums = [mg.dot(row, made[before]) for row in weights]
            made.append([act(s + b) for s, b in zip(sums, biases, strict=True)] if biases else [act(s) for s in sums])
        score = mg.dot(last, made[-1]) + (mg.sum(made[1]) if both else 0.0)
        error = (score - y) ** 2
        return error + 0.01 * mg.sum([p * p for p in last]) if penalty else error

    return loss


def test_numbers_that_differ_are_read_and_nothing_else_may_differ() -> None:
    a, b = Value(0.5), Value(0.25)
    makes: list[Any] = [lambda x, k=k: (a * x - 0.3 * k) ** 2 + (0.4 + k) * b * b for k in (1, 2, 3)]
    rules = [optim.SGD(0.1, momentum=0.1 * k, weight_decay=0.2 / k) for k in (1, 2, 3)]
    samples = [mg.compile(make, batch=True, strict=True) for make in makes]
    X, rates, lengths = np.array([0.5, 2.0]), np.full(6, 0.1), np.full(6, 2)
    rows = np.arange(12) % 2
    many = TrainingNets(
        samples, [2, 0, 1], [r.rule for r in rules], [0, 1, 2], [X], (0.0,), batch_size=2, period=PERIOD
    )
    for k in range(3):
        many.nets.point(k, [X])
        many.nets.set(k, np.array([0.5, 0.25]), np.zeros((1, 2)))
    many.nets.run([NetSteps(k, rows, rates, 1) for k in range(3)], lengths)
    for k, sample in enumerate([samples[2], samples[0], samples[1]]):
        alone = TrainingLoop(sample, [X], rules[k].rule, (0.0,), batch_size=2)
        alone.theta[:] = [0.5, 0.25]
        alone.run(rows, lengths, rates)
        assert many.nets.get(k)[0].tolist() == alone.theta.tolist()
    other = mg.compile(lambda x: (a * x).tanh() + b, batch=True, strict=True)
    with pytest.raises(Different, match="differ in more than numbers"):
        TrainingNets([samples[1], other], [0, 1], [rules[0].rule], [0, 0], [X], (0.0,), batch_size=2, period=PERIOD)
