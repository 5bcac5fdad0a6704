"""CPython's manager tests on our manager: all pass, or are listed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.children import ROOT

from .with_manager import PASSED, SKIPPED

pytest.importorskip("test.support", reason="this Python was installed without its test package")

#: Seconds that one class of tests may take.
LIMIT = 90

CLASSES = [
    *(
        f"WithManagerTest{name}"
        for name in "Queue Lock Semaphore Condition Event Barrier Containers Pool".split()
    ),
    *(f"WithManagerTest{name}" for name in "MyManager RemoteManager ManagerRestart".split()),
    "TestSyncManagerTypes",
]

PLAIN_ERROR = "asks for a RemoteError; what is raised in the manager arrives as it is"
NAMED_ERROR = "asks for the error of a __reduce__; a CodecError names the argument"
PRIVATE = "sets a private name, which stays on a standard proxy and is refused by ours"
REPR = "asks for the repr of a standard proxy"
XMLRPC = "asks what xmlrpclib would do, and there is only pickle"
DEAD_HOLDER = "releases what a process held that is dead, and what is free since then"

#: The tests that do not pass.
EXCEPTIONS = {
    "WithManagerTestContainers.test_namespace": PRIVATE,
    "WithManagerTestEvent.test_repr": REPR,
    "WithManagerTestPool.test_make_pool": PLAIN_ERROR,
    "WithManagerTestPool.test_map_unplicklable": NAMED_ERROR,
    "WithManagerTestRemoteManager.test_remote": XMLRPC,
    "TestSyncManagerTypes.test_bounded_semaphore": DEAD_HOLDER,
    "TestSyncManagerTypes.test_lock": DEAD_HOLDER,
}


def outcomes(whose: str, name: str, file: Path) -> dict[str, str]:
    """Run one class of tests in a process of its own; return what came of each."""
    command = [sys.executable, "-m", "tests.cpython.with_manager", whose, name, str(file)]
    # What the tests and the processes that they start print is of no interest.
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True, **quiet)
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        pass
    finally:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()
    found = dict(json.loads(line) for line in file.read_text("utf-8").splitlines())
    if process.returncode:
        found[f"{name} as a whole"] = f"ended with {process.returncode}"
    return found


@pytest.mark.parametrize("name", ["WithManagerTestContainers", "WithManagerTestLock"])
def test_the_standard_manager_passes(name: str, tmp_path: Path) -> None:
    found = outcomes("standard", name, tmp_path / "found")
    assert found
    assert set(found.values()) == {PASSED}


@pytest.mark.parametrize("name", CLASSES)
def test_ours_passes_unless_it_is_listed(name: str, tmp_path: Path) -> None:
    found = outcomes("ours", name, tmp_path / "found")
    assert found, "no test was run"
    passed = {test for test, outcome in found.items() if outcome == PASSED}
    failed = found.keys() - passed - {test for test, what in found.items() if what == SKIPPED}
    listed = {key.partition(".")[2] for key in EXCEPTIONS if key.startswith(f"{name}.")}
    assert failed - listed == set(), "\n".join(found[test] for test in sorted(failed - listed))
    assert passed & listed == set(), "these pass now, and are listed"


def test_every_exception_is_of_a_class_that_is_run() -> None:
    assert {name.partition(".")[0] for name in EXCEPTIONS} <= set(CLASSES)
