"""Nobody waits for the dead, whoever else holds their descriptors; and everybody is told why."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from time import monotonic
from typing import Any

import pytest

from pipeproxy import Listener, OwnerDied, end_with, share, spawn, spawning
from tests.children import Child, outcome
from tests.support import PATIENCE

from .desks import (
    CALLING,
    IDLE,
    IDLING,
    NEW,
    PENDING,
    SOON,
    SPAWNING,
    WAYS,
    Desk,
    DeskManager,
    End,
    Hosting,
    Refused,
    bear,
    by_manager,
    by_pipeproxy,
    kill,
    kill_creator,
    kill_owner,
    reached,
)
from .rows import Row, Tally

#: Seconds after which a row takes something for hung.
LIMIT = 5.0

MIXED = [*[PENDING] * 8, IDLING, NEW]


# The owner is killed ------------------------------------------------------------------------------


def owner_killed(
    seed: int,
    hosting: Hosting,
    kinds: list[str],
    ways: Iterable[str] = (),
    errors: Iterable[str] = (),
    rounds: int = 10,
) -> Tally:
    """Kill owners; lost is who was told late or never, or of something else, or kept busy."""
    late = never = other = busy = 0
    for number in range(rounds):
        reap = bool((seed + number) % 2)
        ends = kill_owner(hosting, get_context("fork"), kinds, ways, reap=reap, limit=LIMIT)
        never += len(kinds) - len(ends)
        for end in ends:
            if errors and end.error not in errors:
                other += 1
            elif end.seconds > SOON:
                late += 1
            elif end.used > IDLE:
                busy += 1
    counts = {"never told": never, "told late": late, "told otherwise": other, "busy": busy}
    note = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return Tally(rounds * len(kinds), never + late + other + busy, note)


def check(ends: list[End], kinds: list[str]) -> None:
    assert sorted(end.kind for end in ends) == sorted(kinds)
    assert {end.error for end in ends} == {OwnerDied.__name__}
    assert max(end.seconds for end in ends) < PATIENCE
    assert max(end.used for end in ends) < IDLE


@pytest.mark.usefixtures("descriptors_kept")
@pytest.mark.parametrize("reap", [True, False], ids=["reaped", "zombie"])
def test_every_client_of_a_killed_owner_is_told_and_waits_asleep(
    context: BaseContext, reap: bool
) -> None:
    check(kill_owner(by_pipeproxy, context, MIXED, reap=reap, wait=0.2), MIXED)


@pytest.mark.usefixtures("descriptors_kept")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("context", ["fork"], indirect=True)
def test_it_does_not_matter_who_inherited_the_owners_descriptors(
    context: BaseContext, way: str
) -> None:
    check(kill_owner(by_pipeproxy, context, MIXED, [way, way], wait=0.1), MIXED)


def test_nor_how_the_owner_was_started(context: BaseContext) -> None:
    kinds = [PENDING, PENDING, IDLING, NEW]
    check(kill_owner(by_pipeproxy, context, kinds, WAYS, reap=False, wait=0.1), kinds)


def own_and_bear(tells: Connection) -> None:
    """Hold a desk, let forked children call it, and then let a fork in C live on."""
    context = get_context("fork")
    proxy, listener = share(Desk())
    _kept.append((listener, listener.background()))
    ready, go = context.Semaphore(0), context.Semaphore(0)
    for _ in range(4):
        process = context.Process(target=call_to_the_end, args=(proxy, ready, go, tells))
        process.start()
    for _ in range(4):
        assert ready.acquire(timeout=PATIENCE)
    tells.send(bear("fork in C"))
    for _ in range(4):
        go.release()


def call_to_the_end(desk: Any, ready: Any, go: Any, tells: Connection) -> None:
    desk.arrive()
    ready.release()
    go.acquire()
    used = time.process_time()
    try:
        desk.hang()
    except OwnerDied:
        tells.send(time.process_time() - used)


_kept: list[Any] = []


def test_children_of_the_owner_itself_are_told_as_well() -> None:
    """They came by the lobby, which the fork in C holds open, and have the owner's descriptor."""
    here, there = get_context("fork").Pipe(duplex=False)
    with Child("fork", own_and_bear, there) as owner, here:
        there.close()
        owner.result()
        assert here.poll(PATIENCE)
        copy = here.recv()
        owner.kill()
        try:
            for _ in range(4):
                assert here.poll(PATIENCE)
                assert here.recv() < IDLE
        finally:
            kill([copy])
        assert here.poll(PATIENCE)
        with pytest.raises(EOFError):
            here.recv()  # nobody is left who could say anything


def knock_in_threads(desk: Any, go: Connection, tells: Connection) -> None:
    """Let one thread after another make its first call, once told to."""
    go.recv()
    for _ in range(3):
        threading.Thread(target=lambda: tells.send(outcome(desk.arrive)[:2])).start()


def test_first_calls_to_a_listener_that_is_gone_are_told_one_after_another() -> None:
    context = get_context("fork")
    go_there, go = context.Pipe(duplex=False)
    here, tells = context.Pipe(duplex=False)
    proxy, listener = share(Desk())
    child = context.Process(target=knock_in_threads, args=(proxy, go_there, tells))
    child.start()
    listener.close()
    with go, go_there, here, tells:
        go.send("go")
        child.join(PATIENCE)
        told = [here.recv() for _ in range(3) if here.poll()]
    assert told == [("raised", "ListenerClosed")] * 3


# A client is killed -------------------------------------------------------------------------------


def hold_and_bear(desk: Any, ways: list[str], tells: Connection) -> None:
    items = iter(desk)  # the owner keeps the iterator for this process
    next(items)
    tells.send([bear(way) for way in ways])
    time.sleep(2 * PATIENCE)


def clients_killed(seed: int, ways: list[str], rounds: int = 20) -> Tally:
    """Kill clients that hold something; lost is what the owner holds for them a second later."""
    context = get_context("fork")
    proxy, listener = share(Desk())
    held = 0
    with listener, listener.background():
        before = listener.stats()
        for _ in range(rounds):
            here, there = context.Pipe(duplex=False)
            client = context.Process(target=hold_and_bear, args=(proxy, ways, there))
            client.start()
            there.close()
            with here:
                left = here.recv() if here.poll(PATIENCE) else []
            stats = listener.stats()
            assert (stats.clients, stats.references) == (
                before.clients + 1,
                before.references + 1,
            )
            client.kill()
            held += not reached(lambda: _same(before, listener), SOON)
            client.join()
            client.close()
            kill(left)
            assert reached(lambda: _same(before, listener), PATIENCE)
    return Tally(rounds, held, f"{held} kept for longer than a second" if held else "")


def _same(before: Any, listener: Listener[Any]) -> bool:
    now = listener.stats()
    return (now.clients, now.references) == (before.clients, before.references)


def hold_in_manager(address: Any, ways: list[str], tells: Connection) -> None:
    manager: Any = DeskManager(address)
    manager.connect()
    _kept.append(manager.Desk())
    tells.send([bear(way) for way in ways])
    time.sleep(2 * PATIENCE)


def clients_of_manager_killed(seed: int, ways: list[str], rounds: int = 20) -> Tally:
    """Kill clients for which a manager holds an object."""
    context = get_context("fork")
    manager: Any = DeskManager(ctx=context)
    held = 0
    with manager:
        for _ in range(rounds):
            before = manager._number_of_objects()
            here, there = context.Pipe(duplex=False)
            client = context.Process(target=hold_in_manager, args=(manager.address, ways, there))
            client.start()
            there.close()
            with here:
                left = here.recv() if here.poll(PATIENCE) else []
            assert manager._number_of_objects() == before + 1
            client.kill()
            held += not reached(lambda: manager._number_of_objects() == before, SOON)  # noqa: B023
            client.join()
            client.close()
            kill(left)
    return Tally(rounds, held, f"{held} objects kept for ever" if held else "")


@pytest.mark.usefixtures("descriptors_kept")
@pytest.mark.parametrize("way", WAYS)
def test_the_owner_lets_go_of_a_killed_client_whose_children_live_on(way: str) -> None:
    assert clients_killed(1, [way], rounds=2).tried == 2


# A spawned owner crashes --------------------------------------------------------------------------

CRASHES: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "os._exit(3)": ("leave", (3,), "exited with code 3"),
    "SIGSEGV": ("crash", (), "SIGSEGV"),
    "SIGKILL": ("die", (signal.SIGKILL,), "SIGKILL"),
    "SIGTERM": ("die", (signal.SIGTERM,), "SIGTERM"),
}


def crashes(seed: int, hosting: Hosting, make: Callable[[], object], rounds: int = 5) -> Tally:
    """Let owners crash; lost is each whose caller is not told how, as itself or by name."""
    untold = 0
    for _ in range(rounds):
        try:
            make()
        except Refused:
            pass
        except Exception:
            untold += 1
        for name, args, words in CRASHES.values():
            with hosting(get_context("fork")) as (desk, _):
                try:
                    getattr(desk, name)(*args)
                except Exception as error:
                    untold += words not in str(error)
    tried = rounds * (1 + len(CRASHES))
    return Tally(tried, untold, f"{untold} not told how" if untold else "")


def refuse_in_spawn() -> None:
    with spawning(get_context("fork")):
        spawn(Desk, True)


def refuse_in_manager() -> None:
    manager: Any = DeskManager(ctx=get_context("fork"))
    with manager:
        manager.Desk(True)


def test_a_crash_is_told_by_name_and_a_refusal_as_itself() -> None:
    assert crashes(1, by_pipeproxy, refuse_in_spawn, rounds=2) == Tally(10, 0)


@pytest.mark.parametrize("crash", CRASHES)
def test_pending_calls_of_the_creators_threads_are_told_how_it_crashed(crash: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    name, args, words = CRASHES[crash]
    with by_pipeproxy(get_context("fork")) as (desk, _), ThreadPoolExecutor(4) as threads:
        told = list(threads.map(lambda _: _error_of(getattr(desk, name), *args), range(4)))
    assert all(words in text for text in told), told


def _error_of(call: Callable[..., object], *args: Any) -> str:
    try:
        call(*args)
    except OwnerDied as error:
        return str(error)
    return "nothing"


# A creator is killed ------------------------------------------------------------------------------

MOMENTS = [SPAWNING, IDLING, CALLING]


def creators_killed(seed: int, manager: bool, rounds: int = 5) -> Tally:
    """Kill creators of owners; lost is every owner that is still there after some seconds."""
    left = 0
    for _ in range(rounds):
        for moment in MOMENTS:
            left += not kill_creator(manager, "fork", moment, limit=2.0)
    return Tally(rounds * len(MOMENTS), left, f"{left} went on as orphans" if left else "")


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_spawned_owner_ends_when_its_creator_is_killed(context: BaseContext, moment: str) -> None:
    method = context.get_start_method()
    assert method is not None
    assert kill_creator(False, method, moment)


# Children end with the owner ----------------------------------------------------------------------


def wait_for_item(proxy: Any, items: Any, tells: Connection) -> None:
    end_with(proxy)
    tells.send(os.getpid())
    items.get()


def waiting_children(seed: int, rounds: int = 5, children: int = 8) -> Tally:
    """Kill owners whose clients wait for a queue; lost is every client that goes on."""
    context = get_context("fork")
    left = 0
    for _ in range(rounds):
        here, there = context.Pipe(duplex=False)
        items: Any = context.SimpleQueue()
        with by_pipeproxy(context) as (desk, owner), here:
            args = (desk, items, there)
            made = [context.Process(target=wait_for_item, args=args) for _ in range(children)]
            for process in made:
                process.start()
            there.close()
            for _ in made:
                here.recv()
            owner.kill()
            end = monotonic() + SOON
            for process in made:
                process.join(max(0.0, end - monotonic()))
                left += process.exitcode != -signal.SIGTERM
                process.kill()
                process.join()
                process.close()
        items.close()
    return Tally(rounds * children, left, f"{left} went on" if left else "")


def test_children_that_wait_for_a_queue_end_with_a_spawned_owner() -> None:
    assert waiting_children(1, rounds=1).tried == 8


# The table ----------------------------------------------------------------------------------------

OTHERS = list(WAYS)
TOLD = (OwnerDied.__name__,)


def _killed(kinds: list[str], ways: Iterable[str] = ()) -> dict[str, Callable[[int], Tally]]:
    return {
        "ours": partial(owner_killed, hosting=by_pipeproxy, kinds=kinds, ways=ways, errors=TOLD),
        "manager": partial(owner_killed, hosting=by_manager, kinds=kinds, ways=ways),
    }


ROWS = [
    Row(
        "owner killed with 8 calls pending: each told within 1 s, asleep until then",
        **_killed([PENDING] * 8),
        seconds=120,
    ),
    Row(
        "owner killed, 8 clients idle: their next calls told within 1 s",
        **_killed([IDLING, NEW] * 4),
        seconds=120,
    ),
    Row(
        "both, while siblings live on (fork, os.system, posix_spawn, Popen, fork in C)",
        **_killed(MIXED, OTHERS),
        seconds=240,
    ),
    Row(
        "client killed, its children live on: what it held is free within 1 s",
        partial(clients_killed, ways=OTHERS),
        partial(clients_of_manager_killed, ways=OTHERS),
        seconds=120,
    ),
    Row(
        "spawned owner crashes (raise, os._exit(3), signals): its caller is told how",
        partial(crashes, hosting=by_pipeproxy, make=refuse_in_spawn),
        partial(crashes, hosting=by_manager, make=refuse_in_manager),
    ),
    Row(
        "creator killed while it spawns, idles or calls: the spawned owner ends",
        partial(creators_killed, manager=False),
        partial(creators_killed, manager=True),
        seconds=120,
    ),
    Row(
        "owner killed, 8 children wait for a queue: they end with it (`end_with`)",
        waiting_children,
        "no such thing",
    ),
]
