"""One channel, as the owner sees it: what has come by it, and what is under way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from .._chains._activities import Activity, Served
from .._chains._deadlocks import Wait
from .._chains._sections import Entry, Section
from .._channels._borrowed import Cargo
from .._channels._channel import Channel
from .._channels._wire import CALLS, CANCEL, ENTER, FROM_CLIENT, LEAVE, Frame
from .._client._held import Holdings
from .._objects._clients import Client
from .._objects._subjects import Shared
from .._specs._members import name_of
from ..codecs import pickle as codec
from ..errors import CodecError
from ..transports.pipe import Pipe, is_unread

#: Bytes that may wait for one client before the owner stops reading from it.
MOST_UNSENT: Final = 1 << 20
#: What a client sends and then waits. (It leaves without waiting, now and then.)
_WAITING: Final = CALLS | {ENTER}
#: Frames, and their bytes, that may wait behind a call before the owner stops reading.
_MOST_BEHIND: Final = 4096
_LARGEST_BEHIND: Final = 1 << 20
#: Calls of one channel that may run as tasks at once before the owner stops reading from it.
_MOST_TASKS: Final = 4096

#: The kind and the payload of a reply.
Reply = tuple[int, bytes]
#: That of a frame that is not replied to, or not by whoever serves it.
SILENCE: Final[Reply] = (0, b"")


class Errand:
    """A call that does not end with the turn in which it began: a worker's, or a task.

    Attributes:
        caller: whose.
        ident: its own; 0 if nobody wants a reply.
        key: the ident, or itself if that is 0.
        origin: its frame as it came; `frame` is without what it says of its context.
        args: what it is called with, where a reply depends on that.
        given_up: its caller has given it up.
    """

    __slots__ = (
        "args",
        "caller",
        "deadline",
        "frame",
        "given_up",
        "ident",
        "key",
        "origin",
        "served",
        "shared",
    )

    def __init__(
        self,
        caller: Caller,
        shared: Shared,
        frame: Frame,
        served: Served,
        deadline: float | None,
    ) -> None:
        self.caller = caller
        self.shared = shared
        self.frame = frame
        self.ident = frame[1]
        self.key: object = self.ident or self
        self.origin = frame
        self.served = served
        self.deadline = deadline
        self.args: tuple[Any, ...] = ()
        self.given_up = False

    def is_given_up(self) -> bool:
        """Whether nobody waits for it any more, who has waited for it."""
        return bool(self.ident) and (self.given_up or self.caller.is_gone())


def arguments_of(shared: Shared, frame: Frame) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a call is to be called with.

    Raises:
        CodecError: that cannot be rebuilt; the text names the method.
    """
    _, _, _, member, payload = frame
    if type(payload) is Cargo:
        payload = payload.read()
    try:
        return codec.decode_call(payload)
    except CodecError:  # once more, to say of which method they are
        return codec.decode_call(payload, name_of(shared.members.plain, member))


class Caller(Channel):
    """The owner's end of a channel.

    Attributes:
        activity: that of the thread it belongs to.
        client: the process of that.
        asked: upcalls that the thread was not seen to answer, by ident.
        returned: proxies of objects of the client's that went home with the latest reply.
        told: what its process was told with it of what is held of that no more.
        relays: sections were entered on it in the name of other activities.
        frames: what has arrived and was not served yet.
        writing: it did not take all that was said to it, so the owner waits until it takes more.
        paused: it takes too little, is parked or has too much under way: nothing is read from it.
        parked: the first of its frames has to wait, and so do all that come after.
        entry: the place, and its section, in whose line the first of its frames waits.
        serving: a call of it runs, further down the stack of the thread that polls or aside.
        undo: takes back what its latest call took, as long as its reply may be unread; see
            `keep_undo`.
        taken: the ident of that call and the same, for as long as no other has taken something.
        errand: that call, if it is a worker's.
        tasks: those of its calls that run as tasks, or wait in batches, by their keys.
        chain: the activity of its first call, if that was put off.
        alone: the idents of calls that run in no batch, as they had to wait.
        running: the ident of the call that runs just now, unless it is a task; or of the latest.
        answered: how many calls, of all channels, were answered when one of this one was.
        given_up: the ident of the latest such call that the client gave up.
        worker: what runs its calls that may wait.
        wait: what the first of its frames waits for, if it does.
        ended: its other end is closed; what it wrote is served, and the replies go nowhere.
    """

    __slots__ = (
        "activity",
        "alone",
        "answered",
        "asked",
        "chain",
        "client",
        "ended",
        "entry",
        "errand",
        "frames",
        "given_up",
        "parked",
        "paused",
        "relays",
        "returned",
        "running",
        "serving",
        "taken",
        "tasks",
        "told",
        "undo",
        "upcalls",
        "wait",
        "worker",
        "writing",
    )

    def __init__(self, pipe: Pipe, client: Client, activity: Activity, upcalls: Any) -> None:
        super().__init__(pipe, FROM_CLIENT)
        self.activity = activity
        self.client = client
        self.upcalls = upcalls
        self.asked: dict[int, Any] = {}
        self.relays = False
        self.returned: list[Any] = []
        self.told: list[tuple[int, int, int]] = []
        self.frames: deque[Frame] = deque()
        self.writing = False
        self.paused = False
        self.parked = False
        self.serving = False
        self.entry: tuple[Section, Entry] | None = None
        self.errand: Errand | None = None
        self.tasks: dict[object, Errand] = {}
        self.alone: set[int] = set()
        self.chain: Activity | None = None
        self.running = self.given_up = self.answered = 0
        self.worker: Any = None
        self.undo: Callable[[], object] | None = None
        self.taken: tuple[int, Callable[[], object]] | None = None
        self.wait: Wait | None = None
        self.ended = False

    @property
    def served(self) -> Served:
        """What a call that is served on it belongs to, if that does not say so itself."""
        client = self.client
        up = self.upcalls.way_to(self) if self.running else None  # else nobody waits for it there
        return Served(self.activity, (client.token,), up, client, self)

    def is_at_rest(self) -> bool:
        """Whether all that it said is served, and nothing is to be heeded but what it says next."""
        return not (
            self.frames
            or self.ended
            or self.serving
            or self.paused
            or self.unsent
            or self.tasks
            or self.asked
            or self.returned
            or self.told
            or self.decoder.missing
            or self.client.wanted
            or self.is_tapped
        )

    def is_full(self) -> bool:
        """Whether it may not say more while it is parked.

        It may give up what it said, and answer upcalls, whatever it has said before.
        """
        if self.ended or len(self.frames) > _MOST_BEHIND:
            return True
        return not self.asked and sum(len(frame[4]) for frame in self.frames) > _LARGEST_BEHIND

    def is_busy(self) -> bool:
        """Whether it has so much under way that it may say no more, but to answer upcalls."""
        return len(self.tasks) > _MOST_TASKS and not self.asked

    def is_gone(self) -> bool:
        """Whether nobody hears any more what is said on it."""
        dead: bool = self.client.dead
        return self.ended or dead or self.pipe.closed

    def is_given_up(self) -> bool:
        """Whether nobody waits any more for the call that runs, if anybody has."""
        return bool(self.running) and (self.given_up == self.running or self.is_gone())

    def keep_undo(self, undo: Callable[[], object]) -> None:
        """Keep what takes back a call until the client says more: then it has read the reply."""
        read = self.pipe.read

        def hear(size: int) -> bytes | None:
            data = read(size)
            if data:
                self.undo, self.read = None, read
            return data

        self.undo, self.read = undo, hear
        self.taken = self.running, undo

    def take_back(self, ident: int) -> None:
        """Take back what a call took, as nobody takes its reply; a second time does nothing."""
        taken = self.taken
        if taken is not None and taken[0] == ident:
            self.taken = self.undo = None
            self.read = self.pipe.read
            taken[1]()

    def undo_unread(self) -> None:
        """Take back the latest call, if its reply was not read; before the channel is closed."""
        undo, self.undo, self.read = self.undo, None, self.pipe.read
        self.taken = None
        if self.pipe.closed or undo is None:
            return
        if self.unsent or is_unread(self.pipe.writer):
            undo()

    def given_back(self) -> bytes:
        """Return the frames that tell its process which of its objects are needed no more."""
        lender: Holdings = self.client.lender
        news, told = lender.news_for(self.client.token)
        self.told += news
        return told

    def heard(self) -> None:
        """Note that it calls again, so it has got what the latest reply held."""
        self.returned = []
        if self.told:
            self.client.lender.told(self.told)
            self.told = []

    def is_waited_for(self) -> bool:
        """Whether the thread waits for an answer, and can be called meanwhile."""
        if self.ended or self.pipe.closed:
            return False
        if any(asked.reply is None for asked in list(self.asked.values())):
            return False  # it runs what it was asked, and does not wait meanwhile
        if self.serving or self.tasks:
            return True
        return any(frame[1] and frame[0] in _WAITING for frame in list(self.frames))

    def is_needed(self) -> bool:
        """Whether anybody needs what it asks for: who waits for a reply, or until it has left."""
        frames = list(self.frames)
        given_up = {frame[1] for frame in frames if frame[0] == CANCEL}
        return any(
            kind == LEAVE or (kind in _WAITING and ident and ident not in given_up)
            for kind, ident, _, _, _ in frames
        )
