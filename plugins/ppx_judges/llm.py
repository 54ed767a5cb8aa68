"""`llm`: a model compares question, predicted response and gold (S3FT, figure 8)."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
import string
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic

from ppx_ext import (
    Answer,
    Decoding,
    Failure,
    Judge,
    JudgeAll,
    Prompt,
    Request,
    Response,
    Tools,
    Verdict,
)
from ppx_judges.golds import golds_of
from ppx_judges.shown import correct, shown, unknown, wrong

FOLDER = Path(__file__).parent / "prompts"
SHIPPED = tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))
RULES = 1
"""Raised with every change of how replies are read."""

_NAMES = {"question", "response", "gold", "tag"}
_VERDICT = re.compile(r"[*_`#> \t]*(?:verdict[*_ \t]*:[*_ \t]*)?(correct|wrong)[*_`.! \t]*", re.I)
_REPLY_SHOWN = 200

log = logging.getLogger(__name__)
Generate = Callable[[Sequence[Request]], "Sequence[Response | Failure]"]


class Wording(pydantic.BaseModel):
    """What the judging model is asked with.

    Attributes:
        wording: whose words these are.
        system: a system's turn; empty for none.
        user: the request, with ``{question}``, ``{response}``, ``{gold}`` and ``{tag}``.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    wording: str
    system: str = ""
    user: str

    @pydantic.field_validator("system", "user")
    @classmethod
    def _readable(cls, text: str, info: pydantic.ValidationInfo) -> str:
        parts = list(string.Formatter().parse(text))
        names = {name for _, name, _, _ in parts if name is not None}
        if unknown_names := names - _NAMES:
            raise ValueError(
                f"{{{sorted(unknown_names)[0]}}} is no placeholder; there are "
                f"{', '.join(sorted(_NAMES))}, and {{{{ and }}}} are braces"
            )
        if any(form or conversion for _, _, form, conversion in parts):
            raise ValueError("give a placeholder as a name alone, without a format")
        if info.field_name == "user" and (missing := {"response", "gold"} - names):
            raise ValueError(f"the placeholder {{{sorted(missing)[0]}}} must be there")
        return text


def read_wording(prompt: Any) -> Any:
    """A shipped name or a path as the words that lie there; anything else as it is.

    Raises:
        ValueError: there is no such file, or it holds no mapping.
    """
    import yaml

    if not isinstance(prompt, str | Path):
        return prompt
    path = FOLDER / f"{prompt}.yaml" if prompt in SHIPPED else Path(prompt)
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"no prompt can be read from {path}: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold `wording` and `user`; see {FOLDER / 'compare.yaml'}")
    return found


class LlmSettings(pydantic.BaseModel):
    """Settings of `llm`.

    Attributes:
        prompt: ``compare``, or a YAML file with ``wording`` and ``user``, or these in full. The
            shipped words are ours, as the paper's are not known.
        attempts: times to ask for a verdict that can be read, each with another seed.
        temperature, top_p: of the attempts after the first one, which is greedy.
        max_new_tokens: longest reply; one that is cut there is no verdict.
        chat: ask in a chat; off for a model without a chat template.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    prompt: Annotated[Wording, pydantic.BeforeValidator(read_wording)] = pydantic.Field(
        default="compare", validate_default=True
    )
    attempts: int = pydantic.Field(default=3, ge=1)
    temperature: float = pydantic.Field(default=0.7, gt=0)
    top_p: float = pydantic.Field(default=0.95, gt=0, le=1)
    max_new_tokens: int = pydantic.Field(default=512, ge=1)
    chat: bool = True


@dataclass(kw_only=True, slots=True)
class _Case:
    answer: Answer
    gold: str
    said: list[str] = field(default_factory=list)
    verdict: Verdict | None = None


@contextlib.contextmanager
def opened(settings: LlmSettings, tools: Tools) -> Iterator[JudgeAll]:
    """Lend the judge.

    Raises:
        ValueError: there is no engine to ask.
    """
    generate = tools.generate
    if generate is None:
        raise ValueError(
            "the judge llm has no engine to ask. In a recipe give it one, `judge: {use: llm, "
            "generator: {use: openai, ...}}`; for `ppx judge` name one with --generator"
        )
    yield lambda answers: judge_all(settings, generate, answers)


def judge_all(
    settings: LlmSettings, generate: Generate, answers: Sequence[Answer]
) -> list[Verdict]:
    """One verdict for each answer; UNKNOWN where no attempt gave one that can be read."""
    cases = [_Case(answer=one, gold="\n".join(golds_of(one.row["gold"]))) for one in answers]
    for case in cases:
        if not case.gold:
            case.verdict = unknown("the row has no gold response")
        elif not case.answer.response.strip():
            case.verdict = wrong("the response is empty")
    for attempt in range(settings.attempts):
        waiting = [case for case in cases if case.verdict is None]
        if waiting:
            replies = generate([request(settings, case, attempt) for case in waiting])
            for case, reply in zip(waiting, replies, strict=True):
                _hear(case, reply)
    return [case.verdict or _gave_up(case) for case in cases]


def request(settings: LlmSettings, case: _Case, attempt: int) -> Request:
    """What is asked about one answer: greedy first, then drawn, with the attempt as the seed."""
    decoding = Decoding(
        temperature=settings.temperature if attempt else 0.0,
        top_p=settings.top_p if attempt else 1.0,
        max_new_tokens=settings.max_new_tokens,
    )
    return Request(prompt=_prompt(settings, case), decoding=decoding, seed=attempt)


def _prompt(settings: LlmSettings, case: _Case) -> Prompt:
    values = {
        "question": str(case.answer.row.get("prompt") or ""),
        "response": case.answer.response,
        "gold": case.gold,
    }
    # Made of what is quoted, so that the quoted cannot hold it.
    values["tag"] = hashlib.blake2b(repr(values).encode(), digest_size=6).hexdigest()
    system = settings.prompt.system.format_map(values)
    user = settings.prompt.user.format_map(values)
    if not settings.chat:
        return f"{system}\n\n{user}\n" if system else f"{user}\n"
    turns = [{"role": "system", "content": system}] if system else []
    return (*turns, {"role": "user", "content": user})


def _hear(case: _Case, reply: Response | Failure) -> None:
    if isinstance(reply, Failure):
        case.said.append(f"no reply ({reply.reason})")
        return
    said = read_verdict(reply, case.answer.response)
    quoted = shown(reply.text, _REPLY_SHOWN)
    case.said.append(quoted)
    log.info("verdict %s in %s", said, quoted)
    if said is not None:
        case.verdict = (correct if said == "correct" else wrong)(f"the judge said {quoted}")


def read_verdict(reply: Response, response: str) -> str | None:
    """``correct`` or ``wrong``, where that is the last line of a reply that was not cut; else None.

    A line that stands in the judged response is a quotation and no verdict; two different verdicts
    are none.
    """
    lines = [line.strip() for line in reply.text.splitlines() if line.strip()]
    if not reply.finished or not lines or not _VERDICT.fullmatch(lines[-1]):
        return None
    own = {" ".join(line.split()).casefold() for line in response.splitlines()}
    found = [
        (match[1].lower(), " ".join(line.split()).casefold())
        for line in lines
        if (match := _VERDICT.fullmatch(line))
    ]
    if found[-1][1] in own or len({verdict for verdict, _ in found}) > 1:
        return None
    return found[-1][0]


def _gave_up(case: _Case) -> Verdict:
    log.warning("no verdict that can be read after %d attempts: %s", len(case.said), case.said[-1])
    heard = "; ".join(case.said)
    return unknown(f"no verdict in {len(case.said)} replies: {heard}")


LLM = Judge(
    name="llm",
    paper="arXiv 2502.08130",
    settings=LlmSettings,
    open=opened,
    version=lambda: str(RULES),
)
