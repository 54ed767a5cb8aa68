"""The shuffled sampler, in PyTorch's own loader."""

from __future__ import annotations

import pytest
from torch.utils.data import DataLoader, Sampler, TensorDataset

from ppx_ext.selecting.sampler import ShuffledSampler


def test_a_loader_sees_each_row_once_and_another_order_each_epoch() -> None:
    import torch

    sampler = ShuffledSampler(1003, seed=1)
    assert isinstance(sampler, Sampler)
    loader = DataLoader(TensorDataset(torch.arange(1003)), batch_size=10, sampler=sampler)
    assert len(loader) == 101
    orders = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        orders.append([int(row) for (batch,) in loader for row in batch])
        assert sorted(orders[-1]) == list(range(1003))
    assert len({tuple(order) for order in orders}) == 3
    sampler.set_epoch(1)
    assert list(sampler) == orders[1]


@pytest.mark.parametrize("rows", [1, 7, 12, 100_003])
@pytest.mark.parametrize("world", [1, 3, 4, 9])
@pytest.mark.parametrize("drop_last", [False, True])
def test_processes_part_an_epoch(rows: int, world: int, drop_last: bool) -> None:
    whole = list(ShuffledSampler(rows, seed=5))
    parts = [
        ShuffledSampler(rows, seed=5, rank=rank, world=world, drop_last=drop_last)
        for rank in range(world)
    ]
    seen = [list(part) for part in parts]
    length = rows // world if drop_last else -(-rows // world)
    assert [len(part) for part in parts] == [len(part) for part in seen] == [length] * world
    joined = [row for places in zip(*seen, strict=True) for row in places]
    assert joined == [whole[at % rows] for at in range(length * world)]


@pytest.mark.parametrize("position", [0, 1, 1023, 1024, 1025, 50_000, 100_000])
def test_it_goes_on_where_it_was(position: int) -> None:
    first = ShuffledSampler(200_000, seed=2, rank=1, world=2)
    first.set_epoch(3)
    whole = list(first)
    again = ShuffledSampler(200_000, seed=2, rank=1, world=2)
    again.resume(epoch=3, position=position)
    again.set_epoch(3)  # as trainers do at the start: the place stays
    assert list(again) == whole[position:]
    assert list(again) == whole  # and after it, whole epochs
    again.resume(epoch=3, position=position)
    again.set_epoch(4)
    assert len(list(again)) == len(whole)


def test_what_cannot_be_sampled_is_refused() -> None:
    with pytest.raises(ValueError, match="rank 2 of 2"):
        ShuffledSampler(10, rank=2, world=2)
    with pytest.raises(ValueError, match="sample 0 rows"):
        ShuffledSampler(0)
    with pytest.raises(ValueError, match="position 11 is not within an epoch of 10 rows"):
        ShuffledSampler(10).resume(epoch=0, position=11)
