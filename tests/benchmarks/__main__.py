"""pipeproxy beside a hand-written loop and `multiprocessing.Manager`, in one run.

Every measurement is a fresh process. Each round measures all three, one after the other, and the
ratios are the medians of each round's own: what else the machine does changes by the minute.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from pathlib import Path

from .measure import WORKS, Echo
from .others import OTHERS
from .peers import PEERS

ROOT = Path(__file__).parent.parent.parent
#: Seconds that one measurement may take.
_LIMIT = 180.0
_IMPORTS = {
    "bare": "pass",
    "manager": "import multiprocessing.managers",
    "pipeproxy": "import pipeproxy",
}
_IMPORTS_A_ROUND = 5

#: By peer, one figure a round.
Figures = dict[str, list[float]]


def in_turn(names: list[str], number: int) -> list[str]:
    """`names`, begun with another one each round, so that none always comes first."""
    start = number % len(names)
    return names[start:] + names[:start]


def measured(peer: str, work: str, pin: str, scale: float) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.measure", peer, work, pin, str(scale)]
    done = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True, timeout=_LIMIT
    )
    return float(done.stdout.splitlines()[-1])  # peers may say something before


def import_seconds(program: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    return time.perf_counter() - begin


def imports(rounds: int) -> Figures:
    """The seconds of each import above those of a Python that imports nothing."""
    for program in _IMPORTS.values():
        import_seconds(program)  # the first one compiles
    figures: Figures = {"manager": [], "pipeproxy": []}
    for _ in range(rounds):
        taken: Figures = {name: [] for name in _IMPORTS}
        for number in range(_IMPORTS_A_ROUND):
            for name in in_turn(list(_IMPORTS), number):
                taken[name].append(import_seconds(_IMPORTS[name]))
        bare = statistics.median(taken["bare"])
        for name, seconds in figures.items():
            seconds.append(statistics.median(taken[name]) - bare)
    return figures


def ratio(figures: Figures, other: str, *, smaller_is_better: bool) -> str:
    """How many times as good as `other` pipeproxy is."""
    if other not in figures or any(map(math.isnan, figures[other])):
        return "-"
    pairs = zip(figures["pipeproxy"], figures[other], strict=True)
    return f"{statistics.median(b / a if smaller_is_better else a / b for a, b in pairs):.2f}"


def row(title: str, figures: Figures, peers: list[str], rivals: list[str], *, seconds: bool) -> str:
    """One line of the table: calls per second, or milliseconds."""
    cells = [title]
    for peer in peers:
        median = statistics.median(figures[peer]) if peer in figures else None
        cells.append(
            "-"
            if median is None or math.isnan(median)
            else f"{median * 1e3:,.1f}"
            if seconds
            else f"{median:,.0f}"
        )
    cells += [ratio(figures, other, smaller_is_better=seconds) for other in rivals]
    return line(cells)


def line(cells: list[str]) -> str:
    return f"{cells[0]:26}" + "".join(f"{cell:>12}" for cell in cells[1:])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument(
        "--pin",
        choices=("free", "same", "split"),
        default="free",
        help="owner and clients on one core, on two, or where the kernel likes (default)",
    )
    parser.add_argument("--scale", type=float, default=1.0, help="make so many times the calls")
    parser.add_argument(
        "--with",
        nargs="*",
        default=[],
        choices=list(OTHERS),
        dest="others",
        help="measure these as well; they have to be installed",
    )
    parser.add_argument("--only", nargs="*", default=list(WORKS), choices=list(WORKS), help="works")
    options = parser.parse_args()

    peers = [*PEERS, *options.others]
    rivals = ["manager", "raw", *options.others]
    works: dict[str, Figures] = {work: {peer: [] for peer in peers} for work in options.only}
    for number in range(options.rounds):
        for work, figures in works.items():
            for peer in in_turn(peers, number):
                figures[peer].append(measured(peer, work, options.pin, options.scale))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr)

    print(line(["", *peers, *[f"× {rival}" for rival in rivals]]))
    for work, figures in works.items():
        seconds = isinstance(WORKS[work], Echo)
        title = f"{work}, {'ms' if seconds else '/s'}"
        print(row(title, figures, peers, rivals, seconds=seconds))
    print(row("import, ms", imports(options.rounds), peers, rivals, seconds=True))
    print("× above 1: pipeproxy is so many times as fast; medians of", options.rounds, "rounds")


if __name__ == "__main__":
    main()
