"""The names of ImageNet's 1,000 classes, from torchvision."""

from prepro.encoders.pretrained import torchvision


def imagenet_classes() -> tuple[str, ...]:
    """In the order of the published weights' outputs."""
    return tuple(torchvision().models.ResNet18_Weights.DEFAULT.meta["categories"])
