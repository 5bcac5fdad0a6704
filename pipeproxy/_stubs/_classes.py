"""One Protocol for one class: exactly what its proxies show."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from .._specs._spec import Attribute, Method, Spec, describe
from ._declared import Annotated, Declarations, Functions, Nested, Values
from ._functions import FunctionWriter, is_property
from ._guess import Guess
from ._lines import attribute_lines, doc_lines
from ._names import Names
from ._sources import dotted
from ._types import Types, Way

ProxyOf = Callable[[type], "tuple[str, str] | None"]


class Writer:
    """Writes the Protocol of one class.

    Args:
        cls: the class.
        name: of the Protocol.
        names: of the stub.
        proxy_of: see `Types`.

    Attributes:
        unknown: the attributes whose types are not known.
    """

    def __init__(self, cls: type[Any], name: str, names: Names, proxy_of: ProxyOf) -> None:
        self._cls = cls
        self._name = name
        self._spec: Spec = describe(cls)
        self._declared = Declarations(cls)
        members = {m.name for m in self._spec.methods} | {a.name for a in self._spec.attributes}
        self._types = Types(names, members, proxy_of)
        self._functions = FunctionWriter(self._types, cls, name)
        self._fixed = _fixed_fields(cls)
        self.unknown: list[str] = []

    def lines(self) -> Iterator[str]:
        """Yield the lines of the Protocol."""
        generic = self._types.parameters(self._declared.parameters)
        protocol = self._types.name("typing", "Protocol")
        yield f"class {self._name}{generic}({protocol}):"
        body = [line for member in self._members() for line in member]
        doc = list(doc_lines(self._spec.doc, ""))
        for line in [*doc, *([""] if doc and body else []), *body] or ["..."]:
            yield f"    {line}".rstrip()

    def _members(self) -> Iterator[list[str]]:
        attributes = [self._attribute(a) for a in self._spec.attributes]
        methods = [list(self._method(m)) for m in self._spec.methods]
        if any(m.name == "__eq__" for m in self._spec.methods):
            # Without it some type checkers say that what defines __eq__ has no hash.
            methods.append([f"def __hash__(self) -> {self._types.name('builtins', 'int')}: ..."])
        dynamic = self._declared.of("__getattr__")
        if isinstance(dynamic, Functions) and not self._spec.closed:
            methods.append(list(self._functions.method_lines(dynamic, "__getattr__", None)))
        yield from _spaced([*attributes, *methods])

    def _method(self, method: Method) -> Iterator[str]:
        declared = self._declared.of(method.name)
        if isinstance(declared, Functions) and not is_property(declared, self._types):
            yield from self._functions.method_lines(declared, method.name, method.doc)
        else:
            yield from self._functions.unwritten_lines(method)

    def _attribute(self, attribute: Attribute) -> list[str]:
        name, declared = attribute.name, self._declared.of(attribute.name)
        readonly = name in self._spec.readonly or name in self._fixed
        if isinstance(declared, Functions):
            if is_property(declared, self._types):
                return list(self._functions.property_lines(declared, name, readonly))
            return list(self._functions.method_lines(declared, name, attribute.doc))
        given = taken = None
        if isinstance(declared, Nested):
            cls = self._types.text(declared.name, declared.scope, Way.PLAIN)
            given = taken = f"{self._types.name('builtins', 'type')}[{cls}]"
        if isinstance(declared, Annotated):
            annotation, final = self._stripped(declared)
            if annotation is not None:
                given, taken = (
                    self._types.text(annotation, declared.scope, way)
                    for way in (Way.GIVEN, Way.TAKEN)
                )
            else:
                declared = self._declared.values(name)
            readonly = readonly or final
        if isinstance(declared, Values):
            guess = Guess(self._types)
            given, taken = (guess.of(declared, way) for way in (Way.GIVEN, Way.TAKEN))
        if given is None:
            self.unknown.append(name)
            given = taken = self._types.name("typing", "Any")
        setter = None if readonly or _without_setter(self._cls, name) else taken
        decorator = self._types.name("builtins", "property")
        # What a value is documented by is the docstring of its own class.
        doc = attribute.doc if declared is None else None
        return list(attribute_lines(name, given, setter, doc, decorator))

    def _stripped(self, declared: Annotated) -> tuple[ast.expr | None, bool]:
        """An annotation without ``ClassVar`` or the like round it, and whether it is final."""
        annotation, final = declared.annotation, False
        while True:
            if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
                annotation = ast.parse(annotation.value.strip(), mode="eval").body
            head = annotation.value if isinstance(annotation, ast.Subscript) else annotation
            special = self._types.special(head, declared.scope) if dotted(head) else ""
            if special not in {"ClassVar", "Final", "InitVar"}:
                return annotation, final
            final = final or special == "Final"
            if not isinstance(annotation, ast.Subscript):
                return None, final
            annotation = annotation.slice


def _spaced(members: list[list[str]]) -> Iterator[list[str]]:
    """Put an empty line between what takes several lines and its neighbours."""
    before: list[str] = []
    for member in filter(None, members):
        if before and (len(member) > 1 or len(before) > 1):
            yield [""]
        yield member
        before = member


def _fixed_fields(cls: type[Any]) -> frozenset[str]:
    """The fields of a class whose objects do not let them be set."""
    names: set[str] = set()
    for base in cls.__mro__:
        parameters = base.__dict__.get("__dataclass_params__")
        if parameters is not None and parameters.frozen:
            names.update(field.name for field in dataclasses.fields(base))
        setter = getattr(base.__dict__.get("__setattr__"), "__name__", "")
        if setter.startswith("_frozen"):
            names.update(field.name for field in base.__dict__.get("__attrs_attrs__", ()))
        if issubclass(base, tuple):
            names.update(base.__dict__.get("_fields", ()))
    return frozenset(names)


def _without_setter(cls: type[Any], name: str) -> bool:
    found = inspect.getattr_static(cls, name, None)
    return isinstance(found, property) and found.fset is None
