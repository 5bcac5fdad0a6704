"""Batched methods, as classes define them and as whoever has the object itself calls them."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from typing import Any

import pytest

from pipeproxy import SpecError, batched, blocking, exposed, proxied, share
from pipeproxy._specs._batching import batching_of
from pipeproxy._specs._spec import describe


class Model:
    """Squares what it is given, and remembers how much that was at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    @batched
    def square(self, numbers: list[int]) -> list[int]:
        """Return a square for each."""
        self.latest = numbers
        self.sizes.append(len(numbers))
        return [number * number for number in numbers]

    @exposed
    @batched(max=5, within=1.5)
    def _hidden(self, items: list[Any]) -> list[Any]:
        return items


@proxied(dispatch="asyncio")
class Async:
    @batched
    async def square(self, numbers: list[int]) -> list[int]:
        await asyncio.sleep(0)
        return [number * number for number in numbers]


def test_called_directly_it_takes_one_value_and_is_a_batch_of_one() -> None:
    model = Model()
    assert [model.square(3), Model.square(model, 4), model.square(numbers=5)] == [9, 16, 25]
    assert model.sizes == [1, 1, 1]
    proxy, listener = share(model)
    with listener:
        assert proxy.square(6) == 36
        assert listener.stats().calls["Model.square"] == 1
    assert asyncio.run(Async().square(3)) == 9


@pytest.mark.parametrize("args", [(), (1, 2)])
def test_called_with_another_number_of_arguments_it_says_so(args: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match="argument"):
        Model().square(*args)


def test_it_is_a_function_like_any_other_but_for_its_one_argument() -> None:
    assert str(inspect.signature(Model.square)) == "(self, numbers: 'int') -> 'int'"
    assert inspect.signature(Model().square).parameters.keys() == {"numbers"}
    assert (Model.square.__name__, Model.square.__doc__) == ("square", "Return a square for each.")
    assert inspect.iscoroutinefunction(Async.square)
    assert pickle.loads(pickle.dumps(Model.square)) is Model.square


def test_a_spec_shows_one_parameter_with_the_type_of_the_items() -> None:
    methods = {method.name: method for method in describe(Model).methods}
    [parameter] = methods["square"].parameters or ()
    assert (parameter.name, parameter.annotation) == ("numbers", "int")
    assert methods["square"].returns == "int"
    assert "latest" in {attribute.name for attribute in describe(Model).attributes}
    assert [(name, how.most, how.within) for name, how in describe(Model).conduct.batched] == [
        ("square", 32, 0.002),
        ("_hidden", 5, 1.5),
    ]


def test_whatever_an_annotation_says_of_no_items_is_not_shown() -> None:
    class Odd:
        @batched
        def one(self, items: Any) -> Any:
            return items

        @batched
        def other(self, items):  # type: ignore[no-untyped-def]
            return items

        @batched
        def nested(self, items: list[dict[str, list[int]]]) -> list[list[int] | Exception]:
            return [[] for _ in items]

    shown = {m.name: (m.parameters, m.returns) for m in describe(Odd).methods}
    annotations = {name: ps[0].annotation for name, (ps, _) in shown.items() if ps}
    assert annotations == {"one": None, "other": None, "nested": "dict[str, list[int]]"}
    assert shown["nested"][1] == "list[int]"


def test_an_exception_among_the_results_is_raised() -> None:
    class Strict:
        @batched
        def check(self, items: list[int]) -> list[int | Exception]:
            return [item if item > 0 else ValueError(item) for item in items]

    assert Strict().check(1) == 1
    with pytest.raises(ValueError, match="-1"):
        Strict().check(-1)


@pytest.mark.parametrize(
    ("results", "error", "text"),
    [
        (None, TypeError, "has to return a list of 1 results: it returned NoneType"),
        ((1,), TypeError, "it returned tuple"),
        ([], RuntimeError, "has to return one result for each: it returned 0"),
        ([1, 2], RuntimeError, "it returned 2"),
    ],
)
def test_what_is_no_list_of_results_is_refused(results: Any, error: Any, text: str) -> None:
    class Wrong:
        @batched
        def run(self, items: list[int]) -> list[int]:
            return results  # type: ignore[no-any-return]

    with pytest.raises(error, match=f"Wrong.run is batched, was called with 1 values and .*{text}"):
        Wrong().run(1)


@pytest.mark.parametrize(
    "options", [{"max": 0}, {"max": 2.5}, {"max": True}, {"within": -1}, {"within": "soon"}]
)
def test_options_are_numbers(options: Any) -> None:
    with pytest.raises(SpecError, match=next(iter(options))):
        batched(**options)


def test_it_stands_over_functions_of_one_argument() -> None:
    def none(self: Any) -> list[int]:
        return []

    def two(self: Any, items: list[int], others: list[int]) -> list[int]:
        return []

    def default(self: Any, items: Any = ()) -> list[int]:
        return []

    def rest(self: Any, *items: int) -> list[int]:
        return []

    def named(self: Any, *, items: list[int]) -> list[int]:
        return []

    marker: Any = batched
    for function in (none, two, default, rest, named):
        with pytest.raises(SpecError, match="exactly one argument besides self"):
            marker(function)
    for other in (property(none), staticmethod(none), 5):
        with pytest.raises(SpecError, match="stands over methods"):
            marker(other)


def test_what_goes_with_no_batch_is_refused() -> None:
    @proxied(dispatch="threads")
    class Threads:
        @batched
        def run(self, items: list[int]) -> list[int]:
            return items

    class Blocking:
        @blocking
        @batched
        def run(self, items: list[int]) -> list[int]:
            return items

    class Awaited:
        @batched
        async def run(self, items: list[int]) -> list[int]:
            return items

    for cls, text in ((Threads, "@blocking"), (Blocking, "@blocking"), (Awaited, "asyncio")):
        with pytest.raises(SpecError, match=f"@batched over .*{cls.__name__}.run .*{text}"):
            describe(cls)


def test_a_method_that_overrides_a_batched_one_is_what_it_says_itself() -> None:
    class Cautious(Model):
        def square(self, numbers: int) -> int:
            return super().square(abs(numbers))

    assert Cautious().square(-3) == 9
    assert [name for name, _ in describe(Cautious).conduct.batched] == ["_hidden"]
    assert batching_of(vars(Cautious)["square"]) is None
