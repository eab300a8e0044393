"""Every rewriting keeps every number to the bit: NaN, infinities and signed zeros too."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interpret import interpret
from random_programs import RandomProgram, programs

import macrograd as mg
from macrograd import ops
from macrograd.compiler.rewrite import simplify as rewritings
from macrograd.compiler.rewrite.chains import chains
from macrograd.compiler.rewrite.constants import fold_constants
from macrograd.compiler.rewrite.identities import identities, without_detach
from macrograd.compiler.tape import tape as tapes
from macrograd.compiler.tape.tape import Tape
from macrograd.compiler.trace.trace import trace
from macrograd.rows.composed import on_arrays
from macrograd.value import Value

SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 3.0, math.inf, -math.inf, math.nan, 5e-324, 1e308, -1e308]
EXACT: dict[str, Callable[[Tape], Tape]] = {
    "fold_constants": fold_constants,
    "fold_constants, strict": partial(fold_constants, strict=True),
    "identities": identities,
    "without_detach": without_detach,
    "merge_equal": rewritings.merge_equal,
    "drop_dead": rewritings.drop_dead,
    "own_results": rewritings.own_results,
    "chains, strict": partial(chains, strict=True),
    "simplify, strict": partial(rewritings.simplify, strict=True),
}


def by_formula(op: ops.Op) -> Callable[..., float]:
    """The operation as strict programs compute it: by its formula, if it has one."""
    formula = op.portable or op.formula
    if formula is None:
        return op.forward
    arrays = on_arrays(formula, strict=True)
    return lambda *operands: float(arrays(np, *np.asarray(operands).reshape(-1, 1))[0])


STRICT = {op.name: by_formula(op) for op in ops.TABLE}


def bits(numbers: list[float]) -> list[str]:
    return ["nan" if x != x else x.hex() for x in numbers]


def same_bits(
    before: Tape,
    after: Tape,
    parameters: list[float],
    inputs: list[float],
    functions: dict[str, Callable[..., float]] | None = None,
) -> None:
    tapes.verify(after)
    found, expected = (bits(interpret(tape, parameters, inputs, functions)) for tape in (after, before))
    assert found == expected, f"{before}\n{after}"


@pytest.mark.parametrize("name", EXACT)
@settings(max_examples=60)
@given(program=programs(), data=st.data())
def test_rewritings_keep_every_bit(name: str, program: RandomProgram, data: st.DataObject) -> None:
    tape = trace(program, [(program.inputs,), ()]).tape
    number = st.sampled_from(SPECIAL) | st.floats(-4, 4)
    leaves = int(tape.code[tape.code == tapes.PARAMETER].size) + program.inputs
    numbers = data.draw(st.lists(number, min_size=leaves, max_size=leaves))
    inputs = [*numbers[: program.inputs], float(data.draw(st.integers(0, 3)))]
    functions = STRICT if name.endswith("strict") else None
    same_bits(tape, EXACT[name](tape), numbers[program.inputs :], inputs, functions)


@settings(max_examples=40)
@given(program=programs())
def test_simplify_gives_the_same_numbers(program: RandomProgram) -> None:
    """With sums regrouped, and the function's derivative too."""
    tape = trace(program, [(program.inputs,), ()]).tape
    X, index = program.data(1)
    inputs = [*X[0].tolist(), float(index[0])]
    # The tape has only the parameters that it uses, in the order of their first use.
    parameters = np.random.default_rng(0).normal(size=8).tolist()
    expected = np.array(interpret(tape, parameters, inputs))
    found = interpret(rewritings.simplify(tape), parameters, inputs)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * max(1.0, np.abs(expected).max()))


@settings(max_examples=40)
@given(program=programs())
def test_simplify_twice_is_once(program: RandomProgram) -> None:
    tape = trace(program, [(program.inputs,), ()]).tape
    once = rewritings.simplify(tape)
    assert len(rewritings.simplify(once)) <= len(once)


# --- one by one ---------------------------------------------------------------------------------------------

LEAVES = ["%0 = input 0", "%1 = parameter 0"]


def rewrite(rewriting: Callable[[Tape], Tape], *lines: str, result: str = "") -> list[str]:
    """The entries behind the leaves %0 = x and %1 = w after a rewriting and after what is dead is gone."""
    result = result or lines[-1].split()[0]
    tape = tapes.verify(tapes.parse("\n".join([*LEAVES, *lines, f"return {result}"])))
    return str(tapes.verify(rewritings.drop_dead(rewriting(tape)))).splitlines()[2:]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["%2 = constant 1.0", "%3 = mul %0 %2", "%4 = exp %3"], ["%2 = exp %0"]),
        (["%2 = constant 1.0", "%3 = mul %2 %0", "%4 = exp %3"], ["%2 = exp %0"]),
        (["%2 = constant 1.0", "%3 = div %0 %2", "%4 = exp %3"], ["%2 = exp %0"]),
        (["%2 = constant 1.0", "%3 = pow %0 %2", "%4 = exp %3"], ["%2 = exp %0"]),
        (["%2 = constant 0.0", "%3 = sub %0 %2", "%4 = exp %3"], ["%2 = exp %0"]),
        (["%2 = neg %0", "%3 = neg %2", "%4 = exp %3"], ["%2 = exp %0"]),
        (["%2 = sum %0", "%3 = exp %2"], ["%2 = exp %0"]),
        (["%2 = constant 2.0", "%3 = pow %0 %2"], ["%2 = mul %0 %0"]),
        (["%2 = constant -1.0", "%3 = pow %0 %2"], ["%2 = constant 1.0", "%3 = div %2 %0"]),
        (["%2 = constant -4.0", "%3 = div %0 %2"], ["%2 = constant -0.25", "%3 = mul %0 %2"]),
        (["%2 = constant 8.507059173023462e+37", "%3 = div %0 %2"], [f"%2 = constant {2.0**-126}", "%3 = mul %0 %2"]),
        (["%2 = constant 3.0", "%3 = where %2 %0 %1", "%4 = exp %3"], ["%2 = exp %0"]),
        (["%2 = constant nan", "%3 = where %2 %0 %1", "%4 = exp %3"], ["%2 = exp %0"]),
        (["%2 = constant -0.0", "%3 = where %2 %0 %1", "%4 = exp %3"], ["%2 = exp %1"]),
        (["%2 = where %1 %0 %0", "%3 = exp %2"], ["%2 = exp %0"]),
        (["%2 = constant 2.0", "%3 = constant 2.0", "%4 = onehot %2 %3 %0", "%5 = exp %4"], ["%2 = exp %0"]),
        (["%2 = constant 1.0", "%3 = take %2 %1 %0 %1", "%4 = exp %3"], ["%2 = exp %0"]),
    ],
)
def test_identities(lines: list[str], expected: list[str]) -> None:
    assert rewrite(identities, *lines) == [*expected, f"return %{len(expected) + 1}"]


@pytest.mark.parametrize(
    "lines",
    [
        ["%2 = constant 0.0", "%3 = add %0 %2"],  # -0 + 0 is 0
        ["%2 = constant 0.0", "%3 = mul %0 %2"],  # ∞·0 is a NaN
        ["%2 = constant -0.0", "%3 = sub %0 %2"],  # -0 − -0 is 0
        ["%2 = sub %0 %0"],  # ∞ − ∞ is a NaN
        ["%2 = div %0 %0"],  # 0 ÷ 0 is a NaN
        ["%2 = constant 3.0", "%3 = div %0 %2"],  # ⅓ is rounded
        ["%2 = constant 0.0", "%3 = div %0 %2"],
        ["%2 = constant inf", "%3 = div %0 %2"],
        [f"%2 = constant {2.0**127}", "%3 = div %0 %2"],  # 2⁻¹²⁷ is not a normal number in float32
        ["%2 = constant 2.0", "%3 = div %2 %0"],
        ["%2 = constant 0.5", "%3 = pow %0 %2"],  # (−∞)^½ is ∞, √−∞ a NaN
        ["%2 = maximum %0 %1"],
        ["%2 = constant 9.0", "%3 = take %2 %0 %1"],  # an index out of range is found when the program runs
        ["%2 = constant -1.0", "%3 = take %2 %0 %1"],
        ["%2 = constant 0.5", "%3 = take %2 %0 %1"],
    ],
)
def test_what_looks_like_an_identity_and_is_none(lines: list[str]) -> None:
    kept = rewrite(identities, *lines)
    assert kept == [*lines, f"return %{len(lines) + 1}"]


def test_onehot_of_different_constants_is_zero() -> None:
    lines = ["%2 = constant 2.0", "%3 = constant 1.0", "%4 = onehot %2 %3 %0", "%5 = exp %4"]
    tape = tapes.parse("\n".join([*LEAVES, *lines, "return %5"]))
    assert interpret(rewritings.simplify(tape), [1.0], [math.nan]) == [1.0]
    assert "onehot" not in str(rewritings.simplify(tape))


def test_an_identity_beside_an_inverse() -> None:
    """x⁻¹ needs an additional constant, which moves all entries."""
    lines = ["%2 = constant -1.0", "%3 = constant 1.0", "%4 = mul %0 %3", "%5 = pow %4 %2", "%6 = add %5 %4"]
    tape = tapes.parse("\n".join([*LEAVES, *lines, "return %6"]))
    for x in SPECIAL:
        same_bits(tape, identities(tape), [1.0], [x])


def test_divisions_by_powers_of_two_keep_every_bit() -> None:
    """Also of what is beside them: their reciprocals move all entries behind the divisors."""
    lines = ["%2 = constant 2.0", "%3 = constant -0.125", "%4 = div %0 %2", "%5 = div %0 %3", "%6 = div %4 %1"]
    lines += ["%7 = constant 3.0", "%8 = div %5 %2", "%9 = div %7 %2", "%10 = div %8 %7"]
    tape = tapes.parse("\n".join([*LEAVES, *lines, "return %4 %5 %6 %8 %9 %10 %2 %3 %7"]))
    rewritten = tapes.verify(identities(tape))
    assert str(rewritten).count("div") == 2  # by the parameter, and by 3
    for x in (*SPECIAL, 5e-324, -3.0 * 2.0**-1074, 1.7e308):
        same_bits(tape, rewritten, [1.0], [x])


def test_folding() -> None:
    lines = ["%2 = constant 2.0", "%3 = constant 3.0", "%4 = mul %2 %3", "%5 = exp %4", "%6 = mul %0 %5"]
    folded = [f"%2 = constant {math.exp(6.0)!r}", "%3 = mul %0 %2", "return %3"]
    assert rewrite(fold_constants, *lines) == folded
    tape = tapes.parse("\n".join([*LEAVES, *lines, "return %6"]))
    assert str(rewritings.simplify(tape)).splitlines()[2] == f"%2 = constant {math.exp(6.0)!r}"


def test_merging_tells_constants_apart_by_their_bits() -> None:
    lines = ["%2 = constant 0.0", "%3 = constant -0.0", "%4 = div %0 %2", "%5 = div %0 %3", "%6 = add %4 %5"]
    assert rewrite(rewritings.merge_equal, *lines) == [*lines, "return %6"]
    lines = ["%2 = constant nan", "%3 = constant nan", "%4 = add %0 %2", "%5 = add %0 %3", "%6 = mul %4 %5"]

    def twice(tape: Any) -> Any:
        return rewritings.merge_equal(rewritings.merge_equal(tape))

    assert rewrite(twice, *lines) == [lines[0], "%3 = add %0 %2", "%4 = mul %3 %3", "return %4"]


def test_merging_knows_the_order_of_operands() -> None:
    lines = ["%2 = sub %0 %1", "%3 = sub %1 %0", "%4 = add %2 %3"]
    assert rewrite(rewritings.merge_equal, *lines) == [*lines, "return %4"]


def test_what_is_computed_twice_is_merged_however_deep() -> None:
    def twice(x: list[Value]) -> Value:
        def deep(y: Value) -> Value:
            for _ in range(50):
                y = (y * y).tanh()
            return y

        return deep(x[0]) - deep(x[0])

    tape = rewritings.simplify(trace(twice, [(1,)]).tape)
    assert len(tape) <= 2 * 50 + 4


def test_dead_entries_go_and_inputs_stay() -> None:
    lines = ["%2 = exp %0", "%3 = tanh %2", "%4 = sin %1"]
    assert rewrite(rewritings.drop_dead, *lines) == ["%2 = sin %1", "return %2"]


def test_own_results() -> None:
    tape = tapes.parse("\n".join([*LEAVES, "%2 = exp %0", "return %2 %0 %2 %1"]))
    assert str(tapes.verify(rewritings.own_results(tape))).splitlines()[3:] == [
        "%3 = detach %0",
        "%4 = detach %2",
        "%5 = detach %1",
        "return %2 %3 %4 %5",
    ]


def test_chains_make_sums_of_products() -> None:
    lines = ["%2 = mul %1 %0", "%3 = add %2 %0", "%4 = sub %3 %1"]
    tape = chains(tapes.parse("\n".join([*LEAVES, *lines, "return %4"])))
    (dot,) = [line for line in str(rewritings.drop_dead(tape)).splitlines() if "dot" in line]
    assert len(dot.split()) == 3 + 6
    assert interpret(tape, [3.0], [2.0]) == [3.0 * 2.0 + 2.0 - 3.0]


@settings(max_examples=40)
@given(program=programs())
def test_chains_of_long_tapes_are_made_in_parts(program: RandomProgram) -> None:
    tape = trace(program, [(program.inputs,), ()]).tape
    with pytest.MonkeyPatch.context() as patch:
        whole = [str(chains(tape, strict=strict)) for strict in (False, True)]
        patch.setattr(tapes, "AT_ONCE", 3)
        assert [str(chains(tape, strict=strict)) for strict in (False, True)] == whole


def test_a_tape_whose_sums_are_all_chained_stays_as_it_is() -> None:
    lines = ["%2 = mul %0 %1", "%3 = constant 1.0", "%4 = dot %2 %3 %1 %1"]
    tape = tapes.parse("\n".join([*LEAVES, *lines, "return %4"]))
    assert chains(tape) is tape


def test_strict_chains_keep_the_programs_order() -> None:
    lines = ["%2 = add %0 %1", "%3 = mul %0 %1", "%4 = add %3 %2"]
    tape = tapes.parse("\n".join([*LEAVES, *lines, "return %4"]))
    x, w = 1e16, 1.0
    assert interpret(chains(tape, strict=True), [w], [x]) == [x * w + (x + w)]


def test_constants_alone_fold_to_the_eager_engines_number() -> None:
    lines = [
        "%0 = constant 0.0",
        "%1 = constant -1.0",
        "%2 = div %1 %0",
        "%3 = exp %2",
        "%4 = log %0",
        "return %2 %3 %4",
    ]
    tape = tapes.parse("\n".join(lines))
    assert interpret(rewritings.simplify(tape), [], []) == [-math.inf, 0.0, -math.inf]


def test_a_chain_of_constants_is_folded_at_once() -> None:
    """Whatever its length: folding link by link would take a time in its square."""
    start, x = Value(2.0), Value(3.0)

    def discounted() -> Value:
        factor, total = 1.0 * Value(1.0), start
        for _ in range(5_000):
            factor = factor * 0.999
            total = total + factor * x
        return total

    tape = fold_constants(trace(discounted, []).tape)
    known = np.flatnonzero(tape.code == tapes.CONSTANT)
    assert min(tape.leaf[known]) == pytest.approx(0.999**5_000, rel=1e-12)
    for k in np.flatnonzero(tape.arity).tolist():
        assert not set(tape.operands(k).tolist()) <= set(known.tolist())


def test_strict_constants_are_those_that_strict_programs_compute() -> None:
    """Not those of the machine's math library, of which some differ in the last digit."""
    step, rounds = 0.155, 24

    def made(x: Value, numbers: Callable[[Value], Value]) -> Any:
        def body(i: Value, s: Value) -> Any:
            return s, [x * op(numbers(i)) for op in (mg.cos, mg.tanh, mg.cbrt, mg.exp, mg.erf)]

        return mg.loop(rounds, body, 0.0, collect=True)[1]

    folded = mg.compile(lambda x: made(x, lambda i: step * i), strict=True)
    given = mg.compile(lambda x, array: made(x, lambda i: mg.take(array, i)), strict=True)
    assert np.array_equal(folded(1.0), given(1.0, [step * i for i in range(rounds)]))
