"""The three lines with which a training begins: the data, the model, the device.

In: a Trainer. Out: text for stderr.
"""

from caption.training.trainer import Trainer
from prepro.runtime.matmul import choose_matmul


def opening_lines(trainer: Trainer) -> str:
    """The data, the model with its number of parameters, the device with its precision."""
    config, labels, context = trainer.config, trainer.data.labels, trainer.context
    train, val = (len(trainer.data.split(name)) for name in ("train", "val"))
    words = f"{len(labels.vocabulary):,} words"
    parameters = sum(p.numel() for p in trainer.learner.network.decoder.parameters())
    encoder = trainer.data.features.provenance.encoder or "another system"
    tuned = ", fine-tuned" if trainer.progress.finetune else ""
    device = context.device
    precision = trainer.learner.precision
    precision = precision if precision == "float32" else f"mixed float32 and {precision}"
    faster = device.type == "cpu" and choose_matmul() == "oneDNN"
    products = "; matrix products by oneDNN" if faster else ""
    processes = f", {context.world} processes" if context.world > 1 else ""
    return "\n".join((
        f"data    {config.data}: {train:,} train and {val:,} val pictures, {words}",
        f"model   {config.decoder}: {parameters:,} parameters, on features of {encoder}{tuned}",
        f"device  {device}, {precision}{processes}; {trainer.features_in}{products}",
    ))  # fmt: skip
