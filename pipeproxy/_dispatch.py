"""Dispatch: how a call that has arrived is run, and who may run when.

It is serial: a call runs in the thread that polls, one at a time for each object. A call of an
object whose section somebody else holds is not run but waits in line.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from ._members import ENTER, name_of
from ._objects import Client, Objects, Shared
from ._sections import Holder, Name, Section, Taken
from ._streams import MEMBERS, Source
from ._wire import FAILURE, LIMIT, RESULT, Frame
from .codecs import pickle as codec
from .errors import CodecError, Released


class Place(NamedTuple):
    """A place in the line before a section.

    Attributes:
        stays: what waits is a `locked`, which stays inside when it has entered.
    """

    section: Section
    holder: Holder
    name: Name
    stays: bool


class Dispatch:
    """Runs the calls of one listener's clients.

    Args:
        objects: what is called.
        refer: what turns live objects in results into references.

    Attributes:
        errors: calls that ended in an exception.
    """

    def __init__(self, objects: Objects, refer: Callable[[object], Any]) -> None:
        self.errors = 0
        self._objects = objects
        self._refer = refer

    def answer(self, client: Client, channel: Hashable, frame: Frame) -> tuple[int, bytes]:
        """Run one call and return the kind and the payload of its reply.

        Args:
            channel: what stands for the activity of a call that is part of none.

        Raises:
            Taken: somebody else holds the section of the object, so the call was not run.
        """
        _, _, number, activity, member, payload = frame
        args: tuple[Any, ...] = ()
        try:
            shared = self._objects.find(number)
            args, kwargs = _arguments(shared, member, payload)
            holder = (client, activity or channel)
            if member == ENTER:
                client.sections.add(shared)
            value = shared.call(holder, member, args, kwargs)
        except Taken:
            raise
        except BaseException as error:
            return self._failure(error, number, member, args)
        try:
            if member in shared.iterating:
                value = self._keep_iterator(value, client)
            answer = codec.encode(value, self._refer)
            if len(answer) > LIMIT:
                raise CodecError(f"it has {len(answer)} bytes, and at most {LIMIT} can travel")
        except CodecError as error:
            where = name_of(shared.members.plain, member, args)
            explained = codec.explain_result(value, error, where, self._refer)
            return self._failure(explained, number, member, args)
        return RESULT, answer

    def place(self, client: Client, channel: Hashable, frame: Frame) -> Place:
        """Return where a call that was `Taken` waits."""
        _, ident, number, activity, member, payload = frame
        shared = self._objects.find(number)
        client.sections.add(shared)
        name = codec.decode_call(payload)[0][0] if member == ENTER else (channel, ident)
        return Place(shared.section, (client, activity or channel), name, member == ENTER)

    def leave(self, client: Client, number: int, activity: int, name: int) -> None:
        """Leave a section that a client entered, or will not enter any more."""
        try:
            self._objects.find(number).section.leave((client, activity), name)
        except Released:
            pass  # and its section with it

    def abandon(self, client: Client) -> bool:
        """Free all sections of a dead client; return whether it was inside one."""
        inside = False
        for shared in client.sections:
            inside |= shared.section.abandon(lambda holder: holder[0] is client, shared.repair)
        return inside

    def _failure(
        self, error: BaseException, number: int, member: int, args: tuple[Any, ...]
    ) -> tuple[int, bytes]:
        self.errors += 1
        try:
            where = name_of(self._objects.find(number).members.plain, member, args)
        except Released:
            where = f"object {number}"
        return FAILURE, codec.encode_failure(error, where, self._refer)

    def _keep_iterator(self, value: Any, client: Client) -> Any:
        """Let the client take from an iterator, which stays here and is an object of its now."""
        if self._objects.of(value) is not None:
            return value  # an object that iterates over itself
        return self._objects.add(Source(value), MEMBERS, client).target


def _arguments(
    shared: Shared, member: int, payload: bytes | memoryview
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        return codec.decode_call(payload)
    except CodecError:
        return codec.decode_call(payload, name_of(shared.members.plain, member))
