"""A hub: subscribers pass callbacks, publishers publish; who is slow or dead harms nobody.

The hub is in this process. A subscriber passes it a function, and waits in that call; the hub calls
the function there, with each message. `subscribe` is marked as one that may wait, so each such call
has a thread of its own here: one that takes its time keeps nobody else waiting, and of one that was
killed only its own call hears.

    python examples/hub.py
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from queue import SimpleQueue

from pipeproxy import ClientDied, blocking, by_ref, share

MESSAGES = 20
SUBSCRIBERS = ["doomed", "quick", "slow"]


class Hub:
    """Delivers what is published to all that are subscribed."""

    def __init__(self) -> None:
        self._queues: dict[str, SimpleQueue[int | None]] = {}
        self.lost: list[str] = []

    @blocking
    def subscribe(self, name: str, deliver: Callable[[int], object]) -> None:
        """Call `deliver` with each message that is published, until the hub is closed."""
        queue = self._queues[name] = SimpleQueue()
        try:
            while (message := queue.get()) is not None:
                deliver(message)
        except ClientDied:
            self.lost.append(name)
        finally:
            del self._queues[name]

    def subscribed(self) -> list[str]:
        """Return who is subscribed."""
        return sorted(self._queues)

    def publish(self, message: int | None) -> None:
        """Deliver a message to all, and wait for none of them; None closes the hub."""
        for queue in list(self._queues.values()):
            queue.put(message)


def subscriber(name: str, hub: Hub) -> None:
    """Take messages; runs in a process of its own."""
    taken: list[int] = []
    began = time.monotonic()

    def deliver(message: int) -> None:
        taken.append(message)
        if name == "slow":
            time.sleep(0.05)
        if name == "doomed" and message == MESSAGES // 2:
            os.kill(os.getpid(), signal.SIGKILL)
        if message == MESSAGES:
            print(f"{name:8} last message after {time.monotonic() - began:.1f} s", flush=True)

    hub.subscribe(name, by_ref(deliver))
    print(f"{name:8} {len(taken)} messages, in order: {taken == sorted(taken)}", flush=True)


def publisher(hub: Hub) -> None:
    """Publish all messages once everybody is there; runs in a process of its own."""
    while hub.subscribed() != SUBSCRIBERS:
        time.sleep(0.01)
    for message in range(1, MESSAGES + 1):
        hub.publish(message)
    hub.publish(None)


def main() -> None:
    hub = Hub()
    proxy, listener = share(hub)
    with listener:
        processes = [
            multiprocessing.Process(target=subscriber, args=(name, proxy)) for name in SUBSCRIBERS
        ]
        processes.append(multiprocessing.Process(target=publisher, args=(proxy,)))
        for process in processes:
            process.start()
        listener.serve(until=processes)
    print(f"lost: {', '.join(hub.lost)}; still subscribed: {hub.subscribed() or 'nobody'}")


if __name__ == "__main__":
    main()
