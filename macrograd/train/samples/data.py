"""Samples from any array-like, checked before work begins, and read block by block if they are larger than memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from macrograd._numbers import check_unmasked

_BLOCK_BYTES = 1 << 24
_MOST = int(np.finfo(np.float64).max)


class Samples:
    """Rows of finite numbers, all of the same shape.

    count     the number of rows
    shape     the shape of one row, and `columns` the names of its numbers, if a data frame has them
    streamed  whether the rows are read when needed, since they stay on disk (`in_file`: memory-mapped or chunked files)
              or, in a subclass, elsewhere
    """

    def __init__(self, data: Any, *, name: str = "X", dtype: str = "float64") -> None:
        self.name, self.dtype = name, np.dtype(dtype)
        self._scale: tuple[NDArray[Any], NDArray[Any]] | None = None  # for data in a file
        self.columns = [str(c) for c in data.columns] if hasattr(data, "columns") else None
        self._data: Any = data if _stays(data) else _array(data, name)
        self.streamed = self.in_file = self._data is data and _stays(data)
        kind = np.dtype(self._data.dtype).kind
        if kind not in "biuf":
            raise TypeError(f"{name} must hold real numbers, got dtype {self._data.dtype}")
        if not self._data.ndim if hasattr(self._data, "ndim") else not self._data.shape:
            raise ValueError(f"{name} is a single number: it must hold samples, one per row")
        self.count, self.shape = int(self._data.shape[0]), tuple(int(n) for n in self._data.shape[1:])
        if not self.count:
            raise ValueError(f"{name} is empty (shape {tuple(self._data.shape)}): give at least one sample")
        self._check_finite()
        if not self.streamed:
            self._data = np.ascontiguousarray(self._data, dtype=self.dtype)

    def scaled(self, middle: Sequence[float], unit: Sequence[float]) -> Samples:
        """The same rows as (x − middle) / unit, one number for each column or one for all; those of a file are scaled
        as they are read."""
        found = object.__new__(Samples)
        found.__dict__.update(self.__dict__)
        if self.streamed:
            found._scale = np.array(middle), np.array(unit)
        else:
            found._data = _apart(self._data, np.array(middle), np.array(unit))
        return found

    def __len__(self) -> int:
        return self.count

    @property
    def block(self) -> int:
        """The number of rows in a block of a convenient size."""
        return max(1, min(self.count, _BLOCK_BYTES // (self.dtype.itemsize * max(1, int(np.prod(self.shape))))))

    def array(self) -> NDArray[Any]:
        """All rows in memory. Not for streamed data."""
        assert not self.streamed
        found: NDArray[Any] = self._data
        return found

    def whole(self) -> NDArray[Any]:
        """All rows in memory, also of streamed data."""
        return self.rows(np.arange(self.count)) if self.streamed else self.array()

    def spread(self, most: int) -> NDArray[np.int64]:
        """The places of up to `most` rows, evenly spaced."""
        return np.linspace(0, self.count - 1, min(self.count, most)).astype(np.int64)

    def first(self) -> NDArray[Any]:
        """A row."""
        row: NDArray[Any] = next(self.blocks(1))[1][0]
        return row

    def examples(self, most: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """(places, rows) of up to `most` rows."""
        places = self.spread(most)
        return places, self.rows(places)

    def subset(self, rows: NDArray[np.int64]) -> Samples:
        """Some of the rows, copied."""
        found = object.__new__(Samples)
        found.__dict__.update(self.__dict__, count=len(rows), streamed=False, in_file=False, _data=self.rows(rows))
        return found

    def rows(self, order: NDArray[np.int64]) -> NDArray[Any]:
        """The rows at these places, copied."""
        if not self.streamed:
            found: NDArray[Any] = self._data[order]
            return found
        # In the file's own order, each row once: that is how files are read fast, and the only way that HDF5 allows.
        places, back = np.unique(order, return_inverse=True)
        return self._read(places)[back.reshape(-1)]

    def blocks(self, size: int | None = None, which: range | None = None) -> Iterator[tuple[int, NDArray[Any]]]:
        """(first row, rows) of all blocks, in order, or only of those whose numbers are in `which`."""
        size = size or self.block
        for k in range(-(-self.count // size)) if which is None else which:
            first = k * size
            yield first, self._read(slice(first, first + size))

    def _read(self, where: Any) -> NDArray[Any]:
        if self._scale is None:
            return np.asarray(self._data[where], dtype=self.dtype)
        return _apart(np.asarray(self._data[where], dtype=self.dtype), *self._scale)

    def checksum(self, before: int = 0) -> int:
        """A checksum of all numbers (CRC-32), continued from that of rows `before` them."""
        found = before
        for _, block in self.blocks():
            found = zlib.crc32(np.ascontiguousarray(block).view(np.uint8).data, found)
        return found

    def _check_finite(self) -> None:
        if np.dtype(self._data.dtype).kind != "f":
            return
        block = max(1, _BLOCK_BYTES // (8 * max(1, int(np.prod(self.shape)))))
        for first in range(0, self.count, block):
            raw = np.asarray(self._data[first : first + block])
            with np.errstate(over="ignore"):  # too large for float32: reported as an infinity
                good = np.isfinite(raw.astype(self.dtype, copy=False))
            if good.all():
                continue
            place = np.argwhere(~good)[0]
            value, place[0] = raw[tuple(place)], place[0] + first
            where = ", ".join(str(i) for i in place.tolist())
            row = f"row {place[0]}"
            if len(place) == 2:
                column = int(place[1])
                row += f", column {column}"
                row += f" ({self.columns[column]!r})" if self.columns else ""
            elif len(place) > 2:
                row += f", at {tuple(place[1:].tolist())}"
            if np.isfinite(value):
                raise ValueError(
                    f"{self.name}[{where}] is {value}, in {row}: too large for {self.dtype.name}; scale the "
                    "data, or use dtype='float64'"
                )
            raise ValueError(
                f"{self.name}[{where}] is {value}, in {row}: samples must be finite; remove the row or fill in a number"
            )


def rows_of(data: Any, rows: NDArray[np.int64]) -> Any:
    """Some rows of an array, a list or a frame of pandas, polars or Arrow."""
    if hasattr(data, "iloc"):
        return data.iloc[rows]
    if hasattr(data, "take") and hasattr(data, "schema"):
        return data.take(rows)
    return data[rows] if hasattr(data, "shape") else np.asarray(data)[rows]


def _apart(rows: NDArray[Any], middle: NDArray[Any], unit: NDArray[Any]) -> NDArray[Any]:
    with np.errstate(over="ignore"):  # an infinity, which is searched for if it makes the loss infinite
        found: NDArray[Any] = ((rows - middle) / unit).astype(rows.dtype)
    return found


def _stays(data: Any) -> bool:
    """Whether the data stay in their file: memory-mapped arrays, and chunked ones such as HDF5's and Zarr's."""
    base = data
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap):
            return True
        base = base.base
    return not isinstance(data, np.ndarray) and all(
        hasattr(data, a) for a in ("chunks", "shape", "dtype", "__getitem__")
    )


def _array(data: Any, name: str) -> NDArray[Any]:
    if hasattr(data, "toarray"):
        raise TypeError(f"{name} is a sparse {type(data).__name__}: give the dense array, with {name}.toarray()")
    check_unmasked(name, data)
    try:
        array = np.asarray(data)
    except ValueError:  # ragged
        array = np.empty(len(data), dtype=object)
        array[:] = list(data)
    if array.dtype.kind in "OUS":
        # NumPy turns everything next to a string into strings: the caller's own list tells which it was.
        _explain(data if isinstance(data, (list, tuple)) else array.tolist(), getattr(data, "columns", None), name)
        try:
            array = np.asarray(array, dtype=np.float64)
        except OverflowError:
            place = next(place for place, x in np.ndenumerate(array) if isinstance(x, int) and abs(x) > _MOST)
            raise ValueError(f"{name}{list(place)} is an integer beyond the floats: scale the data") from None
    return array


def _explain(rows: Any, columns: Any, name: str) -> None:
    """Raise the error for data in which NumPy finds no numbers; return if they are numbers after all."""
    if not isinstance(rows, (list, tuple)):
        remedy = ": read a file with macrograd.tables.read(path)" if isinstance(rows, str) else ""
        raise TypeError(f"{name} must hold numbers, got {rows!r}{remedy}")
    lengths = [len(row) if _is_row(row) else None for row in rows]
    for i, length in enumerate(lengths):
        if length != lengths[0]:
            raise ValueError(
                f"row {i} of {name} has {_numbers(length)}, row 0 has {_numbers(lengths[0])}: "
                "all rows must have the same length"
            )
    for i, row in enumerate(rows):
        for j, value in enumerate(row if _is_row(row) else [row]):
            if not hasattr(value, "__float__") and not _is_row(value):
                where = f" ({str(columns[j])!r})" if columns is not None else ""
                raise TypeError(
                    f"{name} holds {value!r} in row {i}, column {j}{where}: samples must be numbers; encode strings as "
                    "numbers, for example one column per category"
                )


def _is_row(x: Any) -> bool:
    return hasattr(x, "__len__") and not isinstance(x, (str, bytes))


def _numbers(length: int | None) -> str:
    return "a single number" if length is None else f"{length} number{'' if length == 1 else 's'}"
