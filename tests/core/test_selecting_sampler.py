"""The samplers, in PyTorch's loader: processes, epochs, and going on in the middle of one."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader, Dataset, Sampler

from ppx_ext.selecting import OrderedSampler, ShuffledSampler
from ppx_ext.selecting.sampler import OrderSampler

ORDER = np.random.default_rng(0).permutation(400_000)[:200_003]
MAKES: dict[str, Callable[..., OrderSampler]] = {
    "shuffled": lambda **given: ShuffledSampler(200_003, seed=2, **given),
    "few": lambda **given: ShuffledSampler(1003, seed=2, **given),
    "ordered": lambda **given: OrderedSampler(ORDER, **given),
    "by epoch": lambda **given: OrderedSampler(ORDER[:50], ORDER[50:99], ORDER[99:250], **given),
}
SAMPLERS = pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)


class Rows(Dataset[int]):
    """Row i is i."""

    def __len__(self) -> int:
        return 400_000

    def __getitem__(self, at: int) -> int:
        return at


def seen(loader: Any) -> list[int]:
    return [int(row) for batch in loader for row in batch]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_sees_each_row_once_and_another_order_each_epoch(workers: int) -> None:
    sampler = ShuffledSampler(1003, seed=1)
    assert isinstance(sampler, Sampler)
    loader = DataLoader(Rows(), batch_size=10, sampler=sampler, num_workers=workers)
    assert len(loader) == 101
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append(seen(loader))
        assert sorted(orders[-1]) == list(range(1003))
    assert len({tuple(order) for order in orders}) == 3
    sampler.set_epoch(1)
    assert list(sampler) == orders[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_loader_walks_the_order_that_is_given(workers: int, tmp_path: Path) -> None:
    np.save(tmp_path / "order.npy", ORDER)
    mapped = np.load(tmp_path / "order.npy", mmap_mode="r")
    loader = DataLoader(
        Rows(), batch_size=1000, sampler=OrderedSampler(mapped), num_workers=workers
    )
    assert len(loader) == 201
    assert seen(loader) == ORDER.tolist()
    orders = [np.array([5, 5, 1], dtype=np.uint8), np.array([7])]
    sampler = OrderedSampler(*orders)
    loader = DataLoader(Rows(), batch_size=2, sampler=sampler, num_workers=workers)
    assert (len(loader), seen(loader)) == (2, [5, 5, 1])
    sampler.set_epoch(1)
    assert (len(loader), seen(loader)) == (1, [7])
    sampler.set_epoch(2)
    with pytest.raises(ValueError, match="epoch 2 has no order: they are of epochs 0 to 1"):
        iter(loader).__next__()


@SAMPLERS
@pytest.mark.parametrize("world", [1, 3, 4, 9])
@pytest.mark.parametrize("drop_last", [False, True])
def test_processes_part_an_epoch(make: Any, world: int, drop_last: bool) -> None:
    whole = list(make())
    parts = [make(rank=rank, world=world, drop_last=drop_last) for rank in range(world)]
    handed = [list(part) for part in parts]
    length = len(whole) // world if drop_last else -(-len(whole) // world)
    assert [len(part) for part in parts] == [len(rows) for rows in handed] == [length] * world
    joined = [row for places in zip(*handed, strict=True) for row in places]
    assert joined == [whole[at % len(whole)] for at in range(length * world)]


def test_more_processes_than_rows() -> None:
    parts = [list(OrderedSampler(np.array([4, 2]), rank=rank, world=5)) for rank in range(5)]
    assert parts == [[4], [2], [4], [2], [4]]
    assert not list(OrderedSampler(np.array([4, 2]), rank=1, world=5, drop_last=True))


@SAMPLERS
@pytest.mark.parametrize("share", [0.0, 0.004, 0.25, 0.9])
def test_it_goes_on_where_it_was(make: Any, share: float) -> None:
    first = make(rank=1, world=2)
    first.set_epoch(2)
    whole = list(first)
    for position in (int(share * len(whole)), int(share * len(whole)) + 1):
        handed = iter(first)
        before = [next(handed) for _ in range(position)]
        state = json.loads(json.dumps(first.state_dict()))
        assert state == make(rank=0, world=2).state_dict(position=position) | {"epoch": 2}
        again = make(rank=1, world=2)
        again.load_state_dict(state)
        assert (again.epoch, again.position) == (2, position)
        assert again.state_dict() == state
        again.set_epoch(2)  # as trainers do at the start: the place stays
        assert before + list(again) == whole
        assert again.position == len(whole)
        assert list(again) == whole  # and after it, whole epochs


@SAMPLERS
def test_other_processes_go_on(make: Any) -> None:
    whole = list(make(world=1))
    state = make(rank=2, world=3).state_dict(position=8)
    parts = [make(rank=rank, world=4) for rank in range(4)]
    for part in parts:
        part.load_state_dict(state)
    rest = [row for places in zip(*parts, strict=True) for row in places]
    assert rest[: len(whole) - 24] == whole[24:]
    with pytest.raises(ValueError, match="24 rows were consumed, which 5 processes cannot"):
        make(rank=0, world=5).load_state_dict(state)


@SAMPLERS
def test_after_a_whole_epoch_the_next_is_up(make: Any) -> None:
    first = make()
    assert len(list(first)) == len(first)
    again = make()
    again.load_state_dict(first.state_dict())
    assert (again.epoch, again.position) == (1, 0)
    first.set_epoch(1)
    assert list(again) == list(first)


def test_another_epoch_than_that_to_go_on_with_is_refused() -> None:
    sampler = ShuffledSampler(10)
    sampler.load_state_dict(ShuffledSampler(10).state_dict(position=3) | {"epoch": 2})
    with pytest.raises(ValueError, match=r"go on in epoch 2, after 3 rows, and was set to epoch 0"):
        sampler.set_epoch(0)
    assert len(list(sampler)) == 7
    sampler.set_epoch(0)
    assert len(list(sampler)) == 10


def test_a_state_of_another_order_is_refused() -> None:
    state = ShuffledSampler(10, seed=1).state_dict(position=3)
    with pytest.raises(ValueError, match="its seed is 1, and here it is 2"):
        ShuffledSampler(10, seed=2).load_state_dict(state)
    with pytest.raises(ValueError, match="its rows is 10, and here it is 11"):
        ShuffledSampler(11, seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match="its crc32 is None"):
        OrderedSampler(np.arange(10)).load_state_dict(state)
    state = OrderedSampler(np.arange(10)).state_dict()
    OrderedSampler(np.arange(10, dtype=np.int16)).load_state_dict(state)
    with pytest.raises(ValueError, match="its crc32 is"):
        OrderedSampler(np.arange(10)[::-1]).load_state_dict(state)


def test_what_cannot_be_sampled_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 is none of 2 processes"):
        ShuffledSampler(10, rank=2, world=2)
    with pytest.raises(ValueError, match="0 rows to sample"):
        ShuffledSampler(0)
    with pytest.raises(ValueError, match="give an order"):
        OrderedSampler()
    for wrong in (np.array([0.5]), np.array([], dtype=int), np.array([[1]])):
        with pytest.raises(ValueError, match="one whole number or more"):
            OrderedSampler(wrong)
    with pytest.raises(ValueError, match="the order has -3 at place 2"):
        list(OrderedSampler(np.array([0, 5, -3, 1])))


def test_what_selects_does_not_import_torch() -> None:
    code = (
        "import sys, ppx_ext.selecting as at; assert 'torch' not in sys.modules; "
        "at.OrderedSampler; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(ImportError, match="Sampled"):
        from ppx_ext.selecting import Sampled  # type: ignore[attr-defined]  # noqa: F401
