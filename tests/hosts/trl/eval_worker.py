"""One of several processes that measure together; writes what it saw to FOLDER/<rank>.json."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic
from torch.distributed import distributed_c10d

from ppx_ext.callbacks import SuiteCallback
from ppx_ext.eval_plan import Evaluation, Every, SuiteStage
from ppx_ext.stages import Stage
from ppx_ext.suites import EvalSuite, Score, Subject, TaskScore
from tests.hosts import measured
from tests.hosts.trl.lab import Lab, trainer
from tests.processes import leave


class Nothing(pydantic.BaseModel):
    pass


class Stumbling:
    """A suite that fails in the second process: while it gathers, and when it need not."""

    def __init__(self, *fails: int) -> None:
        self.fails, self.calls = fails, 0

    def __call__(self, settings: Any, subject: Subject) -> Sequence[Score]:
        self.calls += 1
        if subject.rank == 1 and self.calls in self.fails:
            raise OSError("no sandbox here")
        found = subject.gather(float(subject.rank))
        if self.calls == 4 and subject.rank == 0:
            subject.gather("once more than the other")
        shares = (0.2, 0.9, 0.2, 0.2, 0.4)[self.calls - 1]
        return [TaskScore(task="own", correct=(*found, shares, shares), target=True)]


def evaluation(suite: Any, **keys: Any) -> Evaluation:
    component = EvalSuite(name="stumbling", paper="none", settings=Nothing, evaluate=suite)
    stage = SuiteStage(stage=Stage(component=component, settings=Nothing()))
    return Evaluation(suites=(stage,), every=Every(steps=1), **keys)


def main(folder: Path) -> None:
    """Measure together; stumble on the way; stumble at the start."""
    lab, rank, found = Lab(), int(os.environ["RANK"]), {}
    stage = measured.block(folder / "tasks", every=2)
    together = {"ddp_backend": "gloo", "max_steps": 4, "gradient_accumulation_steps": 1,
                "per_device_train_batch_size": 2, "dataloader_num_workers": 0}  # fmt: skip
    run = trainer(lab, folder / "shared", ppx={**lab.block(folder), "eval": stage}, **together)
    run.train()
    run.save_model()
    found |= {"weights": _sum(run.model), "groups": [_groups()]}
    run = trainer(lab, folder / "stumbling", ppx=lab.block(folder), **together)
    suite = Stumbling(3)
    run.add_callback(SuiteCallback(evaluation(suite, keep="best"), run))
    run.train()
    found |= {"steps": run.state.global_step, "calls": suite.calls, "kept": _sum(run.model)}
    found["groups"].append(_groups())
    run = trainer(lab, folder / "early", ppx=lab.block(folder), **together)
    run.add_callback(SuiteCallback(evaluation(Stumbling(1)), run))
    try:
        run.train()
    except (OSError, RuntimeError) as error:
        found["early"] = f"{type(error).__name__}: {error}"
    found["groups"].append(_groups())
    (folder / f"{rank}.json").write_text(json.dumps(found))


def _groups() -> int:
    return len(distributed_c10d._world.pg_map)


def _sum(model: Any) -> dict[str, float]:
    return {name: each.double().sum().item() for name, each in model.named_parameters()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    leave()
