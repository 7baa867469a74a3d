"""The measures of training and evaluation: keys in metrics.jsonl and their names in messages."""

from collections.abc import Mapping

NAMES = {"loss": "loss", "top1": "top-1 error", "top5": "top-5 error", "labels": "label error"}


def describe(
    measures: Mapping[str, float], num_classes: int, prefix: str = "", digits: int = 1
) -> list[str]:
    """Each measure with its name: ["loss 1.563", "top-1 error 34.1 %"]; errors are in %.

    The top-5 error is left out where there are at most five classes: it is always 0.
    """
    return [
        f"{prefix}loss {value:.3f}"
        if key == "loss"
        else f"{prefix}{NAMES[key]} {value:.{digits}f} %"
        for key, value in measures.items()
        if key != "top5" or num_classes > 5
    ]
