"""The examples that run to their end by themselves print what they promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .support import PATIENCE

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, cwd: Path) -> list[str]:
    """Return the lines that an example prints; anything on its standard error fails the test."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name)]
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_a_bar_is_moved_from_another_process(tmp_path: Path) -> None:
    *_, told, here, elsewhere = run("progress.py", tmp_path)
    assert told == "told of every page: True"
    assert here == "told here: True"
    assert elsewhere == "printed elsewhere: True"


def test_a_slow_and_a_dead_subscriber_harm_nobody(tmp_path: Path) -> None:
    lines = run("hub.py", tmp_path)
    assert lines[-1] == "lost: doomed; still subscribed: nobody"
    assert "quick    20 messages, in order: True" in lines
    assert "slow     20 messages, in order: True" in lines
    last = [line.split()[0] for line in lines if "last message" in line]
    assert last == ["quick", "slow"]


def test_transfers_of_a_teller_that_died_inside_one_are_whole_or_not_at_all(tmp_path: Path) -> None:
    booked, total = run("database.py", tmp_path)
    assert booked.endswith("transfers booked, 1 teller killed inside a transaction")
    assert total == "the bank has 10000, as it had 10000"


def test_workers_share_a_model_and_each_gets_its_own_results(tmp_path: Path) -> None:
    results, average = run("model.py", tmp_path)
    assert results == "6 workers got what is theirs, 1200 inputs in all"
    assert float(average.split()[0]) > 1


def test_images_come_out_of_a_darkroom_as_they_should(tmp_path: Path) -> None:
    lines = run("images.py", tmp_path)
    assert [line.split()[0] for line in lines] == ["Manager", "pipeproxy"]
    assert all(line.split()[1:3] == ["24", "images,"] for line in lines)
    assert all(line.endswith("each as it should be: True") for line in lines)
