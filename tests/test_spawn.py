"""An object in a process of its own: how it starts, how it ends, and what is told of its end."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import (
    CallTimeout,
    Host,
    ListenerClosed,
    OwnerDied,
    RemoteTraceback,
    SpecError,
    spawn,
    spawning,
    timeout,
)
from pipeproxy._system import _life

from .children import Child, outcome, poll_until, run_program
from .hosted import (
    Account,
    Hanging,
    Nothing,
    Refused,
    crash,
    die,
    hang,
    leave,
    leave_by_system_exit,
    make,
    refuse,
)
from .support import in_fork, is_readable

pytestmark = pytest.mark.usefixtures("descriptors_kept")

#: For what has nothing to do with how the process was started.
any_way = pytest.mark.parametrize("context", ["fork"], indirect=True)


@pytest.fixture(autouse=True)
def _context(context: BaseContext) -> Iterator[None]:
    """Let every test spawn in every way."""
    with spawning(context):
        yield


def is_gone(pid: int) -> bool:
    """Wait until a process, which need not be a child of this one, is dead."""
    try:
        life = _life.watch(pid)
    except ProcessLookupError:
        return True
    if life is None:
        poll_until(lambda: outcome(os.kill, pid, 0)[0] == "raised")
        return True
    if is_readable(life.fileno()):
        return True
    os.kill(pid, signal.SIGKILL)
    return False


# Life --------------------------------------------------------------------------------------------


def test_the_object_lives_in_a_process_of_its_own() -> None:
    proxy, host = spawn(Account, "ada", balance=100)
    with host:
        assert proxy.deposit(5) == 105
        assert (proxy.owner, proxy.balance) == ("ada", 105)
        assert proxy.pid() == host.process.pid != os.getpid()
        assert isinstance(proxy, Account)
        assert repr(host) == f"<Host of Account in process {host.process.pid}: running>"
    assert repr(host) == f"<Host of Account in process {host.process.pid}: ended>"


def test_the_context_of_spawning_starts_it(context: BaseContext) -> None:
    proxy, host = spawn(Account, "ada")
    with host:
        assert proxy.process_type() == type(context.Process()).__name__


@any_way
def test_whatever_returns_an_object_can_be_called() -> None:
    proxy, host = spawn(make, "ada")
    with host:
        assert proxy.deposit(1) == 6


def test_closing_the_host_ends_the_process() -> None:
    proxy, host = spawn(Account, "ada")
    other, other_host = spawn(Account, "bob")
    assert proxy.deposit(1) == 1
    for _ in range(2):
        host.close()
        assert host.process.exitcode == 0
        with pytest.raises(OwnerDied, match=f"process {host.process.pid}"):
            proxy.deposit(1)
    assert other.deposit(1) == 1
    other_host.close()
    with pytest.raises((OwnerDied, ListenerClosed)):
        other.deposit(1)


@any_way
def test_a_proxy_that_never_called_learns_of_the_end_as_well() -> None:
    proxy, host = spawn(Account, "ada")
    host.close()
    with pytest.raises(OwnerDied, match=f"process {host.process.pid}"):
        proxy.deposit(1)


@any_way
def test_it_lives_on_after_the_thread_that_made_it(context: BaseContext) -> None:
    made: list[Any] = []

    def work() -> None:
        with spawning(context):
            made.extend(spawn(Account, "ada"))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    proxy, host = made
    made.clear()
    with host:
        assert proxy.deposit(1) == 1


@any_way
def test_ctrl_c_at_the_terminal_does_not_reach_it() -> None:
    proxy, host = spawn(Account, "ada")
    with host:
        assert host.process.pid
        os.kill(host.process.pid, signal.SIGINT)
        assert proxy.deposit(1) == 1


def spawn_and_tell(method: str) -> tuple[Any, int]:
    with spawning(multiprocessing.get_context(method)):
        proxy, host = spawn(Account, "ada")
    _kept.append(host)
    return proxy, proxy.pid()


_kept: list[Host] = []


def test_it_ends_when_its_creator_is_killed(context: BaseContext) -> None:
    with Child(context, spawn_and_tell, context.get_start_method()) as creator:
        proxy, pid = creator.result()
        assert proxy.deposit(1) == 1
        creator.kill()
    assert is_gone(pid)
    with pytest.raises((OwnerDied, ListenerClosed)):
        proxy.deposit(1)


def spawn_and_hang() -> int:
    """Leave a host in the middle of a call that never ends, and return its pid."""
    here, there = multiprocessing.get_context("fork").Pipe()
    with spawning(multiprocessing.get_context("fork")):
        proxy, host = spawn(Hanging, there)
    _kept.append(host)
    threading.Thread(target=proxy.hang, daemon=True).start()
    pid: int = here.recv()
    return pid


def spawn_what_hangs() -> int:
    """Leave a host that never gets its object made, and return its pid."""
    threading.Thread(target=outcome, args=(spawn, hang), daemon=True).start()
    poll_until(multiprocessing.active_children)
    pid = multiprocessing.active_children()[0].pid
    assert pid is not None
    return pid


@any_way
@pytest.mark.parametrize("hung", [spawn_and_hang, spawn_what_hangs])
def test_it_ends_though_it_hangs_when_its_creator_is_killed(hung: Callable[[], int]) -> None:
    with Child("fork", hung) as creator:
        pid = creator.result()
        creator.kill()
    assert is_gone(pid)


def test_it_ends_with_a_creator_that_ends_in_peace(context: BaseContext) -> None:
    with Child(context, spawn_and_tell, context.get_start_method()) as creator:
        proxy, pid = creator.result()
        assert proxy.deposit(1) == 1
    assert creator.process.exitcode == 0
    assert is_gone(pid)


@any_way
def test_one_inside_another_ends_with_it() -> None:
    proxy, host = spawn(Account, "outer")
    with host:
        inner, pid = proxy.spawn_another()
        assert inner.deposit(5) == 5
        assert proxy.deposit_into(inner, 1) == 6
    assert is_gone(pid)
    with pytest.raises((OwnerDied, ListenerClosed)):
        inner.deposit(1)


# Other processes ---------------------------------------------------------------------------------


def deposit(proxy: Any, times: int) -> int:
    return [proxy.deposit(1) for _ in range(times)][-1]


def test_other_processes_use_it(context: BaseContext) -> None:
    proxy, host = spawn(Account, "ada")
    with host, Child(context, deposit, proxy, 50) as child:
        deposit(proxy, 50)
        child.result()
        assert proxy.balance == 100


@any_way
def test_it_can_be_an_argument_of_another() -> None:
    ada, ada_host = spawn(Account, "ada")
    bob, bob_host = spawn(Account, "bob")
    with ada_host, bob_host:
        assert ada.deposit_into(bob, 5) == 5
        assert (ada.balance, bob.balance) == (0, 5)


def test_a_forked_child_of_the_creator_does_not_end_it() -> None:
    proxy, host = spawn(Account, "ada")

    def child() -> None:
        assert proxy.deposit(1) == 1
        with host:
            pass
        host.close()

    with host:
        in_fork(child)
        assert proxy.deposit(1) == 2


# Failures ----------------------------------------------------------------------------------------


def test_the_exception_of_a_constructor_arrives_as_itself() -> None:
    with pytest.raises(Refused, match="no account for ada") as caught:
        spawn(refuse, "ada")
    assert caught.value.code == 7
    assert isinstance(caught.value.__cause__, RemoteTraceback)
    assert "raise Refused(owner, code=7)" in str(caught.value.__cause__)


@any_way
def test_wrong_arguments_are_the_constructors_own_type_error() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'owner'"):
        spawn(Account)


@any_way
def test_a_constructor_that_leaves_the_program_does_not_take_the_caller_with_it() -> None:
    with pytest.raises(SystemExit) as caught:
        spawn(leave_by_system_exit, 5)
    assert caught.value.code == 5


@any_way
def test_an_object_that_cannot_be_shared_is_a_spec_error() -> None:
    with pytest.raises(SpecError, match="Nothing shows nothing to proxies"):
        spawn(Nothing)


ENDS: dict[str, tuple[Callable[..., Account], tuple[Any, ...], str]] = {
    "exit": (leave, (3,), "exited with code 3"),
    "exit with success": (leave, (0,), "exited with code 0"),
    "killed": (die, (signal.SIGKILL,), "was killed by SIGKILL"),
    "segmentation fault": (crash, (), "was killed by SIGSEGV"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_constructor_that_ends_the_process_is_told(end: str) -> None:
    function, args, words = ENDS[end]
    with pytest.raises(OwnerDied, match=rf"process \d+ {words} while it made the {end_name(end)}"):
        spawn(function, *args)


def end_name(end: str) -> str:
    return ENDS[end][0].__qualname__


LATER: dict[str, tuple[str, tuple[Any, ...], str]] = {
    "exit": ("exit", (4,), "exited with code 4"),
    "killed": ("kill", (signal.SIGKILL,), "was killed by SIGKILL"),
    "aborted": ("kill", (signal.SIGABRT,), "was killed by SIGABRT"),
    "segmentation fault": ("crash", (), "was killed by SIGSEGV"),
}


@pytest.mark.parametrize("end", LATER)
def test_a_crash_in_a_call_is_told(end: str) -> None:
    name, args, words = LATER[end]
    proxy, host = spawn(Account, "ada")
    with host:
        pid = host.process.pid
        for _ in range(2):
            with pytest.raises(OwnerDied, match=f"process {pid}, which held Account, {words}"):
                getattr(proxy, name)(*args)
    with pytest.raises(OwnerDied, match=words):
        proxy.deposit(1)


@any_way
def test_a_host_that_is_killed_while_nobody_calls_is_told() -> None:
    proxy, host = spawn(Account, "ada")
    assert proxy.deposit(1) == 1
    host.process.kill()
    with pytest.raises(OwnerDied, match="was killed by SIGKILL"):
        proxy.deposit(1)
    host.close()


def meet(proxy: Any) -> tuple[Any, ...]:
    return outcome(proxy.deposit, 1)


def test_others_learn_of_the_crash_as_well(context: BaseContext) -> None:
    proxy, host = spawn(Account, "ada")
    with host, Child(context, meet, proxy) as child:
        assert child.result() == ("returned", 1)
        with pytest.raises(OwnerDied):
            proxy.exit(1)
        kind, name, text = child.do(meet, proxy).result()
        assert (kind, name) == ("raised", "OwnerDied")
        assert f"process {host.process.pid}" in text


@any_way
def test_a_constructor_that_takes_too_long_is_killed() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(CallTimeout), timeout(0.5):
        spawn(hang)
    assert set(multiprocessing.active_children()) == before


def test_an_argument_that_cannot_travel_leaves_no_process(context: BaseContext) -> None:
    if context.get_start_method() == "fork":
        return  # it need not travel
    before = set(multiprocessing.active_children())
    with pytest.raises((TypeError, AttributeError)):
        spawn(Account, threading.Lock())
    assert set(multiprocessing.active_children()) == before


# Daemonic processes ------------------------------------------------------------------------------


def spawn_in_worker(_: int) -> tuple[Any, ...]:
    return outcome(spawn, Account, "ada")


def test_in_a_daemonic_process_it_says_why_not(context: Any) -> None:
    with context.Pool(1) as pool:
        kind, name, text = pool.map(spawn_in_worker, [1])[0]
        pool.close()
        pool.join()
    assert (kind, name) == ("raised", "RuntimeError")
    assert "daemonic" in text
    assert "ProcessPoolExecutor" in text


# spawning ----------------------------------------------------------------------------------------


def types_of(proxies: list[Any]) -> list[str]:
    return [proxy.process_type() for proxy in proxies]


@any_way
def test_spawning_nests_and_ends_with_its_block() -> None:
    made: list[tuple[Any, Host]] = []
    with spawning(multiprocessing.get_context("forkserver")):
        with spawning(multiprocessing.get_context("spawn")):
            made.append(spawn(Account, "a"))
        made.append(spawn(Account, "b"))
    made.append(spawn(Account, "c"))
    kinds = types_of([proxy for proxy, _ in made])
    for _, host in made:
        host.close()
    assert kinds == ["SpawnProcess", "ForkServerProcess", "ForkProcess"]


# The end of the program --------------------------------------------------------------------------

FORGOTTEN = """
import gc, multiprocessing, sys
from pipeproxy import spawn, spawning
from tests.hosted import Account

if __name__ == "__main__":
    with spawning(multiprocessing.get_context(sys.argv[1])):
        proxy = spawn(Account, "ada")[0]
    gc.collect()
    assert proxy.deposit(5) == 5
    print(proxy.pid())
"""

PROGRAM = """
import multiprocessing, sys
from pipeproxy import spawn, spawning
from tests.hosted import Account

if __name__ == "__main__":
    with spawning(multiprocessing.get_context(sys.argv[1])):
        proxy, host = spawn(Account, "ada")
        other, _ = spawn(Account, "bob")
    assert other.deposit(5) == proxy.deposit(5) == 5
    print(proxy.pid(), other.pid())
"""


@pytest.mark.parametrize("program", [FORGOTTEN, PROGRAM], ids=["forgotten", "kept"])
def test_a_program_ends_silently_with_its_hosts(context: BaseContext, program: str) -> None:
    done = run_program(program, context.get_start_method())
    assert (done.stderr, done.returncode) == ("", 0)
    for pid in map(int, done.stdout.split()):
        assert is_gone(pid)


HANGING = """
import multiprocessing, sys, threading
from pipeproxy import PipeProxyError, spawn, spawning
from tests.hosted import Hanging

def call():
    try:
        proxy.hang()
    except PipeProxyError:
        pass

with spawning(multiprocessing.get_context(sys.argv[1])):
    here, there = multiprocessing.get_context(sys.argv[1]).Pipe()
    proxy, host = spawn(Hanging, there)
threading.Thread(target=call, daemon=True).start()
print(here.recv())
"""


@any_way
def test_a_program_ends_though_its_host_hangs_in_a_call(context: BaseContext) -> None:
    done = run_program(HANGING, context.get_start_method())
    assert (done.stderr, done.returncode) == ("", 0)
    assert is_gone(int(done.stdout))


def test_programs_that_the_object_starts_can_be_ended_by_ctrl_c() -> None:
    proxy, host = spawn(Account, "ada")
    with host:
        assert proxy.interrupt_a_program() == -signal.SIGINT
