"""A C99 file: the program's functions, and the interface for a caller."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass
from macrograd.compiler import pipeline
from macrograd.compiler.compiled import Compiled
from macrograd.compiler.program.program import Program
from macrograd.compiler.targets.c.apart import constants_apart
from macrograd.compiler.targets.c.lower import Lowered
from macrograd.compiler.targets.c.target import C
from macrograd.compiler.targets.c.vectors import VECTORS, with_vectors
from macrograd.compiler.targets.scalar.machine import kind_of
from macrograd.compiler.targets.target import Request
from macrograd.exporting.arrays_c import FLASH, array, literal, table
from macrograd.exporting.names_c import NamesInC, harmless, header_of
from macrograd.exporting.sizes_c import constant_bytes, scratch_bytes, stated
from macrograd.exporting.subject import Examples, no_gradient

_CASES = 3  # of the self-test
FAILED = "an index was out of range, or a loop or solver failed"  # where a compiled function raises an error


@dataclass(frozen=True)
class Written:
    """The source of a file and of its header, and the bytes of constants, of the state and of arrays on the stack."""

    source: str
    interface: str
    constants: int
    state: int
    scratch: int


@dataclass(frozen=True)
class _File:
    """The data shared by the parts of a file. `sizes` are the numbers of scalars of each argument."""

    prefix: str
    real: str
    program: Program
    lowered: Lowered
    sizes: tuple[int, ...]
    names: tuple[str, ...]  # of the arguments, for comments
    called: NamesInC  # of a trained model
    weights: NDArray[Any]  # the parameters, then the constants
    apart: bool
    kind: str
    strict: bool


def write(
    compiled: Compiled, kind: str, prefix: str, header: str | None, name: str, called: NamesInC, examples: Examples,
    given: Sequence[Any] = (),
) -> Written:  # fmt: skip
    """The file of a function that was traced with the arguments `given`, if they are known. Raises TypeError if it has
    no gradient but one is requested."""
    file = _file(compiled, kind, prefix, called)
    body = [
        includes(file.real, file.lowered.functions, strict=compiled.strict),
        _constants(file),
        *with_vectors(
            prefix, file.real, file.lowered.functions, strict=compiled.strict, width=width_of(file.lowered, compiled)
        ),
        _predict(file) if kind == "predict" else _gradient(file),
        called.functions(),
    ]
    state = (8 if file.real == "double" else 4) * sum(_lengths(file)) + 8
    constants, scratch = constant_bytes(body) + called.constants(), scratch_bytes(file.lowered.functions)
    interface = _interface(file, name, stated(constants, state, scratch))
    parts = [
        interface if header is None else f'#include "{header}"\n',
        *body,
        _selftest(file, compiled, examples, given),
    ]
    source = "\n".join(part for part in parts if part)
    return Written(source, header_of(prefix, interface), constants, state, scratch)


def _file(compiled: Compiled, kind: str, prefix: str, called: NamesInC) -> _File:
    special = compiled._traced()
    source = special.source
    if kind == "gradient":
        special.check_scalar()
        if not source.parameters:
            raise TypeError(no_gradient(compiled.__name__))
        program = pipeline.for_file(pipeline.gradient_program(source, batch=False, strict=compiled.strict))
    else:
        program = pipeline.for_file(pipeline.value_program(source, batch=False, strict=compiled.strict))
    weights = np.concatenate([[p.data for p in source.parameters], program.constants]).astype(compiled.dtype)
    apart = constants_apart(program) if kind == "predict" else None
    number = kind_of(compiled.dtype)
    request = Request(apart or program, tuple(special.sizes), 0, compiled.dtype, compiled.strict)
    lowered = C().write(request, prefix, terms=True)
    names = tuple(compiled.argument(k) for k in range(len(special.sizes)))
    return _File(
        prefix, number.name, apart or program, lowered, tuple(special.sizes), names, called, weights, apart is not None,
        kind, compiled.strict,
    )  # fmt: skip


def width_of(lowered: Lowered, compiled: Compiled) -> int:
    """The numbers of the longest vector that the text for one sample is for: 1 if it has none."""
    vectors = any("TOTAL(" in text for text in lowered.functions)
    return VECTORS[0] // compiled.dtype.itemsize if vectors else 1


def _lengths(file: _File) -> tuple[int, int]:
    return max(1, file.program.uniform), max(1, file.program.varying)


# --- the interface ---------------------------------------------------------------------------------------------------


def _arguments(file: _File) -> str:
    if file.called.known:
        return file.called.inputs("x", target=len(file.sizes) > 1)
    at, lines = 0, []
    for name, size in zip(file.names, file.sizes, strict=True):
        where = f"x[{at}]" if size == 1 else f"x[{at}] to x[{at + size - 1}]"
        lines.append(f"     {harmless(name)}: {where}")
        at += size
    return "\n".join(lines) or "     none"


def _interface(file: _File, name: str, sizes: str) -> str:
    prefix, real, outputs = file.prefix, file.real, len(file.program.results)
    u, v = _lengths(file)
    upper = prefix.upper()
    fails, failed = "", ""
    if file.lowered.raises:
        fails = f"\n   Returns 0, or 1 if {FAILED}; y is then invalid."
        failed = f"\n   It returns NaN if {FAILED}."
    if file.kind == "predict":
        what = f"{prefix}_predict computes y[0] to y[{outputs - 1}] from the inputs x.{fails}"
    else:
        what = (
            f"{prefix}_gradient returns the value at the parameters theta (0: those of this file) and inputs x, and\n"
            f"   writes its derivative by each of the {upper}_PARAMETERS parameters.{failed}"
        )
    counts = [(f"{upper}_INPUTS", sum(file.sizes)), (f"{upper}_OUTPUTS", outputs)]
    if file.kind == "gradient":
        counts[1] = (f"{upper}_PARAMETERS", outputs - 1)
    defined = "\n".join(f"#define {key} {value}" for key, value in counts)
    return f"""/* {harmless(name)}, written by macrograd. C99; {needs(strict=file.strict)}.

   {what}
   The caller provides the state, which needs no initialisation; nothing in it is kept between calls.
{sizes}{file.called.described()}   The inputs:
{_arguments(file)}
*/
#include <stdint.h>

{defined}

typedef struct {{
    {real} u[{u}];
    {real} v[{v}];
    int32_t valid;
    int32_t flag;
}} {prefix}_state;

{_head(file)};
{file.called.heads()}"""


def _head(file: _File) -> str:
    """The head of the function for the caller, without its body."""
    prefix, real = file.prefix, file.real
    if file.kind == "predict":
        returns = "int" if file.lowered.raises else "void"
        return f"{returns} {prefix}_predict({prefix}_state *s, const {real} *x, {real} *y)"
    return f"{real} {prefix}_gradient({prefix}_state *s, const {real} *theta, const {real} *x, {real} *gradient)"


def needs(*, strict: bool) -> str:
    """Its requirements, as stated at the top of a file."""
    return "needs no library, and has the same bits everywhere" if strict else "needs math.h at most"


def includes(real: str, functions: Iterable[str] = (), *, strict: bool = False) -> str:
    """The compiler features that a file with these functions needs."""
    remedies = {
        "double": "export with dtype='float32'" + (" and strict=False" if strict else ""),
        "float": "the file needs IEEE single precision",
    }
    kinds = [real]
    if strict and real == "float" and any("double" in text for text in functions):
        kinds.append("double")
        remedies["double"] = "exp and similar functions are computed in double, export with strict=False"
    checks = "".join(
        f'#if {macro}_MANT_DIG != {digits}\n#error "{kind} needs {digits} binary digits: {remedies[kind]}"\n#endif\n'
        for kind, macro, digits in (("double", "DBL", 53), ("float", "FLT", 24))
        if kind in kinds
    )
    return "#include <float.h>\n" + (_STRICT if strict else "#include <math.h>\n") + "\n" + checks + FLASH


_STRICT = """
/* The same bits from every compiler, on every machine, whatever the flags for fused multiplications. */
#if FLT_EVAL_METHOD != 0 && FLT_EVAL_METHOD != 16 /* which is 0 with half precision of its own */
#error "results are computed with excess precision: compile with -msse2 -mfpmath=sse"
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__)
#error "-ffast-math and -Ofast change the results of sums: compile without them, or export with strict=False"
#endif
"""


def _constants(file: _File) -> str:
    parts = []
    if not file.apart or any(f"{file.prefix}_w;" in text for text in file.lowered.functions) or _copied(file):
        parts.append(array(f"{file.real} {file.prefix}_w", [literal(x, file.real) for x in file.weights.tolist()]))
    return "\n".join([*parts, index_tables(file.prefix, file.lowered)])


def index_tables(prefix: str, lowered: Lowered) -> str:
    """The tables of a program, if it reads any."""
    if not any("tables[" in text or "_tables" in text for text in lowered.functions):
        return ""
    return array(f"int32_t {prefix}_tables", map(str, lowered.tables.tolist()))


def _copied(file: _File) -> bool:
    """Whether any result is a constant."""
    return any(space == "w" for space, _ in file.program.results)


# --- the functions ---------------------------------------------------------------------------------------------------


def _phases(file: _File) -> list[str]:
    return [f"    {name}(s);" for name in file.lowered.phases.values() if name]


def result_copies(results: Sequence[tuple[str, int]], prefix: str, target: str) -> list[str]:
    """Copies of a program's results into an array, contiguous ones in one loop."""
    places = list(enumerate(results))
    lines = []
    for _, run in groupby(places, key=lambda at: (at[1][0], at[1][1] - at[0])):
        begin, (space, slot) = (members := list(run))[0]
        array = "s->u" if space == "u" else f"{prefix}_w" if space == "w" else "s->v"
        if len(members) == 1:
            lines.append(f"    {target}[{begin}] = {array}[{slot}];")
        else:
            lines.append(
                f"    for (int32_t i = 0; i < {len(members)}; ++i) {target}[{begin} + i] = {array}[{slot} + i];"
            )
    return lines


def _reads(file: _File) -> list[str]:
    count = sum(file.sizes)
    first = file.program.first_input if not file.apart else 0
    return (
        [f"    for (int32_t i = 0; i < {count}; ++i) s->u[{first} + i] = x[i];"]
        if count
        else ["    (void)s;", "    (void)x;"]
    )


def _predict(file: _File) -> str:
    held = len(file.weights)
    fails = file.lowered.raises
    lines = [
        _head(file) + " {",
        *(["    s->flag = 0;"] if fails else []),
        *([] if file.apart else [f"    for (int32_t i = 0; i < {held}; ++i) s->u[i] = {file.prefix}_w[i];"]),
        *_reads(file),
        *_phases(file),
        *result_copies(file.program.results, file.prefix, "y"),
        *(["    return s->flag != 0;"] if fails else []),
        "}",
        "",
    ]
    return "\n".join(lines)


def _gradient(file: _File) -> str:
    p, held, fails = file.program.parameters, len(file.weights), file.lowered.raises
    lines = [
        _head(file) + " {",
        *(["    s->flag = 0;"] if fails else []),
        f"    for (int32_t i = 0; i < {held}; ++i) s->u[i] = {file.prefix}_w[i];",
        f"    if (theta) for (int32_t i = 0; i < {p}; ++i) s->u[i] = theta[i];",
        *_reads(file),
        *_phases(file),
        *result_copies(file.program.results[1:], file.prefix, "gradient"),
    ]
    space, slot = file.program.results[0]
    assert space == "u"
    value = f"s->flag ? ({file.real})(0.0 / 0.0) : s->u[{slot}]" if fails else f"s->u[{slot}]"
    return "\n".join([*lines, f"    return {value};", "}", ""])


# --- the self-test ---------------------------------------------------------------------------------------------------


def _selftest(file: _File, compiled: Compiled, examples: Examples, given: Sequence[Any]) -> str:
    """A main() that compares its results with macrograd's."""
    inputs, answers = [], []
    for arrays, answer in _cases(file, compiled, examples, given):
        flat_inputs = np.concatenate([array.ravel() for array in arrays] or [np.zeros(1)])
        inputs.append(flat_inputs if len(flat_inputs) else np.zeros(1))  # C has no empty arrays
        answers.append(answer)
    real, prefix = file.real, file.prefix
    n, m = len(inputs[0]), len(answers[0])
    call = (
        f"{prefix}_predict(&state, x[c], y);"
        if file.kind == "predict"
        else f"y[0] = {prefix}_gradient(&state, 0, x[c], y + 1);"
    )
    tolerance = "1e-9" if real == "double" else "1e-3"
    near = "" if file.strict else f" || fabs(a - b) <= {tolerance} * (1.0 + fabs(b))"

    def flat(rows: list[NDArray[Any]]) -> list[str]:
        return [literal(float(x), real) for row in rows for x in row]

    return f"""#ifdef MACROGRAD_SELFTEST
#include <stdio.h>

{table(f"{real} x", n, flat(inputs))}
{table(f"{real} right", m, flat(answers))}
static {prefix}_state state;

int main(void) {{
    int wrong = 0;
    for (int c = 0; c < {_CASES}; ++c) {{
        static {real} y[{m}];
        {call}
        for (int i = 0; i < {m}; ++i) {{
            const double a = (double)y[i], b = (double)right[c][i];
            if (!(a == b || (a != a && b != b){near})) {{
                printf("case %d, result %d: %.17g, expected %.17g\\n", c, i, a, b);
                wrong = 1;
            }}
        }}
    }}
    if (!wrong) printf("{prefix}: {_CASES} cases agree\\n");
    return wrong;
}}
#endif
"""


def _cases(
    file: _File, compiled: Compiled, examples: Examples, given: Sequence[Any]
) -> Iterator[tuple[list[NDArray[Any]], NDArray[Any]]]:
    """Inputs and what macrograd answers. Where there is no answer to random numbers, because they are no indices, or
    because a solver finds nothing there, the inputs are what the function was traced with, or zeros."""
    generator = np.random.default_rng(0)
    shapes = compiled._traced().shapes
    for _ in range(_CASES):
        tried: list[Callable[[], Sequence[Any]]] = [
            lambda: examples(generator), lambda: given, lambda: [np.zeros(shape) for shape in shapes],
        ]  # fmt: skip
        failed: Exception | None = None
        for made in tried if given else [tried[0], tried[2]]:
            arrays = [np.asarray(array).astype(compiled.dtype) for array in made()]
            try:
                answer = _answer(file, compiled, arrays)
            except (IndexError, ArithmeticError, RuntimeError, ValueError) as error:
                failed = failed or error
                continue
            yield arrays, answer
            break
        else:
            assert failed is not None
            raise failed


def _answer(file: _File, compiled: Compiled, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if file.kind == "gradient":
        theta = file.weights[: file.program.parameters]
        value, gradient = compiled.value_and_grad(theta, *arrays)
        return np.concatenate([[value], gradient])
    return np.concatenate([np.ravel(x) for x in arrays_in(compiled(*arrays))])


def arrays_in(x: Any) -> Iterable[Any]:
    """The arrays of a result, in the order of its scalars. Recursion is safe: results nest only as written."""
    if isinstance(x, dict):
        x = list(x.values())
    if isinstance(x, (list, tuple)):
        for item in x:
            yield from arrays_in(item)
    else:
        yield np.asarray(x)


__all__ = ["Written", "arrays_in", "includes", "index_tables", "needs", "result_copies", "write"]
