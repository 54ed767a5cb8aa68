"""Fingerprints of models: equal where, and only where, the scores are bound to be equal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ppx_ext.scoring.models import is_adapter_layer, not_found, unwrap

_FILES = ("config.json", "adapter_config.json", "*.safetensors")
_DIGEST_BYTES = 16
_FILE_DIGESTS: dict[tuple[str, int, int], bytes] = {}
# What trainers, tokenizers and library versions change without changing a single score.
_VOLATILE = frozenset(
    {
        "_name_or_path",
        "architectures",
        "bos_token_id",
        "chunk_size_feed_forward",
        "dtype",
        "eos_token_id",
        "id2label",
        "label2id",
        "num_labels",
        "output_attentions",
        "output_hidden_states",
        "pad_token_id",
        "problem_type",
        "quantization_config",
        "return_dict",
        "torch_dtype",
        "transformers_version",
        "use_cache",
    }
)


def model_fingerprint(model_or_path: nn.Module | str | Path, revision: str | None = None) -> str:
    """A blake2b digest (32 hex characters) of all that decides a model's scores.

    A path or hub name digests the content of its ``config.json``, ``*.safetensors`` and adapter
    files. A module digests names, dtypes and bytes of its base parameters and buffers, and its
    config; adapters are left out and names normalised, so a PeftModel has its base's fingerprint.
    The two kinds differ from each other, as a loaded model may have been cast or changed.

    Raises:
        ValueError: the path holds no safetensors weights.
    """
    if isinstance(model_or_path, nn.Module):
        return _module_fingerprint(model_or_path)
    folder = Path(model_or_path)
    if not folder.is_dir():
        folder = _hub_folder(str(model_or_path), revision)
    files = sorted({path for pattern in _FILES for path in folder.glob(pattern)})
    if not any(path.suffix == ".safetensors" for path in files):
        raise ValueError(f"{folder} holds no *.safetensors file; save the model with safetensors")
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for path in files:
        digest.update(path.name.encode() + b"\0" + _file_digest(path))
    return digest.hexdigest()


def _hub_folder(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_FILES)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ValueError(not_found(name)) from error


def _file_digest(path: Path) -> bytes:
    status = path.stat()
    key = (str(path.resolve()), status.st_size, status.st_mtime_ns)
    if key not in _FILE_DIGESTS:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
        _FILE_DIGESTS[key] = digest.digest()
    return _FILE_DIGESTS[key]


def _module_fingerprint(model: nn.Module) -> str:
    base = unwrap(model)
    config: Any = getattr(base, "config", None)
    digest = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    if config is not None:
        settings = {k: v for k, v in config.to_dict().items() if k not in _VOLATILE}
        shown = json.dumps(settings, sort_keys=True, default=str)
        digest.update(f"{type(config).__name__} {config.model_type} {shown}".encode())
    seen: dict[int, str] = {}
    for name, tensor in sorted(_base_tensors(base), key=lambda pair: pair[0]):
        digest.update(f"\0{name} {tuple(tensor.shape)} {tensor.dtype}\0".encode())
        first = seen.setdefault(id(tensor), name)
        if first != name:  # tied weights are read once
            digest.update(first.encode())
            continue
        for part in _plain_tensors(tensor):
            _update(digest, part)
    return digest.hexdigest()


def _base_tensors(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Parameters and persistent buffers by the names they would have without any adapter."""
    inner: Any = module
    while is_adapter_layer(inner):
        inner = inner.original_module if hasattr(inner, "original_module") else inner.base_layer
    skipped = inner._non_persistent_buffers_set
    buffers = {name: b for name, b in inner._buffers.items() if name not in skipped}
    for name, tensor in {**inner._parameters, **buffers}.items():
        if tensor is not None:
            yield prefix + name, tensor
    for name, child in inner._modules.items():
        if child is not None:
            yield from _base_tensors(child, f"{prefix}{name}.")


def _plain_tensors(tensor: Any) -> Iterator[Tensor]:
    """The plain tensors that a weight is made of: codes and scales where it is quantised."""
    if hasattr(tensor, "full_tensor"):  # sharded: every rank digests the whole
        tensor = tensor.full_tensor()
    state = getattr(tensor, "quant_state", None)
    if state is not None:  # bitsandbytes, 4 bits
        yield tensor.data
        packed = state.as_dict(packed=True)
        yield from (packed[name] for name in sorted(packed))
        return
    scales = getattr(tensor, "SCB", None)
    if isinstance(scales, Tensor):  # bitsandbytes, 8 bits
        yield scales
    if hasattr(tensor, "__tensor_flatten__"):  # torchao and other tensor subclasses
        for name in tensor.__tensor_flatten__()[0]:
            yield from _plain_tensors(getattr(tensor, name))
        return
    yield tensor


def _update(digest: Any, tensor: Tensor) -> None:
    if tensor.is_meta:
        raise ValueError(
            "some weights are offloaded, so the model in memory has no fingerprint; take that of "
            "the path it was loaded from"
        )
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    if plain.numel():
        digest.update(plain.view(torch.uint8).numpy())
