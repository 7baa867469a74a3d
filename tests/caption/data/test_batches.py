"""Batches against a brute-force reading of labels.h5, and order as a function of (seed, epoch)."""

import json
import threading
from dataclasses import replace

import h5py
import numpy as np
import pytest
import torch

from caption.data import batches
from caption.data.batches import CaptionSet, prefetch
from caption.data.data_folder import DataFolder
from caption.data.feature_store import FeatureStore
from prepro.runtime.distributed import DistributedContext
from tests.caption.drawn_folder import make_folder

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return DataFolder.open(make_folder(tmp_path_factory.mktemp("data") / "tiny"))


def captions(data, each=3, seed=5, location="memory"):
    return CaptionSet(data, FeatureStore(data.features, True, location), "train", each, seed)


def same(one, two):
    assert np.array_equal(one.rows, two.rows)
    for a, b in zip((*one.features[:2], *one[2:5]), (*two.features[:2], *two[2:5]), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("where", ["device", "memory", "disk"])
def test_batches_are_what_the_files_say(data, where):
    """Words, targets and features read with h5py and plain loops, picture by picture."""
    folder = data.labels.folder
    images = json.loads((folder / "labels.json").read_text())["images"]
    paths = folder / "labels.h5", folder / "features.h5"
    with h5py.File(paths[0], locking=False) as labels, h5py.File(paths[1], locking=False) as stored:
        seen = []
        for batch in captions(data, location=where).epoch(1, 4):
            for i, row in enumerate(batch.rows.tolist()):
                seen.append(row)
                assert np.array_equal(batch.features.fc[i], stored["fc"][row].astype(np.float32))
                assert np.array_equal(batch.features.att[i], stored["att"][row].astype(np.float32))
                first, last = labels["label_start_ix"][row] - 1, labels["label_end_ix"][row]
                own = [[int(w) for w in caption if w] for caption in labels["labels"][first:last]]
                for k in range(3):
                    real = batch.token_mask[i, k]
                    tokens = batch.targets[i, k][real].tolist()
                    assert tokens[-1] == 0 and tokens[:-1] in own
                    assert batch.inputs[i, k][real].tolist() == [0, *tokens[:-1]]
                    assert not batch.targets[i, k][~real].any()
            longest = (batch.targets != 0).sum(-1).max()
            assert batch.targets.shape[-1] == longest + 1, "only the longest and its end"
    train = [i for i, image in enumerate(images) if image["split"] == "train"]
    assert sorted(seen) == train


def test_the_place_of_the_features_is_said(data):
    """32 pictures of 1 + 4 vectors of float16."""
    size = f"{32 * 5 * 2 * data.features.provenance.dim / 1e6:.1f} MB"
    for where, text in (("memory", "in memory"), ("disk", "on disk"), ("device", "on cpu")):
        assert FeatureStore(data.features, True, where).where == f"features {text}: {size}"


def test_captions_are_drawn_without_replacement_where_there_are_enough(data):
    found = captions(data)
    for epoch in range(5):
        for (first, last), row in zip(found.ranges, found.draw_captions(epoch), strict=True):
            assert all(first <= caption < last for caption in row)
            assert len(set(row)) == min(3, last - first)


def test_every_caption_has_its_turn(data):
    """Of n captions of which 3 are drawn, each is drawn in 3/n of the epochs."""
    found = captions(data)
    counts = np.zeros(len(data.labels.labels))
    for epoch in range(400):
        np.add.at(counts, found.draw_captions(epoch).ravel(), 1 / 400)
    for first, last in found.ranges:
        assert np.allclose(counts[first:last], 3 / (last - first), atol=0.13)


def test_order_is_a_function_of_seed_and_epoch(data):
    for one, two in zip(captions(data).epoch(7, 4), captions(data).epoch(7, 4), strict=True):
        same(one, two)
    orders = {
        tuple(np.concatenate([batch.rows for batch in captions(data, seed=seed).epoch(epoch, 4)]))
        for seed, epoch in ((5, 7), (5, 8), (6, 7))
    }
    assert len(orders) == 3


@pytest.mark.parametrize("start", [0, 4, 12, 20, 23])
def test_an_epoch_goes_on_from_any_cursor(data, start):
    whole = list(captions(data).epoch(2, 4))
    rest = list(captions(data).epoch(2, 4, start))
    assert len(rest) == len(whole) - start // 4 - (start == 23)
    for one, two in zip(whole[start // 4 :], rest, strict=False):
        same(one, two)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_share_each_batch(data, world):
    """Together they have the batch of one process; 23 pictures leave some with nothing at last."""
    alone = list(captions(data).epoch(0, 4))
    shares = [
        list(captions(data).epoch(0, 4, 0, DistributedContext(CPU, rank, world)))
        for rank in range(world)
    ]
    assert {len(share) for share in shares} == {len(alone)}
    for i, batch in enumerate(alone):
        busy = [share[i] for share in shares if share[i].token_mask.any()]
        assert sorted(np.concatenate([b.rows for b in busy])) == sorted(batch.rows)
        assert sum(int(b.token_mask.sum()) for b in busy) == int(batch.token_mask.sum())
        idle = [share[i] for share in shares if not share[i].token_mask.any()]
        assert all(len(b.rows) == 1 for b in idle), "an image stands in where none was left"


def test_reading_ahead_keeps_order_and_errors():
    assert list(prefetch(iter(range(20)))) == list(range(20))

    def failing():
        yield 1
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        list(prefetch(failing()))


def test_one_thread_reads_ahead():
    class Items:
        threads, number = set(), 0

        def __next__(self):
            self.threads.add(threading.get_ident())
            self.number += 1
            if self.number > 300:
                raise StopIteration
            return self.number

    items = Items()
    assert list(prefetch(items)) == list(range(1, 301))
    assert len(items.threads) == 1 and threading.get_ident() not in items.threads


@pytest.mark.parametrize("where", ["memory", "disk"])
def test_only_a_disk_is_read_ahead(data, where, monkeypatch):
    monkeypatch.setattr(batches, "prefetch", lambda items: "ahead")
    assert (captions(data, location=where).epoch(0, 4) == "ahead") == (where == "disk")


def test_captions_are_drawn_the_same_a_few_images_at_a_time(data, monkeypatch):
    expected = captions(data).draw_captions(3)
    monkeypatch.setattr(batches, "CHUNK", 5)
    assert np.array_equal(captions(data).draw_captions(3), expected)


def test_pictures_without_captions_are_left_out(data):
    ranges = data.labels.ranges.copy()
    ranges[[3, 5], 1] = ranges[[3, 5], 0]
    some = replace(data, labels=replace(data.labels, ranges=ranges))
    found = captions(some)
    assert found.rows.tolist() == [row for row in range(23) if row not in (3, 5)]
    assert np.array_equal(found.ranges, ranges[found.rows]) and len(found) == 21


@pytest.mark.parametrize(("count", "dtype"), [(2**32 - 1, np.uint32), (2**32, np.int64)])
def test_numbers_of_captions_take_32_bits_as_long_as_they_fit(data, count, dtype):
    class Rows:
        def __len__(self):
            return count

    ranges = data.labels.ranges.copy()
    ranges[22] = count - 3, count
    some = replace(data, labels=replace(data.labels, labels=Rows(), ranges=ranges))
    found = CaptionSet(some, None, "train", 2, seed=0, device=CPU)
    assert found.ranges.dtype == dtype and np.array_equal(found.ranges, ranges[:23])


def test_a_split_without_captions_is_named(data, tmp_path):
    folder = make_folder(tmp_path / "bare")
    with h5py.File(folder / "labels.h5", "r+") as file:
        file["label_end_ix"][:23] = file["label_start_ix"][:23] - 1
        del file.attrs["captions"]  # as earlier versions wrote it
    with pytest.raises(ValueError, match="no picture of split 'train' has a caption"):
        captions(DataFolder.open(folder))


def test_the_end_of_a_caption_that_was_cut_off_is_not_learnt(tmp_path):
    """Its last word is no last word: a decoder that learns to stop there stops after "a"."""
    data = DataFolder.open(make_folder(tmp_path / "data"))
    captions = CaptionSet(data, None, "train", 2, seed=0, device=torch.device("cpu"))
    for batch in captions.epoch(0, 4):
        longest = data.labels.labels.shape[1]
        lengths = (batch.targets != 0).sum(-1)
        assert torch.equal(
            batch.token_mask.sum(-1), torch.where(lengths < longest, lengths + 1, longest)
        )
    labels = data.labels
    captions.labels = replace(
        labels, labels=np.ones_like(labels.labels), lengths=np.full_like(labels.lengths, longest)
    )
    batch = next(captions.epoch(0, 4))
    assert (
        batch.token_mask.sum(-1).eq(longest).all() and batch.targets[batch.token_mask].ne(0).all()
    )
