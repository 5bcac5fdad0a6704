"""The mypy plugin: alike however mypy is run, and right about what cannot be pickled."""

from __future__ import annotations

import asyncio
import gc
import inspect
import io
import multiprocessing.queues
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeproxy import errors
from pipeproxy._specs._options import is_described
from pipeproxy.codecs.pickle import encode

from .typing.cases import refuse_plugin
from .typing.held_back import classes_of_users, plain_data

BANK = """
from __future__ import annotations
from pipeproxy import hidden, proxied

@proxied
class Account:
    balance: int = 0

    def other(self) -> Account:
        return self

    def keep(self, thing: object) -> None: ...

    @hidden
    def wipe(self) -> None: ...
"""
TELLER = """
from pipeproxy import share
from bank import Account

proxy, _ = share(Account())
other = proxy.other()
"""
CLERK = """
import threading
from dataclasses import dataclass
import teller

@dataclass
class Job:
    lock: threading.Lock

def work(job: Job) -> None:
    reveal_type(teller.proxy)
    reveal_type(teller.other.balance)
    teller.other.wipe()
    teller.other.keep(job)
"""
SETTINGS = "[mypy]\nstrict = true\nmypy_path = typings\nplugins = pipeproxy.mypy_plugin\n"


class Project:
    """A project, and mypy run on it in every way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stub = path / "typings" / "pipeproxy_proxies" / "bank.pyi"
        for name, text in (("bank", BANK), ("teller", TELLER), ("clerk", CLERK)):
            (path / f"{name}.py").write_text(text, "utf-8")
        (path / "mypy.ini").write_text(SETTINGS, "utf-8")
        self._runs = 0

    def run(self, module: str, *arguments: str) -> str:
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(
            command, cwd=self.path, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode in (0, 1), done.stdout + done.stderr
        return done.stdout

    def make_stub(self) -> None:
        self.run("pipeproxy", "stubs", "bank")

    def edit(self, path: Path, before: str, after: str) -> None:
        text = path.read_text("utf-8")
        assert before in text
        path.write_text(text.replace(before, after), "utf-8")

    def found(self) -> list[str]:
        """What mypy reports, the same in all of its ways."""
        self._runs += 1
        cold = self.run("mypy", "--cache-dir", f"cold{self._runs}", ".")
        ways = {
            "warm": self.run("mypy", "--cache-dir", "warm", "."),
            "parallel": self.run("mypy", "--cache-dir", f"parallel{self._runs}", "-n", "2", "."),
            "parallel, warm": self.run("mypy", "--cache-dir", "parallel", "-n", "2", "."),
            "daemon": self.run("mypy.dmypy", "run", "--", "--cache-dir", "daemon", "."),
        }
        assert {way: self.lines(text) for way, text in ways.items()} == dict.fromkeys(
            ways, self.lines(cold)
        )
        return self.lines(cold)

    @staticmethod
    def lines(text: str) -> list[str]:
        return sorted(line for line in text.splitlines() if line.startswith(("clerk.py:", "bank")))


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    project = Project(tmp_path)
    try:
        yield project
    finally:
        project.run("mypy.dmypy", "stop")


def with_stub(found: list[str]) -> tuple[bool, bool, bool]:
    """Whether the type is the generated one, hidden members are errors, and locks are."""
    text = "\n".join(found)
    wiped = '"AccountProxy" has no attribute "wipe"' in text
    return '"pipeproxy_proxies.bank.AccountProxy"' in text, wiped, "[unpicklable]" in text


@pytest.mark.once
@pytest.mark.timeout(400)
def test_every_way_of_running_mypy_finds_the_same_whatever_becomes_of_a_stub(
    project: Project,
) -> None:
    project.make_stub()
    assert with_stub(project.found()) == (True, True, True)
    project.edit(project.stub, "balance: int", "balance: str")
    assert 'Revealed type is "str"' in "\n".join(project.found())
    project.stub.unlink()
    assert with_stub(project.found()) == (False, False, False)
    project.make_stub()
    assert with_stub(project.found()) == (True, True, True)
    project.edit(project.stub, "class AccountProxy", "class OtherProxy")
    assert with_stub(project.found()) == (False, False, False)
    project.edit(project.path / "bank.py", "    @hidden\n", "")
    project.make_stub()
    assert with_stub(project.found()) == (True, False, True)


JOBS = """
import threading
from dataclasses import dataclass

@dataclass
class Job:
    lock: threading.Lock
"""
KEYS = "import threading\nKey = int\n"  # analyzed again without any class
SENDER = """
from typing import Any
from pipeproxy import share
from safe import Safe
from jobs import Job

def work(job: Job, key: Any) -> None:
    proxy, _ = share(Safe())
    proxy.put(job)
    proxy.open(key)
"""
SAFE = """
import keys
from pipeproxy import proxied

@proxied
class Safe:
    def put(self, thing: object) -> None: ...
    def open(self, key: keys.Key) -> None: ...
"""


@pytest.mark.once
@pytest.mark.timeout(400)
def test_what_was_certain_of_a_type_is_forgotten_when_what_it_is_made_of_changes(
    project: Project,
) -> None:
    for name, text in (("jobs", JOBS), ("keys", KEYS), ("safe", SAFE), ("clerk", SENDER)):
        (project.path / f"{name}.py").write_text(text, "utf-8")
    jobs, keys = project.path / "jobs.py", project.path / "keys.py"
    project.run("pipeproxy", "stubs", "safe")
    assert reported(project) == ["proxy.put(job)"]
    project.edit(jobs, "lock: threading.Lock", "lock: int")
    assert reported(project) == []
    project.edit(keys, "Key = int", "Key = threading.Lock")
    assert reported(project) == ["proxy.open(key)"]
    project.edit(keys, "Key = threading.Lock", "Key = int")
    project.edit(jobs, "lock: int", "lock: threading.Lock")
    assert reported(project) == ["proxy.put(job)"]


def reported(project: Project) -> list[str]:
    """The lines of the clerk that pass what cannot be pickled."""
    lines = (project.path / "clerk.py").read_text("utf-8").splitlines()
    found = [line for line in project.found() if line.endswith("[unpicklable]")]
    return [lines[int(line.split(":")[1]) - 1].strip() for line in found]


class Sent:
    """Stands for any proxy: encodes what it is passed, as if it were sent."""

    def __init__(self, can_be_sent: bool) -> None:
        self.can_be_sent = can_be_sent
        self.things = 0

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        for thing in (*args, *kwargs.values()):
            self.things += 1
            if self.can_be_sent:
                encode(thing, by_reference)
            elif not is_harmless(thing):
                with pytest.raises(errors.CodecError):
                    encode(thing, by_reference)
            close(thing)
        return args[0] if args else None

    def __contains__(self, thing: object) -> bool:
        self(thing)
        return thing == 3

    __getitem__ = __setitem__ = __call__


def by_reference(thing: object) -> Any:
    return (int, ()) if is_described(type(thing)) or isinstance(thing, Sent) else NotImplemented


def is_harmless(thing: object) -> bool:
    """Whether it only stands beside what cannot be sent."""
    return type(thing) in (int, str) or thing is abs


def close(thing: Any) -> None:
    if isinstance(thing, subprocess.Popen):
        thing.wait()
    elif inspect.iscoroutine(thing) or isinstance(thing, CLOSED):
        thing.close()


CLOSED = (io.IOBase, socket.socket, sqlite3.Connection, multiprocessing.queues.Queue)


def called(module: Any, sent: Sent, tmp_path: Path) -> None:
    """Call the functions of a module that pass things to proxies."""
    values = {"path": tmp_path / "file", "lock": threading.Lock()}
    (tmp_path / "file").touch()
    for name, function in list(vars(module).items()):
        if not inspect.isfunction(function) or function.__module__ != module.__name__:
            continue
        names = set(inspect.signature(function).parameters)
        if names <= values.keys() and function.__annotations__["return"] == "None":
            ran = function(**{name: values[name] for name in names})
            if inspect.iscoroutine(ran):
                asyncio.run(ran)


@pytest.mark.filterwarnings("ignore:Pickle, copy, and deepcopy support:DeprecationWarning")
@pytest.mark.parametrize("module", [plain_data, classes_of_users], ids=["data", "classes"])
def test_what_must_not_be_reported_can_be_sent(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = Sent(can_be_sent=True)
    monkeypatch.setattr(module, "share", lambda obj: (sent, None))
    called(module, sent, tmp_path)
    assert sent.things > 20


# What is inside of others is left to the collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_reported_cannot_be_sent() -> None:
    sent = Sent(can_be_sent=False)
    refuse_plugin.what_python_itself_cannot_pickle(sent)
    refuse_plugin.functions_and_generators(sent, sent)
    refuse_plugin.inside_of_others(sent)
    assert sent.things > 50
    gc.collect()  # here, where it may be found open
