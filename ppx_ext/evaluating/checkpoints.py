"""Models on disk or on the hub, as `ppx eval` measures them: full ones, or adapters on a base."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ADAPTER = "adapter_config.json"
_TOKENIZERS = ("tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One model.

    Attributes:
        given: as the user calls it.
        path: folder or hub id of a full model; that of the base, where there is an adapter.
        adapter: folder or hub id of a PEFT adapter on it.
        step: of training, where the folder tells; else 0.
        quantized: whether it is loaded as `models.Loading.quantization` says.
    """

    given: str
    path: str
    adapter: str | None = None
    step: int = 0
    quantized: bool = False

    @property
    def tokenizer(self) -> str:
        """Where its tokenizer lies: with the adapter, if one is there, as trainers save it."""
        own = self.adapter
        if own is None or (Path(own).is_dir() and not _has_tokenizer(Path(own))):
            return self.path
        return own

    def fingerprint(self) -> str:
        """Hash of all its weights, the adapter's included.

        Raises:
            ValueError: there are no safetensors weights.
        """
        from ppx_ext.scoring import model_fingerprint

        parts = [self.path] if self.adapter is None else [self.path, self.adapter]
        return "+".join(model_fingerprint(part) for part in parts)


def find(given: str, *, base: str | None = None) -> Checkpoint:
    """The model that a user names: a folder with a model or an adapter, or a hub id.

    Args:
        given: the name.
        base: below an adapter, whatever the adapter itself names.

    Raises:
        ValueError: there is no such folder, nothing of a model in it, or no base for an adapter.
    """
    folder = Path(given)
    if not folder.is_dir():
        return _elsewhere(given, base)
    step = _step(folder)
    if (folder / _ADAPTER).is_file():
        below = _base_of(given, folder / _ADAPTER, base)
        return Checkpoint(given=given, path=below, adapter=given, step=step)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{given} holds neither a model nor an adapter{_hint(folder)}")
    return Checkpoint(given=given, path=given, step=step)


def _elsewhere(given: str, base: str | None) -> Checkpoint:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    from ppx_ext.scoring.models import not_found

    try:
        validate_repo_id(given)
        config = _on_hub(given, _ADAPTER)
        if config is None and _on_hub(given, "config.json") is None:
            raise ValueError(not_found(given))
    except HFValidationError:
        problem = f"there is no folder {given}, and no model on the hub can have such a name"
        raise ValueError(problem) from None
    if config is None:
        return Checkpoint(given=given, path=given)
    return Checkpoint(given=given, path=_base_of(given, Path(config), base), adapter=given)


def _on_hub(name: str, file: str) -> str | None:
    """Where a file of a hub model lies on this machine; None where the model has none."""
    from transformers.utils.hub import cached_file

    from ppx_ext.scoring.models import not_found

    try:
        found: str | None = cached_file(
            name,
            file,
            _raise_exceptions_for_missing_entries=False,
            _raise_exceptions_for_connection_errors=False,
        )
    except (OSError, RuntimeError) as error:  # the latter where a proxy closes the connection
        raise ValueError(f"{not_found(name)} ({error})") from error
    return found


def _base_of(adapter: str, config: Path, base: str | None) -> str:
    named = base or _named_base(config)
    try:
        below = find(named)
    except ValueError as error:
        raise ValueError(
            f"the base of the adapter {adapter} cannot be had: {error}. Name it with --base"
        ) from error
    if below.adapter is not None:
        raise ValueError(
            f"the base of the adapter {adapter} is an adapter itself ({named}); merge that one "
            "into its base first"
        )
    return named


def _named_base(config: Path) -> str:
    try:
        named = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError) as error:
        raise ValueError(f"{config} cannot be read: {error}") from error
    if not named:
        raise ValueError(
            f"{config.parent} is an adapter that does not say on which base: give --base"
        )
    return str(named)


def _hint(folder: Path) -> str:
    found = sorted(path.parent for path in folder.glob("checkpoint-*/config.json"))
    found += sorted(path.parent for path in folder.glob(f"checkpoint-*/{_ADAPTER}"))
    if found:
        return f"; its checkpoints are models: {found[-1]}, or {folder}/checkpoint-*"
    if any(folder.rglob("*.distcp")):
        return ": these are shards of a training; merge them first (accelerate merge-weights)"
    return f" (no config.json, no {_ADAPTER})"


def _step(folder: Path) -> int:
    state = folder / "trainer_state.json"
    if state.is_file():
        try:
            return int(json.loads(state.read_text(encoding="utf-8"))["global_step"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{state} cannot be read: {error!r}") from error
    named = re.fullmatch(r"checkpoint-(\d+)", folder.resolve().name)
    return int(named[1]) if named else 0


def _has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _TOKENIZERS)


def in_order(given: Sequence[str]) -> list[str]:
    """Names with patterns spelled out, and folders that differ in a number in its order."""
    import glob

    found: list[str] = []
    for name in given:
        matches = glob.glob(name) if glob.has_magic(name) and not Path(name).exists() else [name]
        if not matches:
            raise ValueError(f"there is no folder like {name}")
        found += [match.rstrip("/") for match in matches]
    found = list(dict.fromkeys(found))
    numbered = iter(sorted((name for name in found if _NUMBERED.fullmatch(name)), key=_number))
    return [next(numbered) if _NUMBERED.fullmatch(name) else name for name in found]


_NUMBERED = re.compile(r"(.*?)(\d+)")


def _number(name: str) -> tuple[str, int]:
    match = _NUMBERED.fullmatch(name)
    assert match is not None
    return match[1], int(match[2])


def labels(given: Sequence[str]) -> list[str]:
    """A short name for each: the last parts of its path, as many as tell all apart."""
    parts = [Path(name).parts[-4:] for name in given]
    for length in range(1, 5):
        short = ["/".join(one[-length:]) for one in parts]
        if len(set(short)) == len(short):
            return short
    return list(given)


def load(
    checkpoint: Checkpoint,
    *,
    dtype: str,
    device: str | None,
    quantization: Any = None,
    trust_remote_code: bool = False,
) -> Any:
    """The model in eval mode, with its adapter on it.

    Raises:
        ValueError: it cannot be had, a package that it needs is not installed, or the adapter
            does not fit the base.
    """
    from ppx_ext.scoring import load_causal_lm

    try:
        return load_causal_lm(
            checkpoint.path,
            adapter=checkpoint.adapter,
            dtype=dtype,
            device=device,
            quantization=quantization if checkpoint.quantized else None,
            trust_remote_code=trust_remote_code,
        )
    except ImportError as error:  # of what reads quantised weights, such as bitsandbytes
        raise ValueError(f"{checkpoint.path} cannot be loaded here: {error}") from error
    except RuntimeError as error:
        if checkpoint.adapter is None:
            raise
        raise ValueError(
            f"the adapter {checkpoint.adapter} does not fit the base {checkpoint.path}: {error}"
        ) from error


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer that lies there.

    Raises:
        ValueError: there is none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{name} has no tokenizer that can be loaded; name one with --tokenizer ({error})"
        ) from error
