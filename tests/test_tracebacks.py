"""The text that tells where in the owner an exception was raised: all that helps, and briefly."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeproxy.codecs._tracebacks import traceback_of

ROOT = Path(__file__).parent.parent


def fail() -> None:
    raise ValueError("no such account")


def raised(function: Callable[[], Any]) -> BaseException:
    try:
        function()
    except BaseException as error:
        return error
    raise AssertionError("it raises")


def test_it_names_file_line_process_and_method_of_the_owner() -> None:
    line = fail.__code__.co_firstlineno + 1
    text = traceback_of(raised(fail), "Account.withdraw")
    assert text.startswith(f"Traceback in the owner (process {os.getpid()}, Account.withdraw):\n")
    assert (
        f'File "{__file__}", line {line}, in fail\n    raise ValueError("no such account")' in text
    )
    assert text.endswith("ValueError: no such account")


def test_frames_of_pipeproxy_itself_are_not_shown() -> None:
    ours = compile("def call(f): f()", str(ROOT / "pipeproxy" / "_service.py"), "exec")
    generated = compile("def call(f): f()", "<pipeproxy Account>", "exec")
    service: dict[str, Any] = {}
    proxy: dict[str, Any] = {}
    exec(ours, service)
    exec(generated, proxy)
    exc = raised(lambda: service["call"](lambda: proxy["call"](fail)))
    exc.__traceback__ = exc.__traceback__.tb_next.tb_next  # type: ignore[union-attr]
    text = traceback_of(exc, "Account.withdraw")
    assert "_service.py" not in text
    assert text.splitlines()[1].endswith("in <lambda>")
    assert "in fail" in text


def test_what_a_c_function_raised_is_told_without_frames() -> None:
    assert traceback_of(ValueError("bare"), "List.pop").splitlines() == [
        f"Traceback in the owner (process {os.getpid()}, List.pop):",
        "ValueError: bare",
    ]


def test_infinite_recursion_is_told_briefly() -> None:
    def recurse(n: int) -> int:
        return recurse(n + 1)

    def mutual(n: int) -> int:
        return recursive_partner(mutual, n + 1)

    texts = []
    for function in (recurse, mutual):
        text = traceback_of(raised(lambda f=function: f(0)), "Tree.depth")  # type: ignore[misc]
        assert f"in {function.__name__}" in text
        assert "RecursionError: " in text
        texts.append(text)
    assert re.search(r"\[Previous line repeated \d+ more times\]", texts[0])
    assert re.search(r"\[\d+ more entries\]", texts[1])
    assert max(map(len, texts)) < 50_000


def recursive_partner(function: Any, n: int) -> Any:
    return function(n)
