"""What users do to an object, and the object to do it to.

Each probe gets the object itself in one process and a proxy of another one elsewhere; what it
returns or raises, and what it leaves of the object, must be the same.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from .subjects import (
    OPERATORS,
    Account,
    Base,
    Box,
    Derived,
    Failing,
    Guard,
    IntBox,
    Letters,
    Many,
    Number,
    Order,
    Parameters,
    Point,
    Shelf,
    Slotted,
    Ticket,
    Version,
)


class Probe(NamedTuple):
    make: Callable[[], Any]
    use: Callable[[Any], Any]


#: Every probe by its name.
PROBES: dict[str, Probe] = {}


def probe(make: Callable[[], Any]) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    def register(use: Callable[[Any], Any]) -> Callable[[Any], Any]:
        PROBES[use.__name__] = Probe(make, use)
        return use

    return register


def _outcome(use: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, ...]:
    try:
        return "returned", use(*args, **kwargs)
    except BaseException as error:
        return type(error).__name__, str(error)


# Parameters --------------------------------------------------------------------------------------


@probe(Parameters)
def parameters_by_position_and_name(p):
    return [
        p.none(),
        p.only(1),
        p.only(1, 5),
        p.either(1),
        p.either(1, 5),
        p.either(1, c=5),
        p.either(a=1, b=4, c=5),
        p.either(c=1, a=2),
        p.rest(1),
        p.rest(1, 2, 3),
        p.rest_after_default(),
        p.rest_after_default(5),
        p.rest_after_default(5, 6, 7, k=8),
        p.keyword(k=1),
        p.keyword(m=1, k=3),
        p.keywords(),
        p.keywords(x=1, y=2),
        p.keywords(5, z=1),
        p.odd_names(1),
        p.odd_names(1, 2, 3),
        p.odd_names(kwargs=1, member=2),
    ]


@probe(Parameters)
def parameters_of_all_kinds_at_once(p):
    return [
        p.everything(1, k=4),
        p.everything(1, 5, k=4),
        p.everything(1, 5, 6, k=4),
        p.everything(1, 5, 6, 7, 8, k=4),
        p.everything(1, c=6, k=4),
        p.everything(1, k=4, m=6, extra=7, more=8, rest=9, self=10),
        p.everything(1, k=4, a=5, b=6),
    ]


@probe(Parameters)
def a_default_that_changes_is_the_owners(p):
    return p.mutable(1, []), [p.mutable(1) > 0 for _ in range(2)]


@probe(Parameters)
def a_default_that_cannot_travel_is_not_sent(p):
    return p.sentinel(), p.sentinel(5)


@probe(Parameters)
def a_wrong_call_says_what_python_says(p):
    return [
        _outcome(p.none, 1),
        _outcome(p.only),
        _outcome(p.only, a=1),
        _outcome(p.only, 1, 2, 3),
        _outcome(p.either),
        _outcome(p.either, 1, a=2),
        _outcome(p.either, 1, d=2),
        _outcome(p.keyword),
        _outcome(p.keyword, 1, k=2),
        _outcome(p.rest),
    ]


@probe(Parameters)
def a_method_is_bound_once_and_called_twice(p):
    method = p.either
    return method(1), method(2, b=3), method.__name__, method.__qualname__, method.__doc__


# Attributes --------------------------------------------------------------------------------------


@probe(Account)
def data_is_read_set_and_deleted(a):
    before = a.balance, a.owner
    a.balance = 5
    a.owner += "!"
    a.balance += 2
    after = a.balance, a.owner
    del a.owner
    return before, after, hasattr(a, "owner"), _outcome(getattr, a, "owner")


@probe(Account)
def a_new_attribute_is_the_owners(a):
    a.colour = "red"
    return a.colour, hasattr(a, "colour"), hasattr(a, "shape"), getattr(a, "shape", "none")


@probe(Account)
def a_missing_attribute_is_an_attribute_error(a):
    return _outcome(getattr, a, "shape"), _outcome(delattr, a, "shape")


@probe(Account)
def a_property_with_everything(a):
    before = a.limit
    a.limit = 20
    after = a.limit
    wrong = _outcome(setattr, a, "limit", -1)
    del a.limit
    return before, after, wrong, a.limit, _outcome(delattr, a, "limit")


@probe(Account)
def a_property_without_a_setter(a):
    return a.rich, hasattr(a, "rich"), _outcome(setattr, a, "rich", True)[0], a.rich


@probe(Account)
def a_cached_property(a):
    first = a.number
    a.owner = "bob"
    second = a.number
    del a.number
    return first, second, a.number


@probe(Account)
def a_class_attribute_is_read_and_shadowed(a):
    before = a.currency
    a.currency = "USD"
    after = a.currency
    del a.currency
    return before, after, a.currency


@probe(Account)
def static_and_class_methods(a):
    return a.check("x-1"), a.check(number="x"), a.describe(), a.describe("of", "ada")


@probe(Slotted)
def slots(s):
    before = s.x, hasattr(s, "y"), s.total()
    s.y = 5
    after = s.y, s.total()
    del s.y
    return before, after, hasattr(s, "y"), _outcome(setattr, s, "z", 1)[0]


# Classes -----------------------------------------------------------------------------------------


@probe(Derived)
def inheritance(d):
    return d.name(), d.extra(), d.only_in_base(), d.kind, isinstance(d, Base)


@probe(lambda: IntBox(4))
def generics(b):
    before = b.get(), b.double(), b.value
    b.put(5)
    return before, b.double(), isinstance(b, Box)


@probe(lambda: Point(3, tags=["a"]))
def a_dataclass(p):
    p.x = -4
    copied = list(p.tags)
    copied.append("b")
    return p.x, p.y, p.norm(), len(copied), p == Point(-4, 2, ["a"]), p != Point(0)


@probe(lambda: Version(1, 2))
def a_frozen_dataclass(v):
    return (
        v.bumped(),
        v == Version(1, 2),
        v < Version(2),
        v >= Version(2),
        Version(0) < v,
        _outcome(setattr, v, "major", 2),
    )


@probe(lambda: Order("tea", 2))
def an_attrs_class(o):
    o.amount = 3
    wrong = _outcome(setattr, o, "amount", -1)[0]
    return o.item, o.amount, o.price(4), o == Order("tea", 3), o == Order("tea", 4), wrong


@probe(lambda: [3, 1, 2])
def a_builtin_list(items):
    items.append(5)
    items.sort(reverse=True)
    items += [0]
    return items[0], items[1:3], len(items), items.index(2), 5 in items, list(items), items == [5]


@probe(lambda: {"a": 1})
def a_builtin_dict(d):
    d["b"] = 2
    d.update(c=3)
    missing = _outcome(operator.getitem, d, "x")
    return d["b"], "c" in d, len(d), sorted(d), d.get("x", 9), d.pop("a"), missing, d == {"b": 2}


# Special methods ---------------------------------------------------------------------------------


@probe(lambda: Shelf("a", "b", "c"))
def a_container(s):
    s[0] = "A"
    s[3:] = ["d", "e"]
    del s[1]
    return (
        len(s),
        bool(s),
        s[0],
        s[-1],
        s[1:3],
        s[::-2],
        "d" in s,
        "z" in s,
        list(s),
        list(reversed(s)),
        [*s],
        max(s),
        _outcome(operator.getitem, s, 10),
        _outcome(operator.getitem, s, "x"),
    )


@probe(Shelf)
def an_empty_container_is_false(s):
    return bool(s), len(s), list(s), not s


@probe(Letters)
def the_old_iteration(s):
    return list(s), "b" in s, "z" in s, bool(s), s[1]


@probe(lambda: Many(10_000))
def a_long_iteration(m):
    return sum(m), len(list(m)), 9_999 in m, next(iter(m))


@probe(lambda: Many(20, fail=True))
def an_iteration_that_fails_after_its_items(m):
    seen = []
    failure = _outcome(lambda: [seen.append(item) for item in m])
    return seen, failure


@probe(lambda: Many(50))
def an_iterator_is_used_up(m):
    iterator = iter(m)
    first = [next(iterator) for _ in range(3)]
    return first, len(list(iterator)), list(iterator), next(iterator, "end")


@probe(lambda: Many(40))
def two_iterations_at_once(m):
    return list(zip(m, m, strict=True)) == [(i, i) for i in range(40)]


@probe(Ticket)
def an_object_that_iterates_over_itself(t):
    return next(t), list(t), next(t, "end"), t.next


@probe(Shelf)
def a_call(s):
    return s(), s("a", "b"), s("a", end="?"), _outcome(s, wrong=1), callable(s)


@probe(lambda: Shelf("a"))
def texts(s):
    return str(s), f"{s}", f"{s:x}", format(s, ">>"), "%s" % s


@probe(Guard)
def with_statement(g):
    with g as inside:
        same = inside == g
    return same, g.log


@probe(Guard)
def with_statement_that_raises(g):
    def body():
        with g:
            raise ValueError("inside")

    return _outcome(body), g.log


@probe(lambda: Guard(swallow=True))
def with_statement_that_swallows(g):
    with g:
        raise KeyError("inside")
    return g.log


@probe(Number)
def conversions(n):
    return (
        bool(n),
        int(n),
        float(n),
        complex(n),
        operator.index(n),
        list(range(10))[n],
        hex(n),
        round(n),
        round(n, 2),
        math.trunc(n),
        math.floor(n),
        math.ceil(n),
        -n,
        +n,
        abs(n),
        ~n,
        bytes(n),
        os.fspath(n),
    )


@probe(lambda: Number(0))
def falsehood(n):
    return bool(n), "yes" if n else "no"


def _function(name: str) -> Any:
    return divmod if name == "divmod" else getattr(operator, f"__{name}__")


@probe(Number)
def arithmetic(n):
    return [_function(name)(n, 3) for name in OPERATORS]


@probe(Number)
def reflected_arithmetic(n):
    return [_function(name)(3, n) for name in OPERATORS]


@probe(Number)
def arithmetic_with_itself(n):
    return [_function(name)(n, n) for name in OPERATORS]


@probe(Number)
def arithmetic_that_is_not_implemented(n):
    return [_outcome(_function(name), n, "unknown")[0] for name in ("add", "sub", "and")]


@probe(Number)
def powers(n):
    return n**2, pow(n, 2), pow(n, 2, 5)


@probe(Number)
def in_place_arithmetic(n):
    values = []
    for name in OPERATORS:
        if name != "divmod":
            same = getattr(operator, f"i{name.strip('_')}")(n, 1)
            values.append((same == n, n.value))
    n += 1
    return values, n.value


@probe(Number)
def comparison(n):
    return (
        [n == 7, n != 7, n == 8, n < 8, n <= 7, n > 7, n >= 8],
        [7 == n, 8 > n, 8 < n, 7 >= n],
        [n == n, n != n, n <= n, n == Number(7), n < Number(8), Number(8) < n],
        sorted([9, n, 3])[0],
        7 in [n],
    )


# Identity ----------------------------------------------------------------------------------------


@probe(Account)
def it_returns_itself(a):
    return a.me() == a, a.me().me() == a, a != a.me(), hash(a.me()) == hash(a), a.me() is None


@probe(Account)
def it_knows_itself_among_arguments(a):
    return a.is_me(a), a.is_me(other=a.me()), a.is_me(None), a.is_me(5)


@probe(Account)
def it_is_of_its_class(a):
    return isinstance(a, Account), isinstance(a, Shelf), a.__class__ is Account


# Exceptions --------------------------------------------------------------------------------------


@probe(Failing)
def exceptions(f):
    seen = [
        _outcome(use)
        for use in (f.plain, f.custom, f.local, f.leave, f.interrupt, f.stop, f.missing)
    ]
    return seen, f.count()
