"""What the verbs are not to be used for."""

from __future__ import annotations

from pipeproxy import aio, notify, run, submit
from tests.typing.cases.accept_verbs import Account, add_twice, proxy


def wrong_arguments() -> None:
    submit(proxy.deposit)  # E: call-overload | reportCallIssue
    submit(proxy.deposit, "5")  # E: call-overload | reportArgumentType reportCallIssue
    submit(proxy.deposit, 5, note="x")  # E: arg-type call-arg | reportCallIssue
    notify(proxy.log, 5)  # E: arg-type | reportArgumentType
    print(aio(proxy.deposit)("5"))  # E: arg-type | reportArgumentType


def wrong_results() -> None:
    word: str = submit(proxy.deposit, 5).result()  # E: assignment | reportAssignmentType
    done: None = notify(proxy.log, "x")  # E: func-returns-value |
    print(word, done)


async def forgotten() -> None:
    aio(proxy.deposit)(5)  # E: unused-coroutine | reportUnusedCoroutine
    aio(proxy.audit)(1.0)  # E: unused-coroutine | reportUnusedCoroutine
    number: int = aio(proxy.deposit)(5)  # E: assignment | reportAssignmentType
    print(number)


def what_is_no_method() -> None:
    submit(proxy.balance)  # E: call-overload | reportArgumentType reportCallIssue
    notify(5)  # E: arg-type | reportArgumentType reportCallIssue


def of_another(text: str) -> int:
    return len(text)


def wrong_functions() -> None:
    run(proxy, of_another)  # E: misc | reportArgumentType
    run(proxy, add_twice)  # E: call-arg | reportCallIssue
    run(proxy, add_twice, "5")  # E: arg-type | reportArgumentType
    run(proxy, Account.log, 5)  # E: arg-type | reportArgumentType
