"""What every test is held to: no process outlives it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator

import pytest

# OpenBLAS would start threads when NumPy is imported, and forked children lose them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

#: Seconds that a child may take to end when its test is over.
LEAVE = 10.0


@pytest.fixture(autouse=True)
def _no_child_left_behind() -> Iterator[None]:
    """Fail a test whose children outlive it, and kill them, lest they hold up the whole run."""
    before = set(multiprocessing.active_children())
    yield
    left = [child for child in multiprocessing.active_children() if child not in before]
    for child in left:
        child.join(LEAVE)
    stuck = [child for child in left if child.is_alive()]
    for child in stuck:
        child.kill()
        child.join()
    if stuck:
        pytest.fail(f"left running: {', '.join(child.name for child in stuck)}")
