"""What is not exposed or not a right call is refused in the caller, before anything is sent."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from typing import Any

import pytest

from pipeproxy import NotExposed, share
from tests.children import outcome

from .conftest import Elsewhere
from .subjects import Account, Number, Parameters, Shelf, Shut, Vault

REFUSED = {
    "private method": (Account, lambda a: a._secret, "private to its owner"),
    "private data": (Account, lambda a: a._lock, "private to its owner"),
    "private data set": (Account, lambda a: setattr(a, "_lock", 1), "private to its owner"),
    "private data deleted": (Account, lambda a: delattr(a, "_lock"), "private to its owner"),
    "a name that is nowhere": (Account, lambda a: a._repr_html_, "private to its owner"),
    "a special attribute": (Account, lambda a: a.__dict__, "no special method"),
    "a special method": (Account, lambda a: a.__length_hint__, "no special method"),
    "method set": (Account, lambda a: setattr(a, "deposit", 1), "is a method"),
    "method deleted": (Account, lambda a: delattr(a, "deposit"), "is a method"),
    "static method set": (Account, lambda a: setattr(a, "check", 1), "is a method"),
    "hidden method": (Vault, lambda v: v.wipe, "is hidden"),
    "hidden data": (Vault, lambda v: v.closed, "is hidden"),
    "hidden data set": (Vault, lambda v: setattr(v, "closed", 1), "is hidden"),
    "method marked hidden": (Vault, lambda v: v.burn, "is hidden"),
    "readonly set": (Vault, lambda v: setattr(v, "size", 1), "is read-only"),
    "readonly deleted": (Vault, lambda v: delattr(v, "size"), "is read-only"),
    "marked readonly set": (Vault, lambda v: setattr(v, "weight", 1), "is read-only"),
    "not in expose": (Shut, lambda s: s.label, "is not among the names"),
    "not in expose set": (Shut, lambda s: setattr(s, "label", 1), "is not among the names"),
    "method not in expose": (Shut, lambda s: s.other, "is not among the names"),
}


def refuse(name: str, target: Any) -> tuple[Any, ...]:
    return outcome(REFUSED[name][1], target)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_exposed_is_refused_without_a_call(name: str, elsewhere: Elsewhere) -> None:
    make, _, words = REFUSED[name]
    target = make()
    before = dict(vars(target))
    proxy, listener = share(target)
    with listener:
        raised = elsewhere.run(None, refuse, name, proxy)
        assert listener.poll() == 0
    assert raised[:2] == ("raised", NotExposed.__name__)
    assert words in raised[2]
    assert vars(target) == before


@pytest.mark.parametrize("name", REFUSED)
def test_at_home_the_same_is_refused(name: str) -> None:
    proxy, listener = share(REFUSED[name][0]())
    with listener, pytest.raises(NotExposed, match=REFUSED[name][2]):
        REFUSED[name][1](proxy)


def shown(vault: Any, shut: Any) -> list[Any]:
    vault.label = "new"
    return [vault.open(), vault.size, vault.weight, vault.label, vault._inspect(), shut.open()] + [
        shut._state,
        hasattr(vault, "_code"),
        hasattr(vault, "closed"),
    ]


def test_what_is_exposed_beside_it_works(elsewhere: Elsewhere) -> None:
    proxy, listener = share(Vault())
    with listener:
        seen = elsewhere.run(listener, shown, proxy, listener.share(Shut()))
    assert seen == ["opened", 3, 5, "new", "inspected", "opened", 1, False, False]


# Wrong calls -------------------------------------------------------------------------------------

WRONG = {
    "too many": lambda p: p.none(1),
    "too few": lambda p: p.either(),
    "by name what goes by position": lambda p: p.only(a=1),
    "twice": lambda p: p.either(1, a=2),
    "unknown name": lambda p: p.either(1, d=2),
    "keyword missing": lambda p: p.keyword(),
    "by position what goes by name": lambda p: p.keyword(1),
}


def call_wrongly(name: str, target: Any) -> tuple[Any, ...]:
    return outcome(WRONG[name], target)


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_call_is_a_type_error_before_anything_is_sent(
    name: str, elsewhere: Elsewhere
) -> None:
    proxy, listener = share(Parameters())
    with listener:
        raised = elsewhere.run(None, call_wrongly, name, proxy)
        assert listener.poll() == 0
    assert raised == call_wrongly(name, Parameters())
    assert raised[1] == "TypeError"


# What asks nobody --------------------------------------------------------------------------------


def look_at(proxy: Any) -> list[Any]:
    pydoc.render_doc(type(proxy))
    seen = [
        repr(proxy).startswith("<proxy of tests.conformance.subjects."),
        hash(proxy) == hash(proxy),
        "__class__" in dir(proxy),
        isinstance(proxy, (Account, Shelf, Number)),
        copy.copy(proxy) is proxy,
        copy.deepcopy([proxy])[0] is proxy,
        len(pickle.dumps(proxy)) > 0,
        proxy is not None,
        callable(getattr(proxy, "_ipython_canary_method_should_not_exist_", None)),
        hasattr(proxy, "_repr_mimebundle_"),
        hasattr(proxy, "__wrapped__"),
    ]
    if type(proxy).__name__ == "AccountProxy":
        seen += [str(inspect.signature(proxy.deposit)), "memo" in pydoc.render_doc(proxy.deposit)]
        seen += [bool(proxy), proxy == proxy, proxy != 5, str(proxy) == repr(proxy)]
    return seen


ANSWERS = [True] * 8 + [False] * 3


@pytest.mark.parametrize("make", [Account, Shelf, Number])
def test_looking_at_a_proxy_makes_no_call(make: Any, elsewhere: Elsewhere) -> None:
    proxy, listener = share(make())
    with listener:
        seen = elsewhere.run(None, look_at, proxy)
        assert listener.poll() == 0
    assert seen[:11] == ANSWERS
    if make is Account:
        signature = (
            str(inspect.signature(Account().deposit)).replace("'", "").replace("cash", "'cash'")
        )
        assert seen[11:] == [signature, True, True, True, True, True]
