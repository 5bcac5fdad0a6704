"""The types of proxies, when the program runs: every name that a stub of this package may hold.

What they are stands in stubs, which ``python -m pipeproxy stubs`` writes and only type checkers
read. So that annotations need no ``if TYPE_CHECKING:``, every module below this package can be
imported, and has whatever name ends in "Proxy": an empty Protocol, which does for an annotation, a
cast, a type alias or a base of a stand-in in tests. Neither the module that a name is about nor
pipeproxy is imported for it.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import GenericAlias, ModuleType, new_class
from typing import Any, Protocol


def _names_of(module: str) -> Any:
    """Return the ``__getattr__`` of a module of this package."""

    def __getattr__(name: str) -> Any:  # noqa: N807 - it becomes the module's
        if not name.endswith("Proxy"):
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        members = {"__module__": module, "__class_getitem__": classmethod(GenericAlias)}
        made = new_class(name, (Protocol,), exec_body=lambda namespace: namespace.update(members))
        return sys.modules[module].__dict__.setdefault(name, made)

    return __getattr__


class _Finder:
    """Finds every module of this package; each is made when it is first imported."""

    @staticmethod
    def find_spec(
        name: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not name.startswith(f"{__name__}."):
            return None
        return ModuleSpec(name, _Finder, is_package=True)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        """Let the import system make it, as any other."""

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        module.__dict__["__getattr__"] = _names_of(module.__name__)


sys.meta_path.append(_Finder)
