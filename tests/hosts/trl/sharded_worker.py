"""One of two processes that train with FSDP 2 on a CPU, and measure apart; results in FOLDER.

`accelerate` offers FSDP on accelerators only, though `torch` shards over gloo as well: here it is
told that this run is one of FSDP, and all that follows is its own code and that of the trainer.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin

from ppx_ext import catalog
from ppx_ext.hosts import evaluated
from ppx_ext.hosts.trl_trainer import PpxSFTTrainer
from ppx_ext.plan import parse
from tests.hosts import measured
from tests.hosts.trl.lab import Lab, trainer
from tests.processes import leave


class Sharded(PpxSFTTrainer):
    """What makes states anew (an `Accelerator` of another library's) forgets what it was told."""

    def shard(self) -> None:
        state = self.accelerator.state
        state._shared_state["distributed_type"] = DistributedType.FSDP
        state.fsdp_plugin = state.__dict__.get("fsdp_plugin") or FullyShardedDataParallelPlugin(
            fsdp_version=2,
            state_dict_type="SHARDED_STATE_DICT",
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["MistralDecoderLayer"],
        )
        self.is_fsdp_enabled = True

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        self.shard()
        super().save_model(*args, **kwargs)


def main(folder: Path) -> None:
    """Train two steps; the model is measured before and after, and saved whole."""
    stage = {"eval": measured.block(folder / "tasks", harness=False)}
    run = trainer(
        Lab(arch="mistral"), folder, Sharded,
        max_steps=2, learning_rate=0.05, max_grad_norm=0.0, ddp_backend="gloo",
    )  # fmt: skip
    run.shard()
    run.add_callback(evaluated.callback(parse(stage, catalog.load()), run, say=print))
    run.train()
    plugin = run.accelerator.state.fsdp_plugin
    kinds = {type(parameter).__name__ for parameter in run.model.parameters()}
    assert kinds == {"DTensor"}, kinds
    assert "SHARDED" in str(plugin.state_dict_type), "it was put back"
    plugin.set_state_dict_type("FULL_STATE_DICT")
    run.save_model(str(folder / "final"))
    run.accelerator.wait_for_everyone()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
