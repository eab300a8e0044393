"""The site has every public name and every message it quotes; `make docs` builds it and runs the cells of its pages."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import subprocess
import sys
import tomllib
import types
import warnings
from pathlib import Path
from typing import Any

import pytest

import macrograd as mg

DOCS = Path(__file__).parent.parent / "docs"
PUBLIC = (
    "",
    ".compiler",
    ".course",
    ".datasets",
    ".engine",
    ".exporting",
    ".nn",
    ".optim",
    ".show",
    ".sklearn",
    ".tables",
    ".train",
)
DIRECTIVE = re.compile(
    r"^\.\. (?:auto(?:function|class|exception|module)|py:data|currentmodule):: ([\w.]+)", re.MULTILINE
)


def documented() -> dict[str, Any]:
    """The names that the reference documents, in full."""
    found: dict[str, Any] = {}
    for page in sorted((DOCS / "api").glob("*.md")):
        module = ""
        for line in DIRECTIVE.finditer(page.read_text("utf-8")):
            name = line[1]
            if "currentmodule" in line[0]:
                module = name
            elif "automodule" in line[0]:
                members = importlib.import_module(name)
                own = [n for n, x in vars(members).items() if getattr(x, "__module__", "") == name and n[0] != "_"]
                found |= {f"{name}.{n}": getattr(members, n) for n in own}
            else:
                full = name if name.startswith("macrograd.") else f"{module}.{name}"
                home, _, last = full.rpartition(".")
                found[full] = getattr(importlib.import_module(home), last)
    return found


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_has_every_public_name(module: str) -> None:
    pages = documented()
    home = importlib.import_module(f"macrograd{module}")
    for name in home.__all__:
        found = getattr(home, name)
        if isinstance(found, types.ModuleType) or f"{home.__name__}.{name}" == "macrograd.optim.OPTIMIZERS":
            continue
        assert any(found is other for other in pages.values()), name


LISTED = re.compile(
    r"^\.\. auto(?:class|exception|module):: ([\w.]+)\n   :members: (.+)$|currentmodule:: (.+)$", re.MULTILINE
)


def test_the_reference_lists_members_that_there_are() -> None:
    listed = 0
    for page in sorted((DOCS / "api").glob("*.md")):
        module = ""
        for line in LISTED.finditer(page.read_text("utf-8")):
            if line[3]:
                module = line[3]
                continue
            home, _, last = (line[1] if line[1].startswith("macrograd.") else f"{module}.{line[1]}").rpartition(".")
            found = getattr(importlib.import_module(home), last)
            members = line[2].split(", ")
            listed += len(members)
            there = {*dir(found), *getattr(found, "__annotations__", {})}
            assert there.issuperset(members), (page.name, last, sorted({*members} - there))
    assert listed > 10


@pytest.mark.parametrize("module", PUBLIC)
def test_the_reference_has_what_public_functions_return(module: str) -> None:
    pages = documented().values()
    home = importlib.import_module(f"macrograd{module}")
    for name in home.__all__:
        found = getattr(home, name)
        members = {n: x for n, x in vars(found).items() if n[0] != "_"} if inspect.isclass(found) else {"": found}
        for member, thing in members.items():
            function = thing.fget if isinstance(thing, property) else thing
            if not inspect.isfunction(function):
                continue
            for word in re.findall(r"[A-Z]\w+", str(function.__annotations__.get("return", ""))):
                returned = vars(sys.modules[function.__module__]).get(word)
                if inspect.isclass(returned) and returned.__module__.startswith("macrograd"):
                    assert any(returned is page for page in pages), f"{name}.{member} returns a {word}"


def test_pages_name_what_exists() -> None:
    roots = {
        "mg": mg,
        "macrograd": mg,
        **{name: getattr(mg, name) for name in ("losses", "datasets", "tuning", "optim")},
    }
    pattern = re.compile(rf"(?<![\w./\"'])({'|'.join(roots)})((?:\.[A-Za-z_]\w*)+)(?!\w|\.md)")
    for page in [*DOCS.rglob("*.md"), DOCS.parent / "README.md"]:
        for root, path in pattern.findall(page.read_text("utf-8")):
            if path.endswith(".md"):
                continue
            found: Any = roots[root]
            for name in path[1:].split("."):
                found = getattr(found, name, None) or importlib.import_module(f"macrograd{path}")


def test_what_the_reference_shows_has_a_docstring() -> None:
    for name, found in documented().items():
        if callable(found):
            assert inspect.getdoc(found), name
            assert inspect.isclass(found) or found.__doc__ != type(found).__doc__, f"{name} has that of its class"
        if inspect.isclass(found):
            for member, function in vars(found).items():
                kind = (types.FunctionType, property, classmethod, staticmethod)
                if isinstance(function, kind) and not member.startswith("_"):
                    assert inspect.getdoc(getattr(found, member)), f"{name}.{member}"


def test_a_docstring_becomes_restructuredtext() -> None:
    spec = importlib.util.spec_from_file_location("docstrings", DOCS / "docstrings.py")
    assert spec is not None
    assert spec.loader is not None
    docstrings = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(docstrings)
    lines = [
        "Σ a_i·b_i of *two* lists, `a`s.",
        "",
        "a, b   lists of `float`, which go on",
        "       in the next line",
        "start  the first",
        "",
        "    dot([1], [2])",
        "",
        "Some words  with two spaces",
        "and more.",
        "",
        "a, b",
        "start  a paragraph of",
        "       no known form",
    ]
    docstrings.as_rst(None, "function", "f", None, None, lines)
    assert "\n".join(lines) == (
        "Σ a\\_i·b\\_i of *two* lists, ``a``\\ s.\n\n"
        "`a`, `b`\n   lists of ``float``, which go on in the next line\n"
        "`start`\n   the first\n\n"
        ".. code-block:: python\n\n   dot([1], [2])\n\n"
        "Some words  with two spaces\nand more.\n\n"
        "a, b\nstart  a paragraph of\nno known form\n"
    )


def test_the_operation_that_a_page_adds_runs() -> None:
    """In its own process: a row stays in the table."""
    page = (DOCS / "operations.md").read_text("utf-8")
    program = "\n".join(re.findall(r"```py(?:thon)?\n(.*?)```", page, re.DOTALL))
    (promised,) = re.findall(r"print\(.*\)  # (.*)", program)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=DOCS.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == promised


def test_the_page_on_installing_has_every_extra() -> None:
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text("utf-8"))["project"]
    listed = (DOCS / "index.md").read_text("utf-8").partition("The extras are")[2].partition("\n\n")[0]
    assert {*re.findall(r"`(\w+)`", listed)} == {*project["optional-dependencies"]} - {"bench"}


# --- docs/errors.md --------------------------------------------------------------------------------------------------

ERRORS = (DOCS / "errors.md").read_text("utf-8")
START, *CASES = re.findall(r"```py\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", ERRORS, re.DOTALL)
TITLES = re.findall(r"^### (.*)\n\n```py", ERRORS, re.MULTILINE)


def message(program: str, names: dict[str, Any]) -> str:
    """The error or warning of a program, as in the last line of a traceback."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            exec(compile(program, "page", "exec"), names)  # noqa: S102 - the project's own text
        except Exception as error:  # noqa: BLE001 - whichever the page says
            return f"{type(error).__name__}: {error}"
    return "nothing is raised"


def test_the_page_of_errors_quotes_what_is_raised() -> None:
    names: dict[str, Any] = {}
    assert message(START[0], names) == "nothing is raised"
    assert len(TITLES) == len(CASES) > 20
    for title, (program, quoted) in zip(TITLES, CASES, strict=True):
        raised = message(program, dict(names))
        pattern = r"\S+( in [\w.<>]+|, in [\w.<>]+)?".join(map(re.escape, " ".join(quoted.split()).split("at …")))
        pattern = pattern.replace(r"\S+", r"at \S+")
        guess = r"(\. Did you mean '\w+'\?)?"  # of Python 3.14 and newer
        assert re.fullmatch(pattern + guess, " ".join(raised.split())), (title, raised)
        assert title in raised, title


def test_a_message_that_is_not_raised_is_caught() -> None:
    assert message("1 + 1", {}) == "nothing is raised"
    assert message("1 / 0", {}) == "ZeroDivisionError: division by zero"
