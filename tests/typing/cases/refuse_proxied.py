"""What a type checker must refuse of `proxied` and the markers."""

from __future__ import annotations

from pipeproxy import batched, exposed, hidden, proxied, published, readonly
from tests.typing.cases.accept_proxied import Bare, Box, Model

proxied(Bare("ada"))  # E: call-overload | reportArgumentType
proxied(Bare, Box)  # E: call-overload | reportCallIssue
proxied(cls=Bare)  # E: call-overload | reportCallIssue
proxied(exposes=("a",))  # E: call-overload | reportCallIssue
proxied(hide=3)  # E: call-overload | reportArgumentType
proxied(published=3)  # E: call-overload | reportArgumentType


@proxied
class Marked:
    @exposed
    def _audit(self, since: float) -> list[str]:
        return [str(since)]

    @property
    @readonly
    def size(self) -> int:
        return 3

    @size.setter
    def size(self, size: int) -> None: ...

    @property
    @published
    def length(self) -> int:
        return 4

    @property
    @hidden
    def weight(self) -> int:
        return 5

    # mypy has no words for a decorator above @property, but keeps the property's type.
    @readonly  # E: prop-decorator |
    @property
    def height(self) -> int:
        return 7


def decorated_classes_and_members_are_not_any(box: Box[int], marked: Marked) -> None:
    Bare()  # E: call-arg | reportCallIssue
    Bare("ada").deposit(3)  # E: attr-defined | reportAttributeAccessIssue
    box.swap("text")  # E: arg-type | reportArgumentType
    marked._audit("monday")  # E: arg-type | reportArgumentType
    marked._audit(0.5).deposit(3)  # E: attr-defined | reportAttributeAccessIssue
    marked.size.deposit(3)  # E: attr-defined | reportAttributeAccessIssue
    marked.size = "small"  # E: assignment | reportAttributeAccessIssue
    marked.length.deposit(3)  # E: attr-defined | reportAttributeAccessIssue
    marked.weight = 6  # E: misc | reportAttributeAccessIssue
    marked.height.deposit(3)  # E: attr-defined | reportAttributeAccessIssue


def batched_methods_take_no_list(model: Model) -> None:
    model.infer([b"image"])  # E: arg-type | reportArgumentType
    model.infer("image")  # E: arg-type | reportArgumentType
    model.infer(b"image").deposit(3)  # E: attr-defined | reportAttributeAccessIssue
    model._rate([b"image"])  # E: arg-type | reportArgumentType


class Unbatched:
    @batched(most=3)  # E: call-overload untyped-decorator | reportCallIssue
    def infer(self, images: list[bytes]) -> list[str]:
        return [str(image) for image in images]

    @batched  # E: arg-type | reportArgumentType reportCallIssue
    def rate(self, image: bytes) -> float:
        return float(len(image))
