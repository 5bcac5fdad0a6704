"""The source of a proxy's methods: one function for each, compiled together, once.

A generated method looks like this and can be read in tracebacks and debuggers::

    def deposit(self, /, amount, memo=_pp_3_1):
        kwargs = {}
        if memo is not _pp_3_1: kwargs['memo'] = memo
        return self._pipeproxy_link.call(3, (amount,), kwargs or None)

Python itself binds the arguments, so a wrong call fails in the caller. A default stays in the
owner: the signature shows its repr, and an argument that was not given is not sent. Only checked
identifiers ever enter the source; defaults and annotations enter as objects. A signature shows an
annotation as its text, without the quotes that Python 3.10 to 3.13 put round a string.
"""

from __future__ import annotations

import linecache
from collections.abc import Collection, Iterator
from keyword import iskeyword
from types import TracebackType
from typing import Any, NoReturn

from .._specs._members import FIRST_METHOD, FORWARDED, is_special
from ..errors import ProtocolError

#: The kinds of parameters, numbered as in `inspect`.
_ONLY, _EITHER, _REST, _KEYWORD, _KEYWORDS = range(5)

#: A parameter's name and kind, and what its default is called in the source, if it has one.
_Parameter = tuple[str, int, "str | None"]

_ANYTHING: list[_Parameter] = [("args", _REST, None), ("kwargs", _KEYWORDS, None)]


def functions(
    filename: str,
    module: str,
    qualname: str,
    methods: tuple[Any, ...],
    oneway: Collection[str] = (),
) -> Iterator[tuple[str, Any]]:
    """Compile the methods of one spec, all at once, and yield each with its name.

    Args:
        filename: what tracebacks and debuggers know the source by.
        module: where the class stands, whose methods these are.
        qualname: the name of that class.
        methods: as in a spec (see `_members`).
        oneway: likewise: those whose calls are begun and not waited for.

    Raises:
        ProtocolError: something among the methods cannot come from a spec.
    """
    names = {member_name(m[0]) for m in methods}
    names |= {_identifier(p[0]) for m in methods for p in m[1] or ()}
    prefix = _prefix(names)
    scope: dict[str, Any] = {f"{prefix}exit": _exit_arguments}
    parts = []
    for number, (name, parameters, _, _) in enumerate(methods, FIRST_METHOD):
        listed = _ANYTHING if parameters is None else []
        for i, (parameter, kind, default, _) in enumerate(parameters or ()):
            stand_in = None if default is None else f"{prefix}{number}_{i}"
            if stand_in:
                scope[stand_in] = _Default(default)
            listed.append((parameter, kind, stand_in))
        parts.append(_source(number, name, listed, prefix, waits=name not in oneway))
    source = "\n\n".join(parts) + "\n"
    try:
        exec(compile(source, filename, "exec", dont_inherit=True), scope)
    except SyntaxError as error:
        raise ProtocolError(f"the spec of {qualname} holds an impossible signature") from error
    # Without a time of change `linecache.checkcache` keeps what is in no file.
    linecache.cache[filename] = (len(source), None, source.splitlines(True), filename)
    for name, parameters, returns, doc in methods:
        function = scope[name]
        function.__module__ = module
        function.__qualname__ = f"{qualname}.{name}"
        function.__doc__ = doc
        texts = [*((p[0], p[3]) for p in parameters or ()), ("return", returns)]
        function.__annotations__ = {n: _Annotation(t) for n, t in texts if t is not None}
        yield name, function


class _Default:
    """Stands in a signature for a default that stays in the owner."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"the default {self._text} stays in its owner: leave the argument out instead"
        )


class _Annotation(str):
    """The text of an annotation, which a signature shows without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _source(
    number: int, name: str, parameters: list[_Parameter], prefix: str, *, waits: bool
) -> str:
    """Return the source of one method.

    What is required and can go by position does; of what has a default only what was given is
    sent, by position where it has to be and by name elsewhere.
    """
    taken = {n for n, _, _ in parameters}
    me, kwargs = _free("self", taken), _free("kwargs", taken)
    required = [n for n, kind, default in parameters if kind <= _EITHER and not default]
    only = [(n, default) for n, kind, default in parameters if kind == _ONLY and default]
    either = [(n, default) for n, kind, default in parameters if kind == _EITHER and default]
    keyword = [(n, default) for n, kind, default in parameters if kind == _KEYWORD and default]
    must = [n for n, kind, default in parameters if kind == _KEYWORD and not default]
    rest = "".join(n for n, kind, _ in parameters if kind == _REST)
    catch = "".join(n for n, kind, _ in parameters if kind == _KEYWORDS)

    args = _tuple(required, "" if only or either else rest)
    for i, (n, default) in enumerate(only, 1):
        args = f"{_tuple(required + [o[0] for o in only[:i]])} if {n} is not {default} else {args}"
    if rest and (only or either):
        # Whatever stands before an argument in *rest was given by position as well.
        args = f"{_tuple(required + [o[0] for o in only + either], rest)} if {rest} else {args}"
    if name == "__exit__":
        args = f"{prefix}exit({args})"

    lines = [f"def {name}({_head(me, parameters)}):"]
    named = either + keyword
    if catch:
        kwargs = catch
        lines += [f"    {kwargs}[{n!r}] = {n}" for n in must]
    elif named or must:
        lines.append(f"    {kwargs} = {{{', '.join(f'{n!r}: {n}' for n in must)}}}")
    unless = f"not {rest} and " if rest else ""
    for n, default in named:
        condition = f"{unless if (n, default) in either else ''}{n} is not {default}"
        lines.append(f"    if {condition}: {kwargs}[{n!r}] = {n}")
    sent = f"{kwargs} or None" if catch or named or must else "None"
    link = f"{me}._pipeproxy_link"
    if waits:
        lines.append(f"    return {link}.call({number}, {args}, {sent})")
    else:
        lines.append(f"    return {link}.start({number}, {args}, {sent}, None)")
    return "\n".join(lines)


def _head(me: str, parameters: list[_Parameter]) -> str:
    words = [me]
    before = _ONLY
    for name, kind, default in parameters:
        if before == _ONLY < kind:
            words.append("/")
        if kind == _KEYWORD and before < _REST:
            words.append("*")
        stars = "*" if kind == _REST else "**" if kind == _KEYWORDS else ""
        words.append(stars + name + (f"={default}" if default else ""))
        before = kind
    if before == _ONLY:
        words.append("/")
    return ", ".join(words)


def _tuple(names: list[str], rest: str = "") -> str:
    if rest and not names:
        return rest
    items = [*names, f"*{rest}"] if rest else names
    return f"({', '.join(items)}{',' if len(items) == 1 else ''})"


def _free(word: str, taken: set[str]) -> str:
    while word in taken:
        word = f"_{word}"
    return word


def _prefix(names: set[str]) -> str:
    """Return how our own globals begin, so that no method and no parameter shadows one."""
    prefix = "_pp_"
    while any(name.startswith(prefix) for name in names):
        prefix += "_"
    return prefix


def _identifier(name: Any) -> str:
    if type(name) is not str or not name.isidentifier() or iskeyword(name):
        raise ProtocolError(f"{name!r} cannot be the name of anything in a spec")
    return name


def member_name(name: Any) -> str:
    """Return `name` if a proxy can have a member of that name.

    Raises:
        ProtocolError: it cannot, so it does not come from a spec.
    """
    ours = _identifier(name).startswith("_pipeproxy_")
    if ours or (is_special(name) and name not in FORWARDED):
        raise ProtocolError(f"{name} cannot be a member of a proxy")
    return _identifier(name)


def _exit_arguments(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leave the traceback out, since none can leave its process."""
    return tuple(None if type(a) is TracebackType else a for a in args)
