"""Where the suite's functions run: in a process of each start method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipeproxy import Listener
from tests.children import METHODS, Child


class Elsewhere:
    """A process of one start method.

    A forked one is new for every function, so that it inherits what was shared; the others run
    one function after another, since each costs a third of a second to start.
    """

    def __init__(self, method: str, running: dict[str, Child]) -> None:
        self.method = method
        self._running = running

    def run(self, listener: Listener[Any] | None, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a function returns there; serve `listener` meanwhile, if there is one."""
        listeners = [listener] if listener else []
        if self.method == "fork":
            child = Child("fork", function, *args)
            try:
                return child.result(*listeners)
            finally:
                child.end()
        if self.method not in self._running:
            self._running[self.method] = Child(self.method)
        try:
            return self._running[self.method].do(function, *args).result(*listeners)
        except (EOFError, TimeoutError):
            self._running.pop(self.method).kill()
            raise


@pytest.fixture(scope="session")
def _running() -> Iterator[dict[str, Child]]:
    running: dict[str, Child] = {}
    yield running
    for child in running.values():
        child.end()


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> str:
    """How the processes of a test are started."""
    return str(request.param)


@pytest.fixture
def elsewhere(method: str, _running: dict[str, Child]) -> Elsewhere:
    """A process to run functions in."""
    return Elsewhere(method, _running)
