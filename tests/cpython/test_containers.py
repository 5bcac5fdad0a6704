"""CPython's list and mapping tests on shared lists and dicts: all pass, or are listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from .containers import CASES, EXCEPTIONS, OURS, Make, exception, names_of, run, way

for _module, _ in CASES.values():
    pytest.importorskip(_module, reason=f"this Python was installed without {_module}")

#: Of the tests that a proxy can run at all, at least so many of a hundred pass.
LEAST = 90


@pytest.fixture(scope="module")
def makes() -> Iterator[dict[str, Make]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(way(name)) for name in OURS}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("name", OURS)
@pytest.mark.usefixtures("makes")
def test_most_pass(kind: str, name: str) -> None:
    reasons = [exception(kind, name, test) for test in names_of(kind)]
    possible = [reason for reason in reasons if reason is None or reason.possible]
    assert possible.count(None) * 100 >= LEAST * len(possible)


@pytest.mark.parametrize(
    ("kind", "name", "test"),
    [(kind, name, test) for kind in CASES for name in OURS for test in names_of(kind)],
)
def test_it_passes_unless_it_is_listed(
    kind: str, name: str, test: str, makes: dict[str, Make]
) -> None:
    wrong = run(kind, test, makes[name])
    reason = exception(kind, name, test)
    if reason is None:
        assert wrong is None, wrong
    else:
        assert wrong is not None, f"it passes now, and is listed: {reason.text}"


def test_every_exception_is_of_a_known_type_and_way() -> None:
    for name, (_, ways) in EXCEPTIONS.items():
        assert name.partition(".")[0] in CASES
        assert set(ways) <= set(OURS)
