"""What users say of members of their classes: marked members stay themselves."""

from __future__ import annotations

import abc
import copy
import functools
import inspect
import pickle
import subprocess
import sys
import types
from pathlib import Path

import pytest
import wrapt

from pipeproxy._specs._marks import exposed, hidden, marks_of, oneway, published, readonly, unmarked
from pipeproxy.errors import SpecError


def add(self, amount: int, /, *, memo: str = "") -> tuple[object, int, str]:
    """Add."""
    return self, amount, memo


class Named:
    """A descriptor that learns its name, and can be set."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, instance, owner=None):
        return self if instance is None else instance.__dict__.get(self.name, "unset")

    def __set__(self, instance, value):
        instance.__dict__[self.name] = value

    def __delete__(self, instance):
        del instance.__dict__[self.name]


class Plain:
    method = add
    fixed = staticmethod(len)
    maker = classmethod(lambda cls: cls)
    name = property(lambda self: "n", doc="The name.")
    once = functools.cached_property(lambda self: object())
    named = Named()


class Marked:
    method = exposed(add)
    fixed = hidden(staticmethod(len))
    maker = hidden(classmethod(lambda cls: cls))
    name = published(readonly(property(lambda self: "n", doc="The name.")))
    once = readonly(hidden(functools.cached_property(lambda self: object())))
    named = hidden(Named())


def test_marks_are_found_in_the_class():
    marks = {name: set(marks_of(member)) for name, member in vars(Marked).items()}
    assert {name: m for name, m in marks.items() if m} == {
        "method": {"exposed"},
        "fixed": {"hidden"},
        "maker": {"hidden"},
        "name": {"readonly", "published"},
        "once": {"readonly", "hidden"},
        "named": {"hidden"},
    }
    assert unmarked(vars(Marked)["method"]) is add
    assert unmarked(add) is add
    assert marks_of(add) == set()


def test_a_marked_method_binds_to_the_plain_bound_method():
    marked = Marked()
    assert type(marked.method) is types.MethodType
    assert marked.method.__func__ is add
    assert Marked.method is add
    assert marked.method(3, memo="x") == (marked, 3, "x")
    assert inspect.signature(marked.method) == inspect.signature(Plain().method)
    assert inspect.signature(vars(Marked)["method"]) == inspect.signature(add)


def test_marked_static_and_class_methods_work_on_class_and_object():
    assert Marked.fixed([1]) == Marked().fixed([1]) == 1
    assert Marked.maker() is Marked().maker() is Marked


def test_a_marked_member_says_that_it_is_what_it_is():
    assert isinstance(vars(Marked)["name"], property)
    assert isinstance(vars(Marked)["method"], types.FunctionType)
    assert isinstance(vars(Marked)["fixed"], staticmethod)
    assert vars(Marked)["name"].__doc__ == Marked.name.__doc__ == "The name."
    assert callable(vars(Marked)["method"])
    assert not callable(vars(Marked)["name"])


def test_a_marked_method_can_be_called_while_the_class_is_made():
    class Made:
        @hidden
        def double(n):
            return 2 * n

        four = double(2)

    assert Made.four == 4


def test_a_marked_cached_property_is_computed_once_and_can_be_deleted():
    marked = Marked()
    first = marked.once
    assert marked.once is first
    del marked.once
    assert marked.once is not first


def test_a_marked_descriptor_is_set_and_deleted_and_knows_its_name():
    marked = Marked()
    assert marked.named == "unset"
    marked.named = 5
    assert marked.__dict__["named"] == 5
    assert marked.named == 5
    del marked.named
    assert marked.named == "unset"


@pytest.mark.parametrize("order", ["marker first", "marker last"])
def test_a_marked_property_keeps_its_mark_and_its_setter(order):
    class Account:
        @property
        def pin(self):
            raise AssertionError("replaced below")

        if order == "marker first":
            pin = hidden(pin)

        @pin.getter
        def pin(self):
            """The number."""
            return self._pin

        @pin.setter
        def pin(self, value):
            self._pin = value

        @pin.deleter
        def pin(self):
            del self._pin

        if order == "marker last":
            pin = hidden(pin)

    account = Account()
    account.pin = 1234
    assert account.pin == 1234
    del account.pin
    assert not hasattr(account, "pin")
    assert marks_of(vars(Account)["pin"]) == {"hidden"}
    assert Account.pin.__doc__ == "The number."


def test_a_marked_property_without_setter_refuses_to_be_set():
    with pytest.raises(AttributeError):
        Marked().name = "other"
    with pytest.raises(AttributeError):
        del Marked().name


def test_a_marked_abstract_method_is_abstract():
    class Base(abc.ABC):
        @exposed
        @abc.abstractmethod
        def run(self): ...

        @readonly
        @property
        @abc.abstractmethod
        def size(self): ...

    assert Base.__abstractmethods__ == {"run", "size"}
    with pytest.raises(TypeError):
        Base()


def test_a_marked_singledispatch_method_can_be_registered_to():
    class Shape:
        @exposed
        @functools.singledispatchmethod
        def area(self, of):
            return "any"

        @area.register
        def _(self, of: int):
            return "int"

    assert (Shape().area("x"), Shape().area(1)) == ("any", "int")


def test_a_marked_method_calls_its_base_class_by_super():
    class Loud(Marked):
        @hidden
        def method(self, amount, /, *, memo=""):
            return super().method(amount + 1, memo=memo)

    loud = Loud()
    assert loud.method(1) == (loud, 2, "")


# Markers below the decorator that makes the member -----------------------------------------------


class Below:
    @property
    @readonly
    def balance(self) -> int:
        """The balance."""
        return self.__dict__.get("_balance", 7)

    @balance.setter
    def balance(self, balance: int) -> None:
        self._balance = balance

    @balance.deleter
    def balance(self) -> None:
        del self._balance

    @functools.cached_property
    @readonly
    @exposed
    def once(self) -> object:
        """Made once."""
        return object()

    @staticmethod
    @hidden
    def double(number: int, /, *, more: int = 0) -> int:
        """Twice."""
        return 2 * number + more

    @classmethod
    @exposed
    def made(cls, *, number: int = 1) -> tuple[type, int]:
        """Make."""
        return cls, number

    @hidden
    @property
    @readonly
    def both(self) -> str:
        return "both"


def test_marks_below_are_found_in_the_class():
    marks = {name: set(marks_of(member)) for name, member in vars(Below).items()}
    assert {name: m for name, m in marks.items() if m} == {
        "balance": {"readonly"},
        "once": {"readonly", "exposed"},
        "double": {"hidden"},
        "made": {"exposed"},
        "both": {"readonly", "hidden"},
    }


def test_a_property_with_a_marked_getter_is_the_property():
    below = Below()
    assert type(vars(Below)["balance"]) is property
    assert below.balance == 7
    below.balance = 8
    assert below.balance == 8
    del below.balance
    assert below.balance == 7
    assert Below.balance.__doc__ == "The balance."
    assert str(inspect.signature(Below.balance.fget)) == "(self) -> 'int'"
    assert below.both == "both"


@pytest.mark.skipif(
    isinstance(wrapt.CallableObjectProxy.__call__, types.FunctionType),
    reason="wrapt was installed without its extension",
)
def test_no_python_code_runs_between_a_property_and_its_marked_getter():
    frames = []

    class Account:
        @property
        @readonly
        def balance(self):
            frames.append(sys._getframe(1).f_code.co_name)

    Account().balance
    assert frames == ["test_no_python_code_runs_between_a_property_and_its_marked_getter"]


def test_a_cached_property_with_a_marked_function_is_computed_once():
    below = Below()
    first = below.once
    assert below.once is first
    assert below.__dict__["once"] is first
    assert vars(Below)["once"].__doc__ == "Made once."


def test_static_and_class_methods_of_marked_functions_bind_as_ever():
    class Derived(Below):
        pass

    assert Derived.double(2, more=1) == Derived().double(2, more=1) == 5
    assert Derived.made(number=2) == Derived().made(number=2) == (Derived, 2)
    assert type(Derived.made) is types.MethodType
    assert (
        str(inspect.signature(Derived.double)) == "(number: 'int', /, *, more: 'int' = 0) -> 'int'"
    )
    assert str(inspect.signature(Derived.made)) == "(*, number: 'int' = 1) -> 'tuple[type, int]'"
    assert (Derived.double.__doc__, Derived.made.__doc__) == ("Twice.", "Make.")
    assert inspect.isfunction(Derived.double)


@pytest.mark.parametrize(
    "again", [lambda f: pickle.loads(pickle.dumps(f)), copy.copy, copy.deepcopy]
)
def test_a_static_method_of_a_marked_function_is_pickled_and_copied_as_functions_are(again):
    assert again(Below.double) is Below.double


def test_a_property_of_a_marked_abstract_getter_is_abstract():
    class Base(abc.ABC):
        @property
        @readonly
        @abc.abstractmethod
        def size(self): ...

    assert Base.__abstractmethods__ == {"size"}


class Inner:
    pass


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda: exposed(hidden(add)), "add cannot be exposed and hidden at once"),
        (lambda: hidden(exposed(property(add))), "exposed and hidden at once"),
        (lambda: exposed(property(hidden(add))), "exposed and hidden at once"),
        (lambda: hidden(property(len)).getter(exposed(add)), "exposed and hidden at once"),
        (lambda: readonly(staticmethod(add)), "add is a method"),
        (lambda: readonly(classmethod(add)), "add is a method"),
        (lambda: published(staticmethod(add)), "add is a method.*make it a property"),
        (lambda: published(hidden(classmethod(add))), "add is a method"),
        (lambda: readonly(hidden(staticmethod(add))), "add is a method"),
        (lambda: oneway(Inner), "not over the class Inner: use @proxied"),
        (lambda: readonly(Inner), "not over the class Inner: use @proxied"),
        (lambda: hidden(Inner), "not over the class Inner: use @proxied"),
        (lambda: exposed(5), r"5 is data: name it in @proxied\(expose"),
        (lambda: hidden(functools.partial), "use @proxied"),
    ],
)
def test_a_marker_in_the_wrong_place_says_what_to_do_instead(use, says):
    with pytest.raises(SpecError, match=says):
        use()


def test_only_who_marks_pays_for_wrapt():
    program = """
import sys
from pipeproxy._specs._marks import hidden
from pipeproxy._specs._options import proxied

@proxied(hide=["secret"])
class Account:
    secret = 1

assert "wrapt" not in sys.modules
hidden(lambda self: None)
assert "wrapt" in sys.modules
"""
    root = Path(__file__).parent.parent
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=root, check=True)
