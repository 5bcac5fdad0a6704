"""`proxied` and the markers change nothing that a type checker sees."""

from __future__ import annotations

from functools import cached_property
from typing import Generic, TypeVar

from typing_extensions import assert_type

from pipeproxy import batched, exposed, hidden, proxied, published, readonly, share, submit

T = TypeVar("T")


@proxied
class Bare:
    def __init__(self, owner: str, balance: int = 0) -> None:
        self.owner = owner
        self.balance = balance

    @exposed
    def _audit(self, since: float) -> list[str]:
        return [str(since)]

    @hidden
    def wipe(self) -> None: ...

    @staticmethod
    @exposed
    def currency() -> str:
        return "EUR"

    @exposed
    @staticmethod
    def rate(of: str, /) -> float:
        return float(of)

    @exposed
    @classmethod
    def opened(cls, owner: str) -> Bare:
        return cls(owner)

    @classmethod
    @exposed
    def closed(cls, owner: str) -> Bare:
        return cls(owner)

    @property
    @readonly
    def limit(self) -> int:
        return 100

    @property
    @published
    @readonly
    def worth(self) -> float:
        return 1.5

    @property
    @exposed
    def pin(self) -> int:
        return 1234

    @pin.setter
    def pin(self, pin: int) -> None: ...

    @cached_property
    @hidden
    def statement(self) -> list[str]:
        return []


@proxied(hide=("secret",), readonly=["size"], published=["size"])
class WithOptions:
    secret = "s"
    size = 3


@proxied(expose={"item"})
class Box(Generic[T]):
    def __init__(self, item: T) -> None:
        self.item = item

    def swap(self, other: T) -> T:
        self.item, other = other, self.item
        return other


class ThirdParty:
    def __init__(self, port: int) -> None:
        self.port = port


def the_class_stays_itself() -> None:
    assert_type(Bare("ada", balance=3), Bare)
    assert_type(Bare.opened("ada"), Bare)
    assert_type(WithOptions().size, int)
    assert_type(proxied(ThirdParty), type[ThirdParty])
    assert_type(proxied(ThirdParty, hide={"port"}), type[ThirdParty])
    assert_type(proxied(hide=["port"])(ThirdParty), type[ThirdParty])


def generics_stay_generic(numbers: Box[int]) -> None:
    assert_type(Box("text"), Box[str])
    assert_type(numbers.item, int)
    assert_type(numbers.swap(4), int)


def marked_members_keep_their_types(bare: Bare) -> None:
    assert_type(bare._audit(0.5), list[str])
    assert_type(bare.currency(), str)
    assert_type(Bare.rate("1.5"), float)
    assert_type(Bare.closed("ada"), Bare)
    assert_type(bare.limit, int)
    assert_type(bare.worth, float)
    assert_type(bare.pin, int)
    bare.pin = 4321
    assert_type(bare.statement, list[str])


class Model:
    @batched
    def infer(self, images: list[bytes]) -> list[str]:
        return [str(image) for image in images]

    @exposed
    @batched(max=8, within=0.5)
    def _rate(self, images: list[bytes]) -> list[float]:
        return [float(len(image)) for image in images]

    @batched
    def check(self, images: list[bytes]) -> list[bool | Exception]:
        return [True if image else ValueError("no image") for image in images]


@proxied(dispatch="asyncio")
class AsyncModel:
    @batched
    async def infer(self, images: list[bytes]) -> list[str]:
        return [str(image) for image in images]

    @batched(max=8)
    async def rate(self, images: list[bytes]) -> list[float]:
        return [float(len(image)) for image in images]

    @batched(max=8)
    async def check(self, images: list[bytes]) -> list[bool | Exception]:
        return [True if image else ValueError("no image") for image in images]


def batched_methods_take_one_value(model: Model) -> None:
    assert_type(model.infer(b"image"), str)
    assert_type(model._rate(b"image"), float)
    assert_type(model.check(b"image"), bool)
    proxy, _ = share(model)
    assert_type(proxy.infer(b"image"), str)
    assert_type(submit(proxy.infer, b"image").result(), str)


async def async_batched_methods_too(model: AsyncModel) -> None:
    assert_type(await model.infer(b"image"), str)
    assert_type(await model.rate(b"image"), float)
    assert_type(await model.check(b"image"), bool)
    assert_type(submit(model.infer, b"image").result(), str)
