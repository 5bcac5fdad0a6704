"""The chaos kit: processes that are killed, stopped and interrupted, and what is told of it."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import pytest

from pipeproxy import CallTimeout, OwnerDied, spawn, spawning, testing, timeout
from pipeproxy._channels._channel import Channel
from pipeproxy.testing import (
    AFTER,
    BEFORE,
    MIDDLE,
    READING,
    Interrupted,
    Moment,
    disturbed,
    disturbing,
    interrupt,
    kill,
    stop,
)

from .children import run_program
from .hosted import Account
from .support import PATIENCE, fork, is_readable

pytestmark = pytest.mark.usefixtures("descriptors_kept")

MOMENTS = list(Moment)
SEND, RECEIVE = Channel.send, Channel.receive


# What is chosen ----------------------------------------------------------------------------------


def test_a_seed_chooses_the_same_each_time() -> None:
    chosen = [(b.frame, b.when) for b in (disturbed(kill(), seed=s, among=5) for s in range(99))]
    again = [(b.frame, b.when) for b in (disturbed(kill(), seed=s, among=5) for s in range(99))]
    assert chosen == again
    assert set(chosen) == {(frame, when) for frame in range(1, 6) for when in Moment}
    assert disturbed(kill(), frame=70, when=READING, seed=1).frame == 70
    assert {disturbed(kill(), frame=70, seed=seed).when for seed in range(99)} == set(Moment)


@pytest.mark.parametrize("wrong", [{"frame": 0}, {"frame": -1}, {"among": 0}])
def test_there_is_no_frame_before_the_first(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="the first frame has the number 1"):
        disturbed(kill(), **wrong)


# Actions -----------------------------------------------------------------------------------------


def deposits(account: Account, count: int) -> None:
    for _ in range(count):
        account.deposit(1)


@pytest.mark.parametrize("when", MOMENTS)
def test_a_client_is_killed_at_its_third_call(context: Any, when: Moment) -> None:
    account, host = spawn(Account, "ada")
    with host:
        action = disturbing(kill(), frame=3, when=when)
        client = context.Process(target=action, args=(deposits, account, 10))
        client.start()
        client.join(PATIENCE)
        assert client.exitcode == -signal.SIGKILL
        assert account.balance == (2 if when in (BEFORE, MIDDLE) else 3)
        client.close()


@pytest.mark.parametrize("when", MOMENTS)
def test_an_owner_is_killed_at_its_third_call(context: BaseContext, when: Moment) -> None:
    with spawning(context):
        account, host = spawn(disturbing(kill(), frame=3, when=when), Account, "ada")
    with host:
        assert (account.deposit(5), account.deposit(5)) == (5, 10)
        if when is AFTER:
            assert account.deposit(5) == 15
        with pytest.raises(OwnerDied, match=r"held disturbing\(kill\(\), frame=3, .*SIGKILL"):
            account.deposit(5)


def test_a_process_that_stops_itself_is_continued() -> None:
    account, host = spawn(Account, "ada")
    reader, writer = os.pipe()
    with host:

        def client() -> None:
            with disturbed(stop(0.05), frame=2, when=MIDDLE) as block:
                deposits(account, 3)
            assert block.happened
            with pytest.raises(ChildProcessError):
                os.waitpid(-1, 0)  # what stopped it is gone
            os.read(reader, 1)

        pid = fork(client)
        # Only of a process that had been stopped is it said that it was continued.
        assert os.WIFCONTINUED(os.waitpid(pid, os.WCONTINUED)[1])
        os.write(writer, b"x")
        assert os.waitpid(pid, 0)[1] == 0
        assert account.balance == 3
    os.close(reader)
    os.close(writer)


def test_who_stops_a_process_ends_with_it() -> None:
    reader, writer = os.pipe()

    def stopped() -> None:
        os.dup2(writer, 2)
        os.close(writer)
        stop(1e6)()

    pid = fork(stopped)
    os.close(writer)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    assert not is_readable(reader, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert is_readable(reader)
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_an_owner_is_stopped_in_the_middle_of_a_reply() -> None:
    account, host = spawn(disturbing(stop(1), frame=1, when=MIDDLE), Account, "ada")
    with host:
        with pytest.raises(CallTimeout), timeout(0.02):
            account.deposit(5)
        assert account.deposit(5) == 10


@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.parametrize("error", [Interrupted, ZeroDivisionError, KeyboardInterrupt])
def test_an_interrupt_raises_in_the_call_and_leaves_the_handlers_as_they_were(
    when: Moment, error: type[BaseException]
) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGINT)]
    account, host = spawn(Account, "ada")
    with host, disturbed(interrupt(error), frame=2, when=when):
        assert account.deposit(5) == 5
        with pytest.raises(error):
            account.deposit(5)
        assert account.balance == (5 if when in (BEFORE, MIDDLE) else 10)
    assert before == [signal.getsignal(number) for number in (signal.SIGUSR1, signal.SIGINT)]


def test_an_interrupt_comes_to_the_main_thread_only() -> None:
    errors: list[Exception] = []

    def enter() -> None:
        try:
            with disturbed(interrupt()):
                pass
        except ValueError as error:
            errors.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "main thread" in str(errors.pop())
    assert (Channel.send, Channel.receive) == (SEND, RECEIVE)


@pytest.mark.parametrize("action", [kill(), stop(1.5), interrupt(), interrupt(KeyError)])
def test_actions_travel_and_say_what_they_are(action: Callable[[], None]) -> None:
    assert pickle.loads(pickle.dumps(action)) == action
    travelled = pickle.loads(pickle.dumps(disturbing(action, frame=3, when=MIDDLE)))
    assert repr(travelled) == f"disturbing({action!r}, frame=3, when=MIDDLE)"


# The example -------------------------------------------------------------------------------------


def test_the_example_of_the_docstring_runs(tmp_path: Path) -> None:
    assert testing.__doc__
    indented = [
        line for line in testing.__doc__.splitlines() if line.startswith("    ") or not line
    ]
    example = textwrap.dedent("\n".join(indented)).strip()
    file = tmp_path / "test_example.py"
    file.write_text(example + "\n", "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "21 passed" in done.stdout


def test_nobody_pays_for_it_who_does_not_ask() -> None:
    program = "import pipeproxy, sys; print([name for name in sys.modules if 'test' in name])"
    assert run_program(program).stdout == "[]\n"


def test_what_is_public_is_said() -> None:
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
