"""Models measured one after the other, each once: scores are kept, and read where they are there.

In a folder they are kept as a training run keeps its own (`store`): the base as ``before``, every
other model as ``after`` with its ``name``.
"""

from __future__ import annotations

import gc
import importlib.metadata
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from ppx_ext.eval_plan import Evaluation
from ppx_ext.evaluating import checkpoints, store
from ppx_ext.evaluating.checkpoints import Checkpoint
from ppx_ext.files import fingerprint
from ppx_ext.records import load_scores
from ppx_ext.suites import Score, Subject

JUDGES = f"{store.ITEMS}/judges"
Tell: TypeAlias = Callable[[str], object]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One model's scores.

    Attributes:
        name: short, for tables.
        path: as the user names it.
        step: of training.
        scores: of all suites.
        seconds: that measuring took.
        kept: whether they were measured before.
        template: hash of the chat template it was asked through; None where it is not known.
    """

    name: str
    path: str
    step: int
    scores: Sequence[Score]
    seconds: float
    kept: bool = False
    template: str | None = None


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How models are loaded.

    Attributes:
        tokenizer: of all of them; None takes each one's own.
        dtype, device, trust_remote_code: as in the `scoring:` block.
        quantization: of bases and of what lies below adapters, as their training loads them.
        precision: the mixed one of the training, ``bf16`` or ``fp16``; None computes in the dtype
            of the weights.
    """

    tokenizer: str | None = None
    dtype: str = "auto"
    device: str | None = None
    quantization: Any = None
    precision: str | None = None
    trust_remote_code: bool = False


class Measuring:
    """Measures models with one evaluation; its judges are opened when the first is measured.

    A model is measured again only where its weights, its tokenizer, the suites, the files that
    they name or the dtype changed.

    Args:
        evaluation: what to measure.
        loading: how to load.
        out: folder that keeps all scores; None keeps nothing.
        tell: told what is done.

    Raises:
        ValueError: ``out`` holds what was measured with other suites.
    """

    def __init__(
        self,
        evaluation: Evaluation,
        loading: Loading,
        *,
        out: Path | None = None,
        tell: Tell = lambda say: None,
    ) -> None:
        self._evaluation, self._loading, self._tell = evaluation, loading, tell
        self._stack = ExitStack()
        self._judges: Any = None
        self._out = out
        self._store = store.Evaluations(out) if out is not None else None
        records = self._store.go_on(evaluation) if self._store else []
        self._kept = {one["key"]: one for one in records if "key" in one}

    def __enter__(self) -> Measuring:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def measure(
        self, one: Checkpoint, name: str, *, when: str = "after", tokenizer: str | None = None
    ) -> Measured:
        """The scores of one model, measured now or before.

        Args:
            one: the model.
            name: short, for tables and the record.
            when: ``before`` for the untouched base.
            tokenizer: where the tokenizer lies; None takes the model's own, or that of `Loading`.

        Raises:
            ValueError: the model, its tokenizer or a judge cannot be had.
        """
        place = self._loading.tokenizer or tokenizer or one.tokenizer
        lent = checkpoints.load_tokenizer(place, trust_remote_code=self._loading.trust_remote_code)
        template = fingerprint(lent.chat_template)
        key = self._key(one, lent) if self._store is not None else ""
        record = self._kept.get(key)
        self._tell(f"{name}: {'measured before' if record else f'measuring {one.given}'}")
        if record is not None:
            scores, seconds = load_scores(record), record["seconds"]
            self._now_base(record, when)
        else:
            scores, seconds = self._scores(one, lent)
            self._keep(
                {"key": key, "path": one.given, "template": template, "step": one.step},
                {"when": when, "scores": scores, "seconds": seconds, "name": name},
            )
        return Measured(
            name=name,
            path=one.given,
            step=one.step,
            scores=scores,
            seconds=seconds,
            kept=record is not None,
            template=template,
        )

    def _keep(self, known: dict[str, Any], found: dict[str, Any]) -> None:
        """Add an evaluation; where another model has its name, under the whole path."""
        if self._store is None:
            return
        taken = {one["name"]: one.get("path") for one in self._kept.values() if "name" in one}
        if taken.get(found["name"], known["path"]) != known["path"]:
            found = {**found, "name": known["path"]}
        self._kept[known["key"]] = self._store.add(**found, **known)

    def _now_base(self, record: Mapping[str, Any], when: str) -> None:
        """A model that was measured for itself before, and now is what others are compared with."""
        if self._store is None or when == record["when"] or when != "before":
            return
        renamed = {**record, "when": when}
        records = self._store.read()["evaluations"]
        others = [one for one in records if one.get("key") != record["key"]]
        self._store.update(evaluations=[renamed, *others])
        self._kept[record["key"]] = renamed

    def _key(self, one: Checkpoint, tokenizer: Any) -> str:
        from ppx_ext.manifest import tokenizer_fingerprint

        parts = {
            "weights": one.fingerprint(),
            "tokenizer": tokenizer_fingerprint(tokenizer),
            "suites": store.suites_of(self._evaluation.dump()),
            "files": _files(self._evaluation),
            "dtype": self._loading.dtype,
            "precision": self._loading.precision,
            "version": importlib.metadata.version("ppx-ext"),
        }
        if one.quantized:
            settings = self._loading.quantization.to_dict()
            parts["quantization"] = {key: str(value) for key, value in settings.items()}
        return fingerprint(parts)

    def _scores(self, one: Checkpoint, tokenizer: Any) -> tuple[list[Score], float]:
        import torch

        from ppx_ext.evaluating.judges import opened
        from ppx_ext.evaluating.measure import measure
        from ppx_ext.scoring.models import mixed, unpacked

        if self._judges is None:  # before a model takes minutes to load
            folder = self._out / JUDGES if self._out is not None else None
            self._judges = self._stack.enter_context(opened(self._evaluation, folder=folder))
        model = checkpoints.load(
            one,
            dtype=self._loading.dtype,
            device=self._loading.device,
            quantization=self._loading.quantization,
            trust_remote_code=self._loading.trust_remote_code,
        )
        _check_vocabulary(one, model, tokenizer)
        start = time.perf_counter()
        with torch.no_grad(), unpacked(model), mixed(self._loading.precision, model.device.type):
            subject = Subject(model=model, tokenizer=tokenizer)
            scores = measure(self._evaluation, subject, self._judges)
        seconds = time.perf_counter() - start
        del model, subject  # the next one needs the room
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return scores, seconds


def _check_vocabulary(one: Checkpoint, model: Any, tokenizer: Any) -> None:
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ValueError(
            f"{one.given} knows {rows} tokens, and its tokenizer {len(tokenizer)}: those that were "
            "added mean nothing to it. Give another one with --tokenizer; or, where it is the base "
            "of a model that learned new tokens, leave it out with --no-base"
        )


def _files(evaluation: Evaluation) -> dict[str, str]:
    """Hashes of the files that settings name: their content decides scores, and not their names."""
    from ppx_ext.manifest import file_hash

    found: dict[str, str] = {}
    for suite in evaluation.suites:
        for path in _paths(suite.stage.settings.model_dump(mode="json")):
            files = sorted(path.rglob("*")) if path.is_dir() else [path]
            found |= {str(file): file_hash(file) for file in files if file.is_file()}
    return found


def _paths(value: Any, key: str = "") -> Iterator[Path]:
    if isinstance(value, Mapping):
        for inner, one in value.items():
            yield from _paths(one, str(inner))
    elif isinstance(value, list):
        for one in value:
            yield from _paths(one, key)
    elif isinstance(value, str) and "path" in key and Path(value).exists():
        yield Path(value)


# --------------------------------------------------------------------------------------- stored


def stored(folder: Path, which: str | None = None) -> Measured:
    """One evaluation of those that a folder keeps, of a training run or of `ppx eval`.

    Args:
        folder: with ``ppx_eval.json``.
        which: ``before``, ``after``, ``during@STEP``, ``after@STEP`` or a name; None takes the
            untouched model, or the only one there is.

    Raises:
        ValueError: there is none, or several fit.
    """
    records = store.read_evaluations(folder)["evaluations"]
    if which is not None:
        found = [one for one in records if which in _names(one)]
    else:
        found = [one for one in records if one["when"] == "before"] or list(records)
    if len(found) != 1:
        there = ", ".join(_names(one)[0] for one in records) or "there is none"
        many = "several fit" if found else "none fits"
        raise ValueError(f"{folder}: which evaluation is meant? {many}; --which names one: {there}")
    (record,) = found
    return Measured(
        name=f"{folder.name}:{_names(record)[0]}",
        path=str(folder),
        step=record["step"],
        scores=load_scores(record),
        seconds=record["seconds"],
        kept=True,
        template=record.get("template"),
    )


def _names(record: Mapping[str, Any]) -> list[str]:
    own = [str(record["name"])] if "name" in record else []
    return [*own, f"{record['when']}@{record['step']}", str(record["when"])]
