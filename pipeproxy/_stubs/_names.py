"""The names in a stub: what is imported, under which name, so that none hides another."""

from __future__ import annotations

import builtins
from collections.abc import Collection

#: Longer lines are broken, as formatters would.
WIDTH = 100

#: What not every Python has that a stub is for; typing_extensions has it for all.
_NEW = {
    "typing": frozenset(
        "LiteralString Never NotRequired ReadOnly Required Self TypeIs TypeVarTuple Unpack".split()
    ),
    "warnings": frozenset({"deprecated"}),
}

#: What a name in the stub stands for: a module and a name in it, or a module if that is None.
_Meaning = tuple[str, "str | None"]


class Names:
    """The names at the top level of one stub.

    Args:
        own: the names of what the stub defines itself.
    """

    def __init__(self, own: Collection[str]) -> None:
        self._meanings: dict[str, _Meaning] = {name: ("", name) for name in own}
        self._modules: set[str] = set()

    def of(self, module: str, name: str, wanted: str, hidden: Collection[str]) -> str:
        """What to call a member of a module here; `wanted` where that is still to be had.

        Args:
            hidden: the names that cannot be used, as members of the class are called so.
        """
        if name in _NEW.get(module, ()):
            module = "typing_extensions"
        if module == "builtins" and hasattr(builtins, name):
            if wanted == name and wanted not in hidden and wanted not in self._meanings:
                return wanted
        elif hasattr(builtins, wanted):
            hidden = {*hidden, wanted}
        return self._take((module, name), wanted, hidden)

    def of_module(self, module: str, wanted: str, hidden: Collection[str]) -> str:
        """What to call a module here; one that is imported under its own name has its parents."""
        if wanted == module.partition(".")[0] and wanted not in hidden:
            meaning: _Meaning = (wanted, None)
            if self._meanings.setdefault(wanted, meaning) == meaning:
                self._modules.add(module)
                return module
        return self._take((module, None), wanted, hidden)

    def own(self, name: str, hidden: Collection[str]) -> str:
        """What to call something that the stub defines itself, inside a class of it."""
        return self._take(("", name), name, hidden)

    def lines(self) -> list[str]:
        """The imports, sorted, and the second names of what the stub defines itself, at its end."""
        modules = {f"import {module}" for module in self._modules}
        members: dict[str, list[str]] = {}
        for name, (module, member) in sorted(self._meanings.items()):
            if member is None and name != module.partition(".")[0]:
                modules.add(f"import {module} as {name}")
            elif member is not None and module and (module, member) != ("builtins", name):
                members.setdefault(module, []).append(_as(member, name))
        return [*sorted(modules), *(_from(m, sorted(members[m])) for m in sorted(members))]

    def second_names(self) -> list[str]:
        """The statements that give what the stub defines other names than its own."""
        second = ((n, own) for n, (module, own) in self._meanings.items() if not module)
        return [f"{name} = {own}" for name, own in second if name != own]

    def _take(self, meaning: _Meaning, wanted: str, hidden: Collection[str]) -> str:
        name, number = wanted, 1
        while name in hidden or self._meanings.setdefault(name, meaning) != meaning:
            name = f"_{wanted}" if number == 1 else f"_{wanted}{number}"
            number += 1
        return name


def _from(module: str, members: list[str]) -> str:
    line = f"from {module} import {', '.join(members)}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"from {module} import (", *(f"    {m}," for m in members), ")"])


def _as(member: str, name: str) -> str:
    return member if member == name else f"{member} as {name}"
