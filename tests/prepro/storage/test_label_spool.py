"""A stream of ten times as many captions takes no more memory; pictures are read out of shards."""

import subprocess
import sys
from pathlib import Path

from caption.reporting.thumbnails import page_images
from prepro.extraction.image_loader import ImageFolderReader
from prepro.transform import Transform
from tests.prepro.annotations.test_tar_shards import picture, write_shard

STREAM = """
import resource, sys
from pathlib import Path
from prepro.annotations.records import ImageRecord
from prepro.storage import label_spool
from prepro.storage.label_file import read_labels
from prepro.storage.label_row_writer import write_label_rows
from prepro.vocabulary import vocabulary_from_counts
label_spool.BLOCK = 1000
count, folder = int(sys.argv[1]), Path(sys.argv[2])
texts = [f"a dog number {i} in a park" for i in range(500)]
records = (
    ImageRecord(f"{i}", f"pictures/{i:09}.jpg", "", (texts[i % 500], texts[i * 7 % 500]))
    for i in range(count)
)
spool = label_spool.LabelSpool(folder, records)
vocabulary = vocabulary_from_counts(spool.counts(), 0)
write_label_rows(folder, spool.rows(vocabulary), vocabulary, 8, {})
labels = read_labels(folder)
assert len(labels.records) == count and len(labels.labels) == 2 * count
assert labels.records[count - 1].path == f"pictures/{count - 1:09}.jpg"
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(folder: Path, count: int) -> float:
    """MiB of a process that writes `count` pictures with two captions each."""
    line = [sys.executable, "-c", STREAM, f"{count}", f"{folder}"]
    return float(subprocess.run(line, capture_output=True, check=True, text=True).stdout)


def test_memory_does_not_grow_with_the_captions(tmp_path):
    small, large = peak(tmp_path / "small", 3000), peak(tmp_path / "large", 30_000)
    assert large < small + 10  # the files of the larger set have 11 MB more
    assert sum(f.stat().st_size for f in (tmp_path / "large").iterdir()) > 5 << 20


def test_features_and_reports_read_pictures_out_of_shards(tmp_path):
    write_shard(tmp_path / "s.tar", range(3))
    (tmp_path / "2.png").write_bytes(picture(2))
    reader = ImageFolderReader(
        tmp_path, ("s.tar/00002.png", "2.png", "s.tar/9.png"), Transform(resize=9, crop=8)
    )
    assert reader.read(0) == reader.read(1) == picture(2)
    tar = (tmp_path / "s.tar").stat()
    assert reader.stamp(0) == (tar.st_size, tar.st_mtime_ns)
    assert reader.read_shape(0) == reader.read_shape(1)
    assert reader.read_shape(2) == "no such file"
    inside, beside = page_images(tmp_path, reader.names[:2], tmp_path / "page.html", "link")
    assert inside.src.startswith("data:image/webp") and beside.src == "2.png"
    assert (inside.width, inside.height) == (beside.width, beside.height) == (7, 6)
