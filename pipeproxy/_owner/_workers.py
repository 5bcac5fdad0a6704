"""Workers: threads of the owner's that run the calls which may wait.

A channel has a worker of its own from its first such call on, so all of them run in one thread,
one after another, and a lock that belongs to a thread belongs to the client's. While one runs, the
channel is its worker's, which writes the reply; the thread that serves goes on with all others.

Both touch a channel under one lock, `_descriptors.lock`: in which channels are closed, too, so that
nothing is ever written to a number that another file has by now, and processes are forked.

A worker ends with its channel, its client or the listener. Only one that holds a lock stays, for
the next channel of the same thread, or until the client is dead.
"""

from __future__ import annotations

import threading
from _thread import start_new_thread
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from time import monotonic
from typing import Protocol

from .._chains._activities import Activity, here
from .._channels._wire import Frame
from .._objects._clients import Client
from .._objects._subjects import Shared
from .._system import _deadline
from ..errors import Cancelled, ListenerClosed
from ._caller import Caller, Errand, Reply


class Held(Protocol):
    """What a thread may hold, and another cannot give back."""

    def give_back(self) -> None:
        """Give it back, as often as this thread holds it."""


class Worker:
    """One thread, which is started when it is first needed.

    Args:
        client: whose calls it runs.
        run: called with each caller whose errand it was given.
        refuse: called with each if the system gives this process no more threads, and why.
        over: called when it ends.

    Attributes:
        in_hand: the caller whose call runs now.
        channel: the caller whose calls come to it.
        interrupt: ends what the call in hand waits for; None where that notices by itself.
        holds: what it holds for its client.
        closed: the listener is closed.
    """

    beside = alert = listen = None  # others are served by another thread
    served = None  # it is noted in `here.serves`

    def __init__(
        self,
        client: Client,
        run: Callable[[Worker, Caller], None],
        refuse: Callable[[Caller, RuntimeError], None],
        over: Callable[[Worker], object],
    ) -> None:
        self.client = client
        self.in_hand: Caller | None = None
        self.channel: Caller | None = None
        self.interrupt: Callable[[], object] | None = None
        self.holds: dict[Held, None] = {}
        self.closed = False
        self._run, self._refuse, self._over = run, refuse, over
        self._errands: SimpleQueue[Caller | None] = SimpleQueue()
        self._works = threading.Lock()
        self.thread: threading.Thread | None = None

    def take(self, caller: Caller) -> None:
        """Run the caller's errand, after all that it was given before."""
        self._errands.put(caller)
        if not self._works.locked():
            # In a thread already: a signal handler, which runs in the main one, might raise in the
            # middle of `Thread.start`.
            try:
                start_new_thread(self._begin, ())
            except RuntimeError as error:
                self._give_up(error)

    def _begin(self) -> None:
        thread = threading.Thread(target=self._work, name="pipeproxy worker", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            self._give_up(error)
        else:
            self.thread = thread

    def _give_up(self, error: RuntimeError) -> None:
        while not self._errands.empty():
            caller = self._errands.get()
            if caller is not None:
                self._refuse(caller, error)

    def end(self) -> None:
        """End when all that it was given is done; a second time does nothing."""
        self._errands.put(None)

    def stop_waiting(self) -> None:
        """End what the call in hand waits for, if it does not notice by itself."""
        end, self.interrupt = self.interrupt, None
        if end is not None:
            end()

    def _work(self) -> None:
        if not self._works.acquire(False):
            return  # the start of one was interrupted, and yet it began
        here.server = self
        try:
            while (caller := self._errands.get()) is not None:
                self._run(self, caller)
                del caller
        finally:
            for held in list(self.holds):
                held.give_back()
            self._over(self)


class Workers:
    """The workers of one listener.

    Args:
        answer: runs a call of a client and returns the reply.
        fail: returns the reply for an exception, and where that came from.
        finish: sends the reply of a caller's errand, and gives its channel back.
        resume: called with a caller that the thread that serves has to look after again.
    """

    def __init__(
        self,
        answer: Callable[[Client, Shared, Frame], Reply],
        fail: Callable[[BaseException, str, Client, int], Reply],
        finish: Callable[[Errand, Reply], None],
        resume: Callable[[Caller], object],
    ) -> None:
        self._answer, self._fail = answer, fail
        self._finish, self._resume = finish, resume
        self._all: set[Worker] = set()
        #: Those that hold something for a client thread whose channel is closed.
        self._kept: dict[Activity, Worker] = {}
        self._forked = False

    def start(self, caller: Caller) -> None:
        """Let a caller's errand run; from here on the channel is its worker's."""
        worker = caller.worker
        if worker is None:
            worker = self._kept.get(caller.activity)
            worker = worker or Worker(caller.client, self._run, self._refuse, self._all.discard)
            self._all.add(worker)
            caller.worker, worker.channel = worker, caller
            self._kept.pop(caller.activity, None)
        caller.serving = True
        worker.take(caller)

    def _refuse(self, caller: Caller, error: RuntimeError) -> None:
        errand = caller.errand
        if errand is not None:
            where = "a thread for this call"
            self._finish(errand, self._fail(error, where, caller.client, errand.ident))

    def _run(self, worker: Worker, caller: Caller) -> None:
        errand = caller.errand
        if errand is None:
            return  # its channel was cut
        worker.in_hand, here.serves = caller, errand.served
        call = partial(self._answer, caller.client, errand.shared, errand.frame)
        error: Exception | None = None
        if errand.given_up:
            error = Cancelled("the call was given up before it began")
        elif _deadline.is_over(errand.deadline):
            error = _deadline.passed()
        if error is not None:
            call = partial(self._fail, error, "this call", caller.client, errand.ident)
        try:
            reply = _deadline.run(errand.deadline, call)
            if not self._forked:
                self._finish(errand, reply)
        except BaseException:
            caller.ended = True  # its client must not wait for ever
            self._resume(caller)
            raise
        finally:
            worker.in_hand = worker.interrupt = here.serves = None
        if self._forked:
            raise ListenerClosed("a method forked this process; the listener is its parent's")

    def stop_waiting(self, caller: Caller) -> None:
        """End what a caller's call waits for, if it runs and does not notice by itself."""
        worker = caller.worker
        if worker is not None and worker.in_hand is caller:
            worker.stop_waiting()

    # -- ends -------------------------------------------------------------------------------------

    def left(self, caller: Caller) -> None:
        """Do without a channel, which is closed; more than once, maybe."""
        worker = caller.worker
        if worker is None or worker.channel is not caller:
            return
        self.stop_waiting(caller)
        if worker.holds and not caller.client.dead:
            self._kept[caller.activity] = worker
        else:
            worker.end()

    def bury(self, client: Client) -> None:
        """End what works for a client, which is dead."""
        for worker in list(self._all):
            if worker.client is client:
                self._forget(worker)

    def close(self) -> None:
        """End them all: what waits here waits no more, what runs is not heard any more."""
        for worker in list(self._all):
            worker.closed = True
            worker.stop_waiting()
            self._forget(worker)

    def _forget(self, worker: Worker) -> None:
        if worker.channel is not None:
            self._kept.pop(worker.channel.activity, None)
        worker.end()

    def join(self, seconds: float) -> None:
        """Wait for the threads to end; not for one that runs a call which takes longer."""
        deadline = monotonic() + seconds
        for worker in list(self._all):
            if worker.thread is not None and worker.thread is not threading.current_thread():
                worker.thread.join(max(0.0, deadline - monotonic()))

    def forked(self) -> None:
        """In a forked child: none of the threads is here, but the one that forked, maybe."""
        self._forked = True
