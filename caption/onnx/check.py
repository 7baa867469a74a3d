"""How much an exported captioner loses: CIDEr-D of both on the validation pictures.

In: a captioner, its exported folder and a data folder. Out: a line.
"""

from pathlib import Path

import torch

from caption.captioner import Captioner
from caption.onnx.session import OnnxCaptioner
from eval.scoring import score
from prepro.images import inside
from prepro.runtime.progress_bar import ProgressBar
from prepro.storage.label_file import read_labels


def check(captioner: Captioner, folder: Path, data: Path) -> str:
    """CIDEr-D of both, and how many captions are equal. Raises BadImage for a bad picture."""
    labels = read_labels(data)
    exported = OnnxCaptioner.load(folder, torch.get_num_threads())
    records = [labels.records[i] for i in labels.split("val")]
    references = {record.id: record.captions for record in records}
    ours, theirs = {}, {}
    with ProgressBar(len(records), "check") as bar:
        for record in records:
            path = inside(labels.image_root, record.path)
            ours[record.id] = captioner.sentences([path])[0]
            theirs[record.id] = exported.captions(path)[0].text
            bar.add(1)
    equal = sum(ours[key] == theirs[key] for key in ours)
    scores = [score(references, found).corpus["CIDEr-D"] for found in (ours, theirs)]
    return (
        f"{data}, {len(ours):,} validation pictures: CIDEr-D {scores[0]:.4f} before, "
        f"{scores[1]:.4f} exported; {equal:,} captions equal"
    )
