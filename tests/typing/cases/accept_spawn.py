"""`spawn` takes what the class takes, and yields its instance's type."""

from __future__ import annotations

import multiprocessing

from typing_extensions import assert_type

from pipeproxy import spawn, spawning
from tests.typing.cases.accept_proxied import Bare, Box


def connect(host: str, /, *, port: int = 80) -> Box[str]:
    return Box(f"{host}:{port}")


def the_proxy_has_the_type_of_the_instance() -> None:
    proxy, host = spawn(Bare, "ada", 100)
    assert_type(proxy, Bare)
    named, _ = spawn(Bare, owner="ada", balance=100)
    assert_type(named, Bare)
    host.close()


def the_host_is_a_context_manager() -> None:
    proxy, host = spawn(Bare, "ada")
    with host as entered:
        assert_type(proxy.balance, int)
        entered.close()


def generic_classes_and_factories() -> None:
    box, _ = spawn(Box[int], 1)
    assert_type(box, Box[int])
    made, _ = spawn(connect, "here", port=8080)
    assert_type(made, Box[str])


def the_start_method_is_chosen_round_the_call() -> Bare:
    with spawning(multiprocessing.get_context("spawn")):
        proxy, _ = spawn(Bare, "ada")
    return proxy
