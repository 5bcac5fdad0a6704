"""The owner's memory: its objects, and who holds them.

All that outlives a channel is kept here by process token, because a process may lose a channel,
or have many, and loses nothing else with it. What a client holds is given up when it says so, or
when its process is dead.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import count
from typing import Any, Final

from ._descriptors import Descriptor
from ._members import DELETE, FIRST_METHOD, GET, SET, Members
from ._sections import Activity, Section
from .errors import NotExposed, Released

#: A method of this name is called in the owner when a process died in the object's section.
HOOK: Final = "__pipeproxy_abandoned__"
#: Leavings of a client that are remembered; what they overtake comes in the same turn, mostly.
_MOST_LEFT: Final = 1000


class Shared:
    """An object that can be called from other processes.

    Attributes:
        number: its name on the wire, never used twice by a listener.
        target: the object itself.
        members: what may be reached of it.
        section: whoever calls it has the right of the section, so calls run one at a time, whether
            they arrive through a pipe or are made in the owner's own process.
        counts: calls by member number.
        iterating: the members whose results are iterators, which cannot travel.
    """

    __slots__ = ("counts", "iterating", "members", "number", "section", "target")

    def __init__(self, number: int, target: Any, members: Members) -> None:
        self.number = number
        self.target = target
        self.members = members
        self.section = Section(partial(_repair, target))
        self.counts = [0] * len(members.names)
        names = ("__iter__", "__reversed__")
        self.iterating = {members.numbers[name] for name in names if name in members.numbers}

    def call(self, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        """Call a member of the object; by whoever has the right of its section.

        Raises:
            NotExposed: there is no such member, or it may not be used so.
            BaseException: whatever the object raised.
        """
        if member >= FIRST_METHOD:
            try:
                name = self.members.names[member]
            except IndexError:
                raise NotExposed(f"{self.members.class_name} has no member {member}") from None
            self.counts[member] += 1
            if kwargs:
                return getattr(self.target, name)(*args, **kwargs)
            return getattr(self.target, name)(*args)
        self.counts[member] += 1
        return self._use_attribute(member, *args)

    def _use_attribute(self, member: int, name: str, value: Any = None) -> Any:
        if member == GET:
            self.members.check_read(name)
            return getattr(self.target, name)
        self.members.check_write(name)
        if member == SET:
            return setattr(self.target, name, value)
        assert member == DELETE
        return delattr(self.target, name)


def _repair(target: Any) -> None:
    """Let an object that was left in the middle of a section mend itself, if its class can."""
    for cls in type(target).__mro__:
        if HOOK in vars(cls):
            getattr(target, HOOK)()
            return


class Client:
    """A process that holds references, for as long as it lives.

    Attributes:
        life: its life descriptor; None if it did not send one.
        channels: those of its threads.
        activities: those of its threads, by the number of the thread.
        held: the numbers of objects that exist only for it.
        left: the latest numbers of enterings that it left, of which none was met.
        dead: it is dead, and holds nothing.
    """

    __slots__ = ("activities", "channels", "dead", "held", "left", "life")

    def __init__(self, life: Descriptor | None) -> None:
        self.life = life
        self.channels: set[Any] = set()
        self.activities: dict[int, Activity] = {}
        self.held: set[int] = set()
        self.left: dict[int, None] = {}
        self.dead = False

    def remember_left(self, number: int) -> None:
        """Note a leaving: its entering comes later, if it was not undone before."""
        self.left[number] = None
        if len(self.left) > _MOST_LEFT:
            del self.left[next(iter(self.left))]

    def activity(self, thread: int) -> Activity:
        """Return that of one of its threads, the same one for as long as anything depends on it."""
        known = self.activities.get(thread)
        if known is None:
            alive = {channel.activity for channel in self.channels}
            kept = [a for a in self.activities.values() if a.sections or a in alive]
            known = Activity(self, thread)
            self.activities = {activity.thread: activity for activity in (*kept, known)}
        return known


class Objects:
    """What one listener answers for."""

    def __init__(self) -> None:
        self.clients: dict[bytes, Client] = {}
        self._by_number: dict[int, Shared] = {}
        self._by_identity: dict[int, Shared] = {}
        self._numbers = count(1)

    def __iter__(self) -> Iterator[Shared]:
        return iter(list(self._by_number.values()))

    def __len__(self) -> int:
        return len(self._by_number)

    def find(self, number: int) -> Shared:
        """Return the object of this number.

        Raises:
            Released: there is none, or none any more.
        """
        try:
            return self._by_number[number]
        except KeyError:
            raise Released(f"object {number} was given back, or never shared here") from None

    def of(self, target: object) -> Shared | None:
        """Return how `target` itself is shared, or None."""
        shared = self._by_identity.get(id(target))
        return shared if shared is not None and shared.target is target else None

    def add(self, target: Any, members: Members, holder: Client | None = None) -> Shared:
        """Share an object: for good, or for as long as one client holds it."""
        shared = Shared(next(self._numbers), target, members)
        # In this order, and released in the other, so that whatever an interrupt leaves half done
        # is found under its number and released with the rest.
        if holder is not None:
            holder.held.add(shared.number)
        self._by_number[shared.number] = shared
        # Another thread may share the same object just now: an object has one section.
        first = self._by_identity.setdefault(id(target), shared)
        if first is not shared:
            del self._by_number[shared.number]
        return first

    def release(self, holder: Client, numbers: list[int]) -> None:
        """Give up what a client held; numbers that it does not hold are not touched."""
        for number in holder.held.intersection(numbers):
            shared = self._by_number.get(number)
            if shared is not None:
                if self._by_identity.get(id(shared.target)) is shared:
                    del self._by_identity[id(shared.target)]
                del self._by_number[number]
            holder.held.discard(number)

    def forget(self, token: bytes) -> None:
        """Give up everything that a dead client held."""
        client = self.clients.get(token)
        if client is not None:
            client.dead = True
            self.release(client, list(client.held))
            self.clients.pop(token, None)
