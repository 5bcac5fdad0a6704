"""What a proxy does by itself and what it sends: never a local shadow, never a call unasked."""

from __future__ import annotations

import collections
import collections.abc
import copy
import dataclasses
import gc
import inspect
import io
import operator
import os
import pickle
import pprint
import pydoc
import subprocess
import sys
import types
import weakref
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import numpy as np
import pytest

from pipeproxy._proxies._proxy import (
    Proxy,
    bind,
    link_of,
    make_proxy,
    members_of,
    proxy_class,
    remember_class,
)
from pipeproxy._specs._marks import exposed, hidden, readonly
from pipeproxy._specs._members import Members
from pipeproxy._specs._options import proxied
from pipeproxy._specs._spec import describe
from pipeproxy.errors import NotExposed

from .inprocess import InProcess, calls_of, proxy_of

T = TypeVar("T")


class Account:
    """An account at a bank."""

    bank = "First"

    def __init__(self, owner: str = "ada") -> None:
        self.owner = owner
        self.history: list[int] = []
        self._pin = 1234

    def deposit(self, amount: int) -> int:
        """Put in."""
        self.history.append(amount)
        return sum(self.history)

    @property
    def balance(self) -> int:
        """What is left."""
        return sum(self.history)

    @balance.setter
    def balance(self, value: int) -> None:
        self.history = [value]

    @balance.deleter
    def balance(self) -> None:
        self.history = []

    @property
    def broken(self) -> int:
        raise AttributeError("from the inside")

    @staticmethod
    def rate(years: int = 1) -> float:
        return years / 2

    @classmethod
    def kind(cls) -> str:
        return cls.__name__

    def __len__(self) -> int:
        return len(self.history)

    def __call__(self, x: int) -> int:
        return x

    def __hash__(self) -> int:
        raise AssertionError("the owner was asked for a hash")

    def __repr__(self) -> str:
        raise AssertionError("the owner was asked for a repr")

    def __reduce__(self) -> Any:
        raise AssertionError("the owner was pickled")


@pytest.fixture
def account() -> Any:
    return proxy_of(Account())


# Attributes --------------------------------------------------------------------------------------


def test_methods_of_every_kind_are_called_in_the_owner(account):
    assert account.deposit(5) == 5
    assert account.rate(years=4) == 2.0
    assert account.kind() == "Account"
    assert account(3) == 3
    assert len(account) == 1
    assert [c[0] for c in calls_of(account)] == "deposit rate kind __call__ __len__".split()


def test_static_and_class_methods_are_bound_methods_of_the_proxy(account):
    assert account.rate.__self__ is account
    assert account.kind.__self__ is account


def test_attributes_of_every_kind_are_read_set_and_deleted_in_the_owner(account):
    real = link_of(account).target
    assert (account.owner, account.bank, account.balance) == ("ada", "First", 0)
    account.owner = "bob"
    account.balance = 7
    account.nickname = "b"
    assert (real.owner, real.history, real.nickname) == ("bob", [7], "b")
    del account.balance, account.nickname
    assert real.history == []
    assert not hasattr(account, "nickname")
    assert calls_of(account)[-1] == ("get", ("nickname",), None)


def test_nothing_is_kept_in_the_proxy(account):
    account.owner = "bob"
    with pytest.raises(AttributeError):
        object.__getattribute__(account, "__dict__")
    assert type(account).__slots__ == ()
    assert account.owner == "bob"
    assert calls_of(account)[-1] == ("get", ("owner",), None)


@pytest.mark.parametrize("name", ["broken", "missing"])
def test_an_attribute_error_of_the_owner_is_passed_on_after_one_call(account, name):
    with pytest.raises(AttributeError, match="from the inside|no attribute 'missing'"):
        getattr(account, name)
    assert len(calls_of(account)) == 1


@pytest.mark.parametrize("name", ["_pin", "__dict__", "__weird__"])
def test_private_names_are_refused_without_a_call(account, name):
    for use in [getattr, lambda p, n: setattr(p, n, 1), delattr]:
        with pytest.raises(NotExposed):
            use(account, name)
    assert calls_of(account) == []


def test_methods_are_not_overwritten(account):
    with pytest.raises(NotExposed, match="deposit is a method"):
        account.deposit = None
    with pytest.raises(NotExposed, match="deposit is a method"):
        del account.deposit
    assert calls_of(account) == []


def test_options_and_markers_hold_in_the_client():
    @proxied(hide=["secret"], readonly=["number"])
    class Guarded:
        secret = number = 1

        @exposed
        def _audit(self):
            return "audited"

        @hidden
        def wipe(self): ...

        @readonly
        @property
        def size(self):
            return 3

    guarded = proxy_of(Guarded())
    assert (guarded.number, guarded._audit(), guarded.size) == (1, "audited", 3)
    for refused in ["number", "size", "secret", "wipe"]:
        with pytest.raises(NotExposed):
            setattr(guarded, refused, 2)
    for refused in ["secret", "wipe"]:
        with pytest.raises(NotExposed):
            getattr(guarded, refused)
    assert len(calls_of(guarded)) == 3


def test_a_closed_class_has_no_other_names():
    @proxied(expose=["_level", "up"])
    class Closed:
        def __init__(self):
            self._level = self.open = 1

        def up(self):
            return self._level

        def down(self): ...

    closed = proxy_of(Closed())
    closed._level = 5
    assert closed.up() == 5
    for name in ["open", "down", "other"]:
        with pytest.raises(NotExposed, match="expose"):
            getattr(closed, name)


def test_names_that_we_use_ourselves_belong_to_the_class():
    names = "close call timeout result share submit link key names members place reduce plain proxy"

    def method(this, /, *args, **kwargs):
        return args, kwargs

    collides = proxy_of(type("Collides", (), dict.fromkeys(names.split(), method))())
    for name in names.split():
        assert getattr(collides, name)(1, self=2, member=3) == ((1,), {"self": 2, "member": 3})
    data = proxy_of(type("Data", (), dict.fromkeys(names.split(), 5))())
    assert [getattr(data, name) for name in names.split()] == [5] * len(names.split())


# No call unasked ---------------------------------------------------------------------------------

PROBES = [
    # IPython and Jupyter
    *("_ipython_display_", "_repr_html_", "_repr_mimebundle_", "_repr_pretty_", "_repr_png_"),
    *("_ipython_canary_method_should_not_exist_", "_ipython_key_completions_", "_repr_latex_"),
    # debuggers, rich, mock, sympy, pandas
    *("__pydevd_resolver__", "_pydevd_bundle", "__rich__", "__rich_console__", "__rich_repr__"),
    *("_mock_methods", "_sympy_", "_typ", "__dataframe__", "_constructor"),
    # inspect, copy, pickle, typing, functools
    *("__wrapped__", "__signature__", "__text_signature__", "__code__", "__orig_class__"),
    *("__deepcopy_hook__", "__getnewargs_ex__", "__getinitargs__", "__setstate__", "__origin__"),
    *("__isabstractmethod__", "__set_name__", "__get__", "__name__", "__file__", "__path__"),
    # NumPy and other array libraries
    *("__array_interface__", "__array_struct__", "__array_function__", "__array_priority__"),
    *("__dlpack__", "__cuda_array_interface__", "__buffer__", "__arrow_array__"),
    # asyncio
    *("__await__", "__aenter__", "_asyncio_future_blocking", "_is_coroutine"),
]


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_for_a_name_is_answered_without_a_call(account, name):
    assert getattr(account, name, "absent") == "absent"
    assert not hasattr(account, name)
    assert calls_of(account) == []


@pytest.mark.parametrize(
    "probe",
    [
        repr,
        str,
        hash,
        dir,
        format,
        ascii,
        id,
        type,
        callable,
        copy.copy,
        copy.deepcopy,
        pickle.dumps,
        inspect.signature,
        inspect.getdoc,
        inspect.getmodule,
        inspect.isawaitable,
        inspect.iscoroutinefunction,
        inspect.unwrap,
        pydoc.render_doc,
        pprint.pformat,
        sys.getsizeof,
        weakref.ref,
        lambda p: p == p,  # noqa: PLR0124
        lambda p: p != 5,
        lambda p: {p: 1}[p],
        lambda p: p in [5, p],
        lambda p: isinstance(p, collections.abc.Sized),
        lambda p: isinstance(p, (int, Account)),
        lambda p: inspect.getattr_static(p, "balance"),
        lambda p: pickle.dumps(p.deposit),
        lambda p: inspect.signature(p.deposit),
        lambda p: help(p.deposit),
        help,
        lambda p: [hasattr(p, "__len__"), hasattr(p, "deposit"), p.deposit],
        lambda p: p.__class__,
        lambda p: p.__doc__,
        lambda p: p.__module__,
        np.array,
        lambda p: np.array([p, p]),
        lambda p: np.asarray(p, dtype=object),
        gc.get_referents,
    ],
)
def test_looking_at_a_proxy_makes_no_call(account, probe, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    probe(account)
    assert calls_of(account) == []


def test_the_class_of_a_proxy_is_not_pickled_by_chance(account):
    with pytest.raises((pickle.PicklingError, AttributeError)):
        pickle.dumps(type(account))
    assert calls_of(account) == []


def test_a_proxy_shows_where_its_object_is(account):
    assert repr(account) == str(account) == f"<proxy of {__name__}.Account in process 1234>"


def test_help_shows_methods_attributes_and_their_texts(account):
    text = pydoc.plain(pydoc.render_doc(account))
    for part in ["class AccountProxy", "An account at a bank.", "deposit(self, /, amount: int)"]:
        assert part in text
    for part in ["Put in.", "balance", "What is left."]:
        assert part in text


def test_dir_lists_what_is_exposed(account):
    listed = dir(account)
    assert listed == sorted(listed)
    assert set(listed) - set(dir(object)) == {
        *("balance", "bank", "broken", "deposit", "history", "kind", "owner", "rate"),
        *("__call__", "__len__"),
    }


def test_copies_are_the_proxy_itself(account):
    assert copy.copy(account) is account
    assert copy.deepcopy([account])[0] is account


def test_a_pickled_proxy_is_what_its_link_makes_of_it(account):
    again = pickle.loads(pickle.dumps(account))
    assert again == account
    assert type(again) is type(account)
    assert link_of(again) is link_of(account)
    assert pickle.loads(pickle.dumps(account.deposit))(2) == 2


# What it is --------------------------------------------------------------------------------------


def test_a_proxy_is_an_instance_of_the_original_class(account):
    assert isinstance(account, Account)
    assert account.__class__ is Account
    assert type(account).__name__ == "AccountProxy"
    assert isinstance(account, collections.abc.Callable)
    with pytest.raises(NotExposed):
        account.__class__ = int


def test_the_original_class_is_looked_for_along_the_mro_without_importing():
    spec = describe(Account)

    def at(*mro: tuple[str, str]) -> Any:
        return make_proxy(attrs.evolve(spec, mro=mro).plain, InProcess(None, spec.plain))

    assert at(("no.such.module", "Account"), ("collections", "deque")).__class__ is (
        collections.deque
    )
    assert at((__name__, "Outer.Inner"), ("builtins", "dict")).__class__ is Outer.Inner
    assert at((__name__, "Outer.method"), ("builtins", "dict")).__class__ is dict
    assert at((__name__, "f.<locals>.Local"), ("builtins", "dict")).__class__ is dict
    nowhere = at(("antigravity", "Account"))
    assert nowhere.__class__ is type(nowhere)
    assert "antigravity" not in sys.modules


class Outer:
    class Inner:
        x = 1

    def method(self): ...


def test_looking_for_the_original_class_runs_nothing(monkeypatch):
    class Lazy(types.ModuleType):
        def __getattribute__(self, name):
            raise AssertionError(f"the module was asked for {name}")

    class Pretends:
        @property
        def __class__(self):
            raise AssertionError("an object was asked for its class")

    lazy = Lazy("lazy_module")
    object.__getattribute__(lazy, "__dict__")["Odd"] = Pretends()
    monkeypatch.setitem(sys.modules, "lazy_module", lazy)
    monkeypatch.setitem(sys.modules, "no_module", None)
    mro = (("lazy_module", "Missing"), ("lazy_module", "Odd"), ("no_module", "X"))
    plain = attrs.evolve(describe(Account), mro=mro).plain
    proxy = make_proxy(plain, InProcess(None, plain))
    assert proxy.__class__ is type(proxy)


def test_a_class_made_in_a_function_is_known_where_it_was_remembered_and_after_a_fork():
    class Local:
        x = 1

    proxy = proxy_of(Local())
    assert not isinstance(proxy, Local)
    remember_class(describe(Local).plain, Local)
    assert isinstance(proxy, Local)
    child = os.fork()
    if not child:
        os._exit(0 if isinstance(proxy, Local) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_remembered_is_not_kept_alive():
    class Local:
        x = 1

    plain = describe(Local).plain
    remember_class(plain, Local)
    proxy = make_proxy(plain, InProcess(None, plain))
    gone = weakref.ref(Local)
    del Local
    gc.collect()
    assert gone() is None
    assert proxy.__class__ is type(proxy)


def test_equal_specs_share_one_class_that_goes_when_it_is_not_needed():
    plain = attrs.evolve(describe(Account), qualname="Gone").plain
    same = attrs.evolve(describe(Account), qualname="Gone").plain
    cls = proxy_class(plain)
    assert proxy_class(same) is cls
    gone = weakref.ref(cls)
    del cls
    gc.collect()
    assert gone() is None


def test_a_proxy_class_cannot_be_called(account):
    with pytest.raises(TypeError, match=r"AccountProxy is made by pipeproxy\.share"):
        type(account)("ada")


def test_links_are_got_from_proxies_only(account):
    assert link_of(account).target.owner == "ada"
    assert members_of(account).numbers["deposit"] >= 3
    for get in [link_of, members_of]:
        with pytest.raises(TypeError, match="a proxy is needed here"):
            get(5)


def test_another_link_turns_a_method_into_another_verb(account):
    class Later:
        def call(self, member, args, kwargs):
            return "later", member, args, kwargs

    method = account.deposit
    later = method.__func__(bind(type(account), Later()), amount=5)
    assert later == ("later", members_of(account).numbers["deposit"], (5,), None)


def test_a_proxy_holds_nothing_in_a_cycle():
    proxy = proxy_of(Account())
    gone = weakref.ref(proxy)
    gc.disable()
    try:
        del proxy
        assert gone() is None
    finally:
        gc.enable()


# Identity and comparison -------------------------------------------------------------------------


class Bare:
    x = 1


def test_proxies_are_equal_when_they_lead_to_the_same_object():
    real = Bare()
    one, same, other = proxy_of(real), proxy_of(real), proxy_of(Bare())
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != real
    assert {one: 1}[same] == 1


def test_an_eq_of_the_class_is_asked_and_hash_stays_that_of_the_reference():
    one, same = proxy_of([1, 2]), proxy_of([1, 2])
    assert one == [1, 2] == one
    assert one == same
    assert one != [1]
    assert isinstance(hash(one), int)
    assert hash(one) != hash(same)


@dataclasses.dataclass(order=True)
class Version:
    major: int
    minor: int = 0


@attrs.define
class Point:
    x: int
    y: int = 0


class Slots:
    __slots__ = ("x",)


class Stack(Generic[T]):
    def __init__(self) -> None:
        self.items: list[T] = []

    def push(self, item: T) -> None:
        self.items.append(item)


class IntStack(Stack[int]):
    def pop(self) -> int:
        return self.items.pop()


def test_dataclasses_attrs_slots_and_generics():
    version, point, slots, stack = map(proxy_of, [Version(1), Point(1), Slots(), IntStack()])
    assert version == Version(1)
    assert version < Version(1, 1)
    assert Version(0) < version
    version.minor = 5
    assert version.minor == 5
    point.y = 3
    assert (point.x, point.y) == (1, 3)
    assert point == Point(1, 3)
    slots.x = 1
    assert slots.x == 1
    with pytest.raises(AttributeError):
        slots.y = 1
    stack.push(4)
    assert stack.pop() == 4
    assert isinstance(stack, Stack)


# Special methods ---------------------------------------------------------------------------------


class Money:
    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Money):
            return self.cents + other.cents
        return self.cents + other if isinstance(other, int) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return ("radd", other, self.cents)

    def __iadd__(self, other: int) -> Money:
        self.cents += other
        return self

    def __neg__(self) -> int:
        return -self.cents

    def __bool__(self) -> bool:
        return self.cents > 0

    def __str__(self) -> str:
        return f"{self.cents} cents"

    def __divmod__(self, other: int) -> tuple[int, int]:
        return divmod(self.cents, other)

    def __pow__(self, exponent: int, modulo: int | None = None) -> int:
        return pow(self.cents, exponent, modulo)

    def __index__(self) -> int:
        return self.cents

    def __round__(self, digits: int | None = None) -> tuple[str, int | None]:
        return "rounded", digits

    def __lt__(self, other: Any) -> bool:
        return self.cents < other


class Answers:
    def __radd__(self, other: Any) -> str:
        return "answered"


def test_arithmetic_is_done_in_the_owner():
    money = proxy_of(Money(5))
    assert money + 1 == 6
    assert 1 + money == ("radd", 1, 5)
    assert money + proxy_of(Money(2)) == 7
    assert money + Answers() == "answered"
    assert -money == -5
    assert divmod(money, 2) == (2, 1)
    assert money**2 == 25
    assert pow(money, 2, 7) == 4
    assert [10, 20, 30, 40, 50, 60][money] == 60
    assert round(money) == ("rounded", None)
    assert round(money, 1) == ("rounded", 1)
    assert bool(money) is True
    assert str(money) == f"{money}" == "5 cents"
    assert money < 6
    assert proxy_of(Money(3)) < 4
    with pytest.raises(TypeError, match="unsupported operand"):
        money * 2
    with pytest.raises(TypeError, match="not supported between"):
        money >= 2  # noqa: B015


def test_an_operation_in_place_keeps_the_proxy():
    money = before = proxy_of(Money(5))
    money += 2
    assert money == before
    assert isinstance(money, Money)
    assert issubclass(type(money), Proxy)
    assert before.cents == 7


def test_a_shared_list_is_used_as_a_list():
    numbers = proxy_of([3, 1, 2])
    numbers.append(5)
    numbers[0] = 9
    del numbers[1]
    numbers += [7]
    assert numbers[1:] == [2, 5, 7]
    assert numbers[-1] == 7
    assert 9 in numbers
    assert 4 not in numbers
    assert operator.add(numbers, [1]) == [9, 2, 5, 7, 1]
    assert list(reversed(numbers)) == [7, 5, 2, 9]
    assert list(numbers) == sorted(numbers, key=[9, 2, 5, 7].index)
    assert operator.length_hint(numbers) == len(numbers) == 4
    numbers.sort(reverse=True)
    assert numbers == [9, 7, 5, 2]
    assert isinstance(numbers, list)


@pytest.mark.parametrize("kind", [list, bytearray, collections.deque])
def test_a_sequence_and_a_shared_one_are_added(kind):
    shared, plain = proxy_of(kind(b"bc")), kind(b"a")
    assert plain + shared == kind(b"abc")
    assert type(plain + shared) is kind
    assert [c[0] for c in calls_of(shared)] == ["copy", "copy"]
    plain += shared
    assert plain == kind(b"abc")
    with pytest.raises(TypeError):
        "a" + shared


def test_a_shared_sequence_that_hides_its_copy_is_not_added_to_others():
    class Stack(list[int]):
        pass

    proxied(Stack, hide=["copy"])
    with pytest.raises(TypeError, match="can only concatenate"):
        operator.add([1], proxy_of(Stack()))
    assert not hasattr(proxy_of(Answers()), "__add__")


def test_a_context_manager_is_entered_and_left_in_the_owner():
    class Session:
        def __init__(self):
            self.left = None

        def __enter__(self):
            return self

        def __exit__(self, *exc):
            self.left = exc
            return exc[0] is KeyError

    session = proxy_of(Session())
    with session as entered:
        assert entered == session
    assert session.left == (None, None, None)
    with session:
        raise KeyError("swallowed")
    kind, value, trace = session.left
    assert (kind, value.args, trace) == (KeyError, ("swallowed",), None)


@pytest.mark.parametrize(
    "name", "__len__ __call__ __iter__ __enter__ __getitem__ __bool__ __add__".split()
)
def test_special_methods_that_the_class_lacks_are_absent(name):
    assert not hasattr(proxy_of(Bare()), name)
    assert not callable(proxy_of(Bare()))


def test_truth_without_bool_or_len_is_local():
    bare = proxy_of(Bare())
    assert bare
    assert calls_of(bare) == []


# NumPy -------------------------------------------------------------------------------------------


class Samples:
    def __init__(self) -> None:
        self.seen: list[Any] = []

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> int:
        return [1, 2, 3][i]

    def __radd__(self, other: Any) -> Any:
        return other + 10

    def __eq__(self, other: object) -> Any:
        return "compared"

    __hash__ = None  # type: ignore[assignment]


def test_an_array_of_a_proxy_holds_the_proxy():
    samples = proxy_of(Samples())
    array = np.array(samples)
    assert (array.shape, array.dtype) == ((), object)
    assert array[()] is samples
    assert np.array([samples, samples]).shape == (2,)
    assert np.asanyarray([samples])[0] is samples
    assert calls_of(samples) == []


@pytest.mark.parametrize("dtype", [float, "i4", "U5", "f4,f4"])
def test_an_array_of_numbers_cannot_be_made_of_a_proxy(dtype):
    samples = proxy_of(Samples())
    with pytest.raises(TypeError, match="cannot become an array of"):
        np.array(samples, dtype=dtype)
    assert calls_of(samples) == []


def test_an_array_and_a_proxy_are_added_by_one_call():
    samples = proxy_of(Samples())
    total = np.arange(4.0) + samples
    assert total.tolist() == [10.0, 11.0, 12.0, 13.0]
    assert np.float64(1.5) + samples == 11.5
    assert (np.arange(3) == samples) == "compared"
    assert [c[0] for c in calls_of(samples)] == ["__radd__", "__radd__", "__eq__"]


def test_an_array_and_a_proxy_that_cannot_be_added_are_an_error():
    bare = proxy_of(Bare())
    with pytest.raises(TypeError):
        np.arange(3) + bare
    with pytest.raises(TypeError):
        np.add(np.arange(3), bare)
    assert calls_of(bare) == []


# Imports -----------------------------------------------------------------------------------------


def test_making_and_calling_a_proxy_loads_nothing_heavy():
    program = """
import sys
from pipeproxy._specs._options import proxied
from pipeproxy._specs._members import FIRST_METHOD
from pipeproxy._proxies._proxy import make_proxy

@proxied(hide=["x"])
class Account: ...

class Link:
    key, place = 1, "here"
    def call(self, *call):
        return call

methods = (("deposit", (("amount", 1, "5", "int"),), None, None),)
plain = ("bank", "Account", None, (("bank", "Account"),), methods, (), (), False, (), (), ())
assert make_proxy(plain, Link()).deposit(7) == (FIRST_METHOD, (), {"amount": 7})
heavy = "wrapt attr attrs asyncio concurrent.futures numpy inspect dis".split()
print(*[name for name in heavy if name in sys.modules])
"""
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == ""


def test_members_are_the_ones_that_the_owner_checks():
    assert members_of(proxy_of(Account())).names == Members(describe(Account).plain).names
