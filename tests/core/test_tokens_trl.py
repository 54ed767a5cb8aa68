"""Targets are those that TRL finds itself, and those of the templates that TRL marks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from ppx_ext import tokens
from tests.core.test_tokens import ANSWER, MULTI, SYSTEM, USER, made, one, ours, trained, unmarked
from tests.models import tiny_model


def with_trl(rows: list[Any], tokenizer: Any, folder: Path, **given: Any) -> Any:
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    args = SFTConfig(
        output_dir=str(folder),
        max_length=given.pop("max_length", None),
        use_cpu=True,
        bf16=False,
        report_to=[],
        **given,
    )
    trainer = SFTTrainer(
        model=tiny_model("llama", vocab_size=len(tokenizer)),
        args=args,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    return trainer.train_dataset


@pytest.mark.slow
@pytest.mark.parametrize("max_length", [None, 40])
def test_labels_are_those_of_trl_for_assistant_turns(
    tmp_path: Path, max_length: int | None
) -> None:
    tokenizer = made()
    rows = [{"messages": MULTI}, {"messages": [SYSTEM, USER, ANSWER]}, {"messages": [USER, ANSWER]}]
    theirs = with_trl(rows, tokenizer, tmp_path, assistant_only_loss=True, max_length=max_length)
    found = ours(rows, tokenizer, max_length=max_length)
    assert [example.ids_T.tolist() for example in found] == list(theirs["input_ids"])
    assert [tokens.labels_of(example).tolist() for example in found] == list(theirs["labels"])


@pytest.mark.slow
def test_labels_are_those_of_trl_for_prompt_and_completion(data_dir: Path, tmp_path: Path) -> None:
    import json

    lines = (data_dir / "gsm8k_test.jsonl").read_text().splitlines()[:60]
    pairs = [json.loads(line) for line in lines]
    rows = [{"prompt": row["question"] + "\n", "completion": row["answer"]} for row in pairs]
    tokenizer = made("")
    theirs = with_trl(rows, tokenizer, tmp_path)
    found = ours(rows, tokenizer)
    assert [example.ids_T.tolist() for example in found] == list(theirs["input_ids"])
    assert [tokens.labels_of(example).tolist() for example in found] == list(theirs["labels"])
    chats = [
        {
            "prompt": [{"role": "user", "content": row["question"]}],
            "completion": [{"role": "assistant", "content": row["answer"]}],
        }
        for row in pairs
    ]
    plain = made(unmarked(made().chat_template))
    theirs = with_trl(chats, plain, tmp_path)
    found = ours([{"messages": row["prompt"] + row["completion"]} for row in chats], plain)
    assert [example.ids_T.tolist() for example in found] == list(theirs["input_ids"])
    for example, labels in zip(found, theirs["labels"], strict=True):
        # TRL trains on the line break after the end of the turn too, which is never generated.
        mine = tokens.labels_of(example).tolist()
        assert mine[:-1] == labels[:-1]
        assert (mine[-1], tokenizer.decode([labels[-1]])) == (-100, "\n")


def trl_templates() -> list[str]:
    import trl

    folder = Path(trl.__file__).parent / "chat_templates"
    return sorted(
        path.name.removesuffix("_training.jinja")
        for path in folder.glob("*_training.jinja")
        if (folder / path.name.replace("_training", "")).exists()
    )


def real(name: str) -> Any:
    """A tokenizer with a template that TRL ships, and with the special tokens that it writes."""
    import trl

    template = (Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja").read_text()
    special = sorted(set(re.findall(r"<[|\uff5c]?\w[\w\u2581]*[|\uff5c]?>", template)))
    return made(template, special=special, bos="<|endoftext|>")


# The others are of models that see, or that write channels which no row here has.
KNOWN = ["cohere", "gemma", "gemma3", "llama3", "phi3", "qwen2_5"]


@pytest.mark.parametrize("name", [name for name in trl_templates() if name in KNOWN])
@pytest.mark.parametrize("chat", [MULTI, [USER, ANSWER]])
def test_a_real_template_gives_what_its_marked_twin_gives(name: str, chat: Any) -> None:
    plain, marked = real(name), real(f"{name}_training")
    first, second = (one({"messages": chat}, tokenizer) for tokenizer in (plain, marked))
    assert plain.decode(first.ids_T) == marked.decode(second.ids_T)
    # Line breaks around a response count as trained in some twins; they are never generated.
    texts = [trained(*pair).replace("\n", "") for pair in ((first, plain), (second, marked))]
    assert texts[0] == texts[1]
    assert re.sub("<.*?>", "", texts[0]) == "".join(turn["content"] for turn in chat[1::2])
    assert first.end_T.sum() >= len(chat) // 2


def test_a_real_template_whose_prompt_opens_a_thought_is_not_guessed() -> None:
    if "deepseekv3" not in trl_templates():
        pytest.skip("this TRL does not ship DeepSeek's template")
    skip = one({"messages": MULTI}, real("deepseekv3"))
    assert isinstance(skip, tokens.Skip)
    assert "does not stand where the template's generation prompt ends" in skip.detail
