"""What stands for a live object wherever it goes."""

from __future__ import annotations

import gc
import os
import pickle
import pickletools
from typing import Any

import pytest

from pipeproxy import Listener, share
from pipeproxy._channels._door import Route
from pipeproxy._proxies._proxy import link_of
from pipeproxy._references._references import Passing, arrive, homes, owner_at, rebuild

from .support import in_fork, open_descriptors


class Thing:
    def use(self) -> str:
        return "used"


def test_a_reference_holds_nothing_but_builtin_types() -> None:
    proxy, listener = share(Thing())
    with listener:

        def check(value: object) -> None:
            assert type(value) in {tuple, int, str, bytes, float, bool, type(None)}
            for part in value if isinstance(value, tuple) else ():
                check(part)

        check(link_of(proxy).reference)


def test_a_pickled_proxy_names_one_function_of_ours_and_no_class() -> None:
    proxy, listener = share(Thing())
    with listener:
        operations = list(pickletools.genops(pickle.dumps(proxy, 5)))
    assert [name for name, _, _ in ((o.name, a, p) for o, a, p in operations)].count(
        "STACK_GLOBAL"
    ) == 1


def test_a_reference_that_comes_home_with_a_call_is_the_object_and_else_a_proxy() -> None:
    thing = Thing()
    proxy, listener = share(thing)
    with listener:
        reference = link_of(proxy).reference
        assert arrive(*reference) is thing
        assert rebuild(*reference) == proxy
    assert link_of(proxy).route.listener not in homes


def test_of_arguments_only_proxies_are_referred_to() -> None:
    proxy, listener = share(Thing())
    with listener:
        route = link_of(proxy).route
        for to in (route, route._replace(listener=b"another's", process=b"another")):
            passing = Passing(to)
            assert passing.refer(proxy) == (arrive, link_of(proxy).reference)
            for value in (Thing(), Thing, 1, [proxy], None):
                assert passing.refer(value) is NotImplemented


def test_one_process_knows_a_listener_as_one_owner_until_nothing_refers_to_it() -> None:
    route = Route(os.urandom(16), os.urandom(16), 1, b"\0nowhere", os.urandom(16), 0.0)
    owner = owner_at(route)
    assert owner_at(route) is owner
    one, other = (rebuild(tuple(route), 1, _plain()) for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
    assert one != rebuild(tuple(route), 2, _plain())


def _plain() -> Any:
    with Listener() as listener:
        return link_of(listener.share(Thing())).plain


def test_references_that_are_never_used_cost_no_descriptor() -> None:
    proxy, listener = share(Thing())
    with listener:
        pickled = pickle.dumps(proxy)

        def child() -> None:
            gc.collect()  # what an earlier test left is not counted
            before = open_descriptors()
            kept = [pickle.loads(pickled) for _ in range(1000)]
            assert open_descriptors() == before
            assert len(set(kept)) == 1

        in_fork(child)


def test_a_pickle_of_a_closed_listener_is_a_proxy_that_says_so() -> None:
    proxy, listener = share(Thing())
    pickled = pickle.dumps(proxy)
    listener.close()
    del listener
    gc.collect()
    late = pickle.loads(pickled)
    with pytest.raises(Exception, match="was closed") as caught:
        late.use()
    assert type(caught.value).__name__ == "ListenerClosed"
