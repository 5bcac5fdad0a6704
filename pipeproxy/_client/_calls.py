"""The client's side of a call: what goes to the owner, by which way, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, cast

from .._chains._activities import Served, Up, here
from .._chains._context import context_of
from .._channels._door import Route
from .._channels._parcels import BULK_FROM, Encoded, Parcel, pack
from .._channels._wire import (
    BARE,
    CALL,
    CALL_WITHIN,
    LIMIT,
    RELEASE,
    RESULT,
    UP,
    UP_RESULT,
    oversized,
    pack_header,
    pack_pairs,
)
from .._specs._members import Plain
from .._system import _deadline, _life
from .._system._descriptors import Descriptor
from ..codecs import pickle as codec
from ..errors import ListenerClosed, OwnerDied
from ._asking import Asking
from ._exchange import Exchange, Surroundings
from ._held import Holdings, idents
from ._inside import Inside
from ._lines import Line, Lines
from ._pool import Lease, Pool
from ._promises import Promise, Unheard, fulfil
from ._requests import Request, decode, encode, key, name

Call = Callable[[int, tuple[Any, ...], "dict[str, Any] | None"], Any]
Start = Callable[[int, tuple[Any, ...], "dict[str, Any] | None", Any], None]

#: The ways to processes that have no door: they are clients of a listener of this one.
guests: dict[bytes, Any] = {}


class Owner:
    """A listener of another process, as this process calls it.

    Args:
        route: how to reach it.
        held: what this process holds of it.
        around: this process.
        lobby: the inherited door, in a forked child.
        life: the inherited life descriptor, in a forked child.

    Attributes:
        lines: the channels to it.
        held: as given.
        inside: the sections that this process is inside of.
    """

    def __init__(
        self,
        route: Route,
        held: Holdings,
        around: Surroundings,
        lobby: Any = None,
        life: Descriptor | None = None,
    ) -> None:
        self.route = route
        self.held = held
        self.lines = Lines(route, lobby, life)
        self._around = around
        self._pool = Pool(self.lines, held)
        self._exchange = Exchange(route, held, around, self.lines, self._pool)
        self.inside = Inside(route, self._exchange)
        self._readings: Any = None
        #: What a call minds beside its arguments, if there is any of it.
        self._minded = held.ended, held.untold, self.inside.blocks
        _life.at_fork(self)

    def forked(self) -> None:
        """In a forked child: what it holds it has to claim, and it is inside of nothing."""
        self.held.forked()
        self.inside.forked()
        self._pool.forked()

    def give_back(self, number: int, proxy: object) -> None:
        """Give back what a proxy holds of an object, and tell the owner if that takes no wait."""
        held = self.held.let_go(number, proxy)
        if held is None or not self.route.address:
            return
        try:
            self.lines.post(RELEASE, number, pack_pairs([(held.ident, number)]))
        except (OwnerDied, ListenerClosed):
            pass  # there is nobody to give it back to

    def read_published(self, number: int, index: int, latest: list[Any]) -> Any:
        """Return the value of a published attribute; see `Readings.read`.

        Raises:
            AttributeError: it has to be asked for.
        """
        if self._readings is None:
            if not self.route.address:
                raise AttributeError("its owner has no door")
            from ._readings import Readings  # here, as only who reads pays for it

            self._readings = Readings(self.route, self.lines)
        return self._readings.read(number, index, latest)

    def call(
        self,
        number: int,
        plain: Plain,
        member: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
    ) -> Any:
        """Call a member of an object and return what it returns.

        Raises:
            CallTimeout: the deadline passed.
            OwnerDied, ListenerClosed, CallLost: nobody will answer.
            CodecError: an argument or the result cannot travel.
            BaseException: whatever the method raised.
        """
        line, payload = self.lines.at_rest(), codec.encode_atoms(args, kwargs)
        if (
            line is None
            or payload is None
            or len(payload) > BULK_FROM
            or here.serves is not None
            or here.server is not None
            or _deadline.current() is not None
            or self._pool.in_use
            or any(self._minded)
        ):
            request = number, plain, member, args, kwargs
            kind, value = self._call_with_all(request, payload)
        else:  # nearly every call: it takes nothing along, and nothing else is to be heeded
            ident, answer = next(idents), None
            try:
                kind, answer = self._exchange.trip(line, ident, number, member, payload)
                value = self.read(kind, answer, (number, plain, member, args, kwargs), None)
            except BaseException as error:
                self.abandon(ident, error, None, came=answer is not None)
                raise
        if kind & BARE == RESULT:
            return value
        try:
            raise value
        finally:
            del value  # else the frame in its own traceback would keep it alive

    def _call_with_all(self, request: Request, payload: bytes | None) -> tuple[int, Any]:
        """As `call`, whatever goes with it; return the kind of the reply and what it holds.

        Args:
            payload: its arguments, if nobody need be asked about any.
        """
        if self.inside.blocks:
            self.inside.leave_forgotten()
        served = here.served
        up = self._way_up(served)
        if up is not None:
            return RESULT, self._call_up(up, request)
        number, _, member, _, _ = request
        deadline = _deadline.current()
        kind, payload, lent, lease = self._pack(request, payload, served, deadline)
        try:
            line, ident = self._exchange.line(deadline)
        except BaseException:
            if lent is not None:
                lent.take_back()
            raise
        answer = None
        try:
            kind, answer = self._exchange.ask(line, ident, kind, number, member, payload, deadline)
            value = self.read(kind, answer, request, lease)
        except BaseException as error:
            unheard = line.unsent or not line.said
            self.abandon(ident, error, lent if unheard else None, came=answer is not None)
            if lease is not None and answer is None:
                self._pool.await_end(lease, line, ident)
            raise
        finally:
            if lease is not None and answer is not None:
                lease.end(kind)
        return kind, value

    def start(  # noqa: PLR0913, PLR0917 - as `call`, and for whom
        self,
        number: int,
        plain: Plain,
        member: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        promise: Promise | None,
    ) -> None:
        """Begin a call and do not wait for it.

        An object that can be reached only by a call that this thread serves is called at once.

        Args:
            promise: is told what comes of it; None if nobody is to be.

        Raises:
            CallTimeout: the deadline passed before the call could be sent.
            OwnerDied, ListenerClosed, CallLost: nobody will answer.
            CodecError: an argument cannot travel.
        """
        flight, payload = self.lines.flight(), codec.encode_atoms(args, kwargs)
        if (
            flight is None
            or payload is None
            or promise is None
            or len(payload) > BULK_FROM
            or here.serves is not None
            or here.server is not None
            or _deadline.current() is not None
            or self._pool.in_use
            or any(self._minded)
            or flight.is_full()
        ):
            self._start_with_all((number, plain, member, args, kwargs), promise, payload)
            return
        # Nearly every call, of many.
        ident = next(idents)
        promise.arm(ident, self, (number, plain, member, args, kwargs))
        promise.flight = flight
        frame = pack_header(len(payload), ident, number, member, CALL) + payload
        if not flight.put(frame, promise, promise.waits):
            self._exchange.send(frame, promise, None, None)

    def _start_with_all(
        self, request: Request, promise: Promise | None, payload: bytes | None
    ) -> None:
        """As `start`, whatever goes with it.

        Args:
            payload: its arguments, if nobody need be asked about any.
        """
        if self.inside.blocks:
            self.inside.leave_forgotten()
        served = here.served
        up = self._way_up(served)
        if up is not None:
            fulfil(promise, partial(self._call_up, up, request), name(request))
            return
        number, _, member, _, _ = request
        deadline = _deadline.current()
        kind, payload, lent, lease = self._pack(request, payload, served, deadline)
        try:
            if promise is None and lent is not None and lent.lends:
                promise = Unheard(name(request))
            ident = 0
            if promise is not None:
                ident = next(idents)
                promise.arm(ident, self, request, deadline, lent, lease)
                promise.served = served
            if len(payload) > LIMIT:
                raise oversized(len(payload))
            frame = pack_header(len(payload), ident, number, member, kind) + payload
            self._exchange.send(frame, promise, lease, deadline)
        except BaseException:
            if lent is not None and not (promise is not None and promise.sent):
                lent.take_back()
            raise

    def _pack(
        self,
        request: Request,
        payload: bytes | None,
        served: Served | None,
        deadline: float | None,
    ) -> tuple[int, bytes, Any, Lease | None]:
        """Return the kind and the payload of a call, what it lends, and the memory it goes with.

        Args:
            payload: its arguments, if nobody need be asked about any.
        """
        if payload is not None and served is None and deadline is None and not self._pool.in_use:
            return CALL, payload, None, None
        encoded: Encoded | None = payload
        lent = lease = None
        try:
            if encoded is None:
                lent = self._around.outgoing(self.route)
                encoded = encode(request, lent)
            kind, before = CALL, b""
            if served is not None or deadline is not None:
                kind, before = CALL_WITHIN, context_of(served, deadline)
            if self._pool.in_use or type(encoded) is Parcel:
                lease = self._pool.take(key(request), encoded, deadline)
            segment = None if lease is None else lease.segment
            kind, record, data = pack(kind, encoded, segment, goes=True)
        except BaseException:
            if lent is not None:
                lent.take_back()
            raise
        return kind, b"".join((record, before, data)), lent, lease

    def _call_up(self, up: Up, request: Request) -> Any:
        """As `call`, on a channel on which the owner waits for an answer of this process."""
        lent = up.outgoing()
        try:
            payload = encode(request, lent)
        except BaseException:
            lent.take_back()
            raise
        news, told = self.held.news_for(self.route.listener)
        number, _, member, _, _ = request
        target = self.route.listener, number, member
        ident, answer = next(idents) | UP, None
        try:
            kind, answer = up.ask(ident, target, payload, _deadline.current(), told)
            value = decode(request, kind, answer)
        except BaseException as error:
            self.abandon(ident, error, lent, came=answer is not None)
            raise
        self.held.told(news)
        if kind == UP_RESULT:
            return value
        try:
            raise value
        finally:
            del value  # else the frame in its own traceback would keep it alive

    def read(
        self, kind: int, answer: bytes | memoryview, request: Request, lease: Lease | None
    ) -> Any:
        """Return the result, or the exception, that a reply holds.

        Args:
            lease: of the memory that went with the call, and is read now.
        """
        if kind == RESULT and len(answer) < BULK_FROM:  # as nearly always
            try:
                return codec.loads(answer)
            except Exception:
                decode(request, kind, answer)  # says what is wrong, and where
                raise  # nothing is: it came from a signal handler
        kind, encoded = self._pool.open(key(request), kind, answer, lease)
        return decode(request, kind, encoded)

    def attend(self, flight: Any, asking: Asking, since: float, deadline: float | None) -> None:
        """Serve others, and answer what the owner asks, until somebody waits no more.

        Args:
            asking: who waits for what is in flight.
            since: when that began.

        Raises:
            CallTimeout: the deadline passed.
        """
        self._exchange.attend(flight, asking, since, deadline)

    def is_left(self, lease: Lease, line: Line, ident: int) -> None:
        """Let memory be had again when the owner replies to a call that nobody waits for."""
        self._pool.await_end(lease, line, ident)

    def abandon(self, ident: int, error: BaseException, lent: Any, *, came: bool) -> None:
        """Want nothing of what comes with the reply, and lend nothing, as a call has failed."""
        if not isinstance(error, (OwnerDied, ListenerClosed)):  # else there is nobody to tell
            self.held.abandon(ident, came=came)
        if lent is not None:
            lent.take_back()
        if isinstance(error, OwnerDied):
            self._around.lost(self.route)

    def _way_up(self, served: Served | None) -> Up | None:
        """Return how to reach the owner without a line of its own.

        Args:
            served: what this thread serves.
        """
        if served is not None and self.route.process in served.path and served.up is not None:
            return served.up
        if self.route.address:
            return None
        guest = guests.get(self.route.process)
        if guest is None:
            raise OwnerDied(
                f"process {self.route.pid}, which holds the object, has no listener, and is no "
                f"client of this process any more: share the object on a Listener of its own"
            )
        return cast(Up, guest)
