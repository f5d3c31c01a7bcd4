"""`frozen` is the frozen dataclass with slots of the standard library, whatever the class."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Any

import pytest

from tc.frozen import frozen

Decorator = Callable[[type], type]
DECORATORS = (dataclass(frozen=True, slots=True), frozen)


@frozen
class Kept:
    """At the top of a module, as pickle wants it."""

    name: str
    sizes: tuple[int, ...] = ()
    found: dict[str, int] = field(default_factory=dict)


def plain(decorator: Decorator) -> type:
    class Point:
        """A place."""

        x: int
        y: int = 2

    return decorator(Point)


def single(decorator: Decorator) -> type:
    class One:
        x: int

    return decorator(One)


def empty(decorator: Decorator) -> type:
    class Nothing:
        """No fields."""

    return decorator(Nothing)


def checked(decorator: Decorator) -> type:
    class Checked:
        """Says no to what is negative, and makes a list of its own."""

        x: int
        seen: list[int] = field(default_factory=list)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("negative")
            self.seen.append(self.x)

        def __hash__(self) -> int:
            return 7

        def __repr__(self) -> str:
            return "checked"

    return decorator(Checked)


def derived(decorator: Decorator) -> type:
    class Shape:
        """No fields, but a slot of its own."""

        __slots__ = ("kept",)

    class Base(Shape):
        """One field."""

        x: int

    class Derived(decorator(Base)):  # type: ignore[misc]  # a class made at run time
        """And another."""

        y: int = 3

        def total(self) -> int:
            return self.x + self.y

    return decorator(Derived)


CASES = (plain, single, empty, checked, derived)


def twice(case: Callable[[Decorator], type]) -> tuple[type, type]:
    expected, found = map(case, DECORATORS)
    return expected, found


@pytest.mark.parametrize("case", CASES)
def test_objects_are_made_shown_and_compared_alike(case: Callable[[Decorator], type]) -> None:
    expected, found = twice(case)
    given = {f.name: number for number, f in enumerate(dataclasses.fields(expected)) if not number}
    one, other = expected(**given), found(**given)
    assert repr(one) == repr(other)
    assert dataclasses.astuple(one) == dataclasses.astuple(other)
    assert found(*given.values()) == other and other != one and other != 5
    if given:
        assert other != dataclasses.replace(other, x=1)
    assert expected.__match_args__ == found.__match_args__
    assert not hasattr(other, "__dict__")


@pytest.mark.parametrize("case", [plain, single, empty, derived])
def test_equal_objects_have_equal_hashes(case: Callable[[Decorator], type]) -> None:
    _, found = twice(case)
    given = [1 for _ in dataclasses.fields(found)]
    assert len({found(*given), found(*given)}) == 1


def test_methods_of_the_class_itself_are_left_alone() -> None:
    found = checked(frozen)
    assert hash(found(1)) == 7 and repr(found(1)) == "checked"
    with pytest.raises(ValueError, match="negative"):
        found(-1)
    assert found(1).seen == [1], "each has a list of its own"
    assert found(1, [5]).seen == [5, 1]


@pytest.mark.parametrize("case", [plain, derived])
def test_arguments_are_those_of_the_fields(case: Callable[[Decorator], type]) -> None:
    expected, found = twice(case)
    assert inspect.signature(expected) == inspect.signature(found)
    for wrong in ({}, {"x": 1, "z": 2}):
        with pytest.raises(TypeError) as first:
            expected(**wrong)
        with pytest.raises(TypeError) as second:
            found(**wrong)
        assert str(first.value) == str(second.value)


@pytest.mark.parametrize("case", [plain, single, derived])
def test_nothing_is_assigned_or_deleted(case: Callable[[Decorator], type]) -> None:
    made: Any = case(frozen)(x=1)
    with pytest.raises(FrozenInstanceError, match="'x'"):
        made.x = 2
    with pytest.raises(FrozenInstanceError, match="'x'"):
        del made.x
    with pytest.raises(AttributeError):
        made.unknown = 2
    assert made.x == 1


def test_parts_of_an_object_are_taken_by_match() -> None:
    match plain(frozen)(5):
        case object(x=x, y=y):
            assert (x, y) == (5, 2)
    match Kept("a", (1,)):
        case Kept(name, sizes):
            assert (name, sizes) == ("a", (1,))


def test_copies_and_pickles_are_equal() -> None:
    one = Kept("a", (1, 2), {"b": 3})
    for other in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert other == one and other is not one
    assert copy.deepcopy(one).found is not one.found


def test_a_subclass_without_fields_is_another_class() -> None:
    class Special(Kept):
        __slots__ = ()

    assert Special("a") == Special("a") and Special("a") != Kept("a")
    assert repr(Special("a")).endswith("Special(name='a', sizes=(), found={})")
