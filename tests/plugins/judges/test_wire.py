"""Values that cross between the two processes of the code judge: the same on the other side."""

from __future__ import annotations

import collections
import datetime
import decimal
import fractions
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppx_judges.inside.wire import Broken, Codec, fill, flat

HASHABLE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**30),
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False).map(decimal.Decimal),
    st.fractions().map(fractions.Fraction),
    st.dates(),
    st.datetimes().map(lambda time: time.replace(fold=0)),
    st.timedeltas(),
    st.sampled_from([..., int, str, dict, range(3), ValueError]),
)
VALUES = st.recursive(
    HASHABLE,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.lists(inner, max_size=4).map(collections.deque),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.dictionaries(HASHABLE, inner, max_size=4).map(collections.OrderedDict),
        st.sets(HASHABLE, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
        st.binary(max_size=4).map(bytearray),
        st.dictionaries(st.text(), st.integers(0, 9), max_size=4).map(collections.Counter),
    ),
    max_leaves=20,
)


def codec(*, trusting: bool = False) -> Codec:
    return Codec(lambda handle: ("handle", handle), lambda value: None, trusting=trusting)


def sent(value: Any) -> Any:
    data = json.loads(json.dumps(codec().encode(value, [])))
    return codec().decode(data, [])


def kinds(value: Any) -> Any:
    """The types in a value, which `==` alone does not tell apart (True from 1, 1 from 1.0)."""
    if isinstance(value, dict):
        return type(value), [(kinds(k), kinds(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple, collections.deque)):
        return type(value), [kinds(each) for each in value]
    return type(value), repr(value) if not isinstance(value, (set, frozenset)) else len(value)


@given(VALUES)
def test_a_value_arrives_as_it_is(value: Any) -> None:
    arrived = sent(value)
    assert arrived == value
    assert kinds(arrived) == kinds(value)


def test_containers_keep_their_identity() -> None:
    shared: list[Any] = [1]
    shared.append(shared)
    first, second, third = sent((shared, {"a": shared}, [1, shared]))
    assert first is second["a"] is third[1] is first[1]
    assert third is not first


@given(st.one_of(st.lists(VALUES), st.dictionaries(HASHABLE, VALUES), st.sets(HASHABLE)))
def test_filling_is_the_reverse_of_flattening(value: Any) -> None:
    made = type(value)()
    fill(made, flat(value))
    assert made == value


def test_what_is_no_plain_value_is_lent_and_comes_back_as_itself() -> None:
    here = Codec(lambda handle: None, lambda value: None, trusting=False)
    one = object()
    assert here.encode([one, one], [])[2] == [["mine", 0], ["mine", 0]]
    assert here.decode(["yours", 0], []) is one


def test_a_subclass_is_no_plain_value() -> None:
    class Liar(int):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = int.__hash__

    assert codec().encode(Liar(7), []) == ["mine", 0]


@pytest.mark.parametrize(
    "data",
    [
        ["import", "os", "_exit"],
        ["value", "os.system", "true"],
        ["value", "decimal.Decimal", "x", "y", "z"],
        ["type", "print"],
        ["type", "no_such"],
        ["array", "O", [1], [1]],
        ["seen", 0],
        ["yours", 0],
        ["mine", "x"],
        ["list", None],
        ["set", None, [["list", None, []]]],
        ["constant", "exit"],
        [],
        [[]],
        ["no such tag"],
    ],
)
def test_what_is_not_to_be_decoded_is_broken(data: Any) -> None:
    with pytest.raises(Broken):
        codec().decode(data, [])


def test_only_who_trusts_imports() -> None:
    assert codec(trusting=True).decode(["import", "math", "floor"], []) is __import__("math").floor


def test_dates_with_a_zone_are_lent() -> None:
    zoned = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert codec().encode(zoned, []) == ["mine", 0]
