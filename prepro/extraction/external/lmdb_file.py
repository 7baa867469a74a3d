"""An LMDB database whose keys are names and whose values are the bytes of .npy or .npz files.

As scripts/dump_to_lmdb.py of self-critical.pytorch writes it; needs the extra `lmdb`.
"""

from pathlib import Path

from prepro.annotations.records import ImageRecord
from prepro.extraction.external.arrays import read_array
from prepro.extraction.external.found import FoundFeatures, ReadFeatures, find_name, require_size


def open_lmdb(path: Path, key: str = "") -> ReadFeatures:
    """ValueError where lmdb is not installed, or for a file that is no whole database."""
    try:
        import lmdb
    except ImportError:
        raise ValueError(f"{path} needs lmdb: pip install 'resnet-caption[lmdb]'") from None
    try:
        base = lmdb.open(
            str(path), subdir=path.is_dir(), readonly=True, lock=False, readahead=False,
            create=False, max_spare_txns=1,
        )  # fmt: skip
    except lmdb.Error as error:
        raise ValueError(f"{path}: not a readable LMDB database ({error})") from None
    file = path / "data.mdb" if path.is_dir() else path
    pages = base.info()["last_pgno"] + 1
    if pages * base.stat()["psize"] > file.stat().st_size:  # reading past the end kills the process
        raise ValueError(f"{path}: the database is cut off; copy it again")
    transaction = base.begin(buffers=True)

    def value(name: str) -> memoryview | None:
        return transaction.get(name.encode()) if len(name.encode()) <= 511 else None

    def read(record: ImageRecord) -> FoundFeatures:
        name = find_name(record, lambda name: value(name) is not None, path)
        try:
            found = value(name)
        except lmdb.Error as error:
            raise ValueError(f"{name}: cannot be read ({error})") from None
        require_size(len(found), name)
        if bytes(found[:2]) not in (b"\x93N", b"PK"):
            raise ValueError(f"{name} in {path}: neither an .npy nor an .npz file")
        return read_array(bytes(found), name, key)

    return read
