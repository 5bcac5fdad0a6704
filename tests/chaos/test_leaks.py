"""Nothing is left behind: by clients that come and go, by those killed, by a killed owner, at exit.

Every trial runs in a session of its own, so that all processes that it leaves are known.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import pwd
import resource
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

import pytest

from pipeproxy import ListenerClosed, OwnerDied, share
from tests.children import ROOT
from tests.support import PATIENCE, named_memory

from .desks import SOON, Desk, Hosting, by_manager, by_pipeproxy, reached
from .rows import Row, Tally, run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what is left is read in /proc")

#: Clients that are there at once.
CROWD = 8

#: Seconds that tests give to what is to go: on a busy machine a second is not always enough.
UNHURRIED = PATIENCE / 3

#: How clients, and the owner, end.
EXIT, KILL, OWNER = "exit", "kill", "owner"


# What is there ------------------------------------------------------------------------------------


def descriptors_of(pid: int) -> list[str]:
    """Return what a process has open, without the numbers that only name a thing."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}").partition(":[")[0])
        except FileNotFoundError:
            continue  # it was that of the listing
    return sorted(found)


def threads_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def processes() -> list[int]:
    """Return the processes of this session, zombies too."""
    found = []
    for name in os.listdir("/proc"):
        try:
            status = Path(f"/proc/{name}/stat").read_text() if name.isdigit() else ""
        except OSError:
            continue  # it is gone
        if status and int(status.rpartition(")")[2].split()[3]) == os.getsid(0):
            found.append(int(name))
    return sorted(found)


def files() -> list[str]:
    """Return what is in the shared memory and in the directory for temporary files."""
    return sorted([*named_memory(), *os.listdir(tempfile.gettempdir())])


class Before:
    """What there was, of a process and of all that the trial could leave."""

    def __init__(self, pid: int) -> None:
        gc.collect()
        self.pid = pid
        self.descriptors, self.threads = descriptors_of(pid), threads_of(pid)
        self.processes, self.files = processes(), files()

    def left(self, soon: float = SOON) -> list[str]:
        """Return what there is more, once it had so many seconds to go."""
        reached(lambda: not self._left(), soon)
        return self._left()

    def _left(self) -> list[str]:
        gc.collect()
        found = [f"{thing} open" for thing in _more(self.descriptors, descriptors_of(self.pid))]
        found += ["a thread"] * (threads_of(self.pid) - self.threads)
        found += ["a process"] * len(_more(self.processes, processes()))
        return found + ["a file"] * len(_more(self.files, files()))


def _more(before: list[Any], now: list[Any]) -> list[Any]:
    rest = list(before)
    found = []
    for one in now:
        if one in rest:
            rest.remove(one)
        else:
            found.append(one)
    return found


# Clients that come and go -------------------------------------------------------------------------


def visit(desk: Any, there: int, goes_on: bool) -> None:
    """Call, and go; or call to the end."""
    for _ in range(3):
        desk.arrive()
    os.write(there, b"x")
    try:
        while goes_on:
            desk.arrive()
    except (OwnerDied, ListenerClosed, EOFError, ConnectionError):
        pass


class Crowd:
    """So many clients at once, which have called and call on."""

    def __init__(self, desk: Any, size: int, goes_on: bool) -> None:
        context = multiprocessing.get_context("fork")
        reader, writer = os.pipe()
        args = (desk, writer, goes_on)
        self.clients = [context.Process(target=visit, args=args) for _ in range(size)]
        for client in self.clients:
            client.start()
        os.close(writer)
        came = 0
        while said := os.read(reader, 100):
            came += len(said)
            if came == size:
                break
        os.close(reader)
        assert came == size, f"{size - came} clients failed"

    def kill(self, random: Random) -> None:
        for client in self.clients:
            until = monotonic() + random.uniform(0, 300e-6)
            while monotonic() < until:
                pass
            client.kill()

    def end(self) -> int:
        """Wait for their end; return how many did not end by themselves."""
        stuck = 0
        for client in self.clients:
            client.join(PATIENCE)
            stuck += client.exitcode is None
            client.kill()
            client.join()
            client.close()
        return stuck


def come_and_go(
    seed: int,
    hosting: Hosting,
    end: str,
    counts: tuple[int, ...],
    limit: int | None = None,
    soon: float = SOON,
) -> Tally:
    """Let clients come and go, by one way to end; lost is every thing that is left.

    Args:
        end: EXIT or KILL: of the clients; OWNER: it is killed while the last of them call.
        counts: how many clients, for each owner.
        limit: descriptors that each process may have, if not as many as usual.
        soon: seconds after which what is there still is left.
    """
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    random = Random(seed)
    context: Any = multiprocessing.get_context("fork")
    left: list[str] = []
    stuck = 0
    with _directory_for_files():
        resource_tracker.ensure_running()
        _owned(hosting, context)  # what is made at its first use, and stays
        at_first = Before(os.getpid())
        for count in counts:
            with hosting(context) as (desk, owner):
                Crowd(desk, 1, goes_on=False).end()
                assert owner.pid is not None
                here, there = Before(os.getpid()), Before(owner.pid)
                for first in range(0, count, CROWD):
                    size = min(CROWD, count - first)
                    crowd = Crowd(desk, size, goes_on=end != EXIT)
                    if end == KILL or (end == OWNER and first + size < count):
                        crowd.kill(random)
                    elif end == OWNER:
                        owner.kill()
                        owner.join()
                    stuck += crowd.end()
                del crowd
                left += here.left(soon) if end != OWNER else []
                left += there.left(soon) if end != OWNER else []
            del desk, owner
            left += at_first.left(soon)
    note = f"user {pwd.getpwuid(os.getuid()).pw_name}, {_limit():,} descriptors allowed"
    if left or stuck:
        stuck_clients = [f"{stuck} clients stuck"] if stuck else []
        kinds = [f"{left.count(kind)} {kind}" for kind in sorted(set(left))]
        note = f"{', '.join(stuck_clients + kinds)}; {note}"
    return Tally(sum(counts), len(left) + stuck, note)


def _owned(hosting: Hosting, context: Any) -> None:
    with hosting(context) as (desk, _):
        desk.arrive()


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@contextmanager
def _directory_for_files() -> Iterator[None]:
    """Let all temporary files of this process and its children be made in one new directory."""
    kept = tempfile.tempdir, os.environ.get("TMPDIR")
    with tempfile.TemporaryDirectory() as directory:
        tempfile.tempdir = os.environ["TMPDIR"] = directory
        try:
            yield
        finally:
            tempfile.tempdir = kept[0]
            os.environ["TMPDIR"] = kept[1] or directory


@contextmanager
def by_listener(context: Any) -> Iterator[tuple[Any, Any]]:
    """Share a desk from this process itself, which is then owner and creator of the clients."""
    proxy, listener = share(Desk())
    with listener, listener.background():
        yield proxy, multiprocessing.current_process()


@pytest.mark.parametrize("count", [1, 10, 30])
@pytest.mark.parametrize("end", [EXIT, KILL, OWNER])
def test_nothing_is_left_of_clients_or_owner(end: str, count: int) -> None:
    trial = partial(come_and_go, hosting=by_pipeproxy, end=end, counts=(count,), soon=UNHURRIED)
    tally = run(trial, 1, PATIENCE)
    assert (tally.tried, tally.lost) == (count, 0), tally.note


@pytest.mark.parametrize("end", [EXIT, KILL])
def test_nothing_is_left_in_a_process_that_owns_by_the_way(end: str) -> None:
    trial = partial(come_and_go, hosting=by_listener, end=end, counts=(1, 10), soon=UNHURRIED)
    tally = run(trial, 1, PATIENCE)
    assert (tally.tried, tally.lost) == (11, 0), tally.note


@pytest.mark.parametrize("end", [EXIT, KILL])
def test_few_descriptors_are_enough_for_many_clients(end: str) -> None:
    """They would not be, if any were left of the first ones."""
    trial = partial(
        come_and_go, hosting=by_pipeproxy, end=end, counts=(60,), limit=64, soon=UNHURRIED
    )
    tally = run(trial, 1, PATIENCE)
    assert (tally.tried, tally.lost) == (60, 0), tally.note
    assert "64 descriptors" in tally.note


def leave_something(seed: int) -> Tally:
    """Leave one of each kind."""
    with _directory_for_files():
        before = Before(os.getpid())
        reader, _ = os.pipe()
        threading.Thread(target=os.read, args=(reader, 1), daemon=True).start()
        if not os.fork():
            os._exit(0)  # nobody waits for it
        os.close(os.open(tempfile.gettempdir() + "/file", os.O_CREAT))
        left = before.left()
        return Tally(5, len(left), " ".join(left))


def test_the_check_sees_what_is_left() -> None:
    assert run(leave_something, 1, PATIENCE) == Tally(
        5, 5, "pipe open pipe open a thread a process a file"
    )


# The end of the program ---------------------------------------------------------------------------

METHODS = multiprocessing.get_all_start_methods()

#: Calls, or a call that never returns, of clients that leave first or call to the end.
WITH_CLIENTS = [(name, stays) for name in ("arrive", "hang") for stays in ("leave", "stay")]


def leave(function: str, *args: str, patience: float = PATIENCE) -> tuple[bool, float]:
    """Run a program of `exits`; return whether it ended well and silently, and seconds it took."""
    code = f"from tests.chaos.exits import {function}; {function}(*{args!r})"
    command = [sys.executable, "-W", "error", "-c", code]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as program:
        try:
            said, complained = program.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, 9)
            return False, patience
        ended = monotonic()
    if complained or program.returncode:
        print(complained.decode(), file=sys.stderr)
        return False, 0.0
    return True, ended - float(said)


def exits(seed: int, rounds: int = 3) -> Tally:
    """End programs; lost is what ended late, with a word, or with an error."""
    tried = late = loud = 0
    for _ in range(rounds):
        for method in METHODS:
            programs: list[tuple[str, ...]] = [("with_clients", *way) for way in WITH_CLIENTS]
            programs += [("with_host", name) for name in ("arrive", "hang")]
            for function, *args in programs:
                silent, seconds = leave(function, method, *args, patience=5)
                tried += 1
                loud += not silent
                late += silent and seconds > SOON
    note = f"{loud} not silently, {late} late" if loud or late else ""
    return Tally(tried, loud + late, note)


@pytest.mark.parametrize(("name", "stays"), WITH_CLIENTS)
def test_owner_and_clients_exit_silently(context: BaseContext, name: str, stays: str) -> None:
    method = context.get_start_method()
    assert method is not None
    assert leave("with_clients", method, name, stays)[0]


@pytest.mark.parametrize("name", ["arrive", "hang"])
def test_a_program_with_a_host_exits_silently(context: BaseContext, name: str) -> None:
    method = context.get_start_method()
    assert method is not None
    assert leave("with_host", method, name)[0]


# The table ----------------------------------------------------------------------------------------

COUNTS = (1, 10, 1000)


def _left(end: str, limit: int | None = None) -> dict[str, Callable[[int], Tally]]:
    trial = partial(come_and_go, end=end, counts=COUNTS, limit=limit)
    return {
        "ours": partial(trial, hosting=by_pipeproxy),
        "manager": partial(trial, hosting=by_manager),
    }


_WHAT = "descriptors, threads, processes, files left"

ROWS = [
    Row(f"1, 10, 1,000 clients come and go: {_WHAT}", **_left(EXIT), seconds=240),
    Row(f"the same, each killed while it calls: {_WHAT}", **_left(KILL), seconds=240),
    Row(f"the same, and the owner killed while 8 call: {_WHAT}", **_left(OWNER), seconds=240),
    Row(f"each killed, at `ulimit -n 256`: {_WHAT}", **_left(KILL, 256), seconds=240),
    Row(
        "programs end with live proxies, served listeners, pending calls: silent, within 1 s",
        exits,
        "no such thing",
        seconds=240,
    ),
]
