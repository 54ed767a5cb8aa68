"""The order of chosen rows in TRL: settings that would undo it are refused, each with the mend."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ppx_ext.hosts.chosen import Order
from ppx_ext.plan import PlanError

_WHY = "the order of `ppx.choose` would be lost"


def refuse(order: Order, args: Any) -> None:
    """Check TRL's arguments against the order in which the chosen rows must be trained on.

    Raises:
        PlanError: settings that would undo the order, or repeat the epochs that it spells out.
    """
    problems = list(_of_epochs(order, args))
    if order.ordered:
        problems += [*_of_packing(args), *_of_sampling(args)]
    if problems:
        raise PlanError(problems)


def _of_epochs(order: Order, args: Any) -> Iterator[str]:
    if order.epochs > 1 and args.max_steps <= 0 and args.num_train_epochs != 1:
        yield (
            f"num_train_epochs: {args.num_train_epochs:g}, but `ppx.choose` spells out its "
            f"{order.epochs} epochs one after the other, so that each would come that many times. "
            "Set `num_train_epochs: 1`."
        )


def _of_packing(args: Any) -> Iterator[str]:
    if args.packing and args.packing_strategy != "wrapped":
        yield (
            f"packing_strategy: {args.packing_strategy!r} packs the longest rows first, so {_WHY}. "
            "Use `packing_strategy: wrapped`, which keeps it (and cuts rows at the ends of packs), "
            "or `packing: false`."
        )


def _of_sampling(args: Any) -> Iterator[str]:
    if args.shuffle_dataset:
        yield f"shuffle_dataset: true, so {_WHY}. Take the key out."
    strategy = str(args.train_sampling_strategy)
    if strategy not in ("random", "sequential"):
        yield (
            f"train_sampling_strategy: {strategy!r} puts rows of like length together, so {_WHY}. "
            "Take the key out: rows are then drawn in the order that was asked for."
        )
    if args.ignore_data_skip:
        yield (
            f"ignore_data_skip: true begins the data anew where training is resumed, so {_WHY}. "
            "Take the key out."
        )


def refuse_second_pass(order: Order, args: Any, rows: int) -> None:
    """Check that ``max_steps`` does not begin epochs again that the rows spell out.

    Args:
        order: of the rows.
        args: TRL's.
        rows: of the training set as it is loaded (packs, where it is packed).

    Raises:
        PlanError: it does.
    """
    if order.epochs == 1 or args.max_steps <= 0:
        return
    micro = math.ceil(rows / (args.train_batch_size * args.world_size))
    steps = math.ceil(micro / args.gradient_accumulation_steps)
    if args.max_steps > steps:
        raise PlanError(
            [
                f"max_steps: {args.max_steps}, but the {order.epochs} epochs that `ppx.choose` "
                f"spells out are over after {steps} steps, and would begin again. Set it to "
                f"{steps} or less, or take it out and set `num_train_epochs: 1`."
            ]
        )
