"""The order of the pictures of an epoch."""

from prepro.pretraining.batches import epoch_order


def test_processes_divide_an_epoch_evenly():
    order = epoch_order(10, seed=1, epoch=2)
    assert sorted(order) == list(range(10)) and order != epoch_order(10, 1, 3)
    per_rank = [epoch_order(10, 1, 2, rank, 4) for rank in range(4)]
    assert {len(part) for part in per_rank} == {3}
    assert set().union(*per_rank) == set(range(10))
