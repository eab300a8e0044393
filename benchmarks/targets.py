"""The targets of macrograd, and whether a run reached them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Rows = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Target:
    """One figure to reach.

    case      job/case
    what      the figure, in words
    measure   a case's rows by name → the figure; KeyError if a row is missing
    bound     the bound on it
    least     whether it is a lower bound; otherwise an upper one
    unit      "×", or "µs", "ms", "s", "MB", "bytes" if it is not a ratio
    """

    case: str
    what: str
    measure: Callable[[Rows], float]
    bound: float
    least: bool = True
    unit: str = "×"

    def reached(self, figure: float) -> bool:
        return figure >= self.bound if self.least else figure <= self.bound


def faster_than(peer: str, ours: str = "macrograd") -> Callable[[Rows], float]:
    return lambda rows: float(rows[peer]["median"] / rows[ours]["median"])


def of_floor(floor: str = "", ours: str = "macrograd") -> Callable[[Rows], float]:
    """Our time as a multiple of that floor's; of the fastest floor's if none is named."""

    def measure(rows: Rows) -> float:
        if floor:
            return float(rows[ours]["median"] / rows[floor]["median"])
        floors = [row["median"] for row in rows.values() if row["kind"] == "floor" and "median" in row]
        if not floors:
            raise KeyError("no floor")
        return float(rows[ours]["median"] / min(floors))

    return measure


def of_row(other: str, ours: str = "macrograd") -> Callable[[Rows], float]:
    return lambda rows: float(rows[ours]["median"] / rows[other]["median"])


def time(scale: float, ours: str = "macrograd") -> Callable[[Rows], float]:
    return lambda rows: float(rows[ours]["median"] * scale)


def ready(rows: Rows, ours: str = "macrograd-bound") -> float:
    """Seconds from the function to its first gradient; llvmlite's import is part of it."""
    return float(rows[ours]["setup"] + rows[ours]["first"])


def whole(ours: str) -> Callable[[Rows], float]:
    """Seconds of a whole run, of a row whose unit is a part of it."""
    return lambda rows: float(rows[ours]["median"] * rows[ours]["units"])


def bytes_a_unit(rows: Rows) -> float:
    """Memory beyond the imports' at its peak, by unit."""
    return float(rows["macrograd"]["job_mb"] * 1e6 / rows["macrograd"]["units"])


def built(rows: Rows) -> float:
    """Seconds of set-up, of a row that is ready after it."""
    return float(rows["macrograd"]["setup"])


def bytes_a_node(rows: Rows) -> float:
    return float(rows["macrograd"]["extra"]["bytes a node"])


def installed(rows: Rows) -> float:
    return float(str(rows["macrograd"]["extra"]["installed"]).split()[0].replace(",", ""))


def further(name: str, ours: str = "macrograd") -> Callable[[Rows], float]:
    """One of the further figures of a row."""
    return lambda rows: float(rows[ours]["extra"][name])


def accuracy_gap(rows: Rows) -> float:
    """The distance of macrograd's accuracy from PyTorch's, in percentage points."""
    return 100.0 * float(rows["macrograd"]["extra"]["accuracy"] - rows["torch"]["extra"]["accuracy"])


BOUND = "macrograd-bound"
PYTHON, CHECKPOINTS = "Python's share of the time, %", "the checkpoints' share of the time, %"

TARGETS = (
    Target("moons/step", "time of a step, in C floors", of_floor(), 1.5, least=False),
    Target("moons/step", "faster than JAX scan", faster_than("jax-scan"), 4.0),
    Target("moons/step", "faster than PyTorch", faster_than("torch"), 100.0),
    Target("moons/step", "faster than micrograd, collector off", faster_than("micrograd"), 15_000.0),
    Target("moons/gradient", "value_and_grad from Python, in bound calls", of_row(BOUND), 2.0, least=False),
    Target("demo/steps", "100 steps, native time", time(1e5), 1.0, least=False, unit="ms"),
    Target("demo/process", "process start to printed result, warm cache", time(1.0), 0.6, least=False, unit="s"),
    Target("digits/128/32", "faster than JAX scan", faster_than("jax-scan"), 1.3),
    Target("digits/128/200", "faster than JAX scan", faster_than("jax-scan"), 1.3),
    Target("digits/32/32", "faster than JAX scan", faster_than("jax-scan"), 1.3),
    Target(
        "mid/gradient", "time, bound, in NumPy's bare products", of_floor("numpy-products", BOUND), 1.3, least=False
    ),
    Target("wide/step", "faster than JAX scan", faster_than("jax-scan"), 1.6),
    Target("large/step", "faster than PyTorch, one thread", faster_than("torch"), 0.8),
    Target("large/step", "faster than PyTorch, two threads", faster_than("torch-2", "macrograd-2"), 0.8),
    Target("wide/step", "faster on two threads", faster_than("macrograd", "macrograd-2"), 1.7),
    Target("small/step", "a step of one sample", time(1e6), 0.4, least=False, unit="µs"),
    Target("many/batch-1", "a step of one net of 1,000", time(1e6), 0.12, least=False, unit="µs"),
    Target("many/batch-1", "faster than JAX vmap", faster_than("jax-vmap"), 6.0),
    Target("many/batch-1", "two threads, faster than one", faster_than("macrograd", "macrograd-2"), 1.8),
    Target("many/batch-32", "a step of one net of 1,000", time(1e6), 0.9, least=False, unit="µs"),
    Target("many/batch-32", "faster than JAX vmap", faster_than("jax-vmap"), 6.5),
    Target("many/batch-32", "two threads, faster than one", faster_than("macrograd", "macrograd-2"), 1.8),
    Target("many/digits", "faster than JAX vmap", faster_than("jax-vmap"), 5.0),
    Target("accuracy/128", "accuracy above PyTorch's", accuracy_gap, 0.0, unit="points"),
    Target("accuracy/32", "accuracy above PyTorch's", accuracy_gap, 0.0, unit="points"),
    Target("fit/moons", "time of a step inside fit, in C floors", of_floor(), 1.5, least=False),
    Target("fit/moons", "Python's share of an epoch", further(PYTHON), 2.0, least=False, unit="%"),
    Target("fit/digits", "Python's share of an epoch", further(PYTHON), 2.0, least=False, unit="%"),
    Target(
        "fit/moons",
        "a checkpoint every second costs",
        further(CHECKPOINTS, "macrograd-checkpoint"),
        2.0,
        least=False,
        unit="%",
    ),
    Target(
        "fit/digits",
        "a checkpoint every second costs",
        further(CHECKPOINTS, "macrograd-checkpoint"),
        2.0,
        least=False,
        unit="%",
    ),
    Target(
        "fit/long",
        "Ctrl-C to return, the worst of ten",
        further("worst answer, s", "macrograd-interrupted"),
        0.2,
        least=False,
        unit="s",
    ),
    Target("rosenbrock/1000", "a gradient, bound", time(1e6, "macrograd-bound"), 4.0, least=False, unit="µs"),
    Target("rosenbrock/1000", "a gradient, bound, in C floors", of_floor("c", BOUND), 2.0, least=False),
    Target("rosenbrock/1000", "ready", ready, 0.15, least=False, unit="s"),
    Target("lorenz/200", "time of a gradient, bound, in C floors", of_floor(ours=BOUND), 1.5, least=False),
    Target("lorenz/200", "ready", ready, 0.15, least=False, unit="s"),
    Target("lorenz/10000", "ready", ready, 2.0, least=False, unit="s"),
    Target(
        "kalman/recorded-50000", "written as a loop, in C floors", of_floor(ours="macrograd-loop"), 1.5, least=False
    ),
    Target("ready/kalman-50000", "written as a loop, ready", whole("macrograd-loop"), 0.2, least=False, unit="s"),
    Target("asian/greeks", "faster than JAX scan and vmap", faster_than("jax-scan"), 5.0),
    Target("asian/greeks", "ready", built, 0.1, least=False, unit="s"),
    Target("west/all", "compiled and run 10,000 times, in C loops", of_floor("c-tape"), 1.0, least=False),
    Target("gpt/names", "a token without padding, Adam included", time(1e6), 0.8, least=False, unit="µs"),
    Target("gpt/names", "in C floors", of_floor(), 1.1, least=False),
    Target("gpt/names", "ready", lambda rows: ready(rows, "macrograd"), 1.5, least=False, unit="s"),
    *(
        Target(f"irregular/{n}", "a gradient, bound, in C switch loops", of_floor("c", BOUND), 1.5, least=False)
        for n in (100, 1000, 10000, 100000)
    ),
    Target("start/new", "moons ready, a new program", time(1e3), 18.0, least=False, unit="ms"),
    Target("start/kept", "moons ready, from the cache", time(1e3), 15.0, least=False, unit="ms"),
    Target(
        "start/many", "1,000 nets, 1,000 steps of one sample, ready included", time(1.0), 0.25, least=False, unit="s"
    ),
    Target("one/predict", "a prediction", time(1e6), 1.0, least=False, unit="µs"),
    Target("one/predict", "a prediction, in C floors", of_floor(), 1.5, least=False),
    Target("export/moons", "the C file, in native steps", of_row("macrograd", "macrograd-c-file"), 1.5, least=False),
    Target("export/moons", "WebAssembly, in native steps", of_row("macrograd", "macrograd-wasm"), 4.0, least=False),
    Target("export/digits", "the C file, in native steps", of_row("macrograd", "macrograd-c-file"), 1.5, least=False),
    Target("export/digits", "WebAssembly, in native steps", of_row("macrograd", "macrograd-wasm"), 4.0, least=False),
    Target("ready/net-10000", "per recorded scalar", time(1e6), 5.0, least=False, unit="µs"),
    Target("ready/net-1000000", "per recorded scalar", time(1e6), 2.5, least=False, unit="µs"),
    Target("ready/net-1000000", "memory of a recorded scalar", bytes_a_unit, 150.0, least=False, unit="bytes"),
    Target("ready/loop-100000", "per recorded scalar", time(1e6), 5.0, least=False, unit="µs"),
    Target("ready/kalman-50000", "per recorded scalar of a recurrence", time(1e6), 4.0, least=False, unit="µs"),
    Target("ready/random-1000", "per recorded scalar, no pattern", time(1e6), 5.0, least=False, unit="µs"),
    Target("ready/random-100000", "per recorded scalar, no pattern", time(1e6), 5.0, least=False, unit="µs"),
    Target("tables/recipe", "share of tables with a better score than MLP's", further("share of sets above MLP"), 0.75),
    Target("tables/recipe", "time of all fits, in MLP's", further("time, in MLP's"), 1.0, least=False),
    Target("eager/net", "faster than micrograd as users run it", faster_than("micrograd-as-is"), 6.0),
    Target("eager/net", "faster than micrograd, collector off", faster_than("micrograd"), 1.3),
    Target("eager/net", "memory of one operation", bytes_a_node, 240.0, least=False, unit="bytes"),
    Target(
        "import/process",
        "import, beyond the start of the interpreter",
        lambda rows: float((rows["macrograd"]["median"] - rows["python"]["median"]) * 1e3),
        80.0,
        least=False,
        unit="ms",
    ),
    Target("import/process", "installed size, with requirements", installed, 200.0, least=False, unit="MB"),
)


def judged(cases: Mapping[str, Any]) -> list[tuple[Target, float | None, str]]:
    """Every target with its figure, or None and why there is none."""
    found: list[tuple[Target, float | None, str]] = []
    for target in TARGETS:
        if target.case not in cases:
            found.append((target, None, "not part of this run"))
            continue
        rows = {row["name"]: row for row in cases[target.case]["rows"]}
        try:
            found.append((target, target.measure(rows), ""))
        except KeyError:
            why = [f"{name}: {row['failed']}" for name, row in rows.items() if "failed" in row]
            found.append((target, None, "; ".join(why) or "a contender did not take part"))
    return found
