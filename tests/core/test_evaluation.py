"""Greedy generation leaves no trace, and equals the model's own argmax, one prompt at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from ppx_ext import Item, Subject, TaskScore, each, fingerprint_of, score_items
from ppx_ext.evaluation import generate_greedy, render_prompt
from ppx_ext.records import dump_score, evaluation_record, load_score, write_json
from tests.models import tiny_model, tiny_tokenizer

PROMPTS = ["What is 2 + 3?", "Hi", "Write a function to find the longest chain of pairs.", "a b"]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tiny_tokenizer()


def naive_greedy(model: Any, tokenizer: Any, text: str, steps: Any) -> Any:
    """Argmax without a cache, padding or generate()."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    new = []
    model.eval()
    for _ in range(steps):
        with torch.no_grad():
            token = int(model(input_ids=torch.tensor([ids + new])).logits[0, -1].argmax())
        new.append(token)
        if token == tokenizer.eos_token_id:
            break
    return tokenizer.decode(new, skip_special_tokens=True)


@pytest.mark.parametrize("architecture", ["llama", "gemma2"])
@pytest.mark.parametrize("batch_size", [1, 3])
def test_batches_give_what_one_prompt_alone_gives(
    tokenizer: Any, architecture: str, batch_size: int
) -> None:
    model = tiny_model(architecture)
    texts = [render_prompt(tokenizer, prompt) for prompt in PROMPTS]
    expected = [naive_greedy(model, tokenizer, text, 6) for text in texts]
    found = generate_greedy(model, tokenizer, texts, max_new_tokens=6, batch_size=batch_size)
    assert found == expected
    assert len(set(expected)) > 1


def test_a_prompt_beyond_the_context_is_told(
    tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = tiny_model("llama")
    context = model.config.max_position_embeddings
    generate_greedy(model, tokenizer, ["Hi"], max_new_tokens=1)
    assert not caplog.records
    generate_greedy(model, tokenizer, ["Hi", "word " * context], max_new_tokens=1)
    (said,) = [record.message for record in caplog.records]
    assert said.startswith(f"ppx: 1 of 2 prompts leave no room in the model's context of {context}")
    assert "begins 'word word" in said


def test_adapters_take_part(tokenizer: Any) -> None:
    model = tiny_model("llama")
    texts = [render_prompt(tokenizer, prompt) for prompt in PROMPTS]
    base = generate_greedy(model, tokenizer, texts, max_new_tokens=6)
    config = peft.LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    tuned = peft.get_peft_model(model, config)
    adapted = generate_greedy(tuned, tokenizer, texts, max_new_tokens=6)
    assert adapted == [naive_greedy(tuned, tokenizer, text, 6) for text in texts]
    assert adapted != base
    with tuned.disable_adapter():
        assert generate_greedy(tuned, tokenizer, texts, max_new_tokens=6) == base


def test_nothing_is_disturbed(tokenizer: Any) -> None:
    model = tiny_model("llama")
    model.train()
    model.model.layers[0].eval()
    model.config.use_cache = False
    model.generation_config.do_sample = True
    model.generation_config.temperature = 0.6
    modes = [module.training for module in model.modules()]
    side, random = tokenizer.padding_side, torch.get_rng_state()
    generate_greedy(model, tokenizer, ["a", "b c d e"], max_new_tokens=3)
    assert [module.training for module in model.modules()] == modes
    assert model.config.use_cache is False
    assert model.generation_config.do_sample is True
    assert model.generation_config.temperature == 0.6
    assert tokenizer.padding_side == side
    assert torch.equal(torch.get_rng_state(), random)


def test_nothing_is_disturbed_by_an_error(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama").train()

    def fail(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(model, "generate", fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        generate_greedy(model, tokenizer, ["a"])
    assert all(module.training for module in model.modules())


def test_sampling_settings_of_the_model_do_not_make_it_sample(tokenizer: Any) -> None:
    model = tiny_model("llama")
    texts = [render_prompt(tokenizer, prompt) for prompt in PROMPTS]
    greedy = generate_greedy(model, tokenizer, texts, max_new_tokens=8)
    model.generation_config.update(do_sample=True, temperature=5.0, top_p=0.9, num_beams=1)
    assert generate_greedy(model, tokenizer, texts, max_new_tokens=8) == greedy


def test_prompts_are_rendered_through_the_template(tokenizer: Any) -> None:
    text = render_prompt(tokenizer, "hi")
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    chat = [{"role": "system", "content": "s"}, {"role": "user", "content": "hi"}]
    assert render_prompt(tokenizer, chat).startswith("<|im_start|>system\ns<|im_end|>")


def test_without_a_template_only_plain_prompts_work() -> None:
    bare = tiny_tokenizer()
    bare.chat_template = None
    assert render_prompt(bare, "hi") == "hi"
    with pytest.raises(ValueError, match="no chat template"):
        render_prompt(bare, [{"role": "user", "content": "hi"}])


def test_scores_keep_the_order_of_the_items(tokenizer: Any) -> None:
    model = tiny_model("llama")
    texts = [render_prompt(tokenizer, prompt) for prompt in PROMPTS]
    answers = generate_greedy(model, tokenizer, texts, max_new_tokens=4)
    golds = [answers[0], "no", answers[2], "no"]
    items = [Item(prompt=p, gold=g) for p, g in zip(PROMPTS, golds, strict=True)]
    subject = Subject(model=model, tokenizer=tokenizer)
    found = score_items(
        subject, items, task="t", grade=each(str.__eq__), target=True, max_new_tokens=4
    )
    assert (found.task, found.correct, found.target) == ("t", (1.0, 0.0, 1.0, 0.0), True)
    assert found.items == {
        "prompt": texts,
        "gold": golds,
        "response": answers,
        "why": ["", "", "", ""],
    }
    assert found.fingerprint == fingerprint_of(zip(texts, golds, strict=True))
    with pytest.raises(ValueError, match="'empty' has no items"):
        score_items(subject, [], task="empty", grade=each(str.__eq__))


def test_empty_prompts_are_named(tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="prompt 1 has no token"):
        generate_greedy(tiny_model("llama"), tokenizer, ["a", ""])


def test_records_round_trip(tmp_path: Path) -> None:
    score = TaskScore(task="t", correct=(True, False), target=True)
    record = evaluation_record([score], when="before", step=0, seconds=1.5)
    assert load_score(record["scores"][0]) == score
    assert dump_score(score)["correct"] == [1, 0]
    with pytest.raises(ValueError, match="without items"):
        load_score({"task": "t", "target": False, "correct": []})
    with pytest.raises(ValueError, match="not a task's score"):
        load_score({"task": "t"})
    write_json(tmp_path / "deep" / "a.json", {"b": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "deep" / "a.json", {"b": float("nan")})
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.json"]
