"""What processes do that lend objects of theirs to the owner; loads no pytest."""

from __future__ import annotations

import gc
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from pipeproxy import CallLost, CodecError, RemoteError, blocking, by_ref, locked, proxied, timeout
from pipeproxy._references._lent import lending
from pipeproxy._system._deadline import current
from tests.support import PATIENCE, Interrupted, interrupt


class Office:
    """The owner's object: it calls what it is given, at once or later."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}
        self.calls = 0
        self.over = threading.Event()

    @blocking
    def wait(self) -> None:
        assert self.over.wait(PATIENCE)

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def call(self, function: Any, *args: Any) -> Any:
        return function(*args)

    def echo(self, value: Any) -> Any:
        return value

    def outcome(self, function: Any, *args: Any) -> tuple[str, str]:
        """Return how a call of it ends, here."""
        try:
            return "returned", repr(function(*args))
        except Exception as error:
            return type(error).__name__, str(error)

    def time(self, function: Any) -> None:
        """Keep how a call of it ends, here, and how long that took."""
        began = monotonic()
        self.kept["time"] = self.outcome(function)[0], monotonic() - began

    def keep(self, name: str, value: Any) -> None:
        self.kept[name] = value

    def drop(self, name: str) -> None:
        self.kept.pop(name, None)

    def kept_one(self, name: str) -> Any:
        return self.kept[name]

    def call_kept(self, name: str, *args: Any) -> Any:
        return self.kept[name](*args)

    def use(self, ticket: Any) -> tuple[int, int]:
        return ticket.add(1), ticket.number

    def append(self, items: Any, *more: Any) -> int:
        for item in more:
            items.append(item)
        return len(items)

    def inside(self, lock: Any, function: Any) -> Any:
        with lock:
            return function()

    def take(self, items: Any, count: int) -> list[Any]:
        return [next(items) for _ in range(count)]

    def call_in_thread(self, function: Any) -> None:
        """Call it later, from a thread of the owner's; `last` waits for what it returned."""
        self._results: list[Any] = []
        self._thread = threading.Thread(
            target=lambda: self._results.append(self.outcome(function)), daemon=True
        )
        self._thread.start()

    def last(self) -> Any:
        return None if self._thread.is_alive() else self._results[0]

    def open_ticket(self) -> Ticket:
        return Ticket(0)

    def numbers(self) -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            self.calls += 1

    def fork_and_call(self, function: Any) -> tuple[Any, int]:
        """Fork; call it in both; return what it returned here, and how the child ended."""
        pid = os.fork()
        if not pid:
            os._exit(3 if self.outcome(function)[0] == "OwnerDied" else 4)
        return function(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@proxied
class Ticket:
    def __init__(self, number: int) -> None:
        self.number = number

    def add(self, amount: int) -> int:
        self.number += amount
        return self.number

    def another(self) -> Ticket:
        return Ticket(self.number + 100)


def here() -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def lent() -> int:
    """Return how many objects of this process others hold, or it has proxies of itself."""
    home = lending()
    home.tidy()
    return len(home._objects)


# What can be lent ---------------------------------------------------------------------------------


def lend_functions(office: Any) -> list[bool]:
    """Tell for each kind of function whether it ran here, in this very thread."""

    class Local:
        def method(self) -> tuple[int, int]:
            return here()

        @staticmethod
        def static() -> tuple[int, int]:
            return here()

        def __call__(self) -> tuple[int, int]:
            return here()

    functions: list[Any] = [here, Local().method, Local.static, lambda *_: here(), partial(here)]
    return [office.call(by_ref(function)) == here() for function in [*functions, Local()]]


def lend_objects(office: Any) -> dict[str, Any]:
    items = [1]
    lock = threading.Lock()
    counted = iter(range(10))
    ticket = Ticket(7)
    inside = office.inside(by_ref(lock), by_ref(lambda: (lock.locked(), here())))
    return {
        "list": (office.append(by_ref(items), 2, 3), items),
        "lock": (inside == (True, here()), lock.locked()),
        "iterator": (office.take(by_ref(counted), 3), next(counted)),
        "generator": (office.take((n * n for n in range(10)), 3),),
        "described": (office.use(ticket), ticket.number),
    }


def come_home(office: Any) -> list[bool]:
    """Tell whether what is sent back is the object itself, at once and later."""
    items: list[int] = []
    ticket = Ticket(1)
    office.keep("ticket", ticket)
    return [
        office.echo(by_ref(items)) is items,
        office.echo(by_ref(here)) is here,
        office.echo(ticket) is ticket,
        office.echo([{"a": ticket}])[0]["a"] is ticket,
        office.call(by_ref(lambda value: value is ticket), ticket),
        office.kept_one("ticket") is ticket,
        office.call(by_ref(lambda: ticket)) is ticket,
    ]


def return_references(office: Any) -> Any:
    """Let a callback return objects of either side."""
    ticket = Ticket(1)
    office.keep("made", office.call(by_ref(ticket.another)))
    added = office.call(by_ref(lambda: office.kept_one("made").add(5)))
    return added, office.call(by_ref(lambda: office)) is office, ticket.number


def go_deep(office: Any, threads: int, levels: int) -> list[Any]:
    """Call there and back, so many levels deep, from many threads at once."""
    results: list[Any] = []

    def work() -> None:
        own = here()
        seen: list[bool] = []

        def down(level: int) -> int:
            seen.append(here() == own)
            return 0 if level == 0 else 1 + office.call(by_ref(down), level - 1)

        results.append((down(levels), all(seen), len(seen)))

    run_threads([work] * threads)
    return results


def run_threads(functions: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=function) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert not any(thread.is_alive() for thread in threads)


def lend_from_threads(office: Any, threads: int, times: int) -> list[int]:
    """Lend one function, from many threads at once; return how often each had its own answer."""
    right: list[int] = []

    def echo(value: Any) -> Any:
        return value

    def work(number: int) -> None:
        right.append(
            sum(office.call(by_ref(echo), (number, n)) == (number, n) for n in range(times))
        )

    run_threads([partial(work, number) for number in range(threads)])
    return right


# Callbacks that raise -----------------------------------------------------------------------------


class Refused(Exception):
    def __init__(self, what: str, *, code: int) -> None:
        super().__init__(what)
        self.code = code


def refuse() -> None:
    raise Refused("no", code=7)


def refuse_unpicklably() -> None:
    class Local(ValueError):
        pass

    raise Local("odd", threading.Lock())


def return_unpicklable() -> Any:
    return threading.Lock()


def raise_all(office: Any) -> list[Any]:
    """Return how each ends in the owner, and what comes back of the first."""
    seen: list[Any] = [
        office.outcome(by_ref(function))
        for function in (refuse, refuse_unpicklably, return_unpicklable)
    ]
    try:
        office.call(by_ref(refuse))
    except Refused as error:
        owners = error.__cause__
        own = None if owners is None else owners.__cause__
        seen.append((error.args, error.code, "in call" in str(owners), "in refuse" in str(own)))
    seen.append(office.count())
    return seen


def raise_in_the_end(office: Any, error: type[BaseException]) -> list[Any]:
    """Let a callback end its thread's call, which makes another one after that."""

    def leave() -> None:
        raise error

    seen: list[Any] = []
    try:
        office.outcome(by_ref(leave))
    except BaseException as raised:
        seen.append(type(raised).__name__)
    seen.append(office.count() > 0)
    return seen


# Callbacks that are kept --------------------------------------------------------------------------


def keep_and_wait(office: Any, control: Connection, desk: Any) -> Any:
    """Lend a function for later, be idle until told, and wait in a call of another one."""
    served: list[Any] = []

    def note(value: Any) -> Any:
        served.append(here() == own)
        return value, os.getpid()

    own = here()
    office.keep("note", by_ref(note))
    control.send("idle")
    control.recv()
    desk.wait()
    return served


def keep_and_call(office: Any, desk: Any) -> int:
    office.keep("here", by_ref(os.getpid))
    return count(desk)


def call_kept(office: Any, name: str, *args: Any) -> Any:
    return office.call_kept(name, *args)


def end_of_kept(office: Any, name: str) -> tuple[str, float]:
    """Return how a call of it ends, and when."""
    try:
        office.call_kept(name, 1)
    except Exception as error:
        return type(error).__name__, monotonic()
    return "returned", monotonic()


def count(office: Any) -> int:
    result: int = office.count()
    return result


def call_while_another_thread_waits(office: Any) -> tuple[Any, bool]:
    """Let the owner's own thread call one that is kept; this process is busy with short calls."""
    threads: set[int] = set()

    def note() -> str:
        threads.add(threading.get_ident())
        return "called"

    office.call_in_thread(by_ref(note))
    end = monotonic() + PATIENCE
    while (said := office.last()) is None:
        assert monotonic() < end
    return said, threads == {threading.get_ident()}


# Death --------------------------------------------------------------------------------------------


def die(how: str) -> None:
    if how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    os._exit(5)


def die_in_a_callback(office: Any, how: str) -> None:
    office.time(by_ref(partial(die, how)))


# Deadlines ----------------------------------------------------------------------------------------


def left() -> float | None:
    deadline = current()
    return None if deadline is None else deadline - monotonic()


def time_out(office: Any) -> list[Any]:
    """Let deadlines pass round callbacks and in them; every later call has its own answer."""
    never = threading.Event()
    seen: list[Any] = []
    with timeout(5):
        seen.append(4 < office.call(by_ref(left)) <= 5)
    seen.append(office.call(by_ref(left)))
    inner: list[str] = []

    def wait_inside() -> str:
        with timeout(0.05):
            inner.append(office.outcome(by_ref(partial(never.wait, 0.2)))[0])
        return "went on"

    try:
        with timeout(0.1):
            office.call(by_ref(partial(never.wait, 0.3)))
    except TimeoutError as error:
        seen.append(type(error).__name__)
    seen.append(office.outcome(by_ref(wait_inside)))
    seen.append([office.echo(n) for n in range(20)] == list(range(20)))
    return seen


# Forks --------------------------------------------------------------------------------------------


def fork_in_a_callback(office: Any, desk: Any) -> tuple[int, int, int]:
    """Fork in a callback; the child calls the owner as a process of its own."""

    def fork() -> int:
        pid = os.fork()
        if not pid:
            os._exit(7 if desk.count() > 0 else 8)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    return office.call(by_ref(fork)), office.call(by_ref(fork)), office.echo(3)


def lend_a_call(office: Any) -> tuple[Any, int, int]:
    result, code = office.fork_and_call(by_ref(here))
    return result == here(), code, office.echo(5)


def fork_inside_anothers_chain(office: Any, control: Connection, desk: Any) -> None:
    """Keep a function that forks; its child is none of whose call it serves."""

    def fork() -> int:
        pid = os.fork()
        if not pid:
            try:
                with timeout(0.3):
                    office.count()
            except TimeoutError:
                os._exit(5)
            os._exit(6)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    office.keep("fork", by_ref(fork))
    control.send("kept")
    desk.wait()


def call_fork_inside(office: Any) -> int:
    with locked(office):
        code: int = office.call_kept("fork")
        return code


# Counts -------------------------------------------------------------------------------------------


def lend_and_forget(office: Any) -> list[int]:
    """Return how many objects are lent: at first, while the owner keeps them, and in the end."""
    counts = [lent()]
    tickets = [Ticket(n) for n in range(5)]
    for number, ticket in enumerate(tickets):
        office.keep(f"ticket {number}", ticket)
        office.call(by_ref(lambda: None))
    counts.append(lent())
    for number in range(5):
        office.drop(f"ticket {number}")
    office.count()
    counts.append(lent())
    return counts


# Holding everything, and being killed ----------------------------------------------------------


def hold_everything(office: Any, register: Any, control: Connection) -> None:
    """Come to hold references, streams and a section, lend functions, and wait to be killed."""
    for number in range(3):
        office.keep(f"{os.getpid()} {number}", by_ref(partial(here)))
    held = [office.open_ticket(), office.open_ticket().another(), office.numbers()]
    next(held[2])
    held.append(office.echo([Ticket(1), held[0]]))
    with locked(register):
        control.send("inside")
        register.call(by_ref(signal.pause))


# Interrupts ---------------------------------------------------------------------------------------


def call_interrupted(office: Any, rounds: int) -> None:
    """Call, with callbacks, while a signal handler raises: every call has its own answer."""
    ran: Counter[int] = Counter()
    number = 0

    def note(value: int) -> int:
        ran[value] += 1
        return value

    def call() -> None:
        try:
            assert office.call(by_ref(note), number) == number
        except (CodecError, RemoteError):  # what is raised in pickling is taken for its failure
            raise Interrupted from None

    def check() -> None:
        nonlocal number
        number += 1
        assert office.echo(number) == number

    raised = interrupt(call, rounds=rounds, prepare=check, longest=500e-6)
    check()
    assert max(ran.values()) == 1, "a callback ran twice"
    assert rounds // 10 < raised, f"only {raised} of {rounds} were interrupted"
    gc.collect()
    check()
    # Of a call that was cut nobody knows whether it was heard, so what it lent may stay.
    holders = sum(map(len, lending()._objects._holders.values()))
    assert holders <= raised // 20, f"{holders} of {raised} are lent to nobody"


def call_interrupted_owner(office: Any, times: int) -> int:
    """Call, with callbacks, an owner in which a handler raises; return how many calls were lost."""
    ran: Counter[int] = Counter()

    def note(value: int) -> int:
        ran[value] += 1
        return office.echo(value)

    lost = 0
    for number in range(times):
        try:
            assert office.call(by_ref(note), number) == number
        except (CallLost, Interrupted):
            lost += 1
    assert max(ran.values()) == 1, "a callback ran twice"
    return lost
