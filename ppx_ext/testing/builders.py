"""Check of what a builder promises, with an engine and a judge that are made up."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ppx_ext.answering import (
    Answer,
    Builder,
    Built,
    Dropped,
    Failure,
    GoldRow,
    Judgement,
    Prompt,
    Request,
    Response,
    Verdict,
)
from ppx_ext.building.golds import row_seed
from ppx_ext.contracts import Tools

SOURCES = ("own", "paraphrase", "gold")
_LEAST, _MOST = 12, 24
_WORDS = ("so", "thus", "it is", "the answer is", "here you are:")


def fake_golds(rows: int = _MOST) -> list[GoldRow]:
    """Chats of one user's turn, each with its gold."""
    return [
        GoldRow(
            row=row,
            prompt=({"role": "user", "content": f"What comes after {row}?"},),
            gold=f"After {row} comes {row + 1}.",
            columns={"question": f"What comes after {row}?", "answer": f"#### {row + 1}"},
            seed=row_seed(0, row),
        )
        for row in range(rows)
    ]


class _Lent:
    """Tools whose answers hang on the request alone; failures, cuts and silence are among them."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self.calls = 0
        self.said: set[str] = set()
        self.asked: list[Request] = []
        self.tools = Tools(
            token_scores=_no_scores,
            generate=self._generate,
            judge=self._judge,
            perplexity=self._perplexity,
        )

    def _generate(self, requests: Sequence[Request]) -> list[Response | Failure]:
        self.calls += 1
        self.asked += requests
        answers = [self._say(request) for request in requests]
        self.said |= {answer.text for answer in answers if isinstance(answer, Response)}
        return answers

    def _say(self, request: Request) -> Response | Failure:
        number = _number(request.prompt, request.seed)
        if self.broken or number % 7 == 0:
            return Failure(reason="the engine is made up, and so is this failure")
        if number % 7 == 1:
            return Response(text=" ")
        word = _WORDS[number % len(_WORDS)]
        text = f"{request.prefix}{word} {number % 101}"
        return Response(text=text, finished=number % 7 != 2)

    def _judge(self, answers: Sequence[Answer]) -> list[Verdict]:
        self.calls += 1
        kinds = (Judgement.CORRECT, Judgement.WRONG, Judgement.UNKNOWN)
        return [
            Verdict(judgement=kinds[_number(one.response, 0) % 3], reason="made up", judge="fake 1")
            for one in answers
        ]

    def _perplexity(self, pairs: Sequence[tuple[Prompt, str]], given_prompt: bool) -> list[float]:
        self.calls += 1
        return [1 + _number(text, int(given_prompt)) % 1000 / 100 for _, text in pairs]


def _no_scores(*given: object) -> Any:
    raise AssertionError("a builder has no tokens to score")


def _number(*values: object) -> int:
    text = json.dumps(values, default=dict)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


def check_builder(builder: Builder, settings: Mapping[str, Any] | None = None) -> None:
    """Check that a builder keeps its contract.

    One result for each row, in order, the same on every call and whatever rows are beside it; a
    gold is the gold, and anything else is what the engine said, judged correct where a judge was
    asked; rows go to the engine and to the judge together, not one by one; no two requests are
    equal; an engine that fails at everything leaves golds, or dropped rows with their reason.

    Args:
        builder: the component.
        settings: what a recipe would give; its settings model checks them.

    Raises:
        AssertionError: it does not; the message says how.
    """
    checked = builder.settings.model_validate(dict(settings or {}))
    again = builder.settings.model_validate(checked.model_dump(mode="json"))
    assert again == checked, "the settings are others after they were written down and read"
    rows = fake_golds()
    lent = _Lent()
    together = list(builder.build(checked, rows, lent.tools))
    _check_results(builder, rows, together, lent)
    _check_requests(rows, together, lent)
    alone = [one for row in rows for one in builder.build(checked, [row], _Lent().tools)]
    assert alone == together, "a row has another result without its neighbours, or on another call"
    few = _Lent()
    builder.build(checked, rows[:_LEAST], few.tools)
    assert lent.calls <= max(few.calls, 6), (
        f"{few.calls} calls of the tools for {_LEAST} rows, {lent.calls} for {_MOST}: hand all "
        "rows of a round over at once"
    )
    assert list(builder.build(checked, [], _Lent().tools)) == [], "no rows must give no results"
    for result in builder.build(checked, rows, _Lent(broken=True).tools):
        told = result.reason if isinstance(result, Dropped) else result.note
        assert isinstance(result, Dropped) or result.source == "gold", f"made of nothing: {result}"
        assert told, f"row {result.row}: every request failed, and nothing is told of it"
    for name, shares in builder.published.items():
        assert set(shares) <= set(SOURCES), f"{name}: unknown sources in {shares}"
        assert abs(sum(shares.values()) - 1) < 0.01, f"{name}: the published shares are no whole"


def _check_results(
    builder: Builder, rows: Sequence[GoldRow], results: Sequence[Built | Dropped], lent: _Lent
) -> None:
    given, found = [row.row for row in rows], [result.row for result in results]
    assert given == found, f"given the rows {given}, it gave results for {found}"
    for row, result in zip(rows, results, strict=True):
        if isinstance(result, Dropped):
            assert result.reason, f"row {row.row} is dropped without a reason"
            continue
        assert result.source in SOURCES, f"row {row.row}: unknown source {result.source!r}"
        if result.source == "gold":
            assert result.response == row.gold, f"row {row.row}: what is called gold is not"
            assert result.seed is None, f"row {row.row}: a gold has no seed"
            continue
        assert any(result.response in text for text in lent.said), (
            f"row {row.row}: nobody said {result.response!r}"
        )
        assert result.verdict is None or result.verdict.correct, (
            f"row {row.row}: taken, though the verdict is {result.verdict}"
        )


def _check_requests(
    rows: Sequence[GoldRow], results: Sequence[Built | Dropped], lent: _Lent
) -> None:
    attempts = sum(result.attempts for result in results)
    assert attempts == len(lent.asked), f"{attempts} attempts told, {len(lent.asked)} made"
    keys = [
        json.dumps([one.prompt, one.seed, one.prefix], default=dict, sort_keys=True)
        for one in lent.asked
    ]
    assert len(set(keys)) == len(keys), "two requests are equal: give each attempt its own seed"
    seeds = {one.seed for one in lent.asked}
    assert all(0 <= seed < 2**31 for seed in seeds), "a seed is not in [0, 2**31)"
    built = [result for result in results if isinstance(result, Built)]
    told = {result.seed for result in built if result.seed is not None}
    assert told <= seeds, f"seeds that no request had: {sorted(told - seeds)}"
