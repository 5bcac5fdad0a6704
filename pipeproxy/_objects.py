"""The owner's memory: its objects, and who holds them.

All that outlives a channel is kept here by process token, because a process may lose a channel,
or have many, and loses nothing else with it. What a client holds is given up when it says so, or
when its process is dead.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from . import _life
from ._activities import Activity
from ._borrowed import Borrowed
from ._descriptors import Descriptor
from ._members import DELETE, FIRST_METHOD, GET, RUN, SET, Members
from ._sections import Section
from .errors import NotExposed, Released

if TYPE_CHECKING:
    from ._spec import Conduct

#: A method of this name is called in the owner when a process died in the object's section.
HOOK: Final = "__pipeproxy_abandoned__"
#: The numbers of all members that there may be.
EVERY_MEMBER: Final = range(1 << 16)
#: No number of any member; but something, so that a call is not run in the shortest way.
NO_MEMBER: Final = frozenset({-1})
#: What holds an object that was shared by name.
FOR_GOOD: Final = "for good"
#: So much of what a client said is remembered; what it overtook comes in the same turn, mostly.
_MOST_REMEMBERED: Final = 1000


class Face:
    """What the objects of one class show, and how their owner treats them.

    Args:
        members: what may be reached of them.
        conduct: `pipeproxy._spec.Conduct`; None for an object of our own.
        stand: makes what is called in the place of an object; None if that is called itself.
        is_async: see below; else as the conduct says.

    Attributes:
        live: the members whose results travel by reference; None for attributes, see `is_live`.
        iterating: the members whose results are iterators, which are taken from in chunks.
        elsewhere: the members whose calls may wait, and so are not run by the thread that serves.
        batched: how calls of the members that run in batches are collected.
        hurries: that one may try them, as the stand tells when they would wait.
        is_async: methods may return what the event loop that serves has to await.
        resides: only the thread that serves may run calls, also those that are made at home.
    """

    __slots__ = (
        "_live_names",
        "batched",
        "conduct",
        "elsewhere",
        "hurries",
        "is_async",
        "iterating",
        "live",
        "members",
        "resides",
        "stand",
    )

    def __init__(
        self,
        members: Members,
        conduct: Conduct | None = None,
        stand: Callable[[Any], Any] | None = None,
        *,
        is_async: bool = False,
    ) -> None:
        self.members = members
        self.stand = stand
        self.hurries: bool = getattr(stand, "hurries", False)
        self.conduct = conduct
        self._live_names = conduct.by_ref if conduct else frozenset[str]()
        self.live = self._numbers(self._live_names)
        self.iterating = self._numbers(("__iter__", "__reversed__"))
        self.elsewhere: Collection[int] = self._numbers(conduct.blocking) if conduct else ()
        if conduct and conduct.dispatch == "threads":
            self.elsewhere = EVERY_MEMBER
        self.batched = {members.numbers[n]: how for n, how in conduct.batched} if conduct else {}
        self.is_async = is_async or (conduct is not None and conduct.dispatch == "asyncio")
        self.resides = conduct is not None and conduct.home == "queue"
        if (self.is_async or self.batched) and not self.elsewhere:
            self.elsewhere = NO_MEMBER

    def _numbers(self, names: Iterable[str]) -> frozenset[int]:
        numbers = self.members.numbers
        return frozenset(numbers[name] for name in names if name in numbers)

    def is_live(self, member: int, args: tuple[Any, ...]) -> bool:
        """Whether what this call returns travels by reference, whatever it is."""
        return member in self.live or (member == GET and args[0] in self._live_names)


class Shared:
    """An object that can be called from other processes.

    Attributes:
        number: its name on the wire, never used twice in a process.
        target: the object itself.
        face: what is shown of it.
        section: whoever calls it has the right of the section, so calls run one at a time, whether
            they arrive through a pipe or are made in the owner's own process.
        counts: calls by member number.
        actor: what is called in its place, and mostly is the object.
        elsewhere: as of its face.
    """

    __slots__ = (
        "actor",
        "counts",
        "elsewhere",
        "face",
        "members",
        "number",
        "section",
        "target",
    )

    def __init__(self, target: Any, face: Face, section: Section | None = None) -> None:
        self.number = next(_numbers)
        self.target = target
        self.face = face
        self.members = face.members
        self.elsewhere = face.elsewhere
        self.actor = target if face.stand is None else face.stand(target)
        self.section = section or Section(partial(_repair, target))
        self.counts = [0] * len(face.members.names)

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
                return getattr(self.actor, name)(*args, **kwargs)
            return getattr(self.actor, name)(*args)
        self.counts[member] += 1
        if member == RUN:
            function, *rest = args
            return function(self.target, *rest, **(kwargs or {}))
        return use_attribute(self.target, self.members, member, *args)

    def begin(self, objects: Objects) -> None:
        """Become one of what a listener answers for."""

    def join(self, known: Any) -> None:
        """Have what the same object has on another listener: it has one section."""
        self.section, self.actor = known.section, known.actor

    def end(self) -> None:
        """Cease to be called: nobody holds it any more."""


def use_attribute(target: Any, members: Members, member: int, name: str, value: Any = None) -> Any:
    """Get, set or delete an attribute of an object.

    Raises:
        NotExposed: it may not be.
    """
    if member == GET:
        members.check_read(name)
        return getattr(target, name)
    members.check_write(name)
    if member == SET:
        return setattr(target, name, value)
    assert member == DELETE
    return delattr(target, name)


def _repair(target: Any) -> None:
    """Let an object that was left in the middle of a section mend itself, if its class can."""
    for cls in type(target).__mro__:
        if HOOK in vars(cls):
            getattr(target, HOOK)()
            return


_numbers = count(1)


class Client:
    """A process that holds references, for as long as it lives.

    Args:
        token: that of the process.

    Attributes:
        borrowed: its memory, for bulk.
        life: its life descriptor; None if it did not send one.
        channels: those of its threads.
        sections: those that it entered, maybe in the name of another's activity.
        holds: locks that it has, each with a `give_back_of`.
        wanted: upcalls that wait until a thread of it waits.
        lender: what this process holds of objects of the client's own, if there are any.
        held: the numbers of the objects that it holds, by the idents by which it does.
        left: the latest numbers of enterings that it left, of which none was met.
        gone: the latest idents by which it wants to hold nothing any more. What it said or asked by
            them may come later: through another channel, or at the end of the call.
        dead: it is dead, and holds nothing.
    """

    __slots__ = (
        "borrowed",
        "channels",
        "dead",
        "gone",
        "held",
        "holds",
        "left",
        "lender",
        "life",
        "sections",
        "token",
        "wanted",
    )

    def __init__(self, token: bytes, life: Descriptor | None = None) -> None:
        self.token = token
        self.life = life
        self.borrowed = Borrowed()
        self.channels: set[Any] = set()
        self.sections: set[Section] = set()
        self.holds: dict[Any, None] = {}
        self.wanted: deque[Any] = deque()
        self.lender: Any = None
        self.held: dict[int, set[int]] = {}
        self.left: dict[int, None] = {}
        self.gone: dict[int, None] = {}
        self.dead = False

    def remember_left(self, number: int) -> None:
        """Note a leaving: its entering comes later, if it was not undone before."""
        _remember(self.left, number)

    def is_inside(self, activity: Activity) -> bool:
        """Whether it entered a section in the name of an activity, and did not leave it."""
        return any(s.is_held_by(activity) and s.enterings_of(self) for s in list(self.sections))


def _remember(table: dict[int, None], number: int) -> None:
    table[number] = None
    if len(table) > _MOST_REMEMBERED:
        del table[next(iter(table))]


class Objects:
    """What one listener answers for: every object for as long as somebody holds it.

    Attributes:
        clients: the processes that can hold objects, by their tokens.
        by_number: what is shared, by number; to look at only.
        publisher: what publishes attributes of them; None if nothing does.
        publications: what it publishes.
    """

    def __init__(self) -> None:
        self.publisher: Any = None
        self.publications: dict[int, Any] = {}
        self.clients: dict[bytes, Client] = {}
        self.by_number: dict[int, Shared] = {}
        self._by_identity: dict[int, Shared] = {}
        #: What holds each object: clients with an ident, proxies of this process, `FOR_GOOD`.
        self._holders: dict[int, set[object]] = {}
        self._right = threading.RLock()
        _everywhere.all.add(self)

    def client(self, token: bytes) -> Client:
        """Return what is known of a process that holds objects, or will."""
        client = self.clients.get(token)
        return self.clients.setdefault(token, Client(token)) if client is None else client

    def __iter__(self) -> Iterator[Shared]:
        return iter(list(self.by_number.values()))

    def __len__(self) -> int:
        return len(self.by_number)

    def find(self, number: int) -> Shared:
        """Return the object of this number.

        Raises:
            Released: there is none, or none any more.
        """
        try:
            return self.by_number[number]
        except KeyError:
            raise Released(f"object {number} was given back, or never shared here") from None

    def of(self, target: object) -> Shared | None:
        """Return how `target` itself is shared, or None."""
        shared = self._by_identity.get(id(target))
        return shared if shared is not None and shared.target is target else None

    def add(self, shared: Shared, holder: object = FOR_GOOD) -> Shared:
        """Let a holder hold an object, which is shared from now on if it was not before.

        Returns:
            How it is shared: as `shared` says, or as it was before. An object has one section.
        """
        with self._right:
            if self.of(shared.target) is None:
                self._join(shared)
            shared = self.of(shared.target) or shared
            # In this order, and forgotten in the other: whatever an interrupt leaves half done is
            # found by its holders, and forgotten with the rest.
            self._holders.setdefault(shared.number, set()).add(holder)
            self.by_number[shared.number] = shared
            self._by_identity[id(shared.target)] = shared
            return shared

    def _join(self, shared: Shared) -> None:
        """Give an object the section that it has already, if it is shared somewhere else too."""
        shared.begin(self)
        for others in list(_everywhere.all):
            known = None if others is self else others.of(shared.target)
            if known is not None:
                shared.join(known)

    def lend(self, shared: Shared, client: Client, ident: int) -> Shared:
        """Let a client hold an object, by the ident of the call whose reply it travels with."""
        with self._right:
            shared = self.of(shared.target) or shared
            client.held.setdefault(ident, set()).add(shared.number)
            return self.add(shared, (client, ident))

    def settle(self, client: Client, ident: int) -> None:
        """Take back what travelled with a reply that its client does not want any more."""
        if client.dead or ident in client.gone:
            self.take_back(client, ident)

    def take_back(self, client: Client, ident: int) -> None:
        """Let a client hold nothing by this ident any more."""
        self._release(client, ident, list(client.held.get(ident, ())))

    def claim(self, client: Client, pairs: list[tuple[int, int]]) -> None:
        """Let a client hold objects whose references came to it by another way."""
        for ident, number in pairs:
            with self._right:
                shared = self.by_number.get(number)
                if shared is not None and not client.dead and ident not in client.gone:
                    self.lend(shared, client, ident)

    def release(self, client: Client, pairs: list[tuple[int, int]]) -> None:
        """Give up what a client held; what it does not hold is not touched.

        Args:
            pairs: idents, each with the number of one object, or 0 for all of the ident.
        """
        for ident, number in pairs:
            self._release(client, ident, [number] if number else list(client.held.get(ident, ())))
            if ident not in client.held:
                _remember(client.gone, ident)

    def _release(self, client: Client, ident: int, numbers: list[int]) -> None:
        held = client.held.get(ident, set())
        for number in held.intersection(numbers):
            self.drop(number, (client, ident))
            held.discard(number)
        if not held:
            client.held.pop(ident, None)

    def drop(self, number: int, holder: object) -> None:
        """Forget an object if this was the last that held it."""
        with self._right:
            holders = self._holders.get(number, set())
            if holders - {holder}:
                holders.discard(holder)
                return
            shared = self.by_number.get(number)
            if shared is not None:
                shared.end()
                if self._by_identity.get(id(shared.target)) is shared:
                    del self._by_identity[id(shared.target)]
                del self.by_number[number]
            self._holders.pop(number, None)

    def forget(self, token: bytes) -> None:
        """Give up everything that a dead client held."""
        client = self.clients.get(token)
        if client is not None:
            client.dead = True
            client.borrowed.clear()
            for ident, numbers in list(client.held.items()):
                self._release(client, ident, list(numbers))
            self.clients.pop(token, None)


class _Everywhere:
    """Those of this process: an object may be shared on several listeners, and lent as well."""

    def __init__(self) -> None:
        self.all: weakref.WeakSet[Objects] = weakref.WeakSet()
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: the parent's threads may be in the sections that it knows."""
        self.all = weakref.WeakSet()


_everywhere = _Everywhere()
