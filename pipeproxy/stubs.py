"""``python -m pipeproxy stubs``: types of proxies, exactly as far as the proxies go.

For each module a stub ``typings/pipeproxy_proxies/<module path>.pyi`` is written, with one Protocol
for each class in it whose objects are shared. See the README, "Types".
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from ._specs._options import is_described
from ._stubs._file import HEADER, proxy_name, stub
from .errors import SpecError

__all__ = ["StubError", "Stubs", "main"]

PACKAGE = "pipeproxy_proxies"


class StubError(Exception):
    """No stub can be made of a module; the text says why, in one line."""


class Stubs:
    """The stubs of some modules, and of those whose proxied classes they mention.

    Args:
        targets: modules, as ``examples.bank``, of which the proxied classes are wanted: those
            that `proxied` was told of, and their subclasses; and classes, as ``queue:Queue``,
            whether it was told of them or not.

    Attributes:
        files: what is to stand in each file below ``typings``, None where there should be none,
            as the module has no proxied class.
        packages: the ``__init__.pyi`` on the way to these: must be there, with whatever in it.
        unknown: the attributes for which no type was found, with their modules.

    Raises:
        StubError: a module cannot be imported or parsed, or objects of a class cannot be shared.
    """

    def __init__(self, targets: Iterable[str]) -> None:
        self.files: dict[Path, str | None] = {}
        self.packages: set[Path] = set()
        self.unknown: list[str] = []
        self._classes: dict[str, dict[type[Any], None]] = {}
        self._waiting: list[str] = []
        for target in targets:
            self._add(target)
        while self._waiting:
            self._write(self._waiting.pop(0))
        inits = {p / "__init__.pyi" for path in self.files for p in path.parents[:-1]}
        self.packages = inits.difference(self.files)

    def _add(self, target: str) -> None:
        name, colon, qualname = target.partition(":")
        module = _import(name)
        if not colon:
            self._want(name)
            return
        found: Any = module
        for part in qualname.split("."):
            found = getattr(found, part, None)
        if not isinstance(found, type):
            raise StubError(f"{name} has no class {qualname}")
        if _class_at(found) is not found:
            raise StubError(f"{target} is not found where it says that it is: {found!r}")
        self._want(found.__module__)
        self._classes[found.__module__][found] = None

    def _want(self, name: str) -> None:
        if name not in self._classes:
            self._classes[name] = dict.fromkeys(_described(_import(name), name))
            self._waiting.append(name)

    def _write(self, name: str) -> None:
        is_package = hasattr(_import(name), "__path__")
        path = Path(PACKAGE, *name.split("."))
        path = path / "__init__.pyi" if is_package else path.with_name(f"{path.name}.pyi")
        classes = list(self._classes[name])
        if not classes:
            self.files[path] = HEADER if is_package else None
            return

        def proxy_of(cls: type[Any]) -> tuple[str, str] | None:
            if not is_described(cls) or _class_at(cls) is not cls:
                return None
            self._want(cls.__module__)
            module = "" if cls.__module__ == name else f"{PACKAGE}.{cls.__module__}"
            return module, proxy_name(cls)

        try:
            made = stub(classes, proxy_of)
        except SyntaxError as error:
            raise StubError(f"{error.filename} cannot be parsed: {error}") from error
        except (SpecError, UnicodeError) as error:
            raise StubError(f"of {name} no stub can be made: {_line(error)}") from error
        self.files[path] = made.text
        if all(map(is_described, classes)):  # else they are somebody else's, and cannot be mended
            self.unknown += [f"{name}: {attribute}" for attribute in made.unknown]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the stubs, or compare them with what is there; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeproxy stubs",
        description="Write types for the proxies of the classes of modules.",
    )
    parser.add_argument(
        "modules",
        metavar="MODULE",
        nargs="+",
        help="a module whose proxied classes are wanted, or one class of any: queue:Queue",
    )
    parser.add_argument("--out", type=Path, default=Path("typings"), help="default: %(default)s")
    parser.add_argument(
        "--check", action="store_true", help="write nothing; print what differs and exit with 1"
    )
    options = parser.parse_args(arguments)
    try:
        made = Stubs(options.modules)
    except StubError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    differences = list(_differences(made, options.out))
    for path, before, after in differences:
        if options.check:
            old, new = (text.splitlines(keepends=True) for text in (before or "", after or ""))
            sys.stdout.writelines(difflib.unified_diff(old, new, str(path), str(path)))
        elif after is None:
            path.unlink()
            print(f"removed {path}")
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(after, "utf-8")
            print(f"wrote {path}")
    for attribute in made.unknown:
        print(f"note: {attribute} has no known type: annotate it", file=sys.stderr)
    return 1 if options.check and differences else 0


def _differences(made: Stubs, out: Path) -> Iterator[tuple[Path, str | None, str | None]]:
    """Yield each file that is not as it should be, with what is there and what should be."""
    for relative, after in sorted(made.files.items()):
        path = out / relative
        before = path.read_text("utf-8") if path.is_file() else None
        foreign = before is not None and not before.startswith(HEADER)
        if before != after and not (after is None and foreign):
            yield path, before, after
    for relative in sorted(made.packages):
        if not (out / relative).is_file():
            yield out / relative, None, HEADER


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except (Exception, SystemExit) as error:
        raise StubError(f"{name} cannot be imported: {_line(error)}") from error


def _line(error: BaseException) -> str:
    text = next(iter(str(error).splitlines()), "")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _described(namespace: Any, module: str) -> Iterator[type[Any]]:
    """Yield the proxied classes that a module or a class holds and that are defined there."""
    for value in list(vars(namespace).values()):
        if isinstance(value, type) and value.__module__ == module and _class_at(value) is value:
            if is_described(value):
                yield value
            if value is not namespace and value.__qualname__.startswith(_inside(namespace)):
                yield from _described(value, module)


def _inside(namespace: Any) -> str:
    return f"{namespace.__qualname__}." if isinstance(namespace, type) else ""


def _class_at(cls: type[Any]) -> object:
    """What is found where a class says that it is defined."""
    found: Any = sys.modules.get(cls.__module__)
    for name in cls.__qualname__.split("."):
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    return found
