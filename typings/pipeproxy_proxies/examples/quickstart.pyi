# Made by `python -m pipeproxy stubs`: change the class instead, and make it again.

from collections import Counter
from typing import Protocol

class AccountProxy(Protocol):
    """What the clerks share; it stays in the process that made it."""

    owner: str
    balance: int
    booked: Counter[str]

    def deposit(self, amount: int, clerk: str) -> int:
        """Add `amount` cents and return the new balance."""
