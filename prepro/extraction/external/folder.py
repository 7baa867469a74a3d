"""A folder with an .npy or .npz file for each picture, such as cocotalk_att and cocobu_att."""

from pathlib import Path

from prepro.annotations.records import ImageRecord
from prepro.extraction.external.arrays import read_array
from prepro.extraction.external.found import FoundFeatures, ReadFeatures, find_name
from prepro.images import inside


def open_folder(folder: Path, key: str = "") -> ReadFeatures:
    def path(name: str) -> Path | None:
        every = (inside(folder, name + ending) for ending in (".npy", ".npz"))
        return next((path for path in every if path.is_file()), None)

    def read(record: ImageRecord) -> FoundFeatures:
        found = path(find_name(record, lambda name: path(name) is not None, folder))
        return read_array(found, found.name, key)

    return read
