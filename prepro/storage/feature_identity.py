"""What decides the features of a features.h5, for the files that are made from them.

In: a FeatureFile. Out: its identity, texts that checkpoints and results note, and the check that
what they noted is the file of today: the bytes of all pictures, the encoder and its weights, the
transform, the precision, and which image has which row.
"""

import sys
from collections.abc import Mapping

from prepro.storage.feature_file import FeatureFile, hash_of_pictures

NAMES = ("encoder", "weights_sha256", "transform", "precision", "images")
"""of Provenance; `weights_sha256` of features from another system is a hash of the features"""


def features_identity(file: FeatureFile) -> dict[str, str]:
    """NAMES and `pictures`, a hash of all pictures' bytes where the file knows them."""
    found = {name: getattr(file.provenance, name) for name in NAMES}
    return found if file.picture is None else found | {"pictures": hash_of_pictures(file.picture)}


def require_features(
    file: FeatureFile,
    noted: object,
    source: object,
    mend: str,
    names: tuple[str, ...] = (*NAMES, "pictures"),
) -> None:
    """ValueError unless `source`, which noted the identity `noted`, is made from this file.

    mend: what to do. What an earlier version did not note is not compared, with a warning.
    """
    noted = noted if isinstance(noted, Mapping) else {}
    current = features_identity(file)
    for name in names:
        if name in noted and noted[name] != current.get(name):
            raise ValueError(
                f"{source}: made from features with {name} {noted[name]}, but {file.path} has "
                f"{current.get(name, 'none')}; {mend}"
            )
    if not set(names) & current.keys() <= noted.keys():
        print(
            f"{source}: written by an earlier version, without the hash of the features that it "
            "was made from", file=sys.stderr,
        )  # fmt: skip
