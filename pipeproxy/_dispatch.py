"""Dispatch: how a call that has arrived is run.

It is serial: a call runs in the thread that polls, one at a time for each object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._members import name_of
from ._objects import Client, Objects, Shared
from ._streams import MEMBERS, Source
from ._wire import FAILURE, LIMIT, RESULT, Frame
from .codecs import pickle as codec
from .errors import CodecError, Released, RemoteError


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

    def answer(self, client: Client, frame: Frame) -> tuple[int, bytes]:
        """Run one call and return the kind and the payload of its reply."""
        _, _, number, member, payload = frame
        args: tuple[Any, ...] = ()
        try:
            shared = self._objects.find(number)
            args, kwargs = _arguments(shared, member, payload)
            value = shared.call(member, args, kwargs)
            if type(value) in codec.ATOMS:
                answer = codec.encode(value)
            else:
                answer = self._encode(value, shared, member, args, client)
            if len(answer) > LIMIT:
                raise CodecError(
                    f"the result of {name_of(shared.members.plain, member, args)} has "
                    f"{len(answer)} bytes, and at most {LIMIT} can travel"
                )
            return RESULT, answer
        except BaseException as error:  # of the method, or of what it returned
            return self._failure(error, number, member, args)

    def _encode(
        self, value: Any, shared: Shared, member: int, args: tuple[Any, ...], client: Client
    ) -> bytes:
        """Return what travels of a result.

        Raises:
            CodecError: nothing of it can; the text says why.
        """
        if member in shared.iterating:
            value = self._keep_iterator(value, shared, client)
        try:
            with shared.section:  # or another thread might change it while it is written
                return codec.encode(value, self._refer)
        except CodecError as error:
            where = name_of(shared.members.plain, member, args)
            explained = codec.explain_result(value, error, where, self._refer)
            raise explained from explained.__cause__

    def _failure(
        self, error: BaseException, number: int, member: int, args: tuple[Any, ...]
    ) -> tuple[int, bytes]:
        self.errors += 1
        try:
            where = name_of(self._objects.find(number).members.plain, member, args)
        except Released:
            where = f"object {number}"
        try:
            return FAILURE, codec.encode_failure(error, where, self._refer)
        except BaseException as another:  # even its class misbehaves
            name = f"{type(error).__module__}.{type(error).__qualname__}"
            text = f"it cannot be described: {type(another).__qualname__}"
            return FAILURE, codec.encode_failure(RemoteError(name, text), where, None)

    def _keep_iterator(self, value: Any, shared: Shared, client: Client) -> Any:
        """Let the client take from an iterator, which stays here and is an object of its now."""
        if self._objects.of(value) is not None:
            return value  # an object that iterates over itself
        kept = self._objects.add(Source(value), MEMBERS, client)
        kept.section = shared.section  # to take from it is to read the object
        return kept.target


def _arguments(
    shared: Shared, member: int, payload: bytes | memoryview
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    try:
        return codec.decode_call(payload)
    except CodecError:  # once more, to say of which method they are
        return codec.decode_call(payload, name_of(shared.members.plain, member))
