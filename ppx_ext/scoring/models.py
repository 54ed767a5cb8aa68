"""Causal language models as scoring meets them: loaded, made quiet, and as their own base."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ppx_ext.scoring.whole import whole

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def unwrap(model: nn.Module) -> nn.Module:
    """The causal LM inside a PeftModel (its adapters stay in it), else the model itself.

    Raises:
        ValueError: a prompt-learning adapter, whose virtual tokens have no place in packed rows.
    """
    model = _out_of_wrapper(model)
    configs = getattr(model, "peft_config", None)
    if not configs or not hasattr(model, "get_base_model"):
        return model
    for name, config in configs.items():
        if config.is_prompt_learning or config.is_adaption_prompt:
            raise ValueError(
                f"adapter {name!r} learns prompts ({config.peft_type}); only adapters that change "
                "weights, such as LoRA or DoRA, can be scored or switched off: train one of these, "
                "or score with the base model loaded on its own"
            )
    return model.get_base_model()  # type: ignore[no-any-return, operator]


def _out_of_wrapper(model: nn.Module) -> nn.Module:
    inner = getattr(model, "module", None)  # DistributedDataParallel and its like
    return inner if isinstance(inner, nn.Module) and not hasattr(model, "config") else model


@contextlib.contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Eval mode, no gradients and no cache for a while; every submodule gets its mode back.

    Eval mode also keeps gradient checkpointing out of the way.
    """
    modes = [(module, module.training) for module in model.modules()]
    config: Any = getattr(_out_of_wrapper(model), "config", None)
    cached = getattr(config, "use_cache", None)
    try:
        model.eval()
        if cached is not None:
            config.use_cache = False
        with torch.no_grad(), unpacked(model):
            yield
    finally:
        if cached is not None:
            config.use_cache = cached
        for module, training in modes:
            module.training = training


@contextlib.contextmanager
def unpacked(model: nn.Module) -> Iterator[None]:
    """Keep 4-bit weights as training needs them.

    In eval mode bitsandbytes repacks them for inference on some CPUs, for good, and a packed weight
    passes no gradient on.
    """
    layers: list[Any] = [
        module for module in model.modules() if getattr(module, "support_avx512bf16_for_cpu", False)
    ]
    try:
        for layer in layers:
            layer.support_avx512bf16_for_cpu = False
        yield
    finally:
        for layer in layers:
            layer.support_avx512bf16_for_cpu = True


def mixed(precision: str | None, device: str) -> contextlib.AbstractContextManager[object]:
    """Mixed precision as accelerate knows it: ``bf16`` or ``fp16``; anything else changes nothing.

    Args:
        precision: its name.
        device: the type, for instance ``cuda``.
    """
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision or "")
    return torch.autocast(device, dtype=dtype, enabled=dtype is not None)


@contextlib.contextmanager
def base_of(model: nn.Module) -> Iterator[nn.Module]:
    """Lend the model as the untouched base: adapters off, eval mode, no gradients, no cache.

    A model without adapters is lent as it is. Afterwards the mode of every submodule, every
    ``requires_grad`` and the state of the adapters are what they were (arXiv 2501.14315,
    section 3, scores with the pre-trained model).

    Yields:
        The causal LM, out of its PeftModel.

    Raises:
        ValueError: adapters that cannot be switched off exactly: prompt learning, merged ones, or
            ones that train the base's own biases.
    """
    base = unwrap(model)
    _refuse_touched_base(model)
    layers = _adapter_layers(base)
    trained = [(parameter, parameter.requires_grad) for parameter in base.parameters()]
    before = [(layer, layer._disable_adapters) for layer in layers]
    outer: Any = _out_of_wrapper(model)
    flag = getattr(outer, "_adapters_disabled", None)
    try:
        for layer in layers:
            layer.enable_adapters(False)
        if flag is not None:
            outer._adapters_disabled = True
        with quiet(model):
            yield base
    finally:
        for layer, disabled in before:
            layer._disable_adapters = disabled
        if flag is not None:
            outer._adapters_disabled = flag
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)


def _refuse_touched_base(model: nn.Module) -> None:
    configs: Any = getattr(_out_of_wrapper(model), "peft_config", None) or {}
    for name, config in configs.items():
        if getattr(config, "bias", "none") not in ("none", None, False):
            raise ValueError(
                f"adapter {name!r} trains biases of the base model (bias={config.bias!r}), so the "
                "base cannot be had back; set bias: none"
            )
    for layer in _adapter_layers(model):
        if getattr(layer, "merged", False):
            raise ValueError(
                "an adapter is merged into the base weights, so the base cannot be had back "
                "exactly; call unmerge_adapter() first"
            )


def _adapter_layers(model: nn.Module) -> list[Any]:
    return [module for module in model.modules() if is_adapter_layer(module)]


def is_adapter_layer(module: nn.Module) -> bool:
    """Whether PEFT put this module around one of the base's."""
    if "peft" not in sys.modules:  # no adapter can exist that peft did not make
        return False
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)


@whole()
def load_causal_lm(
    path: str | Path,
    *,
    revision: str | None = None,
    adapter: str | Path | None = None,
    dtype: Any = "auto",
    device: Any = None,
    quantization: Any = None,
    trust_remote_code: bool = False,
) -> PreTrainedModel:
    """Load a causal LM in eval mode, whole, from a folder or the hub; safetensors only.

    Args:
        path: folder, or name on the hub.
        revision: branch, tag or commit on the hub.
        adapter: PEFT adapter (folder or hub name) to put on top.
        dtype: ``auto`` = as saved, or a torch dtype or its name.
        device: where it goes; None = the GPU where there is one.
        quantization: a config of transformers, for instance ``BitsAndBytesConfig``; the adapter's
            weights are not quantised.
        trust_remote_code: run code that comes with the checkpoint.

    Raises:
        ValueError: nothing is at ``path`` or ``adapter``, or the checkpoint has no safetensors.
    """
    from transformers import AutoModelForCausalLM

    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    more: dict[str, Any] = {}
    if quantization is not None:  # such weights are made where they stay
        more = {"quantization_config": quantization, "device_map": {"": place}}
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(
            path,
            revision=revision,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            use_safetensors=True,
            **_exact_attention(path, revision, trust_remote_code),
            **more,
        )
    except OSError as error:
        raise ValueError(f"{not_found(str(path))} ({error})") from error
    if adapter is not None:
        model = _with_adapter(model, adapter)
        if quantization is not None:
            as_trained(model, adapter)
    if quantization is None:
        model.to(place)
    return model.eval()  # type: ignore[no-any-return]


def _exact_attention(path: Any, revision: str | None, trust_remote_code: bool) -> dict[str, Any]:
    """Eager attention for soft-capped models: some SDPA paths leave the cap out in silence."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        path, revision=revision, trust_remote_code=trust_remote_code
    )
    capped = getattr(config.get_text_config(), "attn_logit_softcapping", None)
    return {"attn_implementation": "eager"} if capped else {}


def _with_adapter(model: Any, adapter: str | Path) -> Any:
    from peft import PeftModel

    rows = _embedding_rows(Path(adapter))
    if rows is not None and rows != model.get_input_embeddings().weight.shape[0]:
        # Trained with tokens that the base lacks; their embeddings come with the adapter.
        model.resize_token_embeddings(rows, mean_resizing=False)
    try:
        return PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError) as error:
        raise ValueError(f"no PEFT adapter can be loaded from {str(adapter)!r}: {error}") from error


def as_trained(model: nn.Module, adapter: str | Path) -> None:
    """Adapters in the dtype that they are saved in: TRL trains those of quantised models in bf16,
    and PEFT computes in the adapter's dtype, which it makes float32 as it loads."""
    from peft import load_peft_weights

    dtypes = {tensor.dtype for tensor in load_peft_weights(str(adapter), device="cpu").values()}
    if len(dtypes) == 1:
        for layer in _adapter_layers(model):
            for name in layer.adapter_layer_names:
                getattr(layer, name).to(dtypes.copy().pop())


def _embedding_rows(adapter: Path) -> int | None:
    """Rows of the embedding that an adapter in a folder brings along; None where it brings none."""
    from safetensors import SafetensorError, safe_open

    path = adapter / "adapter_model.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="pt") as weights:
            for name in weights.keys():  # noqa: SIM118 (not a mapping)
                if name.endswith(("embed_tokens.weight", "lm_head.weight")):
                    return int(weights.get_slice(name).get_shape()[0])
    except SafetensorError:
        return None  # loading it tells what is wrong
    return None


def not_found(name: str) -> str:
    """What to tell where neither a folder nor the hub has the model."""
    return (
        f"{name!r} is neither a folder on this machine nor a model on the hub that can be reached; "
        "check the spelling, or log in where the model is gated"
    )
