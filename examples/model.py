"""One model, many workers: their calls reach it in batches.

The model is in this process and works on whole tables of inputs, as models do: one pass over twenty
costs hardly more than one over one. Each worker asks for one input at a time, and so would drive it
twenty times slower than it can be. `@batched` collects what the workers ask for at the same time
into one list; each gets its own result, or its own error.

    python examples/model.py
"""

from __future__ import annotations

import multiprocessing
import random

from pipeproxy import batched, share

WORKERS, INPUTS, SIZE = 6, 200, 8


class Model:
    """A layer of a network, with fixed weights."""

    def __init__(self) -> None:
        dice = random.Random(1)
        self._weights = [[dice.uniform(-1, 1) for _ in range(SIZE)] for _ in range(SIZE)]
        self.batches: list[int] = []

    @batched(max=WORKERS, within=0.005)
    def predict(self, inputs: list[list[float]]) -> list[list[float] | Exception]:
        """Return the output of the layer for each input."""
        self.batches.append(len(inputs))
        return [
            [max(0.0, sum(map(float.__mul__, row, weights))) for weights in self._weights]
            if len(row) == SIZE
            else ValueError(f"an input has {SIZE} numbers, not {len(row)}")
            for row in inputs
        ]


def worker(model: Model, seed: int) -> None:
    """Ask for one output after another, and once for a wrong one; runs in a process of its own."""
    dice = random.Random(seed)
    own = Model()  # the same weights, to check with
    for number in range(INPUTS):
        size = 3 if number == seed else SIZE
        row = [dice.uniform(-1, 1) for _ in range(size)]
        try:
            assert model.predict(row) == own.predict(row)
        except ValueError:
            assert size == 3


def main() -> None:
    model = Model()
    proxy, listener = share(model)
    workers = [
        multiprocessing.Process(target=worker, args=(proxy, seed)) for seed in range(WORKERS)
    ]
    for process in workers:
        process.start()
    listener.serve(until=workers)
    right = sum(process.exitcode == 0 for process in workers)
    average = sum(model.batches) / len(model.batches)
    print(f"{right} workers got what is theirs, {sum(model.batches)} inputs in all")
    print(f"{average:.1f} inputs in a batch on average")


if __name__ == "__main__":
    main()
