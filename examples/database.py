"""One SQLite database, one writer, many processes: transactions that survive whoever began them.

SQLite lets one process write at a time, and a connection belongs to the thread that made it. Here
the connection stays in a process of its own, and the tellers hold proxies of it: no "database is
locked", no retries. A teller that dies in the middle of a transfer leaves nothing half done.

    python examples/database.py
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from pipeproxy import locked, proxied, spawn

TELLERS, TRANSFERS, ACCOUNTS = 4, 250, 10


@proxied
class Database:
    """A connection; ``with locked(database), database:`` is a transaction."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its rows."""
        return self._connection.execute(sql, values).fetchall()

    def __enter__(self) -> None:
        self._connection.execute("BEGIN IMMEDIATE")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.execute("COMMIT" if kind is None else "ROLLBACK")

    def __pipeproxy_abandoned__(self) -> None:
        """Undo what a process began that died inside `locked`; called before anybody else is in."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def transfer(database: Database, source: int, target: int, amount: int) -> None:
    with locked(database), database:
        [(balance,)] = database.execute("SELECT balance FROM account WHERE id = ?", [source])
        if balance < amount:
            raise ValueError(f"account {source} has only {balance}")
        database.execute("UPDATE account SET balance = balance - ? WHERE id = ?", [amount, source])
        if amount == 13:  # the unlucky number: this teller dies between the two halves
            os.kill(os.getpid(), signal.SIGKILL)
        database.execute("UPDATE account SET balance = balance + ? WHERE id = ?", [amount, target])
        database.execute("INSERT INTO booked VALUES (?, ?, ?)", [source, target, amount])


def teller(database: Database, seed: int, unlucky: bool) -> None:
    """Book transfers between random accounts; runs in a process of its own."""
    dice = random.Random(seed)
    for number in range(TRANSFERS):
        source, target = dice.sample(range(ACCOUNTS), 2)
        amount = 13 if unlucky and number == TRANSFERS // 2 else dice.choice([5, 20, 100, 500])
        try:
            transfer(database, source, target, amount)
        except ValueError:
            pass  # rolled back; the next customer


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database, host = spawn(Database, str(Path(folder, "bank.sqlite")))
        with host:
            database.execute("CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER)")
            database.execute("CREATE TABLE booked (source, target, amount)")
            for number in range(ACCOUNTS):
                database.execute("INSERT INTO account VALUES (?, 1000)", [number])
            tellers = [
                multiprocessing.Process(target=teller, args=(database, seed, seed == 0))
                for seed in range(TELLERS)
            ]
            for process in tellers:
                process.start()
            for process in tellers:
                process.join()
            [(total,)] = database.execute("SELECT sum(balance) FROM account")
            [(booked,)] = database.execute("SELECT count(*) FROM booked")
    killed = sum(process.exitcode == -signal.SIGKILL for process in tellers)
    print(f"{booked} transfers booked, {killed} teller killed inside a transaction")
    print(f"the bank has {total}, as it had {ACCOUNTS * 1000}")


if __name__ == "__main__":
    main()
