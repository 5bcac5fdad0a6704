"""Errands: calls that the thread that serves does not run to their end in its turn.

A worker runs one that may wait. Until it is done the channel is the worker's: nothing else of it is
served. An event loop runs what async methods return, of one channel any number at once. In either
case the reply is sent when it is there, and the thread that serves goes on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import isawaitable
from typing import Any, Final

from .._chains._activities import MustGo, MustWait, Served, here
from .._channels._borrowed import Cargo, over
from .._channels._borrowed import reply as pack_reply
from .._channels._parcels import Parcel
from .._channels._wire import LIMIT, RESULT, Frame, header
from .._objects._clients import Client
from .._objects._objects import Objects
from .._objects._subjects import Shared
from .._references._outgoing import Outgoing
from .._references._references import PlainRoute
from .._specs._members import RUN, name_of, named_by
from .._system import _descriptors
from ..errors import CodecError
from ._batches import Batches
from ._caller import SILENCE, Caller, Errand, Reply, arguments_of
from ._retries import Retries
from ._tasks import Tasks
from ._workers import Workers

#: Replies of up to this many bytes are put together before they are written.
_JOIN_BELOW: Final = 1 << 16


class Errands:
    """The errands of one listener.

    Args:
        objects: what is called.
        route: what references say of the listener.
        answer: runs a call of a client and returns the reply.
        fail: returns the reply for an exception; see `_answers.Answers.failure`.
        resume: called with a caller that the thread that serves has to look after again.

    Attributes:
        tasks: those that an event loop runs.
        batches: those that wait for others, to be run all at once.
        retries: calls that may become errands, as they have to wait.
        workers: those of the others.
    """

    def __init__(
        self,
        objects: Objects,
        route: PlainRoute,
        answer: Callable[[Client, Shared, Frame], Reply],
        fail: Callable[..., Reply],
        resume: Callable[[Caller], object],
    ) -> None:
        self._objects, self._route = objects, route
        self._answer, self._fail, self._resume = answer, fail, resume
        self.workers = Workers(answer, fail, self.finish, resume)
        self.tasks = Tasks(self._reply, self.finish, resume)
        self.batches = Batches(self._reply, self.finish, resume, self.tasks)
        self.retries = Retries(resume)

    def hurry(
        self, caller: Caller, shared: Shared, frame: Frame, served: Served | None = None
    ) -> Reply | None:
        """Run the call that is the caller's first frame, and take it; None if it has to wait.

        It is tried only where it is sure to find that out before it has done anything.

        Args:
            served: the call, if its frame says more of it than its channel does.
        """
        if frame[3] == RUN:
            return None  # what a function of the caller's does, nobody can tell
        first, outer = caller.frames[0], here.serves
        if first is self.retries.in_vain:
            return None
        caller.frames.popleft()
        try:
            here.tries, here.serves = shared.target, served
            reply = self._answer(caller.client, shared, frame)
        except MustWait as error:
            shared.counts[frame[3]] -= 1
            caller.frames.appendleft(first)
            self.retries.tried(caller, for_good=isinstance(error, MustGo))
            return None
        finally:
            here.tries, here.serves = None, outer
        self.retries.ran(caller, shared)
        return reply

    def begin(self, errand: Errand) -> Reply:
        """Run a call and return its reply; what has to be awaited becomes a task."""
        shared, member = errand.shared, errand.frame[3]
        awaitables: list[Awaitable[Any]] = []

        def run() -> Any:
            errand.args, kwargs = arguments_of(shared, errand.frame)
            value = shared.call(member, errand.args, kwargs)
            errand.args = named_by(member, errand.args)
            if isawaitable(value):
                self.tasks.check(value, name_of(shared.members.plain, member, errand.args))
                awaitables.append(value)
                return None
            return value

        reply = self._reply(errand, run)
        if not awaitables:
            return reply
        self.tasks.start(errand, awaitables[0])
        return SILENCE

    def _reply(self, errand: Errand, run: Callable[[], Any]) -> Reply:
        """Return the reply for what a function returns or raises as the result of a call."""
        payload = errand.frame[4]
        reply = self._reply_of(errand, run)
        return payload.seal(reply) if type(payload) is Cargo else reply

    def _reply_of(self, errand: Errand, run: Callable[[], Any]) -> Reply:
        client, shared, ident = errand.caller.client, errand.shared, errand.ident
        _, _, _, member, payload = errand.frame
        cargo = payload if type(payload) is Cargo else None
        try:
            value = run()
            if not ident:
                return over(payload)
            outgoing = Outgoing(self._route, self._objects, client, ident)
            answer = outgoing.encode(value, shared, member, errand.args)
            reply = pack_reply(RESULT, answer, cargo)
            if reply is None:
                outgoing.take_back()
                where = name_of(shared.members.plain, member, errand.args)
                raise too_large(answer, f"the result of {where}")
            return reply
        except BaseException as error:
            where = name_of(shared.members.plain, member, errand.args)
            failed = self._fail(error, where, client, ident, cargo)
            return failed if ident else over(payload)

    def cancel(self, caller: Caller, ident: int) -> None:
        """Give up a call that has begun, if it runs still."""
        errand = caller.tasks.get(ident)
        if errand is not None:
            errand.given_up = True
            if not self.batches.withdraw(errand):
                self.tasks.cancel(errand)
            return
        errand = caller.errand
        if errand is not None and errand.ident == ident:
            errand.given_up = True
        if ident == caller.running:
            caller.given_up = ident
            self.workers.stop_waiting(caller)

    def finish(self, errand: Errand, reply: Reply) -> None:
        """Send the reply of an errand, from whichever thread; a worker gives the channel back."""
        caller, (kind, answer) = errand.caller, reply
        undo: Callable[[], object] | None = None
        if self._objects.publications:
            self._objects.publisher.look()
        with _descriptors.lock:
            heard = not caller.is_gone()
            if heard and kind:
                head = header(kind, len(answer), errand.ident)
                if caller.client.lender is not None:
                    head = caller.given_back() + head
                if len(answer) <= _JOIN_BELOW:
                    caller.send(head + answer)
                else:
                    caller.send(head)
                    caller.send(answer)
            if caller.errand is errand:
                caller.errand, caller.serving = None, False
                if not heard and caller.undo is not None:
                    undo, caller.undo, caller.taken = caller.undo, None, None
            else:
                caller.tasks.pop(errand.key, None)
        self.retries.moved(errand.shared)
        if undo is not None:
            undo()
        if caller.frames or caller.unsent or caller.paused or caller.ended:
            self._resume(caller)

    # -- ends -------------------------------------------------------------------------------------

    def left(self, caller: Caller) -> None:
        """Do without a channel, which is closed; more than once, maybe."""
        self.retries.left(caller)
        if caller.worker is not None:
            self.workers.left(caller)
        if caller.tasks:
            self.batches.left(caller)
            self.tasks.left(caller)

    def bury(self, client: Client) -> None:
        """End what runs for a client, which is dead, and give back what that had."""
        self.workers.bury(client)
        for held in list(client.holds):
            held.give_back_of(client)

    def close(self, clients: Iterable[Client]) -> None:
        """End all: what waits here waits no more, what runs is not heard any more."""
        self.workers.close()
        for client in clients:
            self.bury(client)  # nobody can give back any more what it has

    def forked(self) -> None:
        """In a forked child: all are the parent's; but what forked may run here to its end."""
        self.workers.forked()
        self.tasks.forked()


def too_large(answer: bytes | Parcel, what: str) -> CodecError:
    """Return the error of what is larger than anything that can travel."""
    return CodecError(f"{what} has {len(answer)} bytes, and at most {LIMIT} can travel")
