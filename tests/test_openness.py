"""Whether a listener answers, and what is said where it does not."""

from __future__ import annotations

import os

import pytest

from pipeproxy import ListenerClosed
from pipeproxy._references._openness import Openness


@pytest.mark.parametrize("pid", [os.getpid(), 1])
def test_a_listener_answers_until_it_is_closed(pid: int) -> None:
    openness = Openness(pid)
    openness.check()
    openness.closed = True
    says = "was closed" if pid == os.getpid() else "belongs to process 1, .* use the proxies"
    with pytest.raises(ListenerClosed, match=says):
        openness.check()
