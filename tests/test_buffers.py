"""Memory for bulk: what another process may map, and what is this process's own."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from pathlib import Path

import pytest

from pipeproxy._system import _buffers, _descriptors
from pipeproxy._system._descriptors import Descriptor
from pipeproxy.errors import ProtocolError

from .support import open_descriptors, opened_since

MIB = 1 << 20
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such memory")


def test_two_mappings_show_the_same_memory() -> None:
    made, end = _buffers.make(3, MIB)
    taken = _buffers.accept(3, MIB, end)
    end.close()
    made.memory[5:8] = b"abc"
    assert taken.memory[5:8] == b"abc"
    assert (taken.number, taken.size) == (3, MIB)


def test_nothing_is_left_of_a_segment() -> None:
    made, end = _buffers.make(3, MIB)
    del made, end
    before = open_descriptors()
    made, end = _buffers.make(4, MIB)
    assert not [name for name in os.listdir(tempfile.gettempdir()) if "pipeproxy-" in name]
    taken = _buffers.accept(4, MIB, end)
    del made, taken, end
    assert opened_since(before) == []


@linux
def test_nobody_can_take_the_memory_of_a_segment_away() -> None:
    _, end = _buffers.make(3, MIB)
    for size in (0, MIB - 1, MIB + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(end.fileno(), size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(end.fileno(), fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)


def memory(size: int, seals: int) -> Descriptor:
    ends: list[Descriptor] = []
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    _descriptors.adopt(ends, map(os.memfd_create, ("test",), (flags,)), ("rb",))
    os.ftruncate(ends[0].fileno(), size)
    fcntl.fcntl(ends[0].fileno(), fcntl.F_ADD_SEALS, seals)
    return ends[0]


@linux
def test_what_is_no_segment_is_not_mapped(tmp_path: Path) -> None:
    shrink, grow, seal = fcntl.F_SEAL_SHRINK, fcntl.F_SEAL_GROW, fcntl.F_SEAL_SEAL
    for seals in (0, shrink, grow, shrink | grow, grow | seal):
        with pytest.raises(ProtocolError):
            _buffers.accept(1, MIB, memory(MIB, seals))
    whole = memory(MIB, shrink | grow | seal)
    for size in (0, 1, MIB - 1, MIB + 1, 2**63):
        with pytest.raises(ProtocolError):
            _buffers.accept(1, size, whole)
    _buffers.accept(1, MIB, whole)
    (tmp_path / "file").write_bytes(bytes(MIB))
    with (tmp_path / "file").open("rb") as file, pytest.raises((ProtocolError, OSError)):
        _buffers.accept(1, MIB, Descriptor(os.dup(file.fileno()), "rb"))


def test_where_there_are_no_memory_files_it_is_one_that_was_unlinked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_buffers, "_SEALS", 0)
    made, end = _buffers.make(3, MIB)
    assert os.fstat(end.fileno()).st_nlink == 0
    taken = _buffers.accept(3, MIB, end)
    made.memory[:3] = b"abc"
    assert taken.memory[:3] == b"abc"


@pytest.mark.parametrize("size", [0, 1, 100, MIB, 20 * MIB])
def test_a_private_buffer_is_a_copy_that_can_be_changed(size: int) -> None:
    source = bytearray(os.urandom(1000) * (size // 1000 + 1))[:size]
    copy = _buffers.private(memoryview(source))
    assert bytes(copy) == source
    if size:
        copy[0] = copy[0] ^ 1
        assert bytes(copy[:1]) != source[:1]


@pytest.mark.parametrize("size", [1, MIB, MIB + 1, 7 * MIB, 64 * MIB + 300, 3 << 30])
def test_a_segment_is_hardly_larger_than_need_be(size: int) -> None:
    made = _buffers.size_for(size)
    assert size <= made <= max(MIB, size * 9 / 8 + MIB)
    assert made % MIB == 0


# Views --------------------------------------------------------------------------------------------


def viewed() -> tuple[_buffers.Segment, list[memoryview]]:
    """A segment, and the one view that there is of it."""
    segment, _ = _buffers.make(3, MIB)
    assert segment.admits_views()
    return segment, [memoryview(segment.memory)[64:4096].toreadonly()]


def test_a_segment_is_viewed_until_the_last_that_was_derived_is_gone() -> None:
    np = pytest.importorskip("numpy")
    segment, views = viewed()
    assert segment.is_viewed()
    assert not segment.is_free()
    array = np.frombuffer(views.pop(), dtype="f8")  # which refers to another view of its own
    assert segment.is_viewed()
    pieces = [array.reshape(-1, 4).T[1:, ::2]]
    del array
    assert segment.is_viewed()
    views.append(memoryview(pieces.pop()))
    assert segment.is_viewed()
    views.clear()
    assert not segment.is_viewed()
    assert segment.is_free()


def test_a_segment_of_which_there_never_were_views_is_free() -> None:
    segment, _ = _buffers.make(3, MIB)
    written = memoryview(segment.memory)
    assert segment.is_free()
    assert not segment.is_viewed()
    written.release()


def test_what_was_viewed_at_a_fork_may_be_viewed_by_the_child_for_ever() -> None:
    segment, views = viewed()
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    views.clear()
    assert segment.is_viewed()
    assert not segment.is_viewed_here()
    assert not segment.is_free()
    other, views = viewed()
    views.clear()
    assert other.is_free()
    pid = os.fork()
    if not pid:
        os._exit(0)
    os.waitpid(pid, 0)
    assert other.is_free()  # as there was nothing to be inherited


def test_so_much_is_viewed_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_buffers, "MOST_VIEWED", 3)
    counts = _buffers.Views()
    segments = [_buffers.make(number, MIB, counts)[0] for number in range(4)]
    views = []
    for segment in segments[:3]:
        assert segment.admits_views()
        views.append(memoryview(segment.memory))
    assert not segments[3].admits_views()
    assert not segments[3].is_viewed()
    assert segments[0].admits_views()  # it counts already
    segment = segments[0]
    del segments[:3]
    assert not segments[0].admits_views()  # given up, and still viewed
    views.pop()
    assert segments[0].admits_views()
    monkeypatch.setattr(_buffers, "MOST_VIEWED", 9)
    monkeypatch.setattr(_buffers, "MOST_VIEWED_BYTES", 5 * MIB)
    large, _ = _buffers.make(9, 4 * MIB, counts)
    assert not large.admits_views()
    del views[:], segments[:]
    assert large.admits_views()
