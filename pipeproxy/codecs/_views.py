"""Values that pickle refuses, or copies more often than need be, and that can well be rebuilt.

The views of a dict: what arrives is a view of a copy, with all that a view can do. A memoryview
arrives as one of a copy; an array of the standard library, as an array. The storage of torch's
tensors, which pickle would copy four times. And what is to arrive as a view in place of a copy,
where it can.
"""

from __future__ import annotations

import sys
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from importlib import import_module
from pickle import PickleBuffer, loads
from typing import Any


class Viewed:
    """Stands in a pickle for a value whose buffers the receiver is to view, and not to own."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def viewable(value: Any) -> Any:
    """Return what has the content of a value in a buffer of its own, where there is such a thing.

    Of bytes and the like it is a memoryview; of an array of NumPy's with gaps, one without.
    """
    if isinstance(value, (bytes, bytearray, array)):
        return memoryview(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and type(value) is numpy.ndarray:
        return value if value.flags.forc else value.copy(order="K")
    return value


def open_viewed(pickle: bytes, buffers: Iterable[Any]) -> Any:
    """Return a value that can be read only, whether its buffers are views or copies."""
    return loads(pickle, buffers=[memoryview(buffer).toreadonly() for buffer in buffers])


def reduce_view(value: object) -> Any:
    """Return how to pickle one of these, as ``__reduce__``; NotImplemented for all else."""
    found = _REDUCERS.get(type(value))
    if found is not None:
        return found(value)
    storage = sys.modules.get("torch.storage")
    if storage is not None and type(value) is getattr(storage, "TypedStorage", None):
        return _reduce_storage(value)
    return NotImplemented


def _keys(kind: type[dict[Any, Any]], keys: Iterable[Any]) -> Any:
    return kind.fromkeys(keys).keys()


def _values(kind: type[dict[Any, Any]], values: Iterable[Any]) -> Any:
    return kind(enumerate(values)).values()


def _items(kind: type[dict[Any, Any]], items: Iterable[Any]) -> Any:
    return kind(items).items()


def _reduce_dict_view(rebuild: Any, kind: type[Any], view: Iterable[Any]) -> Any:
    return rebuild, (kind, list(view))


def _reduce_memoryview(view: memoryview) -> Any:
    form = view.format.removeprefix("@")
    is_plain = len(form) == 1 and (view.ndim == 1 or view.nbytes or not view.shape)
    if not is_plain and "numpy" in sys.modules:  # of an array, mostly; no cast leads to such a view
        return memoryview, (sys.modules["numpy"].asarray(view),)
    data: Any = view
    if not view.c_contiguous:
        data = view.tobytes() if view.readonly else bytearray(view.tobytes())
    _memoryview(b"", form, (0,))  # that it cannot be made is to be seen here
    return _memoryview, (PickleBuffer(data), form, view.shape)


def _memoryview(data: Any, form: str, shape: tuple[int, ...]) -> memoryview:
    view = memoryview(data).cast("B")
    return view.cast(form) if len(shape) == 1 else view.cast(form, shape)  # type: ignore[call-overload,no-any-return]


def _reduce_array(value: array[Any]) -> Any:
    return _array, (value.typecode, PickleBuffer(value))


def _array(typecode: str, data: Any) -> array[Any]:
    made: array[Any] = array(typecode)
    made.frombytes(data)
    return made


def _reduce_storage(storage: Any) -> Any:
    """Let what a tensor is kept in travel out of band; all else of the tensor is torch's own."""
    torch, numpy = sys.modules["torch"], sys.modules.get("numpy")
    untyped = storage._untyped_storage  # what else tells it warns of its own end
    if untyped.device.type != "cpu" or not untyped.nbytes() or numpy is None:
        return NotImplemented
    data = torch.empty(0, dtype=torch.uint8).set_(untyped)
    return _storage, (PickleBuffer(data.numpy()), storage.dtype)


def _storage(data: Any, dtype: Any) -> Any:
    torch: Any = import_module("torch")
    # There are no tensors that can be read only.
    own = bytearray(data) if memoryview(data).readonly else data
    untyped = torch.frombuffer(own, dtype=torch.uint8).untyped_storage()
    return torch.storage.TypedStorage(wrap_storage=untyped, dtype=dtype, _internal=True)


_REDUCERS: dict[type[Any], Callable[[Any], Any]] = {
    type(rebuild(kind, ())): partial(_reduce_dict_view, rebuild, kind)
    for kind in (dict, OrderedDict)
    for rebuild in (_keys, _values, _items)
}
_REDUCERS |= {memoryview: _reduce_memoryview, array: _reduce_array}
