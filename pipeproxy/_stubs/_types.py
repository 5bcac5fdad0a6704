"""Annotations, moved from where they stand into a stub.

An object of a proxied class never travels: what a method returns arrives as its proxy, and where
one is taken the proxy is taken as well. So a type is moved in one of several ways.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Collection
from enum import Enum
from types import GenericAlias

from ._meaning import Meaning, is_type, meaning_of
from ._names import Names
from ._parameters import Parameter, Scope, definition, parameter_called
from ._sources import Origin, dotted, find, loaded


class Way(Enum):
    """What a type is of: a value that a proxy gives, one that it takes, or neither.

    In what is taken and could be changed, as a list, either objects or proxies are `SAME` in kind.
    """

    GIVEN, TAKEN, PLAIN, SAME = range(4)


_OTHER = {
    Way.GIVEN: Way.TAKEN,
    Way.TAKEN: Way.GIVEN,
    Way.SAME: Way.GIVEN,
    Way.PLAIN: Way.PLAIN,
}
_TYPING = {
    "typing",
    "typing_extensions",
    "collections.abc",
    "builtins",
    "contextlib",
    "dataclasses",
}
_SENT = {"Generator", "AsyncGenerator", "Coroutine"}  # their second argument goes the other way

#: A list of accounts is no list of accounts and proxies; what can only be read is.
_READ_ONLY = _SENT.union(
    "Iterable Iterator Sequence Collection Container Reversible AbstractSet Mapping".split(),
    "tuple Tuple frozenset FrozenSet KeysView ValuesView ItemsView".split(),
    "Awaitable AsyncIterable AsyncIterator ContextManager AsyncContextManager".split(),
    "AbstractContextManager AbstractAsyncContextManager".split(),
    "Optional Union Unpack Required NotRequired ReadOnly ClassVar Final".split(),
)


class Types:
    """Moves the annotations of one class into a stub.

    Args:
        names: of the stub.
        hidden: the names of the members of the class, which hide others inside of it.
        proxy_of: the module and name of a class's proxies, None if its objects travel by value.

    Attributes:
        free: the type variables met that no class has, since it was last emptied.
        in_function: whether type variables can be added where the annotation is moved to.
    """

    def __init__(
        self,
        names: Names,
        hidden: Collection[str],
        proxy_of: Callable[[type], tuple[str, str] | None],
    ) -> None:
        self.free: dict[str, Parameter] = {}
        self.in_function = False
        self._names = names
        self._hidden = hidden
        self._proxy_of = proxy_of
        self._followed: list[ast.stmt] = []

    def text(self, annotation: ast.expr, scope: Scope, way: Way) -> str:
        """An annotation as it is to stand in the stub, in its author's words where they hold."""
        original = unquoted(annotation)
        moved = self._move(original, scope, way)
        if ast.dump(moved) != ast.dump(original):
            return ast.unparse(moved)
        if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
            return annotation.value.strip()
        # What was in quotes before is not where it says that it is.
        written = ast.get_source_segment(scope.source.text, annotation) or ""
        same = "\n" not in written and _same(written, original)
        return written if same else ast.unparse(moved)

    def name(self, module: str, name: str) -> str:
        """What a name of a well-known module is called in the stub."""
        return self._names.of(module, name, name, self._hidden)

    def expression(self, value: ast.expr, scope: Scope) -> str:
        """A decorator; what is in quotes stays in quotes."""
        if isinstance(value, ast.Call):
            arguments = [self.expression(a, scope) for a in value.args]
            arguments += [f"{k.arg}={self.expression(k.value, scope)}" for k in value.keywords]
            return f"{self.expression(value.func, scope)}({', '.join(arguments)})"
        return ast.unparse(self._move_name(value, scope, Way.PLAIN) if dotted(value) else value)

    def parameters(self, parameters: Collection[Parameter]) -> str:
        """The type variables in brackets, "" if there are none."""
        texts = []
        for name, stars, bounds, default, scope, is_made in parameters:
            way = Way.TAKEN if is_made else Way.PLAIN
            moved = [self.text(bound, scope, way) for bound in bounds]
            text = stars + name
            if moved:
                text += f": {moved[0]}" if len(moved) == 1 else f": ({', '.join(moved)})"
            if default is not None:
                text += f" = {self.text(default, scope, Way.PLAIN)}"
            texts.append(text)
        return f"[{', '.join(texts)}]" if texts else ""

    def class_at(self, name: ast.expr, scope: Scope) -> type | None:
        """The class that a name stands for."""
        found = meaning_of(name, scope)
        value = loaded(found.origin) if found else None
        is_class = isinstance(value, type) and not isinstance(value, GenericAlias)  # in 3.10 both
        return value if is_class else None

    def is_proxied(self, cls: type) -> bool:
        """Say whether objects of a class arrive as proxies."""
        return bool(self._proxy_of(cls))

    def special(self, name: ast.expr, scope: Scope) -> str:
        """The name in `typing` or a module alike of what a name stands for, "" for others."""
        found = meaning_of(name, scope)
        return found.origin.qualname if found and found.origin.module in _TYPING else ""

    def origin(self, name: ast.expr, scope: Scope) -> Origin | None:
        """Where what a name stands for is defined."""
        found = meaning_of(name, scope)
        return found.origin if found else None

    # -- moving -----------------------------------------------------------------------------------

    def _move(self, node: ast.expr, scope: Scope, way: Way) -> ast.expr:
        node = unquoted(node)
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._move_name(node, scope, way)
        if isinstance(node, ast.Subscript):
            return self._move_subscript(node, scope, way)
        if isinstance(node, ast.BinOp):
            left, right = (self._move(side, scope, way) for side in (node.left, node.right))
            return ast.BinOp(left, node.op, right)
        if isinstance(node, (ast.List, ast.Tuple)):
            return type(node)([self._move(e, scope, way) for e in node.elts], ast.Load())
        if isinstance(node, ast.Starred):
            return ast.Starred(self._move(node.value, scope, way), ast.Load())
        return node

    def _move_name(self, node: ast.expr, scope: Scope, way: Way) -> ast.expr:
        first, *rest = dotted(node) or [""]
        if first in scope.arguments:
            argument = scope.arguments[first]
            if argument is None or rest:  # P.args of a parameter specification
                return node
            return self._move(*argument, way)
        parameter = parameter_called(first, scope)
        if parameter:
            self.free[first] = parameter
            return node
        found = meaning_of(node, scope)
        if found is None:
            return node
        if way is Way.SAME and self._is_proxied(node, scope):
            return self._made(node, scope)
        proxy = self._proxy(node, scope) if way is not Way.PLAIN else None
        if proxy:
            return proxy if way is Way.GIVEN else _union([self._plain(found), proxy])
        alias = self._alias(found) if way is not Way.PLAIN else None
        return self._move(*alias, way) if alias else self._plain(found)

    def _move_subscript(self, node: ast.Subscript, scope: Scope, way: Way) -> ast.expr:
        special = self.special(node.value, scope)
        inner = list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]
        if special == "Literal":
            values = [
                e if isinstance(e, ast.Constant) else self._move(e, scope, way) for e in inner
            ]
            return self._subscript(self._move(node.value, scope, way), values)
        if special == "Annotated":
            return self._move(inner[0], scope, way)
        if special in {"type", "Type"}:
            way = Way.PLAIN  # classes travel by name
        if way is Way.SAME and self._is_proxied(node.value, scope):
            return self._made(node, scope)
        proxy = self._proxy(node.value, scope) if way is not Way.PLAIN else None
        if proxy:
            given = self._subscript(proxy, [self._argument(e, scope) for e in inner])
            plain = [] if way is Way.GIVEN else [self._move(node, scope, Way.PLAIN)]
            return _union([*plain, given])
        if special == "Callable" and len(inner) == 2:
            ways = [_OTHER[way], way]
        elif way is Way.TAKEN and special not in _READ_ONLY and self._mentions(node.slice, scope):
            kinds = [Way.SAME] if self.in_function else [Way.PLAIN, Way.GIVEN, Way.TAKEN]
            return _union([self._with(node, inner, scope, [w] * len(inner)) for w in kinds])
        else:
            ways = [_OTHER[way] if special in _SENT and i == 1 else way for i in range(len(inner))]
        return self._with(node, inner, scope, ways)

    def _made(self, node: ast.expr, scope: Scope) -> ast.expr:
        """A type variable for a class or its proxies: a list of accounts is no list of both."""
        name = "Any" + dotted(node.value if isinstance(node, ast.Subscript) else node)[-1]
        number = 1 + sum(made.rstrip("0123456789") == name for made in self.free)
        name += str(number) if number > 1 else ""  # AnyAccount, AnyAccount2
        self.free[name] = Parameter(name, "", (node,), None, scope, is_made=True)
        return ast.Name(name, ast.Load())

    def _argument(self, node: ast.expr, scope: Scope) -> ast.expr:
        """The type argument of a proxy.

        A Protocol whose method returns another of itself, with more and more round its type
        variable, has no end for mypy when it compares two of them.
        """
        node = unquoted(node)
        names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        free = any(n in scope.arguments or parameter_called(n, scope) for n in names)
        if free and not isinstance(node, ast.Name):
            return ast.Name(self.name("typing", "Any"), ast.Load())
        return self._move(node, scope, Way.GIVEN)

    def _with(
        self, node: ast.Subscript, inner: list[ast.expr], scope: Scope, ways: list[Way]
    ) -> ast.expr:
        moved = [self._move(e, scope, way) for e, way in zip(inner, ways, strict=True)]
        return self._subscript(self._move(node.value, scope, Way.PLAIN), moved)

    @staticmethod
    def _subscript(head: ast.expr, inner: list[ast.expr]) -> ast.expr:
        one = inner[0] if len(inner) == 1 else ast.Tuple(inner, ast.Load())
        return ast.Subscript(head, one, ast.Load())

    def _plain(self, found: Meaning) -> ast.expr:
        if found.name is None:
            head = self._names.of_module(found.module, found.spelled, self._hidden)
        else:
            head = self._names.of(found.module, found.name, found.spelled, self._hidden)
        return _dotted([*head.split("."), *found.rest])

    # -- finding ----------------------------------------------------------------------------------

    def _is_proxied(self, node: ast.expr, scope: Scope) -> bool:
        cls = self.class_at(node, scope)
        return bool(cls and self._proxy_of(cls))

    def _proxy(self, node: ast.expr, scope: Scope) -> ast.expr | None:
        cls = self.class_at(node, scope)
        proxy = self._proxy_of(cls) if cls else None
        if not proxy:
            return None
        module, name = proxy
        if module:
            return ast.Name(self._names.of(module, name, name, self._hidden), ast.Load())
        return ast.Name(self._names.own(name, self._hidden), ast.Load())

    def _alias(self, found: Meaning) -> tuple[ast.expr, Scope] | None:
        """What a name was given to, if that mentions a proxied class."""
        source = find(found.origin.module)
        defined = definition(source, found.origin.qualname) if source else None
        if defined is None or isinstance(defined[1], (ast.ClassDef, ast.FunctionDef)):
            return None
        value = getattr(defined[1], "value", None)
        scope = Scope(defined[0])
        if not isinstance(value, ast.expr) or not is_type(value) or defined[1] in self._followed:
            return None
        self._followed.append(defined[1])  # an alias may lead to itself
        mentions = self._mentions(value, scope)
        self._followed.pop()
        return (value, scope) if mentions else None

    def _mentions(self, node: ast.expr, scope: Scope) -> bool:
        node = unquoted(node)
        if isinstance(node, (ast.Name, ast.Attribute)):
            first = dotted(node)[:1]
            argument = scope.arguments.get(*first) if first else None
            if argument:
                return self._mentions(*argument)
            cls = self.class_at(node, scope)
            if cls:
                return bool(self._proxy_of(cls))
            found = meaning_of(node, scope)
            return bool(found and self._alias(found))
        if isinstance(node, ast.Subscript) and self.special(node.value, scope) == "Literal":
            return False
        children = (c for c in ast.iter_child_nodes(node) if isinstance(c, ast.expr))
        return any(self._mentions(child, scope) for child in children)


def _same(text: str, node: ast.expr) -> bool:
    try:
        return ast.dump(ast.parse(text, mode="eval").body) == ast.dump(node)
    except SyntaxError:
        return False


def unquoted(node: ast.expr) -> ast.expr:
    """An annotation, also where it stands in quotes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        try:
            return ast.parse(node.value.strip(), mode="eval").body
        except SyntaxError:
            return node
    return node


def _union(parts: list[ast.expr]) -> ast.expr:
    union = parts[0]
    for part in parts[1:]:
        union = ast.BinOp(union, ast.BitOr(), part)
    return union


def _dotted(parts: list[str]) -> ast.expr:
    node: ast.expr = ast.Name(parts[0], ast.Load())
    for part in parts[1:]:
        node = ast.Attribute(node, part, ast.Load())
    return node
