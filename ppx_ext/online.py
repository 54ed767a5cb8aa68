"""Masks decided in the training step, from the base as it is scored there (adapters off).

Call `OnlineMasker.mask_batch` before the host counts the labels of a batch: a mask that comes
after the count leaves the loss divided by tokens that no longer take part.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ppx_ext import codec, masking
from ppx_ext.contracts import IGNORE, Example, Mask, Numbers, Scored
from ppx_ext.tokens import from_labels

if TYPE_CHECKING:
    from torch import Tensor

    from ppx_ext.contracts import Floats, Ints
    from ppx_ext.stages import Stage

MAX_CACHE_BYTES = 1 << 30
_ENTRY_BYTES = 200
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Document:
    """One document of a batch: where its tokens lie in the flattened batch, and what they are."""

    flat_T: Ints
    example: Example

    def digest(self) -> bytes:
        """Hash (128 bit) of ids and targets, on which the scores hang, and nothing else."""
        found = hashlib.blake2b(self.example.ids_T.tobytes(), digest_size=16)
        found.update(self.example.target_T.tobytes())
        return found.digest()


class OnlineMasker:
    """Scores documents with the untouched base, once each, and masks batches in place.

    The base is frozen, so scores are kept: an epoch that shows no new document makes no forward.
    Up to ``max_cache_bytes`` are kept in this process (about 2 bytes a target and 200 a document);
    documents beyond it are scored anew, which is told once. Each process keeps what it has seen
    itself.

    Args:
        stage: the mask and its settings; its component must say `online` for them.
        state: the mask's fitted state (``masking.fit(stage, ())``).
        seed: the recipe's seed.
        ends: ids that end a turn (`tokens.end_of_turn_ids`).
        lockstep: for sharded models (FSDP, ZeRO-3), where all processes must make the same
            forwards: one forward of the batch as the host made it, made by all processes or by
            none. Packed batches then need the host's attention to keep documents apart. Every
            process must call `mask_batch` equally often.

    Raises:
        ValueError: the mask cannot be used online with these settings, or reads scores that no
            forward of the base gives.
    """

    def __init__(
        self,
        stage: Stage[Mask],
        state: Numbers,
        *,
        seed: int,
        ends: frozenset[int],
        lockstep: bool = False,
        max_cache_bytes: int = MAX_CACHE_BYTES,
    ) -> None:
        component = stage.component
        self.stage, self.state, self.seed, self.ends = stage, state, seed, ends
        self.lockstep, self.room = lockstep, max_cache_bytes
        self.names = tuple(need.score for need in component.needs(stage.settings))
        self.kept: dict[bytes, dict[str, bytes]] = {}
        self.forwards = 0
        self._told_full = False
        _check_online(stage, self.names, lockstep)

    def mask_batch(self, model: Any, inputs: Mapping[str, Any]) -> Tensor:
        """Set masked targets of ``inputs["labels"]`` to -100 in place, and return the labels.

        Args:
            model: as trained, adapters and all; the base in it is scored (`scoring.base_of`).
            inputs: ``input_ids`` and ``labels`` (B, S), with ``attention_mask`` where padded and
                ``position_ids`` where packed; any device and mode, all of them left as they were.

        Raises:
            ValueError: a score is NaN or infinite, or the base cannot be had from the model.
        """
        import torch

        labels: Tensor = inputs["labels"]
        labels_flat = labels.detach().cpu().numpy().reshape(-1)
        documents = [found for found in split(inputs, self.ends) if found.example.target_T.any()]
        scores = self._scores(model, inputs, documents)
        masked = np.zeros(labels_flat.shape, dtype=np.bool_)
        for document, scores_R in zip(documents, scores, strict=True):
            scored = Scored(example=document.example, scores=scores_R)
            keep_R = masking.keep_targets(self.stage, self.state, scored, seed=self.seed)
            masked[document.flat_T[document.example.target_T][~keep_R]] = True
        drop = torch.from_numpy(masked.reshape(labels.shape)).to(labels.device)
        return labels.masked_fill_(drop, IGNORE)

    def _scores(
        self, model: Any, inputs: Mapping[str, Any], documents: list[Document]
    ) -> list[dict[str, Floats]]:
        keys = [document.digest() for document in documents]
        fresh: dict[bytes, dict[str, bytes]] = {}
        new = dict(zip(keys, documents, strict=True))
        new = {key: document for key, document in new.items() if key not in self.kept}
        if self._any_process(bool(new), inputs):
            self.forwards += 1
            give = self._score_in_lockstep if self.lockstep else self._score_documents
            for key, found in zip(new, give(model, inputs, list(new.values())), strict=True):
                # Through the store's precision, so that masks equal the baked ones.
                fresh[key] = {name: codec.encode(found[name]) for name in self.names}
        self._remember(fresh)
        stored = [fresh.get(key) or self.kept[key] for key in keys]
        return [{name: codec.decode(row[name]) for name in self.names} for row in stored]

    def _score_documents(
        self, model: Any, inputs: Mapping[str, Any], documents: list[Document]
    ) -> list[dict[str, Floats]]:
        from ppx_ext import scoring

        ids = [document.example.ids_T for document in documents]
        targets = [document.example.target_T for document in documents]
        with scoring.base_of(model) as base:
            return scoring.token_scores(base, ids, targets, names=self.names)

    def _score_in_lockstep(
        self, model: Any, inputs: Mapping[str, Any], documents: list[Document]
    ) -> list[dict[str, Floats]]:
        import torch
        from torch.nn.functional import cross_entropy

        from ppx_ext import scoring

        batch = {name: value for name, value in inputs.items() if name != "labels"}
        # Through the outermost module, whose hooks gather the shards.
        with scoring.base_of(model):
            logits = model(**batch).logits.flatten(0, 1)
        found = []
        for document in documents:
            targets = torch.from_numpy(np.flatnonzero(document.example.target_T))
            flat_T = torch.from_numpy(document.flat_T)
            label_R = inputs["input_ids"].flatten()[flat_T[targets].to(logits.device)]
            rows = logits[flat_T[targets - 1].to(logits.device)].float()
            nll_R = cross_entropy(rows, label_R, reduction="none").cpu().numpy()
            found.append({"nll": nll_R})
        scoring.check_finite(found)
        return found

    def _any_process(self, wanted: bool, inputs: Mapping[str, Any]) -> bool:
        import torch
        from torch import distributed

        if not (self.lockstep and distributed.is_available() and distributed.is_initialized()):
            return wanted
        flag = torch.tensor(int(wanted), device=inputs["labels"].device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        return bool(flag)

    def _remember(self, fresh: Mapping[bytes, dict[str, bytes]]) -> None:
        for key, row in fresh.items():
            size = _ENTRY_BYTES + sum(len(stored) for stored in row.values())
            if size <= self.room:
                self.kept[key] = row
                self.room -= size
            elif not self._told_full:
                self._told_full = True
                log.warning(
                    "%d documents are kept; further ones are scored anew in every epoch. Use "
                    "`apply: baked`, which scores each document once.",
                    len(self.kept),
                )


def split(inputs: Mapping[str, Any], ends: frozenset[int]) -> Iterator[Document]:
    """The documents of a padded or packed batch; padding is left out.

    A document starts with a row, where ``position_ids`` is 0, and where a counting
    ``attention_mask`` (1, 1, 2, 2, 0) moves on.
    """
    ids, labels = _array(inputs, "input_ids"), _array(inputs, "labels")
    attention = _array(inputs, "attention_mask")
    positions = _array(inputs, "position_ids")
    if attention is not None and attention.shape != ids.shape:
        attention = None  # a ready-made mask over pairs of tokens says nothing of padding
    starts = np.zeros(ids.shape, dtype=np.bool_)
    starts[:, 0] = True
    if positions is not None:
        starts |= np.broadcast_to(positions, ids.shape) == 0
    if attention is not None:
        starts[:, 1:] |= attention[:, 1:] != attention[:, :-1]
    flat_starts = np.flatnonzero(starts)
    real = np.ones(ids.size, np.bool_) if attention is None else attention.reshape(-1) != 0
    for number, flat_T in enumerate(np.split(np.arange(ids.size), flat_starts[1:])):
        if real[flat_T[0]]:
            ids_T, labels_T = ids.reshape(-1)[flat_T], labels.reshape(-1)[flat_T]
            example = from_labels(number, ids_T, labels_T, ends, {})
            yield Document(flat_T=flat_T, example=example)


def _array(inputs: Mapping[str, Any], name: str) -> Any:
    value = inputs.get(name)
    return None if value is None else value.detach().cpu().numpy()


def _check_online(stage: Stage[Mask], names: tuple[str, ...], lockstep: bool) -> None:
    from ppx_ext.scoring import SCORES

    component = stage.component
    if not component.online(stage.settings):
        raise ValueError(
            f"mask {component.name!r} cannot be applied online with these settings: it needs the "
            "whole data set or scores made beforehand. Use `apply: baked`."
        )
    possible = ("nll",) if lockstep else SCORES
    unknown = set(names) - set(possible)
    if unknown:
        raise ValueError(
            f"mask {component.name!r} reads {', '.join(sorted(unknown))}, which a forward of the "
            f"base in the training step does not give (it gives {', '.join(possible)}). Use "
            "`apply: baked`."
        )
