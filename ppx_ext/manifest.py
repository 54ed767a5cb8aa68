"""What a prepared folder was made from (inputs.json, written first) and holds (manifest.json)."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext.contracts import StageRecord
from ppx_ext.files import fingerprint, write_json

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase as Tokenizer

SCHEMA = 1
INPUTS, MANIFEST, TIMINGS = "inputs.json", "manifest.json", "timings.json"
DATASET, SCORES, TARGETS, TOKENIZER = "dataset", "scores", "targets.arrow", "tokenizer"
LOCK = ".lock"
OURS = (INPUTS, MANIFEST, TIMINGS, DATASET, SCORES, TARGETS, TOKENIZER)
_DISTRIBUTIONS = (
    "ppx-ext",
    "torch",
    "transformers",
    "tokenizers",
    "datasets",
    "peft",
    "trl",
    "axolotl",
    "accelerate",
    "lm_eval",
    "math-verify",
    "numpy",
    "pyarrow",
)


def versions() -> dict[str, str]:
    """Versions of Python and of all installed distributions that can change a result."""
    found = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def tokenizer_fingerprint(tokenizer: Tokenizer) -> str:
    """Hash of all that decides ids: vocabulary, rules, special tokens and chat template."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    # These two are the settings of the latest call, not of the tokenizer.
    rules.pop("truncation", None)
    rules.pop("padding", None)
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    return fingerprint([rules, special, tokenizer.chat_template])


def file_hash(path: Path) -> str:
    """Hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def claim(out: Path, inputs: Mapping[str, Any], *, overwrite: bool) -> None:
    """Make ``out`` the folder of these inputs, or make sure that it is.

    Raises:
        ValueError: it holds what was made from other inputs, each of which is named with its old
            and new value, or files of others.
    """
    from filelock import FileLock

    out.mkdir(parents=True, exist_ok=True)
    with FileLock(out / LOCK):
        path = out / INPUTS
        found = json.loads(path.read_text()) if path.exists() else None
        if found == inputs:
            return
        if not overwrite:
            _refuse(out, found, inputs)
        for name in OURS:
            _remove(out / name)
        write_json(path, inputs)


def _refuse(out: Path, found: Any, inputs: Mapping[str, Any]) -> None:
    mend = "Give --overwrite to replace it, or another --out."
    if found is not None:
        lines = "\n".join(f"  {line}" for line in differences(found, inputs))
        raise ValueError(f"{out} was prepared from other inputs:\n{lines}\n{mend}")
    if any(path.name != LOCK for path in out.iterdir()):
        raise ValueError(f"{out} is not empty, and nothing says what it was prepared from. {mend}")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def differences(old: Any, new: Any, where: str = "") -> list[str]:
    """One line for each value that differs: its key, the old value, the new one."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return [
            line
            for key in sorted(old.keys() | new.keys())
            for line in differences(old.get(key), new.get(key), f"{where}.{key}".lstrip("."))
        ]
    return [] if old == new else [f"{where}: {old!r} before, {new!r} now"]


def dump_records(records: Sequence[StageRecord]) -> list[dict[str, Any]]:
    """Records as plain JSON values."""
    return [_plain(dataclasses.asdict(record)) for record in records]


def _plain(values: Any) -> Any:
    return json.loads(json.dumps(values, sort_keys=True))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a prepared folder.

    Raises:
        ValueError: there is none (the folder is another's, or its preparation was cut short).
    """
    path = folder / MANIFEST
    if not path.exists():
        cut = (folder / INPUTS).exists()
        raise ValueError(
            f"{folder} holds no {MANIFEST}: "
            + (
                "its preparation was cut short; run it again"
                if cut
                else "nothing is prepared there"
            )
        )
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def tree(folder: Path) -> Iterator[Path]:
    """All files below a folder, sorted."""
    yield from sorted(path for path in folder.rglob("*") if path.is_file())
