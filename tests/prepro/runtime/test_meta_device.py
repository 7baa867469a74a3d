"""Modules on the meta device: the shapes of real ones, without torch._dynamo and without values."""

import subprocess
import sys

import torch
from torch import nn

from caption.models import DECODERS, Shape, build
from prepro.runtime.meta_device import meta_device

SHAPE = Shape(11, 6, embedding=16, hidden=16, heads=2, regions=4)


def test_shapes_are_those_of_a_real_module():
    for name in DECODERS:
        with meta_device():
            found = build(name, SHAPE).state_dict()
        real = build(name, SHAPE).state_dict()
        assert {key: t.shape for key, t in found.items()} == {k: t.shape for k, t in real.items()}
        assert {t.device.type for t in found.values()} == {"meta"}


def test_values_are_drawn_again_afterwards():
    with meta_device():
        nn.Linear(2, 2)
    assert nn.Linear(100, 100).weight.std() > 0
    assert torch.empty(100).normal_().std() > 0


def test_no_decoder_imports_torch_dynamo():
    """Random initial values and arithmetic on meta tensors would cost seconds of imports."""
    code = (
        "import sys; from caption.models import DECODERS, Shape, build;"
        "from prepro.runtime.meta_device import meta_device;"
        "shape = Shape(11, 6, embedding=16, hidden=16, heads=2, regions=4)\n"
        "with meta_device(): [build(name, shape) for name in DECODERS]\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_one_caption_does_not_import_torch_dynamo():
    code = (
        "import sys; from caption.captioner import Captioner; Captioner.load('flickr8k').encoder; "
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
