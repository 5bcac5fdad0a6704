"""Where the suite's functions run: in a process of each start method."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from typing import Any

import pytest

from pipeproxy import Listener
from tests.children import Child


class Elsewhere:
    """A process of one start method.

    A forked one is new for every function, so that it inherits what was shared; of the others one
    serves all tests, since each costs a third of a second to start.
    """

    def __init__(self, context: BaseContext, residents: dict[str, Child]) -> None:
        self._context = context
        self._residents = residents

    def run(self, listener: Listener[Any] | None, function: Callable[..., Any], *args: Any) -> Any:
        """Return what a function returns there; serve `listener` meanwhile, if there is one."""
        listeners = [listener] if listener else []
        resident = self._residents.get(self._context.get_start_method())
        if resident is not None:
            return resident.do(function, *args).result(*listeners)
        with Child(self._context, function, *args) as child:
            return child.result(*listeners)


@pytest.fixture(scope="session")
def _residents() -> Iterator[dict[str, Child]]:
    residents = {method: Child(method) for method in ("spawn", "forkserver")}
    yield residents
    for child in residents.values():
        child.end()


@pytest.fixture
def elsewhere(context: BaseContext, _residents: dict[str, Child]) -> Elsewhere:
    """A process to run functions in."""
    return Elsewhere(context, _residents)
