"""`Shared`: with it as a base every type checker knows the type of a class's proxies."""

from __future__ import annotations

from typing_extensions import assert_type

from pipeproxy import Host, Listener, locked, share, spawn
from pipeproxy_proxies.tests.typing.cases.zoo import TellerProxy
from tests.typing.cases.zoo import Teller


def share_gives_the_generated_type() -> None:
    proxy, listener = share(Teller("ada"))
    assert_type(proxy, TellerProxy)
    assert_type(listener, Listener[TellerProxy])
    assert_type(listener.share(Teller("bob")), TellerProxy)
    with locked(proxy) as inner:
        assert_type(inner, TellerProxy)


def spawn_gives_the_generated_type() -> None:
    proxy, host = spawn(Teller, "ada")
    assert_type(proxy, TellerProxy)
    assert_type(host, Host)
    named, _ = spawn(Teller, name="ada")
    assert_type(named.name, str)


class Quiet(Teller):
    """Of whose own proxies no type was made."""


def a_subclass_has_the_type_of_its_base() -> None:
    proxy, _ = share(Quiet("ada"))
    assert_type(proxy, TellerProxy)


def the_object_stays_itself() -> None:
    assert_type(Teller("ada"), Teller)
    assert_type(Teller("ada").name, str)
