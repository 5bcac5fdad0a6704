"""Lists, dicts and other plain data that live in a manager's process.

What is picked out of a managed list or dict is live: ``d["a"]["b"] = 1`` changes what is in `d`.
What is read all at once (by iteration, a slice, `copy`, `values`, `items`) or taken out (`pop`) is
a copy, so that results stay when the manager is gone. That is about lists, dicts and sets that were
put in as they are; what is managed itself is live wherever it is found.
"""

from __future__ import annotations

import array
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from .._specs._members import FORWARDED
from .._specs._options import proxied
from ._byname import ByName


class List(ByName, list[Any]):
    """A managed list."""

    def __getitem__(self, index: Any) -> Any:
        value = super().__getitem__(index)
        if type(index) is slice:
            return _copies(value)
        kept = _alive(value)
        if kept is not value:
            self[index] = kept
        return kept

    def __iter__(self) -> Iterator[Any]:
        return map(_copy, super().__iter__())

    def __reversed__(self) -> Iterator[Any]:
        return map(_copy, super().__reversed__())

    def copy(self) -> list[Any]:
        """Return a list of its items; lists, dicts and sets among them are copies too."""
        return _copies(super().__iter__())

    def pop(self, index: Any = -1) -> Any:
        """Take out an item and return it; a list, dict or set as a copy."""
        return _copy(super().pop(index))

    def __add__(self, other: Any) -> Any:
        return _copies(super().__add__(other))

    def __mul__(self, times: Any) -> Any:
        return _copies(super().__mul__(times))

    __rmul__ = __mul__

    def __str__(self) -> str:
        return repr(self.copy())

    def _getvalue(self) -> list[Any]:
        return self.copy()


class Dict(ByName, dict[Any, Any]):
    """A managed dict; `keys`, `values` and `items` return lists."""

    def __getitem__(self, key: Any) -> Any:
        return self._pick(key, super().__getitem__(key))

    def get(self, key: Any, default: Any = None, /) -> Any:
        """Return the value of a key, or `default` if there is none."""
        return self._pick(key, super().__getitem__(key)) if key in self else default

    def setdefault(self, key: Any, default: Any = None, /) -> Any:
        """Return the value of a key, which is `default` from now on if there was none."""
        return self._pick(key, super().setdefault(key, default))

    def _pick(self, key: Any, value: Any) -> Any:
        kept = _alive(value)
        if kept is not value:
            self[key] = kept
        return kept

    def keys(self) -> Any:
        """Return a list of its keys."""
        return list(self)

    def values(self) -> Any:
        """Return a list of its values; lists, dicts and sets among them are copies."""
        return _copies(super().values())

    def items(self) -> Any:
        """Return a list of its keys, each with its value; a list, dict or set as a copy."""
        return [(key, _copy(value)) for key, value in super().items()]

    def copy(self) -> dict[Any, Any]:
        """Return a dict of its items; lists, dicts and sets among its values as well."""
        return dict(self.items())

    def pop(self, key: Any, /, *default: Any) -> Any:
        """Take out a key and return its value; a list, dict or set as a copy."""
        return _copy(super().pop(key, *default))

    def popitem(self) -> tuple[Any, Any]:
        """Take out the last key and return it with its value; a list, dict or set as a copy."""
        key, value = super().popitem()
        return key, _copy(value)

    def __or__(self, other: Any) -> Any:
        return dict.__or__(self.copy(), other)

    def __ror__(self, other: Any) -> Any:
        return dict.__ror__(self.copy(), other)

    def __str__(self) -> str:
        return repr(self.copy())

    def _getvalue(self) -> dict[Any, Any]:
        return self.copy()


class _InnerList(List):
    """A list that was put into a managed one as it was, and picked out of it since."""


class _InnerDict(Dict):
    """A dict likewise."""


class _InnerSet(ByName, set[Any]):
    """A set likewise."""

    def copy(self) -> set[Any]:
        """Return a set of its items."""
        return set(self)

    def __str__(self) -> str:
        return repr(self.copy())

    def _getvalue(self) -> set[Any]:
        return self.copy()


def _of_a_copy(name: str) -> Callable[..., Any]:
    def method(self: _InnerSet, /, *others: Any) -> Any:
        return getattr(self.copy(), name)(*others)

    return method


for _name in (
    "__or__ __and__ __sub__ __xor__ __ror__ __rand__ __rsub__ __rxor__ "
    "union intersection difference symmetric_difference"
).split():
    setattr(_InnerSet, _name, _of_a_copy(_name))  # which would be sets of this class

#: What stays in a managed list or dict in the place of what is picked out of it.
_INNER: dict[type[Any], type[Any]] = {list: _InnerList, dict: _InnerDict, set: _InnerSet}


def _alive(value: Any) -> Any:
    """Return what stays in a managed list or dict in the place of a value that is picked out."""
    kind = _INNER.get(type(value))
    return value if kind is None else kind(value)


def _copy(value: Any) -> Any:
    """Return a value as it is read with all others."""
    return value.copy() if isinstance(value, (_InnerList, _InnerDict, _InnerSet)) else value


def _copies(values: Iterable[Any]) -> list[Any]:
    return [_copy(value) for value in values]


class Namespace:
    """An object with whatever attributes it is given."""

    def __init__(self, /, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __str__(self) -> str:
        shown = [f"{name}={value!r}" for name, value in sorted(vars(self).items())]
        return f"Namespace({', '.join(shown)})"


class Value:
    """One value.

    Args:
        typecode: as of `array.array`; it is not looked at.
        value: what it is at first.
        lock: not looked at either.
    """

    value: Any

    def __init__(self, typecode: Any, value: Any, lock: Any = True) -> None:
        self._typecode = typecode
        self.value = value

    def get(self) -> Any:
        """Return it."""
        return self.value

    def set(self, value: Any) -> None:
        """Replace it."""
        self.value = value

    def __str__(self) -> str:
        return f"Value({self._typecode!r}, {self.value!r})"


class Array(ByName, array.array):  # type: ignore[type-arg]
    """An array of numbers.

    Args:
        typecode: of what numbers, as of `array.array`.
        sequence: what is in it at first.
        lock: not looked at.
    """

    def __new__(cls, typecode: str, sequence: Any, lock: Any = True) -> Any:
        return super().__new__(cls, typecode, sequence)

    def __str__(self) -> str:
        return f"array({self.typecode!r}, {self.tolist()!r})"

    def _getvalue(self) -> Any:
        return array.array(self.typecode, self)


def shown(cls: type[Any]) -> list[str]:
    """Return all of a class that its proxies can show."""
    return [name for name in dir(cls) if not name.startswith("_") or _is_special(cls, name)]


def _is_special(cls: type[Any], name: str) -> bool:
    return name in FORWARDED and getattr(cls, name) is not getattr(object, name, None)


for _cls in (List, Dict, _InnerSet, Array):  # and nothing that is set on the object
    proxied(_cls, expose=[*shown(_cls), "_callmethod", "_getvalue"])
proxied(Namespace)
proxied(Value)
