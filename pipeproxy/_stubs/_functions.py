"""The methods and properties of one Protocol, from how they are written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from copy import copy

from .._specs._batching import batched
from .._specs._spec import Method
from ._declared import Function, Functions
from ._lines import Signature, attribute_lines, plain_parameters
from ._parameters import Argument, Scope, parameter_called, parameters_written
from ._sources import Origin, dotted, find
from ._types import Types, Way, unquoted

#: Decorators that change how a method is called, and that a type checker understands in a stub.
_KEPT = {
    ("contextlib", "contextmanager"),
    ("contextlib", "asynccontextmanager"),
    ("typing", "overload"),
    ("warnings", "deprecated"),
    ("typing_extensions", "deprecated"),
}
#: Those that leave the type of what they stand over as it is.
_SAME = {"abc", "functools", "typing", "typing_extensions", "builtins", "types", "enum"}
_PROPERTIES = {"property", "cached_property", "abstractproperty"}

#: What Python gives special methods, and they return, where no source says so.
_SPECIAL = {
    **dict.fromkeys(("__eq__", "__ne__"), (["other: object"], "bool")),
    **dict.fromkeys(("__lt__", "__le__", "__gt__", "__ge__"), (["other: {Any}"], "bool")),
    **dict.fromkeys(("__str__", "__fspath__"), ([], "str")),
    **dict.fromkeys(("__len__", "__int__", "__index__", "__length_hint__"), ([], "int")),
    "__bool__": ([], "bool"),
    "__bytes__": ([], "bytes"),
    "__float__": ([], "float"),
    "__complex__": ([], "complex"),
    "__format__": (["format_spec: str"], "str"),
    "__contains__": (["item: object"], "bool"),
}


def is_property(functions: Functions, types: Types) -> bool:
    """Say whether what is written is read like an attribute."""
    decorators = (d for node in functions.nodes for d in node.decorator_list)
    return any(_property_kind(d, functions.scope, types) for d in decorators)


class FunctionWriter:
    """Writes the functions of one class.

    Args:
        types: moves annotations into the stub.
        cls: the class.
        name: of the Protocol.
    """

    def __init__(self, types: Types, cls: type, name: str) -> None:
        self._types = types
        self._cls = cls
        self._name = name

    def property_lines(self, functions: Functions, name: str, readonly: bool) -> Iterator[str]:
        """Yield the lines of a property, without what a proxy may not do."""
        getter, setter = None, None
        for node in functions.nodes:
            last = _decorator_names(node)
            if ["setter"] in last:
                setter = node
            elif ["deleter"] not in last:
                getter = node
        if getter is None:
            return
        scope = _scope_of(getter, functions.scope)
        given = self._annotation(getter.returns, scope, Way.GIVEN)
        writable = not readonly and (
            setter is not None or ["cached_property"] in _decorator_names(getter)
        )
        taken = self._annotation(getter.returns, scope, Way.TAKEN) if writable else given
        if setter is not None and writable and len(setter.args.args) > 1:
            value = setter.args.args[1].annotation
            taken = self._annotation(value, _scope_of(setter, functions.scope), Way.TAKEN)
        yield from attribute_lines(
            name,
            given,
            taken if writable else None,
            ast.get_docstring(getter),
            self._types.name("builtins", "property"),
        )

    def method_lines(self, functions: Functions, name: str, doc: str | None) -> Iterator[str]:
        """Yield the lines of a method, all of its overloads."""
        overloads = [n for n in functions.nodes if ["overload"] in _decorator_names(n)]
        for node in overloads or functions.nodes[-1:]:
            text = doc if node is (overloads or functions.nodes)[-1] else None
            yield from self._lines(node, functions.scope, name, ast.get_docstring(node) or text)

    def unwritten_lines(self, method: Method) -> Iterator[str]:
        """Yield the lines of a method of which only the program itself knows."""
        anything = self._types.name("typing", "Any")
        if method.name in _SPECIAL:
            taken, result = _SPECIAL[method.name]
            parameters = ["self", *(t.format(Any=anything) for t in taken)] + ["/"] * bool(taken)
            returns = self._types.name("builtins", result)
            yield from Signature(method.name, parameters, returns).lines()
            return
        if method.parameters is None:
            parameters = ["self", f"*args: {anything}", f"**kwargs: {anything}"]
        else:
            listed = [(p.name, p.kind, p.default is not None) for p in method.parameters]
            parameters = ["self", *plain_parameters(listed, anything)]
        yield from Signature(method.name, parameters, anything, method.doc).lines()

    # -- one function -----------------------------------------------------------------------------

    def _lines(self, node: Function, scope: Scope, name: str, doc: str | None) -> Iterator[str]:
        types = self._types
        scope = _scope_of(node, scope)
        if any(self._is_batched(decorator, scope) for decorator in node.decorator_list):
            node = self._of_one(node, scope)
        decorators = tuple(self._decorators(node, scope))
        bound = not any(dotted(d) == ["staticmethod"] for d in node.decorator_list)
        parameters = node.args
        me = [*parameters.posonlyargs, *parameters.args][:1] if bound else []
        types.free = {p.name: p for p in parameters_written(node, scope)}
        if me and me[0].annotation is not None:
            scope = self._as_self(me[0].annotation, scope)
        self_text = self._self(me, scope)
        types.in_function = True
        texts = [self_text, *self._parameters(parameters, scope, skip=len(me))]
        types.in_function = False
        returns = self._returns(node, scope)
        generic = types.parameters(list(types.free.values()))
        is_async = isinstance(node, ast.AsyncFunctionDef) and not _yields(node)
        yield from Signature(name, texts, returns, doc, decorators, generic, is_async).lines()

    def _self(self, me: list[ast.arg], scope: Scope) -> str:
        """The first parameter: annotated where an overload is for some type arguments only."""
        written = me[0].annotation if me else None
        if not isinstance(written, ast.Subscript) or dotted(written.value)[-1:] == ["type"]:
            return "self"
        moved = self._types.text(written, scope, Way.GIVEN)
        arguments = moved[moved.index("[") :]
        cls = self._types.class_at(written.value, scope)
        if cls is self._cls:
            return f"self: {self._name}{arguments}"
        return f"self: {moved}" if cls and self._types.is_proxied(cls) else "self"

    def _as_self(self, annotation: ast.expr, scope: Scope) -> Scope:
        """The scope in which a type variable that stands for self is `Self`."""
        if isinstance(annotation, ast.Subscript) and dotted(annotation.value)[-1:] == ["type"]:
            annotation = annotation.slice
        if isinstance(annotation, ast.Name) and annotation.id not in scope.arguments:
            typing = find("typing_extensions") or find("typing")
            if typing and (
                parameter_called(annotation.id, scope) or annotation.id in self._types.free
            ):
                self._types.free.pop(annotation.id, None)
                itself = Argument(ast.Name("Self", ast.Load()), Scope(typing))
                return scope._replace(arguments={**scope.arguments, annotation.id: itself})
        return scope

    def _parameters(self, args: ast.arguments, scope: Scope, skip: int) -> Iterator[str]:
        before = [*args.posonlyargs, *args.args]
        defaults = [None] * (len(before) - len(args.defaults)) + [*args.defaults]
        for i, (arg, default) in enumerate(zip(before, defaults, strict=True)):
            if i >= skip:
                yield self._parameter(arg, default, scope)
            if i + 1 == len(args.posonlyargs) and (i >= skip or len(args.posonlyargs) > skip):
                yield "/"
        if args.vararg:
            yield f"*{self._parameter(args.vararg, None, scope)}"
        elif args.kwonlyargs:
            yield "*"
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
            yield self._parameter(arg, default, scope)
        if args.kwarg:
            yield f"**{self._parameter(args.kwarg, None, scope)}"

    def _parameter(self, arg: ast.arg, default: ast.expr | None, scope: Scope) -> str:
        text = f"{arg.arg}: {self._annotation(arg.annotation, scope, Way.TAKEN)}"
        return text if default is None else f"{text} = {_default(default, scope)}"

    def _annotation(self, annotation: ast.expr | None, scope: Scope, way: Way) -> str:
        if annotation is None:
            return self._types.name("typing", "Any")
        return self._types.text(annotation, scope, way)

    def _returns(self, node: Function, scope: Scope) -> str:
        if node.returns is None and scope.source.path.suffix != ".pyi":
            inside = list(_in_this_function(node))
            gives = any(isinstance(n, ast.Return) and n.value is not None for n in inside)
            raises = isinstance(node.body[-1], ast.Raise)
            if not gives and not raises and not _yields(node):
                return "None"
        return self._annotation(node.returns, scope, Way.GIVEN)

    # -- batched methods --------------------------------------------------------------------------

    def _is_batched(self, decorator: ast.expr, scope: Scope) -> bool:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        return self._types.origin(called, scope) == (batched.__module__, batched.__name__)

    def _of_one(self, node: Function, scope: Scope) -> Function:
        """A batched method as its callers see it: with one item in the place of each list."""
        node = copy(node)
        node.args, node.returns = copy(node.args), self._item_of(node.returns, scope)
        match node.returns:
            case ast.BinOp(result, ast.BitOr(), right):
                if self._types.special(right, scope) == "Exception":
                    node.returns = result  # the other is raised
        part = "args" if node.args.args else "posonlyargs"
        *before, last = getattr(node.args, part)
        item = copy(last)
        item.annotation = self._item_of(last.annotation, scope)
        setattr(node.args, part, [*before, item])
        return node

    def _item_of(self, annotation: ast.expr | None, scope: Scope) -> ast.expr | None:
        items = None if annotation is None else unquoted(annotation)
        if not isinstance(items, ast.Subscript):
            return None
        is_list = self._types.special(items.value, scope) in {"list", "List"}
        return items.slice if is_list else None

    # -- decorators -------------------------------------------------------------------------------

    def _decorators(self, node: Function, scope: Scope) -> Iterator[str]:
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            origin = self._types.origin(called, scope)
            kept = origin is not None and (tuple(origin) in _KEPT or _changes_type(origin))
            if kept and all(_is_plain(a) for a in _arguments(decorator)):
                yield f"@{self._types.expression(decorator, scope)}"


def _decorator_names(node: Function) -> list[list[str]]:
    return [dotted(decorator)[-1:] for decorator in node.decorator_list]


def _property_kind(decorator: ast.expr, scope: Scope, types: Types) -> str:
    last = (dotted(decorator) or [""])[-1]
    if last in _PROPERTIES or last in {"setter", "deleter"}:
        return last
    cls = types.class_at(decorator, scope)
    return "property" if cls and issubclass(cls, property) else ""


def _scope_of(node: Function, scope: Scope) -> Scope:
    """The scope of a function that has type variables of its own in brackets."""
    written: dict[str, None] = dict.fromkeys(p.name for p in parameters_written(node, scope))
    return scope._replace(arguments={**scope.arguments, **written}) if written else scope


def _default(default: ast.expr, scope: Scope) -> str:
    value = default.operand if isinstance(default, ast.UnaryOp) else default
    text = ast.get_source_segment(scope.source.text, default) or "..."
    return text if isinstance(value, ast.Constant) and len(text) <= 30 else "..."


def _yields(node: Function) -> bool:
    return any(isinstance(n, (ast.Yield, ast.YieldFrom)) for n in _in_this_function(node))


def _in_this_function(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            yield child
            yield from _in_this_function(child)


def _arguments(decorator: ast.expr) -> list[ast.expr]:
    if not isinstance(decorator, ast.Call):
        return []
    return [*decorator.args, *(k.value for k in decorator.keywords)]


def _is_plain(argument: ast.expr) -> bool:
    return isinstance(argument, ast.Constant) or bool(dotted(argument))


def _changes_type(origin: Origin) -> bool:
    """Say whether a user's decorator has a type, so that it means something in a stub."""
    top = origin.module.partition(".")[0]
    if top in _SAME or top == "pipeproxy":
        return False
    source = find(origin.module)
    defined = source.binding(origin.qualname) if source else None
    if not isinstance(defined, ast.FunctionDef):
        return False
    args = defined.args
    every = [*args.posonlyargs, *args.args, *args.kwonlyargs, args.vararg, args.kwarg]
    return defined.returns is not None and all(a.annotation for a in every if a)
