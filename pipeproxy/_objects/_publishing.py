"""Objects some of whose attributes are published: what a call changes is seen at its end."""

from __future__ import annotations

from typing import Any

from .._specs._members import GET
from ._subjects import Face, Shared


class Publishing(Shared):
    """An object of which attributes are published.

    Attributes:
        publisher: that of its listener; None if it has none.
        publications: those of its attributes that are read somewhere, on whichever listener.
    """

    __slots__ = ("publications", "publisher")

    def __init__(self, target: Any, face: Face) -> None:
        super().__init__(target, face)
        self.publisher: Any = None
        self.publications: list[Any] = []

    def call(self, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        """Call a member of the object, and publish what has changed; see `Shared.call`."""
        try:
            return super().call(member, args, kwargs)
        finally:
            if member == GET and self.publisher is not None:
                self.publisher.note(self, args)
            for publication in tuple(self.publications):
                publication.look()

    def begin(self, publisher: Any) -> None:
        """Become one of what a listener answers for, and publishes; see `Shared.begin`."""
        self.publisher = publisher

    def join(self, known: Any) -> None:
        """Have what the same object has on another listener: a change is published on both."""
        super().join(known)
        self.publications = known.publications

    def end(self) -> None:
        """Publish nothing on its listener any more."""
        for publication in tuple(self.publications):
            if publication.shared is self:
                publication.end()
