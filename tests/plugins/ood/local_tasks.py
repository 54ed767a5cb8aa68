"""lm-eval tasks in local files, in the shape of ARC, GSM8K and MMLU, and a tiny model of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from tests.models import tiny_model, tiny_tokenizer

CHOICE = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {path}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{choices.label.index(answerKey)}}}}"
doc_to_choice: "{{{{choices.text}}}}"
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
"""
GENERATION = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{train: {train}, test: {path}}}}}
output_type: generate_until
test_split: test
fewshot_split: train
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
num_fewshot: {shots}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    regexes_to_ignore: [",", "(?s).*#### "]
generation_kwargs: {{until: ["Question:"], do_sample: false, max_gen_toks: 12}}
filter_list:
  - name: strict-match
    filter:
      - {{function: regex, regex_pattern: "#### (\\\\-?[0-9\\\\.\\\\,]+)"}}
      - {{function: take_first}}
  - name: flexible-extract
    filter:
      - {{function: regex, group_select: -1, regex_pattern: "(-?[$0-9.,]{{2,}})|(-?[0-9]+)"}}
      - {{function: take_first}}
"""
GROUP = """\
group: {name}
task: [{members}]
aggregate_metric_list:
  - {{metric: acc, weight_by_size: {weighted}}}
"""

SUMS = [(a, b) for a in (1, 2, 3, 4) for b in (2, 3)]
MARKED, BARE, WRONG = "a{0} #### {1}", "a{0} so {1}", "a{0} #### {2}"
"""What the tiny model is taught to say: in the format, right without it, and wrong in it."""
SAID = (MARKED, BARE, WRONG, BARE, MARKED, WRONG, MARKED, MARKED)


def sums() -> list[dict[str, str]]:
    """Questions and golds like GSM8K's."""
    return [{"question": f"{a}+{b}", "answer": f"it is #### {a + b}"} for a, b in SUMS]


def choices(words: str, count: int) -> list[dict[str, Any]]:
    """Questions with four options, like ARC's."""
    options = [words[at : at + 3 + at % 3] for at in range(0, 16, 4)]
    return [
        {
            "question": f"{words} {at}",
            "choices": {"text": options, "label": list("ABCD")},
            "answerKey": "ABCD"[at % 4],
        }
        for at in range(count)
    ]


def _rows(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_tasks(folder: Path, *, times: int = 1) -> Path:
    """The tasks ``local_arc``, ``local_gsm8k``, ``local_gsm8k_fewshot``, and the groups
    ``local_mmlu`` (averaged over items) and ``local_macro`` (over tasks), ``times`` as long.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def yaml(name: str, template: str, **more: Any) -> None:
        (folder / f"{name}.yaml").write_text(template.format(name=name, **more), encoding="utf-8")

    def choice(name: str, words: str, count: int) -> None:
        path = _rows(folder / f"{name}.jsonl", choices(words, times * count))
        yaml(name, CHOICE, path=path)

    choice("local_arc", "which of these is it now", 9)
    test = _rows(folder / "sums.jsonl", times * sums())
    train = _rows(
        folder / "train.jsonl",
        [{"question": f"{n}+1", "answer": f"#### {n + 1}"} for n in range(6)],
    )
    yaml("local_gsm8k", GENERATION, path=test, train=train, shots=0)
    yaml("local_gsm8k_fewshot", GENERATION, path=test, train=train, shots=2)
    for part, (words, count) in enumerate(
        [("a longer text of words", 5), ("for i in range of ten", 3)]
    ):
        choice(f"local_mmlu_{part}", words, count)
    # As MMLU: a group of groups, of which one names its tasks by a tag.
    with (folder / "local_mmlu_0.yaml").open("a", encoding="utf-8") as file:
        file.write("tag: local_mmlu_stem_tasks\n")
    yaml("local_mmlu_stem", GROUP, members="local_mmlu_stem_tasks", weighted="true")
    yaml("local_mmlu", GROUP, members="local_mmlu_stem, local_mmlu_1", weighted="true")
    yaml("local_macro", GROUP, members="local_mmlu_0, local_mmlu_1", weighted="false")
    return folder


def taught(steps: int = 150) -> tuple[Any, Any]:
    """A tiny model that answers the sums as `SAID` tells, and its tokenizer."""
    tokenizer = tiny_tokenizer()
    texts = [
        f"Question: {a}+{b}\nAnswer: " + said.format(a, a + b, a + b + 1) + "<|im_end|>"
        for (a, b), said in zip(SUMS, SAID, strict=True)
    ]
    batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    model = tiny_model("llama").train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval(), tokenizer
