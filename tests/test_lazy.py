"""Packages whose names are loaded when they are first used offer what they would if they loaded all at once."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import macrograd as mg

PACKAGE = Path(mg.__file__).parent


def lazy_packages() -> list[str]:
    found = []
    for path in sorted(PACKAGE.rglob("__init__.py")):
        if "= lazy(" in path.read_text("utf-8"):
            found.append(".".join(["macrograd", *path.relative_to(PACKAGE).parent.parts]))
    return found


LAZY = lazy_packages()


def tree_of(package: str) -> ast.Module:
    return ast.parse(Path(str(importlib.import_module(package).__file__)).read_text("utf-8"))


def seen_by_type_checkers(package: str) -> dict[str, tuple[str, str]]:
    """The names that type checkers see: (module, name there)."""
    found = {}
    for node in ast.walk(tree_of(package)):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for one in node.body:
                assert isinstance(one, ast.ImportFrom)
                found |= {alias.asname or alias.name: (str(one.module), alias.name) for alias in one.names}
    return found


def test_there_are_some() -> None:
    assert {"macrograd.train", "macrograd.tables", "macrograd.tuning"} <= set(LAZY)


@pytest.mark.parametrize("package", LAZY)
def test_a_name_is_what_type_checkers_see(package: str) -> None:
    names, module = seen_by_type_checkers(package), importlib.import_module(package)
    assert set(module.__all__) <= {*names, *vars(module)}
    for name, (place, there) in names.items():
        assert getattr(module, name) is getattr(importlib.import_module(place), there), name
    assert set(names) <= set(module.__all__), "what is lazy is public"


@pytest.mark.parametrize("package", LAZY)
def test_no_module_stands_in_a_names_place(package: str) -> None:
    """A module that is imported becomes an attribute of its package, whatever the name stood for."""
    folder = PACKAGE.joinpath(*package.split(".")[1:])
    modules = {path.stem for path in folder.glob("*.py")} | {path.parent.name for path in folder.glob("*/__init__.py")}
    assert not modules & set(seen_by_type_checkers(package))


@pytest.mark.parametrize("package", LAZY)
def test_a_new_process_finds_all_names(package: str) -> None:
    """In any way in which Python looks for one, before anything else has loaded it."""
    program = (
        f"import {package} as package\n"
        "loaded = set(vars(package))\n"
        "assert set(package.__all__) <= set(dir(package)), set(package.__all__) - set(dir(package))\n"
        "assert not loaded & {'np', 'numpy'}\n"
        f"from {package} import *\n"
        "print(all(globals()[name] is getattr(package, name) for name in package.__all__))\n"
        f"try:\n    package.nowhere\nexcept AttributeError as error:\n    print(error)\n"
        f"try:\n    from {package} import nowhere\nexcept ImportError as error:\n    print(error.name)\n"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["True", f"module {package!r} has no attribute 'nowhere'", package]


def test_a_module_is_an_attribute_of_its_package_without_being_imported() -> None:
    program = "import macrograd as mg; print(mg.tuning.trial.__name__, mg.train.nets.plans.__name__)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["macrograd.tuning.trial", "macrograd.train.nets.plans"]


def test_a_misspelled_name_is_answered_with_a_close_one() -> None:
    program = "import macrograd.train\nmacrograd.train.Trianer"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.stderr.splitlines()[-1].endswith("has no attribute 'Trianer'. Did you mean: 'Trainer'?")


def test_an_error_of_a_module_is_not_taken_for_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").write_text(
        "from macrograd._lazy import lazy\n__getattr__, __dir__ = lazy(__name__, {'one': 'a'})"
    )
    (tmp_path / "parts" / "two.py").write_text("import nowhere_at_all")
    (tmp_path / "parts" / "one.py").write_text("a = 1")
    program = "import parts; print(parts.a, *[hasattr(parts, name) for name in ('_b', 'b', 'b.c', '')]); parts.two"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert found.stdout.split() == ["1", *["False"] * 4]
    assert found.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'nowhere_at_all'"
