"""What the generated types refuse."""

from __future__ import annotations

from typing_extensions import assert_type

from pipeproxy_proxies.queue import QueueProxy
from pipeproxy_proxies.sqlite3 import ConnectionProxy
from pipeproxy_proxies.tests.typing.cases import zoo
from pipeproxy_proxies.tests.typing.cases.zoo import (
    AccountProxy,
    FixedProxy,
    IntShelfProxy,
    PointProxy,
    ShapeProxy,
    ShelfProxy,
    Square_CornerProxy,
    TellerProxy,
)
from tests.typing.cases.zoo import Account

missing: zoo.WholeProxy  # E: name-defined | reportAttributeAccessIssue


def what_is_not_exposed(account: AccountProxy, shape: ShapeProxy) -> None:
    account._secret  # E: attr-defined | reportAttributeAccessIssue
    account._private()  # E: attr-defined | reportAttributeAccessIssue
    account.wipe()  # E: attr-defined | reportAttributeAccessIssue
    account.ledger  # E: attr-defined | reportAttributeAccessIssue
    account.secret()  # E: attr-defined | reportAttributeAccessIssue
    account.made_up  # E: attr-defined | reportAttributeAccessIssue
    account.made_up = 3  # E: attr-defined | reportAttributeAccessIssue
    shape.other()  # E: attr-defined | reportAttributeAccessIssue
    shape.colour  # E: attr-defined | reportAttributeAccessIssue


def what_is_read_only(account: AccountProxy, fixed: FixedProxy, point: PointProxy) -> None:
    account.number = 3  # E: misc | reportAttributeAccessIssue
    account.partner = None  # E: misc | reportAttributeAccessIssue
    account.limit = 3  # E: misc | reportAttributeAccessIssue
    account.total = 3  # E: misc | reportAttributeAccessIssue
    account.code = 3  # E: misc | reportAttributeAccessIssue
    fixed.size = 3  # E: misc | reportAttributeAccessIssue
    point.x = 3  # E: misc | reportAttributeAccessIssue


def wrong_types(account: AccountProxy) -> None:
    account.balance = "much"  # E: assignment | reportAttributeAccessIssue
    account.kind = "other"  # E: assignment | reportAttributeAccessIssue
    account.friend = 3  # E: assignment | reportAttributeAccessIssue
    account.deposit("much")  # E: arg-type | reportArgumentType
    account.deposit(amount=3)  # E: call-arg | reportCallIssue
    account.deposit(3, "memo")  # E: call-arg | reportCallIssue
    account.transfer(3)  # E: arg-type | reportArgumentType
    account.open(3)  # E: arg-type | reportArgumentType
    account.get("a")  # E: call-overload | reportArgumentType
    account.noted("a")  # E: arg-type | reportArgumentType
    account.watch(str.upper)  # E: arg-type | reportArgumentType
    account.family([3], {})  # E: list-item | reportArgumentType


def special_methods_that_are_not_defined(account: AccountProxy, ints: IntShelfProxy) -> None:
    account[3]  # E: index | reportIndexIssue
    account + account  # E: operator | reportOperatorIssue
    iter(account)  # E: call-overload | reportArgumentType reportCallIssue
    account()  # E: operator | reportCallIssue
    len(ints)  # E: arg-type | reportArgumentType


async def a_forgotten_await(account: AccountProxy) -> None:
    account.fetch(0.5)  # E: unused-coroutine | reportUnusedCoroutine
    account.fetch(0.5).owner  # E: attr-defined | reportAttributeAccessIssue


def what_comes_out_is_not_any(account: AccountProxy, corner: Square_CornerProxy) -> None:
    assert_type(account.transfer(account), Account)  # E: assert-type | reportAssertTypeFailure
    account.transfer(account).wipe()  # E: attr-defined | reportAttributeAccessIssue
    account.heirs().no_such_method()  # E: attr-defined | reportAttributeAccessIssue
    account.owner.no_such_method()  # E: attr-defined | reportAttributeAccessIssue
    account.find(bool).real()  # E: operator union-attr | reportCallIssue reportOptionalMemberAccess
    account.partner.owner  # E: union-attr | reportOptionalMemberAccess
    account.frozen().no_such_method()  # E: attr-defined | reportAttributeAccessIssue
    corner.opposite().no_such_method()  # E: attr-defined | reportAttributeAccessIssue


def generics(shelf: ShelfProxy[str, int], ints: IntShelfProxy) -> None:
    shelf["a"] = "b"  # E: assignment | reportArgumentType
    shelf[3]  # E: index | reportArgumentType
    ints["c"]  # E: index | reportArgumentType
    shelf.double(0.5)  # E: type-var | reportArgumentType
    shelf.call(divmod, "a")  # E: arg-type | reportCallIssue
    shelf.texts()  # E: misc | reportAttributeAccessIssue
    _: ShelfProxy[int, int]  # E: type-var | reportInvalidTypeArguments


def a_proxy_is_not_the_object(account: AccountProxy, teller: TellerProxy) -> None:
    _: Account = account  # E: assignment | reportAssignmentType
    account.transfer(teller)  # E: arg-type | reportArgumentType


def classes_of_others(queue: QueueProxy[int], database: ConnectionProxy) -> None:
    queue.put("a")  # E: arg-type | reportArgumentType
    queue._init(3)  # E: attr-defined | reportAttributeAccessIssue
    database.in_transaction = True  # E: misc | reportAttributeAccessIssue
    isinstance(queue, QueueProxy)  # E: misc | reportArgumentType
