"""Start a run from a model file, which has weights but no checkpoint: `--start flickr8k`.

In: a model file and a learner. Out: the learner with the model's weights. The data may have other
words: the embedding and the classifier keep the rows of the words that both know, and the others
are new.
"""

from pathlib import Path

from torch import Tensor

from caption.config import SIZES, TrainConfig
from caption.data.data_folder import DataFolder
from caption.models.compatibility import rename_weights
from caption.pretrained import model_name
from caption.pretrained.model_format import read_model
from caption.training.learner import Learner

WORD_ROWS = ("embed.weight", "classify.weight", "classify.bias")
"""the decoder's tensors with a row for each word, row 0 for the start and the end"""


def load_model(path: Path, learner: Learner, data: DataFolder) -> None:
    """Load the decoder of the model at `path`. ValueError if sizes or features do not fit."""
    header, tensors, _ = read_model(path)
    config = TrainConfig.from_dict(header["run"]["config"], str(path))
    learner.config.require_same(config, path, SIZES)
    encoder, features = header["encoder"], data.features.provenance
    if not encoder["sha256"] and header["shape"]["features"] != features.dim:
        raise ValueError(
            f"{model_name(path)}: it reads features of {header['shape']['features']} numbers, "
            f"{data.features.path} has {features.dim}"
        )
    if encoder["sha256"] not in ("", features.weights_sha256):  # "": a converted run's is unknown
        raise ValueError(
            f"{model_name(path)}: made for features of its own encoder, not of those in "
            f"{data.features.path}; extract them with python -m prepro.features --data "
            f"{data.labels.folder} --encoder {encoder['encoder']} --weights {path} "
            f"--regions {header['regions']}"
        )
    decoder = learner.network.decoder
    try:
        decoder.load_state_dict(
            by_word(rename_weights(tensors), header["words"], decoder.state_dict(), data)
        )
    except RuntimeError:
        raise ValueError(
            f"{model_name(path)}: trained on another grid of regions than {data.features.path} "
            f"has; extract features with --regions {header['regions']}"
        ) from None
    learner.reset_training()


def by_word(
    tensors: dict[str, Tensor], words: list[str], fresh: dict[str, Tensor], data: DataFolder
) -> dict[str, Tensor]:
    """The model's tensors for the vocabulary of `data`; rows of new words come from `fresh`."""
    index = data.labels.vocabulary.index
    pairs = [(index[word], row) for row, word in enumerate(words, 1) if word in index]
    new, old = (list(rows) for rows in zip((0, 0), *pairs, strict=True))
    found = dict(tensors)
    for name in WORD_ROWS:
        found[name] = fresh[name].clone()
        found[name][new] = tensors[name][old].to(found[name])
    return found
