"""Composed operations in LLVM: a formula is one function for all its uses, and its primitives are exact."""

from __future__ import annotations

import ctypes
import math
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest
from written import calls

from macrograd import ops
from macrograd.compiler.jit import native
from macrograd.compiler.jit.text import DOUBLE, SINGLE, Code
from macrograd.compiler.targets.scalar.composed import as_strict, composed, library
from macrograd.compiler.targets.scalar.routines import routine
from macrograd.rows.composed import TWO_OVER_PI

pytest.importorskip("llvmlite")

LARGEST, LEAST = 1.7976931348623157e308, 5e-324


def rest(a: Any, b: Any) -> Any:
    return a.primitive("product_rest", [a, b])


def used(code: Code, width: int, name: str = "rest") -> str:
    operands = [code.splat(0.5, width)] * 2
    return composed(name, rest, code, width, operands, strict=False, spelled=routine)


def test_a_formula_is_one_function_for_all_its_uses() -> None:
    code = Code(DOUBLE, fused=True)
    used(code, 4)
    used(code, 4)
    assert calls(code, "composed.rest.4.") == 2
    assert sum("define internal" in text for text in code.declared) == 1
    used(code, 1)
    used(code, 4, "another")
    assert sum("define internal" in text for text in code.declared) == 3


def test_a_formula_of_floats_computes_in_double() -> None:
    code = Code(SINGLE, fused=True)
    used(code, 4)
    (text,) = (text for text in code.declared if "define internal" in text)
    assert text.count("fpext <4 x float>") == 2
    assert text.count("fptrunc <4 x double>") == 1


@pytest.mark.parametrize(
    ("name", "strict", "portable", "found"),
    [("sin", False, False, False), ("sin", False, True, True), ("add", False, True, False), ("add", True, False, True)],
)
def test_functions_of_the_library_are_those_of_strict_programs_where_there_is_none(
    name: str, strict: bool, portable: bool, found: bool
) -> None:
    assert as_strict(ops.BY_NAME[name], strict=strict, portable=portable) is found


def test_the_librarys_function_is_called_for_each_element() -> None:
    for kind, name in ((DOUBLE, "sin"), (SINGLE, "sinf")):
        for width in (1, 4):
            code = Code(kind)
            library("sin")(code, width, code.splat(0.5, width))
            assert calls(code, f"{name}(") == width
            assert len(code.declared) == 1


# --- the primitives, run ------------------------------------------------------------------------------------------


@cache
def function(name: str, arity: int, portable: bool = False) -> Any:
    """A primitive as a function of numbers, on all elements of a vector of four of which one is looked at."""
    code = Code(DOUBLE, fused=True, portable=portable)
    given = [code.broadcast(code.load(code.element("%x", str(k)), 1), 4) for k in range(arity)]

    def formula(*x: Any) -> Any:
        return x[0].primitive(name, list(x))

    found = composed(name, formula, code, 4, given, strict=False, spelled=routine)
    code.store(code.extract(found, 3, 4), "%x", 1)
    lines = ["define void @f(ptr %x) {", "entry:", *code.lines, "  ret void", "}"]
    text = "\n".join([*sorted(code.declared), *lines])
    key = f"primitive {name} {portable}".encode()
    return native.Native(key, ("f",), lambda: (text, np.zeros(1, dtype=np.int32)), parameters="ptr %x")


def run(name: str, *x: float, portable: bool = False) -> float:
    numbers = np.array(x)
    function(name, len(x), portable).functions["f"](ctypes.c_void_p(numbers.ctypes.data))
    return float(numbers[0])


@pytest.mark.parametrize("portable", [False, True])
def test_a_product_and_its_rest_are_the_exact_product(portable: bool) -> None:
    draw = np.random.default_rng(0)
    for a, b in draw.normal(size=(200, 2)).tolist():
        found = run("product_rest", a, b, portable=portable)
        assert Fraction(a) * Fraction(b) == Fraction(a * b) + Fraction(found)
    assert run("product_rest", 1e300, 1e300, portable=portable) == 0.0  # ∞, without a rest that would make it NaN
    assert math.isnan(run("product_rest", math.nan, 2.0, portable=portable))


@pytest.mark.parametrize("n", [0, 1, -1, 52, -52, 1023, -1022, 1024, -1074, 2000, -2000, 2097, -2200, 10**9, -(10**9)])
def test_scaling_by_powers_of_two_reaches_every_number(n: int) -> None:
    for a in (1.0, -1.5, 0.0, LEAST, LARGEST, 2.0**-1022, math.inf):
        small = max(min(n, 3000), -3000)
        right = math.copysign(math.inf, a) if abs(a) >= 1 and small > 1100 else None
        if right is None:
            try:
                right = math.ldexp(a, small)
            except OverflowError:
                right = math.copysign(math.inf, a)
        assert run("scaled", a, float(n)) == right


def test_scaling_by_no_number_is_none() -> None:
    assert math.isnan(run("scaled", 2.0, math.nan))


def test_mantissa_and_exponent_are_the_number() -> None:
    numbers = [1.0, 2.0, 0.75, 1e300, 1e-300, LEAST, 3 * LEAST, 2.0**-1022, LARGEST, math.sqrt(0.5), math.pi]
    for x in numbers:
        mantissa, exponent = run("mantissa", x), run("exponent", x)
        assert math.sqrt(0.5) <= mantissa < math.sqrt(2.0)
        assert math.ldexp(mantissa, int(exponent)) == x
        assert exponent == int(exponent)


def test_signs_and_products_with_a_sum() -> None:
    assert math.copysign(1.0, run("signed", 2.0, -0.0)) == -1.0
    assert run("signed", -2.0, 3.0) == 2.0
    assert run("multiply_add", 3.0, 4.0, 5.0) == 17.0


@pytest.mark.parametrize("k", [0, 1, len(TWO_OVER_PI) - 1])
def test_the_digits_of_two_over_pi_are_found_without_a_table(k: int) -> None:
    assert run("two_over_pi", float(k)) == TWO_OVER_PI[k]


def test_what_a_formula_leaves_elsewhere_is_reached_only_where_its_condition_holds() -> None:
    """Written as a loop that does not run at all where the condition holds for no element."""

    def formula(x: Any, limit: Any) -> Any:
        return x.elsewhere(x.apply(ops.less, [limit, x]), x, slow, [x])

    def slow(x: Any) -> Any:
        return x.apply(ops.mul, [x, x.number(100.0)])

    code = Code(DOUBLE, fused=True)
    given = [code.load("%x", 4), code.splat(2.0, 4)]
    code.store(composed("some", formula, code, 4, given, strict=False, spelled=routine), "%x", 4)
    lines = ["define void @f(ptr %x) {", "entry:", *code.lines, "  ret void", "}"]
    text = "\n".join([*sorted(code.declared), *lines])
    made = native.Native(
        b"elsewhere", ("f",), lambda: (text, np.zeros(1, dtype=np.int32)), parameters="ptr %x"
    )  # fmt: skip
    numbers = np.array([1.0, 3.0, 2.0, 5.0])
    made.functions["f"](ctypes.c_void_p(numbers.ctypes.data))
    assert numbers.tolist() == [1.0, 300.0, 2.0, 500.0]
