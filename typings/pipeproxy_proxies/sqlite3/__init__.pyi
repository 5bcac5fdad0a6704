# Made by `python -m pipeproxy stubs`: change the class instead, and make it again.

from _typeshed import ReadableBuffer
from collections.abc import Callable, Generator, Iterable
from sqlite3 import (
    Blob,
    Connection,
    Cursor,
    _AggregateProtocol,
    _AnyParamWindowAggregateClass,
    _IsolationLevel,
    _Parameters,
    _RowFactoryOptions,
    _SingleParamWindowAggregateClass,
    _SqliteData,
    _WindowAggregateClass,
)
from types import TracebackType
from typing import Any, Literal, Protocol, SupportsIndex, overload
from typing_extensions import Self

class ConnectionProxy(Protocol):
    """SQLite database connection object."""

    row_factory: _RowFactoryOptions
    text_factory: Any
    isolation_level: _IsolationLevel

    @property
    def total_changes(self) -> int: ...

    @property
    def in_transaction(self) -> bool: ...

    def backup(
        self,
        target: Connection,
        *,
        pages: int = -1,
        progress: Callable[[int, int, int], object] | None = None,
        name: str = "main",
        sleep: float = 0.25,
    ) -> None:
        """Makes a backup of the database."""

    def close(self) -> None:
        """Close the database connection.

        Any pending transaction is not committed implicitly.
        """

    def commit(self) -> None:
        """Commit any pending transaction to the database.

        If there is no open transaction, this method is a no-op.
        """

    def create_aggregate(
        self,
        name: str,
        n_arg: int,
        aggregate_class: Callable[[], _AggregateProtocol],
    ) -> None:
        """Creates a new aggregate."""

    def create_collation(
        self,
        name: str,
        callback: Callable[[str, str], SupportsIndex] | None,
        /,
    ) -> None:
        """Creates a collation function."""

    def create_function(
        self,
        name: str,
        narg: int,
        func: Callable[..., _SqliteData] | None,
        *,
        deterministic: bool = False,
    ) -> None:
        """Creates a new function."""

    @overload
    def cursor(self, factory: None = None) -> Cursor: ...
    @overload
    def cursor[_CursorT: Cursor](self, factory: Callable[[Connection], _CursorT]) -> _CursorT:
        """Return a cursor for the connection."""

    def __enter__(self) -> Self:
        """Called when the connection is used as a context manager.

        Returns itself as a convenience to the caller.
        """

    def executemany(self, sql: str, parameters: Iterable[_Parameters], /) -> Cursor:
        """Repeatedly executes an SQL statement."""

    def executescript(self, sql_script: str, /) -> Cursor:
        """Executes multiple SQL statements at once."""

    def execute(self, sql: str, parameters: _Parameters = ..., /) -> Cursor:
        """Executes an SQL statement."""

    def __exit__(
        self,
        type: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Literal[False]:
        """Called when the connection is used as a context manager.

        If there was any exception, a rollback takes place; otherwise we commit.
        """

    def interrupt(self) -> None:
        """Abort any pending database operation."""

    def iterdump(self) -> Generator[str]:
        """Returns iterator to the dump of the database in an SQL text format."""

    def rollback(self) -> None:
        """Roll back to the start of any pending transaction.

        If there is no open transaction, this method is a no-op.
        """

    def set_authorizer(
        self,
        authorizer_callback: Callable[[int, str | None, str | None, str | None, str | None], int] | None,
    ) -> None:
        """Sets authorizer callback."""

    def set_progress_handler(
        self,
        progress_handler: Callable[[], int | None] | None,
        n: int,
    ) -> None:
        """Sets progress handler callback."""

    def set_trace_callback(self, trace_callback: Callable[[str], object] | None) -> None:
        """Sets a trace callback called for each SQL statement (passed as unicode)."""

    def setlimit(self, category: int, limit: int, /) -> int:
        """Set connection run-time limits.

          category
            The limit category to be set.
          limit
            The new limit. If the new limit is a negative number, the limit is
            unchanged.

        Attempts to increase a limit above its hard upper bound are silently truncated
        to the hard upper bound. Regardless of whether or not the limit was changed,
        the prior value of the limit is returned.
        """

    def getlimit(self, category: int, /) -> int:
        """Get connection run-time limits.

        category
          The limit category to be queried.
        """

    def serialize(self, *, name: str = "main") -> bytes:
        """Serialize a database into a byte string.

          name
            Which database to serialize.

        For an ordinary on-disk database file, the serialization is just a copy of the
        disk file. For an in-memory database or a "temp" database, the serialization is
        the same sequence of bytes which would be written to disk if that database
        were backed up to disk.
        """

    def deserialize(self, data: ReadableBuffer, /, *, name: str = "main") -> None:
        """Load a serialized database.

          data
            The serialized database content.
          name
            Which database to reopen with the deserialization.

        The deserialize interface causes the database connection to disconnect from the
        target database, and then reopen it as an in-memory database based on the given
        serialized data.

        The deserialize interface will fail with SQLITE_BUSY if the database is
        currently in a read transaction or is involved in a backup operation.
        """

    @overload
    def create_window_function(
        self,
        name: str,
        num_params: Literal[1],
        aggregate_class: Callable[[], _SingleParamWindowAggregateClass] | None,
        /,
    ) -> None: ...
    @overload
    def create_window_function(
        self,
        name: str,
        num_params: Literal[-1],
        aggregate_class: Callable[[], _AnyParamWindowAggregateClass] | None,
        /,
    ) -> None: ...
    @overload
    def create_window_function(
        self,
        name: str,
        num_params: int,
        aggregate_class: Callable[[], _WindowAggregateClass] | None,
        /,
    ) -> None:
        """Creates or redefines an aggregate window function. Non-standard.

        name
          The name of the SQL aggregate window function to be created or
          redefined.
        num_params
          The number of arguments the step and inverse methods takes.
        aggregate_class
          A class with step(), finalize(), value(), and inverse() methods.
          Set to None to clear the window function.
        """

    def blobopen(
        self,
        table: str,
        column: str,
        row: int,
        /,
        *,
        readonly: bool = False,
        name: str = "main",
    ) -> Blob:
        """Open and return a BLOB object.

        table
          Table name.
        column
          Column name.
        row
          Row index.
        readonly
          Open the BLOB without write permissions.
        name
          Database name.
        """
