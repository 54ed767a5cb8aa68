"""Requests as token ids, and which of them share a batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from ppx_ext.answering import Decoding, Failure, Request
from ppx_ext.generation.rendering import Rendered, render

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

CONTEXT_TOKENS = 16


@dataclass(kw_only=True, slots=True)
class Wanted:
    """A response to generate: all requests that it answers, and what the model is given.

    Attributes:
        places: of the requests; equal ones are generated once.
        ids: of prompt and prefix.
        decoding: how to draw.
        seed: of the draws; None for greedy decoding, which needs none.
        limit: new tokens at most: what is asked for, or what the context has room for.
        prefix: what the response begins with.
        exact: True keeps the blanks between what was given and what is generated, as text that
            is gone on with needs; a chat's response begins at its first word.
    """

    ids: tuple[int, ...]
    decoding: Decoding
    seed: int | None
    limit: int
    prefix: str = ""
    exact: bool = False
    places: list[int] = field(default_factory=list)


Refused: TypeAlias = list[tuple[int, Failure]]


def encode(
    requests: Sequence[Request], tokenizer: Tokenizer, context: int | None
) -> tuple[list[Wanted], Refused]:
    """The responses to generate, and the requests that cannot be answered.

    Args:
        requests: any.
        tokenizer: with the run's chat template.
        context: tokens that the model can hold, or None where nothing is known.

    Raises:
        ValueError: a chat, but no chat template.
    """
    rendered, refused = _rendered(requests, tokenizer)
    encoded = _encoded(rendered, tokenizer)
    wanted: dict[Any, Wanted] = {}
    for place, text in rendered.items():
        request, ids = requests[place], encoded[text]
        room = request.decoding.max_new_tokens if context is None else context - len(ids)
        if not ids or room < 1:
            refused.append((place, Failure(reason=_no_room(len(ids), context))))
            continue
        seed = request.seed if request.decoding.temperature else None
        found = wanted.setdefault(
            (ids, request.decoding, seed, request.prefix),
            Wanted(
                ids=ids,
                decoding=request.decoding,
                seed=seed,
                limit=min(request.decoding.max_new_tokens, room),
                prefix=request.prefix,
                exact=text.special or bool(request.prefix),
            ),
        )
        found.places.append(place)
    return list(wanted.values()), refused


def _no_room(tokens: int, context: int | None) -> str:
    if not tokens:
        return "the prompt has no token"
    return f"the prompt has {tokens} tokens, and the model's context {context}: no room is left"


def _rendered(
    requests: Sequence[Request], tokenizer: Tokenizer
) -> tuple[dict[int, Rendered], Refused]:
    done: dict[tuple[int, str], Rendered | Failure] = {}
    for request in requests:
        # Samples of one prompt hold the same object: its template is rendered once.
        key = (id(request.prompt), request.prefix)
        if key not in done:
            try:
                done[key] = render(tokenizer, request.prompt, request.prefix)
            except ValueError as error:
                if not getattr(tokenizer, "chat_template", None):
                    raise
                done[key] = Failure(reason=str(error))
    found, refused = {}, []
    for place, request in enumerate(requests):
        text = done[(id(request.prompt), request.prefix)]
        if isinstance(text, Failure):
            refused.append((place, text))
        else:
            found[place] = text
    return found, refused


def _encoded(
    rendered: dict[int, Rendered], tokenizer: Tokenizer
) -> dict[Rendered, tuple[int, ...]]:
    found: dict[Rendered, tuple[int, ...]] = {}
    for special in (False, True):
        texts = list({text for text in rendered.values() if text.special is special})
        if texts:
            many = tokenizer([t.text for t in texts], add_special_tokens=special)["input_ids"]
            found |= {text: tuple(ids) for text, ids in zip(texts, many, strict=True)}
    return found


def groups(wanted: Iterable[Wanted]) -> list[list[Wanted]]:
    """Requests that are decoded alike, each group longest first.

    So little is padding, what has no room fails at once, and samples of one prompt lie side by
    side.
    """
    found: dict[tuple[Any, ...], list[Wanted]] = {}
    for one in wanted:
        found.setdefault((one.decoding, one.limit), []).append(one)
    for group in found.values():
        group.sort(key=lambda one: (len(one.ids), one.ids), reverse=True)
    return list(found.values())


def batches(group: Sequence[Wanted], batch_size: int) -> Iterator[list[Wanted]]:
    """A group in pieces of ``batch_size``."""
    for start in range(0, len(group), batch_size):
        yield list(group[start : start + batch_size])


def spoken(tokenizer: Tokenizer, one: Wanted, new: list[int]) -> str:
    """The text of new tokens, after the text that they go on with.

    Some tokenizers drop the blank before the first word of what they decode, so that text is
    decoded together with the end of what was given.
    """
    if not one.exact:
        return str(tokenizer.decode(new, skip_special_tokens=True))
    before = list(one.ids[-CONTEXT_TOKENS:])
    given, whole = (
        str(tokenizer.decode(ids, skip_special_tokens=True)) for ids in (before, [*before, *new])
    )
    if not whole.startswith(given):  # the first new token completes a character
        return str(tokenizer.decode(new, skip_special_tokens=True))
    return whole[len(given) :]
