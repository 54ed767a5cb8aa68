"""`PpxSFTTrainer`: TRL's `SFTTrainer`, whose loss leaves out what the recipe's mask leaves out.

Only rows and labels are touched, never the loss. TRL's own preparation is asked twice for the
training set: the first pass tokenises, then rows are chosen and labels masked, and the second pass
truncates, packs and shuffles rows that are tokenised already. So every mode of TRL stays TRL's own
code.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from torch.utils.data import SequentialSampler
from trl import SFTTrainer  # type: ignore[attr-defined]

from ppx_ext import anchor, masking, pipeline, plan, tokens
from ppx_ext import catalog as catalogs
from ppx_ext.collator import COLUMN, MaskingCollator
from ppx_ext.contracts import IGNORE, StageRecord, TokenScorer
from ppx_ext.effects import Base, base_from_model
from ppx_ext.examples import ROW
from ppx_ext.hosts import (
    chosen,
    evaluated,
    trl_build,
    trl_checks,
    trl_data,
    trl_order,
    trl_state,
    trl_text,
)
from ppx_ext.hosts.trl_base import load_model
from ppx_ext.online import OnlineMasker

_PROBED_ROWS = 8


@dataclasses.dataclass(kw_only=True)
class _Run:
    """What a run with a `ppx` block knows.

    Attributes:
        built: what the builder did, where it ran in here.
        awaits: the data set that TRL will prepare next, as its name is no help: an evaluation set
            may be called "train".
    """

    plan: plan.Plan
    catalog: catalogs.Catalog
    masked: pipeline.Masked | None
    built: StageRecord | None = None
    awaits: str = "train"
    base: Base | None = None
    masker: OnlineMasker | None = None

    def next_set(self) -> str:
        """Which set is prepared now; the first one is the training set, later ones evaluate."""
        found, self.awaits = self.awaits, "eval" if self.awaits == "train" else self.awaits
        return found

    def records(self) -> tuple[StageRecord, ...]:
        """Of all stages, in order."""
        built = () if self.built is None else (self.built,)
        return (*built, *(self.masked.records if self.masked else ()))

    def prepares(self) -> bool:
        """Whether a stage reads the tokens of the training set."""
        return bool(self.plan.choose or self.plan.mask)

    def order(self) -> chosen.Order:
        """Of the training set's rows."""
        return chosen.order_of(self.records())


class PpxSFTTrainer(SFTTrainer):  # type: ignore[misc]
    """A drop-in for `SFTTrainer`; ``args.ppx`` decides which tokens have a loss.

    With ``args.ppx`` None (or with a plain `SFTConfig`) it is `SFTTrainer`. Evaluation sets stay
    unmasked unless ``mask_eval`` is set, and those given to `evaluate` always do.

    Args:
        ppx_masked: a training set whose rows are built, chosen and masked already; then
            ``train_dataset`` is taken from it.

    Raises:
        PlanError: the block is wrong, or a mode is asked for in which the mask cannot be right.
        ValueError: no target is left to train on.
    """

    @functools.wraps(SFTTrainer.__init__)  # type: ignore[misc]
    def __init__(
        self, *args: Any, ppx_masked: pipeline.Masked | None = None, **kwargs: Any
    ) -> None:
        call = inspect.signature(SFTTrainer.__init__).bind(self, *args, **kwargs).arguments
        del call["self"]
        block = getattr(call.get("args"), "ppx", None)
        self._ppx: _Run | None = None
        if block is None:
            super().__init__(**call)
            return
        catalog = catalogs.load()
        self._ppx = _Run(plan=plan.parse(block, catalog), catalog=catalog, masked=ppx_masked)
        self._init_with_plan(call, self._ppx)

    def _init_with_plan(self, call: dict[str, Any], run: _Run) -> None:
        if run.masked is not None:
            call["train_dataset"], run.awaits = run.masked.dataset, "nothing"
            trl_order.refuse(run.order(), call["args"])
        trl_checks.refuse(run.plan, call, built=run.masked is not None)
        given = call["args"].model_init_kwargs
        try:
            if run.plan.build and run.masked is None:
                if isinstance(call["model"], str):
                    call["model"] = load_model(call)
                run.base = base_from_model(call["model"])
                run.built = trl_build.build(call, run.plan, run.catalog, run.base)
            if run.prepares():
                self._find_base(call, run)
            super().__init__(**call)
        finally:
            call["args"].model_init_kwargs = given
        run.awaits, run.base = "nothing", None
        if run.prepares():
            self._check_rows(run)
        if run.plan.mask:
            self._check_masked(run, call.get("data_collator"))
        if run.plan.kl:
            anchor.attach(self, run.plan.kl.beta)
        if run.plan.eval:
            self.add_callback(evaluated.callback(run.plan, self, say=self.accelerator.print))
        self._tell(run)

    def _find_base(self, call: dict[str, Any], run: _Run) -> None:
        online = run.plan.mask is not None and run.plan.apply == "online"
        if run.masked is None and (run.plan.choose or not online):
            if isinstance(call["model"], str):
                call["model"] = load_model(call)
            trl_checks.refuse_rewritten_base(call["model"], call.get("peft_config"))
            trl_checks.refuse_other_dtype(run.plan, call["model"])
            run.base = run.base or base_from_model(call["model"])
        elif online:
            trl_checks.refuse_rewritten_base(call["model"], call.get("peft_config"))

    def _prepare_dataset(
        self,
        dataset: Any,
        processing_class: Any,
        args: Any,
        packing: bool,
        formatting_func: Any,
        dataset_name: str,
    ) -> Any:
        def prepare(dataset: Any, args: Any, packing: bool, formatting_func: Any) -> Any:
            return super(PpxSFTTrainer, self)._prepare_dataset(
                dataset, processing_class, args, packing, formatting_func, dataset_name
            )

        run = self._ppx
        kind = run.next_set() if run and run.prepares() else "nothing"
        if run is None or kind == "nothing" or (kind == "eval" and not run.plan.mask_eval):
            return prepare(dataset, args, packing, formatting_func)
        edit = run.plan.mask and trl_text.editor_of(run.plan.mask)
        if edit and "input_ids" not in (dataset.column_names or ()):
            dataset = trl_text.edit_rows(dataset, edit, text_field=args.dataset_text_field)
            formatting_func = formatting_func and trl_text.edit_formatter(formatting_func, edit)
        if run.plan.apply == "online" and not run.plan.choose:
            return prepare(dataset, args, packing, formatting_func)
        brought = chosen.token_columns(run.plan, run.catalog)
        uncut = args.truncation_mode == "keep_end" or bool(brought)
        first = trl_data.first_pass(args, None if packing or uncut else args.max_length)
        tokenized = prepare(dataset, first, False, formatting_func)
        if packing and args.packing_strategy == "bfd" and not uncut:
            tokenized = trl_data.cut(tokenized, args.max_length)
        assert run.base is not None
        found = pipeline.Tokenized(
            dataset=tokenized,
            tokenizer=self._tokenizer,
            base=run.base,
            plan=run.plan,
            catalog=run.catalog,
        )
        if kind == "eval":
            state = {} if run.masked is None else run.masked.state
            masked = trl_data.mask_evaluation(found, tokenized, state)
            return prepare(masked, args, packing, None)
        run.masked = trl_data.prepare(found)
        trl_order.refuse(run.order(), args)
        return prepare(run.masked.dataset, args, packing, None)

    def _check_rows(self, run: _Run) -> None:
        train: Any = self.train_dataset
        rows = getattr(train, "__len__", lambda: 1)()
        if not rows:
            raise ValueError(
                "no row of the training set has a target left: mask and truncation together leave "
                "nothing to train on. Raise max_length, or mask less."
            )
        trl_order.refuse_second_pass(run.order(), self.args, rows)

    def _check_masked(self, run: _Run, collator: Any) -> None:
        trl_checks.refuse_sharding(run.plan, self.accelerator)
        train: Any = self.train_dataset
        if run.plan.apply == "baked" and collator is not None:
            rows = [train[row] for row in range(min(_PROBED_ROWS, len(train)))]
            trl_checks.refuse_deaf_collator(collator, rows)
        if run.plan.apply == "collator":
            missing = set(self._score_columns()) - set(train.column_names)
            if missing:
                raise ValueError(f"TRL's preparation lost the columns {missing}; use apply: baked")
        if run.plan.apply == "online":
            assert run.plan.mask is not None
            run.masker = OnlineMasker(
                run.plan.mask,
                masking.fit(run.plan.mask, ()),
                seed=run.plan.seed,
                ends=tokens.end_of_turn_ids(self._tokenizer),
            )

    def _tell(self, run: _Run) -> None:
        path = Path(str(self.args.output_dir)) / trl_state.STATE_FILE
        records = run.records()
        self.accelerator.print(trl_state.banner(run.plan, records, state_file=path))
        if self.is_world_process_zero():
            trl_state.write_state(path, run.plan, records)

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        """TRL's sampler; rows that were put into an order are drawn in it."""
        if self._ppx is not None and self._ppx.order().ordered:
            rows: Any = self.train_dataset if train_dataset is None else train_dataset
            return SequentialSampler(rows)
        return super()._get_train_sampler(train_dataset)

    # apply: collator

    def _score_columns(self) -> list[str]:
        run = self._ppx
        if run is None or run.plan.mask is None or run.plan.apply != "collator":
            return []
        needs = run.plan.mask.component.needs(run.plan.mask.settings)
        return [ROW, *(COLUMN + need.score for need in needs)]

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[no-untyped-call]
        names: Any = self._signature_columns
        extra = [name for name in self._score_columns() if name not in names]
        self._signature_columns = [*names, *extra]  # type: ignore[assignment]

    def get_train_dataloader(self) -> Any:
        """TRL's data loader; with ``apply: collator`` its batches are masked as they are made."""
        if not self._score_columns():
            return super().get_train_dataloader()
        plain = self.data_collator  # evaluation goes on with it
        self.data_collator = self._masking_collator(plain)
        try:
            return super().get_train_dataloader()
        finally:
            self.data_collator = plain

    def _masking_collator(self, inner: Any) -> MaskingCollator:
        run = self._ppx
        assert run is not None
        assert run.plan.mask is not None
        assert run.masked is not None
        needs = run.plan.mask.component.needs(run.plan.mask.settings)
        exact = [
            need.score
            for need in needs
            if run.catalog.get("scorer", need.scorer, TokenScorer).exact
        ]
        return MaskingCollator(
            inner,
            stage=run.plan.mask,
            state=run.masked.state,
            seed=run.plan.seed,
            ends=tokens.end_of_turn_ids(self._tokenizer),
            exact=exact,
        )

    # apply: online

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """TRL's batches of one step, masked before their targets are counted for the loss."""
        run = self._ppx
        if run is not None and run.masker is not None:
            epoch_iterator = self._masked_batches(epoch_iterator, run.masker)
        return super().get_batch_samples(epoch_iterator, num_batches, device)

    def _masked_batches(self, batches: Iterable[Any], masker: OnlineMasker) -> Iterator[Any]:
        for batch in batches:
            before = int((batch["labels"][..., 1:] != IGNORE).sum())
            masker.mask_batch(self.model, batch)
            after = int((batch["labels"][..., 1:] != IGNORE).sum())
            if before:
                self._metrics["train"]["ppx/kept_targets"].append(after / before)
            yield batch
