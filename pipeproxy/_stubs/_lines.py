"""The text of a stub's members: signatures, attributes, docstrings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ._names import WIDTH


class Signature(NamedTuple):
    """A function as it is to stand in a stub, each part as a text."""

    name: str
    parameters: list[str]
    returns: str
    doc: str | None = None
    decorators: tuple[str, ...] = ()
    generic: str = ""
    is_async: bool = False

    def lines(self) -> Iterator[str]:
        """Yield its lines; it is broken where one line would be too long inside of a class."""
        yield from self.decorators
        head = f"{'async ' * self.is_async}def {self.name}{self.generic}("
        documented = list(doc_lines(self.doc, "    "))
        end = f") -> {self.returns}:" + ("" if documented else " ...")
        line = head + ", ".join(self.parameters) + end
        if len(line) + 4 <= WIDTH:
            yield line
        else:
            yield head
            yield from (f"    {parameter}," for parameter in self.parameters)
            yield end
        yield from documented


def attribute_lines(
    name: str, given: str, taken: str | None, doc: str | None, decorator: str
) -> Iterator[str]:
    """Yield the lines of an attribute.

    Args:
        given: the type that it is read as.
        taken: the type that it can be set to, None if it cannot be set.
        decorator: what `property` is called in the stub.
    """
    if taken == given:
        yield f"{name}: {given}"
        yield from doc_lines(doc, "")
        return
    yield from Signature(name, ["self"], given, doc, (f"@{decorator}",)).lines()
    if taken is not None:
        parameters = ["self", f"value: {taken}"]
        yield from Signature(name, parameters, "None", None, (f"@{name}.setter",)).lines()


def doc_lines(doc: str | None, indent: str) -> Iterator[str]:
    """Yield a docstring, indented and escaped; nothing if there is none."""
    if doc:
        escaped = doc.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        first, *rest = escaped.splitlines()
        if not rest:
            yield f'{indent}"""{first}{" " * first.endswith(chr(34))}"""'
            return
        yield f'{indent}"""{first}'
        yield from (f"{indent}{line}".rstrip() for line in rest)
        yield f'{indent}"""'


def plain_parameters(listed: list[tuple[str, int, bool]], anything: str) -> Iterator[str]:
    """Yield parameters of which only the name, the kind and whether there is a default is known."""
    before = 0
    for name, kind, has_default in listed:
        if before == 0 < kind and any(k == 0 for _, k, _ in listed):
            yield "/"
        if kind == 3 and before < 2:
            yield "*"
        stars = {2: "*", 4: "**"}.get(kind, "")
        yield f"{stars}{name}: {anything}" + " = ..." * has_default
        before = kind
    if listed and before == 0:
        yield "/"
