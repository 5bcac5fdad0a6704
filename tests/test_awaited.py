"""Tasks are told what came of their calls, whatever else happens in their loop."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from pipeproxy._client._awaited import Awaited

from .support import PATIENCE, Interrupted


async def outcomes(promises: list[Awaited[Any]]) -> list[Any]:
    waiting = (asyncio.wait_for(promise.outcome(), PATIENCE) for promise in promises)
    return await asyncio.gather(*waiting, return_exceptions=True)


def test_many_are_told_by_another_thread() -> None:
    async def main() -> None:
        promises: list[Awaited[int]] = [Awaited(asyncio.get_running_loop()) for _ in range(500)]

        def keep_all() -> None:
            for number, promise in enumerate(promises):
                promise.keep(number)

        thread = threading.Thread(target=keep_all)
        thread.start()
        assert await outcomes(promises) == list(range(500))
        thread.join()

    asyncio.run(main())


def test_two_threads_that_tell_at_once_are_both_heard() -> None:
    async def main() -> None:
        for _ in range(200):
            promises: list[Awaited[int]] = [Awaited(asyncio.get_running_loop()) for _ in range(2)]
            barrier = threading.Barrier(2)

            def keep(promise: Awaited[int], barrier: threading.Barrier = barrier) -> None:
                barrier.wait(PATIENCE)
                promise.keep(1)

            threads = [threading.Thread(target=keep, args=(promise,)) for promise in promises]
            for thread in threads:
                thread.start()
            assert await outcomes(promises) == [1, 1]
            for thread in threads:
                thread.join()

    asyncio.run(main())


def test_a_handler_that_raises_while_tasks_are_told_keeps_nothing_from_the_others() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda *_: None)
        promises: list[Awaited[int]] = [Awaited(loop) for _ in range(3)]

        class Raising(asyncio.Future[int]):
            def set_result(self, result: int, /) -> None:
                super().set_result(result)
                raise Interrupted

        promises[0]._future = Raising()
        for promise in promises:
            promise.keep(1)
        assert await outcomes(promises) == [1, 1, 1]

    asyncio.run(main())


def test_errors_are_raised_in_the_task_and_stop_iteration_as_another() -> None:
    async def main() -> None:
        promises: list[Awaited[int]] = [Awaited(asyncio.get_running_loop()) for _ in range(2)]
        promises[0].refuse(LookupError("why"))
        promises[1].refuse(StopIteration(5))
        first, second = await outcomes(promises)
        assert (type(first), type(second)) == (LookupError, RuntimeError)
        assert type(second.__cause__) is StopIteration

    asyncio.run(main())


def test_a_cancelled_task_gives_its_call_up_and_is_told_nothing() -> None:
    async def main() -> None:
        promise: Awaited[int] = Awaited(asyncio.get_running_loop())
        given_up: list[bool] = []
        promise.give_up = lambda: given_up.append(True)  # type: ignore[method-assign]
        task = asyncio.ensure_future(promise.outcome())
        await asyncio.sleep(0)
        assert promise.is_wanted()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not promise.is_wanted()
        assert given_up == [True]
        promise.keep(1)
        await asyncio.sleep(0)

    asyncio.run(main())


def test_what_comes_after_the_loop_was_closed_is_dropped() -> None:
    promises: list[Awaited[int]] = []

    async def main() -> None:
        promises.extend(Awaited(asyncio.get_running_loop()) for _ in range(3))

    asyncio.run(main())
    for promise in promises:
        promise.keep(1)
    assert not promises[0]._due.news
