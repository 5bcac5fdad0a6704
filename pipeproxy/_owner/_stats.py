"""What a listener has done, as a frozen record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType

import attrs

from .._objects._objects import Objects
from .._specs._members import name_of
from ._service import Service


@attrs.frozen
class Stats:
    """What a listener has done since it was made.

    Attributes:
        clients: processes that hold a channel to it, or held one and live.
        references: objects that it answers for.
        calls: by "Class.method", calls that were run, those of the owner's own process included;
            reading, setting and deleting attributes counts as "Class's attributes".
        errors: calls of other processes that ended in an exception.
        waited: seconds spent in waiting for calls.
        ran: seconds spent in everything else: reading, running methods, replying.
    """

    clients: int
    references: int
    calls: Mapping[str, int]
    errors: int
    waited: float
    ran: float


def collect(objects: Objects, service: Service) -> Stats:
    """Return the figures of one listener now."""
    calls: Counter[str] = Counter()
    for shared in objects:
        for member, count in enumerate(shared.counts):
            if count:
                calls[name_of(shared.members.plain, member)] += count
    return Stats(
        clients=len(objects.clients),
        references=len(objects),
        calls=MappingProxyType(dict(calls)),
        errors=service.dispatch.answers.errors,
        waited=service.waited,
        ran=service.ran,
    )
