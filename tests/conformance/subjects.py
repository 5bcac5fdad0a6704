"""Classes of every kind, as users write them; every child imports this module."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import attrs

from pipeproxy import exposed, hidden, proxied, readonly

T = TypeVar("T")


class Account:
    """An account, which holds a lock and so cannot be pickled."""

    currency = "EUR"

    def __init__(self, owner: str = "ada", balance: int = 100) -> None:
        self.owner = owner
        self.balance = balance
        self._lock = threading.Lock()

    def deposit(self, amount: int, memo: str = "cash") -> tuple[int, str]:
        with self._lock:
            self.balance += amount
            return self.balance, memo

    @property
    def rich(self) -> bool:
        return self.balance > 1000

    @property
    def limit(self) -> int:
        return self.__dict__.get("_limit", 0)

    @limit.setter
    def limit(self, value: int) -> None:
        if value < 0:
            raise ValueError(f"a limit of {value}")
        self._limit = value

    @limit.deleter
    def limit(self) -> None:
        del self._limit

    @functools.cached_property
    def number(self) -> str:
        return f"{self.owner}-1"

    @staticmethod
    def check(number: str) -> bool:
        return number.endswith("-1")

    @classmethod
    def describe(cls, *words: str) -> str:
        return " ".join((cls.__name__, *words))

    @classmethod
    def change_currency(cls, currency: str) -> None:
        cls.currency = currency

    def me(self) -> Account:
        return self

    def is_me(self, other: object) -> bool:
        return other is self

    def is_in(self, accounts: list[object]) -> list[bool]:
        return [account is self for account in accounts]

    def _secret(self) -> str:
        return "private"


class Base:
    kind = "base"

    def name(self) -> str:
        return f"{self.kind} {self.extra()}"

    def extra(self) -> str:
        return "nothing"

    def only_in_base(self) -> str:
        return "base"


class Mixin:
    def extra(self) -> str:
        return f"mixed, not {super().extra()}"


class Derived(Mixin, Base):
    kind = "derived"


class Parameters:
    """A method for every kind of parameter."""

    def none(self) -> tuple[Any, ...]:
        return ()

    def only(self, a: Any, b: Any = 2, /) -> tuple[Any, ...]:
        return a, b

    def either(self, a: Any, b: Any = 2, c: Any = 3) -> tuple[Any, ...]:
        return a, b, c

    def rest(self, a: Any, *rest: Any) -> tuple[Any, ...]:
        return a, rest

    def rest_after_default(self, a: Any = 1, *rest: Any, k: Any = 2) -> tuple[Any, ...]:
        return a, rest, k

    def keyword(self, *, k: Any, m: Any = 2) -> tuple[Any, ...]:
        return k, m

    def keywords(self, a: Any = 1, **more: Any) -> tuple[Any, ...]:
        return a, more

    def everything(
        self, a: Any, b: Any = 2, /, c: Any = 3, *rest: Any, k: Any, m: Any = 5, **more: Any
    ) -> tuple[Any, ...]:
        return a, b, c, rest, k, m, more

    def odd_names(self, kwargs: Any, args: Any = 1, member: Any = 2) -> tuple[Any, ...]:
        return kwargs, args, member

    def mutable(self, item: Any, into: list[Any] = []) -> int:  # noqa: B006 - it is the point
        into.append(item)
        return len(into)

    def sentinel(self, value: object = object) -> bool:
        return value is object


class Slotted:
    __slots__ = ("x", "y")

    def __init__(self) -> None:
        self.x = 1

    def total(self) -> int:
        return self.x + getattr(self, "y", 0)


class Box(Generic[T]):
    def __init__(self, value: T) -> None:
        self.value = value

    def get(self) -> T:
        return self.value

    def put(self, value: T) -> None:
        self.value = value


class IntBox(Box[int]):
    def double(self) -> int:
        return 2 * self.get()


@dataclass
class Point:
    x: int
    y: int = 2
    tags: list[str] = field(default_factory=list)

    def norm(self) -> int:
        return abs(self.x) + abs(self.y)


@dataclass(frozen=True, order=True)
class Version:
    major: int
    minor: int = 0

    def bumped(self) -> Version:
        return Version(self.major, self.minor + 1)


@attrs.define
class Order:
    item: str
    amount: int = attrs.field(default=1, validator=attrs.validators.ge(0))

    def price(self, each: int) -> int:
        return self.amount * each


class Shelf:
    """A container of every trait."""

    def __init__(self, *books: str) -> None:
        self.books = list(books)

    def __len__(self) -> int:
        return len(self.books)

    def __getitem__(self, at: Any) -> Any:
        return self.books[at]

    def __setitem__(self, at: Any, book: Any) -> None:
        self.books[at] = book

    def __delitem__(self, at: Any) -> None:
        del self.books[at]

    def __contains__(self, book: object) -> bool:
        return book in self.books

    def __iter__(self) -> Iterator[str]:
        return iter(self.books)

    def __reversed__(self) -> Iterator[str]:
        return reversed(self.books)

    def __call__(self, *words: str, end: str = "!") -> str:
        return " ".join(words) + end

    def __str__(self) -> str:
        return f"a shelf of {len(self.books)}"

    def __format__(self, how: str) -> str:
        return f"{how}:{len(self.books)}"

    def generate(self) -> Iterator[str]:
        yield from self.books


class Letters:
    """Iterated by the old protocol, and true because nothing says otherwise."""

    def __getitem__(self, at: int) -> str:
        return "abc"[at]


class Many:
    """A generator as ``__iter__``, which fails after some items if it is told to."""

    def __init__(self, count: int, fail: bool = False) -> None:
        self.count = count
        self.fail = fail

    def __iter__(self) -> Iterator[int]:
        yield from range(self.count)
        if self.fail:
            raise ValueError(f"no more than {self.count}")


class Ticket:
    """An iterator that is its own ``__iter__``."""

    def __init__(self) -> None:
        self.next = 0

    def __iter__(self) -> Ticket:
        return self

    def __next__(self) -> int:
        self.next += 1
        if self.next > 3:
            raise StopIteration
        return self.next


class Guard:
    def __init__(self, swallow: bool = False) -> None:
        self.swallow = swallow
        self.log: list[str] = []

    def __enter__(self) -> Guard:
        self.log.append("enter")
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        self.log.append(f"exit {kind and kind.__name__} {error!r}")
        return self.swallow


class Number:
    """Arithmetic of every kind; results are plain tuples that name what was called."""

    def __init__(self, value: int = 7) -> None:
        self.value = value

    def __bool__(self) -> bool:
        return self.value != 0

    def __int__(self) -> int:
        return self.value

    def __float__(self) -> float:
        return self.value / 1

    def __complex__(self) -> complex:
        return complex(self.value, 1)

    def __index__(self) -> int:
        return self.value

    def __round__(self, digits: int | None = None) -> Any:
        return "round", digits

    def __trunc__(self) -> Any:
        return "trunc"

    def __floor__(self) -> Any:
        return "floor"

    def __ceil__(self) -> Any:
        return "ceil"

    def __neg__(self) -> Any:
        return "neg", self.value

    def __pos__(self) -> Any:
        return "pos", self.value

    def __abs__(self) -> Any:
        return "abs", self.value

    def __invert__(self) -> Any:
        return "invert", self.value

    def __bytes__(self) -> bytes:
        return b"seven"

    def __fspath__(self) -> str:
        return "/seven"

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        return "pow", _plain(other), modulus

    def __eq__(self, other: object) -> bool:
        return self.value == _plain(other)

    def __lt__(self, other: Any) -> bool:
        return self.value < _plain(other)

    def __le__(self, other: Any) -> bool:
        return self.value <= _plain(other)

    def __gt__(self, other: Any) -> bool:
        return self.value > _plain(other)

    def __ge__(self, other: Any) -> bool:
        return self.value >= _plain(other)

    __hash__ = object.__hash__


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Number) else value


def _forward(name: str) -> Any:
    def method(self: Number, other: Any) -> Any:
        return NotImplemented if other == "unknown" else (name, self.value, _plain(other))

    return method


def _in_place(name: str) -> Any:
    def method(self: Number, other: Any) -> Number:
        self.value += _plain(other)
        return self

    return method


OPERATORS = "add sub mul matmul truediv floordiv mod divmod lshift rshift and xor or".split()
for _name in OPERATORS:
    setattr(Number, f"__{_name}__", _forward(_name))
    setattr(Number, f"__r{_name}__", _forward(f"r{_name}"))
    if _name != "divmod":
        setattr(Number, f"__i{_name}__", _in_place(f"i{_name}"))


class Broken(Exception):
    """Its constructor takes other arguments than `args`."""

    def __init__(self, part: str, *, code: int) -> None:
        super().__init__(f"{part} is broken")
        self.part = part
        self.code = code


def _make_local() -> type[LookupError]:
    class Local(LookupError):
        pass

    return Local


Local = _make_local()


class Failing:
    """Raises whatever there is to raise."""

    def __init__(self) -> None:
        self.calls = 0

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def plain(self) -> None:
        raise ValueError("plain", 5)

    def custom(self) -> None:
        raise Broken("the door", code=7)

    def local(self) -> None:
        raise Local("here")

    def fresh(self) -> None:
        class Fresh(LookupError):
            pass

        raise Fresh("now")

    def chained(self) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise RuntimeError("outer") from error

    def in_context(self) -> None:
        try:
            raise KeyError("first")
        except KeyError:
            raise RuntimeError("second")  # noqa: B904 - it is the point

    def group(self) -> None:
        raise ExceptionGroup("both", [ValueError(1), Broken("x", code=2)])  # noqa: F821 - 3.11

    def leave(self) -> None:
        raise SystemExit(3)

    def interrupt(self) -> None:
        raise KeyboardInterrupt("by the method")

    def stop(self) -> None:
        raise StopIteration("enough")

    def missing(self) -> None:
        self.no_such_attribute

    def unpicklable(self) -> Any:
        return {"fine": 1, "lock": [threading.Lock()]}

    def nested_function(self) -> Any:
        return lambda: 1


@proxied(hide=["closed", "wipe"], readonly=["size"])
class Vault:
    """Shows some of what it has."""

    def __init__(self) -> None:
        self.size = 3
        self.label = "v"
        self.closed = "hidden data"
        self._code = 1234

    def open(self) -> str:
        return "opened"

    def wipe(self) -> None:
        self.label = "wiped"

    @exposed
    def _inspect(self) -> str:
        return "inspected"

    @hidden
    def burn(self) -> None:
        self.label = "burnt"

    @readonly
    @property
    def weight(self) -> int:
        return 5

    @weight.setter
    def weight(self, value: int) -> None:
        raise AssertionError("the owner's setter ran")


@proxied(expose=["open", "_state"])
class Shut:
    def __init__(self) -> None:
        self.label = "s"
        self._state = 1

    def open(self) -> str:
        return "opened"

    def other(self) -> str:
        return "other"
