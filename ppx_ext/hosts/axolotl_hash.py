"""Hash of the *content* that Axolotl tokenises: data files, tokenizer, templates, settings."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import manifest
from ppx_ext.files import fingerprint

if TYPE_CHECKING:
    from axolotl.utils.dict import DictDefault
    from transformers import PreTrainedTokenizerBase as Tokenizer

# All that decides which tokens come out, and in which order, and that Axolotl's hash leaves out.
_KEYS = (
    "curriculum_sampling",
    "eval_sequence_len",
    "excess_length_strategy",
    "min_sample_len",
    "seed",
    "shuffle_before_merging_datasets",
    "shuffle_merged_datasets",
    "tokenizer_legacy",
    "tokenizer_type",
    "tokenizer_use_fast",
    "tokens",
)


def content_hash(cfg: DictDefault, tokenizer: Tokenizer, keep: Sequence[str] = ()) -> str:
    """Hash of the content of all data files, of the tokenizer and of settings that matter.

    Args:
        keep: columns that are carried along.
    """
    entries = [dict(entry) for entry in (*(cfg.datasets or ()), *(cfg.test_datasets or ()))]
    fields = {
        "data": [_data_hash(entry, cfg) for entry in entries],
        "entries": entries,
        "tokenizer": _tokenizer_hash(tokenizer),
        "templates": [_text_of(found.get("chat_template_jinja")) for found in (cfg, *entries)],
        "settings": {key: cfg.get(key) for key in _KEYS},
    }
    if keep:
        fields["keep"] = list(keep)
    return fingerprint(json.loads(json.dumps(fields, default=str)))[:16]


def _data_hash(entry: Mapping[str, Any], cfg: DictDefault) -> Any:
    local = _paths(entry.get("data_files")) or [Path(entry["path"])]
    if all(path.exists() for path in local):
        return [_path_hash(path) for path in local]
    from axolotl.utils.data.shared import load_dataset_with_config
    from axolotl.utils.dict import DictDefault as Dict

    # A data set of the hub is named by its commit in the fingerprint that `datasets` gives it.
    found = load_dataset_with_config(Dict(entry), cfg.hf_use_auth_token)
    parts = found.values() if hasattr(found, "values") else [found]
    return [part._fingerprint for part in parts]


def _paths(found: Any) -> list[Path]:
    if isinstance(found, Mapping):
        return [path for value in found.values() for path in _paths(value)]
    return [Path(found)] if isinstance(found, str) else [Path(path) for path in found or ()]


def _path_hash(path: Path) -> str:
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        if file.name.startswith(("cache-", "tmp")):  # what `datasets` leaves beside its data
            continue
        digest.update(str(file.relative_to(path)).encode() + b"\0")
        digest.update(manifest.file_hash(file).encode())
    return digest.hexdigest()


def _tokenizer_hash(tokenizer: Any) -> str:
    if hasattr(tokenizer, "backend_tokenizer"):
        return manifest.tokenizer_fingerprint(tokenizer)
    return fingerprint([tokenizer.name_or_path, sorted(tokenizer.get_vocab().items())])


def _text_of(template: Any) -> Any:
    """A template may be given as a file: its content counts, not its name."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return Path(template).read_text(encoding="utf-8")
    return template
