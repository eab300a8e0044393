"""Settings of a compiled function: which are refused and how, and what the checked ones hold."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import macrograd as mg
from macrograd import CompileWarning, Value
from macrograd.compiler.settings import Settings, say_once, settings_of

W = Value(2.0, "w")


def dot(x: Any) -> Any:
    return mg.dot(x, [W, W])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dtype": "float16"}, "compile(dtype='float16'): dtype must be one of 'float64', 'float32'"),
        ({"dtype": int}, "dtype must be one of 'float64', 'float32'"),
        ({"dtype": "U3"}, "dtype must be one of 'float64', 'float32'"),
        ({"dtype": None}, "compile(dtype=None): dtype must be one of 'float64', 'float32'"),
        ({"batch": "yes"}, "compile(batch='yes'): batch must be True or False"),
        ({"batch": 1}, "compile(batch=1): batch must be True or False"),
        ({"strict": None}, "compile(strict=None): strict must be True or False"),
        ({"dtype": object()}, "dtype must be one of 'float64', 'float32'"),
        ({"backend": "cuda"}, "compile(backend='cuda'): backend must be one of 'auto', 'llvm', 'numpy'"),
        ({"threads": 0}, "compile(threads=0): threads must be a positive integer"),
        ({"threads": True}, "compile(threads=True): threads must be a positive integer"),
        ({"threads": 1.5}, "compile(threads=1.5): threads must be a positive integer"),
    ],
)
def test_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011 - the message is checked below
        mg.compile(dot, **settings)
    assert said in str(error.value)


def test_numpys_types_are_dtypes_too() -> None:
    assert mg.compile(lambda x: x * W, dtype=np.float32)(1.0).dtype == np.float32
    assert mg.compile(lambda x: x * W, dtype=np.dtype("float64"))(1.0).dtype == np.float64


def test_what_is_no_function() -> None:
    with pytest.raises(TypeError, match=r"compile\(\) takes a function, got 3 of type int"):
        mg.compile(3)


# --- the checked settings --------------------------------------------------------------------------------------------


def checked(fn: Any = dot, **changed: Any) -> Settings:
    given: dict[str, Any] = {"batch": True, "dtype": "float64", "backend": "auto", "threads": 1, "strict": False}
    return settings_of(fn, **{**given, **changed})


@pytest.mark.parametrize("dtype", ["float32", np.float32, np.dtype("float32")])
def test_a_type_is_named_in_any_way(dtype: Any) -> None:
    assert checked(dtype=dtype).dtype == np.dtype(np.float32)


def test_a_function_has_its_name_and_an_object_that_of_its_type() -> None:
    class Model:
        def __call__(self, x: Any) -> Any:
            return x

    assert checked().name == "dot"
    assert checked(Model()).name == "Model"
    assert checked(Model()).argument(0) == "argument 'x'"


def test_arguments_are_named_in_messages_as_far_as_names_are_known() -> None:
    assert checked(lambda first, *rest: first).argument(0) == "argument 'first'"
    assert checked(lambda first: first).argument(4) == "argument 5"
    unknown = checked(type("Odd", (), {"__call__": dot, "__signature__": "none"})())
    assert unknown.signature is None
    assert unknown.argument(0) == "argument 1"


@pytest.mark.parametrize(
    ("given", "positions"),
    [("t", {1}), (1, {1}), (["t", 2], {1, 2}), (("k", "k"), {2}), ([], set()), ((), set())],
)
def test_uniform_arguments_are_named_or_counted(given: Any, positions: set[int]) -> None:
    assert checked(lambda x, t, k: x + t + k, uniform=given).uniform == positions


def test_any_number_of_arguments_has_any_position() -> None:
    assert checked(lambda *x: x[0], uniform=7).uniform == {7}


@pytest.mark.parametrize("given", ["y", 3, -1, True, 1.5, ["t", "y"]])
def test_what_is_no_argument_is_refused_with_the_names(given: Any) -> None:
    with pytest.raises(ValueError, match=r"is not the name or position of an argument; its arguments are x, t, k"):
        checked(lambda x, t, k: x + t + k, uniform=given)


def test_uniform_arguments_need_a_batch() -> None:
    with pytest.raises(ValueError, match=r"compile\(uniform='t'\) needs batch=True"):
        checked(lambda x, t: x + t, uniform="t", batch=False)


def test_a_warning_is_shown_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("macrograd.compiler.settings.said", set[str]())
    with pytest.warns(CompileWarning, match="slower, says a test"):
        say_once("slower, says a test")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        say_once("slower, says a test")
