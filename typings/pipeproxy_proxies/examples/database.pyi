# Made by `python -m pipeproxy stubs`: change the class instead, and make it again.

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

class DatabaseProxy(Protocol):
    """A connection; ``with locked(database), database:`` is a transaction."""

    def execute(self, sql: str, values: Sequence[Any] = ...) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""

    def __enter__(self) -> None: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
