"""`testing.check_builder` finds what it says that it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pydantic
import pytest

from ppx_ext import Builder, Built, Dropped, GoldRow, Tools, testing
from ppx_s3ft.s3ft import S3FT
from ppx_s3ft.settings import S3ftSettings

Results = list[Built | Dropped]


def honest(settings: Any, rows: Sequence[GoldRow], tools: Tools) -> Results:
    return list(S3FT.build(settings, rows, tools))


def one_by_one(settings: Any, rows: Sequence[GoldRow], tools: Tools) -> Results:
    return [found for row in rows for found in S3FT.build(settings, [row], tools)]


def backwards(settings: Any, rows: Sequence[GoldRow], tools: Tools) -> Results:
    return honest(settings, rows, tools)[::-1]


def loses(settings: Any, rows: Sequence[GoldRow], tools: Tools) -> Results:
    return honest(settings, rows, tools)[1:]


def inventive(settings: Any, rows: Sequence[GoldRow], tools: Tools) -> Results:
    """Calls its own what nobody said."""
    return [
        replace(one, source="own", response="of course") if isinstance(one, Built) else one
        for one in honest(settings, rows, tools)
    ]


def edits(settings: Any, rows: Sequence[GoldRow], tools: Tools) -> Results:
    return [replace(x, response=f"{x.response}!") for x in honest(settings, rows, tools)]  # type: ignore[type-var]


def neighbourly(settings: Any, rows: Sequence[GoldRow], tools: Tools) -> Results:
    return [replace(one, note=f"{len(rows)} rows") for one in honest(settings, rows, tools)]  # type: ignore[call-arg]


def twice(settings: Any, rows: Sequence[GoldRow], tools: Tools) -> Results:
    honest(settings, rows, tools)
    return honest(settings, rows, tools)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (one_by_one, "hand all rows of a round over at once"),
        (backwards, r"given the rows \[0, 1.*it gave results for \[23"),
        (loses, "it gave results for"),
        (edits, "nobody said|what is called gold is not"),
        (inventive, "nobody said"),
        (neighbourly, "another result without its neighbours"),
        (twice, "attempts told"),
    ],
)
def test_what_is_wrong_is_found(function: Callable[..., Results], message: str) -> None:
    testing.check_builder(replace(S3FT, build=honest))
    with pytest.raises(AssertionError, match=message):
        testing.check_builder(replace(S3FT, build=function))


def test_settings_that_change_when_written_down_are_found() -> None:
    class Forgetful(S3ftSettings):
        @pydantic.field_serializer("max_new_tokens")
        def _another(self, value: int) -> int:
            return value + 1

    with pytest.raises(AssertionError, match="the settings are others after"):
        testing.check_builder(replace(S3FT, settings=Forgetful))


def test_published_shares_that_are_no_whole_are_found() -> None:
    wrong: Builder = replace(S3FT, published={"X": {"own": 0.5, "gold": 0.4}})
    with pytest.raises(AssertionError, match="X: the published shares are no whole"):
        testing.check_builder(wrong)
