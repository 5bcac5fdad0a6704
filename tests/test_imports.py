"""What `import pipeproxy` costs a process that only calls: nothing it does not need."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import pipeproxy
from pipeproxy import errors, proxied, share

ROOT = Path(__file__).parent.parent
HOME = Path(pipeproxy.__file__).parent
HEAVY = {"wrapt", "attr", "attrs", "inspect", "asyncio", "concurrent.futures", "numpy"}
#: Coverage of child processes would import libraries of its own there.
ENV = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

IMPORT = "import pipeproxy"
DECORATE = """
from pipeproxy import proxied

@proxied
class Account:
    balance = 0
    def deposit(self, amount: int) -> int: ...

@proxied(hide=("secret",), readonly=("size",))
class WithOptions:
    secret = size = 0
"""
UNPICKLE = """
import pickle, sys
account = pickle.load(sys.stdin.buffer)
"""
CALL = """
assert account.deposit(3) == 3
assert account.balance == 3
"""


class Account:
    balance = 0

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance


def loaded_by(program: str, stdin: bytes = b"") -> set[str]:
    """The names in `sys.modules` after `program` has run in a new Python."""
    program += "\nimport sys; print(*sys.modules)"
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=ENV, input=stdin, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return set(done.stdout.decode().split())


@pytest.mark.parametrize("library", sorted(HEAVY))
def test_the_check_sees_what_is_loaded(library: str) -> None:
    assert library in loaded_by(f"import {library}")


@pytest.mark.parametrize("program", [IMPORT, DECORATE], ids=["import", "decorate"])
def test_a_class_is_decorated_without_heavy_libraries(program: str) -> None:
    assert loaded_by(program) & HEAVY == set()


def test_a_client_unpickles_a_proxy_and_calls_without_heavy_libraries() -> None:
    proxy, listener = share(Account())
    with listener, listener.background():
        pickled = pickle.dumps(proxy)
        assert loaded_by(UNPICKLE, stdin=pickled) & HEAVY == set()
        assert loaded_by(UNPICKLE + CALL, stdin=pickled) & HEAVY == set()


def test_a_client_that_reads_what_is_published_loads_no_more() -> None:
    proxy, listener = share(Board())
    with listener, listener.background():
        program = UNPICKLE.replace("account", "board") + "print([board.notice for _ in range(3)])"
        assert loaded_by(program, stdin=pickle.dumps(proxy)) & HEAVY == set()
        assert listener.stats().calls == {"Board's attributes": 1}


@proxied(published=["notice"])
class Board:
    notice = "none"


def test_the_public_names_are_these() -> None:
    names = "Host Listener Shared aio batch batched blocking by_ref by_reference by_value"
    names += " by_view cancelled end_with exposed hidden is_alive locked notify oneway ping proxied"
    names += " published readonly release run share spawn spawning submit timeout"
    assert sorted(pipeproxy.__all__) == sorted([*names.split(), *errors.__all__])


def test_a_client_does_not_load_the_owners_side() -> None:
    assert loaded_by(IMPORT) & {"pipeproxy._owner._listener", "pipeproxy._owner._spawn"} == set()


#: The packages of `pipeproxy` from the ground up; what users import stands above all of them.
FLOORS = (
    "errors _system transports _channels codecs _specs _proxies _chains _objects _client _stands "
    "_references _owner"
).split()


def imports_of(path: Path) -> set[str]:
    """The packages of `pipeproxy` that a room takes names from."""
    package = path.relative_to(HOME.parent).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
            found.update([base[1]] if base[1:] != [""] else [alias.name for alias in node.names])
    return found


@pytest.mark.parametrize("floor", FLOORS)
def test_a_room_takes_names_only_from_its_own_floor_and_from_those_below(floor: str) -> None:
    place = HOME / floor
    for path in place.glob("*.py") if place.is_dir() else [place.with_suffix(".py")]:
        assert imports_of(path) <= set(FLOORS[: FLOORS.index(floor) + 1]), path


def test_every_package_has_a_floor_or_serves_what_users_import() -> None:
    found = {path.parent.name for path in HOME.glob("*/__init__.py")}
    assert found == {*FLOORS[1:], "_managed", "_mypy", "_stubs"}


def test_every_public_name_can_be_had_and_is_listed() -> None:
    for name in pipeproxy.__all__:
        assert getattr(pipeproxy, name).__name__ == name
    assert set(pipeproxy.__all__) <= set(dir(pipeproxy))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pipeproxy.nothing  # type: ignore[attr-defined]


def test_nothing_else_is_public_in_the_package() -> None:
    found = {name for name, value in vars(pipeproxy).items() if not isinstance(value, ModuleType)}
    assert {name for name in found if not name.startswith("_")} == set(pipeproxy.__all__)


def test_every_error_is_of_one_module() -> None:
    assert {getattr(pipeproxy, name).__module__ for name in errors.__all__} == {errors.__name__}
