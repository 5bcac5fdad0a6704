"""The soak, for some seconds; and that it sees what is wrong."""

from __future__ import annotations

import os
import sys

import pytest

from tests.support import in_fork

from . import soak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is left is read in /proc")

_kept: list[object] = []


def soak_well() -> None:
    said: list[str] = []
    assert soak.soak(3, 1, said.append) == []
    assert said[-1].startswith("memory: ")
    assert "3 s  " in said[0] or "4 s  " in said[0]


def test_some_seconds_of_it_leave_nothing() -> None:
    in_fork(soak_well)


class Leaking(soak.Desk):
    def echo(self, token: bytes, size: int) -> tuple[bytes, bytes]:
        _kept.append((os.dup(0), bytearray(1 << 20).replace(b"\0", b"x")))
        return super().echo(token, size)


class Confused(soak.Desk):
    def echo(self, token: bytes, size: int) -> tuple[bytes, bytes]:
        return token[:-1], token[:1] * size


def soak_badly(desk: type[soak.Desk], *words: str) -> None:
    soak.Desk = desk  # type: ignore[misc]
    soak.SIZES = [10]
    wrong = "; ".join(soak.soak(1, 1, lambda text: None))
    for word in words:
        assert word in wrong, wrong


def test_it_sees_what_is_left_and_what_has_grown() -> None:
    in_fork(lambda: soak_badly(Leaking, "descriptors, and ", "the owner has grown"))


def test_it_sees_wrong_answers() -> None:
    in_fork(lambda: soak_badly(Confused, f"ended with {soak.WRONG}"))
