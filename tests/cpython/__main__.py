"""Figures: ``python -m tests.cpython`` counts the tests that pass on each kind of proxy."""

from __future__ import annotations

from .containers import CASES, OURS, exception, names_of, run, way


def main() -> None:
    """Run the list and mapping tests in every way and print what came of them."""
    for name in (*OURS, "standard"):
        with way(name) as make:
            for kind in CASES:
                names = names_of(kind)
                passed = sum(run(kind, test, make) is None for test in names)
                reasons = [exception(kind, name if name in OURS else "managed", n) for n in names]
                possible = sum(reason is None or reason.possible for reason in reasons)
                print(f"{kind} {name}: {passed} of {len(names)}, of which {possible} are possible")


if __name__ == "__main__":
    main()
