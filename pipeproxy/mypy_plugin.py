"""Types of proxies for mypy: ``plugins = ["pipeproxy.mypy_plugin"]``.

With it `share`, `spawn` and `Listener.share` yield the type that ``python -m pipeproxy stubs`` has
generated for a class, and arguments of such proxies that certainly cannot be pickled are errors.
See the README, "Types".
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from mypy.nodes import MypyFile
from mypy.options import Options
from mypy.plugin import ClassDefContext, FunctionContext, MethodContext, Plugin, ReportConfigContext
from mypy.types import Type

from ._mypy._links import PACKAGE, SHARED_MODULE, Links
from ._mypy._sending import Sending, mark_shared
from ._mypy._travelling import mark

__all__ = ["PipeproxyPlugin", "plugin"]

__version__ = ""

_SHARING = {"pipeproxy._owner._listener.share", "pipeproxy._owner._spawn.spawn"}
_OF_PROXIES = f"{PACKAGE}."


class PipeproxyPlugin(Plugin):
    """What mypy asks of a plugin."""

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        self._links = Links(options)
        self._sending = Sending()
        if "mypy.dmypy_server" in sys.modules:
            # Of a stub that is new, a daemon learns by this alone: it asks a plugin for its
            # version before each run, and starts anew when that is another.
            globals()["__version__"] = self._links.all_proxies()

    def report_config_data(self, ctx: ReportConfigContext) -> Any:
        """Which generated types a module has: when that changes, it is checked again."""
        return self._links.proxies_in(ctx.id) or None

    def get_additional_deps(self, file: MypyFile) -> list[tuple[int, str, int]]:
        """A module whose classes have generated types depends on these."""
        if not self._links.proxies_in(file.fullname):
            return []
        return [(10, f"{PACKAGE}.{file.fullname}", -1), (10, SHARED_MODULE, -1)]

    def get_customize_class_mro_hook(
        self, fullname: str
    ) -> Callable[[ClassDefContext], None] | None:
        """Every class is looked at once: has it a generated type, how does it travel."""
        return self._analyze_class

    def get_function_hook(self, fullname: str) -> Callable[[FunctionContext], Type] | None:
        """What `share` and `spawn` return is known to be a proxy."""
        return mark_shared if fullname in _SHARING else None

    def get_method_hook(self, fullname: str) -> Callable[[MethodContext], Type] | None:
        """Calls of proxies are looked at."""
        if fullname.startswith(_OF_PROXIES):
            return partial(self._sending.check_arguments, fullname.rpartition(".")[2])
        return mark_shared if fullname == "pipeproxy._owner._listener.Listener.share" else None

    def _analyze_class(self, context: ClassDefContext) -> None:
        self._sending.forget()
        mark(context)
        self._links.link(context)


def plugin(version: str) -> type[Plugin]:
    """Return the plugin; mypy calls this."""
    return PipeproxyPlugin
