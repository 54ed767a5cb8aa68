"""What suites need of a live model: greedy responses, graded, and the NLL of held-out texts."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from ppx_ext.answering import Decoding, Response
from ppx_ext.contracts import Row
from ppx_ext.generation.rendering import render
from ppx_ext.suites import Subject, TaskScore, TextScore

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

    from ppx_ext.contracts import Bools, Ints

log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question: a user's turn, or a chat without its last response; and the gold answer.

    Attributes:
        row: the user's columns, for judges.
    """

    prompt: str | Sequence[Mapping[str, Any]]
    gold: str
    row: Row = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Graded:
    """What a response is worth.

    Attributes:
        correct: in [0, 1].
        readings: the same response read in other ways; see `TaskScore`.
        why: in words; it goes to the record of the items.
    """

    correct: float
    readings: Mapping[str, float] = field(default_factory=dict)
    why: str = ""


Grade: TypeAlias = Callable[[Sequence[Item], Sequence[str]], Sequence[Graded]]
"""Items and their responses -> what each is worth, in order."""


def each(grade: Callable[[str, str], bool]) -> Grade:
    """A `Grade` of ``grade(response, gold)``."""
    return lambda items, texts: [
        Graded(correct=float(grade(text, item.gold)))
        for item, text in zip(items, texts, strict=True)
    ]


def score_items(
    subject: Subject,
    items: Sequence[Item],
    *,
    task: str,
    grade: Grade,
    target: bool = False,
    max_new_tokens: int = 256,
    batch_size: int = 32,
) -> TaskScore:
    """Greedy responses to ``items``, graded. The processes share generation and grading.

    Prompts are rendered through the chat template where there is one.

    Raises:
        ValueError: the task has no items; or as ``grade``.
    """
    if not items:
        raise ValueError(f"task {task!r} has no items to measure")
    prompts = [render_prompt(subject.tokenizer, item.prompt) for item in items]

    def work(places: Sequence[int]) -> list[tuple[str, Graded]]:
        mine = [items[place] for place in places]
        texts = generate_greedy(
            subject.model,
            subject.tokenizer,
            [prompts[place] for place in places],
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
        )
        return list(zip(texts, grade(mine, texts) if mine else [], strict=True))

    answered = shared(subject, range(len(items)), work)
    graded = [one for _, one in answered]
    names = graded[0].readings
    golds = [item.gold for item in items]
    return TaskScore(
        task=task,
        correct=tuple(one.correct for one in graded),
        target=target,
        readings={name: tuple(one.readings[name] for one in graded) for name in names},
        items={
            "prompt": prompts,
            "gold": golds,
            "response": [text for text, _ in answered],
            "why": [one.why for one in graded],
        },
        fingerprint=fingerprint_of(zip(prompts, golds, strict=True)),
    )


def score_texts(
    subject: Subject, rows: Sequence[Row], *, task: str, max_length: int | None = None
) -> TextScore:
    """The NLL of held-out texts under the model as it is. The processes share the work.

    Args:
        rows: canonical ones (`canonical_rows`): of a chat its assistant's turns are measured, of a
            prompt and its completion the latter. Each needs a token that is measured.
        max_length: context in tokens; None is what the model's config says. A longer row is cut
            into windows of that length, and the first token of each is not measured.

    Raises:
        ValueError: there are no rows, or one has no token to measure.
    """
    from ppx_ext.scoring import token_scores
    from ppx_ext.tokens import Skip, tokenize

    if not rows:
        raise ValueError(f"task {task!r} has no texts to measure")
    length = max_length or _context(subject.model)
    windows = []
    try:
        tokenized = list(tokenize(enumerate(rows), subject.tokenizer))
    except ValueError as error:
        raise ValueError(f"task {task!r}: {error}") from error
    for place, found in enumerate(tokenized):
        if isinstance(found, Skip):
            raise ValueError(f"task {task!r}, text {place}: {found.reason}: {found.detail}")
        windows.append(_windows(found.ids_T, found.target_T, length))

    def work(mine: Sequence[Any]) -> list[tuple[float, int]]:
        flat = [window for text in mine for window in text]
        scores = iter(token_scores(subject.model, *zip(*flat, strict=True)) if flat else [])
        nll = [[next(scores)["nll"] for _ in text] for text in mine]
        return [
            (float(sum(part.sum(dtype="float64") for part in one)), sum(len(part) for part in one))
            for one in nll
        ]

    measured = shared(subject, windows, work)
    tokens = tuple(count for _, count in measured)
    return TextScore(
        task=task,
        nll=tuple(nll for nll, _ in measured),
        tokens=tokens,
        items={"text": [json.dumps(row, ensure_ascii=False, default=str) for row in rows]},
        # With another tokenizer, or in other windows, it is another measurement.
        fingerprint=fingerprint_of(zip(rows, tokens, strict=True)),
    )


def _windows(ids_T: Ints, target_T: Bools, length: int) -> list[tuple[Ints, Bools]]:
    found = []
    for start in range(0, len(ids_T), length):
        target_W = target_T[start : start + length].copy()
        target_W[0] = False
        found.append((ids_T[start : start + length], target_W))
    return [one for one in found if one[1].any()]


def _context(model: Any) -> int:
    return _declared_context(model) or 2048


def _declared_context(model: Any) -> int | None:
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(found) if found else None


def _warn_of_long(model: Any, prompts: Sequence[str], lengths: Sequence[int]) -> None:
    context = _declared_context(model)
    places = [place for place, length in enumerate(lengths) if context and length >= context]
    if places:
        longest = max(places, key=lambda place: lengths[place])
        log.warning(
            "ppx: %d of %d prompts leave no room in the model's context of %d tokens, so what it "
            "answers tells nothing; the longest has %d and begins %r",
            len(places), len(lengths), context, lengths[longest], prompts[longest][:60],
        )  # fmt: skip


def fingerprint_of(items: Iterable[Any]) -> str:
    """Of all that is asked and wanted, as JSON values: 32 hexadecimal digits."""
    digest = hashlib.blake2b(digest_size=16)
    for item in items:
        digest.update(json.dumps(item, ensure_ascii=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def shared(
    subject: Subject, items: Sequence[T], work: Callable[[Sequence[T]], Sequence[R]]
) -> list[R]:
    """``work`` on each process's share of ``items``; every process has all results, in order.

    Raises:
        Exception: what ``work`` raised here; who lends `Subject.gather` tells the other processes.
    """
    parts = subject.gather(list(work(items[subject.rank :: subject.processes])))
    return [parts[at % len(parts)][at // len(parts)] for at in range(len(items))]


def render_prompt(tokenizer: Tokenizer, prompt: str | Sequence[Mapping[str, Any]]) -> str:
    """The text after which the model speaks: through the chat template where there is one.

    Raises:
        ValueError: a chat is given, but the tokenizer has no chat template.
    """
    if not isinstance(prompt, str):
        return render(tokenizer, tuple(prompt)).text
    if not getattr(tokenizer, "chat_template", None):
        return prompt
    return render(tokenizer, ({"role": "user", "content": prompt},)).text


def generate_greedy(
    model: Any,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int = 256,
    batch_size: int = 32,
) -> list[str]:
    """The model's greedy responses (special tokens left out), in the order of ``prompts``.

    Prompts are rendered texts; special tokens are added only where there is no chat template.
    Works on a full model and on a PEFT one with its adapters as they are. Leaves the modes of all
    modules, the random state, ``use_cache``, the tokenizer and the generation config as they were.

    Raises:
        ValueError: a prompt is empty once tokenised.
    """
    from ppx_ext.generation.batches import Wanted
    from ppx_ext.generation.local import Local

    add_special = not getattr(tokenizer, "chat_template", None)
    ids = tokenizer(list(prompts), add_special_tokens=add_special)["input_ids"] if prompts else []
    for place, found in enumerate(ids):
        if not found:
            raise ValueError(f"prompt {place} has no token: {prompts[place]!r}")
    _warn_of_long(model, prompts, [len(found) for found in ids])
    greedy = Decoding(max_new_tokens=max_new_tokens)
    wanted = [
        Wanted(ids=tuple(found), decoding=greedy, seed=None, limit=max_new_tokens, places=[place])
        for place, found in enumerate(ids)
    ]
    engine = Local(
        model=model, tokenizer=tokenizer, batch_size=batch_size, batching="padded", base=False
    )
    texts = [""] * len(ids)
    for one, answer in engine.answer_wanted(wanted):
        if isinstance(answer, Response):
            texts[one.places[0]] = answer.text
    return texts
