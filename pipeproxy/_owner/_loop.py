"""Serving in an event loop: it waits for the listener beside all else, and takes turns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._references._openness import Openness
from ._service import Service
from ._turns import Turns

if TYPE_CHECKING:
    import asyncio


async def serve(turns: Turns, service: Service, openness: Openness) -> None:
    """Serve in the running event loop until the listener is closed.

    Raises:
        RuntimeError: it is served already.
    """
    from asyncio import get_running_loop

    loop = get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    turns.enter_loop(loop)
    number = service.callers.poller.fileno()
    tasks = service.dispatch.errands.tasks
    looks: list[asyncio.TimerHandle] = []

    def turn() -> None:
        try:
            turns.take(lambda check: service.turn(0))
        except BaseException as error:  # Ctrl-C, or this process was forked by a method
            if not ended.done():
                ended.set_exception(error)
        if openness.closed and not ended.done():
            ended.set_result(None)
        look_later()

    def look_later() -> None:
        """Take another turn when one is due that nothing wakes the loop for."""
        due = service.due_in()
        if looks:
            looks.pop().cancel()
        if due is not None and not ended.done():
            looks.append(loop.call_later(due, turn))

    try:
        tasks.loop, tasks.ended = loop, ended
        loop.add_reader(number, turn)
        await ended
    finally:
        if tasks.loop is not None:  # else this is a forked child, where the loop is a copy as well
            for handle in looks:
                handle.cancel()
            loop.remove_reader(number)
            tasks.close()
            turns.leave_loop()
