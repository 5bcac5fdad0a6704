"""Memory that processes share: it has no name, and is gone with the last process that maps it.

On Linux it is a memfd, sealed: nobody can shrink it, as a reader of what is cut off would be killed
by SIGBUS, or make it grow; and nobody but who made it can write to it, where the kernel knows that
seal (from 5.1 on). Its pages are taken as it is made: that there are too few is an error then, and
no signal later. Elsewhere it is a temporary file whose name is removed at once. Nothing protects
that from those whom its descriptor is sent to.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import stat
import sys
from typing import Final

from ..errors import ProtocolError
from . import _descriptors
from ._descriptors import Descriptor

_SEALED: Final = sys.platform == "linux"

# Named only by later Pythons, or on Linux.
_ADD_SEALS, _GET_SEALS = 1033, 1034
_SEAL, _SHRINK, _GROW, _FUTURE_WRITE = 0x1, 0x2, 0x4, 0x10
_FLAGS = getattr(os, "MFD_CLOEXEC", 0) | getattr(os, "MFD_ALLOW_SEALING", 0)


def make(size: int) -> tuple[Descriptor, mmap.mmap]:
    """Return new memory, all zeros: a descriptor to send, by which it is read, and a map to write.

    Raises:
        OSError: there is no memory or no descriptor left.
    """
    found: list[Descriptor] = []
    with _descriptors.lock:
        if _SEALED:
            _descriptors.adopt(found, map(os.memfd_create, ("pipeproxy",), (_FLAGS,)), ("rb",))
            os.posix_fallocate(found[0].fileno(), 0, size)
        else:
            from tempfile import TemporaryFile

            with TemporaryFile() as file:
                _descriptors.adopt(found, map(os.dup, (file.fileno(),)), ("rb",))
            os.truncate(found[0].fileno(), size)
        number = found[0].fileno()
        memory = mmap.mmap(number, size)
        if _SEALED:
            _seal(number)
        return found[0], memory


def _seal(number: int) -> None:
    try:
        fcntl.fcntl(number, _ADD_SEALS, _FUTURE_WRITE)
    except OSError:
        pass  # an old kernel
    fcntl.fcntl(number, _ADD_SEALS, _SHRINK | _GROW | _SEAL)


def look_into(descriptor: Descriptor, size: int) -> mmap.mmap:
    """Return a map to read of memory that another process made.

    Raises:
        ProtocolError: it is not of this size, or could become smaller.
        OSError: there is no address or no descriptor left.
    """
    number = descriptor.fileno()
    status = os.fstat(number)
    if not stat.S_ISREG(status.st_mode) or status.st_size != size:
        raise ProtocolError(f"what was sent as shared memory is not {size} bytes of memory")
    if _SEALED and ~fcntl.fcntl(number, _GET_SEALS) & (_SHRINK | _GROW):
        raise ProtocolError("what was sent as shared memory is not sealed")
    with _descriptors.lock:
        return mmap.mmap(number, size, access=mmap.ACCESS_READ)
