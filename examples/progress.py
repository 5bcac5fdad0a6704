"""A long call that moves a bar in the process that made it.

The work is done in a process of its own. It is passed a function of this one and calls it as it
gets on: that moves a bar that lives here, while this thread waits for the result.

    python examples/progress.py
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from rich.progress import Progress

from pipeproxy import by_ref, spawn


class Press:
    """Prints books, page by page."""

    def print_book(self, pages: int, printed: Callable[[int], None]) -> int:
        """Print so many pages, tell after each, and return the process that did it."""
        for page in range(1, pages + 1):
            time.sleep(0.01)  # the time that a page takes
            printed(page)
        return os.getpid()


def main() -> None:
    press, host = spawn(Press)
    told: list[tuple[int, int]] = []
    with host, Progress() as progress:
        task = progress.add_task("printing", total=50)

        def printed(page: int) -> None:
            told.append((page, os.getpid()))
            progress.update(task, completed=page)

        worker = press.print_book(50, by_ref(printed))

    print("told of every page:", [page for page, _ in told] == list(range(1, 51)))
    print("told here:", {pid for _, pid in told} == {os.getpid()})
    print("printed elsewhere:", worker != os.getpid())


if __name__ == "__main__":
    main()
