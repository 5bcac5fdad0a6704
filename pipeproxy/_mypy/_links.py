"""Which class has which generated type.

A class whose module has a stub is given a base, ``Shared[XProxy]``, as its author could have done:
everything else, incremental and parallel runs and the daemon among it, is then as for any base.
Whether there is a stub is asked of the file system: a worker of mypy has not read it yet.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from mypy.modulefinder import mypy_path
from mypy.nodes import TypeInfo
from mypy.options import Options
from mypy.plugin import ClassDefContext
from mypy.semanal import SemanticAnalyzer
from mypy.types import AnyType, Instance, Type, TypeOfAny

PACKAGE = "pipeproxy_proxies"
SHARED_MODULE = "pipeproxy._proxies._shared"
_SHARED = f"{SHARED_MODULE}.Shared"
_PROTOCOL = re.compile(r"^class (\w+Proxy)\b", re.MULTILINE)


class Links:
    """The stubs that mypy can find."""

    def __init__(self, options: Options) -> None:
        directories = dict.fromkeys([*mypy_path(), *options.mypy_path])
        self._roots = [Path(directory, PACKAGE) for directory in directories]
        #: What was found for each module: where that changes, a daemon starts anew.
        self._found: dict[str, list[str]] = {}

    def proxies_in(self, module: str) -> list[str]:
        """The names of the Protocols in the stub of a module, none if there is no stub."""
        found = self._found.get(module)
        if found is None:
            path = self._stubs.get(module)
            found = self._found[module] = [] if path is None else _protocols(path)
        return found

    def all_proxies(self) -> str:
        """The names of all Protocols in all stubs, and where they are."""
        return "; ".join(
            f"{path}: {' '.join(self.proxies_in(module))}" for module, path in self._stubs.items()
        )

    @cached_property
    def _stubs(self) -> dict[str, Path]:
        """The stub of each module that has one; the first counts, as for mypy."""
        found: dict[str, Path] = {}
        for root in self._roots:
            for path in sorted(root.rglob("*.pyi")):  # a package comes before a module
                names = path.relative_to(root).with_suffix("").parts
                found.setdefault(".".join(names).removesuffix(".__init__"), path)
        return found

    def link(self, context: ClassDefContext) -> None:
        """Give a class the base that says which type its proxies have."""
        api, info = context.api, context.cls.info
        assert isinstance(api, SemanticAnalyzer), "hooks of classes are called by this alone"
        module = api.cur_mod_id
        proxies = self.proxies_in(module)
        if not proxies:
            return
        name = context.cls.fullname.removeprefix(f"{module}.").replace(".", "_") + "Proxy"
        if name not in proxies or any(b.type.fullname == _SHARED for b in info.bases):
            return
        shared = api.lookup_fully_qualified_or_none(_SHARED)
        proxy = api.lookup_fully_qualified_or_none(f"{PACKAGE}.{module}.{name}")
        if shared is None or proxy is None or not isinstance(proxy.node, TypeInfo):
            if not api.final_iteration:
                api.defer()
            return
        if isinstance(shared.node, TypeInfo):
            _add_base(info, shared.node, Instance(proxy.node, _arguments(info, proxy.node)))


def _protocols(path: Path) -> list[str]:
    try:
        return _PROTOCOL.findall(path.read_text("utf-8"))
    except OSError:
        return []  # it is gone since it was seen


def _arguments(info: TypeInfo, proxy: TypeInfo) -> list[Type]:
    """The type arguments of the proxies: those of the class itself."""
    own: list[Type] = list(info.defn.type_vars)
    if len(own) == len(proxy.defn.type_vars):
        return own
    return [AnyType(TypeOfAny.special_form)] * len(proxy.defn.type_vars)


def _add_base(info: TypeInfo, shared: TypeInfo, proxy: Instance) -> None:
    # The first base: a base class of the class may have a stub, and so this base, as well.
    info.bases.insert(0, Instance(shared, [proxy]))
    if shared not in info.mro:
        info.mro.insert(len(info.mro) - 1, shared)
