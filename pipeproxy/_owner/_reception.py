"""Who comes, and who goes: what is sent to the door, and the deaths of clients."""

from __future__ import annotations

from functools import partial

from .._chains._activities import activity_of
from .._channels._door import Asking, Door, Knock, Offer, Route, hello
from .._channels._wire import HELLO, LEAVE, header
from .._objects._clients import Client
from .._objects._objects import Objects
from .._system import _life
from ..errors import ProtocolError
from ..transports.pipe import Pipe
from ._attendance import Attendance
from ._caller import Caller
from ._published import Publisher


class Reception:
    """Lets the clients of one listener in, and buries them.

    Args:
        route: the listener's identity.
        door: where clients knock.
        objects: what is answered for.
        publisher: gives memory to those who ask for it.
        attendance: attends to those who were let in.

    Attributes:
        is_asked: somebody is at the door, or woke the thread that serves.
        put_off: those who knocked, and have to wait for the end of the turn.
    """

    def __init__(
        self,
        route: Route,
        door: Door,
        objects: Objects,
        publisher: Publisher,
        attendance: Attendance,
    ) -> None:
        self.is_asked = False
        self.put_off: list[Knock] = []
        self._route, self._door, self._objects = route, door, objects
        self._publisher, self._attendance = publisher, attendance
        self._callers, self._upcalls = attendance.callers, attendance.upcalls
        for number in door.descriptors:
            self._callers.watch(number, self._hear)

    def _hear(self) -> None:
        """Note that somebody is at the door, or woke this thread.

        They are let in when all channels are attended to. One that ends in this turn gives its
        descriptors back first: if somebody closed such a number behind its back, the next channel
        may be given it.
        """
        self.is_asked = True

    def answer(self) -> None:
        """See to whatever was sent to the door."""
        self.is_asked = False
        self._admit()

    def _admit(self) -> None:
        """Open a channel for everybody who knocked, and take or give memory where asked to."""
        put_off = [*self.put_off]
        self.put_off.clear()
        for knock in [*put_off, *self._take_knocks()]:
            try:
                self._let_in(knock)
            except OSError:
                pass  # it sent what nobody can wait for; all it sent closes itself
            finally:
                self._attendance.let_go(knock.token)

    def look(self) -> None:
        """Take what was offered at the door; who knocked has to wait for the end of the turn."""
        self._hear()
        self.put_off += self._take_knocks()

    def _take_knocks(self) -> list[Knock]:
        knocks = []
        for come in self._door.read():
            if type(come) is Offer:
                self._accept(come)
            elif type(come) is Asking:
                self._hand_out(come)
            elif type(come) is Knock:
                knocks.append(come)
        return knocks

    def _hand_out(self, asking: Asking) -> None:
        try:
            self._publisher.offer(asking)
        except OSError:
            pass  # there is no memory, or nobody waits for it any more

    def _accept(self, offer: Offer) -> None:
        client = self._objects.clients.get(offer.token)
        if client is not None and client.life is not None:
            try:
                client.borrowed.accept(offer)
            except (OSError, ProtocolError):
                pass  # it is no memory, or this process can map no more; a frame may name it

    def _let_in(self, knock: Knock) -> None:
        client = self._introduce(knock)
        activity = activity_of(knock.token, knock.thread)
        answer = hello(self._route.secret, knock.nonce)
        greeting = header(HELLO, len(answer)) + answer
        pipe = Pipe(knock.reader, knock.writer)
        self._callers.open(Caller(pipe, client, activity, self._upcalls), greeting)

    def _introduce(self, knock: Knock) -> Client:
        client = self._objects.client(knock.token)
        if client.life is None and knock.life is not None:
            try:
                client.life = knock.life
                self._watch_over(client)
            except BaseException:
                self._callers.unwatch(knock.life.fileno())
                client.life = None  # it sends another with its next knock
                raise
        self._upcalls.welcome(client)
        return client

    def _watch_over(self, client: Client) -> None:
        assert client.life is not None
        self._callers.watch(client.life.fileno(), partial(self._bury, client))

    def _bury(self, client: Client) -> None:
        """Serve what a dead process still wrote, then give up all that was its.

        Of what a thread wrote that never left a section, nothing is served after its last leaving.
        """
        if client.dead:
            return
        assert client.life is not None
        if not _life.is_dead(client.life):
            return  # an event of this turn was meant for whatever had the number before
        # Another thread of its may have knocked, and written, as the process died.
        self._hear()
        self._admit()
        try:
            # First, as what is served may wait, and a guest would meet it again and again.
            self._callers.unwatch(client.life.fileno())
            self._serve_what_is_left_of(client)
            self._attendance.forget(client)
        except BaseException:
            self._callers.unwatch(client.life.fileno())  # all of it, if that was interrupted
            self._watch_over(client)  # to do the rest with the next turn
            raise
        client.life.close()

    def _serve_what_is_left_of(self, client: Client) -> None:
        for caller in list(client.channels):
            while self._attendance.read(caller):
                pass
            caller.ended = True
            if client.is_inside(caller.activity) or (caller.relays and client.sections):
                while caller.frames and caller.frames[-1][0] != LEAVE:
                    caller.frames.pop()
            if not caller.frames:
                self._attendance.dispatch.admission.give_up(caller)
            self._attendance.attend(caller)
            if caller.parked:  # the first of its frames waits; nobody will hear of that
                self._attendance.drop(caller)
