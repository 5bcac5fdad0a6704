"""What is done to an object through a proxy does what it does to the object itself."""

from __future__ import annotations

from typing import Any

import pytest

from pipeproxy import share
from tests.children import outcome

from .conftest import Elsewhere
from .probes import PROBES, Number


def traces(target: Any) -> Any:
    """What is left in an object, as far as it can be compared."""
    if isinstance(target, (list, dict)):
        return target
    names = [*getattr(target, "__dict__", ()), *getattr(type(target), "__slots__", ())]
    return {n: getattr(target, n, None) for n in names if not n.startswith("_") or n == "_limit"}


def use(name: str, target: Any) -> tuple[Any, ...]:
    return outcome(PROBES[name].use, target)


@pytest.mark.parametrize("name", PROBES)
def test_a_proxy_elsewhere_does_what_the_object_does(name: str, elsewhere: Elsewhere) -> None:
    target, model = PROBES[name].make(), PROBES[name].make()
    proxy, listener = share(target)
    with listener:
        assert elsewhere.run(listener, use, name, proxy) == use(name, model)
    assert traces(target) == traces(model)


@pytest.mark.parametrize("name", PROBES)
def test_a_proxy_at_home_does_what_the_object_does(name: str) -> None:
    target, model = PROBES[name].make(), PROBES[name].make()
    proxy, listener = share(target)
    with listener:
        assert use(name, proxy) == use(name, model)
    assert traces(target) == traces(model)


@pytest.mark.parametrize("name", PROBES)
def test_every_probe_is_about_what_works(name: str) -> None:
    assert use(name, PROBES[name].make())[0] == "returned"


def test_every_operator_is_there() -> None:
    assert Number(7) + 1 == ("add", 7, 1)
    assert 1 - Number(7) == ("rsub", 7, 1)
