"""A link that leads to an object of the same process and writes down every call."""

from __future__ import annotations

from typing import Any

from pipeproxy._proxies._proxy import Proxy, link_of, make_proxy
from pipeproxy._specs._members import DELETE, GET, SET, Members, Plain
from pipeproxy._specs._spec import describe


class InProcess:
    """Does to `target` what an owner does, and returns a proxy where that returns the target."""

    place = "process 1234"

    def __init__(self, target: Any, plain: Plain) -> None:
        self.target = target
        self.plain = plain
        self.key = ("in process", id(target))
        self.members = Members(plain)
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any] | None]] = []

    def call(self, member: int, args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> Any:
        attribute = {GET: "get", SET: "set", DELETE: "delete"}.get(member)
        self.calls.append((attribute or self.members.names[member], args, kwargs))
        if attribute:
            check = self.members.check_read if member == GET else self.members.check_write
            check(args[0])
            use = {GET: getattr, SET: setattr, DELETE: delattr}[member]
            return use(self.target, *args)
        given = [link_of(a).target if issubclass(type(a), Proxy) else a for a in args]
        result = getattr(self.target, self.members.names[member])(*given, **(kwargs or {}))
        return make_proxy(self.plain, self) if result is self.target else result

    def reduce(self, plain: Plain) -> tuple[Any, ...]:
        _kept.append(self)
        return _unpickle, (plain, len(_kept) - 1)


_kept: list[InProcess] = []


def _unpickle(plain: Plain, number: int) -> Any:
    return make_proxy(plain, _kept[number])


def proxy_of(target: Any) -> Any:
    """Return a proxy of `target`; `calls_of` tells what went through it."""
    plain = describe(type(target)).plain
    return make_proxy(plain, InProcess(target, plain))


def calls_of(proxy: Any) -> list[tuple[str, tuple[Any, ...], dict[str, Any] | None]]:
    """Return every call so far as name, positional and keyword arguments."""
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any] | None]] = link_of(proxy).calls
    return calls
