"""Classes of many kinds, of whose proxies types are made."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import enum
import functools
import sys
import threading
import typing as t
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, Optional, overload

import attrs
from typing_extensions import ParamSpec, TypeVar

from pipeproxy import Shared, exposed, hidden, proxied, readonly
from pipeproxy_proxies.tests.typing.cases.zoo import TellerProxy

if sys.version_info >= (3, 11):
    from typing import Self
else:
    from typing_extensions import Self

if TYPE_CHECKING:
    from decimal import Decimal as Money

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
K = TypeVar("K", bound=str)
N = TypeVar("N", int, str)


class Colour(enum.Enum):
    RED = 1


class Currency(str):
    """A value; it travels as a copy."""


def traced(note: str) -> Callable[[Callable[P, R]], Callable[P, list[R]]]:
    def decorate(function: Callable[P, R]) -> Callable[P, list[R]]:
        return lambda *args, **kwargs: [function(*args, **kwargs)]

    return decorate


def untyped(function):  # type: ignore[no-untyped-def]
    return function


class Book(Generic[T]):
    """Is not proxied itself; its members are inherited."""

    def __init__(self, first: T) -> None:
        self.entries = [first]
        self.last: T = first

    def latest(self) -> T:
        """The entry that was made last."""
        return self.last

    def find(self, matches: Callable[[T], bool]) -> T | None:
        return next(filter(matches, self.entries), None)

    def secret(self) -> str:
        return ""


Accounts = list["Account"]
By: t.TypeAlias = "dict[str, Account | None]"


@proxied(hide=("secret", "ledger"), readonly=("number", "partner"))
class Account(Book[int]):
    """An account of a bank."""

    bank: ClassVar[str] = "Bank"
    limit: Final = 1000
    kind: Literal["giro", "savings"] = "giro"
    ledger = "hidden"

    def __init__(self, owner: str, number: int = 0, currency: Optional[Currency] = None) -> None:
        super().__init__(0)
        self.owner = owner
        self.number = number
        self.balance = 0
        self.rate = 0.5 * number
        self.names = {"a": 1}
        self.pair = (1, "b")
        self.currency = currency
        self.partner: Account | None = None
        self.friend: Account | None = None
        self.lock = threading.Lock()
        self._secret = "s"

    def deposit(self, amount: int, /, *, memo: str = "", colour: Colour = Colour.RED) -> int:
        """Add `amount` to the balance.

        A backslash \\ and \"\"\"quotes\"\"\" end nothing.
        """
        return amount

    def transfer(self, to: Account, amount: "int" = 0) -> "Account":
        return to

    def price(self, rate: Money) -> Money:
        return rate

    def all(self, of: Accounts, by: By) -> Accounts:
        return of

    def family(self, of: Iterable[Account], by: dict[str, Account]) -> dict[str, list[Account]]:
        return {}

    def heirs(self) -> Iterator[Account]:
        yield self

    def watch(self, callback: Callable[[Account], Account | None]) -> Callable[[Account], None]:
        return print

    def make(self, cls: type[Account]) -> type[Account]:
        return cls

    def chain(self, *others: Account, **named: Account) -> Self:
        return self

    def quiet(self, amount):  # type: ignore[no-untyped-def]
        self.balance += amount

    def list(self) -> list[int]:
        return []

    def later(self) -> t.List[int]:
        return []

    async def fetch(self, delay: float) -> Account:
        return self

    async def stream(self) -> AsyncIterator[int]:
        yield 1

    @overload
    def get(self, key: int) -> Account: ...
    @overload
    def get(self, key: str, default: T) -> Account | T: ...
    def get(self, key: int | str, default: object = None) -> object:
        return self

    @property
    def total(self) -> int:
        """All that is there."""
        return 1

    @property
    def pin(self) -> int:
        return 1

    @pin.setter
    def pin(self, pin: int | str) -> None: ...

    @property
    @readonly
    def code(self) -> int:
        return 1

    @code.setter
    def code(self, code: int) -> None: ...

    @functools.cached_property
    def statement(self) -> str:
        return ""

    @staticmethod
    def parse(text: str) -> int:
        return int(text)

    @classmethod
    def open(cls, owner: str) -> Self:
        return cls(owner)

    @contextlib.contextmanager
    def frozen(self) -> Generator[Account]:
        yield self

    @functools.lru_cache
    def cached(self, key: int) -> str:
        return str(key)

    @traced("note")
    def noted(self, key: int) -> str:
        return str(key)

    @untyped  # type: ignore[untyped-decorator]
    def plain(self, key: int) -> str:
        return str(key)

    @exposed
    def _audit(self, since: float) -> str:
        return str(since)

    @hidden
    def wipe(self) -> None: ...

    def _private(self) -> None: ...

    shut = wipe
    put = deposit

    def __len__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return 0

    def __lt__(self, other: Account) -> bool:
        return False

    def __enter__(self: T) -> T:
        return self

    def __exit__(self, *args: object) -> None: ...

    class Statement:
        lines: ClassVar[tuple[str, ...]] = ()

    def print(self) -> Statement:
        return self.Statement()


@proxied
class Shelf(Generic[K, T]):
    """A generic class, with type variables of its own and of single methods."""

    def __init__(self, items: dict[K, T]) -> None:
        self.items = items

    def __getitem__(self, key: K) -> T:
        return self.items[key]

    def __setitem__(self, key: K, value: T) -> None: ...

    def __iter__(self) -> Iterator[K]:
        return iter(self.items)

    def double(self, value: N) -> N:
        return value

    def map(self, function: Callable[[T], R]) -> list[R]:
        return []

    def call(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        return function(*args, **kwargs)

    def pair(self, other: Shelf[K, R]) -> Shelf[K, tuple[T, R]]:
        raise NotImplementedError

    def texts(self: Shelf[K, str]) -> str:
        return ""


@proxied
class IntShelf(Shelf[Literal["a", "b"], int]):
    """A class whose base was given its type arguments."""

    def __contains__(self, key: object) -> bool:
        return key in self.items


@proxied
@dataclass(frozen=True)
class Fixed:
    """Its fields cannot be set."""

    size: int
    tags: list[str] = dataclasses.field(default_factory=list)

    class Part:
        """Follows from no decoration."""


@proxied
@dataclass(order=True)
class Ordered:
    """Its special methods are written by a decorator."""

    size: int = 0
    key: Callable[[str], object] = len
    made_of: dataclasses.InitVar[str] = ""


@proxied
@attrs.frozen
class Point:
    x: int
    y: float = 0.0


@proxied(expose=("area", "_scale"))
class Shape(abc.ABC):
    """Shows what it lists and nothing else."""

    _scale: float = 1.0
    colour = "red"

    @abc.abstractmethod
    def area(self) -> float: ...

    def other(self) -> None: ...


@proxied
class Square(Shape):
    def area(self) -> float:
        return 1.0

    @proxied
    class Corner:
        def opposite(self) -> Square.Corner:
            return self

        def square(self) -> Square | None:
            return None


@proxied
class Dynamic:
    """Makes up its attributes."""

    def __getattr__(self, name: str) -> int:
        return len(name)


@proxied
class Teller(Shared[TellerProxy]):
    """Names the type of its proxies itself."""

    def __init__(self, name: str) -> None:
        self.name = name

    def serve(self, other: Teller, account: Account) -> Teller:
        return self

    def balances(self) -> Sequence[tuple[Account, int]] | None:
        return None

    def promise(self) -> Awaitable[Account]:
        raise NotImplementedError


class Loud(Teller):
    """Is proxied as its base is."""

    def shout(self, *words: Any) -> str:
        return ""
