"""What a type checker must refuse of `share`, listeners and proxies."""

from __future__ import annotations

from typing_extensions import assert_type

from pipeproxy import Listener, share, timeout
from tests.typing.cases.accept_proxied import Bare, Box


def a_proxy_is_used_like_the_object_and_no_more() -> None:
    proxy, _ = share(Bare("ada"))
    proxy.no_such_method()  # E: attr-defined | reportAttributeAccessIssue
    proxy.balance = "much"  # E: assignment | reportAttributeAccessIssue
    proxy.limit = 3  # E: misc | reportAttributeAccessIssue
    proxy.wipe(1)  # E: call-arg | reportCallIssue
    len(proxy)  # E: arg-type | reportArgumentType
    assert_type(proxy.balance, str)  # E: assert-type | reportAssertTypeFailure


def a_listener_is_none_of_the_proxy() -> None:
    listener, proxy = share(Bare("ada"))
    listener.poll()  # E: attr-defined | reportAttributeAccessIssue
    proxy.owner  # E: attr-defined | reportAttributeAccessIssue


def options_are_named_and_objects_are_not() -> None:
    share()  # E: call-overload | reportCallIssue
    share(obj=Bare("ada"))  # E: call-overload | reportCallIssue
    share(Bare("ada"), 0.0)  # E: call-overload | reportCallIssue
    share(Bare("ada"), spin="never")  # E: call-overload | reportArgumentType reportCallIssue
    Listener(0.0)  # E: call-arg | reportCallIssue
    Listener().share(obj=1)  # E: call-overload | reportCallIssue


def listeners_of_one_class_are_not_listeners_of_another(listener: Listener[Bare]) -> None:
    _: Listener[Box[int]] = listener  # E: assignment | reportAssignmentType


def serve_waits_for_what_can_end(listener: Listener[Bare]) -> None:
    listener.serve(until=3.0)  # E: arg-type | reportArgumentType
    listener.serve(until="done")  # E: arg-type | reportArgumentType
    listener.serve(until=["done"])  # E: list-item | reportArgumentType
    listener.poll("now")  # E: arg-type | reportArgumentType
    listener.share(Bare("ada")).no_such_method()  # E: attr-defined | reportAttributeAccessIssue
    listener.stats().no_such_figure  # E: attr-defined | reportAttributeAccessIssue


def deadlines_are_seconds() -> None:
    timeout()  # E: call-arg | reportCallIssue
    timeout("1 s")  # E: arg-type | reportArgumentType
