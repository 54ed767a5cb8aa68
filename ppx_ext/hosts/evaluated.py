"""The `eval:` stage in a host: checked before anything is loaded, and hung into its trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from ppx_ext.evaluating.described import described, problems
from ppx_ext.plan import PlanError

if TYPE_CHECKING:
    from ppx_ext.callbacks import SuiteCallback
    from ppx_ext.eval_plan import Evaluation
    from ppx_ext.plan import Plan


def check(plan: Plan) -> None:
    """Have each suite look for its files, tasks and libraries.

    Raises:
        PlanError: something lacks; all of it is named.
    """
    if plan.eval is not None and (found := problems(plan.eval)):
        raise PlanError(found)


def seen(plan: Plan) -> Iterator[tuple[Literal["ok", "error"], str]]:
    """What an examination tells of the stage: what it asks for, and what each suite lacks."""
    if plan.eval is not None:
        yield "ok", described(plan.eval)
        yield from (("error", problem.partition(": ")[2]) for problem in problems(plan.eval))


def callback(plan: Plan, trainer: Any, *, say: Callable[[str], None]) -> SuiteCallback:
    """The callback that measures, for a trainer that is made.

    Raises:
        PlanError: the stage asks for what cannot be with this trainer; all of it, with the mend.
    """
    from ppx_ext.callbacks import SuiteCallback

    assert plan.eval is not None
    if found := list(_refused(plan.eval, trainer)):
        raise PlanError(found)
    trust = plan.trust_remote_code
    return SuiteCallback(plan.eval, trainer, say=say, trust_remote_code=trust)


def _refused(evaluation: Evaluation, trainer: Any) -> Iterator[str]:
    from ppx_ext.evaluating.apart import sharded

    keys = list(_restores(evaluation))
    if keys and trainer.args.load_best_model_at_end:
        yield (
            f"ppx.eval.{keys[0]} and `load_best_model_at_end` both choose the weights that the run "
            "ends with. Take one of them out."
        )
    if how := sharded(trainer):
        yield from _of_sharded(evaluation, trainer, how, keys)
    every = evaluation.every
    if (
        every is not None
        and every.epochs is not None
        and not hasattr(trainer.train_dataset, "__len__")
    ):
        yield (
            "ppx.eval.every: epochs of a streamed data set cannot be told, as its length is not "
            "known. Give steps, for instance `every: 100`."
        )


def _restores(evaluation: Evaluation) -> Iterator[str]:
    """The keys that let a run end with other weights than its last."""
    if evaluation.keep == "best":
        yield "keep: best"
    if evaluation.gate is not None and evaluation.gate.on_breach == "restore_best":
        yield "gate.on_breach: restore_best"


def _of_sharded(evaluation: Evaluation, trainer: Any, how: str, keys: list[str]) -> Iterator[str]:
    if evaluation.where == "here":
        yield (
            f"ppx.eval.where: here, but {how} leaves no process the whole model. Use `where: auto`,"
            " which measures a checkpoint in a process of its own."
        )
    for key in keys:
        yield (
            f"ppx.eval.{key} puts weights back into the live model, which is not offered with "
            f"{how}. Use `keep: last` and `on_breach: stop`, save a checkpoint at each evaluation, "
            "and choose among them with `ppx eval`."
        )
    plugin = getattr(trainer.accelerator.state, "deepspeed_plugin", None)
    if how == "ZeRO-3" and not _gathers(plugin):
        yield (
            "ppx.eval: ZeRO-3 saves no whole model unless it is told to, so that none can be "
            "measured. Set `stage3_gather_16bit_weights_on_model_save: true` in its "
            "`zero_optimization`."
        )


def _gathers(plugin: Any) -> bool:
    config = getattr(plugin, "deepspeed_config", None) or {}
    zero = config.get("zero_optimization", {})
    return bool(zero.get("stage3_gather_16bit_weights_on_model_save"))
