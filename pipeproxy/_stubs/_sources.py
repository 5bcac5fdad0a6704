"""Modules as type checkers see them: their syntax trees, and where their names come from."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib.util
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

#: Whatever binds a name to something that is defined there.
Definition = ast.stmt


class Imported(NamedTuple):
    """A name that a module takes from another: a member of it, or itself if `name` is None."""

    module: str
    name: str | None


class Origin(NamedTuple):
    """Where something is defined: a module, and the qualified name in it."""

    module: str
    qualname: str


class Source:
    """One module: its tree, and what each name at its top level is bound to.

    Attributes:
        name: of the module.
        path: of the file, a stub wherever there is one.
        names: what is bound to each name by what type checkers take for executed.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self.is_package = path.stem == "__init__"
        self.text = path.read_text("utf-8")
        self.tree = ast.parse(self.text, str(path))
        self.names: dict[str, Imported | Definition] = {}
        self._stars: list[str] = []
        for statement in executed(self.tree.body):
            if isinstance(statement, (ast.Import, ast.ImportFrom)):
                self._add_import(statement)
            else:
                self.names.update(dict.fromkeys(bound_by(statement), statement))

    def _add_import(self, statement: ast.Import | ast.ImportFrom) -> None:
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                module = alias.name if alias.asname else alias.name.partition(".")[0]
                self.names[alias.asname or module] = Imported(module, None)
            elif alias.name == "*":
                self._stars.append(self._absolute(statement))
            else:
                imported = Imported(self._absolute(statement), alias.name)
                self.names[alias.asname or alias.name] = imported

    def _absolute(self, statement: ast.ImportFrom) -> str:
        if not statement.level:
            return statement.module or ""
        parts = self.name.split(".")
        parts = parts[: len(parts) - statement.level + self.is_package]
        return ".".join([*parts, *([statement.module] if statement.module else [])])

    def binding(self, name: str) -> Imported | Definition | None:
        """What `name` is bound to, by a star as well."""
        if name in self.names:
            return self.names[name]
        for module in self._stars:
            source = find(module)
            if source and source.binding(name):
                return Imported(module, name)
        return None

    def origin(self, name: str) -> Origin | None:
        """Where what is called `name` here is defined, None if it is a module or unknown."""
        bound = self.binding(name)
        for _ in range(20):  # there are circles of imports
            if bound is None:
                return Origin("builtins", name) if hasattr(builtins, name) else None
            if not isinstance(bound, Imported):
                return Origin(self.name, name)
            if bound.name is None or find_module(f"{bound.module}.{bound.name}"):
                return None
            source = None if is_standard(bound.module) else find(bound.module)
            if source is None or source is self:
                return Origin(bound.module, bound.name)
            further = source.binding(bound.name)
            if not isinstance(further, Imported):
                return Origin(bound.module, bound.name)
            bound = further
        return None

    def class_at(self, qualname: str) -> tuple[Source, ast.ClassDef] | None:
        """The definition of a class of this module, or of one that it imports."""
        first, *inner = qualname.split(".")
        found = self.binding(first)
        if isinstance(found, Imported):
            source = find(found.module) if found.name else None
            if source is None or source is self:
                return None
            return source.class_at(".".join([found.name or "", *inner]))
        for name in inner:
            if not isinstance(found, ast.ClassDef):
                return None
            members = (s for s in executed(found.body) if name in bound_by(s))
            found = next(members, None)
        return (self, found) if isinstance(found, ast.ClassDef) else None


@functools.cache
def find(module: str) -> Source | None:
    """The module as type checkers see it, None if there is nothing to be read.

    Raises:
        SyntaxError: there is, and it cannot be parsed.
    """
    path = find_module(module)
    return Source(module, path) if path else None


@functools.cache
def find_module(module: str) -> Path | None:
    """The file to read of a module: a stub before the source, typeshed's if mypy is installed."""
    if is_standard(module):
        path = _in(_typeshed(), module)
        if path:
            return path
    else:
        top, _, rest = module.partition(".")
        for entry in sys.path:
            path = _in(Path(entry or "."), ".".join(filter(None, [f"{top}-stubs", rest])))
            if path:
                return path
    try:
        spec = importlib.util.find_spec(module)
    except Exception:  # whatever a parent package raises when it is imported
        return None
    if spec is None or not spec.origin:
        return None
    for path in (Path(spec.origin).with_suffix(".pyi"), Path(spec.origin)):
        if path.suffix in {".py", ".pyi"} and path.is_file():
            return path
    return None


def is_standard(module: str) -> bool:
    """Say whether a module is Python's own, or one that only type checkers know."""
    return module.partition(".")[0] in _STANDARD


def loaded(origin: Origin) -> Any:
    """The object itself, None if it cannot be had. Imports a module, as the user's own would."""
    try:
        found = import_module(origin.module)
        for name in origin.qualname.split("."):
            found = getattr(found, name)
    except Exception:  # whatever the module raises; it is needed by type checkers only
        return None
    return found


def executed(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yield the statements that type checkers take for executed, the last one holds."""
    for statement in body:
        if isinstance(statement, ast.If):
            holds = _holds(statement.test)
            if holds is not True:
                yield from executed(statement.orelse)
            if holds is not False:
                yield from executed(statement.body)
        elif isinstance(statement, ast.Try):
            for handler in statement.handlers:
                yield from executed(handler.body)
            yield from executed([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.With):
            yield from executed(statement.body)
        else:
            yield statement


def bound_by(statement: ast.stmt) -> list[str]:
    """The names that a statement binds, imports apart."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return [statement.name]
    if isinstance(statement, ast.Assign):
        return [t.id for t in statement.targets if isinstance(t, ast.Name)]
    target = getattr(statement, "target", getattr(statement, "name", None))  # also `type X = ...`
    return [target.id] if isinstance(target, ast.Name) else []


def dotted(expression: ast.expr) -> list[str]:
    """The parts of ``a.b.c``, none if the expression is of another form."""
    if isinstance(expression, ast.Name):
        return [expression.id]
    if isinstance(expression, ast.Attribute):
        before = dotted(expression.value)
        return [*before, expression.attr] if before else []
    return []


_STANDARD = sys.stdlib_module_names | {"_typeshed", "typing_extensions"}


@functools.cache
def _typeshed() -> Path:
    spec = importlib.util.find_spec("mypy")
    found = spec.submodule_search_locations if spec else None
    return Path(*(found or ["-"])[:1], "typeshed", "stdlib")


def _in(directory: Path, module: str) -> Path | None:
    base = directory.joinpath(*module.split("."))
    files = (base / "__init__.pyi", base.with_name(f"{base.name}.pyi"))
    return next((path for path in files if path.is_file()), None)


def _holds(test: ast.expr) -> bool | None:
    """Say how a condition ends for a type checker, None if that is not for it to know."""
    if isinstance(test, ast.BoolOp):
        values = [_holds(value) for value in test.values]
        last = isinstance(test.op, ast.Or)  # True decides an `or`, False an `and`
        if last in values:
            return last
        return None if None in values else not last
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _holds(test.operand)
        return None if inner is None else not inner
    text = ast.unparse(test)
    if text in {"TYPE_CHECKING", "typing.TYPE_CHECKING", "t.TYPE_CHECKING"}:
        return True
    if text == "__name__ == '__main__'":
        return False
    if text.startswith(("sys.version_info", "sys.platform")):
        try:
            return bool(eval(text, {"sys": sys}))
        except Exception:
            return None
    return None
