"""Tiny models and tasks on disk that `ppx eval` is tested with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from ppx_ext.cli import main
from tests.models import tiny_model, tiny_tokenizer

QUESTIONS = {"law": 12, "sums": 16}


@dataclass(frozen=True)
class Models:
    """A folder with ``base``, ``run/checkpoint-9``, ``run/checkpoint-10``, ``adapter`` and tasks.

    The base answers two thirds of the items as their golds say, checkpoint-10 the rest.
    """

    folder: Path

    def run(self, *args: str, code: int = 0) -> Result:
        """The command in this folder; its exit code is checked. Nothing is measured twice."""
        shared = ("--out", "measured") if "block.yaml" in args and "--out" not in args else ()
        wide = CliRunner(env={"COLUMNS": "160"})  # sentences in one piece
        result = wide.invoke(main, ["eval", *args, *shared])
        assert result.exit_code == code, result.output
        return result

    def json(self, *args: str, code: int = 0) -> Any:
        """What ``--json`` prints, alone, on stdout."""
        return json.loads(self.run(*args, "--json", code=code).stdout)


def make(place: Path) -> Path:
    """Write all of them; the folder."""
    from peft import LoraConfig, get_peft_model

    from ppx_ext.evaluation import generate_greedy, render_prompt

    tokenizer = tiny_tokenizer()
    models = {"base": 0, "run/checkpoint-9": 3, "run/checkpoint-10": 1}
    for name, seed in models.items():
        tiny_model("llama", seed=seed).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    lora = LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(tiny_model("llama"), lora)
    adapted.peft_config["default"].base_model_name_or_path = str(place / "base")
    adapted.save_pretrained(place / "adapter")
    for task, number in QUESTIONS.items():
        asked = [f"{task}: what is {i} and {i * 7 % 11}?" for i in range(number)]
        prompts = [render_prompt(tokenizer, question) for question in asked]
        golds = [
            generate_greedy(tiny_model("llama", seed=seed), tokenizer, prompts, max_new_tokens=8)
            for seed in (0, 1)
        ]
        lines = [
            json.dumps({"prompt": question, "answer": golds[i % 3 == 0][i]})
            for i, question in enumerate(asked)
        ]
        (place / f"{task}.jsonl").write_text("\n".join(lines))
    (place / "block.yaml").write_text(BLOCK)
    return place


BLOCK = """
suites:
  - use: tasks
    max_new_tokens: 8
    tasks:
      law: {path: law.jsonl}
      sums: {path: sums.jsonl, target: true}
gate: {max_drop: 40}
"""


def right(task: str, name: str) -> float:
    """Percent of the golds that are a model's own words, by construction."""
    number = QUESTIONS[task]
    own = len([i for i in range(number) if (i % 3 == 0) == (name == "checkpoint-10")])
    return 100 * own / number
