"""The views of a dict: what arrives is a view of a copy, with all that a view can do."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any


def reduce_view(value: object) -> Any:
    """Return how to pickle the view of a dict, as ``__reduce__``; NotImplemented for all else."""
    found = _VIEWS.get(type(value))
    return NotImplemented if found is None else (found[0], (found[1], list(value)))  # type: ignore[call-overload]


def _keys(kind: type[dict[Any, Any]], keys: Iterable[Any]) -> Any:
    return kind.fromkeys(keys).keys()


def _values(kind: type[dict[Any, Any]], values: Iterable[Any]) -> Any:
    return kind(enumerate(values)).values()


def _items(kind: type[dict[Any, Any]], items: Iterable[Any]) -> Any:
    return kind(items).items()


_VIEWS: dict[type[Any], Any] = {
    type(rebuild(kind, ())): (rebuild, kind)
    for kind in (dict, OrderedDict)
    for rebuild in (_keys, _values, _items)
}
