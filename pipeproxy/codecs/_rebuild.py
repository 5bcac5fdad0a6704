"""The receiving half of `_exceptions`: an exception is put together again.

Its class is found by import or, where import cannot find it (a class made inside a function), among
the live subclasses of its nearest importable base, which works in forked children. What cannot be
rebuilt becomes a `RemoteError`; nothing here fails.
"""

from __future__ import annotations

import builtins
import sys
import types
from pickle import loads
from typing import Any

from .._channels._parcels import Encoded, Parcel
from ..errors import RemoteError, RemoteTraceback

#: ``((module, qualname), ...)``: a class, then its bases up to the first builtin one.
Names = tuple[tuple[str, str], ...]
#: ``(names, args, fields, state)``: what an exception holds beside its links.
Contents = tuple[Names, tuple[Any, ...], dict[str, Any], Any]

#: A pickle, and the buffers that it takes.
Form = tuple[bytes, list[Any]]

#: The descriptors of what C classes and ``__slots__`` keep beside ``__dict__``.
FIELD_TYPES = (types.MemberDescriptorType, types.GetSetDescriptorType)
#: ``args`` itself, whatever a subclass means by that name.
ARGS: Any = vars(BaseException)["args"]
#: The class of exception groups, for isinstance; Python 3.10 has none.
GROUP: Any = getattr(builtins, "BaseExceptionGroup", ())

_REMOTE_ERROR = (RemoteError.__module__, RemoteError.__qualname__)


def decode(payload: Encoded) -> BaseException:
    """The exception that `_exceptions.encode` took apart; never fails.

    Returns:
        It, with a `RemoteTraceback` as its cause and in no reference cycle; or a `RemoteError`
        that names its type and message.
    """
    built: list[BaseException] = []
    try:
        if type(payload) is Parcel:
            nodes = loads(payload.pickle, buffers=payload.buffers)
        else:
            nodes = loads(payload)
        for node in nodes:
            built.append(_revive(node, built))
        return built[-1]
    except Exception as error:
        return RemoteError("an exception that cannot be read", safe_str(error))


def _revive(node: tuple[Any, ...], built: list[BaseException]) -> BaseException:
    names, message, text, notes, forms, cause_at, context_at, suppress = node
    exc = _open(names, message, forms)
    if notes and not own_notes(exc):
        exc.__dict__["__notes__"] = list(notes)
    cause = built[cause_at] if cause_at >= 0 else None
    context = built[context_at] if context_at >= 0 else None
    if text is not None:
        told = RemoteTraceback(text)
        told.__cause__, told.__context__ = cause, context
        told.__suppress_context__ = suppress
        cause, suppress = told, True
    # Past the class's own __setattr__, which may refuse (a frozen dataclass).
    BaseException.__setattr__(exc, "__context__", context)
    BaseException.__setattr__(exc, "__cause__", cause)
    BaseException.__setattr__(exc, "__suppress_context__", suppress)
    return exc


def _open(names: Names, message: str, forms: list[Form]) -> BaseException:
    for pickle, buffers in forms:
        try:
            exc = loads(pickle, buffers=buffers)
        except Exception:
            continue
        if isinstance(exc, BaseException):
            return exc
    return RemoteError(type_name(names), message)


def make(names: Names, message: str, group: tuple[Any, ...]) -> BaseException:
    """An empty exception of the named class, or a `RemoteError` where there is no such class."""
    cls = _find(names)
    if cls is None:
        return RemoteError(type_name(names), message)
    for base in cls.__mro__:
        if type(vars(base).get("__new__")) is types.BuiltinFunctionType:
            try:
                exc: BaseException = base.__new__(cls, *group)
            except TypeError:
                continue  # of two C bases only one can make instances, not always the first
            return exc
    raise TypeError(f"{type_name(names)} cannot be made without its own __new__")


def fill(exc: BaseException, contents: Contents) -> None:
    """Give what `make` made its contents, without calling a Python ``__init__``."""
    names, args, fields, state = contents
    if type(exc) is RemoteError and names[0] != _REMOTE_ERROR:
        return
    for base in type(exc).__mro__:
        if type(init := vars(base).get("__init__")) is types.WrapperDescriptorType:
            try:
                init(exc, *args)
            except Exception:
                pass  # args were changed after it was made; they and the fields are set below
            break
    ARGS.__set__(exc, args)
    for base in type(exc).__mro__:
        for name in fields.keys() & vars(base).keys():
            if isinstance(vars(base)[name], FIELD_TYPES):
                _set_field(exc, vars(base)[name], fields[name])
    exc.__dict__.update(state)


def fill_by_setstate(exc: BaseException, contents: Contents) -> None:
    """As `fill`, but what the class makes of its state is left to it."""
    names, args, fields, state = contents
    fill(exc, (names, args, fields, {}))
    exc.__setstate__(state)


def _set_field(exc: BaseException, descriptor: Any, value: object) -> None:
    try:
        if descriptor.__get__(exc) is value:
            return  # to OSError, a filename that is None is not the same as none
    except AttributeError:
        pass
    try:
        descriptor.__set__(exc, value)
    except (AttributeError, TypeError):
        pass  # read-only: __new__ or __init__ has set it


def _find(names: Names) -> type[BaseException] | None:
    found = _by_import(*names[0])
    if found is not None:
        return found
    for module, qualname in names[1:]:
        base = _by_import(module, qualname)
        if base is not None:
            alike = [c for c in _descendants(base) if (c.__module__, c.__qualname__) == names[0]]
            return alike[0] if len(alike) == 1 else None
    return None


def _by_import(module: str, qualname: str) -> type[BaseException] | None:
    if "<locals>" in qualname:
        return None
    try:
        found: Any = sys.modules.get(module)
        if found is None:
            __import__(module)
            found = sys.modules[module]
        for part in qualname.split("."):
            found = getattr(found, part)
    except Exception:
        return None
    return found if isinstance(found, type) and issubclass(found, BaseException) else None


def _descendants(base: type[BaseException]) -> list[type[BaseException]]:
    reached = {id(cls): cls for cls in type.__subclasses__(base)}
    waiting = list(reached.values())
    while waiting:
        for cls in type.__subclasses__(waiting.pop()):
            if id(cls) not in reached:
                reached[id(cls)] = cls
                waiting.append(cls)
    return list(reached.values())


def type_name(names: Names) -> str:
    """The class as a traceback would name it."""
    module, qualname = names[0]
    return qualname if module == "builtins" else f"{module}.{qualname}"


def own_notes(exc: BaseException) -> list[str]:
    """The texts among the notes of `exc`."""
    notes = exc.__dict__.get("__notes__")
    return [n for n in notes if type(n) is str] if isinstance(notes, (list, tuple)) else []


def safe_str(value: object) -> str:
    """``str(value)``, or words that say that there is none."""
    try:
        return str(value)
    except Exception:
        return f"<unprintable {type(value).__name__}>"
