"""Which names of an object may be reached: decided alike in the client and in the owner.

A spec travels as a plain tuple, so that a client needs none of the libraries that made it.
`Members` is that tuple made ready for use: both sides build one and ask it the same questions,
the client to answer without a round trip, the owner because it trusts nothing that arrives.

    plain      = (module, qualname, doc, mro, methods, attributes, hidden, closed, readonly, oneway,
                  published)
    mro        = ((module, qualname), ...)            most derived first, without object
    methods    = ((name, parameters, returns, doc), ...)   special methods among them
    parameters = None where no signature is known, else ((name, kind, default, annotation), ...)
                 without self; kind as in inspect.Parameter, default the repr or None
    attributes = ((name, doc), ...)                   known ones; others may exist (see closed)
    hidden     = (name, ...)
    closed     = True where only the names in methods and attributes exist (the option expose)
    readonly   = (name, ...)                          attributes that clients may not change
    oneway     = (name, ...)                          methods whose callers do not wait for them
    published  = (name, ...)                          attributes that they read without a call
"""

from __future__ import annotations

from typing import Any

from ..errors import NotExposed

#: What every object has, before the methods of its own: a member is called by its number. The
#: fourth is that a function of the caller's is called with the object itself.
GET, SET, DELETE, RUN, FIRST_METHOD = range(5)

Plain = tuple[Any, ...]

#: The special methods that a proxy forwards where the class defines them. No other name of the
#: form ``__name__`` is ever reachable: what it does would be done to the proxy, or to a copy.
FORWARDED = frozenset(
    f"__{name}__"
    for names in (
        "len length_hint getitem setitem delitem iter next reversed contains call enter exit",
        "eq ne lt le gt ge bool str format bytes fspath int float complex index",
        "round trunc floor ceil neg pos abs invert",
        "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and xor or",
        "radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand rxor ror",
        "iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ixor ior",
    )
    for name in names.split()
)


def is_special(name: str) -> bool:
    """Say whether `name` has the form of a special method, whether Python knows it or not."""
    return name.startswith("__") and name.endswith("__") and len(name) > 4


class Members:
    """The names of one spec, and what may be done with each.

    Attributes:
        plain: the spec as it travels.
        names: method names by member number (the numbers below `FIRST_METHOD` are unused).
        numbers: member numbers by method name.
        published: the attributes that are read without a call, each with its number among them.
    """

    __slots__ = (
        "_attributes",
        "_closed",
        "_hidden",
        "_readonly",
        "names",
        "numbers",
        "plain",
        "published",
    )

    def __init__(self, plain: Plain) -> None:
        methods, attributes, hidden, closed, readonly, _, published = plain[4:11]
        self.plain = plain
        self.names: tuple[str, ...] = ("",) * FIRST_METHOD + tuple(m[0] for m in methods)
        self.numbers = {name: n for n, name in enumerate(self.names) if name}
        self._attributes = frozenset(a[0] for a in attributes)
        self._hidden = frozenset(hidden)
        self._closed: bool = closed
        self._readonly = frozenset(readonly)
        self.published: dict[str, int] = {name: n for n, name in enumerate(published)}

    @property
    def class_name(self) -> str:
        name: str = self.plain[1]
        return name

    def attribute_names(self) -> frozenset[str]:
        """The attributes that are known without asking the object."""
        return self._attributes

    def check_read(self, name: object) -> None:
        """Pass if `name` may be read as an attribute.

        Raises:
            NotExposed: it may not; the text says why and how to change that.
        """
        if type(name) is not str:
            raise NotExposed(f"{self.class_name} has no member whose name is no text")
        if name in self._attributes:
            return
        if name in self._hidden:
            raise NotExposed(f"{self.class_name}.{name} is hidden from proxies")
        if is_special(name) and name not in self.numbers:
            raise NotExposed(f"{self.class_name}.{name} is no special method of its proxies")
        if name.startswith("_"):
            raise NotExposed(
                f"{self.class_name}.{name} is private to its owner; mark it @exposed, or name it "
                f"in @proxied(expose=...), to let proxies reach it"
            )
        if name in self.numbers:
            raise NotExposed(f"{self.class_name}.{name} is a method; it can be called, not read")
        if self._closed:
            raise NotExposed(
                f"{self.class_name}.{name} is not among the names that "
                f"@proxied(expose=...) of {self.class_name} lists"
            )

    def check_write(self, name: object) -> None:
        """Pass if `name` may be set and deleted.

        Raises:
            NotExposed: it may not; the text says why.
        """
        if isinstance(name, str) and name in self.numbers:
            raise NotExposed(
                f"{self.class_name}.{name} is a method; a proxy can call it but not replace it"
            )
        self.check_read(name)
        if name in self._readonly:
            raise NotExposed(f"{self.class_name}.{name} is read-only for proxies")


def named_by(member: int, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return those arguments of a call that say which member it is, as the name of an attribute."""
    return args[:1] if member < FIRST_METHOD else ()


def name_of(plain: Plain, member: int, args: tuple[Any, ...] = ()) -> str:
    """Return how to name a member to people, as "Account.deposit".

    Args:
        args: those of the call, if they are known: the name of an attribute is one of them.
    """
    if FIRST_METHOD <= member < FIRST_METHOD + len(plain[4]):
        return f"{plain[1]}.{plain[4][member - FIRST_METHOD][0]}"
    if member == RUN:
        return f"a function that is run on {plain[1]}"
    if member < FIRST_METHOD and args and isinstance(args[0], str):
        return f"{plain[1]}.{args[0]}"
    return f"{plain[1]}'s attributes" if member < FIRST_METHOD else f"{plain[1]}'s member {member}"


def parameters_of(plain: Plain, member: int) -> list[str]:
    """Return the names of a member's positional parameters."""
    if member < FIRST_METHOD:
        return ["func"] if member == RUN else ["name", "value"]
    parameters = plain[4][member - FIRST_METHOD][1]
    return [name for name, kind, _, _ in parameters or () if kind < 2]
