"""Which names may be reached: the same answer in the client and in the owner."""

from __future__ import annotations

import sys

import pytest

from pipeproxy._specs._members import (
    DELETE,
    FIRST_METHOD,
    FORWARDED,
    GET,
    SET,
    Members,
    is_special,
    name_of,
    parameters_of,
)
from pipeproxy.errors import NotExposed


def members(**changes: object) -> Members:
    fields = {
        "module": "bank",
        "qualname": "Account",
        "doc": None,
        "mro": (("bank", "Account"),),
        "methods": (("deposit", None, None, None), ("__len__", (), None, None)),
        "attributes": (("balance", None), ("_audit", None), ("number", None)),
        "hidden": ("pin",),
        "closed": False,
        "readonly": ("number",),
        "oneway": (),
        "published": ("balance",),
    }
    return Members(tuple((fields | changes).values()))


def test_methods_are_numbered_after_what_every_object_has():
    assert [GET, SET, DELETE] == [0, 1, 2]
    assert members().numbers == {"deposit": FIRST_METHOD, "__len__": FIRST_METHOD + 1}
    assert members().names[FIRST_METHOD] == "deposit"


@pytest.mark.parametrize("name", ["balance", "_audit", "number", "not_in_the_class"])
def test_known_and_public_names_are_read(name):
    members().check_read(name)


@pytest.mark.parametrize("name", ["balance", "_audit", "not_in_the_class"])
def test_known_and_public_names_are_written(name):
    members().check_write(name)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("pin", "hidden"),
        ("_secret", "private to its owner; mark it @exposed"),
        ("__dict__", "no special method"),
        ("__reduce__", "no special method"),
        ("deposit", "a method"),
        ("__len__", "method"),
        (b"balance", "no text"),
        (["unhashable"], "no text"),
        (None, "no text"),
    ],
)
def test_other_names_are_refused_for_reading_and_writing(name, why):
    with pytest.raises(NotExposed, match=why if name != "__len__" else "Account.__len__"):
        members().check_read(name)
    with pytest.raises(NotExposed, match=why):
        members().check_write(name)


def test_a_readonly_name_is_read_but_not_written():
    with pytest.raises(NotExposed, match="Account.number is read-only"):
        members().check_write("number")


def test_a_closed_spec_has_no_names_but_its_own():
    closed = members(closed=True)
    closed.check_read("balance")
    with pytest.raises(NotExposed, match=r"expose=\.\.\."):
        closed.check_read("not_in_the_class")


def test_nothing_that_copies_pickles_or_reaches_inside_is_ever_forwarded():
    never = """hash repr dir reduce reduce_ex getstate setstate getnewargs getnewargs_ex getattr
        getattribute setattr delattr class init new del init_subclass sizeof copy deepcopy array
        array_ufunc array_function array_interface buffer dlpack set_name get set delete slots dict
        weakref class_getitem await aiter anext aenter aexit missing""".split()
    assert {f"__{name}__" for name in never} & FORWARDED == set()


def test_what_is_forwarded_is_spelt_as_python_spells_it():
    kinds = [int, float, list, dict, set, bytes, str, type(sys.stdin), range, type(iter([]))]
    known = {name for kind in kinds for name in dir(kind)}
    known |= {"__call__", "__fspath__", "__bytes__", "__complex__", "__divmod__", "__rdivmod__"}
    known |= {f"__{p}{n}__" for p in ["", "r", "i"] for n in ["matmul"]}
    in_place = {f"__i{n}__" for n in "truediv floordiv mod pow lshift rshift".split()}
    assert FORWARDED - known - in_place == set()


@pytest.mark.parametrize("name", ["__len__", "__no_such_thing__"])
def test_special_names_are_told_by_their_form(name):
    assert is_special(name)


@pytest.mark.parametrize("name", ["__", "____", "__private", "_x_", "public__"])
def test_other_names_are_not_special(name):
    assert not is_special(name)


def test_members_are_named_to_people():
    plain = members().plain
    assert name_of(plain, FIRST_METHOD) == "Account.deposit"
    assert name_of(plain, GET, ("balance",)) == "Account.balance"
    assert name_of(plain, SET) == "Account's attributes"
    assert name_of(plain, 99) == "Account's member 99"


def test_positional_parameters_are_named():
    parameters = (
        ("a", 0, None, None),
        ("b", 1, "2", None),
        ("c", 2, None, None),
        ("d", 3, "4", None),
    )
    plain = members(methods=(("m", parameters, None, None), ("n", None, None, None))).plain
    assert parameters_of(plain, FIRST_METHOD) == ["a", "b"]
    assert parameters_of(plain, FIRST_METHOD + 1) == []
    assert parameters_of(plain, SET) == ["name", "value"]
