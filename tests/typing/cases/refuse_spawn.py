"""What a type checker must refuse of `spawn`: above all, wrong arguments of the constructor."""

from __future__ import annotations

from pipeproxy import spawn, spawning
from tests.typing.cases.accept_proxied import Bare, Box
from tests.typing.cases.accept_spawn import connect

spawn(Bare)  # E: call-overload | reportCallIssue
spawn(Bare, 3)  # E: call-overload | reportArgumentType reportCallIssue
spawn(Bare, "ada", balance="much")  # E: arg-type | reportArgumentType reportCallIssue
spawn(Bare, "ada", interest=0.5)  # E: arg-type call-arg | reportCallIssue
spawn(Bare, "ada", 100, 3)  # E: call-overload | reportCallIssue
spawn(Bare("ada"))  # E: call-overload | reportArgumentType reportCallIssue
spawn(Box[int], "text")  # E: call-overload | reportArgumentType reportCallIssue
spawn(connect, host="here")  # E: call-overload | reportCallIssue
spawning("spawn")  # E: arg-type | reportArgumentType


def what_comes_out_is_not_any() -> None:
    proxy, host = spawn(Bare, "ada")
    proxy.no_such_method()  # E: attr-defined | reportAttributeAccessIssue
    host.no_such_method()  # E: attr-defined | reportAttributeAccessIssue
    host.deposit(1)  # E: attr-defined | reportAttributeAccessIssue
