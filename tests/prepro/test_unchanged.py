"""Values that threads, processes and files share cannot be changed in place."""

from dataclasses import FrozenInstanceError, fields

import pytest

from prepro import adopt, labels, pack
from prepro.annotations.records import ImageRecord
from prepro.extraction.batching import BatchPlan
from prepro.extraction.external.survey import ExternalFeatures
from prepro.extraction.image_list import ImageList
from prepro.extraction.image_loader import ImageFolderReader
from prepro.extraction.options import Options
from prepro.extraction.shards import Shard
from prepro.storage.feature_file import Provenance
from prepro.storage.label_file import Labels
from prepro.vocabulary import Tokens, Vocabulary

KINDS = (
    adopt.Options, labels.Options, pack.Options, Options, ImageRecord, BatchPlan, ExternalFeatures,
    ImageList, ImageFolderReader, Shard, Provenance, Labels, Tokens, Vocabulary,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_fields_keep_their_first_value(kind):
    value = object.__new__(kind)
    for field in fields(kind):
        with pytest.raises(FrozenInstanceError):
            setattr(value, field.name, None)
