"""`python -m pipeproxy stubs`: what it writes, what it compares, and how it fails."""

from __future__ import annotations

import inspect
import itertools
import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from pipeproxy import Shared, share
from pipeproxy._stubs import _sources
from pipeproxy.stubs import StubError, Stubs, main

ROOT = Path(__file__).parent.parent
STUBS = Path("pipeproxy_proxies")
T = TypeVar("T")

HEAD = """
from __future__ import annotations
from pipeproxy import exposed, hidden, proxied, readonly
"""

numbers = itertools.count()
Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a module that can be imported, and return its name."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    prefix = f"package{next(numbers)}"

    def write(text: str, name: str = "module", suffix: str = ".py") -> str:
        path = tmp_path.joinpath(*f"{prefix}.{name}".split(".")).with_suffix(suffix)
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / prefix / "__init__.py").touch()
        path.write_text(HEAD + textwrap.dedent(text).replace("PREFIX", prefix), "utf-8")
        _sources.find.cache_clear()
        _sources.find_module.cache_clear()
        return f"{prefix}.{name}"

    return write


def text_of(module: str, *more: str) -> str:
    """The stub of a module, without imports and docstrings."""
    path = (STUBS / Path(*module.partition(":")[0].split("."))).with_suffix(".pyi")
    text = Stubs([module, *more]).files[path]
    assert text is not None
    return text


def body_of(module: str) -> str:
    text = text_of(module)
    return text[text.index("\nclass ") + 1 :]


def members_of(module: str) -> list[str]:
    """The lines of the members of its only class."""
    lines = body_of(module).splitlines()[1:]
    return [line.strip() for line in lines if line.strip()]


# What is shown ------------------------------------------------------------------------------------


def test_a_protocol_has_what_is_exposed_and_nothing_else(write: Write) -> None:
    module = write("""
        @proxied(hide=("shut",), readonly=("number",))
        class Account:
            \"\"\"An account.\"\"\"
            shut = 3
            def __init__(self, owner: str) -> None:
                self.owner = owner
                self.number = 3
                self._secret = 4
            def deposit(self, amount: int = 0, *, memo: str = "") -> int: return amount
            def _private(self) -> None: ...
            @hidden
            def wipe(self) -> None: ...
            @exposed
            def _audit(self) -> None: ...
            def __len__(self) -> int: return 0
        """)
    assert body_of(module) == (
        textwrap.dedent('''\
        class AccountProxy(Protocol):
            """An account."""

            owner: str

            @property
            def number(self) -> int: ...

            def deposit(self, amount: int = 0, *, memo: str = "") -> int: ...
            def _audit(self) -> None: ...
            def __len__(self) -> int: ...
        ''')
    )


def test_what_bases_hold_is_inherited_with_its_type_arguments(write: Write) -> None:
    write(
        """
        from typing import Generic, TypeVar
        T = TypeVar("T")
        class Base(Generic[T]):
            first: T
            def get(self) -> list[T]: return []
        """,
        "base",
    )
    module = write("""
        from decimal import Decimal
        from PREFIX.base import Base
        @proxied
        class Account(Base[Decimal]): ...
        """)
    assert members_of(module) == ["first: Decimal", "def get(self) -> list[Decimal]: ..."]


def test_every_spelling_survives_and_is_imported_as_it_was(write: Write) -> None:
    module = write("""
        import typing as t
        import collections.abc
        from decimal import Decimal as Money
        from typing import Optional
        Alias = t.Union[int, str]
        @proxied
        class Account:
            def pay(self, a: Money, b: Optional["Money"], c: t.List[int], d: Alias) -> None: ...
            def each(self) -> collections.abc.Iterator[Money]: ...
        """)
    text = text_of(module)
    assert "a: Money, b: Optional[Money], c: t.List[int], d: Alias) -> None" in text
    imports = text[: text.index("\nclass ")].split("\n")[1:]
    assert [line for line in imports if line] == [
        "import collections.abc",
        "import typing as t",
        "from decimal import Decimal as Money",
        f"from {module} import Alias",
        "from typing import Optional, Protocol",
    ]


def test_a_member_that_is_called_like_a_type_does_not_hide_it(write: Write) -> None:
    module = write("""
        from decimal import Decimal
        @proxied
        class Account:
            def list(self) -> list[int]: return []
            def later(self) -> list[Decimal]: return []
            def Decimal(self) -> Decimal: ...
        """)
    assert members_of(module) == [
        "def list(self) -> _list[int]: ...",
        "def later(self) -> _list[_Decimal]: ...",
        "def Decimal(self) -> _Decimal: ...",
    ]


def test_names_for_type_checkers_only_and_for_some_pythons_are_found(write: Write) -> None:
    module = write("""
        import sys
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            from decimal import Decimal
        else:
            Decimal = int
        if not TYPE_CHECKING:
            from fractions import Fraction as Decimal
        if sys.version_info < (3, 13):
            from typing_extensions import deprecated
        else:
            from warnings import deprecated
        if sys.version_info >= (3, 11):
            from typing import Self
        else:
            from typing_extensions import Self
        @proxied
        class Account:
            def me(self) -> Self: return self
            @deprecated("old")
            def pay(self) -> Decimal: ...
        """)
    assert members_of(module) == [
        "def me(self) -> Self: ...",
        "@deprecated('old')",
        "def pay(self) -> Decimal: ...",
    ]
    assert "from decimal import Decimal\n" in text_of(module)
    assert "from typing_extensions import Self, deprecated\n" in text_of(module)


# Proxied classes ------------------------------------------------------------------------------


def test_proxied_classes_are_given_as_proxies_and_taken_as_either(write: Write) -> None:
    module = write("""
        from collections.abc import Callable, Iterable
        @proxied
        class Account:
            partner: Account | None
            def one(self, other: Account) -> Account: ...
            def many(self, a: Iterable["Account"]) -> dict[str, list["Account"]]: ...
            def same(self, others: list[Account]) -> None: ...
            def call(self, back: Callable[[Account], Account]) -> None: ...
            def give(self) -> Callable[[Account], Account]: ...
            def made(self, cls: type[Account]) -> None: ...
        """)
    assert members_of(module) == [
        "@property",
        "def partner(self) -> AccountProxy | None: ...",
        "@partner.setter",
        "def partner(self, value: Account | AccountProxy | None) -> None: ...",
        "def one(self, other: Account | AccountProxy) -> AccountProxy: ...",
        "def many(self, a: Iterable[Account | AccountProxy]) -> dict[str, list[AccountProxy]]: ...",
        "def same[AnyAccount: Account | AccountProxy](self, others: list[AnyAccount]) -> None: ...",
        "def call(self, back: Callable[[AccountProxy], Account | AccountProxy]) -> None: ...",
        "def give(self) -> Callable[[Account | AccountProxy], AccountProxy]: ...",
        "def made(self, cls: type[Account]) -> None: ...",
    ]


def test_proxied_classes_of_other_modules_have_their_stubs_written_too(write: Write) -> None:
    bank = write("@proxied\nclass Account:\n    x: int", "bank")
    module = write("""
        from PREFIX import bank
        @proxied
        class Branch:
            def account(self) -> bank.Account: ...
        """)
    made = Stubs([module])
    assert members_of(module) == ["def account(self) -> AccountProxy: ..."]
    assert f"from pipeproxy_proxies.{bank} import AccountProxy" in text_of(module)
    assert (STUBS / Path(*bank.split("."))).with_suffix(".pyi") in made.files


def test_classes_that_are_not_proxied_stay_as_they_are(write: Write) -> None:
    module = write("""
        class Plain: ...
        @proxied
        class Account:
            def plain(self, other: Plain) -> list[Plain]: ...
        """)
    assert members_of(module) == ["def plain(self, other: Plain) -> list[Plain]: ..."]


def test_an_alias_that_mentions_a_proxied_class_is_written_out(write: Write) -> None:
    module = write("""
        Accounts = dict[str, "Account"]
        @proxied
        class Account:
            def all(self) -> Accounts: ...
        """)
    assert members_of(module) == ["def all(self) -> dict[str, AccountProxy]: ..."]


def test_a_generic_type_does_not_grow_without_end(write: Write) -> None:
    module = write("""
        from typing import Generic, TypeVar
        T = TypeVar("T")
        @proxied
        class Box(Generic[T]):
            def same(self) -> Box[T]: ...
            def listed(self) -> Box[list[T]]: ...
            def ints(self) -> Box[list[int]]: ...
        """)
    assert body_of(module).startswith("class BoxProxy[T](Protocol):\n")
    assert members_of(module) == [
        "def same(self) -> BoxProxy[T]: ...",
        "def listed(self) -> BoxProxy[Any]: ...",
        "def ints(self) -> BoxProxy[list[int]]: ...",
    ]


# Kinds of members -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("3", "int"),
        ("-0.5", "float"),
        ("'a'", "str"),
        ("f'{size}'", "str"),
        ("[1, 2]", "list[int]"),
        ("{'a': (1, b'')}", "dict[str, tuple[int, bytes]]"),
        ("size", "int"),
        ("size * 0.5", "float"),
        ("size > 3", "bool"),
        ("not size", "bool"),
        ("None if size else 'a'", "str | None"),
        ("Other(3)", "Other"),
        ("threading.Lock()", "threading.Lock"),
        ("made()", "dict[str, Other]"),
        ("CONSTANT", "str"),
        ("Account()", "AccountProxy"),
        ("[]", "Any"),
        ("unknown()", "Any"),
    ],
)
def test_the_type_of_an_attribute_is_read_from_its_value(
    write: Write, value: str, found: str
) -> None:
    module = write(f"""
        import threading
        CONSTANT = "constant"
        class Other:
            def __init__(self, size): ...
        def made() -> dict[str, Other]: ...
        def unknown(): ...
        @proxied(readonly=["value"])
        class Account:
            def __init__(self, size: int = 0) -> None:
                self.value = {value}
        """)
    assert members_of(module) == ["@property", f"def value(self) -> {found}: ..."]


def test_an_attribute_that_is_none_at_first_may_be_none(write: Write) -> None:
    module = write("""
        @proxied
        class Account:
            def __init__(self) -> None:
                self.owner = None
            def open(self, owner: str) -> None:
                self.owner = owner
        """)
    assert members_of(module)[0] == "owner: str | None"


def test_an_attribute_without_a_known_type_is_told_of(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    module = write("""
        @proxied
        class Account:
            def __init__(self) -> None:
                self.cache = {}
        """)
    assert main([module]) == 0
    assert capsys.readouterr().err == (
        f"note: {module}: Account.cache has no known type: annotate it\n"
    )


def test_static_and_class_methods_are_called_on_a_proxy_as_methods(write: Write) -> None:
    module = write("""
        import functools
        @proxied
        class Account:
            @staticmethod
            def parse(text: str) -> int: ...
            @classmethod
            def open(cls, owner: str) -> None: ...
            @functools.cache
            def cached(self, key: int) -> str: ...
            def plain(self, key, *keys, **named): ...
        """)
    assert members_of(module) == [
        "def parse(self, text: str) -> int: ...",
        "def open(self, owner: str) -> None: ...",
        "def cached(self, key: int) -> str: ...",
        "def plain(self, key: Any, *keys: Any, **named: Any) -> None: ...",
    ]


def test_async_methods_stay_async_and_async_generators_are_not_awaited(write: Write) -> None:
    module = write("""
        from collections.abc import AsyncIterator
        @proxied
        class Account:
            async def fetch(self) -> int: return 1
            async def stream(self) -> AsyncIterator[int]:
                yield 1
        """)
    assert members_of(module) == [
        "async def fetch(self) -> int: ...",
        "def stream(self) -> AsyncIterator[int]: ...",
    ]


def test_batched_methods_take_and_return_one_item(write: Write) -> None:
    module = write("""
        import pipeproxy, typing as t
        from pipeproxy import batched
        @proxied
        class Account:
            @batched
            def book(self, others: list["Account"]) -> list[t.Dict[str, int]]:
                return [{} for _ in others]
            @exposed
            @pipeproxy.batched(max=5)
            def _quoted(self, keys: "t.List[int | str]", /) -> "list[bool]": return []
            @batched()
            def unknown(self, items, /): return items
        @proxied(dispatch="asyncio")
        class Async:
            @batched
            async def fetch(self, keys: list[int]) -> list[int | str | Exception]: return keys
        """)
    assert members_of(module)[:3] == [
        "def book(self, others: Account | AccountProxy) -> t.Dict[str, int]: ...",
        "def _quoted(self, keys: int | str, /) -> bool: ...",
        "def unknown(self, items: Any, /) -> Any: ...",
    ]
    assert "async def fetch(self, keys: int) -> int | str: ..." in text_of(module)


def test_overloads_stand_without_what_implements_them(write: Write) -> None:
    module = write("""
        from typing import overload
        @proxied
        class Account:
            @overload
            def get(self, key: int) -> int: ...
            @overload
            def get(self, key: str, default: str = ...) -> str: ...
            def get(self, key, default=None): return key
        """)
    assert members_of(module) == [
        "@overload",
        "def get(self, key: int) -> int: ...",
        "@overload",
        "def get(self, key: str, default: str = ...) -> str: ...",
    ]


def test_docstrings_arrive_whole(write: Write) -> None:
    module = write('''
        @proxied
        class Account:
            def pay(self) -> None:
                r"""Pay.

                With a \\ and three \\"\\"\\".
                """
        ''')
    text = body_of(module).split("def pay(self) -> None:\n")[1]
    assert inspect.cleandoc(eval(text.strip())) == inspect.getdoc(import_module(module).Account.pay)


# Modules --------------------------------------------------------------------------------------


def test_a_stub_beside_a_module_is_read_instead_of_it(write: Write) -> None:
    module = write("@proxied\nclass Account:\n    def pay(self, amount): ...")
    write("class Account:\n    def pay(self, amount: int) -> str: ...", suffix=".pyi")
    assert members_of(module) == ["def pay(self, amount: int) -> str: ..."]


def test_single_classes_of_others_need_no_decoration() -> None:
    text = text_of("queue:Queue", "queue:LifoQueue")
    assert text.count("\nclass ") == 2
    assert "def get(self, block: bool = True, timeout: float | None = None) -> _T:" in text
    assert "class LifoQueueProxy[_T](Protocol):" in text


def test_a_class_without_any_source_shows_its_signatures(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = write("""
        import dataclasses
        Made = dataclasses.make_dataclass("Made", ["x"], order=True)
        Made.__module__ = __name__
        def add(self, amount: int, /, *, memo=None): ...
        Made.add = add
        proxied(Made)
        """)
    assert members_of(module)[1:] == [
        "x: Any",
        "def __eq__(self, other: object, /) -> bool: ...",
        "def __lt__(self, other: Any, /) -> bool: ...",
        "def __le__(self, other: Any, /) -> bool: ...",
        "def __gt__(self, other: Any, /) -> bool: ...",
        "def __ge__(self, other: Any, /) -> bool: ...",
        "def add(self, amount: Any, /, *, memo: Any = ...) -> Any: ...",
        "def __hash__(self) -> int: ...",
    ]


def test_nested_classes_are_named_by_their_whole_path(write: Write) -> None:
    module = write("""
        class Bank:
            @proxied
            class Account:
                def bank(self) -> Bank: ...
                def other(self) -> Bank.Account: ...
        """)
    assert body_of(module).startswith("class Bank_AccountProxy(Protocol):\n")
    assert members_of(module)[1] == "def other(self) -> Bank_AccountProxy: ..."


# The command ----------------------------------------------------------------------------------


def test_it_writes_the_stub_and_a_package_at_every_level(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = write("@proxied\nclass Account:\n    x: int", "deep.inner.bank")
    assert main([module, "--out", "types"]) == 0
    below = tmp_path / "types" / "pipeproxy_proxies"
    package, *_ = module.split(".")
    assert sorted(str(path.relative_to(below)) for path in below.rglob("*.pyi")) == [
        "__init__.pyi",
        f"{package}/__init__.pyi",
        f"{package}/deep/__init__.pyi",
        f"{package}/deep/inner/__init__.pyi",
        f"{package}/deep/inner/bank.pyi",
    ]
    assert capsys.readouterr().out.count("wrote types/") == 5
    assert main([module, "--out", "types"]) == 0
    assert capsys.readouterr().out == ""


def test_check_writes_nothing_and_prints_what_differs(
    write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = write("@proxied\nclass Account:\n    x: int")
    assert main([module, "--check"]) == 1
    assert not (tmp_path / "typings").exists()
    assert main([module]) == 0
    capsys.readouterr()
    assert main([module, "--check"]) == 0
    assert capsys.readouterr().out == ""
    stub = (tmp_path / "typings" / STUBS / Path(*module.split("."))).with_suffix(".pyi")
    before = stub.read_text("utf-8").replace("x: int", "x: str")
    stub.write_text(before, "utf-8")
    assert main([module, "--check"]) == 1
    assert "-    x: str\n+    x: int\n" in capsys.readouterr().out
    assert stub.read_text("utf-8") == before


def test_the_stub_of_a_module_that_has_no_proxied_class_any_more_is_removed(
    write: Write, tmp_path: Path
) -> None:
    module = write("class Account:\n    x: int")
    stub = (tmp_path / "typings" / STUBS / Path(*module.split("."))).with_suffix(".pyi")
    assert main([f"{module}:Account"]) == 0
    assert stub.exists()
    assert main([module, "--check"]) == 1
    assert main([module]) == 0
    assert not stub.exists()
    assert main([module, "--check"]) == 0
    stub.write_text("# somebody's own\n", "utf-8")
    assert main([module]) == 0
    assert stub.exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("raise ValueError('first\\nsecond')", "ValueError: first"),
        ("raise SystemExit", "SystemExit"),
        ("def broken(:", "SyntaxError: invalid syntax"),
    ],
)
def test_a_module_that_cannot_be_imported_ends_with_one_line(
    write: Write, capsys: pytest.CaptureFixture[str], text: str, reason: str
) -> None:
    module = write(text)
    assert main([module]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {module} cannot be imported: {reason}")
    assert error.count("\n") == 1


def test_a_module_that_cannot_be_parsed_ends_with_one_line(
    write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    module = write("@proxied\nclass Account:\n    x: int")
    write("class Account(:", suffix=".pyi")
    assert main([module]) == 2
    error = capsys.readouterr().err
    assert re.match(r"error: .*module\.pyi cannot be parsed: invalid syntax", error)
    assert error.count("\n") == 1


def test_a_class_that_is_not_there_or_cannot_be_shared_is_named() -> None:
    with pytest.raises(StubError, match="queue has no class Nothing"):
        Stubs(["queue:Nothing"])
    with pytest.raises(StubError, match="queue has no class heappush"):
        Stubs(["queue:heappush"])
    with pytest.raises(StubError, match="shows nothing to proxies"):
        Stubs(["builtins:object"])


def test_the_command_line_is_a_module_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "bank.py").write_text(
        "from pipeproxy import proxied\n@proxied\nclass Account:\n    x: int\n", "utf-8"
    )
    for arguments, status in ((["stubs", "bank"], 0), (["stubs", "none"], 2), ([], 2), (["-h"], 0)):
        command = [sys.executable, "-W", "error", "-m", "pipeproxy", *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stderr
    assert (tmp_path / "typings" / "pipeproxy_proxies" / "bank.pyi").is_file()


def test_the_readme_shows_the_stub_of_its_class(write: Write) -> None:
    section = (ROOT / "README.md").read_text("utf-8").split("\n## Types\n")[1]
    program = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[0]
    shown = re.findall(r"^```pyi\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[0]
    assert body_of(write(program)) == shown


# When the program runs ------------------------------------------------------------------------


def test_names_of_generated_types_can_be_imported_by_any_program() -> None:
    program = """if True:
        from pipeproxy_proxies.some.module import AccountProxy, BoxProxy
        import pipeproxy_proxies.other, sys, typing
        def clerk(account: AccountProxy, box: BoxProxy[int] | None) -> None: ...
        hints = typing.get_type_hints(clerk)
        assert hints["account"] is AccountProxy
        assert str(hints["box"]).startswith("pipeproxy_proxies.some.module.BoxProxy[int]")
        class StandIn(AccountProxy): ...
        StandIn()
        assert "pipeproxy" not in sys.modules and "some" not in sys.modules
        """
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, cwd=os.sep)


def test_a_generated_name_is_one_class_and_other_names_are_errors() -> None:
    module = import_module("pipeproxy_proxies.some.module")
    assert module.AccountProxy is module.AccountProxy
    assert pickle.loads(pickle.dumps(module.AccountProxy)) is module.AccountProxy
    assert not hasattr(module, "Account")
    with pytest.raises(TypeError, match="runtime_checkable"):
        isinstance(3, module.AccountProxy)


def test_shared_is_no_base_when_the_program_runs() -> None:
    class Account(Shared["AccountProxy"]):
        balance = 3

    class Box(Shared["BoxProxy[T]"], Generic[T]):
        thing: T

    class Both(dict[str, int], Shared["BothProxy"]): ...

    assert Account.__mro__ == (Account, object)
    assert Box[int].__args__ == (int,)
    assert Both.__mro__ == (Both, dict, object)
    proxy, listener = share(Account())
    with listener:
        assert proxy.balance == 3
