"""Peers that say what an echo of an array could take: they do nothing else.

`shm` is what no library can beat that gives each side an array of its own: two processes that copy
into shared memory and out of it, by hand, and wake each other by a byte. `inline` is pipeproxy
without shared memory.
"""

from __future__ import annotations

import mmap
import os
import struct
import warnings
from collections.abc import Sequence
from multiprocessing.process import BaseProcess
from typing import Any

from pipeproxy._system import _buffers

from .peers import Callee, PipeProxy

#: The largest array that is echoed.
_MOST = 64 << 20
_size = struct.Struct("<Q")


class Echoing:
    """Only the method of that name."""

    def __init__(self, echo: Any) -> None:
        self.echo = echo


class Shm:
    def __init__(self, clients: int) -> None:
        self._there, self._back = (mmap.mmap(-1, _MOST) for _ in range(2))
        for memory in (self._there, self._back):
            memory[:] = b"\1" * _MOST  # so that both echo into pages that are there
        self._asks, self._answers = os.pipe(), os.pipe()

    def connect(self, number: int) -> Any:
        import numpy as np

        there, back = (np.frombuffer(memory, "f8") for memory in (self._there, self._back))
        os.close(self._asks[0])
        os.close(self._answers[1])

        def echo(array: Any) -> Any:
            there[: array.size] = array
            os.write(self._asks[1], _size.pack(array.size))
            os.read(self._answers[0], 1)
            return back[: array.size].copy()

        return Echoing(echo)

    def serve(self, clients: Sequence[BaseProcess]) -> None:
        import numpy as np

        there, back = (np.frombuffer(memory, "f8") for memory in (self._there, self._back))
        os.close(self._asks[1])
        os.close(self._answers[0])
        while asked := os.read(self._asks[0], _size.size):
            (size,) = _size.unpack(asked)
            own = there[:size].copy()
            back[:size] = own
            os.write(self._answers[1], b".")
        for client in clients:
            client.join()

    def total(self) -> int:
        return -1  # it does not count

    def close(self) -> None:
        """The process ends with the measurement, and its memory with it."""


class InLine(PipeProxy):
    """The same, where there is no shared memory to be had."""

    def connect(self, number: int) -> Callee:
        def refuse(*args: Any) -> Any:
            raise OSError("it is not to be used")

        warnings.simplefilter("ignore", RuntimeWarning)
        _buffers.make = refuse  # type: ignore[assignment]
        return super().connect(number)
