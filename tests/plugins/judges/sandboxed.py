"""The code judge for tests, where a sandbox can be had."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from ppx_ext import Answer, Tools, Verdict
from ppx_judges.code import CODE
from ppx_judges.settings import CodeSettings
from tests.sandbox import needs_bubblewrap

__all__ = ["Opened", "needs_bubblewrap"]


class Opened:
    """An open judge, asked in few words."""

    def __init__(self, judge: Any) -> None:
        self.judge = judge

    def __call__(self, program: str, tests: Any, **columns: Any) -> Verdict:
        return self.judge([Answer(row={"tests": tests, **columns}, response=program)])[0]

    def all(self, answers: Sequence[Answer]) -> Sequence[Verdict]:
        return self.judge(answers)


@contextlib.contextmanager
def opened(**settings: Any) -> Iterator[Opened]:
    def none(*asked: Any) -> Any:
        raise AssertionError("the code judge asks for no scores")

    with CODE.open(CodeSettings(**settings), Tools(token_scores=none)) as judge:
        yield Opened(judge)
