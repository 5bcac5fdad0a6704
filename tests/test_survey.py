"""What classes hold: read from the classes alone, running nothing of theirs."""

from __future__ import annotations

import collections
import dataclasses
import functools
import inspect
import sys
import threading
import typing
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import attrs
import pytest

from pipeproxy._specs._marks import exposed, hidden, readonly
from pipeproxy._specs._survey import Survey, signature_of, text_of_annotation, text_of_default
from pipeproxy.errors import SpecError

T = TypeVar("T")


def public(cls: type[Any]) -> tuple[set[str], set[str]]:
    survey = Survey(cls)
    names = {n for n in survey.known() if not n.startswith("_")}
    return names & survey.methods, names - survey.methods


def passes_on(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


class Kinds:
    data = 5
    nothing = None

    class Nested: ...

    annotated: int
    key: typing.Callable[[Any], Any] = len  # a field, though its default can be called
    shared: ClassVar[dict[str, int]]

    def method(self): ...

    static = staticmethod(len)
    maker = classmethod(lambda cls: cls)
    part = functools.partialmethod(method)
    single = functools.singledispatchmethod(method)
    cached = functools.lru_cache(method)
    partial = functools.partial(len)
    builtin = len
    borrowed = list.append
    prop = property(method)
    once = functools.cached_property(method)
    vars()["not an identifier"] = vars()["class"] = 5


def test_every_kind_of_member_is_a_method_or_an_attribute():
    methods, attributes = public(Kinds)
    assert methods == {
        *("method", "static", "maker", "part", "single", "cached"),
        *("partial", "builtin", "borrowed"),
    }
    assert attributes == {
        *("data", "nothing", "Nested", "annotated", "key", "shared", "prop", "once"),
    }


class Stores:
    def __init__(self, a, other):
        self.plain = a
        self.first, (self.second, self.third) = 1, (2, 3)
        x = self.chained = self.again = a
        self.typed: int = x
        self.counted += 1
        self.counted = 0
        other.not_ours = self
        other.neither.this = a
        for self.looped in ():
            pass
        with other as self.entered:
            pass
        self._private = 1

    def closes(self):
        def inner():
            self.nested = 1

            class Local:
                def f(self):
                    self.not_of_stores = 1

            return Local

        return inner

    def odd_name(this):
        this.by_another_name = 1

    @passes_on
    def wrapped(self):
        self.under_a_decorator = 1

    @classmethod
    def on_class(cls):
        cls.of_class = 1

    @property
    def prop(self):
        self.by_getter = 1

    @prop.setter
    def prop(self, value):
        self.by_setter = value

    @functools.cached_property
    def cached(self):
        self.by_cached = 1

    @hidden
    def marked(self):
        self.by_marked = 1

    async def coroutine(self):
        self.by_coroutine = 1

    def generator(self):
        self.by_generator = yield

    def no_first(*args):
        args.nothing = 1


def test_what_methods_store_on_self_are_attributes():
    stored = Survey(Stores).fields
    assert set(stored) == {
        *("plain", "first", "second", "third", "chained", "again", "typed", "counted", "looped"),
        *("entered", "_private", "nested", "by_another_name", "under_a_decorator", "of_class"),
        *("by_getter", "by_setter", "by_cached", "by_marked", "by_coroutine", "by_generator"),
    }
    assert list(stored)[:3] == ["plain", "first", "second"]


def test_slots_are_attributes():
    class Slots:
        __slots__ = ("slot",)

    assert public(Slots) == (set(), {"slot"})


def test_a_store_behind_300_names_is_found():
    body = "\n".join(f"  x.n{i} = {i}" for i in range(300))
    scope: dict[str, Any] = {}
    exec(f"def __init__(self, x):\n{body}\n  self.far = 1", scope)
    assert set(Survey(type("Far", (), {"__init__": scope["__init__"]})).fields) == {"far"}


def test_fields_of_dataclasses_attrs_and_named_tuples_are_attributes():
    @dataclasses.dataclass
    class Data:
        a: int
        b: list[int] = dataclasses.field(default_factory=list)
        c: dataclasses.InitVar[int] = dataclasses.field(default=0, kw_only=True)
        d: int = dataclasses.field(default=0, init=False)

    @dataclasses.dataclass(slots=True)
    class Slots:
        a: int

    @attrs.define
    class Defined:
        a: int
        b: int = attrs.field(factory=int)

    @attrs.frozen(slots=False)
    class Frozen:
        a = attrs.field()

    class Tuple(NamedTuple):
        a: int
        b: int = 2

    assert "c" not in Survey(Data).fields
    assert public(Data)[1] >= {"a", "b", "d"}
    assert public(Slots)[1] == {"a"}
    assert public(Defined)[1] == {"a", "b"}
    assert public(Frozen)[1] == {"a"}
    assert public(Tuple)[1] == {"a", "b"}


def test_init_only_variables_are_known_by_type_and_by_text():
    made = dataclasses.make_dataclass("Made", [("a", dataclasses.InitVar[int]), ("b", int)])
    assert set(Survey(made).fields) == {"b"}


def test_members_are_inherited_except_those_of_object():
    class Base(Generic[T]):
        def base(self): ...
        def both(self): ...

    class Derived(Base[int]):
        both = 5

    assert public(Derived) == ({"base"}, {"both"})
    assert "__repr__" not in Survey(Derived).definitions


def test_a_special_method_set_to_none_is_none():
    class Base:
        def __iter__(self): ...
        def __len__(self): ...

    class Derived(Base):
        __iter__ = None
        __hash__ = None

    assert [n for n in Survey(Derived).known() if n.startswith("__")] == ["__len__"]


def test_nothing_of_the_class_runs():
    class Meta(type):
        def __getattribute__(cls, name):
            raise AssertionError(f"the metaclass was asked for {name}")

    class Trap:
        def __get__(self, instance, owner=None):
            raise AssertionError("a descriptor ran")

        def __getattr__(self, name):
            raise AssertionError(f"a member was asked for {name}")

    class Watched(metaclass=Meta):
        trap = Trap()
        made_up: int

        def method(self): ...

    assert public(Watched) == ({"method"}, {"trap", "made_up"})


def test_docstrings_are_the_nearest_and_values_have_none():
    class Base:
        def method(self):
            """Do it.

            At length.
            """

        @property
        def size(self):
            """The size."""

    class Derived(Base):
        limit = 5

        def method(self): ...

        @functools.cached_property
        def size(self):
            """How big."""

        part = functools.partialmethod(method)

        @functools.singledispatchmethod
        def single(self):
            """Single."""

        @exposed
        @classmethod
        def maker(cls):
            """Make."""

        @staticmethod
        @exposed
        def below():
            """Below."""

    survey = Survey(Derived)
    names = ["method", "size", "limit", "part", "single", "maker", "below"]
    assert [survey.doc(name) for name in names] == [
        *("Do it.\n\nAt length.", "How big.", None, None, "Single.", "Make.", "Below."),
    ]
    assert Survey(list).doc("__len__") == "Return len(self)."
    assert Survey(collections.deque).doc("maxlen")
    assert "thread" in Survey(threading.Thread).doc("name")


def account(pin: object) -> type[Any]:
    return type("Account", (), {"__qualname__": "Account", "pin": pin})


def method(self):
    self.by_method = 1


BELOW = [property, functools.cached_property, staticmethod, classmethod]


@pytest.mark.parametrize("above", BELOW)
def test_a_marker_directly_below_what_makes_the_member_is_the_members_and_nothing_else(above):
    marked, plain = Survey(account(above(hidden(method)))), Survey(account(above(method)))
    assert marked.marks("pin") == {"hidden"}
    assert plain.marks("pin") == set()
    assert (marked.methods, marked.fields) == (plain.methods, plain.fields)
    assert set(marked.fields) == {"by_method"}


@pytest.mark.parametrize("mark", [hidden, exposed])
def test_marks_below_and_above_add_up(mark):
    assert Survey(account(mark(property(readonly(method))))).marks("pin") == {
        "readonly",
        mark.__name__,
    }


@pytest.mark.parametrize(
    "above",
    [
        passes_on,
        functools.cache,
        functools.partialmethod,
        functools.singledispatchmethod,
        lambda marked: property(method).setter(marked),
        lambda marked: property(method).deleter(marked),
        lambda marked: property(None, marked),
        lambda marked: property(marked).setter(exposed(method)),
        lambda marked: hidden(property(method)).setter(marked),
        lambda marked: hidden(passes_on(marked)),
        *(lambda marked, above=above: above(passes_on(marked)) for above in BELOW),
        lambda marked: classmethod(property(marked)),
    ],
)
def test_a_marker_that_stands_anywhere_else_is_an_error(above):
    with pytest.raises(SpecError, match=r"Account\.pin must stand outermost, or directly below"):
        Survey(account(above(hidden(method))))


@pytest.mark.parametrize(
    "marked",
    [
        readonly(method),
        staticmethod(readonly(method)),
        classmethod(readonly(method)),
        readonly(functools.partialmethod(method)),
    ],
)
def test_a_read_only_method_is_an_error(marked):
    with pytest.raises(SpecError, match=r"Account\.pin is a method.*leave the marker out, or put"):
        Survey(account(marked))


# Signatures --------------------------------------------------------------------------------------


class Signed:
    def method(self, a: int, b=1, /, c=2, *d, e, f=None, **g) -> int: ...
    def starred(*args, a): ...
    def nameless(): ...

    static = staticmethod(lambda a, b=1: a)
    maker = classmethod(lambda cls, a: a)
    part = functools.partialmethod(method, 5, e=6)
    cached = functools.lru_cache(method)
    partial = staticmethod(functools.partial(lambda a, b: a, 1))

    @passes_on
    def wrapped(self, a: str, b=1): ...

    @functools.singledispatchmethod
    def single(self, a): ...

    @exposed
    def marked(self, a): ...

    static_below = staticmethod(exposed(lambda a, b=1: a))
    maker_below = classmethod(exposed(lambda cls, a: a))

    def __call__(self, x): ...


@pytest.mark.parametrize(
    "name",
    "method starred static maker part cached partial wrapped single marked static_below "
    "maker_below __call__".split(),
)
def test_signatures_are_those_of_the_bound_method(name):
    found = signature_of(vars(Signed)[name])
    bound = getattr(Signed(), name)
    if name == "cached":  # which inspect cannot bind itself
        bound = Signed().method
    if name == "single":
        bound = lambda a: a  # noqa: E731
    assert str(found) == str(inspect.signature(bound))


@pytest.mark.parametrize("method", [list.append, list.__len__, dict.get, list.sort])
def test_signatures_of_methods_written_in_c_are_known(method):
    found = signature_of(method)
    assert found is not None
    assert "self" not in found.parameters


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there it binds as functions do")
def test_a_partial_in_a_class_is_not_given_self():
    assert str(signature_of(functools.partial(lambda a, b: a, 1))) == "(b)"


def test_what_has_no_signature_has_none():
    class Broken:
        @property
        def __signature__(self):
            raise RuntimeError

        def __call__(self): ...

    unusual = functools.partial(len)
    parameter = inspect.Parameter("x", inspect.Parameter.POSITIONAL_ONLY)
    parameter._name = "not a name"
    unusual.__signature__ = inspect.Signature([parameter])
    for member in [dict.pop, vars(Signed)["nameless"], Broken(), unusual]:
        assert signature_of(member) is None
    assert signature_of(functools.partialmethod(Signed.__dict__["static"])) is None


def test_texts_of_defaults_and_annotations_survive_a_repr_that_raises():
    class Bad:
        def __repr__(self):
            raise RuntimeError

    bad = Bad()
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    texts = [text_of_default(inspect.Parameter("x", kind, default=d)) for d in [None, "a", bad]]
    assert texts[:2] == ["None", "'a'"]
    assert "Bad object at" in texts[2]
    assert text_of_default(inspect.Parameter("x", kind)) is None
    empty = inspect.Parameter.empty
    annotations = ["Later | None", int, list[int], bad, empty]
    texts = [text_of_annotation(a) for a in annotations]
    assert texts[:3] == ["Later | None", "int", "list[int]"]
    assert "Bad object at" in texts[3]
    assert texts[4] is None


def test_texts_are_plain_whatever_they_were():
    class Text(str):
        __slots__ = ()

    class Shown:
        def __repr__(self):
            return Text("shown")

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert type(text_of_default(inspect.Parameter("x", kind, default=Shown()))) is str
    assert type(text_of_annotation(Text("int"))) is str
