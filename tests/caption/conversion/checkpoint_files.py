"""Files of a checkpoint as self-critical.pytorch writes them: model.pth and infos.pkl."""

import argparse
import pickle
from collections.abc import Sequence
from pathlib import Path

import torch

from tests.caption.conversion.earlier_models import Sizes, Weights

NEWER = ("use_bn", "logit_layers", "max_length")
"""options that older checkpoints lack"""


def vocabulary(sizes: Sizes, unk: bool = True) -> list[str]:
    return [*(f"w{i}" for i in range(1, sizes.words)), "UNK" if unk else "last"]


def write(
    folder: Path, kind: str, sizes: Sizes, weights: Weights, words: Sequence[str] = (),
    lacking: Sequence[str] = (),
) -> tuple[Path, Path]:  # fmt: skip
    """The two paths; `words` are those of `vocabulary` unless they are given."""
    values = {
        "caption_model": kind, "input_encoding_size": sizes.embedding, "rnn_size": sizes.hidden,
        "num_layers": 1, "drop_prob_lm": 0.5, "seq_length": 16, "max_length": 20,
        "fc_feat_size": sizes.features, "att_feat_size": sizes.features,
        "att_hid_size": sizes.attention, "use_bn": sizes.use_bn, "logit_layers": 1,
        "num_att_heads": sizes.heads, "dropout": 0.1,
    }  # fmt: skip
    opt = argparse.Namespace(**{k: v for k, v in values.items() if k not in lacking})
    vocab = {str(i): word for i, word in enumerate(words or vocabulary(sizes), 1)}
    torch.save(weights, folder / "model.pth")
    (folder / "infos.pkl").write_bytes(pickle.dumps({"opt": opt, "vocab": vocab}, protocol=2))
    return folder / "model.pth", folder / "infos.pkl"
