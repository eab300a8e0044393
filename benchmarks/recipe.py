"""The estimators' recipe beside scikit-learn's nets, on twenty tables and ten splits of each.

    python -m benchmarks.recipe                       all twenty, and the table for docs/sklearn.md
    python -m benchmarks.recipe --sets vehicle,wine --splits 3 --json new.json
    python -m benchmarks.recipe --choose              the other sets, on which the recipe was tuned
    python -m benchmarks.recipe --with realmlp        pytabkit's RealMLP-TD-S as well, where it is installed

Every contender trains on the same three quarters of the rows and is scored on the rest: accuracy, or R². All run in one
process on one core, one after the other on every split, so that other load affects all of them; times are CPU seconds
of fit and predict together. The cache of compiled code is empty when a run begins: the first fit of a shape compiles
it, and counts, as does better code that is compiled in the background.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import mean, median
from time import process_time, thread_time
from typing import Any

from benchmarks import machine, sets
from benchmarks.files import write

SPLITS = 10
Make = Callable[[bool, int], Any]


def ours(number: bool, seed: int, **options: Any) -> Any:
    from macrograd.sklearn import NetClassifier, NetRegressor

    return (NetRegressor if number else NetClassifier)(random_state=seed, **options)


def mlp(number: bool, seed: int) -> Any:
    from sklearn.neural_network import MLPClassifier, MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), (MLPRegressor if number else MLPClassifier)(random_state=seed))


def realmlp(number: bool, seed: int) -> Any:
    from pytabkit import RealMLP_TD_S_Classifier, RealMLP_TD_S_Regressor

    kind = RealMLP_TD_S_Regressor if number else RealMLP_TD_S_Classifier
    return kind(random_state=seed, device="cpu", n_threads=1, verbosity=0)


CONTENDERS: dict[str, Make] = {"macrograd": ours, "MLP": mlp, "realmlp": realmlp}


def split(found: sets.Set, seed: int) -> list[Any]:
    from sklearn.model_selection import train_test_split

    return train_test_split(found.X, found.y, random_state=seed, stratify=None if found.number else found.y)


def measure(name: str, splits: range, contenders: dict[str, Make]) -> dict[str, Any]:
    """The scores and seconds of each split, by contender."""
    from sklearn.metrics import accuracy_score, r2_score

    found = sets.load(name)
    rows: dict[str, Any] = {who: {"scores": [], "seconds": []} for who in contenders}
    for make in contenders.values():
        make(found.number, 0)  # loads its libraries, which take seconds and are nobody's
    begun_at = process_time()
    for seed in splits:
        X, X_test, y, y_test = split(found, seed)
        for who, make in contenders.items():
            net = make(found.number, seed)
            clock = process_time if who == "realmlp" else thread_time  # PyTorch has threads besides
            begun = clock()
            answers = net.fit(X, y).predict(X_test)
            rows[who]["seconds"].append(clock() - begun)
            rows[who]["scores"].append(float((r2_score if found.number else accuracy_score)(y_test, answers)))
        # Better code is compiled in the background for us: CPU time of the process outside the fits counts as ours.
        everything, begun_at = process_time() - begun_at, process_time()
        rows["macrograd"]["seconds"][-1] += everything - sum(row["seconds"][-1] for row in rows.values())
    return {"rows": found.X.shape[0], "columns": found.X.shape[1], "number": found.number, "contenders": rows}


def shown(name: str, entry: dict[str, Any]) -> str:
    """A line of the table: each contender's mean score, seconds, and our time relative to it."""
    rows = entry["contenders"]
    first = next(iter(rows))
    cells = [f"{name} ({entry['rows']} × {entry['columns']})"]
    cells += [f"{mean(row['scores']):.4f}" for row in rows.values()]
    for who, row in rows.items():
        if who != first:
            ratios = [a / b for a, b in zip(rows[first]["seconds"], row["seconds"], strict=True)]
            cells.append(f"{median(ratios):.2f} (sum {sum(rows[first]['seconds']) / sum(row['seconds']):.2f})")
    return f"| {' | '.join(cells)} |"


def summary(entries: dict[str, Any]) -> str:
    """The number of sets on which the first contender scored higher than each other one, and was faster."""
    lines = []
    first, *others = next(iter(entries.values()))["contenders"]
    for other in others:
        pairs = [(entry["contenders"][first], entry["contenders"][other]) for entry in entries.values()]
        above = sum(mean(a["scores"]) > mean(b["scores"]) for a, b in pairs)
        faster = sum(median(a["seconds"]) < median(b["seconds"]) for a, b in pairs)
        ours, theirs = (sum(sum(pair[k]["seconds"]) for pair in pairs) for k in (0, 1))
        difference = mean(mean(a["scores"]) - mean(b["scores"]) for a, b in pairs)
        lines.append(
            f"{first} is above {other} on {above} of {len(pairs)} sets (by {difference:+.4f} in the mean), faster on "
            f"{faster}; all splits together took {ours:.1f} and {theirs:.1f} s"
        )
    return "\n".join(lines)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe", description=__doc__.splitlines()[0])
    parser.add_argument("--sets", metavar="NAMES", help="comma-separated; all twenty by default")
    parser.add_argument("--choose", action="store_true", help="the sets by which the recipe's numbers were chosen")
    parser.add_argument("--splits", type=int, default=SPLITS, metavar="N", help=f"how many ({SPLITS})")
    parser.add_argument("--with", dest="peers", default="", metavar="NAMES", help="more contenders: realmlp")
    parser.add_argument(
        "--variant", action="append", default=[], metavar="JSON", help="parameters of ours as one more contender"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all scores and times there, set by set")
    parser.add_argument("--core", type=int, help="the core to pin to; the last one by default")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = arguments(argv)
    machine.pin(machine.last_core() if options.core is None else options.core)
    names = list(sets.CHOSEN_BY if options.choose else sets.REPORTED)
    names = options.sets.split(",") if options.sets else names
    peers = [name for name in options.peers.split(",") if name]
    contenders = {who: CONTENDERS[who] for who in ("macrograd", "MLP", *peers)}
    contenders |= {text: partial(ours, **json.loads(text)) for text in options.variant}
    entries: dict[str, Any] = {}
    others = [f"time / {who}'s" for who in contenders if who != "macrograd"]
    heads = ["set", *contenders, *others]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)
    for name in names:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the peers say that they have not converged, on most sets
            entries[name] = measure(name, range(options.splits), contenders)
        print(shown(name, entries[name]), flush=True)
        if options.json:
            write(options.json, json.dumps(entries, indent=1))
    print(summary(entries))
    return 0


if __name__ == "__main__":
    # One thread for all libraries, and an empty cache of compiled code: both are read when they are loaded.
    if "MACROGRAD_RECIPE" in os.environ:
        sys.exit(main())
    with tempfile.TemporaryDirectory() as cache:
        threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
        environment = os.environ | threads | {"MACROGRAD_CACHE": cache, "MACROGRAD_RECIPE": "1"}
        again = [sys.executable, "-m", "benchmarks.recipe", *sys.argv[1:]]
        sys.exit(subprocess.run(again, env=environment).returncode)
