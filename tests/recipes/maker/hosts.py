"""A recipe -> the settings of each host. The `ppx:` block is the same text in both."""

from __future__ import annotations

from collections.abc import Iterator

from tests.recipes.maker.head import Host, head
from tests.recipes.maker.recipe import Recipe

_KERNEL = "lora_mlp_kernel: false # or Axolotl turns its fused LoRA kernels on by itself"


def text(recipe: Recipe, host: Host) -> str:
    """The whole file."""
    parts = _axolotl(recipe) if host == "axolotl" else _trl(recipe)
    return head(recipe, host) + "".join("\n" + "\n".join(part) + "\n" for part in parts)


def _block(recipe: Recipe) -> list[str]:
    return ["ppx:", *(f"  {line}" for line in recipe.block)]


def _attention(recipe: Recipe) -> str | None:
    return recipe.model.attention or recipe.training.attention


def _trl(recipe: Recipe) -> Iterator[list[str]]:
    model, training = recipe.model, recipe.training
    attention = _attention(recipe)
    yield [
        f"model_name_or_path: {model.hub}",
        "dtype: bfloat16",
        *([f"attn_implementation: {attention}"] if attention else []),
        *_trl_adapter(recipe),
    ]
    yield _block(recipe)
    yield [
        f"dataset_name: {recipe.folder}",
        "dataset_test_split: validation",
        f"max_length: {training.length}",
        "packing: false",
        "assistant_only_loss: true",
        *([f'eos_token: "{model.eos}"'] if model.eos else []),
        *([f'pad_token: "{model.pad}"'] if model.pad else []),
    ]
    yield [
        f"output_dir: out/{recipe.label}-trl",
        f"num_train_epochs: {training.epochs}",
        f"per_device_train_batch_size: {training.batch}",
        # TRL's default of 8 would need more memory than training; Axolotl's is the micro-batch.
        f"per_device_eval_batch_size: {training.batch}",
        f"gradient_accumulation_steps: {training.accumulate}",
        f"learning_rate: {training.rate}",
        "lr_scheduler_type: cosine",
        f"warmup_steps: {training.warmup}",
        "weight_decay: 0.0",
        f"optim: {training.optimizer}",
        "bf16: true",
        "gradient_checkpointing: true",
        "eval_strategy: epoch",
        "save_strategy: epoch",
        "logging_steps: 10",
        "report_to: none",
        "seed: 42",
    ]


def _trl_adapter(recipe: Recipe) -> list[str]:
    training = recipe.training
    if training.adapter == "full":
        return []
    four_bit = ["load_in_4bit: true", "bnb_4bit_quant_type: nf4", "use_bnb_nested_quant: true"]
    return [
        *(four_bit if training.adapter == "qlora" else []),
        "use_peft: true",
        *(["use_dora: true"] if training.adapter == "dora" else []),
        f"lora_r: {training.rank}",
        f"lora_alpha: {training.alpha}",
        f"lora_dropout: {training.dropout}",
        "lora_target_modules: all-linear",
    ]


def _axolotl(recipe: Recipe) -> Iterator[list[str]]:
    model, training = recipe.model, recipe.training
    attention = _attention(recipe)
    yield [
        f"base_model: {model.hub}",
        "bf16: true",
        *([f"attn_implementation: {attention}"] if attention else []),
        *_axolotl_adapter(recipe),
    ]
    yield ["plugins:", "  - ppx_ext.hosts.axolotl.PpxPlugin", *_block(recipe)]
    yield [
        "datasets:",
        f"  - path: {recipe.folder}/train.jsonl",
        "    type: chat_template",
        "test_datasets:",
        f"  - path: {recipe.folder}/validation.jsonl",
        "    type: chat_template",
        "    split: train",
        "chat_template: tokenizer_default",
        *_tokens(recipe),
        f"dataset_prepared_path: prepared/{recipe.label}",
        f"sequence_len: {training.length}",
        "excess_length_strategy: truncate",
        "sample_packing: false",
    ]
    yield [
        f"output_dir: out/{recipe.label}-axolotl",
        f"num_epochs: {training.epochs}",
        f"micro_batch_size: {training.batch}",
        f"gradient_accumulation_steps: {training.accumulate}",
        f"learning_rate: {training.rate}",
        "lr_scheduler: cosine",
        f"warmup_steps: {training.warmup}",
        "weight_decay: 0.0",
        f"optimizer: {training.optimizer}",
        *([] if training.cards == "fsdp" else ["gradient_checkpointing: true"]),
        "evals_per_epoch: 1",
        "saves_per_epoch: 1",
        "logging_steps: 10",
        "seed: 42",
    ]
    if training.cards:
        yield _FSDP if training.cards == "fsdp" else _DEEPSPEED


def _tokens(recipe: Recipe) -> list[str]:
    model = recipe.model
    special = {"eos_token": model.eos, "pad_token": model.pad}
    found = [f'  {name}: "{token}"' for name, token in special.items() if token]
    ends = ["eot_tokens:", f'  - "{model.end_of_turn}"'] if model.end_of_turn else []
    return [*(["special_tokens:", *found] if found else []), *ends]


def _axolotl_adapter(recipe: Recipe) -> list[str]:
    training = recipe.training
    if training.adapter == "full":
        return []
    quantised = training.adapter == "qlora"
    return [
        *(["load_in_4bit: true"] if quantised else []),
        f"adapter: {'qlora' if quantised else 'lora'}",
        *(["peft_use_dora: true"] if training.adapter == "dora" else []),
        f"lora_r: {training.rank}",
        f"lora_alpha: {training.alpha}",
        f"lora_dropout: {training.dropout}",
        "lora_target_linear: true",
        _KERNEL,
    ]


_FSDP = [
    "fsdp_version: 2",
    "fsdp_config:",
    "  auto_wrap_policy: TRANSFORMER_BASED_WRAP",
    "  transformer_layer_cls_to_wrap: LlamaDecoderLayer",
    "  reshard_after_forward: true",
    "  state_dict_type: FULL_STATE_DICT",
    "  activation_checkpointing: true",
]
_DEEPSPEED = [
    "deepspeed:",
    "  zero_optimization:",
    "    stage: 3",
    "    overlap_comm: true",
    "    contiguous_gradients: true",
    "    stage3_gather_16bit_weights_on_model_save: true",
    "  bf16: {enabled: true}",
    "  train_batch_size: auto",
    "  train_micro_batch_size_per_gpu: auto",
    "  gradient_accumulation_steps: auto",
    "  gradient_clipping: auto",
]
