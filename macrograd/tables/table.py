"""`Table`: named columns from any source. Other files interpret their cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, time, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._dataclass import dataclass

Array = NDArray[Any]

_SPAN = "timedelta64[us]"
# Moments that had offsets from UTC where they come from, and bools with gaps. NumPy has no such types, but keeps notes
# beside its own.
_UTC = np.dtype("datetime64[s]", metadata={"utc": True})
_TRUTHS = np.dtype(np.float64, metadata={"truths": True})
_NAT = np.iinfo(np.int64).min  # as NumPy stores NaT


@dataclass(frozen=True)
class Table:
    """Columns of one length, in order.

    columns  by name: numbers or bools, NaN where missing (see `are_truths`); datetime64[s] (see `in_utc`) or
             timedelta64[us], NaT where missing; or objects, str and None
    name     the table's name in messages, such as a file name
    notes    in words, changes made while reading
    """

    columns: Mapping[str, Array]
    name: str = "the table"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.columns, Mapping):
            raise TypeError(f"Table(columns) takes a mapping of names to columns, got {self.columns!r}")
        if len({len(column) for column in self.columns.values()}) > 1:
            lengths = ", ".join(f"{name!r} {len(column)}" for name, column in list(self.columns.items())[:6])
            raise ValueError(f"the columns of {self.name} have different lengths: {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __repr__(self) -> str:
        return f"Table({self.name!r}: {len(self)} rows, columns {listed(list(self))})"

    def rows(self, chosen: Array) -> Table:
        """The rows at these places, or where this mask is true."""
        return Table({name: c[chosen] for name, c in self.columns.items()}, self.name, self.notes)


def listed(names: Sequence[Any], most: int = 20) -> str:
    """Names in quotes; of many, the first ones."""
    shown = ", ".join(repr(str(name)) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def is_frame(data: Any) -> bool:
    """Whether data are a table of pandas, polars or Arrow, or a mapping of columns."""
    return isinstance(data, (Table, Mapping)) or _library(data) != ""


def _library(data: Any) -> str:
    """The library that a table comes from, found by what it has: none of them is loaded for that."""
    root = type(data).__module__.split(".")[0]
    if root == "pandas" and hasattr(data, "iloc") and hasattr(data, "columns"):
        return "pandas"
    if root == "polars" and hasattr(type(data), "columns"):  # which a lazy frame would warn about, asked itself
        return "polars"
    if root == "pyarrow" and hasattr(data, "column_names"):
        return "pyarrow"
    return ""


def of(data: Any, name: str = "the table") -> Table:
    """A pandas, polars or Arrow table, or a mapping of columns, as a `Table`.

    pandas' index is left out, as it is when a net is given the frame. Raises TypeError for anything else, and
    ValueError for columns of different lengths and for names that stand twice.
    """
    if isinstance(data, Table):
        return data
    kind = _library(data)
    if kind == "polars" and hasattr(data, "collect"):
        data = data.collect()
    if kind == "pandas":
        names, columns = list(data.columns), [data.iloc[:, i] for i in range(data.shape[1])]
        arrays = [of_pandas(column) for column in columns]
    elif kind == "polars":
        names, arrays = list(data.columns), [of_polars(column) for column in data.get_columns()]
    elif kind == "pyarrow":
        names, arrays = list(data.column_names), [of_arrow(column) for column in data.columns]
    elif isinstance(data, Mapping):
        for column in data:
            if not hasattr(data[column], "__iter__") or isinstance(data[column], (str, bytes)):
                raise TypeError(f"{name}: column {column!r} is {data[column]!r}: give a list or an array of its cells")
        names, arrays = list(data), [of_values(column) for column in data.values()]
    else:
        raise TypeError(f"a table is one of pandas, polars or Arrow, or a mapping of columns; got a {_type(data)}")
    texts = [str(name) for name in names]
    found = dict(zip(texts, arrays, strict=True))
    if len(found) < len(texts):
        doubled = next(text for text, count in Counter(texts).items() if count > 1)
        raise ValueError(f"{name} has two columns named {doubled!r}: rename one")
    return Table(found, name)


def column_of(data: Any) -> Array:
    """A series of pandas or polars, an Arrow array, or anything else that is one column, as an array.

    Numbers keep their dtype, so that integers can be told from floats.
    """
    root = type(data).__module__.split(".")[0]
    if root == "pyarrow":
        return of_arrow(data)
    if root == "polars":
        return of_polars(data)
    if root == "pandas" and hasattr(data, "iloc") and getattr(data, "ndim", 1) == 1:
        return of_pandas(data)
    return of_values(data)


def of_pandas(column: Any) -> Array:
    """A pandas Series."""
    kind = getattr(column.dtype, "kind", "O")
    if kind in "iufb" and column.isna().any():  # a nullable type, or NaN
        numbers = np.asarray(column.to_numpy(dtype=np.float64, na_value=np.nan))
        return numbers.astype(_TRUTHS) if kind == "b" else numbers
    if kind in "iuf":
        return np.asarray(column.to_numpy())
    if kind == "b":
        return np.asarray(column.to_numpy(dtype=bool))
    if kind == "M":
        arrow = getattr(column.dtype, "pyarrow_dtype", None)
        if getattr(column.dtype if arrow is None else arrow, "tz", None) is not None:
            return np.asarray(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy()).astype(_UTC)
        return np.asarray(column.to_numpy()).astype("datetime64[s]")
    if kind == "m":
        return np.asarray(column.to_numpy()).astype(_SPAN)
    return of_values(column.astype(object).where(column.notna(), None).tolist())


def of_polars(column: Any) -> Array:
    """A polars Series."""
    if column.dtype.is_numeric() or str(column.dtype) == "Boolean":
        if column.null_count():
            numbers = np.array([np.nan if x is None else float(x) for x in column.to_list()])
            return numbers.astype(_TRUTHS) if str(column.dtype) == "Boolean" else numbers
        found = np.asarray(column.to_numpy())
        return found if found.dtype.kind in "iufb" else np.array([float(x) for x in column.to_list()])
    if str(column.dtype).startswith(("Datetime", "Date")):
        kind = "datetime64[s]" if getattr(column.dtype, "time_zone", None) is None else _UTC
        return np.array(column.dt.epoch("s").fill_null(_NAT).to_numpy()).astype("datetime64[s]").astype(kind)
    if str(column.dtype).startswith("Duration"):
        return np.array(column.dt.total_microseconds().fill_null(_NAT).to_numpy()).astype(_SPAN)
    return of_values(column.to_list())


def of_arrow(column: Any) -> Array:
    """An Arrow array or chunked array."""
    kind = str(column.type)
    if kind.startswith("dictionary"):
        column = column.cast(column.type.value_type)
        kind = str(column.type)
    if kind.startswith(("int", "uint", "float", "double", "halffloat", "bool")) and not column.null_count:
        return np.asarray(column.to_numpy(zero_copy_only=False) if _takes_copy(column) else column.to_numpy())
    return of_values(column.to_pylist())


def _takes_copy(column: Any) -> bool:
    return not hasattr(column, "chunks")  # chunked arrays always copy


def of_values(values: Any) -> Array:
    """A list or an array, as the kind of array that its values are.

    Numbers, bools, moments and durations become arrays of these; None among numbers becomes NaN; anything else becomes
    text.
    """
    array = values if isinstance(values, np.ndarray) else None
    if isinstance(array, np.ma.MaskedArray):
        return _of_masked(array)
    if array is not None and array.dtype.kind in "biuf":
        return array
    if array is not None and array.dtype.kind in "Mm":
        return array.astype("datetime64[s]" if array.dtype.kind == "M" else _SPAN)
    # A cell that holds several values, as in JSON, is text.
    items = [x.tolist() if isinstance(x, np.ndarray) else x for x in values]
    there = [x for x in items if x is not None and x == x]
    if there and all(isinstance(x, (bool, np.bool_)) for x in there):
        if len(there) == len(items):
            return np.array(items, dtype=bool)
        return np.array([np.nan if x is None or x != x else float(x) for x in items]).astype(_TRUTHS)
    if not there or all(hasattr(x, "__float__") and not isinstance(x, (str, bytes)) for x in there):
        if len(there) == len(items) and all(isinstance(x, (int, np.integer)) for x in there):
            return _integers(items)
        return np.array([np.nan if x is None or x != x else float(x) for x in items], dtype=np.float64)
    if all(hasattr(x, "isoformat") and hasattr(x, "year") for x in there):
        zoned = {getattr(x, "tzinfo", None) is not None for x in there}
        if len(zoned) == 1:
            return np.array([_moment(x) for x in items], dtype="datetime64[s]").astype(
                _UTC if zoned == {True} else "M8[s]"
            )
    # Workbooks have durations of less than a day as times.
    if all(isinstance(x, (timedelta, time)) for x in there) and any(isinstance(x, timedelta) for x in there):
        return np.array([_span(x) for x in items], dtype=_SPAN)
    found = np.empty(len(items), dtype=object)
    found[:] = [None if x is None or x != x else x if isinstance(x, str) else _text(x) for x in items]
    return found


def _integers(items: list[Any]) -> Array:
    try:
        return np.array(items, dtype=np.int64)
    except OverflowError:
        return np.array([float(x) for x in items], dtype=np.float64)


def _of_masked(array: Any) -> Array:
    """As DuckDB gives columns that may have gaps."""
    mask = np.ma.getmaskarray(array)
    if array.dtype.kind in "biuf":
        if not mask.any():
            return np.asarray(array.data)
        numbers = np.where(mask, np.nan, array.data.astype(np.float64))
        return numbers.astype(_TRUTHS) if array.dtype.kind == "b" else numbers
    if array.dtype.kind == "M":
        return np.where(mask, np.datetime64("NaT", "s"), array.data.astype("datetime64[s]"))
    if array.dtype.kind == "m":
        return np.where(mask, np.timedelta64("NaT", "us"), array.data.astype(_SPAN))
    return of_values([None if gone else x for x, gone in zip(array.data.tolist(), mask.tolist(), strict=True)])


def in_utc(column: Array) -> bool:
    """Whether a column of moments had offsets from UTC, or a time zone, where it comes from."""
    return column.dtype.metadata is not None and "utc" in column.dtype.metadata


def are_truths(column: Array) -> bool:
    """Whether a column has bools, or 0.0, 1.0 and NaN that were bools with gaps."""
    return column.dtype.kind == "b" or (column.dtype.metadata is not None and "truths" in column.dtype.metadata)


def utc(column: Array) -> Array:
    """A column of moments as one that had offsets from UTC."""
    return column.astype("datetime64[s]").astype(_UTC)


def _moment(x: Any) -> Any:
    if x is None or x != x:
        return np.datetime64("NaT", "s")
    if getattr(x, "tzinfo", None) is not None:
        x = x.astimezone(UTC).replace(tzinfo=None)
    return np.datetime64(x, "s")


def _span(x: Any) -> Any:
    if x is None or x != x:
        return np.timedelta64("NaT", "us")
    if isinstance(x, time):
        x = timedelta(hours=x.hour, minutes=x.minute, seconds=x.second, microseconds=x.microsecond)
    return np.timedelta64(x, "us")


def _text(x: Any) -> str:
    return x.decode("utf-8", "replace") if isinstance(x, bytes) else str(x)


def _type(x: Any) -> str:
    return f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")


def needs_plan(data: Any) -> bool:
    """Whether a frame holds anything but finite numbers, so that a net needs a `Plan` for it."""
    for column in of(data).columns.values():
        if column.dtype.kind not in "biuf" or (column.dtype.kind == "f" and np.isnan(column).any()):
            return True
    return False
