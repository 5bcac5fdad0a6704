"""What every test is held to: no process outlives it."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext

import pytest
from hypothesis import settings

from pipeproxy._client._courier import courier
from pipeproxy._system import _life

from .support import open_descriptors, opened_since

# OpenBLAS would start threads when NumPy is imported, and forked children lose them.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# An example that is slow on a busy machine is no failure.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

# A run in the background of a shell is started with Ctrl-C ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The modules of tests import it, and most of a child's time would go there. Nothing else is loaded
# beforehand: pipeproxy comes into the children of a fork server as it does for most users.
multiprocessing.set_forkserver_preload(["pytest"])

#: Seconds that a child may take to end when its test is over.
LEAVE = 10.0


def pytest_collection_finish() -> None:
    """Let collections, in tests and forked children, pass over what the test run itself made."""
    gc.collect()
    gc.freeze()


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


@pytest.fixture(params=multiprocessing.get_all_start_methods())
def context(request: pytest.FixtureRequest) -> BaseContext:
    """Every way to start a process."""
    return multiprocessing.get_context(request.param)


@pytest.fixture
def descriptors_kept() -> Iterator[None]:
    """Fail a test after which more or other descriptors are open than before."""
    # What is made at its first use, and stays.
    resource_tracker.ensure_running()
    forkserver.ensure_running()
    _life.descriptor()
    courier.open_bell()
    before = open_descriptors()
    yield
    left = opened_since(before)
    assert not left, f"left open (number, (device, inode)): {left}"
