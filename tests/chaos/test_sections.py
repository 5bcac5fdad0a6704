"""Sections under fire: nobody comes between, and whoever dies inside keeps nobody out."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from multiprocessing import Manager, get_context
from multiprocessing.connection import Connection
from random import Random
from threading import Thread
from time import monotonic
from typing import Any

import pytest

from pipeproxy import CallTimeout, Listener, PipeProxyError, locked, share, timeout
from tests.children import Child, poll_until
from tests.support import PATIENCE, Interrupted, interrupt

from .rows import Row, Tally, run

FORK = get_context("fork")

#: Seconds within which the next one is in, after a holder's death.
SOON = 0.2


class Register:
    """Two values that are equal whenever nobody is in the middle of changing them."""

    def __init__(self) -> None:
        self.one = self.two = 0
        self.mended = 0

    def __pipeproxy_abandoned__(self) -> None:
        self.mended += 1
        self.two = self.one


# A holder is killed -------------------------------------------------------------------------------


def forked_heir() -> None:
    if os.fork() == 0:
        select.select([], [], [])


def spawned_heir() -> None:
    subprocess.Popen(["sleep", "600"], close_fds=False)


def shell_heir() -> None:
    os.system("sleep 600 &")


HEIRS: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "os.fork": forked_heir,
    "Popen(close_fds=False)": spawned_heir,
    "os.system": shell_heir,
}


def die_inside(proxy: Any, control: Connection, leave_heir: Callable[[], None]) -> None:
    with locked(proxy):
        proxy.one = proxy.one + 1
        leave_heir()
        control.send("in")
        select.select([], [], [])


def enter_next(proxy: Any, control: Connection) -> None:
    control.send("waiting")
    with locked(proxy):
        control.send(monotonic())
        control.send((proxy.one, proxy.two))


def killed_holders(seed: int, times: int = 50, soon: float = SOON) -> Tally:
    """Kill a holder, with heirs that live on, beside an idle owner, and time who is next."""
    random = Random(seed)
    late = torn = 0
    slowest = 0.0
    register = Register()
    proxy, listener = share(register)
    with listener, listener.background():
        for _ in range(times):
            heir = HEIRS[random.choice(list(HEIRS))]
            here, there = FORK.Pipe()
            holder = FORK.Process(target=die_inside, args=(proxy, there, heir))
            holder.start()
            assert here.recv() == "in"
            waiter = FORK.Process(target=enter_next, args=(proxy, there))
            waiter.start()
            assert here.recv() == "waiting"
            poll_until(lambda: line_of(listener, proxy) == 1)
            killed = monotonic()
            holder.kill()
            if not here.poll(PATIENCE):
                return Tally(times, times, "the next one never got in")
            seconds = here.recv() - killed
            slowest = max(slowest, seconds)
            late += seconds > soon
            one, two = here.recv()
            torn += one != two
            holder.join()
            waiter.join()
            here.close()
            there.close()
    note = f"the next one in after at most {slowest * 1000:.0f} ms"
    return Tally(times, late + torn + (register.mended != times), note)


def line_of(listener: Listener[Any], proxy: Any) -> int:
    """Return how many wait for the one object of a listener."""
    [shared] = listener._objects
    return len(shared.section.line)


def killed_holders_of_manager(seed: int, times: int = 1) -> Tally:
    with Manager() as manager:
        lock = manager.Lock()
        here, there = FORK.Pipe()
        holder = FORK.Process(target=hold_lock, args=(lock, there))
        holder.start()
        here.recv()
        holder.kill()
        holder.join()
        if lock.acquire(True, 5):
            return Tally(times, 0)
        return Tally(times, times, "the lock stays held for ever")


def hold_lock(lock: Any, control: Connection) -> None:
    with lock:
        control.send("in")
        select.select([], [], [])


# Clients are killed at random moments -------------------------------------------------------------


def change(proxy: Any) -> None:
    with locked(proxy):
        value = proxy.one
        proxy.one = value + 1
        proxy.two = value + 1


def change_for_ever(proxy: Any) -> None:
    while True:
        change(proxy)


def random_deaths(seed: int, times: int = 200) -> Tally:
    """Kill one of three clients at a random moment, again and again; two go on."""
    random = Random(seed)
    register = Register()
    proxy, listener = share(register)
    with listener, listener.background(), ExitStack() as stack:

        def start() -> Child:
            return stack.enter_context(Child(FORK, change_for_ever, proxy))

        children = [start() for _ in range(3)]
        torn = 0
        for _ in range(times):
            before = register.one
            poll_until(lambda before=before: register.one > before + 3)
            select.select([], [], [], random.uniform(0, 0.002))
            place = random.randrange(3)
            children[place].kill()
            children[place] = start()
        for child in children:
            child.kill()
        with locked(proxy):
            torn += register.one != register.two
    return Tally(times, torn, f"{register.one:,} sections, {register.mended} of them mended")


# Interrupts ---------------------------------------------------------------------------------------


def interrupted_clients(seed: int, times: int = 1000) -> Tally:
    """A signal handler raises in and around sections of a client; another client goes on."""
    register = Register()
    proxy, listener = share(register)
    with listener, listener.background():
        with Child(FORK, interrupt_sections, proxy, times) as child:
            with Child(FORK, change_times, proxy, times) as other:
                other.result()
            raised = child.result()
        with locked(proxy):
            torn = register.one != register.two
        free = line_of(listener, proxy) == 0
    return Tally(raised, int(torn) + (not free) + register.mended)


def interrupt_sections(proxy: Any, times: int) -> int:
    def action() -> None:
        with locked(proxy):
            value = proxy.one
            try:
                proxy.one = value + 1
            finally:
                settle(proxy)

    return interrupt(action, rounds=times, longest=400e-6)


def settle(proxy: Any) -> None:
    """Make both values equal, whatever a signal handler does meanwhile."""
    while True:
        try:
            proxy.two = proxy.one
            return
        except Interrupted:
            pass


def change_times(proxy: Any, times: int) -> None:
    for _ in range(times):
        change(proxy)


class Raised(Exception):
    """What a handler of the owner raises."""


def interrupted_owner(seed: int, times: int = 300) -> Tally:
    """A signal handler raises in the owner's loop; clients lose a call, and no section stays."""
    random = Random(seed)
    register = Register()
    proxy, listener = share(register)
    armed = False

    def handler(number: int, frame: object) -> None:
        if armed:
            raise Raised

    signal.signal(signal.SIGALRM, handler)
    raised = 0
    with listener, Child(FORK, change_in_spite, proxy) as one, Child(FORK, change_in_spite, proxy):
        while raised < times:
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-5, 1e-3))
                listener.poll(0.1)
                armed = False
            except Raised:
                raised += 1
            finally:
                armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        before = register.one
        poll_until(lambda: register.one > before + 50, listener)
        one.kill()
        listener.close()
    return Tally(times, 0)


def change_in_spite(proxy: Any) -> None:
    """Change it until the listener is closed, whatever calls are lost meanwhile."""
    while True:
        try:
            change(proxy)
        except PipeProxyError as error:
            if type(error).__name__ in {"ListenerClosed", "OwnerDied"}:
                return


# All at once --------------------------------------------------------------------------------------


class Guarded:
    """It counts who finds somebody else inside."""

    def __init__(self) -> None:
        self.inside = self.found = self.blocks = 0

    def begin(self) -> None:
        self.found += self.inside != 0
        self.inside += 1
        self.blocks += 1

    def end(self) -> None:
        self.inside -= 1

    def look(self) -> None:
        self.found += self.inside != 0

    def __pipeproxy_abandoned__(self) -> None:
        self.inside = 0


def use(proxy: Any, random: Random, until: float) -> None:
    """Enter, give up to enter, and call."""
    while monotonic() < until:
        chance = random.random()
        block = ExitStack()
        try:
            if chance < 0.5:
                block.enter_context(locked(proxy))
            elif chance < 0.7:
                with timeout(random.uniform(1e-5, 1e-2)):
                    block.enter_context(locked(proxy))
            else:
                proxy.look()
                continue
        except CallTimeout:
            continue
        with block:
            proxy.begin()
            proxy.end()


def use_in_threads(proxy: Any, seed: int, until: float) -> None:
    threads = [Thread(target=use, args=(proxy, Random(seed + n), until)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def mixed_crowd(seed: int, seconds: int = 20) -> Tally:
    """Threads of three clients, which are killed at random, and of the owner's own process."""
    random = Random(seed)
    guarded = Guarded()
    proxy, listener = share(guarded)
    until = monotonic() + seconds
    with listener:

        def start() -> Any:
            child = FORK.Process(target=use_in_threads, args=(proxy, random.random(), until))
            child.start()
            return child

        children = [start() for _ in range(3)]
        home = [Thread(target=use, args=(proxy, Random(seed + n), until)) for n in range(3)]
        for thread in home:
            thread.start()
        while (left := until - monotonic()) > 0:
            pause = monotonic() + min(left, random.uniform(0.05, 0.2))
            listener.serve(until=lambda pause=pause: monotonic() > pause)
            place = random.randrange(3)
            children[place].kill()
            children[place].join()
            children[place] = start()
        listener.serve(until=children)
        for thread in home:
            thread.join(PATIENCE)
        hung = sum(thread.is_alive() for thread in home)
        held = line_of(listener, proxy) + guarded.inside
    return Tally(guarded.blocks, guarded.found + hung + held)


ROWS = [
    Row(
        "sections of threads of owner and clients, some given up, some clients killed",
        mixed_crowd,
        "its lock stays held after the first one that dies inside",
        120,
    ),
    Row(
        "holder of a section killed, its children live on",
        killed_holders,
        killed_holders_of_manager,
    ),
    Row(
        "clients killed at random moments in and around sections",
        random_deaths,
        "its lock stays held after the first one that dies inside",
        120,
    ),
    Row(
        "sections interrupted at random points by a signal handler that raises",
        interrupted_clients,
        "no such thing: a lock and a proxy are two objects",
        120,
    ),
    Row(
        "owner's loop interrupted at random points while clients are in sections",
        interrupted_owner,
        "no such thing: its server is a process of its own",
        120,
    ),
]


@pytest.mark.parametrize(
    ("trial", "times"),
    [
        pytest.param(partial(killed_holders, soon=PATIENCE), 8, id="killed_holders-8"),
        (random_deaths, 30),
        (interrupted_clients, 200),
        (interrupted_owner, 50),
        (mixed_crowd, 2),
    ],
)
def test_no_section_outlives_its_holder(trial: Callable[[int, int], Tally], times: int) -> None:
    tally = run(lambda seed: trial(seed, times), 1, PATIENCE)
    assert tally.lost == 0, tally.note
    assert tally.tried > times / 10
