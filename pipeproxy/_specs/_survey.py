"""What the classes of one MRO hold: their members, attributes, signatures and docstrings.

Only ``__mro__`` and ``vars()`` of the classes are read, so that no code of an instance, no
descriptor and no metaclass runs.
"""

from __future__ import annotations

import dis
import functools
import inspect
import sys
import types
from collections.abc import Iterator
from keyword import iskeyword
from typing import Any

from ..errors import SpecError
from ._marks import function_in, marks_of, unmarked
from ._members import FORWARDED, is_special


class Survey:
    """All that the classes of one MRO hold, `object` apart.

    Attributes:
        definitions: for each name what stands for it in the classes, the nearest first.
        methods: those of the names that are called.
        fields: names that objects have although no class may hold them, in order.
        dynamic: True where ``__getattr__`` makes names up.
    """

    def __init__(self, cls: type[Any]) -> None:
        self.cls = cls
        mro: tuple[type[Any], ...] = type.__getattribute__(cls, "__mro__")
        self.lineage = [c for c in mro if c is not object]
        self.definitions: dict[str, list[Any]] = {}
        self.methods: set[str] = set()
        self.fields: dict[str, None] = {}
        for c in self.lineage:
            self._add(_vars(c))
        self.dynamic = "__getattr__" in self.definitions

    def _add(self, members: dict[str, Any]) -> None:
        declared = dict.fromkeys(_declared(members))
        self.fields |= declared
        for name, member in members.items():
            if type(name) is not str or not name.isidentifier() or iskeyword(name):
                continue  # nothing that can be written after a dot
            # An annotated name is a field, also where its default can be called.
            is_method = name not in declared and _is_method(member)
            if is_method and name not in self.definitions:
                self.methods.add(name)
            self.definitions.setdefault(name, []).append(member)
            self._check_marks(name, member, is_method)
            for part in _parts(member):
                self.fields |= dict.fromkeys(_stored_by(part))

    def _check_marks(self, name: str, member: object, is_method: bool) -> None:
        if any(part is not unmarked(part) for part in _parts(member)):
            raise SpecError(
                f"the marker of {self.cls.__qualname__}.{name} must stand outermost, or directly "
                f"below @property (not below its setter), @cached_property, @staticmethod or "
                f"@classmethod: put it above the other decorators"
            )
        if is_method and "readonly" in marks_of(member):
            raise SpecError(
                f"@readonly stands over properties, and {self.cls.__qualname__}.{name} is a "
                f"method, which a proxy cannot replace anyway: leave the marker out, or put "
                f"@property above it"
            )
        if is_method and "published" in marks_of(member):
            raise SpecError(
                f"@published stands over properties, and {self.cls.__qualname__}.{name} is a "
                f"method, which is called and not read: put @property above the marker, or leave "
                f"it out"
            )
        if not is_method and "blocking" in marks_of(member):
            raise SpecError(
                f"@blocking stands over methods, and {self.cls.__qualname__}.{name} is none: say "
                f'@proxied(dispatch="threads") for the class if reading it has to wait'
            )

        if not is_method and "oneway" in marks_of(member):
            raise SpecError(
                f"@oneway stands over methods, and {self.cls.__qualname__}.{name} is none, so "
                f"whoever reads it waits for its value: leave the marker out"
            )

    def marks(self, name: str) -> frozenset[str]:
        """The marks of the nearest definition that has any."""
        return next(filter(None, map(marks_of, self.definitions.get(name, ()))), frozenset())

    def doc(self, name: str) -> str | None:
        """The nearest docstring, of a method or of whatever else has one of its own."""
        docs = (_doc(member) for member in self.definitions.get(name, ()))
        return next(filter(None, docs), None)

    def class_doc(self) -> str | None:
        """The docstring of the class itself."""
        return _cleaned(_vars(self.cls).get("__doc__"))

    def known(self) -> dict[str, None]:
        """Whatever could be exposed, in order."""
        names = dict.fromkeys([*self.definitions, *self.fields])
        specials = FORWARDED & self.methods
        return {n: None for n in names if not is_special(n) or n in specials}


def path_of(cls: type[Any]) -> tuple[str, str]:
    """Return where a class is found: its module and its qualified name."""
    module = type.__getattribute__(cls, "__module__")
    return module if type(module) is str else "?", type.__getattribute__(cls, "__qualname__")


def signature_of(member: object) -> inspect.Signature | None:
    """Return what a member of a class takes when it is called on an object, None if unknown."""
    member = unmarked(member)
    takes_self = any("__get__" in _vars(c) for c in type(member).__mro__)
    if _is(member, functools.singledispatchmethod):
        member = member.func  # type: ignore[attr-defined]
    if _is(member, staticmethod) or (_is(member, functools.partial) and sys.version_info < (3, 14)):
        takes_self = False
    if _is(member, staticmethod, classmethod):
        member = member.__func__  # type: ignore[attr-defined]
    if _is(member, functools.partialmethod):
        if not _is(member.func, types.FunctionType):  # type: ignore[attr-defined]
            return None
        member = member.__get__(None, object)  # type: ignore[attr-defined]
    try:
        signature = inspect.signature(member)  # type: ignore[arg-type]
    except Exception:  # also what annotations and decorators of the user's raise
        return None
    parameters = list(signature.parameters.values())
    if not all(p.name.isidentifier() and not iskeyword(p.name) for p in parameters):
        return None
    if takes_self and (not parameters or parameters[0].kind > inspect.Parameter.VAR_POSITIONAL):
        return None
    if takes_self and parameters[0].kind < inspect.Parameter.VAR_POSITIONAL:
        del parameters[0]
    return signature.replace(parameters=parameters)


def text_of_default(parameter: inspect.Parameter) -> str | None:
    """Return the repr of a parameter's default, None where it has none."""
    if parameter.default is inspect.Parameter.empty:
        return None
    try:
        return str.__str__(repr(parameter.default))
    except Exception:
        return object.__repr__(parameter.default)


def text_of_annotation(annotation: object) -> str | None:
    """Return an annotation as one would write it, None where there is none."""
    if annotation is inspect.Parameter.empty:
        return None
    if isinstance(annotation, str):
        return str.__str__(annotation)
    try:
        return str.__str__(inspect.formatannotation(annotation))
    except Exception:
        return object.__repr__(annotation)


_STORE = dis.opmap["STORE_ATTR"]
_CACHED = type(functools.cache(len))
_WITH_FUNC = (functools.cached_property, functools.partialmethod, functools.singledispatchmethod)
_DOCUMENTED = (
    property,
    functools.cached_property,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
)


def _vars(cls: type[Any]) -> dict[str, Any]:
    # Past any metaclass, as in the other places that read a class.
    return dict(type.__getattribute__(cls, "__dict__"))


def _declared(members: dict[str, Any]) -> Iterator[str]:
    """Yield the names that a class annotates, or that attrs keeps a list of."""
    for name, annotation in _annotations(members).items():
        text = annotation if isinstance(annotation, str) else type(annotation).__name__
        if "InitVar" not in text.partition("[")[0]:  # an argument, never an attribute
            yield name
    for field in members.get("__attrs_attrs__", ()):
        yield field.name


def _annotations(members: dict[str, Any]) -> dict[str, Any]:
    if sys.version_info >= (3, 14) and "__annotations__" not in members:
        import annotationlib

        annotate = annotationlib.get_annotate_from_class_namespace(members)
        if annotate is None:
            return {}
        return annotationlib.call_annotate_function(annotate, annotationlib.Format.STRING)
    annotations = members.get("__annotations__")
    return annotations if type(annotations) is dict else {}


def _stored_by(part: object) -> Iterator[str]:
    """Yield the names that a function stores on its first argument."""
    if _is(part, types.FunctionType):
        code: types.CodeType = part.__code__  # type: ignore[attr-defined]
        if code.co_argcount:
            yield from _stored(code, code.co_varnames[0])


def _stored(code: types.CodeType, me: str) -> Iterator[str]:
    before = None
    steps = dis.get_instructions(code) if _STORE in code.co_code[::2] else ()
    for step in steps:
        if step.opname == "EXTENDED_ARG":
            continue
        if step.opname == "STORE_ATTR" and before and _loads(before, me):
            yield step.argval
        before = step
    for constant in code.co_consts:
        if type(constant) is types.CodeType and me in constant.co_freevars:
            yield from _stored(constant, me)


def _loads(step: dis.Instruction, me: str) -> bool:
    """Say whether the variable `me` is on top of the stack after this step."""
    last = step.argval[-1] if type(step.argval) is tuple else step.argval
    return last == me and ("LOAD_FAST" in step.opname or step.opname == "LOAD_DEREF")


def _is(member: object, *kinds: type[Any]) -> bool:
    return issubclass(type(member), kinds)  # isinstance would ask the member itself


def _is_method(member: object) -> bool:
    member = unmarked(member)
    if _is(member, classmethod, functools.partialmethod, functools.singledispatchmethod):
        return True
    if _is(member, types.ClassMethodDescriptorType):
        return True
    return callable(member) and not _is(member, type)


def _parts(member: object) -> Iterator[Any]:
    """Yield a member and all that it wraps, without the markers that stand where they may."""
    seen: list[object] = []
    member = unmarked(member)
    function = function_in(member)
    todo: list[Any] = [member]
    while todo:
        part = todo.pop()
        if part is function:
            part = unmarked(part)
        if part is None or any(part is s for s in seen):
            continue
        seen.append(part)
        yield part
        if _is(part, property):
            todo += [part.fget, part.fset, part.fdel]
        elif _is(part, staticmethod, classmethod):
            todo.append(part.__func__)
        elif _is(part, *_WITH_FUNC):
            todo.append(part.func)
        elif _is(part, types.FunctionType, _CACHED):
            todo.append(part.__dict__.get("__wrapped__"))


def _doc(member: object) -> str | None:
    member = unmarked(member)
    if _is(member, functools.singledispatchmethod):
        member = member.func  # type: ignore[attr-defined]
    if not _is_method(member) and not _is(member, *_DOCUMENTED):
        return None  # a value; its docstring is that of its class
    text = getattr(member, "__doc__", None)
    return None if text == type(member).__doc__ else _cleaned(text)


def _cleaned(text: object) -> str | None:
    return inspect.cleandoc(str.__str__(text)) if isinstance(text, str) else None
