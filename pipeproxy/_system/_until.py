"""What `serve` may be told to serve until."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol

from . import _life
from ._descriptors import Descriptor

#: Seconds between two looks at what cannot wake the owner by itself.
_LOOK_EVERY: Final = 0.05


class ProcessLike(Protocol):
    """A process of `multiprocessing`, of an executor or of a pool."""

    @property
    def pid(self) -> int | None: ...
    def is_alive(self) -> bool: ...


class EventLike(Protocol):
    """An event of `threading` or of `multiprocessing`."""

    def is_set(self) -> bool: ...


Goal = ProcessLike | Iterable[ProcessLike] | EventLike | Callable[[], object] | None


class Until:
    """A goal, ready to be asked.

    Args:
        goal: a process or several, an event, a callable, or None for "until it is closed".

    Attributes:
        patience: seconds that may pass between two looks; None where a look is never needed.
        processes: the goal is the end of processes, and all that they wrote belongs to it.
        lives: life descriptors of processes that are waited for; `dead` is told of their end.

    Raises:
        TypeError: the goal is none of these.
        ValueError: a process was not started yet.
    """

    def __init__(self, goal: Goal) -> None:
        self.patience: float | None = _LOOK_EVERY
        self.processes = False
        self.lives: list[Descriptor] = []
        self._waiting: dict[int, ProcessLike] = {}
        self._look: Callable[[], object] | None = None
        if goal is None:
            self.patience = None
            self._look = _never
        elif _is_process(goal):
            self._wait_for([goal])
        elif hasattr(goal, "is_set"):
            self._look = goal.is_set
        elif callable(goal):
            self._look = goal
        elif isinstance(goal, Iterable):
            self._wait_for(list(goal))
        else:
            raise _not_a_goal(goal)

    def _wait_for(self, processes: list[Any]) -> None:
        self.processes = True
        for process in processes:
            if not _is_process(process):
                raise _not_a_goal(process)
            if process.pid is None:
                raise ValueError(f"{process!r} was not started: start it, then serve until it ends")
        watchable = True
        for process in processes:
            try:
                life = _life.watch(process.pid)
            except ProcessLookupError:
                continue  # it has ended, and somebody has waited for it
            if life is None:
                watchable = False
                self._waiting[-process.pid] = process
            else:
                self.lives.append(life)
                self._waiting[life.fileno()] = process
        if watchable:
            self.patience = None

    def dead(self, life: Descriptor) -> None:
        """Wait no more for the process of this life descriptor."""
        del self._waiting[life.fileno()]

    def reached(self) -> bool:
        """Whether the goal is reached.

        Raises:
            BaseException: whatever the user's callable raised.
        """
        if self._look is not None:
            return bool(self._look())
        if self.patience is not None:
            for key, process in list(self._waiting.items()):
                if not process.is_alive():
                    del self._waiting[key]
        return not self._waiting


def _is_process(goal: object) -> bool:
    return hasattr(goal, "is_alive") and hasattr(type(goal), "pid")  # unlike a thread


def _never() -> bool:
    return False


def _not_a_goal(goal: object) -> TypeError:
    return TypeError(
        f"serve(until=...) takes a started process, several of them, an event, a callable or None; "
        f"not {goal!r}. For anything else, pass a callable that says whether it is time."
    )
