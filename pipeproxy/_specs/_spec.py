"""From a class to its spec: what proxies of its objects show, found without touching an object.

What the classes hold is in a `Survey`; here it is decided what of that is shown, as frozen
records. `Spec.plain` is the same as nested tuples, which is how a spec travels (see `_members`).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from difflib import get_close_matches
from inspect import iscoroutinefunction
from typing import Any

import attrs

from ..errors import SpecError
from ._batching import Batching, batching_of
from ._members import FORWARDED, Plain, is_special
from ._options import Dispatch, HomeCalls
from ._stdlib import complete, options_for
from ._survey import Survey, path_of, signature_of, text_of_annotation, text_of_default


@attrs.frozen
class Parameter:
    """One parameter of a method, without self; `default` and `annotation` are texts."""

    name: str
    kind: int
    default: str | None
    annotation: str | None


@attrs.frozen
class Method:
    """A member to be called; `parameters` is None where no signature is known."""

    name: str
    parameters: tuple[Parameter, ...] | None
    returns: str | None
    doc: str | None


@attrs.frozen
class Attribute:
    """A member to be read, set and deleted."""

    name: str
    doc: str | None


@attrs.frozen
class Conduct:
    """How the owner treats objects of one class, which their proxies need not know.

    Attributes:
        by_ref: the methods and attributes whose results travel by reference.
        blocking: the methods whose calls run in threads of their own, whatever `dispatch` says.
        batched: the methods whose calls run in batches, and how they are collected.
        dispatch, home: as `pipeproxy.proxied` explains them.
    """

    by_ref: frozenset[str] = frozenset()
    blocking: frozenset[str] = frozenset()
    dispatch: Dispatch = "serial"
    home: HomeCalls = "caller"
    batched: tuple[tuple[str, Batching], ...] = ()


@attrs.frozen
class Spec:
    """What proxies show of the objects of one class; the fields are explained in `_members`."""

    module: str
    qualname: str
    doc: str | None
    mro: tuple[tuple[str, str], ...]
    methods: tuple[Method, ...]
    attributes: tuple[Attribute, ...]
    hidden: tuple[str, ...]
    closed: bool
    readonly: tuple[str, ...]
    oneway: tuple[str, ...]
    published: tuple[str, ...]
    conduct: Conduct = Conduct()

    @property
    def plain(self) -> Plain:
        """The spec as nested tuples of texts, numbers and None; without the owner's part."""
        return attrs.astuple(self)[:-1]


def describe(cls: type[Any]) -> Spec:
    """Return the spec of a class, made once: what is said or added later is not seen.

    Raises:
        SpecError: its options or markers contradict the class or each other, or nothing of it
            would be shown; the text names the cause and the way out.
    """
    if not issubclass(type(cls), type):
        raise SpecError(f"{cls!r} is no class: describe the class of the object that you share")
    spec = _specs.get(cls)
    if spec is None:
        spec = _specs.setdefault(cls, _describe(Survey(cls)))
    return spec


_specs: weakref.WeakKeyDictionary[type[Any], Spec] = weakref.WeakKeyDictionary()


def _describe(survey: Survey) -> Spec:
    complete(survey)
    shown, hidden, readonly, closed = _exposure(survey)
    return Spec(
        *path_of(survey.cls),
        survey.class_doc(),
        tuple(path_of(c) for c in survey.lineage),
        tuple(_method(survey, name) for name in shown if name in survey.methods),
        tuple(Attribute(n, survey.doc(n)) for n in shown if n not in survey.methods),
        tuple(sorted(hidden)),
        closed,
        tuple(sorted(readonly)),
        tuple(name for name in shown if "oneway" in survey.marks(name)),
        _published(survey, shown),
        _conduct(survey),
    )


def _published(survey: Survey, shown: list[str]) -> tuple[str, ...]:
    """Decide what is read without a call."""
    options = options_for(survey)
    named = {name for o in options for name in o.published}
    _check_exist(survey, "published", named, survey.known())
    by_ref = {name for o in options for name in o.by_ref}
    found = named.union(n for n in survey.definitions if "published" in survey.marks(n))
    for name in sorted(found):
        where = f"published names {survey.cls.__qualname__}.{name}"
        if name in survey.methods:
            raise SpecError(
                f"{where}, which is a method, and is called and not read: make it a property, or "
                f"leave it out of published"
            )
        if name not in shown:
            raise SpecError(
                f"{where}, which proxies do not show: expose it, annotate it in the class if it is "
                f"set from outside, or leave it out of published"
            )
        if name in by_ref or "by_reference" in survey.marks(name):
            raise SpecError(
                f"{where}, which travels by reference, and only copies can be published: leave it "
                f"out of one of the two"
            )
    return tuple(sorted(found))


def _conduct(survey: Survey) -> Conduct:
    options = options_for(survey)
    by_ref = {name for o in options for name in o.by_ref}
    _check_exist(survey, "by_ref", by_ref, survey.known())
    marked = {name: survey.marks(name) for name in survey.definitions}
    dispatch: Dispatch = next((o.dispatch for o in options if o.dispatch), "serial")
    return Conduct(
        frozenset(by_ref.union(n for n, marks in marked.items() if "by_reference" in marks)),
        frozenset(n for n, marks in marked.items() if "blocking" in marks),
        dispatch,
        next((o.home for o in options if o.home), "caller"),
        _batched(survey, marked, dispatch),
    )


def _batched(
    survey: Survey, marked: dict[str, frozenset[str]], dispatch: Dispatch
) -> tuple[tuple[str, Batching], ...]:
    batched: list[tuple[str, Batching]] = []
    for name, definitions in survey.definitions.items():
        how = batching_of(definitions[0])
        where = f"@batched over {survey.cls.__qualname__}.{name}"
        if how is None:
            continue
        if dispatch == "threads" or "blocking" in marked[name]:
            raise SpecError(
                f'{where} does not go with @blocking or dispatch="threads": those run the calls of '
                f"each client in a thread of its own, and a batch is of many; say "
                f'dispatch="serial" or "asyncio", or leave @batched out'
            )
        if iscoroutinefunction(how.method) and dispatch != "asyncio":
            raise SpecError(
                f'{where} is over an async method: say @proxied(dispatch="asyncio") for its class'
            )
        batched.append((name, how))
    return tuple(batched)


def _exposure(survey: Survey) -> tuple[list[str], set[str], set[str], bool]:
    """Decide what is shown, hidden and read-only, and whether that is all there is."""
    options = options_for(survey)
    expose = next((o.expose for o in options if o.expose is not None), None)
    hide = {name for o in options for name in o.hide}
    readonly = {name for o in options for name in o.readonly}
    marked: dict[str, set[str]] = {"exposed": set(), "hidden": set(), "readonly": set()}
    for name in survey.definitions:
        for mark in marked.keys() & survey.marks(name):
            marked[mark].add(name)

    _check_exposable(survey, [*(expose or ()), *marked["exposed"]])
    _check_exist(survey, "expose", expose or (), survey.known())
    _check_exist(survey, "hide", hide, survey.definitions | survey.fields)
    _check_exist(survey, "readonly", readonly, survey.definitions | survey.fields)
    for name in sorted(readonly & survey.methods):
        raise SpecError(
            f"readonly names {survey.cls.__qualname__}.{name}, which is a method and cannot be "
            f"replaced by proxies anyway: leave it out of readonly, or put it into hide"
        )

    names = dict.fromkeys([*survey.known(), *(expose or ())])
    by_default = {n for n in names if not n.startswith("_") or is_special(n)}
    hidden = hide - marked["exposed"] | marked["hidden"]
    allowed = (by_default if expose is None else set(expose)) | marked["exposed"]
    shown = [n for n in names if n in allowed - hidden]
    if not shown and (expose is not None or not survey.dynamic):
        raise SpecError(
            f"{survey.cls.__qualname__} shows nothing to proxies: it has no public method and no "
            f"public attribute that is not hidden. Give it one, annotate the attributes that it "
            f"is given from outside, or name _private ones in @proxied(expose=...)"
        )
    return shown, hidden, readonly | marked["readonly"], expose is not None


def _check_exposable(survey: Survey, names: Iterable[str]) -> None:
    for name in names:
        if name.startswith("_pipeproxy_") or (is_special(name) and name not in FORWARDED):
            raise SpecError(
                f"{survey.cls.__qualname__}.{name} cannot be exposed, since Python uses it on the "
                f"proxy itself: give proxies a method of another name that does the same"
            )


def _check_exist(survey: Survey, option: str, names: Iterable[str], known: Iterable[str]) -> None:
    for name in [] if survey.dynamic else sorted(set(names).difference(known)):
        close = get_close_matches(name, known, n=1)
        raise SpecError(
            f"{option} names {name!r}, which {survey.cls.__qualname__} does not have"
            + (f": did you mean {close[0]!r}?" if close else "")
            + " (An attribute that is set from outside must be annotated in the class.)"
        )


def _method(survey: Survey, name: str) -> Method:
    signature = signature_of(survey.definitions[name][0])
    if signature is None:
        return Method(name, None, None, survey.doc(name))
    parameters = tuple(
        Parameter(p.name, int(p.kind), text_of_default(p), text_of_annotation(p.annotation))
        for p in signature.parameters.values()
    )
    returns = text_of_annotation(signature.return_annotation)
    return Method(name, parameters, returns, survey.doc(name))
