"""C text: what is written for one number and for vectors, and that nothing unused is declared."""

from __future__ import annotations

import pytest

from macrograd import ops
from macrograd.compiler.jit.text import DOUBLE, SINGLE, Counter, Float
from macrograd.compiler.targets.c.code import Code


def written(code: Code) -> str:
    return "\n".join(line.strip() for line in code.lines)


def made(kind: Float = DOUBLE, *, strict: bool = False, width: int = 4) -> tuple[Code, str, str]:
    """Code with a vector and a number in it."""
    code = Code(kind, "net", strict=strict)
    vector, number = code.load("%x|8", width), code.load("%y|0", 1)
    code.lines.clear()
    return code, vector, number


def test_addresses_are_a_base_and_an_offset_until_they_are_used() -> None:
    code = Code(DOUBLE, "net")
    assert code.element("%u", "3") == "u|3"
    assert code.element(code.element("%u", "3"), "4") == "u|7"
    assert code.element(code.element("%u", "i1"), "4") == "u|i1 + 4"
    assert code.element("u|i1", "0") == "u|i1"
    code.store("1.0", code.element("%u", "i1"), 1)
    code.store(code.load("%x", 4), "%y|2", 4)
    assert written(code).splitlines() == ["u[i1] = 1.0;", "const V t1 = LOAD(x);", "STORE(y + 2, t1);"]


def test_integers_are_folded() -> None:
    code = Code(DOUBLE, "net")
    assert code.linear(3, [(4, 5), (1, 2)]) == "25"
    assert code.linear(0, [(1, "i1")]) == "i1"
    assert code.linear(-2, [(1, "i1"), (3, "i2"), (0, "i3")]) == "(i1 + 3 * i2 - 2)"
    assert code.lines == []


def test_a_number_that_is_the_same_in_every_lane_stays_one() -> None:
    code, vector, number = made()
    code.binary("fadd", number, code.splat(2.0, 4), 4)
    code.binary("fmul", vector, number, 4)
    assert written(code).splitlines() == [
        f"const double t3 = {number} + 0x1.0000000000000p+1;",
        f"const V t4 = {vector} * ALL({number});",
    ]


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (ops.relu, "SELECT(((t1) <= ALL(0x0.0p+0)), ALL(0x0.0p+0), (t1))"),
        (ops.neg, "(-t1)"),
        (ops.sqrt, "ROOT(t3, t1);"),
        (ops.exp, "= EXP(t1);"),
        (ops.sin, "for (int k = 0; k < W; ++k) a3[k] = sin(a3[k]);"),
    ],
    ids=lambda x: getattr(x, "name", ""),
)
def test_operations_on_vectors(op: ops.Op, text: str) -> None:
    """Arithmetic, choices and own functions for all elements at once, those of the math library one by one."""
    code, vector, _ = made()
    code.apply(op, [vector], 4)
    assert text in written(code)


@pytest.mark.parametrize(("kind", "text"), [(DOUBLE, "exp(t2)"), (SINGLE, "expf(t2)")])
def test_floats_have_functions_of_their_own(kind: Float, text: str) -> None:
    code, _, number = made(kind)
    code.apply(ops.exp, [number], 1)
    assert f"const {kind.name} t3 = {text};" in written(code)


def test_strict_products_are_kept_from_the_sum_around_them() -> None:
    code, vector, number = made(strict=True)
    code.multiply_add(number, number, number, 1)
    code.multiply_add(vector, vector, number, 4)
    text = written(code)
    assert f"const double t3 = MUL({number}, {number});" in text
    assert f"PRODUCT(t5, {vector}, {vector});" in text
    assert " * " not in text
    free, vector, number = made()
    free.multiply_add(vector, number, number, 4)
    assert f"{vector} * ALL({number}) + ALL({number})" in written(free)


@pytest.mark.parametrize(
    ("predicate", "text"),
    [("olt", "t2 < t2"), ("ult", "(t2 >= t2) == 0"), ("une", "t2 != t2"), ("uno", "(t2 != t2) | (t2 != t2)")],
)
def test_comparisons_know_what_a_nan_is(predicate: str, text: str) -> None:
    code, _, number = made()
    code.compare(predicate, number, number, 1)
    assert written(code) == f"const int t3 = {text};"


def test_comparisons_of_vectors_are_vectors_of_truths() -> None:
    code, vector, number = made()
    both = code.both(code.compare("oeq", vector, number, 4), code.compare("ugt", vector, vector, 4))
    code.select(both, vector, number, 4)
    assert written(code).splitlines()[-4:] == [
        f"const I c3 = (I)({vector} == ALL({number}));",
        f"const I c4 = (I)(({vector} <= {vector}) == 0);",
        "const I c5 = (I)(c3 & c4);",
        f"const V t6 = SELECT(c5, {vector}, ALL({number}));",
    ]


def test_values_that_rounds_exchange_are_saved_first() -> None:
    code, _, number = made()

    def swap(i: Counter, carried: list[str]) -> list[str]:
        return [carried[1], carried[0]]

    code.loop(9, swap, [("double", number), ("double", "1.0")])
    assert written(code).splitlines() == [
        f"double c3 = {number};",
        "double c4 = 1.0;",
        "for (int32_t i5 = 0; i5 < 9; ++i5) {",
        "const double t6 = c4;",
        "const double t7 = c3;",
        "c3 = t6;",
        "c4 = t7;",
        "}",
    ]
    assert code.loop(2, swap, [("double", "a"), ("double", "b")], unroll=2) == ["a", "b"]


def test_unused_declarations_are_gone() -> None:
    code = Code(DOUBLE, "net")
    used, _ = code.load("%x|0", 1), code.load("%x|1", 1)
    code.splat(3.0, 1)
    code.apply(ops.exp, [code.load("%x|2", 1)], 1)
    code.store(used, "%y|0", 1)
    assert [line.strip() for line in code.text()] == ["const double t1 = x[0];", "y[0] = t1;"]
