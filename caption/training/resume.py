"""Continue a run from its last checkpoint, or start a new run from the best one of another.

In: a checkpoint. Out: the learner and the progress with its state, after the checks that options,
vocabulary and features are those that the checkpoint was trained with.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from caption.config import LASTING, SIZES, TrainConfig
from caption.data.data_folder import DataFolder
from caption.pretrained import model_file
from caption.training import checkpoint, transfer
from caption.training.caption_model import FinetunedEncoder
from caption.training.checkpoint import eval_weights, has_encoder
from caption.training.learner import Learner
from caption.training.progress import Progress
from eval.files import first_line
from prepro.storage.feature_identity import require_features

MakeEncoder = Callable[[], FinetunedEncoder]


def restore(learner: Learner, data: DataFolder, make_encoder: MakeEncoder) -> Progress:
    """Load the last checkpoint of the run. ValueError if it belongs to another kind of run."""
    config, out = learner.config, learner.config.out
    state = _load_matching(out, "last", LASTING, config, data)
    new_run = f"start a new run from its weights: --start {out} --out FOLDER"
    mend = f"extract the same features again, or {new_run}"
    require_features(data.features, state.get("features", {}), out, mend)
    if "captions" not in state:
        print(
            f"{out}: written by an earlier version, without a hash of its captions", file=sys.stderr
        )
    elif state["captions"] != data.labels.captions_sha256:
        raise ValueError(
            f"{out}: trained on other captions or splits than {config.data} has now; give the "
            f"--data of that run, or {new_run}"
        )
    progress = Progress.of(state["progress"], out)
    if progress.finetune:
        learner.attach_encoder(make_encoder())
    try:
        learner.load(state)
    except (RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        reason = first_line(error)
        raise ValueError(f"{out}: its checkpoint does not fit the run ({reason})") from None
    return progress


def start_from(
    folder: Path, learner: Learner, data: DataFolder, finetune: bool, make_encoder: MakeEncoder
) -> None:
    """Load the best weights of the run in `folder`, or those of a model file.

    ValueError if they do not fit.
    """
    config = learner.config
    if not (folder / "best.json").is_file():
        transfer.load_model(model_file(folder), learner, data)
        if finetune:
            learner.attach_encoder(make_encoder())
        return
    state = _load_matching(folder, "best", SIZES, config, data)
    if not has_encoder(eval_weights(state)):
        mend = "extract the same features again"
        names = ("encoder", "weights_sha256")
        require_features(data.features, state.get("features", {}), folder, mend, names)
    elif not finetune:
        raise ValueError(
            f"{folder}: this run fine-tuned its encoder, so its decoder does not fit the stored "
            "features; add --finetune-after 0 (and --encoder-learning-rate 0 to freeze the encoder)"
        )
    try:
        learner.load_pretrained(state, make_encoder() if finetune else None)
    except RuntimeError:
        raise ValueError(
            f"{folder}: trained on features of another size than those in {config.data}; "
            "give the --data of that run"
        ) from None


def _load_matching(
    folder: Path, which: str, options: tuple[str, ...], config: TrainConfig, data: DataFolder
) -> dict:
    """The last or best checkpoint. ValueError if `options` or the vocabulary differ from ours."""
    state = checkpoint.load(folder, which)
    config.require_same(TrainConfig.from_dict(state["config"], str(folder)), folder, options)
    if state["vocabulary"] != data.labels.vocabulary.sha256:
        raise ValueError(
            f"{folder}: trained with another vocabulary than that of {data.labels.folder}; "
            "give the --data of that run"
        )
    return state
