"""The results of a sweep, saved to disk as they arrive: a run that is killed at any moment loses none."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from macrograd import _files
from macrograd.tuning.trial import Outcome, Trial

_HEAD, _RESULTS = "sweep.json", "results.jsonl"


class Ledger:
    """A folder with the description of the sweep and one line for each result, on disk before the next one.

    Raises ValueError for the folder of another sweep, naming the difference, and for a damaged one.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        head = folder / _HEAD
        identity = json.loads(json.dumps(identity))
        if head.exists():
            self._check(head, identity)
        else:
            _files.write_whole(head, json.dumps(identity, indent=1).encode())
        self.known = self._read()
        self._file = open(folder / _RESULTS, "ab")  # noqa: SIM115 - closed by `close`

    def _check(self, head: Path, identity: Mapping[str, Any]) -> None:
        try:
            before = json.loads(head.read_text("utf-8"))
            differing = [name for name in identity if before.get(name) != identity[name]]
        except (ValueError, AttributeError):
            raise ValueError(f"{head} is damaged: it does not describe a sweep") from None
        if differing:
            name = differing[0]
            was = f"its {name} was {before.get(name)!r}, now it is {identity[name]!r}"
            if name == "data":  # a checksum, which says nothing
                was = "its data were others"
            raise ValueError(f"{self.folder} holds another sweep: {was}; give another folder, or remove this one")

    def _read(self) -> dict[tuple[int, int, int, int], Outcome]:
        path = self.folder / _RESULTS
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):  # the run was killed while it wrote the last line
            with open(path, "r+b") as file:
                file.truncate(len(whole))
        found = {}
        for number, line in enumerate(whole.decode("utf-8", "replace").splitlines(), 1):
            try:
                row = json.loads(line)
                trial = Trial(row["config"], row["rung"], row["fold"], row["seed"], row["epochs"])
                score = math.nan if row["score"] is None else float(row["score"])
                found[trial.key] = Outcome(trial, score, float(row["seconds"]), str(row["error"]))
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is damaged in line {number} ({error!r}): remove the line") from None
        return found

    def add(self, outcomes: Sequence[Outcome]) -> None:
        """Save results: they are on disk when this returns."""
        for outcome in outcomes:
            self.known[outcome.trial.key] = outcome
            score = outcome.score if math.isfinite(outcome.score) else None
            row = {**vars(outcome.trial), "score": score, "seconds": outcome.seconds, "error": outcome.error}
            self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


class Memory:
    """The same without a folder."""

    def __init__(self) -> None:
        self.known: dict[tuple[int, int, int, int], Outcome] = {}

    def add(self, outcomes: Sequence[Outcome]) -> None:
        self.known |= {outcome.trial.key: outcome for outcome in outcomes}

    def close(self) -> None:
        pass


def missing(known: Mapping[tuple[int, int, int, int], Outcome], trials: Iterable[Trial]) -> list[Trial]:
    """The trials that have no result yet."""
    return [trial for trial in trials if trial.key not in known]
