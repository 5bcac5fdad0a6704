"""What an object shows and how it is treated: the spec of its class, made ready for use."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .._proxies._proxy import Proxy, proxy_class, remember_class
from .._specs._options import is_described
from ..codecs.pickle import ATOMS
from ..errors import SpecError
from ._publishing import Publishing
from ._subjects import Face, Shared

if TYPE_CHECKING:
    from .._specs._spec import Spec


def face_of(target: object) -> Face:
    """Return what is shown of an object, and how its owner treats it.

    Raises:
        SpecError: it cannot be shared; the text says why.
    """
    face = _faces.get(type(target))
    if face is not None:
        return face
    if issubclass(type(target), Proxy):
        raise SpecError(f"{target!r} is a proxy already: pass it on as it is")
    if type(target) in ATOMS:
        raise SpecError(f"{target!r} never changes: pass it as it is")
    if isinstance(target, ModuleType):
        raise SpecError(
            f"the module {target.__name__} cannot be shared, as every process can import it; share "
            f"an object of a class"
        )
    if isinstance(target, type):
        raise SpecError(
            f"{target.__qualname__} is a class: share an object of it, or use spawn() to make one "
            f"in a process of its own"
        )
    from .._specs._spec import describe  # here, as only owners pay for it
    from .._specs._stdlib import stand_for

    return show(type(target), describe(type(target)), stand_for(type(target)))


def show(cls: type[Any], spec: Spec, stand: Callable[[Any], Any] | None) -> Face:
    """Let objects of a class that are shared from now on show this, and return it.

    Args:
        stand: makes what is called in the place of an object; None if that is called itself.
    """
    plain = spec.plain
    remember_class(plain, cls)
    face = _faces[cls] = Face(proxy_class(plain)._pipeproxy_members, spec.conduct, stand)
    return face


def shareable(target: Any) -> Shared:
    """Return an object that is not shared yet, as it can be called from other processes.

    Raises:
        SpecError: it cannot be shared; the text says why.
    """
    face = face_of(target)
    return Publishing(target, face) if face.members.published else Shared(target, face)


def travels_alive(value: object) -> bool:
    """Whether a value travels by reference wherever it is found: its class is decorated."""
    return is_described(type(value))


_faces: weakref.WeakKeyDictionary[type[Any], Face] = weakref.WeakKeyDictionary()
