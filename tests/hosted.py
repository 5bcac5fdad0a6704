"""Objects that tests put into processes of their own, which load this module and no pytest."""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import threading
from typing import Any

from pipeproxy import spawn


class Account:
    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self.balance = balance

    def deposit(self, amount: int) -> int:
        self.balance += amount
        return self.balance

    def pid(self) -> int:
        return os.getpid()

    def process_type(self) -> str:
        return type(multiprocessing.current_process()).__name__

    def exit(self, code: int) -> None:
        os._exit(code)

    def kill(self, number: int) -> None:
        faulthandler.disable()
        os.kill(os.getpid(), number)

    def interrupt_a_program(self) -> int:
        program = subprocess.Popen(["sleep", "60"])
        program.send_signal(signal.SIGINT)
        return program.wait()

    def crash(self) -> None:
        crash()

    def deposit_into(self, other: Account, amount: int) -> int:
        return other.deposit(amount)

    def spawn_another(self) -> tuple[Any, int]:
        self.proxy, self.host = spawn(Account, "inner")
        return self.proxy, self.proxy.pid()


class Refused(Exception):
    def __init__(self, owner: str, *, code: int) -> None:
        super().__init__(f"no account for {owner}")
        self.code = code


def refuse(owner: str) -> Account:
    raise Refused(owner, code=7)


def leave(code: int) -> Account:
    os._exit(code)


def leave_by_system_exit(code: int) -> Account:
    raise SystemExit(code)


def die(number: int) -> Account:
    os.kill(os.getpid(), number)
    threading.Event().wait()
    raise AssertionError


def crash() -> Account:
    faulthandler.disable()  # pytest's, which would show the crash that is meant
    ctypes.string_at(0)
    raise AssertionError


def hang() -> Account:
    threading.Event().wait()
    raise AssertionError


def make(owner: str) -> Account:
    return Account(owner, 5)


class Nothing:
    __slots__ = ()


class Hanging:
    def __init__(self, tells: Any) -> None:
        self._tells = tells

    def hang(self) -> None:
        self._tells.send(os.getpid())
        threading.Event().wait()
