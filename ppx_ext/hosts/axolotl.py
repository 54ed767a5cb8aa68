"""ppx-ext as an Axolotl plugin: ``plugins: [ppx_ext.hosts.axolotl.PpxPlugin]`` and a `ppx:` block.

A run goes: `register` checks the block; `load_datasets` builds the rows, lets Axolotl tokenise
them, chooses among what came out, masks it by scores under the base and hands it to Axolotl;
`post_trainer_create` makes sure that this is what the trainer got, and writes ``ppx_state.json``.

Axolotl swallows an ImportError of a plugin and trains on without it, so none may leave here.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from axolotl.integrations.base import BasePlugin
    from axolotl.utils.logging import get_logger

    from ppx_ext import catalog as catalogs
    from ppx_ext.hosts import axolotl_config, axolotl_data, axolotl_run, evaluated
    from ppx_ext.hosts.axolotl_doctor import Finding, diagnose
    from ppx_ext.hosts.axolotl_recipe import built, tokenized, train
except ImportError as error:
    raise RuntimeError(
        f"ppx_ext.hosts.axolotl cannot be used: {error}. Without it this would be a plain run. "
        "Install what is missing: pip install 'ppx-ext[axolotl]'"
    ) from error

if TYPE_CHECKING:
    from axolotl.common.datasets import TrainDatasetMeta
    from axolotl.utils.dict import DictDefault
    from transformers import TrainerCallback

    from ppx_ext.catalog import Catalog
    from ppx_ext.plan import Plan

__all__ = ["Finding", "PpxPlugin", "built", "diagnose", "tokenized", "train"]

LOG = get_logger("axolotl.ppx_ext")


class PpxPlugin(BasePlugin):  # type: ignore[misc]
    """The plugin that Axolotl loads, once in a process; inert for configs that do not list it."""

    def __init__(self) -> None:
        super().__init__()
        self.catalog: Catalog | None = None
        self.run: axolotl_run.Run | None = None
        self.seed: dict[str, Any] = {}

    def register(self, cfg: DictDefault) -> None:
        """Check the raw block, before Axolotl's schema drops what it does not know.

        Raises:
            PlanError: the block is not there or wrong.
            CatalogError: an installed method cannot be loaded.
        """
        if self._listed(cfg):
            self.catalog = catalogs.load()
            axolotl_config.parse(cfg, self.catalog)

    def get_input_args(self) -> str:
        """The schema of our block."""
        return "ppx_ext.hosts.axolotl_config.PpxArgs"

    def load_datasets(self, cfg: DictDefault, preprocess: bool = False) -> TrainDatasetMeta | None:
        """Axolotl's data, built, chosen and masked; every process of a launch comes through here.

        The data set is returned, and not put into the config: were another plugin to load data
        too, Axolotl stops, where otherwise ours would be lost unseen.
        """
        plan = self._plan(cfg)
        if plan is not None and not preprocess:
            evaluated.check(plan)
        if plan is None or not axolotl_run.changes_data(plan):
            return None
        from axolotl.common.datasets import TrainDatasetMeta

        assert self.catalog is not None
        axolotl_run.speak_through_axolotl()
        stages = [stage.component.name for stage in (plan.build, plan.choose, plan.mask) if stage]
        LOG.info(f"ppx-ext is active: {', '.join(stages)}, {plan.apply}")
        prepared = axolotl_data.prepare(cfg, plan, self.catalog)
        self.run = axolotl_run.Run(plan=plan, catalog=self.catalog, prepared=prepared)
        if preprocess:
            self._tell({"model_initialisation": "nothing is trained here"})
            _show_rows(cfg, prepared)
        return TrainDatasetMeta(
            train_dataset=prepared.train,
            eval_dataset=prepared.evaluation,
            total_num_steps=prepared.steps,
        )

    def pre_model_load(self, cfg: DictDefault) -> None:
        """Seed the adapter's initial weights, which Axolotl 0.19 leaves to chance."""
        if self._plan(cfg) is not None:
            self.seed = axolotl_run.seed_initialisation(cfg)

    def add_callbacks_post_trainer(self, cfg: DictDefault, trainer: Any) -> list[TrainerCallback]:
        """The evaluation of the `eval:` stage, and the trainer's log."""
        from ppx_ext.hosts import left

        plan = self._plan(cfg)
        if plan is None:
            return []
        measured = [evaluated.callback(plan, trainer, say=LOG.info)] if plan.eval else []
        return [*measured, left.LogCallback()]

    def post_trainer_create(self, cfg: DictDefault, trainer: Any) -> None:
        """Make sure that the trainer got these data, and write down what it will do.

        Raises:
            RuntimeError: the trainer holds other data than was prepared.
        """
        from ppx_ext.hosts import left

        plan = self._plan(cfg)
        if plan is None:
            return
        assert self.catalog is not None
        if self.run is None and not axolotl_run.changes_data(plan):
            self.run = axolotl_run.Run(plan=plan, catalog=self.catalog, prepared=None)
        if self.run is None:
            raise RuntimeError(
                "the trainer was made without `PluginManager.load_datasets(cfg)`, so nothing is "
                "built, chosen or masked and this would be a plain run. Start with `axolotl train` "
                "(from Python: axolotl.cli.train.do_train), which calls it."
            )
        notes = {"seed": self.seed, **self.run.attach(trainer)}
        self._tell(self.seed, notes["loss"])
        if axolotl_run.is_first_process():
            axolotl_run.write_state(Path(cfg.output_dir), self.run, notes)
            left.recipe(Path(cfg.output_dir), cfg.axolotl_config_path or "")

    def post_train_unload(self, cfg: DictDefault) -> None:
        """Forget the run, so that nothing of it reaches the next one of this process."""
        self.run = None

    def _listed(self, cfg: DictDefault) -> bool:
        from axolotl.integrations.base import PluginManager

        listed = cfg.get("plugins") or []
        registered = PluginManager.get_instance().plugins
        return any(registered.get(name) is self for name in listed)

    def _plan(self, cfg: DictDefault) -> Plan | None:
        if not self._listed(cfg):
            return None
        if self.catalog is None:
            self.catalog = catalogs.load()
        return axolotl_config.parse(cfg, self.catalog)

    def _tell(self, seed: dict[str, Any], loss: dict[str, Any] | None = None) -> None:
        if self.run is None or not axolotl_run.is_first_process():
            return
        for line in axolotl_run.banner(self.run, seed, loss):
            LOG.info(line)


def _show_rows(cfg: DictDefault, prepared: axolotl_data.Prepared) -> None:
    """`axolotl preprocess --debug` shows rows with their labels: here, as they are masked."""
    if cfg.debug:
        from axolotl.utils.tokenization import check_dataset_labels

        rows = prepared.train.select(range(min(5, len(prepared.train))))
        check_dataset_labels(rows, prepared.tokenizer, num_examples=len(rows))
