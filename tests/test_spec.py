"""What is shown of a class, and what is wrong with what was said of it."""

from __future__ import annotations

import gc
import queue
import weakref

import attrs
import pytest

from pipeproxy._specs._marks import (
    blocking,
    by_reference,
    exposed,
    hidden,
    oneway,
    published,
    readonly,
)
from pipeproxy._specs._members import FIRST_METHOD, Members
from pipeproxy._specs._options import proxied
from pipeproxy._specs._spec import Attribute, Conduct, Method, Parameter, Spec, describe
from pipeproxy.errors import NotExposed, SpecError


class Account:
    """An account."""

    limit = 5

    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self.balance = balance
        self._pin = 1234

    def deposit(self, amount: int, *, memo=None) -> int:
        """Put in."""

    def _audit(self): ...

    @property
    def rich(self):
        """Whether it is enough."""

    def __len__(self): ...

    def __repr__(self): ...


def shown(cls: type) -> set[str]:
    spec = describe(cls)
    return {m.name for m in spec.methods} | {a.name for a in spec.attributes}


def test_a_spec_says_all_of_a_class():
    amount = Parameter("amount", 1, None, "int")
    memo = Parameter("memo", 3, "None", None)
    assert describe(Account) == Spec(
        module=__name__,
        qualname="Account",
        doc="An account.",
        mro=((__name__, "Account"),),
        methods=(
            Method("deposit", (amount, memo), "int", "Put in."),
            Method("__len__", (), None, None),
        ),
        attributes=(
            Attribute("limit", None),
            Attribute("rich", "Whether it is enough."),
            Attribute("owner", None),
            Attribute("balance", None),
        ),
        hidden=(),
        closed=False,
        readonly=(),
        oneway=(),
        published=(),
    )


def test_a_spec_is_frozen():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        describe(Account).module = "other"


def test_the_plain_form_is_what_members_reads_and_nothing_but_builtin_values():
    plain = describe(Account).plain
    assert Members(plain).names[FIRST_METHOD:] == ("deposit", "__len__")
    assert plain[4][0] == (
        "deposit",
        (("amount", 1, None, "int"), ("memo", 3, "None", None)),
        "int",
        "Put in.",
    )

    def types(value):
        return {tuple}.union(*map(types, value)) if type(value) is tuple else {type(value)}

    for cls in [Account, queue.Queue, dict]:
        assert types(describe(cls).plain) <= {tuple, str, int, bool, type(None)}
        hash(describe(cls).plain)


def test_a_class_is_described_once_and_not_kept_alive():
    class Short:
        x = 1

    assert describe(Short) is describe(Short)
    gone = weakref.ref(Short)
    del Short
    gc.collect()
    assert gone() is None


def test_the_mro_is_told_most_derived_first_without_object():
    class Base:
        x = 1

    class Derived(Base): ...

    names = [qualname.rpartition(".")[2] for _, qualname in describe(Derived).mro]
    assert names == ["Derived", "Base"]


# Options -----------------------------------------------------------------------------------------


def test_hide_subtracts_and_hides_what_only_instances_have():
    @proxied(hide=["balance", "deposit", "__len__"])
    class Shy(Account): ...

    assert shown(Shy) == {"limit", "owner", "rich"}
    with pytest.raises(NotExposed, match="hidden"):
        Members(describe(Shy).plain).check_read("balance")


def test_expose_replaces_the_default_set_and_closes_it():
    @proxied(expose=["_audit", "owner", "_pin", "__len__"])
    class Chosen(Account): ...

    assert shown(Chosen) == {"_audit", "owner", "_pin", "__len__"}
    assert describe(Chosen).closed
    with pytest.raises(NotExposed, match="lists"):
        Members(describe(Chosen).plain).check_read("balance")


def test_expose_of_the_nearest_decorated_class_counts_and_hide_accumulates():
    @proxied(expose=["deposit", "owner", "limit"], hide=["limit"], readonly=["owner"])
    class Base(Account): ...

    @proxied(hide=["owner"], readonly=["balance"])
    class Middle(Base):
        def more(self): ...

    @proxied(expose=["limit", "more", "balance"])
    class Derived(Middle): ...

    assert shown(Middle) == {"deposit"}
    assert shown(Derived) == {"more", "balance"}
    assert describe(Derived).hidden == ("limit", "owner")
    assert describe(Derived).readonly == ("balance", "owner")


def test_a_class_written_in_c_follows_its_options():
    class Own(queue.SimpleQueue): ...

    proxied(Own, hide=["empty"], expose=["put", "get", "empty"])
    assert shown(Own) == {"put", "get"}


# Markers -----------------------------------------------------------------------------------------


def test_markers_win_over_options():
    @proxied(expose=["open", "shut"], hide=["marked", "shut"])
    class Marked:
        def open(self): ...

        def shut(self): ...

        @exposed
        def marked(self): ...

        @exposed
        def _private(self): ...

        @hidden
        def __len__(self): ...

    assert shown(Marked) == {"open", "marked", "_private"}
    assert describe(Marked).hidden == ("__len__", "shut")


def test_markers_wrap_nothing_of_the_signature():
    class Marked:
        @exposed
        def _run(self, a: int, /, b=2): ...

    assert describe(Marked).methods[0].parameters == (
        Parameter("a", 0, None, "int"),
        Parameter("b", 1, "2", None),
    )


def test_markers_below_what_makes_the_member_say_the_same():
    class Above:
        @exposed
        @staticmethod
        def _fixed(a: int) -> str: ...

        @hidden
        @classmethod
        def wipe(cls): ...

        @readonly
        @property
        def size(self):
            """How big."""

        @size.setter
        def size(self, value): ...

    class Below:
        @staticmethod
        @exposed
        def _fixed(a: int) -> str: ...

        @classmethod
        @hidden
        def wipe(cls): ...

        @property
        @readonly
        def size(self):
            """How big."""

        @size.setter
        def size(self, value): ...

    assert shown(Below) == {"_fixed", "size"}
    assert describe(Below).plain[4:] == describe(Above).plain[4:]
    assert describe(Below).readonly == ("size",)


class Marked:
    @hidden
    def pin(self): ...

    @exposed
    def _audit(self): ...

    @readonly
    @property
    def name(self): ...

    def open(self): ...


def test_an_override_without_marks_keeps_those_of_what_it_overrides():
    class Derived(Marked):
        def pin(self): ...
        def _audit(self): ...

        name = "value"

    class Further(Derived):
        def pin(self): ...

    assert shown(Further) == {"_audit", "name", "open"}
    assert describe(Further).hidden == ("pin",)
    assert describe(Further).readonly == ("name",)


def test_an_override_with_marks_of_its_own_has_only_those():
    class Derived(Marked):
        @exposed
        def pin(self): ...

        @hidden
        def _audit(self): ...

        @exposed
        @property
        def name(self): ...

    assert shown(Derived) == {"pin", "name", "open"}
    assert describe(Derived).readonly == ()


# Errors ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["expose", "hide", "readonly"])
def test_a_name_that_no_class_has_is_an_error_with_a_suggestion(option):
    class Wrong(Account): ...

    proxied(Wrong, **{option: ["balanec"]})
    with pytest.raises(SpecError, match=rf"{option} names 'balanec'.*did you mean 'balance'\?"):
        describe(Wrong)


@pytest.mark.parametrize("option", ["expose", "hide", "readonly"])
def test_a_class_that_makes_names_up_may_be_told_any(option):
    class Dynamic:
        def __getattr__(self, name): ...

        x = 1

    proxied(Dynamic, **{option: ["balance"]})
    spec = describe(Dynamic)
    assert ("balance" in {a.name for a in spec.attributes}) == (option == "expose")
    assert ("balance" in spec.hidden) == (option == "hide")
    assert ("balance" in spec.readonly) == (option == "readonly")


def test_readonly_does_not_name_methods():
    @proxied(readonly=["deposit"])
    class Wrong(Account): ...

    with pytest.raises(SpecError, match=r"Wrong\.deposit, which is a method"):
        describe(Wrong)


def test_a_method_is_not_marked_read_only():
    class Wrong(Account):
        @readonly
        def deposit(self, amount): ...

    with pytest.raises(SpecError, match=r"Wrong\.deposit is a method.*leave the marker out"):
        describe(Wrong)


def test_a_method_over_a_read_only_property_is_no_error():
    class Derived(Marked):
        def name(self): ...

    assert "name" in {method.name for method in describe(Derived).methods}


@pytest.mark.parametrize("name", ["__reduce__", "__repr__", "__dict__", "_pipeproxy_link"])
def test_what_python_uses_on_the_proxy_cannot_be_exposed(name):
    @proxied(expose=[name])
    class Wrong(Account): ...

    with pytest.raises(SpecError, match=f"{name} cannot be exposed"):
        describe(Wrong)
    with pytest.raises(SpecError, match=f"{name} cannot be exposed"):
        describe(type("Wrong", (Account,), {name: exposed(lambda self: None)}))


def test_a_special_method_that_is_none_cannot_be_exposed():
    @proxied(expose=["__len__"])
    class Wrong(Account):
        __len__ = None

    with pytest.raises(SpecError, match="'__len__', which .* does not have"):
        describe(Wrong)


def empty() -> type:
    class Empty: ...

    return Empty


def all_hidden() -> type:
    @proxied(hide=["x"])
    class Empty:
        x = 1

    return Empty


def none_exposed() -> type:
    @proxied(expose=[])
    class Empty:
        def __getattr__(self, name): ...

        x = 1

    return Empty


@pytest.mark.parametrize("make", [empty, all_hidden, none_exposed])
def test_a_class_that_shows_nothing_is_an_error(make):
    with pytest.raises(SpecError, match=r"Empty shows nothing.*annotate"):
        describe(make())


def test_a_class_that_only_makes_names_up_shows_those():
    class Dynamic:
        def __getattr__(self, name): ...

    Members(describe(Dynamic).plain).check_read("anything")


def test_what_is_no_class_cannot_be_described():
    with pytest.raises(SpecError, match="5 is no class"):
        describe(5)


# Published ---------------------------------------------------------------------------------------


def test_what_is_published_is_said_by_options_and_markers_and_inherited():
    @proxied(published=["balance"])
    class Base(Account):
        @published
        @property
        def twice(self): ...

    @proxied(published=["owner"], expose=["_pin", "twice", "balance", "owner"])
    class Derived(Base):
        @property
        @published
        def _pin(self): ...

        @property
        def twice(self): ...

    assert describe(Base).published == ("balance", "twice")
    assert describe(Derived).published == ("_pin", "balance", "owner", "twice")
    assert Members(describe(Base).plain).published == {"balance": 0, "twice": 1}
    assert describe(Account).published == ()


def unknown():
    @proxied(published=["balanse"])
    class Wrong(Account): ...

    return Wrong


def a_method():
    @proxied(published=["deposit"])
    class Wrong(Account): ...

    return Wrong


def a_marked_method():
    class Wrong(Account):
        @published
        def deposit(self, amount): ...

    return Wrong


def private():
    @proxied(published=["_pin"])
    class Wrong(Account): ...

    return Wrong


def a_hidden_one():
    class Wrong(Account):
        @hidden
        @published
        @property
        def rich(self): ...

    return Wrong


def by_reference_too():
    class Wrong(Account):
        @by_reference
        @published
        @property
        def rich(self): ...

    return Wrong


def by_reference_as_named():
    @proxied(published=["balance"], by_ref=["balance"])
    class Wrong(Account): ...

    return Wrong


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (unknown, "'balanse', which .*Wrong does not have: did you mean 'balance'"),
        (a_method, r"Wrong\.deposit, which is a method.*make it a property"),
        (a_marked_method, r"Wrong\.deposit is a method.*put @property above"),
        (private, r"Wrong\._pin, which proxies do not show: expose it"),
        (a_hidden_one, r"Wrong\.rich, which proxies do not show"),
        (by_reference_too, r"Wrong\.rich, which travels by reference"),
        (by_reference_as_named, r"Wrong\.balance, which travels by reference"),
    ],
)
def test_what_cannot_be_published_is_an_error(make, says):
    with pytest.raises(SpecError, match=says):
        describe(make())


# Conduct -----------------------------------------------------------------------------------------


def test_how_an_object_is_treated_is_said_by_options_and_markers_and_inherited():
    @proxied(by_ref=["items"], dispatch="threads")
    class Base:
        items: list

        @by_reference
        def first(self): ...

        @blocking
        def get(self): ...

        @property
        @by_reference
        def lock(self): ...

    @proxied(dispatch="asyncio", home="queue")
    class Derived(Base):
        def first(self): ...

    assert describe(Base).conduct == Conduct(
        frozenset({"items", "first", "lock"}), frozenset({"get"}), "threads", "caller"
    )
    assert describe(Derived).conduct == Conduct(
        frozenset({"items", "first", "lock"}), frozenset({"get"}), "asyncio", "queue"
    )
    assert describe(Account).conduct == Conduct(frozenset(), frozenset(), "serial", "caller")


def test_conduct_does_not_travel():
    @proxied(by_ref=["items"], dispatch="threads")
    class Shelf:
        items: list

    assert len(describe(Shelf).plain) == 11


def test_a_property_cannot_be_blocking():
    class Wrong:
        @property
        @blocking
        def size(self): ...

    with pytest.raises(SpecError, match=r"@blocking stands over methods, and .*size is none"):
        describe(Wrong)


def test_one_way_methods_are_told_to_those_who_call_them_and_inherited():
    class Log:
        @oneway
        def note(self, word): ...

        @oneway
        @staticmethod
        def tell(word): ...

        @hidden
        @oneway
        def _internal(self): ...

        def both(self): ...

    class Below(Log):
        @oneway
        def both(self): ...

        def note(self, word): ...

    assert describe(Log).oneway == ("note", "tell")
    assert describe(Below).oneway == ("both", "note", "tell")
    assert describe(Below).plain[9] == ("both", "note", "tell")


def test_a_property_cannot_be_one_way():
    class Log:
        @property
        @oneway
        def size(self): ...

    with pytest.raises(SpecError, match=r"@oneway stands over methods, and .*size is none"):
        describe(Log)


def test_an_unknown_name_in_by_ref_is_an_error():
    @proxied(by_ref=["itmes"])
    class Wrong:
        items: list

    with pytest.raises(SpecError, match="by_ref names 'itmes'.*did you mean 'items'"):
        describe(Wrong)
