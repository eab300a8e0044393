"""What the processes of a sweep send each other through the pipes between them.

What all of them need is pickled once, with large arrays in a file that they map into memory.
"""

from __future__ import annotations

import importlib
import io
import mmap
import os
import pickle
import sys
import tempfile
from typing import IO, Any

from macrograd._extras import installing

_LARGE = 1 << 20  # bytes of an array that is worth a file
_ALIGNED = 64  # bytes: where arrays begin in the file
_BEGIN = b"\0macrograd: a process of a sweep\0"
_LENGTH = 8  # bytes that tell the length of a message


def begin(stream: IO[bytes]) -> None:
    """Say that what follows is for the other process: until now, the interpreter's start may have printed something."""
    stream.write(_BEGIN)
    stream.flush()


def begun(stream: IO[bytes]) -> None:
    """Wait until the other process says `begin`; what it printed before goes to standard error. Raises EOFError if it
    ended instead."""
    found = bytearray()
    while not found.endswith(_BEGIN):
        if not (one := stream.read(1)):
            break
        found += one
    if printed := found.removesuffix(_BEGIN):
        print(printed.decode(errors="replace"), end="", file=sys.stderr)
    if len(printed) == len(found):
        raise EOFError("the other process ended")


def put(stream: IO[bytes], thing: Any) -> None:
    """Send an object. Raises what pickle does for one that cannot be sent, with nothing sent."""
    _put(stream, pickle.dumps(thing))


def got(stream: IO[bytes]) -> Any:
    """The next object. Raises EOFError if the other process is gone."""
    return pickle.loads(_got(stream))  # noqa: S301 - from a process of this sweep


def _put(stream: IO[bytes], message: bytes) -> None:
    stream.write(len(message).to_bytes(_LENGTH, "little"))
    stream.write(message)
    stream.flush()


def _got(stream: IO[bytes]) -> bytes:
    head = stream.read(_LENGTH)
    found = stream.read(int.from_bytes(head, "little"))
    if len(head) < _LENGTH or len(found) < int.from_bytes(head, "little"):
        raise EOFError("the other process ended")
    return found


class Parcel:
    """A pickled object, to be sent to any number of processes.

    descriptors  of the files that these must inherit

    Raises TypeError for an object that cannot be pickled, ImportError if that takes a library that is missing.
    """

    def __init__(self, thing: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []

        def stays(buffer: pickle.PickleBuffer) -> bool:
            if os.name != "posix" or buffer.raw().nbytes < _LARGE:
                return True
            buffers.append(buffer)
            return False

        try:
            self._content = _importable(thing, stays)
        except Exception:  # noqa: BLE001 - pickle raises nearly anything for functions without a name
            buffers.clear()
            self._content = _by_value(thing, stays)
        self._sizes = [buffer.raw().nbytes for buffer in buffers]
        self._file = tempfile.TemporaryFile() if buffers else None  # noqa: SIM115 - closed by `close`
        self.descriptors: tuple[int, ...] = ()
        if self._file is not None:
            for buffer in buffers:
                self._file.write(buffer.raw())
                self._file.write(bytes(-buffer.raw().nbytes % _ALIGNED))
            self._file.flush()
            self.descriptors = (self._file.fileno(),)

    def send(self, stream: IO[bytes]) -> None:
        """Send it to a process, which unpacks it with `received`."""
        put(stream, (self.descriptors, self._sizes))
        _put(stream, self._content)

    def close(self) -> None:
        """Remove its file. Processes that have received it keep their arrays."""
        if self._file is not None:
            self._file.close()


def received(stream: IO[bytes]) -> tuple[bytes, list[memoryview]]:
    """A parcel from `Parcel.send`, still packed."""
    descriptors, sizes = got(stream)
    content, buffers, at = _got(stream), [], 0
    if descriptors:
        whole = memoryview(mmap.mmap(descriptors[0], 0, access=mmap.ACCESS_READ))
        for size in sizes:
            buffers.append(whole[at : at + size])
            at += size + -size % _ALIGNED
    return content, buffers


def unpacked(content: bytes, buffers: list[memoryview]) -> Any:
    """The object in a parcel; its large arrays are read-only."""
    return pickle.loads(content, buffers=buffers)  # noqa: S301 - from a process of this sweep


def sendable(error: BaseException) -> BaseException:
    """The error, or its words if it is of a kind that cannot be sent."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - nearly anything
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


class _Importable(pickle.Pickler):
    """Refuses what belongs to the program itself, which other processes cannot import."""

    def reducer_override(self, thing: Any) -> Any:
        if getattr(thing, "__module__", None) == "__main__":
            raise pickle.PicklingError("of the program itself")
        return NotImplemented


def _importable(thing: Any, stays: Any) -> bytes:
    content = io.BytesIO()
    _Importable(content, 5, buffer_callback=stays).dump(thing)
    return content.getvalue()


def _by_value(thing: Any, stays: Any) -> bytes:
    """Pickled with the code of functions that have no importable name."""
    for name in ("cloudpickle", "joblib.externals.cloudpickle"):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        try:
            return bytes(library.dumps(thing, protocol=5, buffer_callback=stays))
        except Exception as error:
            raise TypeError(f"make and the data are sent to other processes, but cannot be pickled: {error}") from error
    raise ImportError(
        f"make is not defined in a module that other processes can import; joblib can send it: {installing('sweep')}"
    )
