"""Shared memory: who maps it can rely on its size, and nobody but who made it can write to it."""

from __future__ import annotations

import fcntl
import mmap
import os
import resource
import sys

import pytest

from pipeproxy._system import _descriptors, _memory
from pipeproxy._system._descriptors import Descriptor
from pipeproxy._system._memory import look_into, make
from pipeproxy.errors import ProtocolError

from .support import (
    in_fork,
    interrupt,
    named_memory,
    open_descriptors,
    opened_since,
    take_all_descriptors,
)

pytestmark = pytest.mark.usefixtures("descriptors_kept")

SIZE = 1 << 16
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="seals are Linux's")


def test_what_is_written_here_is_read_there() -> None:
    descriptor, memory = make(SIZE)
    there = look_into(descriptor, SIZE)
    memory[5:8] = b"abc"
    assert there[:10] == bytes(5) + b"abc" + bytes(2)


def test_who_looks_into_it_cannot_write() -> None:
    descriptor, _ = make(SIZE)
    with pytest.raises(TypeError):
        look_into(descriptor, SIZE)[0] = 1


@on_linux
def test_nobody_else_can_write_or_change_its_size() -> None:
    descriptor, memory = make(SIZE)
    number = descriptor.fileno()
    for size in (0, SIZE - 1, SIZE + 1):
        with pytest.raises(PermissionError):
            os.ftruncate(number, size)
    with pytest.raises(PermissionError):
        os.write(number, b"x")
    with pytest.raises(PermissionError):
        mmap.mmap(number, SIZE)
    with pytest.raises(PermissionError):
        fcntl.fcntl(number, _memory._ADD_SEALS, 0x8)
    memory[0] = 5
    assert look_into(descriptor, SIZE)[0] == 5


@on_linux
def test_an_old_kernel_does_without_one_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_memory, "_FUTURE_WRITE", 1 << 20)
    descriptor, memory = make(SIZE)
    memory[0] = 5
    assert look_into(descriptor, SIZE)[0] == 5


def test_elsewhere_it_is_a_file_without_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(_memory, "_SEALED", False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    descriptor, memory = make(SIZE)
    memory[0] = 5
    assert look_into(descriptor, SIZE)[0] == 5
    assert list(tmp_path.iterdir()) == []


@on_linux
def test_memory_that_could_become_smaller_is_not_looked_into() -> None:
    unsealed = Descriptor(os.memfd_create("x"), "rb")
    os.ftruncate(unsealed.fileno(), SIZE)
    with pytest.raises(ProtocolError, match="not sealed"):
        look_into(unsealed, SIZE)


@pytest.mark.parametrize("size", [SIZE - 1, SIZE + 1, 0])
def test_memory_of_another_size_is_not_looked_into(size: int) -> None:
    descriptor, _ = make(SIZE)
    with pytest.raises(ProtocolError, match="bytes of memory"):
        look_into(descriptor, size)


def test_what_is_no_memory_is_not_looked_into() -> None:
    ends: list[Descriptor] = []
    _descriptors.adopt(ends, _descriptors.pipes(1), ("rb", "wb"))
    with pytest.raises(ProtocolError, match="bytes of memory"):
        look_into(ends[0], SIZE)


def test_it_has_no_name_and_leaves_none() -> None:
    before = named_memory()
    _ = make(SIZE)
    assert named_memory() <= before


def test_it_is_not_inherited_by_other_programs() -> None:
    descriptor, memory = make(SIZE)
    assert not os.get_inheritable(descriptor.fileno())
    before = open_descriptors()
    del memory
    assert len(open_descriptors()) <= len(before)


def test_without_descriptors_it_is_an_error_and_nothing_is_lost() -> None:
    def out_of_them() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        taken = take_all_descriptors()
        with pytest.raises(OSError, match="Too many open files"):
            make(SIZE)
        os.close(taken.pop())  # for the memory, and none for its map
        before = open_descriptors()
        with pytest.raises(OSError, match="Too many open files"):
            make(SIZE)
        assert opened_since(before) == []

    in_fork(out_of_them)


def test_an_interrupt_loses_no_descriptor() -> None:
    def interrupted() -> None:
        make(SIZE)
        before = open_descriptors()
        assert interrupt(lambda: make(4096), rounds=500, longest=60e-6) > 50
        assert opened_since(before) == []

    in_fork(interrupted)
