"""The text of a recipe, with a comment at everything that its reader may want to change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from ppx_ext.drafting.facts import Data, Model
from ppx_ext.drafting.memory import EFFECTIVE, Way

Method: TypeAlias = Literal[
    "sft", "stm", "s3ft", "self_output", "rephrase", "difficulty", "combined"
]

TITLES: Mapping[str, str] = {
    "sft": "Plain fine-tuning, measured",
    "stm": "Selective Token Masking (arXiv 2501.14315)",
    "s3ft": "Selective Self-to-Supervised Fine-Tuning (arXiv 2502.08130)",
    "self_output": "Self-Output (arXiv 2501.14315, section 2.3)",
    "rephrase": "Rephrase, or SDFT (arXiv 2402.13669)",
    "difficulty": "A budget within a band of difficulty (arXiv 2605.12906)",
    "combined": "S3FT, a budget, and STM on the golds that are left",
}
JUDGED = ("s3ft", "self_output", "combined")
"""Methods that keep only what a judge finds correct."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """All that a recipe is written from.

    Attributes:
        file: where it will lie.
        train: file, folder or hub id that the recipe names, which may be made of ``data``.
        card: memory of the card in GB; 0 is a CPU.
        length: longest row, in tokens.
        examples: how many rows a budget takes.
        judge: of responses, where the method has one.
    """

    file: Path
    host: Literal["trl", "axolotl"]
    method: Method
    model: Model
    data: Data
    train: str
    way: Way
    card: float
    length: int
    examples: int
    judge: str | None

    @property
    def stem(self) -> str:
        """The file's name without its host."""
        return self.file.name.removesuffix(f".{self.host}.yaml")


def text(draft: Draft) -> str:
    """The whole recipe."""
    body = _trl(draft) if draft.host == "trl" else _axolotl(draft)
    return "\n".join([*_head(draft), "", *body]) + "\n"


def _head(draft: Draft) -> Iterator[str]:
    host = "TRL" if draft.host == "trl" else "Axolotl"
    yield f"# {TITLES[draft.method]}: {draft.model.name} on {draft.data.name}, in {host}"
    yield "#"
    yield f"# Check:    ppx recipes check {draft.file.name}"
    yield f"# Run:      {run_command(draft)}"
    yield f"# Memory:   {_memory(draft)}"
    for unchecked in (draft.model.unchecked, draft.data.unchecked):
        if unchecked:
            yield f"# Not checked: {unchecked}."
    yield "#"
    yield "# Written by `ppx init`. Change what you like; `ppx methods` tells what stages take."


def run_command(draft: Draft) -> str:
    """How the recipe is trained."""
    trains = "ppx train" if draft.host == "trl" else "axolotl train"
    return f"{trains} {draft.file.name}"


def _memory(draft: Draft) -> str:
    if draft.card == 0:
        return "on a CPU"
    if draft.way.needed is None:
        return f"a card of {draft.card:g} GB; the model's size is not known, so this is cautious"
    kind = {"lora": "LoRA", "qlora": "QLoRA", "full": "all weights"}[draft.way.adapter]
    return (
        f"{kind} and {draft.way.rows} rows of {draft.length} tokens at once take about "
        f"{draft.way.needed:.0f} of {draft.card:g} GB (a rule of thumb)"
    )


def _block(draft: Draft) -> Iterator[str]:
    yield "ppx:"
    asked = (f", judge: {draft.judge}" if draft.judge else "") + ", max_new_tokens: 512}"
    if draft.method in ("s3ft", "combined"):
        yield f"  build: {{use: s3ft{asked} # own words where they are right"
    if draft.method == "self_output":
        yield f"  build: {{use: self_output, samples: 8{asked} # 32 samples in the paper"
    if draft.method == "rephrase":
        yield f"  build: {{use: rephrase{asked} # every gold in the model's own words"
    if draft.method in ("difficulty", "combined"):
        budget = f"max_examples: {draft.examples}, band: auto"
        yield f"  choose: {{use: budget, by: response_length, {budget}}} # or easy, medium, hard"
    if draft.method in ("stm", "combined"):
        yield "  mask: {use: stm, ppl_threshold: 2.5} # lower masks more; `ppx view` shows what"
    yield "  eval:"
    yield "    suites: # what is not trained on; add your own target with suite `tasks`"
    yield "      - {use: lm_eval, tasks: [arc_challenge, ifeval, hellaswag], limit: 200}"
    yield "    every: epoch"
    yield "    gate: {max_drop: 2.0, on_breach: warn} # points, on average; or stop, restore_best"
    yield "  seed: 42"


def _trl(draft: Draft) -> Iterator[str]:
    model, way, cpu = draft.model, draft.way, draft.card == 0
    yield f"model_name_or_path: {model.name}"
    yield f"dtype: {'float32' if cpu else 'bfloat16'}"
    yield from _attention(model)
    if way.adapter != "full":
        yield from ("use_peft: true", "lora_r: 16", "lora_alpha: 32", "lora_dropout: 0.05")
        yield "lora_target_modules: all-linear"
    if way.adapter == "qlora":
        yield from ("load_in_4bit: true", "bnb_4bit_quant_type: nf4", "use_bnb_nested_quant: true")
    yield from ("", *_block(draft), "", f"dataset_name: {draft.train}")
    if draft.data.kind == "pair":
        prompt, response = draft.data.columns
        yield f"dataset_prompt_field: {prompt}"
        yield f"dataset_response_field: {response}"
    yield f"max_length: {draft.length} # tokens; longer rows are cut"
    yield "packing: false"
    if draft.data.kind != "pair":
        yield "assistant_only_loss: true"
    if model.pad:
        yield f'pad_token: "{model.pad}"'
    yield from ("", f"output_dir: out/{draft.stem}", "num_train_epochs: 3")
    yield f"per_device_train_batch_size: {way.rows}"
    yield f"gradient_accumulation_steps: {way.accumulation} # {EFFECTIVE} rows a step"
    yield from _optimisation(draft, "lr_scheduler_type", "optim")
    yield f"bf16: {'false' if cpu else 'true'}"
    yield from (("use_cpu: true",) if cpu else ())
    yield f"gradient_checkpointing: {'false' if cpu else 'true'}"
    yield from ('eval_strategy: "no"', "save_strategy: epoch", "logging_steps: 10")
    yield from ("report_to: none", "seed: 42")


def _axolotl(draft: Draft) -> Iterator[str]:
    model, way, cpu = draft.model, draft.way, draft.card == 0
    yield f"base_model: {model.name}"
    yield f"bf16: {'false' if cpu else 'true'}"
    yield from (("fp16: false",) if cpu else ())
    yield from _attention(model)
    if way.adapter != "full":
        yield f"adapter: {way.adapter}"
        yield from ("lora_r: 16", "lora_alpha: 32", "lora_dropout: 0.05")
        yield "lora_target_linear: true"
        yield "lora_mlp_kernel: false # or Axolotl turns its fused LoRA kernels on by itself"
    if way.adapter == "qlora":
        yield "load_in_4bit: true"
    yield from ("", "plugins:", "  - ppx_ext.hosts.axolotl.PpxPlugin")
    yield from (*_block(draft), "", "datasets:", f"  - path: {draft.train}")
    yield "    type: chat_template"
    yield "chat_template: tokenizer_default"
    if model.pad:
        yield from ("special_tokens:", f'  pad_token: "{model.pad}"')
    if model.end_of_turn:
        yield from ("eot_tokens: # or the model would not learn to stop",)
        yield f'  - "{model.end_of_turn}"'
    yield f"dataset_prepared_path: prepared/{draft.stem}"
    yield f"sequence_len: {draft.length} # tokens; longer rows are cut"
    yield from ("excess_length_strategy: truncate", "sample_packing: false", "val_set_size: 0")
    yield from ("", f"output_dir: out/{draft.stem}", "num_epochs: 3")
    yield f"micro_batch_size: {way.rows}"
    yield f"gradient_accumulation_steps: {way.accumulation} # {EFFECTIVE} rows a step"
    yield from _optimisation(draft, "lr_scheduler", "optimizer")
    yield f"gradient_checkpointing: {'false' if cpu else 'true'}"
    yield from (("dataloader_pin_memory: false",) if cpu else ())
    yield from ("saves_per_epoch: 1", "logging_steps: 10", "seed: 42")


def _attention(model: Model) -> Iterator[str]:
    if model.eager:
        yield "attn_implementation: eager # its soft-caps need it"
    else:
        yield "attn_implementation: sdpa"


def _optimisation(draft: Draft, scheduler: str, optimiser: str) -> Iterator[str]:
    rate = "2.0e-6" if draft.way.adapter == "full" else "2.0e-5"
    yield f"learning_rate: {rate}"
    yield from (f"{scheduler}: cosine", "warmup_steps: 20", "weight_decay: 0.0")
    yield f"{optimiser}: adamw_torch"
