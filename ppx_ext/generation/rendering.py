"""A request -> the text that the model goes on with, under the model's own chat template."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ppx_ext.answering import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """What the model is given.

    Attributes:
        text: the prompt, and after it what was put into the model's mouth.
        special: True where the tokenizer still has to add its special tokens (the beginning of
            the sequence); a chat template writes them itself.
    """

    text: str
    special: bool


def render(tokenizer: Tokenizer, prompt: Prompt, prefix: str = "") -> Rendered:
    """The text of a request.

    Args:
        tokenizer: with the run's chat template.
        prompt: a chat goes through the template; a string is gone on with as it is.
        prefix: what the response begins with.

    Raises:
        ValueError: a chat, but no template, or one that refuses this chat.
    """
    if isinstance(prompt, str):
        return Rendered(text=prompt + prefix, special=True)
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError(
            f"the prompt is a chat, but the tokenizer {tokenizer.name_or_path!r} has no chat "
            "template; give the prompt as one string"
        )
    from jinja2.exceptions import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in prompt], tokenize=False, add_generation_prompt=True
        )
    except TemplateError as error:
        roles = [message.get("role") for message in prompt]
        raise ValueError(f"the chat template refuses a chat of roles {roles}: {error}") from error
    return Rendered(text=str(text) + prefix, special=False)


def end_ids(tokenizer: Tokenizer) -> list[int]:
    """Ids that end a response: the end of sequence, and what the chat template ends a turn with."""
    from ppx_ext.tokens import end_of_turn_ids

    return sorted(end_of_turn_ids(tokenizer))
