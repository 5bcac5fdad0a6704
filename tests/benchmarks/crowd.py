"""What a call costs its owner with few clients and with many: ``python -m tests.benchmarks.crowd``.

Printed is the processor time of the process that holds the object, in microseconds for each call,
while so many clients call it at once, each in a process of its own; and how much dearer that is
than where it is cheapest. How long a call takes depends on the cores that there are for all these
processes; what it costs the owner does not.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

from .measure import WARM_UP, Calls, started
from .peers import PEERS

ROOT = Path(__file__).parent.parent.parent
_CLIENTS = (1, 4, 16, 64, 256)
#: Calls of all clients together: many, as what it takes to let a client in is counted as well.
_CALLS = 300_000
#: Those whose owner is the process that measures.
_OWNERS = ("raw", "pipeproxy")


def cost(peer_name: str, clients: int) -> float:
    """The microseconds of processor time that a call costs this process as the owner."""
    peer = PEERS[peer_name](clients)
    times = _CALLS // clients
    processes, _ = started(peer, Calls(clients, times), clients)
    begin = time.process_time()
    peer.serve(processes)
    used = time.process_time() - begin
    calls = clients * (times + WARM_UP)
    if peer.total() != calls:
        raise AssertionError(f"{peer.total()} calls were counted, and {calls} made")
    peer.close()
    return used / calls * 1e6


def measured(peer: str, clients: int) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.crowd", "--one", peer, str(clients)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.crowd", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    parser.add_argument("--one", nargs=2, metavar=("PEER", "CLIENTS"), help="one figure, here")
    options = parser.parse_args()
    if options.one:
        print(cost(options.one[0], int(options.one[1])))
        return
    costs: dict[str, dict[int, list[float]]] = {
        peer: {clients: [] for clients in _CLIENTS} for peer in _OWNERS
    }
    for _ in range(options.rounds):
        for clients in _CLIENTS:
            for peer in _OWNERS:
                costs[peer][clients].append(measured(peer, clients))
    print(f"{'clients':26}" + "".join(f"{clients:>10}" for clients in _CLIENTS) + f"{'×':>10}")
    for peer, figures in costs.items():
        medians = [statistics.median(each) for each in figures.values()]
        cells = "".join(f"{median:10.1f}" for median in medians)
        print(f"{peer + ', µs of the owner':26}{cells}{max(medians) / min(medians):10.2f}")


if __name__ == "__main__":
    main()
