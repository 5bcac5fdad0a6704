"""The table of promises: ``python -m tests.chaos [--seed N] [--only TEXT] [--no-manager]``.

Every row is tried on pipeproxy and, where it can run there, on `multiprocessing.Manager`. It ends
with 1 if anything was lost on pipeproxy.
"""

from __future__ import annotations

import argparse
from importlib import import_module
from pathlib import Path

from .rows import Row, Tally, run


def all_rows() -> list[Row]:
    """Return the rows of all modules beside this one, in the order of their names."""
    rows: list[Row] = []
    for path in sorted(Path(__file__).parent.glob("test_*.py")):
        rows += getattr(import_module(f"{__package__}.{path.stem}"), "ROWS", [])
    return rows


def main() -> int:
    """Run the rows and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="rows whose title contains this text")
    parser.add_argument("--no-manager", action="store_true", help="pipeproxy's column only")
    options = parser.parse_args()
    print("| tried | how often | lost by pipeproxy | Manager |\n|---|---|---|---|", flush=True)
    lost = 0
    for row in all_rows():
        if options.only not in row.title:
            continue
        ours = run(row.ours, options.seed, row.seconds)
        lost += ours.lost
        if isinstance(row.manager, str):
            theirs = row.manager
        elif options.no_manager:
            theirs = "not run"
        else:
            theirs = _cell(run(row.manager, options.seed, row.seconds))
        print(f"| {row.title} | {ours.tried:,} | {_cell(ours)} | {theirs} |", flush=True)
    return 1 if lost else 0


def _cell(tally: Tally) -> str:
    words = "nothing" if not tally.lost else f"{tally.lost:,} of {tally.tried:,}"
    if tally.lost and not tally.tried:
        words = "all"
    return f"{words} ({tally.note.strip().splitlines()[-1]})" if tally.note else words


if __name__ == "__main__":
    raise SystemExit(main())
