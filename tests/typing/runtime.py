"""The classes that proxies really have, where the stubs say that their types are.

For mypy's stubtest, which compares a stub with what its module holds when it is imported.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from importlib import import_module
from inspect import isfunction, signature
from pathlib import Path
from typing import Any

from pipeproxy._proxies._proxy import Proxy, proxy_class
from pipeproxy._specs._spec import describe
from pipeproxy._stubs._file import proxy_name
from pipeproxy.stubs import PACKAGE

TYPINGS = Path(__file__).parent.parent.parent / "typings"
#: A class may import the name of its proxies while it is made.
MODULE = """
from tests.typing.runtime import proxies

def __getattr__(name):
    return type(name, (), {})

globals().update(proxies(__name__))
del __getattr__
"""


def write(directory: Path) -> list[str]:
    """Write a package whose modules hold the classes; return the names of those with any."""
    names = []
    for stub in sorted(TYPINGS.glob(f"{PACKAGE}/**/*.pyi")):
        path = stub.relative_to(TYPINGS)
        module = directory / path.with_suffix(".py")
        module.parent.mkdir(parents=True, exist_ok=True)
        has_any = "\nclass " in stub.read_text("utf-8")
        module.write_text(MODULE if has_any else "", "utf-8")
        if has_any:
            names.append(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
    return names


def proxies(module: str) -> dict[str, Any]:
    """The classes of the proxies whose types stand in a stub."""
    path = TYPINGS.joinpath(*module.split("."))
    stub = next(p for p in (path / "__init__.pyi", path.with_suffix(".pyi")) if p.is_file())
    protocols = re.split(r"^class (\w+)", stub.read_text("utf-8"), flags=re.MULTILINE)
    texts = dict(zip(protocols[1::2], protocols[2::2], strict=True))
    original = import_module(module.removeprefix(f"{PACKAGE}."))
    found = {proxy_name(cls): cls for cls in _classes(original, original.__name__)}
    return {name: _shown(found[name], module, text) for name, text in texts.items()}


def _classes(namespace: Any, module: str) -> Iterator[type[Any]]:
    for value in list(vars(namespace).values()):
        if isinstance(value, type) and value.__module__ == module and value is not namespace:
            yield value
            yield from _classes(value, module)


def _shown(cls: type[Any], module: str, text: str) -> Any:
    """A class of proxies as stubtest can read it.

    Defaults are the object's own. Of attributes, only those that a stub shows as properties are in
    the class: others, which are an object's, stubtest does not look for.
    """
    name = proxy_name(cls)
    namespace: dict[str, Any] = {"_is_protocol": True, "__slots__": ()}
    for member, value in vars(proxy_class(describe(cls).plain)).items():
        if isfunction(value):
            namespace[member] = _with_defaults(value, cls, module)
        elif isinstance(value, property) and f"    def {member}(self)" in text:
            settable = f"    @{member}.setter" in text
            namespace[member] = property(lambda self: None, _set if settable else None)
    if "    def __getattr__(" in text:
        namespace["__getattr__"] = vars(Proxy)["__getattr__"]
    return type(name, (), {**namespace, "__module__": module})


def _set(proxy: object, value: object) -> None: ...


def _with_defaults(function: types.FunctionType, cls: type[Any], module: str) -> Any:
    made = types.FunctionType(function.__code__, function.__globals__, function.__name__)
    made.__module__, made.__qualname__ = module, f"{proxy_name(cls)}.{function.__name__}"
    if not function.__defaults__ and not function.__kwdefaults__:
        return made
    original = getattr(cls, function.__name__)
    values = {p.name: p.default for p in signature(original).parameters.values()}
    parameters = list(signature(function).parameters.values())
    if function.__defaults__ is not None:
        named = [p.name for p in parameters if p.kind < p.VAR_POSITIONAL]
        made.__defaults__ = tuple(values[n] for n in named[-len(function.__defaults__) :])
    if function.__kwdefaults__ is not None:
        made.__kwdefaults__ = {name: values[name] for name in function.__kwdefaults__}
    return made
