"""Values that travel as copies although their classes would have them travel by reference."""

from __future__ import annotations

import array
import collections
import copy
import datetime
import decimal
import enum
import functools
import operator
import pickle
import re
from typing import Any

import pytest

from pipeproxy import CodecError, by_value, by_view, proxied
from pipeproxy._references._values import copied, itself
from pipeproxy.codecs import pickle as codec


@proxied
class Account:
    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self.balance = balance

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Account) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(self.owner)

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance


class Color(enum.Enum):
    RED = 1


Cell = collections.namedtuple("Cell", "row column")


def double(value: int) -> int:
    return 2 * value


def travelled(value: object) -> Any:
    """Return what arrives of a value where only `by_value` says how it travels."""
    return codec.decode(codec.encode(value, copied))


VALUES = [
    None,
    True,
    5,
    2.5,
    "text",
    b"bytes",
    ...,
    range(3),
    (1, 2),
    [1, [2]],
    {"a": {1}},
    frozenset({1}),
    bytearray(b"a"),
    Account,
    Account("ada", 5),
    double,
    len,
    int,
    type(None),
    Color.RED,
    Cell(1, 2),
    re.compile("a+"),
    decimal.Decimal("1.5"),
    datetime.date(2020, 2, 29),
    collections.deque([1], 3),
    collections.OrderedDict(a=1),
    operator.itemgetter(1),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_anything_that_can_be_pickled_arrives_as_pickle_would_bring_it(value: Any) -> None:
    arrived = travelled(by_value(value))
    assert type(arrived) is type(value)
    assert repr(arrived) == repr(value) or arrived == value
    [inside] = travelled([by_value(value)])
    assert type(inside) is type(value)


def test_a_partial_arrives_with_its_function_and_arguments() -> None:
    assert travelled(by_value(functools.partial(double, 4)))() == 8


def test_what_cannot_be_pickled_is_refused_as_ever() -> None:
    with pytest.raises(CodecError, match="lambda"):
        travelled(by_value(lambda: None))


def test_only_what_it_was_said_of_is_copied() -> None:
    account = Account("ada")
    for value in (account, [by_value(account)], None, Account, 5):
        assert copied(value) is NotImplemented
        assert itself(value) is value
    assert itself(by_value(account)) is account


def test_it_can_be_used_as_the_value_itself() -> None:
    account = Account("ada", 5)
    value = by_value(account)
    assert isinstance(value, Account)
    assert value == account
    assert value.deposit(2) == 7
    value.owner = "grace"
    assert account.owner == "grace"
    assert by_value([3, 1])[0] == 3


def test_to_say_it_twice_is_to_say_it_once() -> None:
    value = by_value([1])
    assert by_value(value) is value
    assert type(itself(value)) is list


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_a_copy_of_it_is_one_too(duplicate: Any) -> None:
    account = Account("ada")
    same = duplicate(by_value([account]))
    assert copied(same) is not NotImplemented
    assert itself(same) == [account]
    assert (itself(same)[0] is account) == (duplicate is copy.copy)


# Views --------------------------------------------------------------------------------------------


def test_what_is_to_be_viewed_arrives_read_only_however_it_travels() -> None:
    for value in (b"bytes", bytearray(b"bytes"), array.array("b", b"bytes"), memoryview(b"bytes")):
        for came in (travelled(by_view(value)), travelled([by_view(value)])[0]):
            assert type(came) is memoryview
            assert came.readonly
            assert came.tobytes() == b"bytes"


def test_what_has_no_buffers_arrives_as_ever_though_it_is_to_be_viewed() -> None:
    for value in (None, 5, "text", [1, [2]], {"a": {1}}, Account("ada", 5), len):
        assert travelled(by_view(value)) == value


def test_what_is_said_last_counts() -> None:
    value = [1]
    shown = by_view(value)
    assert by_view(shown) is shown
    assert itself(shown) is value
    assert type(by_view(by_value(value))) is type(shown)
    assert type(by_value(shown)) is type(by_value(value))
    assert type(copy.copy(shown)) is type(copy.deepcopy(shown)) is type(shown)


def test_in_a_pickle_that_is_not_ours_it_is_the_value_itself() -> None:
    value = pickle.loads(pickle.dumps(by_view(bytearray(b"a"))))
    assert type(value) is bytearray
