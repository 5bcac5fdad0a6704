"""A ledger of 600 lines, booked by four processes into one account, under one live progress bar.

The account and the bar stay in this process; neither could be pickled or would be of use as a
copy. The clerks hold proxies of both and use them as if they were the objects themselves.

    python examples/quickstart.py [--start-method fork|spawn|forkserver]
"""

from __future__ import annotations

import argparse
import csv
import multiprocessing
import time
from collections import Counter
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from pipeproxy import Listener, proxied

LEDGER = Path(__file__).with_name("ledger.csv")


@proxied
class Account:
    """What the clerks share; it stays in the process that made it."""

    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self.balance = balance  # in cents
        self.booked: Counter[str] = Counter()

    def deposit(self, amount: int, clerk: str) -> int:
        """Add `amount` cents and return the new balance."""
        if amount <= 0:
            raise ValueError(f"cannot deposit {amount}")
        self.balance += amount
        self.booked[clerk] += amount
        return self.balance


def clerk(name: str, amounts: list[int], account: Account, progress: Progress) -> None:
    """Book `amounts`; runs in a process of its own."""
    task = progress.add_task(name, total=len(amounts), refused="")
    refused = 0
    for amount in amounts:
        time.sleep(0.012)  # the time that it takes to read a line of a ledger
        try:
            account.deposit(amount, clerk=name)
        except ValueError as error:
            refused += 1
            progress.update(task, refused=f"{refused} refused: {error}")
        progress.advance(task)


def main() -> None:
    methods = multiprocessing.get_all_start_methods()
    parser = argparse.ArgumentParser(description="Four processes share an account and a bar.")
    parser.add_argument("--start-method", choices=methods, help="how the processes are started")
    context = multiprocessing.get_context(parser.parse_args().start_method)

    ledger: dict[str, list[int]] = {}
    with LEDGER.open(newline="") as file:
        for line in csv.DictReader(file):
            ledger.setdefault(line["clerk"], []).append(int(line["cents"]))

    account = Account("ada")
    progress = Progress(
        TextColumn("{task.description:8}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[refused]}"),
    )
    with Listener() as listener:
        proxies = listener.share(account), listener.share(progress)
        clerks = [
            context.Process(target=clerk, args=(name, amounts, *proxies))
            for name, amounts in ledger.items()
        ]
        for process in clerks:
            process.start()
        with progress:
            listener.serve(until=clerks)

    for name, amount in sorted(account.booked.items()):
        print(f"{name:8} deposited {amount / 100:10,.2f}")
    valid = sum(amount for amounts in ledger.values() for amount in amounts if amount > 0)
    print(f"{account.owner} has {account.balance / 100:,.2f}, the ledger says {valid / 100:,.2f}")


if __name__ == "__main__":
    main()
