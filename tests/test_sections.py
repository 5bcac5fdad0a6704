"""Several calls as one: nobody comes between, and nobody waits for the dead."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import (
    CallTimeout,
    DeadlockError,
    Listener,
    ListenerClosed,
    OwnerDied,
    Released,
    batched,
    by_ref,
    locked,
    proxied,
    share,
    spawn,
    spawning,
    submit,
    timeout,
)
from pipeproxy._chains._activities import here
from pipeproxy._chains._sections import Entry
from pipeproxy._owner._service import Service
from pipeproxy._proxies._proxy import link_of
from pipeproxy._references._direct import Direct

from .children import Child, outcome, poll_until, run
from .support import PATIENCE, fork, in_fork, interrupt

pytestmark = pytest.mark.usefixtures("descriptors_kept")

FORK = multiprocessing.get_context("fork")


class Register:
    """It writes down whatever is done to it, and mends itself."""

    def __init__(self, other: Any = None) -> None:
        self.value = 0
        self.words: list[str] = []
        self.other = other
        self.itself: Any = None
        self.fails = False

    def add(self, amount: int) -> int:
        self.value += amount
        return self.value

    def say(self, word: str) -> None:
        self.words.append(word)

    def thread(self) -> int:
        return threading.get_ident()

    def pass_on(self, word: str) -> None:
        self.words.append("before")
        self.other.say(word)
        self.words.append("after")

    def add_twice(self, amount: int) -> int:
        with locked(self.itself) as me:
            me.add(amount)
            return me.add(amount)  # type: ignore[no-any-return]

    def call_for(self, other: Any) -> int:
        return other.add(1)  # type: ignore[no-any-return]

    def call_other(self) -> Any:
        return outcome(self.other.add, 1)

    def __pipeproxy_abandoned__(self) -> None:
        if self.fails:
            raise ValueError("it cannot be mended")
        self.words.append("mended")


@pytest.fixture
def register() -> Register:
    return Register()


@pytest.fixture
def served(register: Register) -> Iterator[tuple[Any, Listener[Any]]]:
    proxy, listener = share(register)
    with listener:
        yield proxy, listener


def add_apart(proxy: Any, times: int) -> None:
    """Add in a way that loses whatever comes in between."""
    for _ in range(times):
        with locked(proxy) as own:
            value = own.value
            own.value = value + 1


def section_of(listener: Listener[Any], proxy: Any) -> Any:
    return listener._objects.find(link_of(proxy).number).section


def line_of(listener: Listener[Any], proxy: Any, length: int = 1) -> Callable[[], bool]:
    """Return whether so many wait in line for the object of a proxy."""
    return lambda: len(section_of(listener, proxy).line) == length


def is_free(listener: Listener[Any], proxy: Any) -> bool:
    section = section_of(listener, proxy)
    return section.holder is None and not section.line


class Inside:
    """A child that is in a section until it is told to leave it, or ended."""

    def __init__(self, listener: Listener[Any], proxy: Any, how: Any = "fork") -> None:
        context = multiprocessing.get_context(how) if isinstance(how, str) else how
        self._here, there = context.Pipe()
        self._left = False
        self.listeners: tuple[Listener[Any], ...] = (listener,)
        self.child = Child(context, stay_inside, proxy, there)
        there.close()
        poll_until(self._here.poll, listener, wake=self._here)
        assert self._here.recv() == "in"

    def do(self, what: str, *args: Any) -> Any:
        """Let it call a method inside, and return the result."""
        self.send(what, *args)
        return self.answer()

    def answer(self) -> Any:
        """Return the result of what it calls."""
        poll_until(self._here.poll, *self.listeners, wake=self._here)
        return self._here.recv()

    def send(self, what: str, *args: Any) -> None:
        """Let it call a method inside, and wait for nothing."""
        self._here.send((what, args))

    def leave(self) -> None:
        """Let it leave, and wait for nothing; a second time does nothing."""
        if not self._left:
            self._left = True
            self._here.send(None)

    def __enter__(self) -> Inside:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not self.child._control.closed:
            self.leave()
            self.child.result(*self.listeners)
            self.child.end()
        self._here.close()


def stay_inside(proxy: Any, control: Connection) -> None:
    with locked(proxy):
        control.send("in")
        while (job := control.recv()) is not None:
            control.send(getattr(proxy, job[0])(*job[1]))
    control.close()


# From processes -----------------------------------------------------------------------------------


def test_nobody_comes_between_the_calls_of_a_section(
    context: BaseContext, register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    with ExitStack() as stack:
        children = [stack.enter_context(Child(context, add_apart, proxy, 100)) for _ in range(4)]
        for child in children:
            child.result(listener)
    assert register.value == 400
    assert is_free(listener, proxy)


def in_threads(proxy: Any, threads: int, times: int) -> None:
    workers = [threading.Thread(target=add_apart, args=(proxy, times)) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def test_threads_of_one_process_exclude_each_other(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    run("fork", served[1], in_threads, served[0], 8, 25)
    assert register.value == 200


def test_the_owners_own_threads_and_its_poller_take_part(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    with Child("fork", add_apart, proxy, 100) as child, listener.background():
        worker = threading.Thread(target=add_apart, args=(proxy, 100))
        worker.start()
        add_apart(proxy, 100)
        worker.join(PATIENCE)
        assert not worker.is_alive()
        child.result()
    assert register.value == 300


def test_plain_calls_of_others_wait_until_it_is_left(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    with Inside(listener, proxy) as inside, Child("fork", call, proxy, "add", 10) as other:
        poll_until(line_of(listener, proxy), listener)
        assert inside.do("add", 1) == 1
        assert inside.do("add", 1) == 2
        inside.leave()
        assert other.result(listener) == 12


def call(proxy: Any, name: str, *args: Any) -> Any:
    return getattr(proxy, name)(*args)


def test_other_objects_of_the_listener_can_be_called_meanwhile() -> None:
    with Listener[Any]() as listener:
        proxy, other = listener.share(Register()), listener.share(Register())
        with Inside(listener, proxy):
            assert run("fork", listener, call, other, "add", 1) == 1


def nest(proxy: Any) -> int:
    with locked(proxy), locked(proxy) as again, locked(again):
        again.add(1)
    proxy.add(1)
    with locked(proxy):
        return proxy.add(1)  # type: ignore[no-any-return]


def test_blocks_of_one_thread_nest(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served
    assert run("fork", listener, nest, proxy) == 3
    assert nest(proxy) == 6
    assert is_free(listener, proxy)


def queue_up(proxy: Any, word: str) -> None:
    with locked(proxy):
        proxy.say(word)


def test_who_came_first_gets_in_first(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    with ExitStack() as stack:
        inside = stack.enter_context(Inside(listener, proxy))
        children = []
        for number in range(6):
            function, *args = (queue_up, proxy) if number % 2 else (call, proxy, "say")
            child = Child("fork", function, *args, str(number))
            children.append(stack.enter_context(child))
            poll_until(line_of(listener, proxy, number + 1), listener)
        inside.leave()
        for child in children:
            child.result(listener)
    assert register.words == list("012345")


def leave_by_an_error(proxy: Any) -> Any:
    def fail() -> None:
        with locked(proxy):
            raise KeyError("left")

    return outcome(fail), proxy.add(1)


def test_an_error_leaves_the_section(served: tuple[Any, Listener[Any]]) -> None:
    proxy, listener = served
    assert run("fork", listener, leave_by_an_error, proxy) == (("raised", "KeyError", "'left'"), 1)
    assert is_free(listener, proxy)


def test_it_gives_the_proxy_and_takes_nothing_else(served: tuple[Any, Listener[Any]]) -> None:
    with locked(served[0]) as proxy:
        assert proxy is served[0]
    with pytest.raises(TypeError, match="a proxy is needed"):
        locked(Register())


def test_a_block_is_entered_once(served: tuple[Any, Listener[Any]]) -> None:
    proxy, listener = served
    block = locked(proxy)
    with block, pytest.raises(RuntimeError, match="make another"):
        block.__enter__()
    with pytest.raises(RuntimeError, match="make another"):
        block.__enter__()
    assert is_free(listener, proxy)


# Deadlines ----------------------------------------------------------------------------------------


def try_to_enter(proxy: Any, other: Any) -> tuple[str, int]:
    try:
        with timeout(0.05), locked(proxy):
            return "in", 0
    except CallTimeout as error:
        return str(error), other.add(1)


def test_a_timeout_bounds_the_wait_and_leaves_the_line() -> None:
    with Listener[Any]() as listener:
        proxy, other = listener.share(Register()), listener.share(Register())
        with Inside(listener, proxy):
            text, value = run("fork", listener, try_to_enter, proxy, other)
            assert "not free within the timeout" in text
            assert value == 1
            poll_until(line_of(listener, proxy, 0), listener)
        assert is_free(listener, proxy)


def test_a_timeout_bounds_the_wait_at_home(served: tuple[Any, Listener[Any]]) -> None:
    proxy, listener = served
    with Inside(listener, proxy) as inside:
        for wait in (lambda: locked(proxy).__enter__(), lambda: proxy.add(1)):
            with pytest.raises(CallTimeout), timeout(0.02):
                wait()
        assert inside.do("add", 1) == 1


def late_exit(proxy: Any) -> str:
    """Leave after the deadline that held when it was entered."""
    with timeout(0.05), locked(proxy):
        try:
            while True:
                proxy.add(1)
        except CallTimeout:
            pass
    return "left"


def test_a_deadline_that_passed_does_not_keep_the_section(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served
    assert run("fork", listener, late_exit, proxy) == "left"
    assert is_free(listener, proxy)


# Deaths -------------------------------------------------------------------------------------------


def die_inside(proxy: Any, heirs: int) -> None:
    with locked(proxy):
        proxy.add(1)
        for _ in range(heirs):
            if os.fork() == 0:
                signal.pause()  # with all descriptors of its parent
        proxy.say(f"{os.getpid()}")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("heirs", [0, 2])
def test_it_ends_with_the_process_whoever_inherited_its_descriptors(
    register: Register, served: tuple[Any, Listener[Any]], heirs: int
) -> None:
    proxy, listener = served

    def test() -> None:
        os.setpgid(0, 0)
        die_inside(proxy, heirs)

    pid = fork(test)
    poll_until(lambda: str(pid) in register.words, listener)
    try:
        assert run("fork", listener, call, proxy, "add", 5) == 6
    finally:
        os.killpg(pid, signal.SIGKILL) if heirs else None
        os.waitpid(pid, 0)
    assert register.words == [str(pid), "mended"]
    assert is_free(listener, proxy)


def test_a_waiter_that_dies_is_passed_over(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    with Inside(listener, proxy) as inside, Child("fork", queue_up, proxy, "dead") as dead:
        poll_until(line_of(listener, proxy), listener)
        with Child("fork", queue_up, proxy, "alive") as alive:
            poll_until(line_of(listener, proxy, 2), listener)
            dead.kill()
            inside.leave()
            alive.result(listener)
    assert register.words == ["alive"]


def test_the_next_waiter_gets_in_when_the_holder_is_killed(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    with Inside(listener, proxy) as inside, Child("fork", queue_up, proxy, "next") as waiter:
        poll_until(line_of(listener, proxy), listener)
        inside.child.kill()
        waiter.result(listener)
    assert register.words == ["mended", "next"]


def test_a_mending_that_fails_is_told_and_keeps_nobody_out(
    register: Register, served: tuple[Any, Listener[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, listener = served
    told: list[type[BaseException]] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: told.append(args.exc_type))
    register.fails = True
    with Inside(listener, proxy) as inside:
        inside.child.kill()
        assert run("fork", listener, call, proxy, "add", 1) == 1
    assert told == [ValueError]


def test_a_living_leaver_is_not_mended(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    with Inside(listener, proxy):
        pass
    assert register.words == []


def fork_inside(proxy: Any) -> tuple[int, int]:
    """Leave a block in a forked child, while the parent is in it."""
    with locked(proxy):
        proxy.add(1)
        pid = fork_and_leave(proxy)
        first = os.waitpid(pid, 0)[1]
        return first, proxy.add(1)


def fork_and_leave(proxy: Any) -> int:
    block = locked(proxy)
    block.__enter__()
    pid = fork(lambda: block.__exit__(None, None, None))
    block.__exit__(None, None, None)
    return pid


def test_a_forked_child_leaves_nothing_that_its_parent_entered(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served
    with Child("fork", add_apart, proxy, 50) as other:
        assert run("fork", listener, fork_inside, proxy)[0] == 0
        other.result(listener)
    assert is_free(listener, proxy)


def hang_in(proxy: Any, control: Connection) -> Any:
    control.send("before")
    return outcome(queue_up, proxy, "never")


def test_all_who_wait_learn_that_the_owner_died() -> None:
    with spawning(FORK):
        proxy, host = spawn(Register)
    with host, locked(proxy):
        here, there = FORK.Pipe()
        with here, there, Child("fork", hang_in, proxy, there) as child:
            assert here.recv() == "before"
            host.process.kill()
            result = child.result()
            assert result[:2] == ("raised", "OwnerDied")
        with pytest.raises(OwnerDied):
            proxy.add(1)


def test_all_who_wait_learn_that_the_listener_was_closed(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served
    inside = Inside(listener, proxy)
    home: list[Any] = []
    thread = threading.Thread(target=lambda: home.append(outcome(queue_up, proxy, "never")))
    with Child("fork", outcome, queue_up, proxy, "never") as child:
        poll_until(line_of(listener, proxy), listener)
        thread.start()
        poll_until(line_of(listener, proxy, 2), listener)
        listener.close()
        assert child.result()[:2] == ("raised", "ListenerClosed")
        thread.join(PATIENCE)
        assert home[0][:2] == ("raised", "ListenerClosed")
    inside.child.kill()
    inside._here.close()
    with pytest.raises(ListenerClosed):
        locked(proxy).__enter__()


def test_an_object_that_was_given_back_cannot_be_entered(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served

    def enter_nothing() -> None:
        link_of(proxy).enter.func(999, 1, lambda: None)

    result = run("fork", listener, outcome, enter_nothing)
    assert result[:2] == ("raised", Released.__name__)


# At home ------------------------------------------------------------------------------------------


def test_a_call_at_home_waits_and_the_holder_is_served_meanwhile(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    """Nobody else polls: the thread that waits does."""
    proxy, listener = served
    with Inside(listener, proxy) as inside:
        inside.send("add", 1)
        inside.leave()
        assert proxy.add(10) == 11


def test_a_method_may_use_the_proxy_of_its_own_object(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    register.itself = proxy
    assert run("fork", listener, call, proxy, "add_twice", 1) == 2
    assert proxy.add_twice(1) == 4
    with Inside(listener, proxy) as inside:
        assert inside.do("add_twice", 1) == 6
    assert is_free(listener, proxy)


def pass_on(proxy: Any, word: str) -> None:
    proxy.pass_on(word)


def test_a_method_that_waits_for_another_object_lets_its_holder_go_on() -> None:
    with Listener[Any]() as listener:
        other = Register()
        proxy_of_other = listener.share(other)
        waiting = Register(proxy_of_other)
        proxy = listener.share(waiting)
        with Inside(listener, proxy_of_other) as inside:
            inside.send("say", "inside")
            inside.leave()
            with Child("fork", call, proxy, "say", "later") as later:
                assert run("fork", listener, pass_on, proxy, "passed on") is None
                later.result(listener)
    assert other.words == ["inside", "passed on"]
    assert [word for word in waiting.words if word != "later"] == ["before", "after"]
    assert waiting.words.index("after") == waiting.words.index("before") + 1


def test_a_guest_gives_way_to_whoever_wants_to_serve(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served
    inside = Inside(listener, proxy)
    with inside:
        results: list[int] = []
        thread = threading.Thread(target=lambda: results.append(proxy.add(1)))
        thread.start()
        poll_until(line_of(listener, proxy), listener)
        with listener.background():
            inside.send("add", 1)
            inside.leave()
            thread.join(PATIENCE)
        assert results == [2]


def test_what_a_guest_puts_off_is_told_to_who_sleeps_until_the_listener_is_readable(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served
    other = listener.share(Register())
    with Inside(listener, proxy) as inside, Child("fork") as child:
        thread = threading.Thread(target=proxy.add, args=(1,))
        thread.start()
        poll_until(line_of(listener, proxy))
        child.do(other.add, 2)
        poll_until(lambda: listener._service.dispatch.later)
        assert child.result(listener) == 2
        inside.leave()
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_what_a_guest_may_not_run_is_told_to_who_sleeps_until_the_listener_is_readable() -> None:
    proxy, listener = share(Bound())
    with listener, Inside(listener, proxy) as inside:
        thread = threading.Thread(target=proxy.add, args=(1,))
        thread.start()
        poll_until(line_of(listener, proxy))
        inside.send("add", 2)
        poll_until(lambda: listener._service.dispatch.later)
        assert inside.answer() == 2
        inside.leave()
        poll_until(lambda: not thread.is_alive(), listener)


def test_a_thread_that_never_serves_runs_no_call_of_a_client(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served
    with Inside(listener, proxy) as inside:
        thread = threading.Thread(target=proxy.add, args=(1,))
        thread.start()
        poll_until(line_of(listener, proxy))
        inside.send("thread")
        poll_until(lambda: listener._service.dispatch.later)
        assert inside.answer() == threading.get_ident()
        inside.leave()
        thread.join(PATIENCE)


def call_inside(proxy: Any, other: Any, inside: Any, go_on: Any) -> Any:
    with locked(proxy):
        inside.set()
        assert go_on.wait(PATIENCE)
        return other.add(1)


@pytest.mark.parametrize("wanted_of", ["the other", "the same"])
def test_who_waits_in_a_turn_of_one_listener_goes_on_serving_another(wanted_of: str) -> None:
    inside, go_on = FORK.Event(), FORK.Event()
    with Listener[Any]() as one, Listener[Any]() as other:
        theirs = one if wanted_of == "the same" else other
        wanted = theirs.share(Register())
        free = (other if theirs is one else one).share(Register())
        waiting = one.share(Register(wanted))
        with Child(FORK, call_inside, wanted, free, inside, go_on) as holder:
            poll_until(inside.is_set, one, other)
            with Child(FORK, pass_on, waiting, "later") as later:
                thread = threading.Thread(target=set_when, args=(line_of(theirs, wanted), go_on))
                thread.start()
                assert holder.result(one, other) == 1
                later.result(one, other)
                thread.join(PATIENCE)


def test_who_waits_between_two_turns_serves_all_its_listeners() -> None:
    inside, go_on = FORK.Event(), FORK.Event()
    with Listener[Any]() as one, Listener[Any]() as other:
        wanted, free = other.share(Register()), one.share(Register())
        with Child(FORK, call_inside, wanted, free, inside, go_on) as holder:
            poll_until(inside.is_set, one, other)
            thread = threading.Thread(target=set_when, args=(line_of(other, wanted), go_on))
            thread.start()
            assert wanted.add(1) == 1
            assert holder.result(one, other) == 1
            thread.join(PATIENCE)


def test_who_waits_at_another_owner_goes_on_serving_all_its_listeners() -> None:
    inside, go_on = FORK.Event(), FORK.Event()
    with spawning(FORK):
        wanted, host = spawn(Register)
    with host, Listener[Any]() as one, Listener[Any]() as other:
        target = Register(wanted)
        free, waiting = other.share(Register()), one.share(target)
        with Child(FORK, call_inside, wanted, free, inside, go_on) as holder:
            poll_until(inside.is_set, one, other)
            with Child(FORK, pass_on, waiting, "later") as later:
                thread = threading.Thread(target=set_when, args=(lambda: target.words, go_on))
                thread.start()
                assert holder.result(one, other) == 1
                later.result(one, other)
                thread.join(PATIENCE)


class Asker:
    """Asks another owner by a future, and is asked back."""

    def __init__(self, other: Any = None) -> None:
        self.other = other
        self.own: Any = None
        self.free: Any = None
        self.threads: list[int] = []

    def ask(self) -> Any:
        self.threads.append(threading.get_ident())
        return submit(self.other.ask_back, self.own, self.free).result()

    def ask_back(self, asker: Any, free: Any) -> Any:
        poll_until(lambda: free.value)
        return asker.answer()

    def answer(self) -> str:
        self.threads.append(threading.get_ident())
        return "answer"

    def ask_briefly(self) -> Any:
        """Ask for what goes on only when nobody waits for it any more."""
        released = threading.Event()
        future = submit(self.other.call, by_ref(released.wait))
        said = outcome(future.result, 0.01)
        released.set()
        return said[1], future.result()

    def call(self, function: Callable[[float], bool]) -> bool:
        return function(PATIENCE)


def test_who_waits_for_a_future_in_a_call_that_is_served_serves_others_and_is_called_back() -> None:
    with spawning(FORK):
        other, host = spawn(Asker)
    asker = Asker(other)
    with host, Listener[Any]() as listener:
        asker.own, asker.free = listener.share(asker), listener.share(Register())
        with Child(FORK) as first, Child(FORK) as second, listener.background():
            first.do(asker.own.ask)
            poll_until(lambda: asker.threads)
            assert second.do(asker.free.add, 1).result() == 1
            assert first.result() == "answer"
    assert asker.threads[0] == asker.threads[1]


def test_a_future_is_waited_for_no_longer_than_asked_in_a_call_that_is_served() -> None:
    """What was lent for it is called apart, as that may take longer."""
    with spawning(FORK):
        other, host = spawn(Asker)
    with host, Listener[Any]() as listener:
        asker = listener.share(Asker(other))
        with Child(FORK, call, asker, "ask_briefly") as child:
            assert child.result(listener) == ("TimeoutError", True)


def test_of_two_calls_on_one_stack_the_upper_one_gets_in_first() -> None:
    with Listener[Any]() as listener:
        wanted = listener.share(Register())
        lower, upper = listener.share(Register(wanted)), listener.share(Register(wanted))
        with (
            Inside(listener, wanted) as inside,
            Child(FORK, pass_on, lower, "lower") as first,
            Child(FORK) as second,
            listener.background(),
        ):
            poll_until(line_of(listener, wanted))
            second.do(pass_on, upper, "upper")
            poll_until(line_of(listener, wanted, 2))
            inside.listeners = ()
            inside.leave()
            first.result()
            second.result()
        assert wanted.words == ["upper", "lower"]


class Late(Register):
    """Wants the other object only when `is_time` says so."""

    def __init__(self, other: Any, begun: Any, is_time: Callable[[], bool]) -> None:
        super().__init__(other)
        self.begun = begun
        self.is_time = is_time

    def pass_on(self, word: str) -> None:
        self.begun.set()
        poll_until(self.is_time)
        super().pass_on(word)


def test_the_upper_one_gets_in_also_if_the_lower_one_was_let_in_before_it_came() -> None:
    inside, begun = threading.Event(), threading.Event()
    with Listener[Any]() as listener:
        wanted = listener.share(Register())
        section = section_of(listener, wanted)
        lower = listener.share(Register(wanted))

        def is_let_in() -> bool:
            return section.holder is not None and section.holder.activity is not holder[0]

        def hold() -> None:
            with locked(wanted):
                holder.append(here.activity)
                inside.set()
                assert begun.wait(PATIENCE)

        holder: list[Any] = []
        upper = listener.share(Late(wanted, begun, is_let_in))
        thread = threading.Thread(target=hold)
        thread.start()
        assert inside.wait(PATIENCE)
        with (
            Child(FORK, pass_on, lower, "lower") as first,
            Child(FORK) as second,
            listener.background(),
        ):
            poll_until(line_of(listener, wanted))
            second.do(pass_on, upper, "upper")
            first.result()
            second.result()
        thread.join(PATIENCE)
        assert wanted.words == ["upper", "lower"]


def test_who_waits_at_home_begins_no_call_that_nobody_in_a_section_waits_for(
    served: tuple[Any, Listener[Any]],
) -> None:
    """It would be on top of what needs this thread, and might need what that is in."""
    proxy, listener = served
    mine = listener.share(Register())
    needs_mine = listener.share(Register(mine))
    with Inside(listener, proxy) as inside, Child(FORK) as other:
        with locked(mine):
            other.do(outcome, pass_on, needs_mine, "word")
            thread = threading.Thread(target=leave_when, args=(listener, inside))
            thread.start()
            assert proxy.add(1) == 1
            thread.join(PATIENCE)
        assert other.result(listener) == ("returned", None)


def leave_when(listener: Listener[Any], inside: Inside) -> None:
    poll_until(lambda: listener._service.dispatch.later)
    inside.leave()


def test_where_the_thread_that_served_is_no_more_one_that_waits_serves(
    served: tuple[Any, Listener[Any]],
) -> None:
    proxy, listener = served
    with Inside(listener, proxy) as inside:
        thread = threading.Thread(target=listener.poll)
        thread.start()
        thread.join()
        inside.send("add", 1)
        inside.leave()
        assert proxy.add(10) == 11


def test_who_waits_at_home_sleeps_while_a_batch_collects(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[None] = []
    real = Service._turn
    with Listener[Any]() as listener:
        proxy, gathers = listener.share(Register()), listener.share(Gathers())
        with Inside(listener, proxy) as inside, Child(FORK) as idle, Child(FORK) as caller:
            idle.do(call, gathers, "look").result(listener)
            caller.do(outcome, gathers.note, 1)
            poll_until(lambda: listener._service.batches.waiting, listener)
            monkeypatch.setattr(Service, "_turn", lambda *args: turns.append(None) or real(*args))
            inside.send("say", "still inside")
            inside.leave()
            proxy.add(1)
            assert len(turns) < 100
            caller.kill()


class Gathers:
    def look(self) -> None:
        pass

    @batched(within=10 * PATIENCE)
    def note(self, values: list[int]) -> list[int]:
        return values


@pytest.mark.parametrize("enters", [False, True], ids=["a call", "a block"])
def test_a_thread_goes_on_when_another_of_its_activity_has_just_got_in(
    served: tuple[Any, Listener[Any]], monkeypatch: pytest.MonkeyPatch, enters: bool
) -> None:
    """As one that runs what it has submitted."""
    proxy, listener = served
    section = section_of(listener, proxy)
    entry = Entry(here.activity, lambda: None, {(None, 0): None})
    with section.right:
        section.hold(entry)
    monkeypatch.setattr(Direct, "_is_in", lambda *args: False)  # it was asked before that
    leaves = threading.Thread(target=section.withdraw, args=(entry,))
    with timeout(PATIENCE):
        if enters:
            leaves.start()
            with locked(proxy):
                assert section.holder is not entry
        else:
            assert proxy.add(1) == 1
            leaves.start()
    leaves.join()
    assert is_free(listener, proxy)


def set_when(reached: Callable[[], bool], event: Any) -> None:
    poll_until(reached)
    event.set()


@proxied(home="queue")
class Bound(Register):
    """It is called by the thread that polls, and by no other."""


def test_what_waits_further_down_the_stack_is_an_error_and_no_hang() -> None:
    with Listener[Any]() as listener:
        first, second = Register(), Register()
        first.other, second.other = listener.share(second), listener.share(first)
        inside = Inside(listener, first.other)  # in the section of the second
        with listener.background(), inside:
            inside.listeners = ()  # which the thread polls
            with Child("fork", pass_on, second.other, "passed on") as waiter:
                poll_until(lambda: first.words == ["before"])  # the first waits for the second
                kind, *error = inside.do("call_other")  # ... which needs the first
                assert (kind, error[0]) == ("raised", DeadlockError.__name__)
                inside.leave()
                waiter.result()
        assert (first.words, second.words) == (["before", "after"], ["passed on"])


# Interrupts ---------------------------------------------------------------------------------------


def enter_interrupted(proxy: Any) -> int:
    count = 0

    def action() -> None:
        nonlocal count
        with locked(proxy):
            count += 1
            proxy.value = proxy.value + 1

    in_fork(lambda: interrupt(action, rounds=300, longest=400e-6))
    return count


def test_interrupts_at_any_moment_leave_the_section_free(
    register: Register, served: tuple[Any, Listener[Any]]
) -> None:
    proxy, listener = served
    with Child("fork", add_apart, proxy, 100) as other:
        run("fork", listener, enter_interrupted, proxy)
        other.result(listener)
    assert run("fork", listener, nest, proxy) == register.value
    assert is_free(listener, proxy)
    assert register.words == []
