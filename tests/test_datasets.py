"""Data sets: scikit-learn's bits for the same seed, macrograd's own sets, and CSV files with every way to be wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import macrograd as mg
from macrograd import datasets

REFERENCE = np.load(Path(__file__).parents[1] / "references" / "datasets.npz", allow_pickle=False)
CASES = [json.loads(str(case)) for case in REFERENCE["cases"]]


def same_sines() -> bool:
    """Whether NumPy's sine and cosine have the last bits here that they had where the reference was made.

    They come from the vector unit that NumPy finds; on another one scikit-learn's own data sets differ in the last bit
    too, and there is nothing to be bit-equal to.
    """
    angles = np.linspace(0, 2 * np.pi, 500)
    return np.array_equal(np.stack([np.sin(angles), np.cos(angles)]), REFERENCE["probe"])


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda i: f"{i}-{CASES[i][0]}")
def test_the_bits_of_scikit_learn(number: int) -> None:
    name, arguments = CASES[number]
    X, y = getattr(datasets, name)(**arguments)
    expected = REFERENCE[f"X{number}"]
    assert X.dtype == np.float64
    assert X.shape == expected.shape
    if same_sines() or name == "make_blobs":  # blobs have no sines in them
        assert X.tobytes() == np.ascontiguousarray(expected).tobytes()
    else:
        np.testing.assert_allclose(X, expected, rtol=0, atol=4 * np.finfo(float).eps)
    assert y.dtype == np.int64
    np.testing.assert_array_equal(y, REFERENCE[f"y{number}"])


def test_the_reference_has_every_function_of_scikit_learn() -> None:
    assert {name for name, _ in CASES} == {"make_moons", "make_circles", "make_blobs"}


@pytest.mark.parametrize("make", ["make_moons", "make_circles", "make_blobs", "make_spirals", "make_xor"])
def test_a_seed_means_the_same_samples_and_leaves_the_global_generator_alone(make: str) -> None:
    function = getattr(mg.datasets, make)
    before = np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]  # a tuple in the legacy form
    X, y = function(60, seed=3)
    again, labels = function(60, seed=3)
    other, _ = function(60, seed=4)
    assert X.tobytes() == again.tobytes()
    assert y.tobytes() == labels.tobytes()
    assert X.tobytes() != other.tobytes()
    assert X.shape == (60, 2)
    assert y.shape == (60,)
    assert np.random.get_state()[1].tobytes() == before  # type: ignore[index, union-attr]  # as above


@given(n=st.integers(1, 200), arms=st.integers(1, 6), turns=st.floats(0.1, 4))
def test_spirals_lie_on_their_arms(n: int, arms: int, turns: float) -> None:
    X, y = datasets.make_spirals(n, arms=arms, turns=turns, seed=1)
    radius = np.hypot(X[:, 0], X[:, 1])
    angle = 2 * np.pi * (turns * (radius - 0.1) / 0.9 + y / arms)
    np.testing.assert_allclose(X, np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1), atol=1e-9)
    counts = np.bincount(y, minlength=arms)
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


def test_spirals_are_shuffled_unless_asked_not_to_be() -> None:
    assert np.any(np.diff(datasets.make_spirals(50)[1]) < 0)
    assert np.all(np.diff(datasets.make_spirals(50, shuffle=False)[1]) >= 0)


def test_xor_is_the_exclusive_or_of_the_signs() -> None:
    X, y = datasets.make_xor(500, seed=2)
    assert np.abs(X).max() <= 1
    np.testing.assert_array_equal(y, (X[:, 0] * X[:, 1] < 0).astype(int))
    noisy, labels = datasets.make_xor(500, noise=0.1, seed=2)
    np.testing.assert_array_equal(labels, y)
    assert 0.08 < (noisy - X).std() < 0.12


WRONG: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: datasets.make_moons(0), ValueError, "make_moons() needs n_samples of at least 1, got 0"),
    (
        lambda: datasets.make_moons(2.5),  # type: ignore[arg-type]  # what is tested
        TypeError,
        "make_moons() needs n_samples as a whole number or a sequence of them, got 2.5",
    ),
    (
        lambda: datasets.make_moons((1, 2, 3)),  # type: ignore[arg-type]  # what is tested
        ValueError,
        "make_moons() makes two classes: n_samples is one number or two, got 3 numbers",
    ),
    (
        lambda: datasets.make_moons((1, 2.5)),  # type: ignore[arg-type]  # what is tested
        TypeError,
        "make_moons() needs n_samples as a whole number, got 2.5",
    ),
    (
        lambda: datasets.make_moons(noise=-0.1),
        ValueError,
        "make_moons() needs a noise of 0 or more (a standard deviation), got -0.1",
    ),
    (
        lambda: datasets.make_xor(noise=float("nan")),
        ValueError,
        "make_xor() needs a noise of 0 or more (a standard deviation), got nan",
    ),
    (lambda: datasets.make_moons(seed=-1), ValueError, "make_moons() needs seed of at least 0, got -1"),
    (
        lambda: datasets.make_xor(seed=2**32),
        ValueError,
        "make_xor() needs a seed below 2**32 (the legacy generator takes no more), got 4294967296",
    ),
    (
        lambda: datasets.make_moons(seed=None),  # type: ignore[arg-type]  # what is tested
        TypeError,
        "make_moons() needs seed as a whole number, got None",
    ),
    (
        lambda: datasets.make_circles(factor=1.0),
        ValueError,
        "make_circles() needs a factor from 0 up to, but not including, 1; got 1.0",
    ),
    (lambda: datasets.make_spirals(arms=0), ValueError, "make_spirals() needs arms of at least 1, got 0"),
    (lambda: datasets.make_blobs(centers=0), ValueError, "make_blobs() needs centers of at least 1, got 0"),
    (lambda: datasets.make_blobs(10, 0), ValueError, "make_blobs() needs n_features of at least 1, got 0"),
    (
        lambda: datasets.make_blobs(centers=[1.0, 2.0]),
        ValueError,
        "make_blobs() needs centers as a number or of shape (k, features), got (2,)",
    ),
    (
        lambda: datasets.make_blobs([5, 5], centers=3),
        ValueError,
        "make_blobs() has 3 centers but 2 numbers in n_samples: give one per center",
    ),
    (
        lambda: datasets.make_blobs(cluster_std=[1.0]),
        ValueError,
        "make_blobs() has 3 centers but 1 numbers in cluster_std: give one per center",
    ),
    (
        lambda: datasets.make_blobs(cluster_std=-1.0),
        ValueError,
        "make_blobs() needs cluster_std of 0 or more, got -1.0",
    ),
    (
        lambda: datasets.make_blobs(None),  # type: ignore[arg-type]  # what is tested
        TypeError,
        "make_blobs() needs n_samples as a whole number or a sequence of them, got None",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[m for *_, m in WRONG])
def test_wrong_arguments_are_named(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == message


# --- CSV files -------------------------------------------------------------------------------------------------------


@pytest.fixture
def csv_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "data.csv"
        path.write_bytes(text.encode("utf-8"))
        return path

    return write


def test_text_classes(csv_file: Callable[[str], Path]) -> None:
    table = datasets.load_csv(csv_file("a,kind,b\n1,dog,2.5\n-3e2, cat ,4\n5,dog,6\n"), "kind")
    X, y = table
    np.testing.assert_array_equal(X, [[1, 2.5], [-300, 4], [5, 6]])
    np.testing.assert_array_equal(y, [1, 0, 1])
    assert X.dtype == np.float64
    assert y.dtype == np.int64
    assert table.classes == ("cat", "dog")
    assert table.features == ("a", "b")
    assert table.target == "kind"


def test_whole_numbers_are_classes_by_size_and_spelling_does_not_matter(csv_file: Callable[[str], Path]) -> None:
    table = datasets.load_csv(csv_file("a,y\n1,10\n2,9\n3,9.0\n"), "y")
    assert table.classes == ("9", "10")
    np.testing.assert_array_equal(table.y, [1, 0, 0])


def test_fractions_and_many_whole_numbers_are_a_number(csv_file: Callable[[str], Path]) -> None:
    assert datasets.load_csv(csv_file("a,y\n1,0.5\n2,1\n"), "y").classes is None
    path = csv_file("a,y\n" + "".join(f"0,{i}\n" for i in range(21)))
    table = datasets.load_csv(path, "y")
    assert table.classes is None
    np.testing.assert_array_equal(table.y, np.arange(21.0))
    forced = datasets.load_csv(path, "y", kind="classes").classes
    assert forced is not None
    assert len(forced) == 21
    assert datasets.load_csv(csv_file("a,y\n1,0\n2,1\n"), "y", kind="number").y.dtype == np.float64


def test_quotes_a_byte_order_mark_empty_lines_and_other_line_ends(csv_file: Callable[[str], Path]) -> None:
    path = csv_file('\ufeff"a","the ""y"""\r\n\r\n"1","x, and\ny"\r\n2,z\r\n')
    table = datasets.load_csv(path, 'the "y"')
    assert table.classes == ("x, and\ny", "z")
    np.testing.assert_array_equal(table.X, [[1], [2]])
    semicolons = datasets.load_csv(csv_file("a;y\n1;p\n2;q\n"), "y", delimiter=";")
    np.testing.assert_array_equal(semicolons.X, [[1], [2]])


@given(
    rows=st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.floats(-1e9, 1e9)), min_size=2, max_size=30
    ).filter(lambda rows: len({t for _, t in rows}) > 1)
)
def test_numbers_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[float, float]]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text("x,t\n" + "".join(f"{x!r},{t!r}\n" for x, t in rows))
    X, y = datasets.load_csv(path, "t", kind="number")
    assert X[:, 0].tobytes() == np.array([x for x, _ in rows]).tobytes()
    assert y.tobytes() == np.array([t for _, t in rows]).tobytes()


BAD_FILES = {
    "": "data.csv is empty: it needs a header line with the names of the columns, and rows below it",
    "\n\n": "data.csv is empty: it needs a header line with the names of the columns, and rows below it",
    "a,b\n1,2\n": "data.csv has no column 'y', it has 'a', 'b'",
    "a,Y\n1,2\n": "data.csv has no column 'y', it has 'a', 'Y'",
    "a,yy\n1,2\n": "data.csv has no column 'y', it has 'a', 'yy'; did you mean 'yy'?",
    "1.5,2\n3,4\n": (
        "data.csv has no column 'y', it has '1.5', '2'; its first line holds numbers only: is the header missing?"
    ),
    "a,y,a\n1,2,3\n": "data.csv has two columns named 'a': rename one",
    "y\n1\n2\n": "data.csv has the target column 'y' only: there must be features to learn from",
    "a,y\n": "data.csv has no rows below the header: learning needs at least 2",
    "a,y\n1,2\n": "data.csv has only 1 row below the header: learning needs at least 2",
    "a,y\n1,2\n3,2\n": (
        "data.csv: the target 'y' is '2' in all 2 rows, so there is nothing to tell apart: choose another target "
        "column, or add rows of another class"
    ),
    "a,y\n1,2\n3,2.0\n": "data.csv: the target 'y' has the single class '2'",
    "a,y\n1,2\n\n3\n": "data.csv, row 2 (line 4) has 1 cell, the header has 2",
    "a,y\n1,2\n3,4,5\n": "data.csv, row 2 (line 3) has 3 cells, the header has 2",
    "a,y\n1,2\nred,4\n": (
        "data.csv, row 2 (line 3), column 'a': 'red' is not a number; take the column out or write its text as numbers"
    ),
    "a,y\n1_000,2\n3,4\n": (
        "data.csv, row 1 (line 2), column 'a': '1_000' is not a number; "
        "take the column out or write its text as numbers"
    ),
    "a,y\n1,2\n ,4\n": "data.csv, row 2 (line 3), column 'a': the cell is empty; fill it or take the row out",
    "a,y\n1,2\nNaN,4\n": "data.csv, row 2 (line 3), column 'a': 'NaN' is not a finite number; take the row out",
    "a,y\n1,2\n-inf,4\n": "data.csv, row 2 (line 3), column 'a': '-inf' is not a finite number; take the row out",
    "a,y\n1,2\n3, \n": (
        "data.csv, row 2 (line 3), column 'y': the cell is empty; give the row a target or take it out"
    ),
    "a,y\n1,2.5\n3,lots\n": (
        "data.csv, row 2 (line 3), column 'y': 'lots' is not a number; take the column out or write its text as numbers"
    ),
    "a,y\n1,2.5\n3,nan\n": "data.csv, row 2 (line 3), column 'y': 'nan' is not a finite number; take the row out",
    'a,y\n1,"2\n': "data.csv is not a CSV file: unexpected end of data",
}


@pytest.mark.parametrize(("text", "message"), BAD_FILES.items(), ids=lambda s: repr(s)[:40])
def test_bad_files_are_explained(csv_file: Callable[[str], Path], text: str, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared below
        datasets.load_csv(csv_file(text), "y")
    assert str(caught.value) == message


def test_a_long_list_of_columns_is_cut(csv_file: Callable[[str], Path]) -> None:
    with pytest.raises(ValueError, match=r"it has 'c0', .*, 'c19' and 5 more$"):
        datasets.load_csv(csv_file(",".join(f"c{i}" for i in range(25)) + "\n"), "target")


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(b"a,y\n\xff\xfe,1\n")
    with pytest.raises(ValueError, match=r"^data\.csv is not a text file in UTF-8: .*0xff"):
        datasets.load_csv(path, "y")
    with pytest.raises(FileNotFoundError):
        datasets.load_csv(tmp_path / "none.csv", "y")


def test_an_unknown_kind() -> None:
    with pytest.raises(ValueError, match=r"^load_csv\(\) has the kinds 'auto', 'classes' and 'number', got 'text'$"):
        datasets.load_csv("x.csv", "y", kind="text")  # type: ignore[arg-type]  # what is tested
