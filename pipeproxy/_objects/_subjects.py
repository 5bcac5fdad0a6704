"""Subjects of proxies: an object that can be called from other processes, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from .._chains._sections import Section
from .._specs._members import DELETE, FIRST_METHOD, GET, RUN, SET, Members
from ..errors import NotExposed

if TYPE_CHECKING:
    from .._specs._spec import Conduct

#: A method of this name is called in the owner when a process died in the object's section.
HOOK: Final = "__pipeproxy_abandoned__"
#: The numbers of all members that there may be.
EVERY_MEMBER: Final = range(1 << 16)
#: No number of any member; but something, so that a call is not run in the shortest way.
NO_MEMBER: Final = frozenset({-1})


class Face:
    """What the objects of one class show, and how their owner treats them.

    Args:
        members: what may be reached of them.
        conduct: `_spec.Conduct`; None for an object of our own.
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

    def begin(self, publisher: Any) -> None:
        """Become one of what a listener answers for.

        Args:
            publisher: what publishes attributes there; None if nothing does.
        """

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
