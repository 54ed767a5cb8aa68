"""The untouched base that an Axolotl config names, as training starts from it."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ppx_ext import effects
from ppx_ext.files import fingerprint

if TYPE_CHECKING:
    from axolotl.utils.dict import DictDefault

    from ppx_ext.effects import Base
    from ppx_ext.plan import Plan, Scoring


def base_of(cfg: DictDefault, plan: Plan) -> Base:
    """The base model of a config; loaded when something must be scored.

    A model that is trained quantised is scored quantised: that is the base that training starts
    from, and the only one that is sure to fit.
    """
    plain = effects.base_from_path(
        cfg.base_model,
        revision=cfg.revision_of_model,
        scoring=_on_own_device(plan.scoring),
        trust_remote_code=plan.trust_remote_code or bool(cfg.trust_remote_code),
    )
    quantization = _quantization(cfg, cfg.torch_dtype)
    if quantization is None:
        return plain

    @functools.cache
    def load() -> Any:
        from transformers import AutoModelForCausalLM

        scoring = _on_own_device(plan.scoring)
        return AutoModelForCausalLM.from_pretrained(
            cfg.base_model,
            revision=cfg.revision_of_model,
            trust_remote_code=plan.trust_remote_code or bool(cfg.trust_remote_code),
            use_safetensors=True,
            dtype=cfg.torch_dtype if scoring.dtype == "auto" else scoring.dtype,
            quantization_config=quantization,
            device_map={"": scoring.device or _default_device()},
            attn_implementation="eager" if _is_soft_capped(cfg) else None,
        ).eval()

    def digest() -> str:
        settings = {key: str(value) for key, value in quantization.to_dict().items()}
        return fingerprint({"weights": plain.fingerprint(), "quantization": settings})

    return dataclasses.replace(plain, load=load, fingerprint=digest)


def loading(settings: Mapping[str, Any]) -> dict[str, Any]:
    """How Axolotl loads and runs a base model: ``dtype``, ``quantization`` and ``precision`` of
    `evaluating.models.Loading`.

    Axolotl itself need not be there. Where it would decide by a card that is not there either, the
    dtype is that of the checkpoint.
    """
    import torch

    dtype = _dtype_name(settings)
    computed = torch.bfloat16 if dtype == "auto" else getattr(torch, dtype)
    half = settings.get("fp16") or settings.get("bf16") == "auto"
    mixed = {"bfloat16": "bf16", "float16": "fp16" if half else None}
    precision = None if settings.get("bf16") == "full" else mixed.get(dtype)
    quantization = _quantization(settings, computed)
    return {"dtype": dtype, "quantization": quantization, "precision": precision}


def _dtype_name(settings: Mapping[str, Any]) -> str:
    import torch

    half = settings.get("fp16") or settings.get("float16")
    brain = settings.get("bf16") or settings.get("bfloat16")
    if brain == "auto":
        if not half and not torch.cuda.is_available():
            return "auto"
        brain = not half and torch.cuda.is_bf16_supported()
        half = not brain
    if brain:
        return "bfloat16"
    return "float16" if half or settings.get("load_in_8bit") else "float32"


def _quantization(cfg: Mapping[str, Any], dtype: Any) -> Any:
    """As Axolotl quantises the model that it trains; None where it does not."""
    if not (cfg.get("load_in_4bit") or cfg.get("load_in_8bit")):
        return None
    from transformers import BitsAndBytesConfig

    if cfg.get("load_in_8bit"):
        return BitsAndBytesConfig(load_in_8bit=True)
    nf4 = {
        "bnb_4bit_quant_type": "nf4",
        "bnb_4bit_use_double_quant": True,
        "bnb_4bit_compute_dtype": dtype,
    }
    return BitsAndBytesConfig(load_in_4bit=True, **{**nf4, **(cfg.get("bnb_config_kwargs") or {})})


def _is_soft_capped(cfg: DictDefault) -> bool:
    """Some SDPA paths leave the cap of attention out in silence."""
    from axolotl.loaders.utils import load_model_config

    config = load_model_config(cfg)
    return bool(getattr(config.get_text_config(), "attn_logit_softcapping", None))


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _on_own_device(scoring: Scoring) -> Scoring:
    """Each process of a launch scores on the device that it will train on."""
    import torch

    local = os.environ.get("LOCAL_RANK")
    if scoring.device or local is None or not torch.cuda.is_available():
        return scoring
    return scoring.model_copy(update={"device": f"cuda:{local}"})
