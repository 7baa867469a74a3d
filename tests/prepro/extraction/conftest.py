"""A data folder of the pictures of external_set, with labels and no features."""

import time
from types import SimpleNamespace

import pytest

from prepro.annotations.records import ImageRecord
from prepro.extraction import piecewise
from prepro.runtime import pieces
from prepro.storage.label_file import write_labels
from prepro.vocabulary import Vocabulary
from tests.prepro.extraction.external_set import IDS, NAMES


@pytest.fixture
def folder(tmp_path):
    records = [ImageRecord(i, NAMES[i], "train", ("a",)) for i in IDS]
    write_labels(tmp_path, records, Vocabulary(("a",)), [[1]] * len(IDS), 2, {"image_root": ""})
    return tmp_path


@pytest.fixture(autouse=True)
def few_pieces(monkeypatch):
    """A piece that is never done would be computed, or waited for, for ever."""
    computed, extract = [], piecewise.extract_shard

    def counted(job, shard):
        computed.append(shard.number)
        assert len(computed) < 25, "the same pieces again and again"
        extract(job, shard)

    def sleep(_):
        raise AssertionError("nobody has the pieces that are waited for")

    monkeypatch.setattr(piecewise, "extract_shard", counted)
    monkeypatch.setattr(pieces, "time", SimpleNamespace(sleep=sleep, time=time.time))
