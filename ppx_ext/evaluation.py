"""What every evaluation suite needs: greedy responses of a live model, graded item by item."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ppx_ext.contracts import TaskScore

if TYPE_CHECKING:
    import torch
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
    plain = isinstance(prompt, str)
    if not getattr(tokenizer, "chat_template", None):
        if plain:
            return str(prompt)
        raise ValueError(
            f"the prompt is a chat, but the tokenizer {tokenizer.name_or_path!r} has no chat "
            "template; give the prompt as one string"
        )
    messages = [{"role": "user", "content": prompt}] if plain else list(prompt)
    return str(
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)  # type: ignore[arg-type]
    )


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
    import torch

    add_special = not getattr(tokenizer, "chat_template", None)
    ids = tokenizer(list(prompts), add_special_tokens=add_special)["input_ids"] if prompts else []
    for place, found in enumerate(ids):
        if not found:
            raise ValueError(f"prompt {place} has no token: {prompts[place]!r}")
    # Prompts of like length share a batch: the shortest path to little padding.
    order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
    texts = [""] * len(ids)
    with _as_found(model), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            answers = _generate(model, tokenizer, [ids[p] for p in places], max_new_tokens)
            for place, answer in zip(places, answers, strict=True):
                texts[place] = answer
    return texts


def _generate(
    model: Any, tokenizer: Tokenizer, ids: list[list[int]], max_new_tokens: int
) -> list[str]:
    config = _greedy_config(model, tokenizer, max_new_tokens)
    input_BT, mask_BT = _left_padded(ids, config.pad_token_id, _device(model))
    output_BT = model.generate(input_ids=input_BT, attention_mask=mask_BT, generation_config=config)
    new = output_BT[:, input_BT.shape[1] :]
    return list(tokenizer.batch_decode(new, skip_special_tokens=True))


def _left_padded(
    ids: list[list[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    width = max(map(len, ids))
    input_BT = torch.full((len(ids), width), pad, dtype=torch.long)
    mask_BT = torch.zeros_like(input_BT)
    for place, found in enumerate(ids):
        input_BT[place, width - len(found) :] = torch.tensor(found)
        mask_BT[place, width - len(found) :] = 1
    return input_BT.to(device), mask_BT.to(device)


def _greedy_config(model: Any, tokenizer: Tokenizer, max_new_tokens: int) -> Any:
    """The model's own generation config, made greedy, that stops where a chat's turn ends."""
    from ppx_ext.tokens import end_of_turn_ids

    config = copy.deepcopy(model.generation_config)
    known = config.eos_token_id
    stops = end_of_turn_ids(tokenizer) | set(known if isinstance(known, list) else [known])
    ends = sorted(stop for stop in stops if stop is not None)
    config.eos_token_id = ends
    first_end = ends[0] if ends else 0
    config.pad_token_id = first_end if tokenizer.pad_token_id is None else tokenizer.pad_token_id
    config.update(
        do_sample=False,
        num_beams=1,
        num_return_sequences=1,
        temperature=None,
        top_p=None,
        top_k=None,
        min_p=None,
        typical_p=None,
        max_length=None,
        max_new_tokens=max_new_tokens,
        return_dict_in_generate=False,
        use_cache=True,
    )
    return config


def _device(model: Any) -> torch.device:
    return model.get_input_embeddings().weight.device  # type: ignore[no-any-return]


@contextlib.contextmanager
def _as_found(model: Any) -> Iterator[None]:
    """Evaluation mode inside; afterwards every module's mode, RNG and ``use_cache`` as before."""
    import torch

    training = [module for module in model.modules() if module.training]
    config = model.config.get_text_config()
    cache = getattr(config, "use_cache", None)
    device = _device(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            # model.train() would also wake modules that the user had put to eval mode.
            for module in training:
                module.training = True
            if cache is not None:
                config.use_cache = cache
