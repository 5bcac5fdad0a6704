"""Generated methods: they bind as the real ones, send what was given, and can be read."""

from __future__ import annotations

import inspect
import linecache
import pickle
import sys
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeproxy._proxies._proxy import make_proxy, proxy_class
from pipeproxy._specs._marks import oneway
from pipeproxy._specs._members import FIRST_METHOD
from pipeproxy._specs._spec import describe
from pipeproxy.errors import ProtocolError

from .inprocess import InProcess, calls_of, proxy_of

# Names that could collide with something of ours, or of Python's.
NAMES = (
    "self _self args kwargs _kwargs cls link call key place name names members None_ number "
    "tuple len type object print _pp_ _pp_3_0 _pp_3_1 _pp_exit _pipeproxy_link __private ä x y"
).split()
PO, EITHER, REST, KEYWORD, KEYWORDS = inspect._ParameterKind


@st.composite
def signatures(draw: st.DrawFn) -> inspect.Signature:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=7))
    kinds = sorted(draw(st.lists(st.sampled_from([PO, EITHER, KEYWORD]), max_size=5)))
    parameters = []
    optional = False
    for kind in kinds[: len(names)]:
        has_default = draw(st.booleans()) or (optional and kind < KEYWORD)
        optional |= has_default
        default = f"default of {names[-1]}" if has_default else inspect.Parameter.empty
        parameters.append(inspect.Parameter(names.pop(), kind, default=default))
    gathering = [kind for kind in [REST, KEYWORDS] if draw(st.booleans())]
    parameters += [inspect.Parameter(n, kind) for n, kind in zip(names, gathering, strict=False)]
    return inspect.Signature(sorted(parameters, key=lambda p: p.kind))


def class_of(signature: inspect.Signature, name: str = "method") -> type:
    """Make a class whose one method has this signature and returns what each parameter got."""
    me = "really_self"
    first = inspect.Parameter(me, PO if PO in kinds(signature) else EITHER)
    whole = signature.replace(parameters=[first, *signature.parameters.values()])
    pairs = ", ".join(f"({n!r}, {n})" for n in signature.parameters)
    scope: dict[str, Any] = {}
    exec(f"def {name}{whole}: return [{pairs}]", scope)
    return type("Owner", (), {name: scope[name]})


def kinds(signature: inspect.Signature) -> set[Any]:
    return {p.kind for p in signature.parameters.values()}


def outcome(method: Callable[..., Any], args: list[int], kwargs: dict[str, int]) -> Any:
    try:
        return method(*args, **kwargs)
    except TypeError:
        return "does not bind"


@settings(max_examples=300, deadline=None)
@given(signatures(), st.data())
def test_any_signature_binds_any_arguments_as_the_real_one(signature, data):
    real = class_of(signature)()
    proxy = proxy_of(real)
    assert str(inspect.signature(proxy.method)) == str(inspect.signature(real.method))
    required = [p for p in signature.parameters.values() if p.default is p.empty]
    by_name = [p.name for p in required if p.kind in {EITHER, KEYWORD}]
    for _ in range(5):
        args = data.draw(st.lists(st.integers(), max_size=6))
        names = st.sampled_from([*signature.parameters, "extra", "self", "args"])
        kwargs = data.draw(st.dictionaries(names, st.integers(), max_size=4))
        if data.draw(st.booleans()):  # make it more likely to bind
            kwargs |= dict.fromkeys(by_name[len(args) :], 0)
        expected = outcome(real.method, args, kwargs)
        assert outcome(proxy.method, args, kwargs) == expected
        if expected == "does not bind":
            assert calls_of(proxy) == []
        calls_of(proxy).clear()


class Account:
    def plain(self, amount: int, memo: str) -> int:
        """Put in."""

    def optional(self, amount, memo="", *, limit=None): ...

    def positional(self, a=1, b=2, /, c=3): ...

    def gather(self, a=1, *rest, b=2, **more): ...

    def nothing(self): ...

    def fails(self):
        raise ValueError("as it does")

    def __exit__(self, kind, value, trace): ...


def sent_by(call: Callable[[Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any] | None]:
    proxy = proxy_of(Account())
    call(proxy)
    [(_, args, kwargs)] = calls_of(proxy)
    return args, kwargs


@pytest.mark.parametrize(
    ("call", "args", "kwargs"),
    [
        (lambda p: p.nothing(), (), None),
        (lambda p: p.plain(1, "x"), (1, "x"), None),
        (lambda p: p.plain(memo="x", amount=1), (1, "x"), None),
        (lambda p: p.optional(1), (1,), None),
        (lambda p: p.optional(1, "x"), (1,), {"memo": "x"}),
        (lambda p: p.optional(1, limit=5), (1,), {"limit": 5}),
        (lambda p: p.positional(), (), None),
        (lambda p: p.positional(7), (7,), None),
        (lambda p: p.positional(7, 8, 9), (7, 8), {"c": 9}),
        (lambda p: p.positional(c=9), (), {"c": 9}),
        (lambda p: p.gather(), (), None),
        (lambda p: p.gather(7), (), {"a": 7}),
        (lambda p: p.gather(7, 8, x=9), (7, 8), {"x": 9}),
    ],
)
def test_only_what_was_given_is_sent(call, args, kwargs):
    assert sent_by(call) == (args, kwargs)


def test_a_method_of_required_arguments_is_one_line():
    lines, _ = inspect.getsourcelines(proxy_of(Account()).plain)
    assert [line.strip() for line in lines] == [
        "def plain(self, /, amount, memo):",
        f"return self._pipeproxy_link.call({FIRST_METHOD}, (amount, memo), None)",
    ]


def test_a_wrong_call_names_the_method_and_sends_nothing():
    proxy = proxy_of(Account())
    with pytest.raises(TypeError, match=r"plain\(\) missing 1 required positional argument"):
        proxy.plain(1)
    assert calls_of(proxy) == []


def test_methods_say_where_they_are_from():
    method = proxy_of(Account()).plain
    assert method.__name__ == "plain"
    assert method.__qualname__ == "Account.plain"
    assert method.__module__ == __name__
    assert method.__doc__ == "Put in."


def test_a_signature_shows_defaults_by_their_repr_and_text_annotations_without_quotes():
    class Shown:
        def method(self, a: int | None = None, b: str = "x", *c: float) -> list[int]: ...

    assert str(inspect.signature(proxy_of(Shown()).method)) == (
        "(a: int | None = None, b: str = 'x', *c: float) -> list[int]"
    )


def test_annotations_that_are_no_texts_show_as_in_the_original():
    def method(self, a, b=1): ...

    method.__annotations__ = {"a": list[int], "b": int, "return": Account}
    real = type("Shown", (), {"method": method})()
    assert str(inspect.signature(proxy_of(real).method)) == str(inspect.signature(real.method))


def test_a_default_that_is_handed_on_counts_as_not_given():
    proxy = proxy_of(Account())
    bound = inspect.signature(proxy.optional).bind(1)
    bound.apply_defaults()
    proxy.optional(*bound.args, **bound.kwargs)
    assert calls_of(proxy) == [("optional", (1,), None)]


def test_a_default_cannot_leave_the_process_by_mistake():
    default = inspect.signature(proxy_of(Account()).optional).parameters["memo"].default
    with pytest.raises(TypeError, match="default '' stays in its owner"):
        pickle.dumps(default)


def test_a_traceback_does_not_travel_with_an_exit():
    proxy = proxy_of(Account())
    error = ValueError()
    try:
        raise error
    except ValueError:
        proxy.__exit__(*sys.exc_info())
    assert calls_of(proxy) == [("__exit__", (ValueError, error, None), None)]


def test_tracebacks_show_the_generated_line_also_after_the_cache_was_checked():
    linecache.checkcache()
    with pytest.raises(ValueError, match="as it does") as caught:
        proxy_of(Account()).fails()
    linecache.checkcache()
    shown = "".join(traceback.format_tb(caught.tb))
    assert ", in fails\n    return self._pipeproxy_link.call(" in shown
    assert "<pipeproxy AccountProxy " in shown


def test_the_source_goes_when_its_class_goes():
    import gc

    def method(self): ...

    filename = proxy_of(type("Short", (), {"method": method})()).method.__code__.co_filename
    gc.collect()
    assert filename not in linecache.cache


# What no spec yields -----------------------------------------------------------------------------


def plain(name: Any = "method", *parameters: Any, attributes: Any = ()) -> tuple[Any, ...]:
    methods = ((name, parameters, None, None),)
    return ("bank", "Account", None, (), methods, attributes, (), False, (), (), ())


@pytest.mark.parametrize(
    "bad",
    [
        plain("x(self): pass\nimport os\ndef y"),
        plain("lambda"),
        plain(5),
        plain("__reduce__"),
        plain("__del__"),
        plain("__getattribute__"),
        plain("_pipeproxy_link"),
        plain("m", ("a=print('run')", 1, None, None)),
        plain("m", ("class", 1, None, None)),
        plain("m", ("__debug__", 1, None, None)),
        plain("m", (5, 1, None, None)),
        plain("m", ("a", 1, None, None), ("a", 1, None, None)),
        plain("m", ("a", 1, "1", None), ("b", 1, None, None)),
        plain("m", ("a", 4, None, None), ("b", 2, None, None)),
        plain(attributes=(("__class__", None),)),
        plain(attributes=(("a b", None),)),
    ],
)
def test_what_no_spec_yields_is_refused_and_never_run(bad):
    with pytest.raises(ProtocolError):
        proxy_class(bad)


def test_texts_of_a_spec_are_shown_and_never_run():
    bad = plain("m", ("a", 1, "print('run')", "print('run')"))

    class Link:
        def call(self, *call: Any) -> Any:
            return call

    proxy = make_proxy(bad, Link())
    assert str(inspect.signature(proxy.m)) == "(a: print('run') = print('run'))"
    assert proxy.m() == (FIRST_METHOD, (), None)
    assert "print" not in inspect.getsource(proxy.m)


def test_a_one_way_method_is_begun_and_returns_none():
    class Log:
        @oneway
        def note(self, word, times=1, *, loud=False): ...

    started = []

    class Link(InProcess):
        def start(self, member, args, kwargs, promise):
            started.append((self.members.names[member], args, kwargs, promise))

    plain = describe(Log).plain
    link = Link(Log(), plain)
    proxy = make_proxy(plain, link)
    assert proxy.note("a") is None
    assert proxy.note("b", 2, loud=True) is None
    assert started == [
        ("note", ("a",), None, None),
        ("note", ("b",), {"times": 2, "loud": True}, None),
    ]
    assert link.calls == []
    assert str(inspect.signature(proxy.note)) == str(inspect.signature(Log().note))
