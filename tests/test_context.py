"""What a call says of the chain that it belongs to, and of its time."""

from __future__ import annotations

from math import inf
from time import monotonic

from pipeproxy._chains._activities import Activity, Served
from pipeproxy._chains._context import context_of
from pipeproxy._channels._wire import unpack_context

CHAIN = Served(Activity(b"first process!!!", 7), (b"first process!!!", b"second process!!"), None)


def test_a_call_of_no_chain_says_only_how_much_time_is_left() -> None:
    (seconds, thread, path), rest = unpack_context(context_of(None, monotonic() + 60))
    assert 50 < seconds <= 60
    assert (thread, path, rest) == (0, (), b"")


def test_a_call_of_a_chain_says_where_that_began_and_came_through() -> None:
    assert unpack_context(context_of(CHAIN, None) + b"rest") == ((inf, 7, CHAIN.path), b"rest")


def test_no_time_is_left_once_it_is_over() -> None:
    assert unpack_context(context_of(CHAIN, monotonic() - 1))[0][0] == 0
