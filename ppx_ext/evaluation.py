"""What every evaluation suite needs: greedy responses of a live model, graded item by item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppx_ext.answering import Decoding, Response
from ppx_ext.generation.rendering import render
from ppx_ext.suites import TaskScore

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One question: a user's turn, or a chat without its last response; and the gold answer."""

    prompt: str | Sequence[Mapping[str, Any]]
    gold: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Responses:
    """A task's score with the responses that were graded, in the order of the items."""

    score: TaskScore
    texts: tuple[str, ...]


def score_items(
    model: Any,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    *,
    task: str,
    grade: Callable[[str, str], bool],
    target: bool = False,
    max_new_tokens: int = 256,
    batch_size: int = 32,
) -> Responses:
    """Greedy responses to ``items``, each graded by ``grade(response, gold)``.

    Raises:
        ValueError: the task has no items.
    """
    if not items:
        raise ValueError(f"task {task!r} has no items to measure")
    prompts = [render_prompt(tokenizer, item.prompt) for item in items]
    texts = generate_greedy(
        model, tokenizer, prompts, max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    correct = tuple(bool(grade(text, item.gold)) for text, item in zip(texts, items, strict=True))
    score = TaskScore(task=task, correct=correct, target=target)
    return Responses(score=score, texts=tuple(texts))


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
