"""A data folder of the pictures of external_set, with labels and no features."""

import pytest

from prepro.annotations.records import ImageRecord
from prepro.storage.label_file import write_labels
from prepro.vocabulary import Vocabulary
from tests.prepro.extraction.external_set import IDS, NAMES


@pytest.fixture
def folder(tmp_path):
    records = [ImageRecord(i, NAMES[i], "train", ("a",)) for i in IDS]
    write_labels(tmp_path, records, Vocabulary(("a",)), [[1]] * len(IDS), 2, {"image_root": ""})
    return tmp_path
