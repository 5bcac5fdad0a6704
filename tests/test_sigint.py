"""Ctrl-C and other signals while an owner serves."""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import CallLost, CodecError, Listener, ListenerClosed, OwnerDied, share

from .children import Child, outcome
from .support import PATIENCE, Interrupted, in_fork, interrupt

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Tokens:
    """Gives back what it gets, and remembers it."""

    def __init__(self) -> None:
        self.seen: list[int] = []
        self.over = False

    def echo(self, token: int) -> int:
        self.seen.append(token)
        return -1 if self.over else token

    def handler(self) -> str:
        return repr(signal.getsignal(signal.SIGINT))

    def is_default(self) -> bool:
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def set_handler(self) -> None:
        signal.signal(signal.SIGINT, own_handler)

    def interrupt_yourself(self) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "finished"

    def tick(self, ticks: Any) -> None:
        """Hang, and tell again and again that signals would be seen."""
        while True:
            threading.Event().wait(0.005)
            self.ticks.send_bytes(b".")

    ticks: Any = None


hits: list[int] = []


def own_handler(number: int, frame: object) -> None:
    hits.append(number)


# The owner's side, run in a process of its own ---------------------------------------------------


def serve_until_interrupted(hands: Connection, way: str, ticks: Any = None) -> tuple[Any, ...]:
    """Be an owner in the main thread; return how serving ended and what was left behind."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    target = Tokens()
    target.ticks = ticks
    proxy, listener = share(target)
    hands.send(proxy)
    try:
        if way == "serve":
            listener.serve()
        else:
            while True:
                listener.poll(PATIENCE)
    except BaseException as error:
        ended = type(error).__name__
    restored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    answered = listener.stats().calls.get("Tokens.echo", 0)
    listener.close()
    return ended, restored, answered


class Owner:
    def __init__(self, context: Any, stack: ExitStack, *args: Any) -> None:
        here, there = context.Pipe()
        stack.callback(here.close)
        self.child = stack.enter_context(Child(context, serve_until_interrupted, there, *args))
        there.close()
        assert here.poll(PATIENCE)
        self.proxy = here.recv()

    def interrupt(self) -> None:
        pid = self.child.process.pid
        assert pid is not None
        os.kill(pid, signal.SIGINT)


def hammer(proxy: Any, number: int, started: Any) -> tuple[str, bool]:
    """Call until that fails; return how, and whether each answer was the right one."""
    token, right = number, True
    try:
        while True:
            token += 10
            right = proxy.echo(token) == token and right
            if token == number + 1000:
                started.send_bytes(b"!")
    except (ListenerClosed, OwnerDied, CallLost) as error:
        return type(error).__name__, right


@pytest.mark.parametrize("way", ["serve", "poll"])
def test_ctrl_c_leaves_an_idle_owner_at_once(context: BaseContext, way: str) -> None:
    with ExitStack() as stack:
        owner = Owner(context, stack, way)
        assert owner.proxy.echo(1) == 1  # so it waits in the call that is to be left
        owner.interrupt()
        assert owner.child.result() == ("KeyboardInterrupt", True, 1)
        assert outcome(owner.proxy.echo, 2)[1] == "ListenerClosed"
        owner.child.end()


@pytest.mark.parametrize("way", ["serve", "poll"])
def test_ctrl_c_leaves_a_busy_owner_and_its_clients_are_told(context: Any, way: str) -> None:
    with ExitStack() as stack:
        owner = Owner(context, stack, way)
        here, there = context.Pipe()
        clients = [
            stack.enter_context(Child(context, hammer, owner.proxy, n, there)) for n in range(3)
        ]
        for _ in clients:
            assert here.poll(PATIENCE)
            here.recv_bytes()
        owner.interrupt()
        ended, restored, answered = owner.child.result()
        assert (ended, restored) == ("KeyboardInterrupt", True)
        assert answered >= 300
        owner.child.end()
        for client in clients:
            name, right = client.result()
            assert name in {"ListenerClosed", "OwnerDied"}
            assert right
        here.close()
        there.close()


def test_the_call_in_hand_is_finished_before_ctrl_c_leaves(context: BaseContext) -> None:
    with ExitStack() as stack:
        owner = Owner(context, stack, "serve")
        assert owner.proxy.interrupt_yourself() == "finished"
        assert owner.child.result()[:2] == ("KeyboardInterrupt", True)


def test_a_second_ctrl_c_leaves_a_method_that_hangs(context: Any) -> None:
    with ExitStack() as stack:
        here, there = context.Pipe(duplex=False)
        stack.callback(here.close)
        owner = Owner(context, stack, "serve", there)
        there.close()
        caller = stack.enter_context(Child(context, call_tick, owner.proxy))

        def wait_for_ticks() -> None:
            while here.poll():
                here.recv_bytes()
            for _ in range(3):
                assert here.poll(PATIENCE)
                here.recv_bytes()

        wait_for_ticks()
        owner.interrupt()
        wait_for_ticks()  # the first was seen, and the method goes on
        owner.interrupt()
        assert owner.child.result()[:2] == ("KeyboardInterrupt", True)
        assert caller.result()[0] == "raised"


def call_tick(proxy: Any) -> tuple[Any, ...]:
    return outcome(proxy.tick, None)


# Handlers ----------------------------------------------------------------------------------------


def look_at_handler(proxy: Any) -> tuple[bool, str]:
    return proxy.is_default(), proxy.handler()


def test_a_handler_of_the_users_own_is_left_alone() -> None:
    def owner() -> None:
        proxy, listener = share(Tokens())
        signal.signal(signal.SIGINT, own_handler)
        with listener, Child("fork", look_at_handler, proxy) as child:
            listener.serve(until=lambda: listener.stats().calls.get("Tokens.handler"))
            assert child.result() == (False, repr(own_handler))
            child.do(interrupt_owner, proxy)
            listener.serve(until=lambda: hits)
            assert child.result(listener) == "finished"
            assert signal.getsignal(signal.SIGINT) is own_handler
            assert hits == [signal.SIGINT]

    in_fork(owner)


def interrupt_owner(proxy: Any) -> str:
    said: str = proxy.interrupt_yourself()
    return said


def test_a_handler_that_a_method_sets_stays() -> None:
    def owner() -> None:
        proxy, listener = share(Tokens())
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with listener, Child("fork", set_handler, proxy) as child:
            listener.serve(until=lambda: listener.stats().calls)
            child.result()
        assert signal.getsignal(signal.SIGINT) is own_handler

    in_fork(owner)


def set_handler(proxy: Any) -> None:
    proxy.set_handler()


@pytest.mark.parametrize("handler", [signal.SIG_IGN, signal.SIG_DFL])
def test_a_disposition_of_the_users_own_is_left_alone(handler: Any) -> None:
    def owner() -> None:
        _, listener = share(Tokens())
        signal.signal(signal.SIGINT, handler)
        with listener:
            listener.serve(until=lambda: signal.getsignal(signal.SIGINT) == handler)
            listener.poll()
        assert signal.getsignal(signal.SIGINT) == handler

    in_fork(owner)


def test_the_handler_is_pythons_own_outside_of_serving() -> None:
    def owner() -> None:
        proxy, listener = share(Tokens())
        default = signal.default_int_handler
        signal.signal(signal.SIGINT, default)
        with listener, Child("fork", look_at_handler, proxy) as child:
            listener.serve(until=lambda: listener.stats().calls.get("Tokens.handler"))
            assert signal.getsignal(signal.SIGINT) is default
            while_served, _ = child.result()
            assert not while_served
            listener.poll()
            assert signal.getsignal(signal.SIGINT) is default
            with listener.background():
                assert child.do(look_at_handler, proxy).result()[0]

    in_fork(owner)


def test_a_child_that_is_forked_while_it_serves_has_pythons_own_handler() -> None:
    def owner() -> None:
        proxy, listener = share(Forking())
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with listener, Child("fork", call_fork, proxy) as child:
            assert child.result(listener) is True

    in_fork(owner)


class Forking:
    def fork(self) -> bool:
        return fork_and_look()


def fork_and_look() -> bool:
    def look() -> None:
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    in_fork(look)
    return True


def call_fork(proxy: Any) -> bool:
    forked: bool = proxy.fork()
    return forked


# Signal handlers that raise ----------------------------------------------------------------------


def call_on_and_on(proxy: Any, number: int, new_channels: bool) -> tuple[int, list[int]]:
    """Call with tokens of its own; return how many were lost and which were answered."""
    lost, answered = 0, []
    answers: list[int] = [0]

    def ask() -> None:
        nonlocal lost
        try:
            answers.append(proxy.echo(number))
        except CallLost:
            lost += 1
        except (Interrupted, CodecError) as error:  # raised inside the method, or while decoding
            if "Interrupted" not in repr(error):
                raise
            lost += 1
        else:
            answered.append(number)
            assert answers[-1] in {number, -1}

    while answers[-1] != -1:
        number += 1
        if new_channels:
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
        else:
            ask()
    return lost, answered


@pytest.mark.parametrize("new_channels", [False, True], ids=["kept channels", "new channels"])
def test_a_handler_that_raises_while_serving_costs_at_most_the_call_in_hand(
    new_channels: bool,
) -> None:
    def owner() -> None:
        target = Tokens()
        proxy, listener = share(target)
        clients = [
            Child("fork", call_on_and_on, proxy, n * 1_000_000, new_channels) for n in range(3)
        ]
        listener.serve(until=lambda: len({seen // 1_000_000 for seen in target.seen}) == 3)

        def serve() -> None:
            for _ in range(100):
                listener.poll(0.001)

        raised = 0
        while raised < 60:
            raised += interrupt(serve, rounds=10, longest=1e-3)
        target.over = True
        results = [child.result(listener) for child in clients]
        for child in clients:
            child.end()
        # At most once, and every call that was answered was run.
        assert len(target.seen) == len(set(target.seen))
        for lost, answered in results:
            assert set(answered) <= set(target.seen)
            assert lost <= raised
        serves_well_after_all(listener, proxy, target)

    in_fork(owner)


def serves_well_after_all(listener: Listener[Any], proxy: Any, target: Tokens) -> None:
    """By hand and by another thread, which must find the turn free."""
    target.over = False
    with Child("fork", echo, proxy, 5) as child:
        assert child.result(listener) == 5
        with listener.background():
            assert child.do(echo, proxy, 6).result() == 6
        listener.close()
        assert outcome(proxy.echo, 1)[1] == "ListenerClosed"


def echo(proxy: Any, token: int) -> int:
    answer: int = proxy.echo(token)
    return answer


def test_sigint_that_wakes_nobody_is_not_lost() -> None:
    """Python's wake-up descriptor, as asyncio sets it, sees the signal as ever."""

    def owner() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _, listener = share(Tokens())
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        signal.set_wakeup_fd(theirs.fileno())
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with listener, pytest.raises(KeyboardInterrupt):
            listener.serve()
        signal.set_wakeup_fd(-1)
        assert ours.recv(1) == bytes([signal.SIGINT])
        ours.close()
        theirs.close()

    in_fork(owner)
