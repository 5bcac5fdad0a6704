"""Admission: the first frame of a channel is let into a section, or waits in line before it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Final

from .._chains._activities import Activity
from .._chains._deadlocks import Wait, waits
from .._chains._sections import Entering, Entry, Section
from .._channels._wire import WAITING, header
from .._objects._clients import Client
from .._objects._objects import Objects
from ..codecs import pickle as codec
from ..errors import Released
from ._caller import Caller

#: Seconds between two looks for circles of those who wait.
_LOOK_EVERY: Final = 0.05


class Admission:
    """Lets the clients of one listener into sections.

    Args:
        objects: whose sections.
        resume: called with a caller whose first frame need not wait any more.
        say: sends frames to a caller.

    Attributes:
        lined: callers whose first frame waits for a section.
        blocked: sections that somebody waits for.
    """

    def __init__(
        self,
        objects: Objects,
        resume: Callable[[Caller], object],
        say: Callable[[Caller, bytes], object],
    ) -> None:
        self.lined: set[Caller] = set()
        self.blocked: set[Section] = set()
        self._objects = objects
        self._resume = resume
        self._say = say
        self._looked = 0.0

    def is_in(
        self,
        section: Section,
        caller: Caller,
        activity: Activity,
        where: str,
        numbers: dict[Entering, None] | None = None,
    ) -> bool:
        """Whether an activity is in a section, or enters it now; else let it wait in line, once.

        Raises:
            DeadlockError: it would wait for ever.
        """
        if not section.is_held_by(activity) and caller.entry is None:
            entry = Entry(activity, partial(self._resume, caller), {**(numbers or {})})
            caller.entry = section, entry
            section.enter(entry)
        if section.is_held_by(activity):
            self._wait_no_more(caller)
            return True
        self.wait(caller, section, activity, where)
        return False

    def wait(self, caller: Caller, section: Section, activity: Activity, where: str) -> None:
        """Let the first frame of a caller wait for a section.

        Raises:
            DeadlockError: it would wait for ever.
        """
        if caller.wait is None:
            self.blocked.add(section)
            self.lined.add(caller)
            caller.wait = Wait(activity, section, where, partial(self._resume, caller))
            if caller.is_needed():
                waits.begin(caller.wait)
        elif caller.wait.verdict is not None:
            raise caller.wait.verdict

    def _wait_no_more(self, caller: Caller) -> None:
        if caller.wait is not None:
            waits.end(caller.wait)
            self.lined.discard(caller)
            caller.wait = None

    def got_in(self, section: Section, caller: Caller) -> None:
        """What the caller's entry was for is done: it stays for what was entered, and no longer."""
        self._wait_no_more(caller)
        if caller.entry is not None:
            entry = caller.entry[1]
            if entry is not section.holder or not entry.numbers:
                self.give_up(caller)
            caller.entry = None

    def give_up(self, caller: Caller) -> None:
        """Let nobody wait in the caller's place of a line, or be in a section for its call."""
        self._wait_no_more(caller)
        if caller.entry is not None:
            section, entry = caller.entry
            section.withdraw(entry)
            caller.entry = None

    def unblock(self) -> None:
        """Look again at what others wait for: whoever was to tell may have been interrupted."""
        wanted = {caller.wait.section for caller in list(self.lined) if caller.wait is not None}
        for section in list(self.blocked):
            section.settle()
            if not section.line and section not in wanted:
                self.blocked.discard(section)
        if monotonic() - self._looked > _LOOK_EVERY:
            self._looked = monotonic()
            self._look()

    def _look(self) -> None:
        """Look who would wait for ever, and tell all others for whom they wait."""
        needed = [caller for caller in list(self.lined) if caller.is_needed()]
        for caller in self.lined.difference(needed):
            if caller.wait is not None:
                waits.end(caller.wait)
        graph = waits.graph()
        for caller in needed:
            edges = caller.wait and waits.look(waits.begin(caller.wait), graph)
            if edges:
                payload = codec.encode(edges)
                self._say(caller, header(WAITING, len(payload)) + payload)

    def leave(self, client: Client, target: int, number: int) -> bool:
        """Undo an entering of a client's; return False if none of this number is known."""
        try:
            section = self._objects.find(target).section
        except Released:
            return True  # it ended with the object
        left = section.leave(client, number)
        if not section.enterings_of(client):
            client.sections.discard(section)
        return left
