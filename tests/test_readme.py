"""Every program in the README runs as it is written and prints what the README says."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .chaos.__main__ import all_rows

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")

#: A program and, where one follows it, the block that shows what it prints.
PROGRAM = re.compile(
    r"^```python\n(?P<program>.*?)^```\n(?:\n```text\n(?P<output>.*?)^```\n)?",
    re.DOTALL | re.MULTILINE,
)
PROGRAMS = [
    pytest.param(found["program"], found["output"] or "", id=f"program{number}")
    for number, found in enumerate(PROGRAM.finditer(README), start=1)
]


def run(*command: str, cwd: Path) -> str:
    """What `command` prints; anything on its standard error fails the test."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def readme_command(number: int) -> str:
    return run(sys.executable, str(ROOT / ".ci" / "readme_command.py"), str(number), cwd=ROOT)


@pytest.mark.parametrize(("program", "output"), PROGRAMS)
def test_a_program_prints_what_the_readme_shows(program: str, output: str, tmp_path: Path) -> None:
    file = tmp_path / "program.py"
    file.write_text(program, "utf-8")
    assert run(sys.executable, str(file), cwd=tmp_path) == output


def test_every_python_block_is_a_program_of_the_test_above() -> None:
    assert README.count("```python") == len(PROGRAMS) > 0


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_the_quickstart_ends_as_the_readme_shows(method: str, tmp_path: Path) -> None:
    quickstart = str(ROOT / "examples" / "quickstart.py")
    printed = run(sys.executable, quickstart, "--start-method", method, cwd=tmp_path)
    assert printed.count("150/150") == 4
    assert "1 refused: cannot deposit -4250" in printed
    *_, deposits = re.split(r"^.*150/150.*\n", printed, flags=re.MULTILINE)
    assert f"```text\n{deposits}```\n" in README


def test_ci_runs_the_two_commands_that_the_readme_begins_with() -> None:
    assert readme_command(1).strip().endswith("python examples/quickstart.py")
    assert readme_command(2).strip().endswith("python -m pytest")


def test_the_table_of_promises_has_every_row_and_no_other() -> None:
    shown = re.findall(r"^\| (?!tried|---)(.*?) \|.*\| .* \|$", README, flags=re.MULTILINE)
    assert shown == [row.title for row in all_rows()]
