"""One stub, from its first line to its last."""

from __future__ import annotations

from typing import Any, NamedTuple

from ._classes import ProxyOf, Writer
from ._names import Names

#: The first line of every stub.
HEADER = "# Made by `python -m pipeproxy stubs`: change the class instead, and make it again.\n"


class Stub(NamedTuple):
    """What is in a stub, and the attributes of its classes whose types are not known."""

    text: str
    unknown: list[str]


def proxy_name(cls: type[Any]) -> str:
    """What the proxies of a class are called."""
    return cls.__qualname__.replace(".", "_") + "Proxy"


def stub(classes: list[type[Any]], proxy_of: ProxyOf) -> Stub:
    """The stub of the module in which these classes are defined."""
    names = Names([proxy_name(cls) for cls in classes])
    blocks, unknown = [], []
    for cls in classes:
        writer = Writer(cls, proxy_name(cls), names, proxy_of)
        blocks.append("\n".join(writer.lines()))
        unknown += [f"{cls.__qualname__}.{name}" for name in writer.unknown]
    second = names.second_names()
    parts = ["\n".join(names.lines()), *blocks, *(["\n".join(second)] if second else [])]
    return Stub(HEADER + "".join(f"\n{part}\n" for part in parts if part), unknown)
