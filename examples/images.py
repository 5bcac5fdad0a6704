"""One darkroom for many photographers: images go in and come out as NumPy arrays.

The darkroom is one object in one process; photographers in processes of their own have it develop
their negatives. What they pass and get are arrays of their own, as if they called a function: large
ones travel through memory that both processes share, and small ones as ever. The same is done with
`multiprocessing.Manager`, for comparison.

    python examples/images.py
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.managers import BaseManager
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeproxy import spawn

PHOTOGRAPHERS, EACH = 3, 8
#: Height, width and colours of an image: 6 MB.
SHAPE = 1080, 1920, 3

Image = npt.NDArray[np.uint8]


class Darkroom:
    """Develops negatives, one after another, and counts them."""

    def __init__(self) -> None:
        self.developed = 0

    def develop(self, negative: Image) -> Image:
        """Return the image that a negative shows."""
        self.developed += 1
        return 255 - negative

    def count(self) -> int:
        """Return how many were developed."""
        return self.developed


class DarkroomManager(BaseManager):
    """The darkroom as a manager of the standard library offers it."""


DarkroomManager.register("Darkroom", Darkroom)


def photograph(darkroom: Any, seed: int, done: Any) -> None:
    negative = np.random.default_rng(seed).integers(0, 256, SHAPE, dtype=np.uint8)
    fine = True
    for _ in range(EACH):
        image = darkroom.develop(negative)
        fine = fine and bool((image[::100] + negative[::100] == 255).all())
        negative[0] += 1  # the image is its own: nothing of it changes
    done.put(fine)


def work_with(name: str, darkroom: Any) -> None:
    """Let all photographers work at once, and print how much was developed in a second."""
    done: Any = multiprocessing.SimpleQueue()
    darkroom.develop(np.zeros(SHAPE, dtype=np.uint8))
    since = time.perf_counter()
    photographers = [
        multiprocessing.Process(target=photograph, args=(darkroom, seed, done))
        for seed in range(PHOTOGRAPHERS)
    ]
    for photographer in photographers:
        photographer.start()
    for photographer in photographers:
        photographer.join()
    seconds = time.perf_counter() - since
    fine = all(done.get() for _ in photographers)
    images = darkroom.count() - 1
    speed = images * np.prod(SHAPE) / seconds / 1e6
    print(f"{name:<10} {images} images, {speed:5.0f} MB/s, each as it should be: {fine}")


def with_manager(work: Callable[[str, Any], None]) -> None:
    with DarkroomManager() as manager:
        made: Any = manager
        work("Manager", made.Darkroom())


def with_pipeproxy(work: Callable[[str, Any], None]) -> None:
    darkroom, host = spawn(Darkroom)
    with host:
        work("pipeproxy", darkroom)


if __name__ == "__main__":
    with_manager(work_with)
    with_pipeproxy(work_with)
