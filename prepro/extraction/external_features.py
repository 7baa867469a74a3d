"""Open features that another system has written, whatever kind of file they are in.

In: a folder of .npy or .npz files, an .lmdb database, or a .pth, .tsv or HDF5 file. Out: a function
from an ImageRecord to FoundFeatures.
"""

from pathlib import Path

from prepro.extraction.external.folder import open_folder
from prepro.extraction.external.found import ReadFeatures
from prepro.extraction.external.hdf5 import open_hdf5
from prepro.extraction.external.lmdb_file import open_lmdb
from prepro.extraction.external.pth import open_pth
from prepro.extraction.external.tsv import open_tsv, tsv_files


def open_external_features(source: Path, key: str = "") -> ReadFeatures:
    """`key` names an array of .npz files, or a suffix in an HDF5 file.

    FileNotFoundError if `source` is missing; ValueError for a file that cannot be opened.
    """
    if not source.exists():
        raise FileNotFoundError(f"{source}: no such folder or file of features")
    if source.suffix == ".lmdb" or (source / "data.mdb").is_file():
        return open_lmdb(source, key)
    if source.suffix == ".pth":
        return open_pth(source)
    tables = tsv_files(source) if source.is_dir() or ".tsv" in source.suffixes else []
    if tables:
        return open_tsv(tables)
    return open_folder(source, key) if source.is_dir() else open_hdf5(source, key)
