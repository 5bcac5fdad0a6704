"""Dispatch: a call that has arrived is run, or waits in line.

It is serial: calls run in the thread that polls, one at a time for each object. A call runs if its
activity is in the object's section, or nobody is. Else it waits, and so does all that comes after
it on its channel; calls of others go on. Calls that may wait for something else are the workers',
and keep nobody out.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf

from .._chains._activities import Served, activity_of, here
from .._chains._residence import Residence
from .._chains._sections import Section, stuck
from .._channels._borrowed import Cargo
from .._channels._wire import CALL_WITHIN, Frame, unpack_context
from .._objects._objects import Objects
from .._objects._subjects import Shared
from .._references._references import PlainRoute
from .._specs._members import name_of
from .._system import _deadline
from ..errors import DeadlockError, ProtocolError, Released
from ._admission import Admission
from ._answers import Answers
from ._caller import SILENCE, Caller, Errand, Reply
from ._errands import Errands


class Dispatch:
    """Runs the calls of the clients of one listener.

    Args:
        objects: what is called.
        route: what references say of the listener.
        residence: knows which thread serves.
        resume: called with a caller whose first frame need not wait any more.
        say: sends frames to a caller.

    Attributes:
        guest: the thread that polls only waits for something itself. So it runs calls of those only
            whom somebody may be waiting for: who are in a section, or belong to what waits. If it
            is not the one that serves it runs none, as else nobody could serve while one waits.
        later: callers whose frames it did not serve as a guest.
        below: callers who need what a call further down the stack is in.
        admission: who may go on, and who waits in line.
        answers: what runs calls and makes their replies.
        errands: calls that are run aside.
    """

    def __init__(
        self,
        objects: Objects,
        route: PlainRoute,
        residence: Residence,
        resume: Callable[[Caller], object],
        say: Callable[[Caller, bytes], object],
    ) -> None:
        self.guest = False
        self.later: deque[Caller] = deque()
        self.below: deque[Caller] = deque()
        self.admission = Admission(objects, resume, say)
        self.answers = Answers(objects, route)
        self.errands = Errands(objects, route, self.answers.answer, self.answers.failure, resume)
        self._residence = residence
        self._objects = objects

    def call(self, caller: Caller, frame: Frame) -> Reply | None:
        """Run the call that is the caller's first frame, and take it.

        None if this thread may not run it, it has to wait, or somebody is in the object's section,
        or waits for it; then nothing is done, and it is for those below.
        """
        shared = self._objects.by_number.get(frame[2])
        if shared is None:
            return None
        section = shared.section
        if section.holder is not None or section.line or caller.wait is not None:
            return None
        if shared.elsewhere:
            return self._hurry(caller, shared, frame) if shared.face.hurries else None
        # Who is in another section is served in its name, for what its call may need at home.
        if self.guest or caller.activity.sections:
            return None
        reply, right = None, section.right
        # As `attempt` does it, without the calls that would cost every call.
        try:
            if not right._is_owned() and right.acquire(False):
                with right:
                    right.release()
                    if section.holder is None:
                        section.runner = caller.activity
                        try:
                            caller.frames.popleft()
                            reply = self.answers.answer(caller.client, shared, frame)
                        finally:
                            section.runner = None
        except BaseException:
            if right._is_owned():
                right.release()
            raise
        self._settle(section)
        return reply

    def call_in_turn(self, caller: Caller, frame: Frame) -> Reply | None:
        """As `call`, of whatever object; None if it has to wait."""
        shared = self._objects.by_number.get(frame[2])
        if shared is None:
            return self._released(caller, frame)
        section = shared.section
        free = section.holder is None and not section.line and caller.wait is None
        if shared.face.hurries and free:
            reply = self._hurry(caller, shared, frame)
            if reply is not None or self.errands.retries.line_up(caller, shared, None):
                return reply
        return self._call_in_line(caller, shared, frame, caller.served, None)

    def _hurry(self, caller: Caller, shared: Shared, frame: Frame) -> Reply | None:
        reply = self.errands.hurry(caller, shared, frame)
        if reply is not None:
            self._settle(shared.section)
        return reply

    def _settle(self, section: Section) -> None:
        """Let others have what they waited for until a call ended."""
        section.settle()
        if self.below:
            self._rise()

    def call_within(self, caller: Caller, frame: Frame) -> Reply | None:
        """As `call`, for a call that belongs to a chain, or has a deadline."""
        kind, ident, number, member, payload = frame
        context = payload.context if type(payload) is Cargo else None
        if context is None:
            context, payload = unpack_context(payload)
        seconds, thread, path = context
        shared = self._objects.by_number.get(number)
        if shared is None:
            return self._released(caller, frame)
        served = self.served(caller, thread, path)
        deadline = None if seconds == inf else self.errands.retries.came(caller) + seconds
        frame = kind, ident, number, member, payload
        return self._call_in_line(caller, shared, frame, served, deadline)

    def _released(self, caller: Caller, frame: Frame) -> Reply:
        """Refuse a call of an object that is not shared, or not any more."""
        self.admission.give_up(caller)
        caller.frames.popleft()
        error = Released(f"object {frame[2]} was given back, or never shared here")
        return self.answers.failure(error, f"object {frame[2]}", caller.client, frame[1])

    def served(self, caller: Caller, thread: int, path: tuple[bytes, ...]) -> Served:
        """Return what a call on a channel belongs to that says by which way it came."""
        served = caller.served
        if path:
            served.activity = activity_of(path[0], thread)
            served.path = (*path, caller.client.token)
        return served

    def _call_in_line(
        self,
        caller: Caller,
        shared: Shared,
        frame: Frame,
        served: Served,
        deadline: float | None,
    ) -> Reply | None:
        section, activity = shared.section, served.activity
        apart = frame[3] in shared.elsewhere
        waited_for = activity.sections or here.stack.holds(activity)
        if self.guest and not apart and not (waited_for and self._may_run(shared)):
            if caller not in self.later:  # else it was asked to answer upcalls, and did
                self.later.append(caller)
            caller.chain = activity
            return None
        where = name_of(shared.members.plain, frame[3])
        runs = section.runs_here()
        errand = Errand(caller, shared, frame, served, deadline)
        try:
            if apart:
                return self._entrust(caller, errand, where)
            if runs and section.runner is not activity:  # further down this thread's stack
                if section.is_stuck_with(activity):
                    raise stuck()
                self.admission.wait(caller, section, activity, where)
                if caller not in self.below:  # else it said more meanwhile
                    self.below.append(caller)
                return None
            joins = frame[3] in shared.face.batched and self._joins_batch(errand)
            if (
                not runs
                and not joins
                and not self.admission.is_in(section, caller, activity, where, {})
            ):
                return None
        except DeadlockError as error:
            self.admission.give_up(caller)
            caller.frames.popleft()
            return self.answers.failure(error, where, caller.client, frame[1])
        if frame[1] in caller.tasks:
            raise ProtocolError(f"two calls of ident {frame[1]} at once")
        if joins:
            self.admission.got_in(section, caller)
            errand.origin = caller.frames.popleft()
            self.errands.batches.collect(errand)
            return SILENCE
        caller.frames.popleft()
        caller.alone.discard(frame[1])
        reply = self._run(errand)
        self.admission.got_in(section, caller)
        self._settle(section)
        return reply

    def _joins_batch(self, errand: Errand) -> bool:
        """Whether a call of a batched method waits for others, and not for the section."""
        section = errand.shared.section
        if section.holder is not None or section.line or section.runs_here():
            return False
        # What its caller is in would be closed to the batch, which is a chain of its own.
        return not errand.served.activity.sections and errand.ident not in errand.caller.alone

    def run_batches(self, channels: int) -> int:
        """Run the batches that are due; return how many calls were answered."""
        answered = self.errands.batches.run(channels, self._may_run_batch)
        if self.below:
            self._rise()
        return answered

    def due_in(self) -> float | None:
        """Return the seconds until something is due that this thread may do; None if nothing is."""
        batches, retries = self.errands.batches, self.errands.retries
        if not batches.waiting and not retries.lines:
            return None  # as nearly always
        due = batches.due_in(self._may_run_batch), retries.due_in()
        return min((seconds for seconds in due if seconds is not None), default=None)

    def _may_run_batch(self, shared: Shared) -> bool:
        return not shared.section.runs_here() and (not self.guest or self._may_run(shared))

    def _run(self, errand: Errand) -> Reply:
        """Run a call whose activity may be in the section."""
        shared, call = errand.shared, partial(self.errands.begin, errand)
        if not shared.face.is_async:
            call = partial(self.answers.answer, errand.caller.client, shared, errand.frame)
        outer = here.serves
        try:
            here.serves = errand.served
            return shared.section.run(partial(_deadline.run, errand.deadline, call))
        finally:
            here.serves = outer

    def _entrust(self, caller: Caller, errand: Errand, where: str) -> Reply | None:
        """Make a call the caller's errand; it keeps nobody out of the object."""
        shared, frame, served = errand.shared, errand.frame, errand.served
        section = shared.section
        held = section.holder is not None or bool(section.line)
        if held and not self.admission.is_in(section, caller, served.activity, where):
            return None
        self.admission.got_in(section, caller)
        reply = None
        tries = shared.face.hurries and not _deadline.is_over(errand.deadline)
        if tries and (held or frame[0] == CALL_WITHIN):  # else it was tried before
            reply = self.errands.hurry(caller, shared, frame, served)
            if reply is None and self.errands.retries.line_up(caller, shared, errand.deadline):
                return None
        if reply is None:
            caller.frames.popleft()
            caller.errand = errand
        section.settle()
        return reply

    def _may_run(self, shared: Shared) -> bool:
        """Whether this thread may run calls of an object, as a guest."""
        if self._residence.is_here():
            return True
        return self._residence.is_left() and not (shared.face.resides or shared.face.is_async)

    def needed(self) -> list[Caller]:
        """Return those who were put off, and whom somebody may be waiting for by now."""
        return [c for c in self.later if c.chain is not None and c.chain.sections]

    def _rise(self) -> None:
        """Look again at what needed a call further down the stack: one has ended."""
        self.later.extend(self.below)
        self.below.clear()
