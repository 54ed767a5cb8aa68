"""The effects that are lent to a builder: engines, judges, and the base's perplexity."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import effects
from ppx_ext.answering import (
    Answer,
    Failure,
    Generator,
    JudgeAll,
    LentModel,
    Prompt,
    Request,
    Response,
    Verdict,
)
from ppx_ext.building.provenance import Counts
from ppx_ext.contracts import ModelRef, Row, Tools
from ppx_ext.effects import Base
from ppx_ext.manifest import tokenizer_fingerprint
from ppx_ext.stages import JudgeStage, Stage
from ppx_ext.tokens import Skip, tokenize

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.plan import Plan

Generate = Callable[[Sequence[Request]], "list[Response | Failure]"]
ANSWERS = "answers"
"""Folder of what engines said; builds of other settings that ask the same share it."""


@dataclass(frozen=True, kw_only=True)
class Lent:
    """What is open while a data set is built."""

    generate: Generate
    judge: JudgeAll | None
    tools: Tools

    def counted(self, counts: Counts) -> Tools:
        """The tools of one shard; what they do is counted."""

        def generate(requests: Sequence[Request]) -> list[Response | Failure]:
            answers = self.generate(requests)
            counts.answered(answers)
            return answers

        def judge(answers: Sequence[Answer]) -> Sequence[Verdict]:
            assert self.judge is not None
            verdicts = self.judge(answers)
            counts.judged(verdicts)
            return verdicts

        return replace(self.tools, generate=generate, judge=judge if self.judge else None)


@contextlib.contextmanager
def lend(
    plan: Plan,
    *,
    base: Base,
    tokenizer: Tokenizer,
    root: Path,
    columns: Iterable[str],
    answered: Callable[[Response | Failure], object],
) -> Iterator[Lent]:
    """Open what a plan's builder needs. Judges come first: without them nothing is generated.

    A server is asked at once whether it is there; an engine in this process is opened when
    something is first asked that is not kept yet.

    Args:
        plan: with a builder.
        base, tokenizer: of the run.
        root: below which answers are kept.
        columns: of the rows, which judges read.
        answered: told of each answer to the builder as it comes.

    Raises:
        ValueError: a judge cannot judge here (no sandbox, no server), or reads a column that no
            row has; with the mend.
    """
    assert plan.build is not None
    assert plan.generator is not None
    with ExitStack() as opened:
        engines = _Engines(plan, base, tokenizer, root / ANSWERS, opened)
        generate = engines.of(plan.generator, answered)
        scores = effects.lend(base, scoring=plan.scoring, trust_remote_code=plan.trust_remote_code)
        own = replace(scores, perplexity=perplexity(scores, tokenizer))
        judge = None
        if plan.judges:
            from ppx_ext.judging.compose import needed_columns, open_judges, require

            there = [*columns, "prompt", "gold"]
            require(needed_columns(plan.judges), there, reader="the judge")

            def tools_of(stage: JudgeStage) -> Tools:
                asked = generate if stage.generator is None else engines.of(stage.generator)
                return replace(own, generate=asked)

            judge = opened.enter_context(open_judges(plan.judges, tools_of))
        scored = plan.build.component.scored(plan.build.settings)
        yield Lent(generate=generate, judge=judge, tools=own if scored else scores)


class _Engines:
    """Engines by their settings, each opened once."""

    def __init__(
        self, plan: Plan, base: Base, tokenizer: Tokenizer, folder: Path, opened: ExitStack
    ) -> None:
        self._open: dict[str, Generate] = {}
        self._base, self._tokenizer, self._folder = base, tokenizer, folder
        self._opened = opened
        self._model = LentModel(
            name=base.name,
            load=base.load,
            tokenizer=tokenizer,
            revision=base.revision,
            trust_remote_code=plan.trust_remote_code,
        )

    def of(
        self,
        stage: Stage[Generator],
        answered: Callable[[Response | Failure], object] = lambda answer: None,
    ) -> Generate:
        from ppx_ext.generation import open_generator

        key = json.dumps(stage.dump(), sort_keys=True)
        if key not in self._open:
            known = model_known(stage.component, self._base, self._tokenizer)
            lent = open_generator(
                stage, self._model, self._folder, fingerprint=known, advance=answered
            )
            asker = self._opened.enter_context(lent)
            if stage.component.remote:
                asker.preflight()  # a wrong address is known before anything is generated
            self._open[key] = asker
        return self._open[key]


def model_known(engine: Generator, base: Base, tokenizer: Tokenizer) -> str:
    """Hash of all that is known of the model behind an engine; of a server's, that is its name."""
    if engine.remote:
        return f"{base.name}@{base.revision}"
    return f"{base.fingerprint()}+{tokenizer_fingerprint(tokenizer)}"


def perplexity(
    tools: Tools, tokenizer: Tokenizer
) -> Callable[[Sequence[tuple[Prompt, str]], bool], list[float]]:
    """``Tools.perplexity``: exp of the mean NLL over a response's own tokens, each text once.

    The end of the turn takes no part: given the prompt or not, the same words are measured. A
    response alone is read after the beginning of the sequence, where the tokenizer has one; its
    first token counts then, and else does not. A text without a token to measure has infinity.
    """

    def measured(pairs: Sequence[tuple[Prompt, str]], given_prompt: bool) -> list[float]:
        keys = [json.dumps([prompt if given_prompt else "", text]) for prompt, text in pairs]
        rows = {
            key: _row(prompt if given_prompt else "", text)
            for key, (prompt, text) in zip(keys, pairs, strict=True)
        }
        values = dict(zip(rows, _perplexities(list(rows.values()), tools, tokenizer), strict=True))
        return [values[key] for key in keys]

    return measured


def _row(prompt: Prompt, text: str) -> Row:
    if isinstance(prompt, str):
        return {"prompt": prompt, "completion": text}
    return {"messages": [*prompt, {"role": "assistant", "content": text}]}


def _perplexities(rows: list[Row], tools: Tools, tokenizer: Tokenizer) -> list[float]:
    import numpy as np

    examples: dict[int, Any] = {}
    for made in tokenize(enumerate(rows), tokenizer, targets="last"):
        if not isinstance(made, Skip):
            words_T = made.target_T & ~made.end_T
            if words_T.any():
                examples[made.row] = replace(made, target_T=words_T, end_T=made.end_T & False)
        elif made.reason != "no target":
            raise ValueError(f"the perplexity of a response cannot be measured: {made.detail}")
    scores = tools.token_scores(list(examples.values()), ModelRef(), ["nll"]) if examples else []
    found = {
        row: float(np.exp(score["nll"].mean(dtype=np.float64)))
        for row, score in zip(examples, scores, strict=True)
    }
    return [found.get(at, float("inf")) for at in range(len(rows))]
