"""What users say of their classes: nothing is added to them, and all that derive follow."""

from __future__ import annotations

import struct

import pytest

from pipeproxy._specs._options import Options, is_described, options_of, proxied
from pipeproxy.errors import SpecError


def test_a_class_is_returned_untouched():
    class Account:
        balance = 0

    before = dict(vars(Account))
    assert proxied(Account) is Account
    assert dict(vars(Account)) == before
    assert options_of(Account) == Options(None, (), ())


def test_options_are_kept_for_the_very_class():
    @proxied(expose=["a"], hide={"b"}, readonly=("c",))
    class Base:
        pass

    class Derived(Base):
        pass

    assert options_of(Base) == Options(("a",), ("b",), ("c",))
    assert options_of(Derived) is None


def test_a_class_written_in_c_can_be_described():
    assert proxied(struct.Struct, hide=["size"]) is struct.Struct
    assert options_of(struct.Struct) == Options(None, ("size",), ())


def test_options_keep_no_class_alive():
    import gc
    import weakref

    class Short:
        pass

    gone = weakref.ref(proxied(Short))
    del Short
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (lambda: proxied(5), "5 is none: put @proxied over a class"),
        (lambda: proxied(None), "is none"),
        (lambda: proxied(len), "is none"),
        (lambda: proxied("hide"), "is none"),
        (lambda: proxied(hide=["a"])(print), "is none"),
        (lambda: proxied(int, float), "call it once for each"),
        (lambda: proxied(hide="secret"), r"hide='secret' is one text.*\['secret'\]"),
        (lambda: proxied(expose="secret"), "expose='secret' is one text"),
        (lambda: proxied(readonly=3), "readonly=3 is no collection of names"),
        (lambda: proxied(readonly=["a", 3]), "readonly holds 3"),
        (lambda: proxied(published="a"), "published='a' is one text"),
        (lambda: proxied(dispatch="thread"), "dispatch='thread' is none of 'serial', 'threads'"),
        (lambda: proxied(home=1), "home=1 is none of 'caller', 'queue'"),
    ],
)
def test_bad_use_says_what_to_do_instead_at_once(use, says):
    with pytest.raises(SpecError, match=says):
        use()


def test_the_same_words_twice_are_fine_and_other_words_are_not():
    class Account:
        pass

    proxied(hide=["a"])(proxied(Account, hide=["a"]))
    with pytest.raises(SpecError, match="in other words"):
        proxied(Account, hide=["b"])


def test_classes_are_described_with_all_that_derive_from_them():
    class Base:
        pass

    class Derived(Base):
        pass

    assert not is_described(Derived)
    proxied(Base)
    assert is_described(Base)
    assert is_described(Derived)
    assert not is_described(int)
