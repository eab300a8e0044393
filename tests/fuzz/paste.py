"""A failure as a test that can be pasted into a file of tests/."""

from __future__ import annotations

from . import ways
from .check import Verdict
from .generate import Case
from .ways import Way

_PLAIN = {("batch", False), ("strict", False), ("threads", 1), ("dtype", "float64")}


def test_of(case: Case, way: Way, outcome: Verdict, seed: str) -> str:
    """The text of a test that fails as long as the fault is there, and needs nothing of this package but `check`."""
    program, data = case.program, case.data
    source, name = ways.text(program, way, len(data.samples[0]))
    body = [
        f"def test_found_by_fuzzing_{seed.replace(':', '_')}():",
        f'    """{outcome.failure.replace(chr(92), "/")}"""',
        f"    P = [Value(p) for p in {_numbers(data.parameters)}]",
        "",
        *(f"    {line}".rstrip() for line in source.splitlines()),
        "",
    ]
    body += _arguments(case, way)
    settings = ", ".join(f"{key}={value!r}" for key, value in ways.settings(way).items() if (key, value) not in _PLAIN)
    body += [f"    compiled = mg.compile({name}{', ' if settings else ''}{settings})"]
    indent = "    "
    if _limits(way):
        body += [f"    with limited({way.budget}, rolled={way.rolled}):  # so that it runs as long programs do"]
        indent += "    "
    given = ", ".join(["X", "index"][: len(program.arguments)])
    if way.moved:
        body += [f"{indent}for p in P:", f"{indent}    p.data = p.data * 0.5 + 0.25",
                 f"{indent}compiled{'' if way.what in ('values', 'inputs') else '.backward'}({given})",
                 f"{indent}for p, now in zip(P, {_numbers(data.parameters)}):",
                 f"{indent}    p.data, p.grad = now, 0.0"]  # fmt: skip
    return "\n".join([*_head(way), *body, *_comparison(way, name, given, indent)]) + "\n"


def _limits(way: Way) -> bool:
    return way.budget is not None or not way.rolled


def _head(way: Way) -> list[str]:
    head = ["import numpy as np", "from fuzz.language import flat, number"]
    if _limits(way):
        head.append("from fuzz.ways import limited")
    return [*head, "", "import macrograd as mg", "from macrograd import Value, ops  # noqa: F401", "", ""]


def _arguments(case: Case, way: Way) -> list[str]:
    rows = [_numbers(case.data.samples[k]) for k in way.rows]
    if not way.batch:
        lines = [f"    X = np.array({rows[0]})"]
    elif len(set(rows)) == 1:
        lines = [f"    X = np.array([{rows[0]}] * {len(rows)})"]
    else:
        lines = [f"    X = np.array([{', '.join(rows)}])"]
    if len(case.program.arguments) > 1:
        indices = [case.data.indices[k] for k in way.rows]
        lines.append(f"    index = np.array({indices if way.batch else indices[0]})")
    return lines


def _comparison(way: Way, name: str, given: str, indent: str) -> list[str]:
    pairs = {"X": "x.tolist()", "X, index": "x.tolist(), float(i)"}[given]
    each = "for x in X" if given == "X" else "for x, i in zip(X, index)"
    if not way.batch:
        each = "for x in [X]" if given == "X" else "for x, i in [(X, index)]"
    tolerance = "rtol=1e-4, atol=1e-4" if way.dtype == "float32" else "rtol=1e-9, atol=1e-12"
    if way.what in ("values", "inputs"):
        return [
            f"{indent}found = compiled({given})",
            f"    expected = [[number(r) for r in flat({name}({pairs}))] {each}]",
            "    found = np.hstack([np.reshape(part, (len(expected), -1)) for part in flat(found)])",
            f"    np.testing.assert_allclose(found, expected, {tolerance})",
            *(["    assert (np.signbit(found) == np.signbit(expected)).all()"] if way.strict else []),
        ]
    return [
        f"{indent}value = {'compiled.backward' if way.what in ('backward', 'second') else 'compiled.bind'}({given})"
        + ("" if way.what in ("backward", "second") else "()"),
        *(["    gradient = [p.grad for p in P]"] if way.what in ("backward", "second") else
          [f"    compiled.backward({given})", "    gradient = [p.grad for p in P]"]),
        "    for p in P:",
        "        p.grad = 0.0",
        f"    eager = [{name}({pairs}) {each}]",
        "    for one in eager:",
        "        if isinstance(one, Value):",
        "            one.backward()",
        f"    np.testing.assert_allclose(value, np.mean([number(one) for one in eager]), {tolerance})",
        "    expected = [p.grad / len(eager) for p in P]",
        f"    np.testing.assert_allclose(gradient, expected, {tolerance})",
        *(["    assert (np.signbit(gradient) == np.signbit(expected)).all()"] if way.strict else []),
    ]  # fmt: skip


def _numbers(numbers: list[float]) -> str:
    text = ", ".join(repr(n).replace("nan", "np.nan").replace("inf", "np.inf") for n in numbers)
    return f"[{text}]"
