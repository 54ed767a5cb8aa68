"""What a run carries from its data to its trainer: masks, checked, told and written down."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppx_ext import manifest, tokens
from ppx_ext.contracts import TokenScorer
from ppx_ext.evaluating.described import described
from ppx_ext.examples import Examples
from ppx_ext.hosts import axolotl_data, built, chosen
from ppx_ext.records import write_json

if TYPE_CHECKING:
    from ppx_ext.catalog import Catalog
    from ppx_ext.hosts.axolotl_data import Prepared
    from ppx_ext.plan import Plan

STATE_FILE = "ppx_state.json"
_STACK = ("ppx-ext", "axolotl", "transformers", "trl", "peft", "datasets", "accelerate", "torch")


@dataclass(frozen=True, kw_only=True)
class Run:
    """A plan and the data prepared by it; None where it changes none."""

    plan: Plan
    catalog: Catalog
    prepared: Prepared | None

    def attach(self, trainer: Any) -> dict[str, Any]:
        """Put masks and loss normalisation into the trainer; gives the notes for the state file.

        Raises:
            RuntimeError: the trainer got other data than was masked.
        """
        if self.prepared is not None:
            _check_data(trainer, self.prepared)
            if self.plan.apply == "collator":
                self._collate(trainer, self.prepared)
            elif self.plan.apply == "online":
                self._online(trainer, self.prepared)
        loss = normalise_loss(trainer, self.plan.token_level_loss)
        if self.plan.kl:
            from ppx_ext import anchor

            anchor.attach(trainer, self.plan.kl.beta)
        return {"loss": loss}

    def _collate(self, trainer: Any, prepared: Prepared) -> None:
        from ppx_ext.collator import MaskingCollator

        stage = self.plan.mask
        assert stage is not None
        needs = stage.component.needs(stage.settings)
        exact = [
            need.score
            for need in needs
            if self.catalog.get("scorer", need.scorer, TokenScorer).exact
        ]

        collator = MaskingCollator(
            trainer.data_collator,
            stage=stage,
            state=prepared.state,
            seed=self.plan.seed,
            ends=tokens.end_of_turn_ids(prepared.tokenizer),
            exact=exact,
        )
        trainer.data_collator = trainer.train_data_collator = collator
        if not trainer.args.sample_packing:
            # Packed rows keep all columns. Elsewhere the trainer drops what no forward takes; it
            # asks for this list only once, and asking twice where packed would be an error.
            trainer._set_signature_columns_if_needed()
            trainer._signature_columns += sorted(collator.taken)

    def _online(self, trainer: Any, prepared: Prepared) -> None:
        from ppx_ext import masking
        from ppx_ext.online import OnlineMasker

        stage = self.plan.mask
        assert stage is not None
        _refuse_sharded(trainer)
        masker = OnlineMasker(
            stage,
            masking.fit(stage, ()),
            seed=self.plan.seed,
            ends=tokens.end_of_turn_ids(prepared.tokenizer),
        )
        mask_before_count(trainer, masker)


def changes_data(plan: Plan) -> bool:
    """Whether a stage changes what Axolotl would train on."""
    return bool(plan.build or plan.choose or plan.mask)


def _check_data(trainer: Any, prepared: Prepared) -> None:
    found, wanted = trainer.train_dataset, prepared.train
    if found is wanted or _same(found, wanted, chosen.order_of(prepared.records)):
        return
    raise RuntimeError(
        f"the trainer was given {len(found)} rows that are not the {len(wanted)} rows which "
        "ppx-ext prepared, so this would be a plain run. Another plugin or script changed the data "
        "set after `load_datasets`; start with `axolotl train`, without that plugin."
    )


def _same(found: Any, wanted: Any, order: chosen.Order) -> bool:
    """Whether these are the same rows, as far as their order and their targets tell."""
    if len(found) != len(wanted):
        return False
    if order.ordered:
        one, other = (Examples(dataset=rows, ends=frozenset()) for rows in (found, wanted))
        return one.fingerprint() == other.fingerprint()
    return axolotl_data.targets(found) == axolotl_data.targets(wanted)


def _refuse_sharded(trainer: Any) -> None:
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if trainer.is_fsdp_enabled or (plugin is not None and plugin.zero_stage == 3):
        raise ValueError(
            "ppx.mask.apply: online needs the whole base on each device; FSDP and ZeRO-3 cut it "
            "in parts. Use `apply: baked`."
        )


def mask_before_count(trainer: Any, masker: Any) -> None:
    """Mask each training batch as it is drawn, before its labels are counted for the loss."""
    draw = trainer.get_batch_samples

    def masked(batches: Iterable[Any]) -> Iterator[Any]:
        for batch in batches:
            masker.mask_batch(trainer.model, batch)
            yield batch

    def get_batch_samples(batches: Iterable[Any], *args: Any, **kwargs: Any) -> Any:
        return draw(masked(batches), *args, **kwargs)

    trainer.get_batch_samples = get_batch_samples


def normalise_loss(trainer: Any, token_level: bool | None) -> dict[str, Any]:
    """Do as the plan says, and note what the host itself would do.

    Axolotl 0.19 takes the mean of the micro-batches' means, so that a token in a micro-batch of
    few targets counts more; 0.21 takes the mean over all tokens of a step. STM makes the counts of
    targets uneven, so that the two differ more than in plain fine-tuning.
    """
    host = bool(trainer.model_accepts_loss_kwargs)
    used = host if token_level is None else token_level
    trainer.model_accepts_loss_kwargs = used
    if token_level:
        # Axolotl sets it to False; a mean over the tokens of a step is one over all its devices.
        trainer.args.average_tokens_across_devices = trainer.args.world_size > 1
    ways = {True: "mean over the tokens of a step", False: "mean of micro-batch means"}
    return {"asked": token_level, "host": ways[host], "used": ways[used]}


def speak_through_axolotl() -> None:
    """Show our progress where Axolotl's own log goes; it shows no other package's."""
    own = logging.getLogger("ppx_ext")
    own.setLevel(logging.INFO)
    own.propagate = False
    for handler in logging.getLogger("axolotl").handlers:
        own.addHandler(handler)  # once, however often it is added


def is_first_process() -> bool:
    """True in the one process of a launch that writes and talks."""
    return int(os.environ.get("RANK", "0")) == 0


def write_state(folder: Path, run: Run, notes: Mapping[str, Any]) -> None:
    """The proof that a run was masked, and how: ``ppx_state.json`` in the output folder."""
    prepared = run.prepared
    write_json(
        folder / STATE_FILE,
        {
            "schema": 1,
            "host": "axolotl",
            "plan": run.plan.dump(),
            "versions": manifest.versions(),
            "data": dict(prepared.numbers) if prepared else {},
            "records": manifest.dump_records(prepared.records) if prepared else [],
            **notes,
        },
    )


def seed_initialisation(cfg: Any) -> dict[str, Any]:
    """Seed all randomness before the model is made; Axolotl 0.21 does so itself, 0.19 does not."""
    import axolotl.train
    from transformers import set_seed

    host = hasattr(axolotl.train, "seed_model_initialization")
    if cfg.seed is None:
        said = "`seed` is not set: new adapter weights differ from run to run"
    elif host:
        said = f"{cfg.seed}, set by Axolotl before the model is made"
    else:
        set_seed(cfg.seed)
        said = f"{cfg.seed}, set by ppx-ext before the model is made (this Axolotl does not)"
    return {"seed": cfg.seed, "host_seeds_initialisation": host, "model_initialisation": said}


def banner(run: Run, seed: Mapping[str, Any], loss: Mapping[str, Any] | None) -> list[str]:
    """What is told at the start, line by line."""
    plan, found = run.plan, manifest.versions()
    stack = " ".join(f"{name} {found[name]}" for name in _STACK if name in found)
    lines = [f"ppx-ext is active ({stack})"]
    if run.prepared:
        lines += [f"  built by {line}" for line in built.told(run.prepared.records)]
        lines += [f"  chosen by {line}" for line in chosen.told(run.prepared.records)]
        lines += _mask_lines(plan, run.prepared) if plan.mask else []
        lines.append(_evaluation_line(plan, run.prepared))
    if plan.eval is not None:
        lines.append(f"  {described(plan.eval)}")
    lines.append(f"  seed: {seed['model_initialisation']}")
    if loss:
        lines.append(
            f"  loss: {loss['used']} (this Axolotl by itself: {loss['host']}; 0.19 and 0.21 "
            "differ, set ppx.token_level_loss to fix it)"
        )
    return lines


def _mask_lines(plan: Plan, prepared: Prepared) -> list[str]:
    assert plan.mask is not None
    dump = plan.mask.dump().items()
    settings = " ".join(f"{key}={value}" for key, value in dump if value is not None)
    how = f"apply={plan.apply} rows={plan.masked_rows} mask_eval={plan.mask_eval}"
    lines = [f"  mask: {settings} {how}"]
    for record in prepared.records:
        if record.stage != "mask":
            continue
        found = record.numbers
        loss = "" if found["loss_kept"] is None else f", {found['loss_kept']:.1%} of the loss kept"
        lines.append(
            f"  {found['masked']} of {found['targets']} target tokens masked "
            f"({found['masked_share']:.1%}){loss}; {found['rows_without_targets']} of "
            f"{found['rows']} rows left without a target and dropped"
        )
        if found["rows_left_alone"]:
            lines.append(f"  {found['rows_left_alone']} rows in the model's own words left alone")
    return lines


def _evaluation_line(plan: Plan, prepared: Prepared) -> str:
    ways = "masked too" if plan.mask and plan.mask_eval else "never masked"
    if plan.build and prepared.numbers["evaluation_is_built"]:
        ways += (
            "; a share of the built rows (`val_set_size`), so that their loss is not that of a "
            "plain run: `test_datasets` stay the user's own"
        )
    return f"  evaluation rows: {prepared.numbers['evaluation_rows']}, {ways}"
