"""WebAssembly modules of macrograd's in wasmtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import wasmtime


class Module:
    """A module in wasmtime, without anything to import."""

    def __init__(self, path: Path) -> None:
        self.store = wasmtime.Store()
        made = wasmtime.Module(self.store.engine, path.read_bytes())
        assert made.imports == []
        self.exports = wasmtime.Instance(self.store, made, []).exports(self.store)
        self.heap = self.number("heap")
        text = path.with_suffix(".js").read_text("ascii")
        self.about = json.loads(text.partition("export const about = ")[2].partition("\n};")[0] + "\n}")
        self.dtype = np.dtype(self.about["real"])

    def number(self, name: str) -> int:
        return int(self.exports[name].value(self.store))

    def call(self, name: str, *args: Any) -> Any:
        return self.exports[name](self.store, *args)

    def put(self, address: int, numbers: Any) -> int:
        """Where the numbers end."""
        data = np.ascontiguousarray(numbers, self.dtype).tobytes()
        memory = self.exports["memory"]
        missing = address + len(data) + (1 << 20) - memory.data_len(self.store)
        if missing > 0:
            memory.grow(self.store, -(-missing // 65536))
        memory.write(self.store, data, address)
        return address + len(data)

    def get(self, address: int, count: int) -> Any:
        data = self.exports["memory"].read(self.store, address, address + count * self.dtype.itemsize)
        return np.frombuffer(bytes(data), self.dtype)

    def predict(self, rows: Any) -> Any:
        rows = np.asarray(rows, self.dtype).reshape(len(rows), -1)
        y = self.put(self.heap, rows)
        assert self.call("predict", self.heap, y, len(rows)) == 0
        return self.get(y, len(rows) * self.number("outputs")).reshape(len(rows), -1)

    def gradient(self, sample: Any, theta: Any = None) -> tuple[float, Any]:
        at = self.put(self.heap, sample)
        out = at if theta is None else self.put(at, theta)
        value = self.call("gradient", 0 if theta is None else at, self.heap, out)
        return value, self.get(out, self.number("parameter_count"))

    def steps(self, rows: Any, rate: float, count: int) -> list[float]:
        self.put(self.heap, rows)
        return [self.call("step", self.heap, len(rows), rate) for _ in range(count)]
