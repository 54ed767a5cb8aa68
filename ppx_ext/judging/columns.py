"""Where in a row question, response and gold stand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ppx_ext.answering import Answer, GoldRow
from ppx_ext.contracts import Row
from ppx_ext.judging.compose import needed_columns, require
from ppx_ext.rows import PROMPTS
from ppx_ext.stages import JudgeStage

GOLDS = ("gold", "answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Names of the columns to read.

    Attributes:
        response: what is judged.
        gold: None takes ``gold``, else ``answer``.
        prompt: the question, as text or as a chat; None takes the first known name that is there
            (`rows.PROMPTS`, ``messages``).
    """

    response: str = "response"
    gold: str | None = None
    prompt: str | None = None

    def found(self, there: Collection[str], judges: Sequence[JudgeStage]) -> Columns:
        """The same with every name found among the columns that are ``there``.

        Raises:
            ValueError: a column that is named or needed is not there.
        """
        gold = self.gold or next((name for name in GOLDS if name in there), None)
        known = (*PROMPTS, "messages")
        prompt = self.prompt or next((name for name in known if name in there), None)
        require([self.response], there, reader="judging")
        require([name for name in (self.gold, self.prompt) if name], there, reader="judging")
        needed = needed_columns(judges)
        if "gold" in needed and gold is None:
            raise ValueError(
                "no column is called gold or answer. Name the one that holds the gold (--gold "
                f"COLUMN). Columns: {', '.join(sorted(there))}."
            )
        names = ", ".join(one.stage.component.name for one in judges)
        require([name for name in needed if name != "gold"], there, reader=f"the judge {names}")
        return Columns(response=self.response, gold=gold, prompt=prompt)

    def answer(self, row: Row) -> Answer | None:
        """The response of a row, to be judged; None where there is none."""
        response = row.get(self.response)
        if not isinstance(response, str):
            return None
        known: dict[str, Any] = dict(row)
        if self.prompt is not None:
            known["prompt"] = question_of(row.get(self.prompt))
        if self.gold is not None:
            known["gold"] = row.get(self.gold)
        return Answer(row=known, response=response)


def question_of(prompt: Any) -> str:
    """A prompt as one text: the last user's turn of a chat."""
    chat = isinstance(prompt, list | tuple) and all(isinstance(turn, Mapping) for turn in prompt)
    if not chat:
        return "" if prompt is None else str(prompt)
    return GoldRow(row=0, prompt=tuple(prompt), gold="").question
