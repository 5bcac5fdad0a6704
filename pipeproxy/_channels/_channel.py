"""A channel: one client thread's own pipe to the owner, with its framing.

One class serves both ends. It turns bytes into frames and frames into bytes, and decides nothing:
whoever holds it asks for frames when its descriptor is readable, and learns of the end by EOFError.
What the pipe does not take at once waits here, so nobody ever sleeps in a write.
"""

from __future__ import annotations

from collections import deque
from typing import ClassVar

from ..transports.pipe import READ_SIZE, Pipe, read_size
from ._wire import Decoder, Frame

_Bytes = bytes | memoryview


class Channel:
    """One end of a channel.

    Args:
        pipe: what carries it.
        legal: the kinds of frames that the other end may send.

    Attributes:
        pipe: as given.
        read: that of the pipe.
        decoder: what has to be given all that is read.
        unsent: bytes that the pipe did not take yet.
        is_tapped: nobody is to read or write but by `receive` and `send`, see `_taps`.
    """

    is_tapped: ClassVar[bool] = False

    __slots__ = ("__weakref__", "_queue", "_write", "decoder", "pipe", "read", "unsent")

    def __init__(self, pipe: Pipe, legal: frozenset[int]) -> None:
        self.pipe = pipe
        self.read, self._write = pipe.read, pipe.write
        self.unsent = 0
        self.decoder = Decoder(legal)
        self._queue: deque[_Bytes] = deque()

    def receive(self) -> list[Frame] | None:
        """Read once and return the frames that are whole now; None where nothing had come.

        Raises:
            EOFError: the other end is closed, and everything that it wrote was read; or this end
                was closed behind its back.
            ProtocolError: it wrote what is no frame.
        """
        missing = self.decoder.missing
        try:
            data = self.read(read_size(missing) if missing else READ_SIZE)
        except OSError:
            raise EOFError from None
        if data:
            return self.decoder.feed(data)
        if data is None:
            return None
        raise EOFError

    def send(self, data: _Bytes) -> None:
        """Write as much as the pipe takes now and keep the rest in `unsent`, for `flush`.

        A closed end takes nothing. That is no error here: what the other said before it hung up is
        still to be read, and `receive` tells of the end.
        """
        if not self.unsent:
            try:
                written = self._write(data) or 0
            except OSError:
                return
            if written == len(data):
                return
            data = memoryview(data)[written:]
        self._queue.append(data)
        self.unsent += len(data)
        if self.pipe.enlarge():
            self.flush()

    def write_once(self, data: _Bytes, taken: list[int | None]) -> None:
        """Write once, beside what `send` does, and note in the same C call what the pipe took.

        Raises:
            OSError: the other end is closed.
        """
        taken.extend(map(self._write, (data,)))

    def flush(self) -> None:
        """Write as much of `unsent` as the pipe takes now."""
        queue = self._queue
        try:
            while queue:
                written = self._write(queue[0]) or 0
                self.unsent -= written
                if written < len(queue[0]):
                    queue[0] = memoryview(queue[0])[written:]
                    return
                queue.popleft()
        except OSError:
            queue.clear()
            self.unsent = 0

    def close(self) -> None:
        """Close this end; a second time does nothing."""
        self.pipe.close()
