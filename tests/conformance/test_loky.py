"""loky starts and restarts its workers in a way of its own."""

from __future__ import annotations

import pytest

from pipeproxy import share

from .users import Counter, add


def test_a_proxy_goes_to_the_workers_of_loky() -> None:
    loky = pytest.importorskip("loky")
    counter = Counter()
    proxy, listener = share(counter)
    with listener, loky.ProcessPoolExecutor(2) as executor:
        futures = [executor.submit(add, proxy, 2) for _ in range(4)]
        listener.serve(until=lambda: all(future.done() for future in futures))
        for future in futures:
            future.result(0)
    assert counter.total == 8
