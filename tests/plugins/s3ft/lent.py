"""Effects for builders: an engine and a judge that say what a test tells them to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ppx_ext import (
    Answer,
    Failure,
    GoldRow,
    Judgement,
    Request,
    Response,
    Tools,
    Verdict,
)

SAID = {"right": Judgement.CORRECT, "wrong": Judgement.WRONG, "odd": Judgement.UNKNOWN}
"""What the judge says of a response, by its first word."""


class Lent:
    """Tools that answer each request with ``say(request)``, and remember every call."""

    def __init__(
        self,
        say: Callable[[Request], Any],
        *,
        perplexity: Mapping[str, float] | None = None,
        judged: bool = True,
    ) -> None:
        self.say, self.values = say, perplexity
        self.generated: list[list[Request]] = []
        self.judged: list[list[Answer]] = []
        self.scored: list[tuple[list[Any], bool]] = []
        self.tools = Tools(
            token_scores=lambda examples, model, names: [],
            generate=self._generate,
            judge=self._judge if judged else None,
            perplexity=self._perplexity if perplexity is not None else None,
        )

    def _generate(self, requests: Sequence[Request]) -> list[Response | Failure]:
        self.generated.append(list(requests))
        found = [self.say(request) for request in requests]
        return [Response(text=one) if isinstance(one, str) else one for one in found]

    def _judge(self, answers: Sequence[Answer]) -> list[Verdict]:
        self.judged.append(list(answers))
        first = [one.response.split()[0].strip(",.:").lower() for one in answers]
        return [
            Verdict(judgement=SAID[word], reason=f"it says {word}", judge="words 1")
            for word in first
        ]

    def _perplexity(self, pairs: Sequence[Any], given_prompt: bool) -> list[float]:
        self.scored.append((list(pairs), given_prompt))
        assert self.values is not None
        return [self.values[text] for _, text in pairs]


def row(number: int, question: str = "", gold: str = "right gold", **columns: Any) -> GoldRow:
    """A chat of one user's turn."""
    turn = {"role": "user", "content": question or f"question {number}"}
    return GoldRow(row=number, prompt=(turn,), gold=gold, columns=columns, seed=1000 * number)


def shows_gold(request: Request) -> bool:
    """Whether the model is shown a gold."""
    text = request.prompt if isinstance(request.prompt, str) else str(request.prompt[-1]["content"])
    return "right gold" in text
