"""Rows -> text and the character spans of its targets, under the model's own chat template."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ppx_ext.contracts import Row

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

_MARKED = re.compile(r"\{%-?\s*generation\s*-?%\}")
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Skip:
    """A row that cannot be trained on: which, why (a short name), and what was seen there."""

    row: int
    reason: Literal[
        "no response",
        "empty response",
        "response truncated away",
        "template cannot mark the response",
        "unreadable row",
        "no target",
        "not measured",
    ]
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Text:
    """A rendered row and the character spans of its targets."""

    text: str
    spans: tuple[tuple[int, int], ...]
    chat: bool


def render_row(position: int, row: Row, tokenizer: Tokenizer, targets: str) -> Text | Skip:
    """One canonical row as text, with the spans that are trained on (see `tokens.tokenize`).

    Raises:
        ValueError: the row is a chat but there is no chat template, or the template refuses it.
    """
    if "messages" not in row:
        return _plain(row, tokenizer, targets)
    from jinja2.exceptions import TemplateError

    try:
        return _chat(position, row, tokenizer, targets)
    except TemplateError as error:
        roles = [message.get("role") for message in row["messages"]]
        raise ValueError(
            f"row {position}: the chat template refuses this chat (roles {roles}): {error}. "
            "Change the row, or use a template that takes such chats."
        ) from error


def _plain(row: Row, tokenizer: Tokenizer, targets: str) -> Text:
    eos, prompt = tokenizer.eos_token or "", str(row["prompt"])
    completion = str(row["completion"])
    text = prompt + completion + ("" if completion.endswith(eos) else eos)
    start = 0 if targets == "all" else len(prompt)
    return Text(text=text, spans=((start, len(text)),), chat=False)


def _chat(position: int, row: Row, tokenizer: Tokenizer, targets: str) -> Text | Skip:
    template = _template(tokenizer, row)
    if template is None:
        raise ValueError(
            f"row {position} is a chat, but the tokenizer {tokenizer.name_or_path!r} has no chat "
            "template. Give one (TRL: chat_template_path, Axolotl: chat_template), or give the "
            "rows as plain `prompt` and `completion` text."
        )
    if targets != "all" and _MARKED.search(template):
        text, spans = _marked_spans(row, tokenizer, template)
        return Text(text=text, spans=spans[-1:] if targets == "last" else spans, chat=True)
    text = _render(tokenizer, row)
    if targets == "all":
        return Text(text=text, spans=((0, len(text)),), chat=True)
    turns = [i for i, message in enumerate(row["messages"]) if message["role"] == "assistant"]
    found = []
    for turn in turns[-1:] if targets == "last" else turns:
        span = _turn_span(row, turn, text, tokenizer)
        if isinstance(span, str):
            return Skip(
                row=position,
                reason="template cannot mark the response",
                detail=f"turn {turn}: {span}. Use a template with {{% generation %}} marks, train "
                "on the last turn only, or give one example for each assistant turn.",
            )
        found.append(span)
    return Text(text=text, spans=tuple(found), chat=True)


def _template(tokenizer: Tokenizer, row: Row) -> str | None:
    if not getattr(tokenizer, "chat_template", None):
        return None
    return str(tokenizer.get_chat_template(tools=row.get("tools")))


def _marked_spans(
    row: Row, tokenizer: Tokenizer, template: str
) -> tuple[str, tuple[tuple[int, int], ...]]:
    from transformers.utils.chat_template_utils import render_jinja_template

    options: dict[str, Any] = {**tokenizer.special_tokens_map, **_options(row)}
    rendered: Any = render_jinja_template(
        [list(row["messages"])],
        tools=row.get("tools"),
        chat_template=template,
        return_assistant_tokens_mask=True,
        **options,
    )
    (text,), (spans,) = rendered
    return str(text), tuple((int(start), int(end)) for start, end in spans)


def _turn_span(row: Row, turn: int, text: str, tokenizer: Tokenizer) -> tuple[int, int] | str:
    """Where a turn's response lies in the text of the whole chat, or why that cannot be told."""
    messages = row["messages"]
    if not turn:
        return "the chat begins with the assistant, so that no prompt tells where it starts"
    before = _render(tokenizer, {**row, "messages": messages[:turn]}, prompt=True)
    upto = _render(tokenizer, {**row, "messages": messages[: turn + 1]})
    if not text.startswith(upto):
        # Some templates end whatever they render with the end of sequence.
        upto = upto.removesuffix(tokenizer.eos_token or "\0")
    if not text.startswith(upto):
        return "the template rewrites earlier turns when the chat goes on"
    if not upto.startswith(before):
        return "the response does not stand where the template's generation prompt ends"
    # The line break after an end-of-turn token is never generated: it belongs to the next turn.
    end = len(upto.rstrip("\n")) if _ends_in_special(upto, tokenizer) else len(upto)
    return len(before), end


def _ends_in_special(text: str, tokenizer: Tokenizer) -> bool:
    return text.rstrip("\n").endswith(tuple(tokenizer.all_special_tokens) or ("\0",))


def _options(row: Row) -> dict[str, Any]:
    return dict(row.get("chat_template_kwargs") or {})


def _render(tokenizer: Tokenizer, row: Row, *, prompt: bool = False) -> str:
    rendered = tokenizer.apply_chat_template(
        list(row["messages"]),
        tools=row.get("tools"),
        tokenize=False,
        add_generation_prompt=prompt,
        **_options(row),
    )
    return str(rendered)


def tail_of_turn(tokenizer: Tokenizer) -> str:
    """What the chat template writes after a response."""
    from jinja2.exceptions import TemplateError

    probe = "ppx probe"
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", "content": probe}]
    try:
        _, found, tail = _render(tokenizer, {"messages": chat}).rpartition(probe)
    except TemplateError as error:
        log.warning(
            "the chat template refuses the plainest chat (%s); only %r is taken for an end of turn",
            error,
            tokenizer.eos_token,
        )
        return ""
    return tail if found else ""
