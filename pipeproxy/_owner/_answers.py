"""Answers: a call is run, and its reply is made of what it returns or raises."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from .._chains._activities import MustWait, here
from .._channels._borrowed import Cargo, over
from .._channels._borrowed import reply as pack_reply
from .._channels._parcels import Parcel
from .._channels._wire import FAILURE, RESULT, Frame
from .._objects._clients import Client
from .._objects._objects import Objects
from .._objects._subjects import Shared
from .._references._outgoing import Outgoing
from .._references._references import PlainRoute
from .._specs._members import name_of, named_by
from .._system._reports import report
from ..codecs import pickle as codec
from ..errors import CodecError
from ._caller import SILENCE, Reply, arguments_of
from ._errands import too_large


class Answers:
    """Runs the calls of the clients of one listener, each by the right of its object's section.

    Args:
        objects: what is called.
        route: what references say of the listener.

    Attributes:
        errors: calls that ended in an exception.
    """

    def __init__(self, objects: Objects, route: PlainRoute) -> None:
        self.errors = 0
        self._objects = objects
        self._route = route

    def answer(self, client: Client, shared: Shared, frame: Frame) -> Reply:
        """Run one call, by the right of its section; return the kind and payload of its reply."""
        _, ident, _, member, payload = frame
        if type(payload) is Cargo:
            return payload.seal(self._answer_with(payload, client, shared, frame))
        args: tuple[Any, ...] = ()
        try:
            try:
                args, kwargs = codec.decode_call(payload)
            except CodecError as error:
                arguments_of(shared, frame)  # says of which method they are
                raise error.__cause__ or error from None  # it came from a signal handler
            value = shared.call(member, args, kwargs)
            if type(value) in codec.SMALL and ident:
                return RESULT, codec.atom(value)  # as nearly always
            return self._reply(value, client, shared, frame, args)
        except MustWait:
            raise
        except BaseException as error:  # of the method, or of what it returned
            return self.failure(error, name_of(shared.members.plain, member, args), client, ident)

    def _answer_with(self, cargo: Cargo, client: Client, shared: Shared, frame: Frame) -> Reply:
        """As `answer`, for a call with which memory came."""
        _, ident, _, member, _ = frame
        args: tuple[Any, ...] = ()
        try:
            args, kwargs = arguments_of(shared, frame)
            call = partial(shared.call, member, args, kwargs)
            value = _run_with((client, cargo), call)
            del call, kwargs
            args = named_by(member, args)  # who has views of others keeps the memory from the reply
            return self._reply(value, client, shared, frame, args)
        except MustWait:
            raise
        except BaseException as error:
            where = name_of(shared.members.plain, member, args)
            reply = self.failure(error, where, client, ident, cargo)
            return reply if ident else over(cargo)

    def _reply(
        self, value: Any, client: Client, shared: Shared, frame: Frame, args: tuple[Any, ...]
    ) -> Reply:
        """Return the reply of a call that has returned something."""
        _, ident, _, member, payload = frame
        cargo = payload if type(payload) is Cargo else None
        if not ident:
            return over(payload)
        answer: bytes | Parcel
        if codec.is_small(value):
            answer = codec.atom(value)
        else:
            outgoing = Outgoing(self._route, self._objects, client, ident)
            answer = outgoing.encode(value, shared, member, args)
        reply = pack_reply(RESULT, answer, cargo)
        if reply is None:
            self._objects.take_back(client, ident)
            where = name_of(shared.members.plain, member, args)
            raise too_large(answer, f"the result of {where}")
        return reply

    def failure(
        self,
        error: BaseException,
        where: str,
        client: Client,
        ident: int,
        cargo: Cargo | None = None,
    ) -> Reply:
        """Return the reply of a call that ends in an exception; it is reported if nobody waits.

        Args:
            where: the method, for people.
            cargo: what came with the call, if its arguments were read.
        """
        self.errors += 1
        if not ident:
            report(error, where)
            return SILENCE
        outgoing = Outgoing(self._route, self._objects, client, ident)
        answer = outgoing.encode_failure(error, where)
        if type(answer) is not Parcel:  # as nearly always
            return FAILURE, answer
        reply = pack_reply(FAILURE, answer, cargo)
        if reply is None:
            larger = too_large(answer, f"the exception of {where}")
            return self.failure(larger, where, client, ident)
        return reply


def _run_with(cargo: tuple[Client, Cargo], call: Callable[[], Any]) -> Any:
    """Run a call with which memory came: it may be lent back with what the call asks its client."""
    outer = here.cargo
    try:
        here.cargo = cargo
        return call()
    finally:
        here.cargo = outer
