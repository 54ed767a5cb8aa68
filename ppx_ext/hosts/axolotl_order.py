"""The order of chosen rows in Axolotl, which is kept or refused, and the steps that they make."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ppx_ext.plan import PlanError

if TYPE_CHECKING:
    from axolotl.utils.dict import DictDefault
    from datasets import Dataset

    from ppx_ext.hosts.chosen import Order

_COUNTS = ("total_num_tokens", "total_supervised_tokens", "sample_packing_eff_est")
_WHY = "so that the order of `ppx.choose` would be lost"


def steps_in_order(
    cfg: DictDefault, train: Dataset, order: Order, *, before: tuple[int, int | None]
) -> int | None:
    """Make Axolotl train on rows in their order, and count the steps of the whole training.

    Args:
        cfg: the config, whose settings of the order are set.
        train: what is left to train on.
        order: of its rows.
        before: how many rows and steps there were before rows were chosen or dropped.

    Raises:
        PlanError: the config asks for the contrary of the order, or for its epochs twice.
    """
    if problems := [*_of_epochs(cfg, order), *(_of_order(cfg) if order.ordered else ())]:
        raise PlanError(problems)
    if order.ordered:
        cfg.curriculum_sampling = True
        if cfg.sample_packing:
            cfg.sample_packing_sequentially = True
    elif len(train) == before[0]:
        return before[1]
    if os.environ.get("AXOLOTL_IS_PREPROCESS") == "1":
        return -1
    steps = _counted(cfg, train)
    _refuse_second_pass(cfg, order, steps)
    return min(steps, cfg.max_steps) if cfg.max_steps else steps


def _counted(cfg: DictDefault, train: Dataset) -> int:
    from axolotl.utils.trainer import calculate_total_num_steps

    for key in _COUNTS:
        cfg[key] = None
    return int(calculate_total_num_steps(cfg, train))


def _of_epochs(cfg: DictDefault, order: Order) -> Iterator[str]:
    if order.epochs > 1 and not cfg.max_steps and cfg.num_epochs not in (None, 1):
        yield (
            f"num_epochs: {cfg.num_epochs:g}, but `ppx.choose` spells out its {order.epochs} "
            "epochs one after the other, so that each would come that many times. Set "
            "`num_epochs: 1`."
        )


def _of_order(cfg: DictDefault) -> Iterator[str]:
    if cfg.curriculum_sampling is False:
        yield f"curriculum_sampling: false shuffles the rows, {_WHY}. Take the key out."
    if cfg.group_by_length:
        yield f"group_by_length: true puts rows of like length together, {_WHY}. Take the key out."
    if cfg.sample_packing and cfg.sample_packing_sequentially is False:
        yield (
            "sample_packing_sequentially: false packs rows wherever they fit best, "
            f"{_WHY}. Take the key out."
        )


def _refuse_second_pass(cfg: DictDefault, order: Order, steps: int) -> None:
    if order.epochs > 1 and cfg.max_steps and steps < cfg.max_steps:
        raise PlanError(
            [
                f"max_steps: {cfg.max_steps}, but the {order.epochs} epochs that `ppx.choose` "
                f"spells out are over after {steps} steps, and would begin again. Set it to "
                f"{steps} or less, or take it out and set `num_epochs: 1`."
            ]
        )
