"""The soak, for some seconds; and that it sees what is wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.children import ROOT
from tests.support import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is left is read in /proc")


def run(*options: str) -> tuple[int, str]:
    """Run a Python with these options, and return its exit code and what it said at the end."""
    done = subprocess.run(
        [sys.executable, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    return done.returncode, done.stdout[-2000:]


def test_some_seconds_of_it_leave_nothing() -> None:
    code, said = run("-m", "tests.chaos.soak", "--minutes", "0.05")
    assert code == 0, said
    assert said.endswith("\nnothing was wrong\n")


CHANGED = """
import os, sys
from tests.chaos import soak

kept = []

class Leaking(soak.Desk):
    def echo(self, token, size):
        kept.append((os.dup(0), b"x" * (1 << 20)))
        return super().echo(token, size)

class Confused(soak.Desk):
    def echo(self, token, size):
        return token[:-1], token[:1] * size

soak.Desk = {desk}
soak.SIZES[:] = [10]
print(*soak.soak(1, 1, lambda text: None))
"""


def test_it_sees_what_is_left_and_what_has_grown() -> None:
    said = run("-c", CHANGED.format(desk="Leaking"))[1]
    assert "before the first client" in said
    assert "descriptors" in said
    assert "the owner has grown" in said


def test_it_sees_wrong_answers() -> None:
    said = run("-c", CHANGED.format(desk="Confused"))[1]
    assert "come and go: ended with 3" in said
