"""Batches: calls of a batched method that wait for others, to be run all at once.

A call is collected until its batch is full, its time is over or nobody else can come. It waits
beside its channel, on which the client may say more. The thread that serves runs a batch at the end
of a turn; an interrupt there cuts one channel at most, as anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from inspect import isawaitable
from itertools import count
from time import monotonic
from typing import Any, Final, NoReturn

from .._chains._activities import Activity, Served, here
from .._channels._wire import CALLS, ENTER, Frame
from .._objects._subjects import Shared
from .._specs._members import name_of
from .._system import _deadline, _life
from .._system._rights import attempt
from ..errors import CallLost, Cancelled
from ._caller import Caller, Errand, Reply, arguments_of
from ._tasks import Tasks

#: What passes for the thread of a batch, in chains of calls that begin with one.
_threads: Final = count(1 << 62)
#: What comes on a channel behind calls that wait in a batch, and waits for those.
_IN_ORDER: Final = CALLS | {ENTER}


class Batch:
    """Calls of one method of one object.

    Attributes:
        due: when it runs; 0 for as soon as possible.
        begun: it does, or did.
    """

    __slots__ = ("batching", "begun", "due", "errands", "member", "shared")

    def __init__(self, shared: Shared, member: int) -> None:
        self.shared = shared
        self.member = member
        self.batching = shared.face.batched[member]
        self.errands: list[Errand] = []
        self.due = monotonic() + self.batching.within
        self.begun = False

    def is_of(self, caller: Caller) -> bool:
        """Whether a call of this channel waits in it."""
        return any(errand.caller is caller for errand in self.errands)

    def is_for(self, frame: Frame) -> bool:
        """Whether a frame is one more call of its method."""
        kind, _, number, member, _ = frame
        return kind in CALLS and (number, member) == (self.shared.number, self.member)


class Batches:
    """The batches of one listener.

    Args:
        reply: returns the reply for what a function returns or raises, as the result of an errand.
        finish: sends it.
        resume: called with a caller that the thread that serves has to look after again.
        tasks: awaits what async methods return.

    Attributes:
        waiting: those that collect or are to be run, the oldest first.
        told: whose reply is sent just now.
    """

    def __init__(
        self,
        reply: Callable[[Errand, Callable[[], Any]], Reply],
        finish: Callable[[Errand, Reply], None],
        resume: Callable[[Caller], object],
        tasks: Tasks,
    ) -> None:
        self._reply, self._finish, self._resume, self._tasks = reply, finish, resume, tasks
        self.waiting: dict[Batch, None] = {}
        self.told: Errand | None = None
        token = _life.token()
        self._served = Served(Activity(token, next(_threads)), (token,), None)

    # -- collecting -------------------------------------------------------------------------------

    def collect(self, errand: Errand) -> None:
        """Let a call wait for others of the same method."""
        shared, member = errand.shared, errand.frame[3]
        batch = self._open_for(shared, member) or Batch(shared, member)
        errand.caller.tasks[errand.key] = errand
        batch.errands.append(errand)
        if len(batch.errands) >= batch.batching.most:
            batch.due = 0.0
        self.waiting[batch] = None

    def _open_for(self, shared: Shared, member: int) -> Batch | None:
        for batch in self.waiting:
            full = len(batch.errands) >= batch.batching.most or batch.begun
            if batch.shared is shared and batch.member == member and not full:
                return batch
        return None

    def hurry_for(self, caller: Caller, frame: Frame) -> bool:
        """Return whether a frame has to wait until calls of its channel, in batches, have run."""
        if frame[0] not in _IN_ORDER:
            return False
        before = [b for b in self.waiting if b.is_of(caller) and not b.is_for(frame)]
        for batch in before:
            batch.due = 0.0
        return bool(before)

    def withdraw(self, errand: Errand) -> bool:
        """Take a call that is given up out of its batch; return whether that had not begun."""
        for batch in list(self.waiting):
            if errand in batch.errands and not batch.begun:
                batch.errands.remove(errand)
                self._tell(
                    errand, partial(_fail, Cancelled("the call was given up before it began"))
                )
                if not batch.errands:
                    self.waiting.pop(batch, None)
                return True
        return False

    def left(self, caller: Caller) -> None:
        """Do without the calls of a channel, which is closed, but for those that ask no reply."""
        for batch in list(self.waiting):
            if not batch.begun:
                batch.errands = [e for e in batch.errands if e.caller is not caller or not e.ident]
            if not batch.errands:
                self.waiting.pop(batch, None)

    # -- running ----------------------------------------------------------------------------------

    def due_in(self, may_run: Callable[[Shared], bool]) -> float | None:
        """Return the seconds until a batch is to be run; None if none waits."""
        moments = [batch.due for batch in list(self.waiting) if may_run(batch.shared)]
        return max(0.0, min(moments) - monotonic()) if moments else None

    def run(self, channels: int, may_run: Callable[[Shared], bool]) -> int:
        """Run what is due; return how many calls were answered.

        Args:
            channels: how many there are: once a call of each is in a batch nobody else can come.
            may_run: whether this thread may run calls of an object just now.
        """
        answered = 0
        for batch in list(self.waiting):
            size = len(batch.errands)
            is_due = batch.due <= monotonic() or _channels_of(batch.errands) >= channels
            if is_due and batch in self.waiting and may_run(batch.shared):
                answered += size
                self._run(batch)
                self.waiting.pop(batch, None)
        return answered

    def _run(self, batch: Batch) -> None:
        section = batch.shared.section
        if batch.begun:  # and was left by an interrupt
            lost = CallLost("a signal handler ended the turn in which this call ran, or would have")
            self._tell_all(batch.errands, [lost] * len(batch.errands))
            return
        free = section.holder is None and not section.line
        if not free or attempt(section.right, partial(self._run_by_right, batch)) is not True:
            self._dissolve(batch)
        section.settle()

    def _run_by_right(self, batch: Batch) -> bool:
        """Run a batch, if nobody is in the section; return whether nobody is."""
        section = batch.shared.section
        if section.holder is not None:
            return False
        outer = here.serves
        try:
            here.serves = self._chain_of(batch)
            batch.begun = True
            section.run(partial(self._call, batch))
        finally:
            here.serves = outer
        return True

    def _call(self, batch: Batch) -> None:
        shared, batching = batch.shared, batch.batching
        errands, values = self._values(batch)
        if not values:
            return
        shared.counts[batch.member] += len(values)
        try:
            results = batching.method(shared.actor, values)
            if isawaitable(results):
                self._tasks.check(results, name_of(shared.members.plain, batch.member))
                came = partial(self._came, batch, errands)
                self._tasks.begin(batch, here.current, None, results, came)
                return
            outcomes = batching.outcomes(results, len(errands))
        except BaseException as error:
            outcomes = [error] * len(errands)
        del values
        self._tell_all(errands, outcomes)

    def _chain_of(self, batch: Batch) -> Served:
        """Return the chain of a batch: its calls', if they are all of one, and else its own."""
        served = batch.errands[0].served
        if any(errand.served.activity is not served.activity for errand in batch.errands):
            return self._served
        return Served(served.activity, served.path, served.up)

    def _values(self, batch: Batch) -> tuple[list[Errand], list[Any]]:
        """Return the calls that are still to be run, and what they were called with."""
        errands: list[Errand] = []
        values: list[Any] = []
        for errand in batch.errands:
            try:
                if _deadline.left(errand.deadline) == 0:
                    raise _deadline.passed()
                errand.args, kwargs = arguments_of(errand.shared, errand.frame)
                value = batch.batching.value(errand.args, kwargs)
                errand.args = ()  # nobody is to have views of them but the method
            except BaseException as error:
                self._tell(errand, partial(_fail, error))
            else:
                errands.append(errand)
                values.append(value)
        return errands, values

    def _came(self, batch: Batch, errands: list[Errand], result: Callable[[], Any]) -> None:
        """Tell everyone what came of a batch that was awaited."""
        try:
            outcomes = batch.batching.outcomes(result(), len(errands))
        except BaseException as error:
            outcomes = [error] * len(errands)
        self._tell_all(errands, outcomes)

    # -- replies ----------------------------------------------------------------------------------

    def _tell_all(self, errands: Iterable[Errand], outcomes: list[Any]) -> None:
        for errand, outcome in zip(errands, outcomes, strict=True):
            is_error = isinstance(outcome, BaseException)
            self._tell(errand, partial(_fail if is_error else _keep, outcome))

    def _tell(self, errand: Errand, run: Callable[[], Any]) -> None:
        """Send a reply, if none was sent; whoever is told as an interrupt comes is cut."""
        if errand.caller.tasks.get(errand.key) is errand:
            self.told = errand
            self._finish(errand, self._reply(errand, run))
            self.told = None

    def _dissolve(self, batch: Batch) -> None:
        """Let the calls of a batch wait in line, each for itself, as somebody is in the section."""
        for errand in reversed(batch.errands):
            caller = errand.caller
            if caller.tasks.get(errand.key) is errand:
                self.told = errand
                del caller.tasks[errand.key]
                caller.alone.add(errand.ident)
                caller.frames.appendleft(errand.origin)
                self.told = None
                self._resume(caller)
        batch.errands = []


def _channels_of(errands: list[Errand]) -> int:
    return len({errand.caller for errand in errands})


def _keep(value: Any) -> Any:
    return value


def _fail(error: BaseException) -> NoReturn:
    raise error
