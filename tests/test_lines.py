"""The client's way to a listener: how a channel is opened, and what is said when it is not."""

from __future__ import annotations

import io
import os
import resource
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import CallLost, CallTimeout, ListenerClosed, ProtocolError, share, timeout
from pipeproxy._channels._door import Route
from pipeproxy._client import _lines
from pipeproxy._proxies._proxy import link_of
from pipeproxy._references._references import rebuild

from .children import Child, outcome
from .support import PATIENCE, open_descriptors

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Counter:
    def __init__(self) -> None:
        self.total = 0
        self._used: list[int] = []

    def add(self) -> int:
        self.total += 1
        return self.total

    def use_up_descriptors(self) -> None:
        """Let this process open no more descriptors."""
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_descriptors()) + 8, hard))
        try:
            while True:
                self._used.append(os.dup(0))
        except OSError:
            pass

    def give_back_descriptors(self) -> None:
        for number in self._used:
            os.close(number)


def call(counter: Any) -> Any:
    return counter.add()


# Nobody serves -----------------------------------------------------------------------------------


def impatient_call(counter: Any, stderr: Connection, times: int, patience: float = 0.05) -> Any:
    """Call with little patience, and send what is written to standard error."""
    _lines._PATIENCE = patience

    class Told(io.StringIO):
        def write(self, text: str) -> int:
            stderr.send(text)
            return len(text)

    sys.stderr = Told()
    try:
        return [counter.add() for _ in range(times)]
    finally:
        sys.stderr = sys.__stderr__


def test_a_client_that_nobody_serves_says_so_once_and_waits_on(context: Any) -> None:
    here, there = context.Pipe(duplex=False)
    proxy, listener = share(Counter())
    with listener, Child(context, impatient_call, proxy, there, 3) as child:
        there.close()
        assert here.poll(PATIENCE)
        text = here.recv()
        assert not here.poll(0.2)  # four times its patience
        assert child.result(listener) == [1, 2, 3]
        assert not here.poll()
        pid = child.process.pid
    here.close()
    assert text.startswith(f"pipeproxy: process {pid} waits for process {os.getpid()}")
    assert text.endswith("\n")
    assert text.count("\n") == 1
    assert "is its listener served?" in text
    assert "listener.serve(until=p)" in text


def test_a_client_that_is_served_says_nothing(context: Any) -> None:
    here, there = context.Pipe(duplex=False)
    proxy, listener = share(Counter())
    with listener, Child(context, impatient_call, proxy, there, 100, 30) as child:
        there.close()
        assert len(child.result(listener)) == 100
        assert not here.poll()
    here.close()


def test_the_patience_is_five_seconds() -> None:
    assert _lines._PATIENCE == 5


def impatient_timeout(counter: Any, stderr: Connection) -> Any:
    with timeout(0.2):
        return outcome(impatient_call, counter, stderr, 1)


def test_a_deadline_holds_though_it_complained(context: Any) -> None:
    here, there = context.Pipe(duplex=False)
    proxy, listener = share(Counter())
    with listener, Child(context, impatient_timeout, proxy, there) as child:
        there.close()
        assert here.poll(PATIENCE)
        assert "is its listener served?" in here.recv()
        assert child.result()[:2] == ("raised", CallTimeout.__name__)
    here.close()


def test_a_listener_closed_before_it_ever_served_is_told(context: BaseContext) -> None:
    proxy, listener = share(Counter())
    with Child(context) as child:
        child.do(closed_call, proxy)
        listener.close()
        assert child.result() == ListenerClosed.__name__


def closed_call(counter: Any) -> str:
    try:
        counter.add()
    except Exception as error:
        return type(error).__name__
    return "answered"


# Descriptors -------------------------------------------------------------------------------------


def be_refused(counter: Any) -> tuple[Any, ...]:
    """Hold one channel and ask for a second one, while the owner can open nothing."""
    _lines._REFUSALS = 3
    counter.add()
    counter.use_up_descriptors()
    refused: list[Any] = []

    def work() -> None:
        try:
            counter.add()
        except CallLost as error:
            refused.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    goes_on = counter.add()
    counter.give_back_descriptors()
    accepted: list[int] = []
    thread = threading.Thread(target=lambda: accepted.append(counter.add()))
    thread.start()
    thread.join(PATIENCE)
    return refused, goes_on, accepted


def test_an_owner_out_of_descriptors_refuses_new_channels_and_keeps_the_old() -> None:
    with Child("fork") as owner, Child("fork") as client:
        proxy = owner.do(own_counter).result()
        owner.do(serve)
        refused, goes_on, accepted = client.do(be_refused, proxy).result()
        owner.kill()
    assert len(refused) == 1
    assert "is out of descriptors (raise its ulimit -n)" in refused[0]
    assert goes_on == 2
    assert accepted == [3]


_kept: list[Any] = []


def own_counter() -> Any:
    proxy, listener = share(Counter())
    _kept.append(listener)
    return proxy


def serve() -> None:
    _kept[0].serve()


# Who answers -------------------------------------------------------------------------------------


def call_by_route(route: tuple[Any, ...], number: int, plain: Any) -> tuple[Any, ...]:
    proxy = rebuild(route, number, plain)
    return outcome(proxy.add)


@pytest.mark.parametrize("context", ["spawn"], indirect=True)
def test_without_the_secret_nobody_gets_in(context: BaseContext) -> None:
    """The knock is not answered, so the stranger finds that the owner takes no channels."""
    proxy, listener = share(Counter())
    link = link_of(proxy)
    forged = Route(*link.route)._replace(secret=bytes(16))
    with listener, Child(context, few_refusals) as child:
        child.result()
        child.do(call_by_route, tuple(forged), link.number, link.plain)
        kind, name, _ = child.result(listener)
        assert (kind, name) == ("raised", CallLost.__name__)
        assert listener.stats().clients == 0


def few_refusals() -> None:
    _lines._REFUSALS = 2


def test_an_owner_that_cannot_prove_itself_is_told_nothing(context: BaseContext) -> None:
    proxy, listener = share(Counter())
    with listener, Child(context) as child:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pipeproxy._owner._reception.hello", lambda secret, nonce: bytes(16))
            child.do(call_outcome, proxy)
            kind, name, text = child.result(listener)
        assert (kind, name) == ("raised", ProtocolError.__name__)
        assert "is not the owner" in text
        assert listener.stats().calls == {}
        assert child.do(call, proxy).result(listener) == 1


def call_outcome(counter: Any) -> tuple[Any, ...]:
    return outcome(counter.add)
