"""Rights are taken without waiting, and given back whatever raises."""

from __future__ import annotations

import dis
import inspect
import sys
import threading
from collections.abc import Iterator
from types import CodeType
from typing import Any

import pytest

from pipeproxy._system._rights import TAKEN, attempt

from .children import ROOT
from .support import PATIENCE, in_fork, interrupt


def test_what_it_does_has_the_right_and_no_more_after_that() -> None:
    right = threading.RLock()
    assert attempt(right, right._is_owned) is True  # type: ignore[attr-defined]
    assert not right._is_owned()  # type: ignore[attr-defined]


def test_nobody_waits_for_a_right_that_another_thread_has() -> None:
    right = threading.RLock()
    taken, over = threading.Event(), threading.Event()

    def take() -> None:
        with right:
            taken.set()
            over.wait(PATIENCE)

    thread = threading.Thread(target=take)
    thread.start()
    taken.wait(PATIENCE)
    assert attempt(right, lambda: "done") is TAKEN
    over.set()
    thread.join()
    assert attempt(right, lambda: "done") == "done"


def test_an_exception_gives_it_back() -> None:
    right = threading.RLock()

    def fail() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        attempt(right, fail)
    assert not right._is_owned()  # type: ignore[attr-defined]


def test_an_interrupt_at_any_moment_gives_it_back() -> None:
    def client() -> None:
        right = threading.RLock()
        raised = 0
        while raised < 200:
            raised += interrupt(
                lambda: [attempt(right, list) for _ in range(100)], rounds=50, longest=50e-6
            )
            assert not right._is_owned()  # type: ignore[attr-defined]

    in_fork(client)


#: Here no handler runs, as it is a thread of its own; or the jump is one that nothing leads to; or
#: what is left open is the process's to its end.
_NO_HANDLERS = {"_memory.make", "_queues.Queue.join", "_spawn._host"}


def codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from codes_in(constant)


def jumps_out_of_a_block(code: CodeType) -> bool:
    """Whether a jump back from inside a `with` is outside of what its end is sure to follow."""
    bytecode: Any = dis.Bytecode(code)
    steps = list(bytecode)
    opened = {step.offset for step in steps if step.opname == "WITH_EXCEPT_START"}
    places = [step.offset for step in steps]
    blocks = [
        entry
        for entry in bytecode.exception_entries
        if opened & set(places[places.index(entry.target) :][:3])
    ]
    return any(
        block.start <= step.argval < block.end and not block.start <= step.offset < block.end
        for step in steps
        if step.opname.startswith("JUMP_BACKWARD")
        for block in blocks
    )


@pytest.mark.skipif(sys.version_info < (3, 12), reason="it is a fault of later versions")
def test_no_loop_stands_in_a_with_that_a_signal_handler_could_leave_unfinished() -> None:
    found = {
        f"{path.stem}.{code.co_qualname}"  # type: ignore[attr-defined]
        for path in sorted((ROOT / "pipeproxy").rglob("*.py"))
        for code in codes_in(compile(path.read_text(encoding="utf-8"), str(path), "exec"))
        if not code.co_flags & inspect.CO_COROUTINE and jumps_out_of_a_block(code)
    }
    assert found <= _NO_HANDLERS
