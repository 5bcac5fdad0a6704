"""What a client's frames ask for is done, in their order, or waits: calls by `_dispatch`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .._chains._deadlocks import edges_in, waits
from .._channels._wire import (
    BULK,
    CALL,
    CALL_WITHIN,
    CALLS,
    CANCEL,
    CLAIM,
    ENTER,
    LEAVE,
    RELEASE,
    RESULT,
    RETIRE,
    UNHEARD,
    WAITS,
    Frame,
    header,
    unpack_context,
    unpack_number,
    unpack_pairs,
)
from .._objects._clients import Client
from .._objects._objects import Objects
from .._references._references import pass_up
from .._specs._members import name_of
from ..codecs import pickle as codec
from ..errors import Cancelled, CodecError, DeadlockError, ProtocolError, Released
from ._caller import SILENCE, Caller, Reply
from ._dispatch import Dispatch


class Frames:
    """Does what the clients of one listener ask for.

    Args:
        objects: what they ask it of.
        dispatch: what runs their calls.
        resume: called with a caller whose first frame need not wait any more.
        say: sends frames to a caller.
        look: looks who is at the door.
    """

    def __init__(
        self,
        objects: Objects,
        dispatch: Dispatch,
        resume: Callable[[Caller], object],
        say: Callable[[Caller, bytes], object],
        look: Callable[[], object],
    ) -> None:
        self._objects = objects
        self._dispatch = dispatch
        self._admission = dispatch.admission
        self._resume = resume
        self._say = say
        self._look = look

    def serve(self, caller: Caller, frame: Frame) -> Reply | None:
        """Do what the caller's first frame asks, and take it; None if it has to wait.

        Raises:
            ProtocolError: it is not what a client sends.
        """
        kind = frame[0]
        if kind & BULK:
            frame = caller.frames[0] = caller.client.borrowed.open(frame, self._look)
            return self.serve(caller, frame)
        if kind == CALL:
            return self._dispatch.call_in_turn(caller, frame)
        if kind == CALL_WITHIN:
            return self._dispatch.call_within(caller, frame)
        if kind == ENTER:
            return self._enter(caller, frame)
        reply = self._heed(caller, frame)
        caller.frames.popleft()
        return reply

    def _heed(self, caller: Caller, frame: Frame) -> Reply:
        """Do what is done at once, whoever waits."""
        kind, ident, number, _, payload = frame
        client, reply = caller.client, SILENCE
        if kind == RELEASE:
            self._objects.release(client, unpack_pairs(payload))
        elif kind == CLAIM:
            self._objects.claim(client, unpack_pairs(payload))
        elif kind == RETIRE:
            for segment, _ in unpack_pairs(payload):
                client.borrowed.retire(segment)
        elif kind == LEAVE:
            entering = unpack_number(payload)
            if not self._admission.leave(client, number, entering):
                client.remember_left(entering)
            reply = RESULT, b""
        elif kind == CANCEL:
            heed = self.cancel if _gives_up(frame) else Caller.take_back
            heed(caller, ident)
        elif kind == WAITS:
            self._hear_waits(client, payload)
        # Else it answers an upcall that nobody waits for any more.
        return reply

    def _hear_waits(self, client: Client, payload: Any) -> None:
        """Note what a client waits for, and tell it whoever waits for an upcall of that."""
        try:
            edges = edges_in(codec.decode(payload))
        except CodecError as error:
            raise ProtocolError("who waits for whom was told by no pickle") from error
        waits.hear(edges, runs=False)
        for channel in list(client.channels):
            for asked in list(channel.asked.values()):
                pass_up(asked.stack, runs=False)

    def hear(self, caller: Caller) -> None:
        """Heed which calls a client gives up, where its frames have to wait."""
        frames = caller.frames
        given_up = [frame for frame in frames if _gives_up(frame)]
        if given_up:
            others = [frame for frame in frames if not _gives_up(frame)]
            frames.clear()
            frames.extend(others)
        for frame in given_up:
            self.cancel(caller, frame[1])

    def cancel(self, caller: Caller, ident: int) -> None:
        """Give up a call, as its caller does: what has not begun does not begin any more."""
        for place, (kind, of, number, member, _) in enumerate(caller.frames):
            if of == ident and kind in CALLS:
                del caller.frames[place]
                caller.alone.discard(ident)
                if not place:
                    self._admission.give_up(caller)
                    self._dispatch.errands.retries.left(caller)
                    self._resume(caller)
                error = Cancelled("the call was given up before it began")
                where = self._where(number, member)
                what, answer = self._dispatch.answers.failure(error, where, caller.client, ident)
                self._say(caller, header(what, len(answer), ident) + answer)
                return
        self._dispatch.errands.cancel(caller, ident)

    def _where(self, number: int, member: int) -> str:
        try:
            return name_of(self._objects.find(number).members.plain, member)
        except Released:
            return f"object {number}"

    def _enter(self, caller: Caller, frame: Frame) -> Reply | None:
        _, _, target, _, payload = frame
        number = unpack_number(payload[:8])
        client, activity = caller.client, caller.activity
        if len(payload) > 8:  # in the name of the chain that it belongs to
            (_, thread, path), _ = unpack_context(payload[8:])
            activity = self._dispatch.served(caller, thread, path).activity
            caller.relays = True
        try:
            section = self._objects.find(target).section
        except Released as error:
            self._admission.give_up(caller)
            frame = caller.frames.popleft()
            return self._dispatch.answers.failure(
                error, f"object {target}", caller.client, frame[1]
            )
        behind = list(caller.frames)[1:]
        gone = caller.entry is not None and caller.entry[1].gone
        # A client whose deadline passed says so on the same channel, behind what waits.
        left = any(later[0] == LEAVE and unpack_number(later[-1]) == number for later in behind)
        if gone or left or caller.ended or number in client.left:
            self._admission.give_up(caller)
            client.left.pop(number, None)
            caller.frames.popleft()
            return SILENCE
        client.sections.add(section)
        where = f"locked({self._objects.find(target).members.class_name})"
        try:
            if not self._admission.is_in(
                section, caller, activity, where, {(client, number): None}
            ):
                return None
        except DeadlockError as error:
            self._admission.give_up(caller)
            caller.frames.popleft()
            return self._dispatch.answers.failure(error, where, client, frame[1])
        assert section.holder is not None
        section.holder.numbers[client, number] = None
        self._admission.got_in(section, caller)
        caller.frames.popleft()
        return RESULT, b""


def _gives_up(frame: Frame) -> bool:
    """Whether it gives up a call that may be waiting; what is unheard is served in its order."""
    return frame[0] == CANCEL and frame[3] != UNHEARD
