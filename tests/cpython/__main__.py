"""Figures: ``python -m tests.cpython`` counts the tests that pass on ours and on the standard."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .containers import CASES, OURS, exception, names_of, run, way
from .test_with_manager import CLASSES, outcomes
from .with_manager import PASSED, SKIPPED


def count_containers() -> None:
    """Run the list and mapping tests in every way and print what came of them."""
    for name in (*OURS, "standard"):
        with way(name) as make:
            for kind in CASES:
                names = names_of(kind)
                passed = sum(run(kind, test, make) is None for test in names)
                reasons = [exception(kind, name if name in OURS else "managed", n) for n in names]
                possible = sum(reason is None or reason.possible for reason in reasons)
                print(f"{kind} {name}: {passed} of {len(names)}, of which {possible} are possible")


def count_managers() -> None:
    """Run the manager's tests on both managers and print what came of them."""
    for whose in ("ours", "standard"):
        found: list[str] = []
        with tempfile.TemporaryDirectory() as directory:
            for name in CLASSES:
                found += outcomes(whose, name, Path(directory, name)).values()
        passed, skipped = found.count(PASSED), found.count(SKIPPED)
        print(f"manager {whose}: {passed} of {len(found) - skipped}, and {skipped} are skipped")


if __name__ == "__main__":
    count_containers()
    count_managers()
