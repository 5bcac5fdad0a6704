"""Programs that were written for pipeproxy 0.7 run unchanged."""

from __future__ import annotations

from multiprocessing.context import BaseContext
from time import monotonic
from typing import Any

import pytest

from pipeproxy import Listener, ListenerClosed, SpecError, proxy

from .children import Child, run_program
from .support import PATIENCE

pytestmark = pytest.mark.usefixtures("descriptors_kept")


class Example:
    def __init__(self) -> None:
        self.parameter: Any = None

    def setParameter(self, parameter: Any) -> None:
        self.parameter = parameter

    def getParameter(self) -> Any:
        return self.parameter


PUBLISHED = """
import time
from multiprocessing import Process
from pipeproxy import proxy

class Example:

    def __init__(self):
        self.parameter = None

    def setParameter(self, parameter):
        print("[Example] setParameter: " + str(parameter))
        self.parameter = parameter

    def getParameter(self):
        print("[Example] getParameter: " + str(self.parameter))
        return self.parameter

def setParameterTest(exampleLookAlike):
    exampleLookAlike.setParameter(5)

if __name__ == "__main__":
    example = Example()
    exampleProxy, exampleProxyListener = proxy.createProxy(example)
    p = Process(target=setParameterTest, args=(exampleProxy,))
    p.start()
    while p.is_alive():
        exampleProxyListener.listen()
    p.join()
    example.getParameter()
"""


def test_the_published_program_runs_unchanged() -> None:
    done = run_program(PUBLISHED)
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == "[Example] setParameter: 5\n[Example] getParameter: 5\n"


def set_and_get(example: Any, value: Any) -> Any:
    example.setParameter(value)
    return example.getParameter()


def test_listen_tells_whether_it_answered(context: BaseContext) -> None:
    example = Example()
    look_alike, listener = proxy.createProxy(example)
    assert isinstance(listener.listener, Listener)
    with listener.listener:
        began = monotonic()
        assert listener.listen() is False
        assert 0.2 <= monotonic() - began < PATIENCE
        with Child(context, set_and_get, look_alike, 5) as child:
            answered = 0
            while answered < 2:
                answered += listener.listen()
            assert child.result() == 5
        assert listener.listen() is False
    assert example.parameter == 5


def test_a_closed_one_says_so() -> None:
    _, listener = proxy.createProxy(Example())
    listener.listener.close()
    with pytest.raises(ListenerClosed):
        listener.listen()


def test_what_cannot_be_shared_is_refused_as_ever() -> None:
    with pytest.raises(SpecError):
        proxy.createProxy(Example)
